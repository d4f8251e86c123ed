"""Makes an HTTP request as an effect: `await ctx.effect("charge", http.send, "POST", url, json=…)`.

Each request has a connection of its own, so that what fails before the request is written is
known to have failed before it. From the first byte on, an answer decides (`core.answers`), and no
answer means that nobody knows. A `Guard` says which addresses may be called at all.

Guarantees: the effect's key goes along as `webhook-id` and `Idempotency-Key`; `last_call` is heard
right before the first byte; one deadline bounds the whole; what is kept of an answer is bounded
after decoding. Never follows a redirect, never repeats a request by itself, never asks the
environment for a proxy, keeps no cookies, and verifies certificates always.
"""

from __future__ import annotations

import asyncio
import re
import ssl
import zlib
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import msgspec

from duly.core.answers import Word, fault_of_status, judge, seconds_of
from duly.core.calls import FIELD_NAME, FIELD_VALUE, KEPT_BYTES, RESERVED
from duly.errors import InvalidValue
from duly.outbound.base import (
    Declined,
    OutcomeUnknown,
    Unreachable,
    Unsendable,
    missing_extra,
    plain,
)

try:
    import aiohttp
    from yarl import URL
except ImportError:
    raise missing_extra("http", "aiohttp") from None

from duly.outbound.failures import fault_of_failure

if TYPE_CHECKING:
    from duly.core.effects import Sending
    from duly.core.targets import Target
    from duly.outbound.guarded import Guard
    from duly.outbound.signing import Signer

__all__ = ["Http"]

SUCCESS = range(200, 300)

_METHOD = re.compile(r"[A-Z]{3,20}\Z")
_KEY = re.compile(r"[!-~]{1,200}\Z")
MOST_HEADERS, LONGEST_HEADER = 64, 8 * 1024
"""Bounds of an answer's head; one that goes beyond is an answer that was lost."""

HIDDEN = "[secret]"
_FAILURES = (aiohttp.ClientError, OSError, TimeoutError)


@dataclass(frozen=True)
class _Request:
    method: str
    url: URL
    target: Target | None
    headers: dict[str, str]
    body: bytes | None

    @property
    def shown(self) -> str:
        """The method and the host; paths and queries may hold secrets."""
        return f"{self.method} {self.url.host}:{self.url.port}"


class Http:
    """Requests to other services. Holds no connection between requests; safe to share.

    `deadline_s` bounds one request as a whole, `kept_bytes` what is kept of its answer. `schemes`
    are those allowed. `guard` says which addresses may be called, and then which schemes; without
    one, any may, and `connector` makes the connector of each request. `tls_context` brings a
    private authority.
    """

    def __init__(
        self,
        *,
        deadline_s: float = 30.0,
        kept_bytes: int = KEPT_BYTES,
        schemes: Container[str] = ("https", "http"),
        connector: Callable[[], aiohttp.BaseConnector] | None = None,
        guard: Guard | None = None,
        tls_context: ssl.SSLContext | None = None,
    ) -> None:
        if guard is not None and connector is not None:
            raise InvalidValue("expected guard or connector, got both: a guard makes its own")
        context = tls_context or ssl.create_default_context()
        if context.verify_mode is not ssl.CERT_REQUIRED or not context.check_hostname:
            raise InvalidValue("expected tls_context to verify certificates and host names")
        if deadline_s <= 0 or kept_bytes < 0:
            raise InvalidValue.expected("a bound", "positive", (deadline_s, kept_bytes))
        self._deadline_s = deadline_s
        self._kept_bytes = kept_bytes
        self._schemes = schemes
        self._connector = connector or _fresh_connector
        self._guard = guard
        self._context = context

    async def send(
        self,
        effect: Sending,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        json: object | None = None,
        body: bytes | None = None,
        expect: Container[int] = SUCCESS,
        deadline_s: float | None = None,
        kept_bytes: int | None = None,
        sign: Signer | None = None,
        hide: Sequence[str] = (),
    ) -> dict[str, Any]:
        """Make one request and return its receipt: `status`, `body` as text, `truncated`.

        `sign` signs it as a webhook; texts of `hide` are struck out of whatever is told of the
        answer: secrets that the other side may echo.

        Raises `Unsendable` for a request that cannot be right, `NotPerformed` when it
        certainly was not acted on, and `OutcomeUnknown` otherwise unless its status is in `expect`.
        """
        request = self._request(effect, method, url, headers=headers, body=_body(json, body))
        if json is not None:
            request.headers.setdefault("Content-Type", "application/json")
        if sign is not None:
            request.headers.update(sign(effect.key, request.body or b""))
        gate = _Gate(effect)
        limit = self._deadline_s if deadline_s is None else deadline_s
        most = self._kept_bytes if kept_bytes is None else kept_bytes
        until = asyncio.get_running_loop().time() + limit
        async with self._session(gate, request) as session:
            response = await self._exchange(session, request, gate, until=until)
            try:
                kept = await _keep(response, most, hide=hide, until=until)
            finally:
                response.close()
        return _verdict(request, response, kept, expect=expect)

    def _request(
        self,
        effect: Sending,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None,
        body: bytes | None,
    ) -> _Request:
        if not _METHOD.match(method):
            raise Unsendable.expected("a method", "a word such as POST", method)
        fields = dict(headers or {})
        for name, value in fields.items():
            if not FIELD_NAME.match(name) or name.lower() in RESERVED:
                raise Unsendable.expected("a header's name", "one the caller may set", name)
            if not isinstance(value, str) or not FIELD_VALUE.match(value):
                raise Unsendable(
                    f"expected the header {name} to be one line of at most 8000 characters"
                )
        key = key_of(effect.key)
        fields.setdefault("User-Agent", "duly")
        fields |= {"webhook-id": key, "Idempotency-Key": key, "Accept-Encoding": "identity"}
        if self._guard is None:
            return _Request(method, self._address(url), None, fields, body)
        target = self._guard.target(url)
        address = URL(target.url, encoded=True)  # written anew: one reading for both
        return _Request(method, address, target, fields, body)

    def _address(self, url: str) -> URL:
        try:
            address = URL(url)
            # A host in letters of the world is decoded when it is asked for, and may not be one.
            host, port = address.host, address.port
        except (ValueError, TypeError):
            raise Unsendable("expected the URL to be valid") from None
        if address.scheme not in self._schemes or not host or not port:
            raise Unsendable.expected("the URL's scheme", "an allowed one", address.scheme)
        if address.user is not None or address.password is not None:
            raise Unsendable("expected the URL to have no user or password; use a header")
        return address

    def _session(self, gate: _Gate, request: _Request) -> aiohttp.ClientSession:
        trace = aiohttp.TraceConfig()
        trace.on_request_headers_sent.append(gate.open)
        if self._guard is None or request.target is None:
            connector = self._connector()
        else:
            connector = self._guard.connector(request.target)
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
            trace_configs=[trace],
            auto_decompress=False,
            trust_env=False,
            max_line_size=LONGEST_HEADER,
            max_field_size=LONGEST_HEADER,
            max_headers=MOST_HEADERS,
        )

    async def _exchange(
        self, session: aiohttp.ClientSession, request: _Request, gate: _Gate, *, until: float
    ) -> aiohttp.ClientResponse:
        """Write the request and read the answer's head."""
        try:
            async with asyncio.timeout_at(until):
                return await session.request(
                    request.method,
                    request.url,
                    headers=request.headers,
                    data=request.body,
                    allow_redirects=False,
                    ssl=self._context,
                    skip_auto_headers=("Content-Type",),
                )
        except _FAILURES as error:
            found = fault_of_failure(error)
            cause = getattr(error, "os_error", error)  # without the driver's own words around it
            said = f"{found.words}: {type(error).__name__}: {plain(cause)}"
        if gate.opened:
            told = f"{request.shown} began, and its answer was lost: {said}"
            raise OutcomeUnknown(told, fault=found)
        raise Unreachable(f"{request.shown} could not connect: {said}", fault=found)


class _Gate:
    """Hears the last call right before the first byte, and lets one request through.

    The driver repeats a request of an idempotent method by itself when its connection breaks, even
    a fresh one (`test_a_request_is_never_repeated`); the second time ends here.
    """

    def __init__(self, effect: Sending) -> None:
        self._effect = effect
        self.opened = False

    async def open(self, *_: object) -> None:
        if self.opened:
            raise aiohttp.ServerDisconnectedError("the connection broke")
        self._effect.last_call()
        self.opened = True


def key_of(key: str) -> str:
    """Return an effect's key as a header can carry it: itself, or its hash where it cannot."""
    return key if _KEY.match(key) else "sha256-" + sha256(key.encode()).hexdigest()


def _fresh_connector() -> aiohttp.BaseConnector:
    return aiohttp.TCPConnector(force_close=True, limit=0, use_dns_cache=False)


def _body(json: object | None, body: bytes | None) -> bytes | None:
    if json is None:
        return body
    if body is not None:
        raise Unsendable("expected json or body, got both")
    try:
        return msgspec.json.encode(json)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise Unsendable(f"expected json to be made of plain values: {plain(error)}") from None


@dataclass(frozen=True)
class _Kept:
    text: str
    truncated: bool


async def _keep(
    response: aiohttp.ClientResponse, limit: int, *, hide: Sequence[str], until: float
) -> _Kept:
    """Read at most `limit` bytes. The status has answered already: a body that breaks is cut.

    A little more is read where secrets are struck out, so that none is cut in two.
    """
    most = limit + max((len(one.encode()) for one in hide), default=0)
    raw = bytearray()
    whole = False
    try:
        async with asyncio.timeout_at(until):
            while len(raw) <= most:
                chunk = await response.content.read(most + 1 - len(raw))
                if not chunk:
                    whole = True
                    break
                raw += chunk
    except _FAILURES:
        whole = False
    data, more = _decoded(bytes(raw), response.headers.get("Content-Encoding", ""), most)
    for one in hide:
        data = data.replace(one.encode(), HIDDEN.encode())
    text = data[:limit].decode("utf-8", "replace")
    return _Kept(text, more or not whole or len(data) > limit)


def _decoded(raw: bytes, encoding: str, limit: int) -> tuple[bytes, bool]:
    """Undo one compression, which nobody asked for, and never make more than the limit of it."""
    if encoding.strip().lower() not in {"gzip", "x-gzip", "deflate"}:
        return raw, False
    try:
        unpacker = zlib.decompressobj(wbits=47)
        unpacked = unpacker.decompress(raw, limit + 1)
    except zlib.error:
        return b"", True
    return unpacked, bool(unpacker.unconsumed_tail)


def _verdict(
    request: _Request,
    response: aiohttp.ClientResponse,
    kept: _Kept,
    *,
    expect: Container[int],
) -> dict[str, Any]:
    status, after = response.status, response.headers.get("Retry-After")
    row = judge(status, expect=expect, retry_after=after)
    if row.word is Word.PERFORMED:
        return {"status": status, "body": kept.text, "truncated": kept.truncated}
    found = fault_of_status(status, retry_after=after)
    said = f"{request.shown} was answered with {status} ({found.words}) {plain(kept.text)}".rstrip()
    if row.word is Word.UNKNOWN:
        raise OutcomeUnknown(f"{said} ({row.source})", answer=str(status), fault=found)
    raise Declined(
        said,
        permanent=row.word is Word.DECLINED,
        retry_after_s=seconds_of(after) if row.word is Word.LATER else None,
        answer=str(status),
        fault=found,
    )
