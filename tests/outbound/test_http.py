"""A request tells the truth: performed, certainly not, or nobody knows, and happens once.

Against servers on loopback that answer, break and stall to order. What counts as sent is what
they read.
"""

from __future__ import annotations

import asyncio
import gzip
import socket
import ssl
import tracemalloc
import zlib
from collections.abc import Container
from typing import Any

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from duly.core.answers import CLASSES, STATUSES, Word, judge, seconds_of
from duly.errors import InvalidValue, NotPerformed, TooLate
from duly.outbound.base import Declined, OutcomeUnknown
from duly.outbound.http import SUCCESS, Http, key_of
from tests.outbound.peers import HOST, Effect, Handle, Http1, Request, closed_port, served

Contexts = tuple[ssl.SSLContext, ssl.SSLContext]


def answering(
    status: int = 200, body: bytes = b"fine", *, fields: str = "", size: int | None = None
) -> Handle:
    """A handler that answers one thing, and may promise more bytes than it sends."""

    async def handle(_: Request, writer: asyncio.StreamWriter) -> None:
        length = len(body) if size is None else size
        head = f"HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n{fields}\r\n"
        writer.write(head.encode() + body)
        await writer.drain()

    return handle


async def silent(_: Request, writer: asyncio.StreamWriter) -> None:
    """Read the request, and hang up without a word."""


async def stalling(_: Request, writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def half(_: Request, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200")
    await writer.drain()


async def garbage(_: Request, writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-nothing\r\n\r\n")
    await writer.drain()


class NoNames(AbstractResolver):
    """A resolver that knows nobody, and asks nobody."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        raise OSError(f"{host} is not known")

    async def close(self) -> None:
        """There is nothing to close."""


async def post(peer: Http1, effect: Effect | None = None, **given: Any) -> dict[str, Any]:
    url = f"http://{HOST}:{peer.port}/charge?to=ann"
    return await Http().send(effect or Effect(), given.pop("method", "POST"), url, **given)


# --- what goes out ------------------------------------------------------------------------


async def test_a_request_carries_its_key_and_its_receipt_says_what_came_back() -> None:
    peer, effect = Http1(answering(201, b'{"id": 7}')), Effect("bill.42")
    async with served(peer):
        receipt = await post(peer, effect, json={"cents": 5}, headers={"X-Shop": "7"})
    assert receipt == {"status": 201, "body": '{"id": 7}', "truncated": False}
    (request,) = peer.requests
    assert request.line == "POST /charge?to=ann HTTP/1.1" and request.body == b'{"cents":5}'
    wanted = {
        "webhook-id": "bill.42",
        "idempotency-key": "bill.42",
        "content-type": "application/json",
        "accept-encoding": "identity",
        "x-shop": "7",
    }
    assert wanted.items() <= request.headers.items()
    assert effect.calls == 1


def test_a_key_that_no_header_can_carry_is_sent_as_its_hash() -> None:
    assert key_of("bill.42") == "bill.42"
    odd = [key_of(key) for key in ("mail orders 1", "ü", "a\r\nX: y", "x" * 201, "")]
    assert len(set(odd)) == len(odd)
    assert all(k.startswith("sha256-") and k.isascii() and len(k) == 71 for k in odd)


async def test_too_late_means_that_no_byte_was_sent() -> None:
    peer = Http1(answering())
    async with served(peer):
        with pytest.raises(TooLate):
            await post(peer, Effect(late_from=1))
    assert peer.requests == []


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "POST"])
async def test_a_request_is_never_repeated(method: str) -> None:
    """The driver would send an idempotent method again when its connection breaks."""
    peer, effect = Http1(silent), Effect()
    async with served(peer):
        with pytest.raises(OutcomeUnknown):
            await post(peer, effect, method=method)
    assert len(peer.requests) == 1 and effect.calls == 1


async def test_a_redirect_is_not_followed() -> None:
    elsewhere = Http1(answering())
    async with served(elsewhere):
        to = f"Location: http://{HOST}:{elsewhere.port}/\r\n"
        for status, error in ((302, OutcomeUnknown), (303, OutcomeUnknown), (307, Declined)):
            peer = Http1(answering(status, fields=to))
            async with served(peer):
                with pytest.raises(error):
                    await post(peer)
    assert elsewhere.connections == 0


async def test_the_environment_names_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    proxy, peer = Http1(answering()), Http1(answering())
    async with served(proxy), served(peer):
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://{HOST}:{proxy.port}")
        await post(peer)
    assert (proxy.connections, peer.connections) == (0, 1)


async def test_certificates_are_verified(contexts: Contexts) -> None:
    theirs, ours = contexts
    peer = Http1(answering())
    async with served(peer, theirs):
        url = f"https://{HOST}:{peer.port}/"
        with pytest.raises(NotPerformed, match="Certificate"):
            await Http().send(Effect(), "POST", url)
        await Http(tls_context=ours).send(Effect(), "POST", url)
        loose = Http(connector=lambda: aiohttp.TCPConnector(ssl=False, force_close=True))
        with pytest.raises(NotPerformed):  # a connector decides where to, not whom to trust
            await loose.send(Effect(), "POST", url)
    assert len(peer.requests) == 1
    with pytest.raises(InvalidValue):
        Http(tls_context=ssl._create_unverified_context())


# --- what no answer means -----------------------------------------------------------------


async def test_a_server_that_cannot_be_reached_did_nothing() -> None:
    effect = Effect()
    async with closed_port() as port:
        nameless = Http(connector=lambda: aiohttp.TCPConnector(resolver=NoNames()))
        for http, host in ((Http(), f"{HOST}:{port}"), (nameless, "nowhere.invalid")):
            with pytest.raises(NotPerformed) as told:
                await http.send(effect, "POST", f"http://{host}/secret-path")
            assert "secret-path" not in str(told.value)
    assert effect.calls == 0


@pytest.mark.parametrize("handle", [silent, half, garbage, stalling])
async def test_a_request_whose_answer_is_lost_is_uncertain(handle: Handle) -> None:
    peer = Http1(handle)
    async with served(peer):
        with pytest.raises(OutcomeUnknown):
            await post(peer, deadline_s=0.3 if handle is stalling else None)
    assert len(peer.requests) == 1


async def test_a_status_is_an_answer_even_when_the_body_breaks_off() -> None:
    peer = Http1(answering(200, b"half", size=100))
    async with served(peer):
        assert await post(peer) == {"status": 200, "body": "half", "truncated": True}


async def test_a_body_that_never_ends_is_cut_by_the_deadline() -> None:
    async def trickle(request: Request, writer: asyncio.StreamWriter) -> None:
        await answering(200, b"first", size=100)(request, writer)
        await stalling(request, writer)

    peer = Http1(trickle)
    async with served(peer):
        receipt = await post(peer, deadline_s=0.3)
    assert receipt == {"status": 200, "body": "first", "truncated": True}


# --- what an answer means -----------------------------------------------------------------

ANSWERS: list[tuple[int, Container[int], str, Word]] = [
    (200, SUCCESS, "", Word.PERFORMED),
    (202, SUCCESS, "", Word.PERFORMED),
    (204, {200}, "", Word.UNKNOWN),
    (409, {200, 409}, "", Word.PERFORMED),
    (301, SUCCESS, "", Word.UNKNOWN),
    (308, SUCCESS, "", Word.DECLINED),
    (400, SUCCESS, "", Word.DECLINED),
    (404, SUCCESS, "", Word.DECLINED),
    (408, SUCCESS, "", Word.LATER),
    (409, SUCCESS, "", Word.UNKNOWN),
    (422, SUCCESS, "", Word.DECLINED),
    (425, SUCCESS, "", Word.LATER),
    (429, SUCCESS, "Retry-After: 7\r\n", Word.LATER),
    (500, SUCCESS, "", Word.UNKNOWN),
    (501, SUCCESS, "", Word.DECLINED),
    (502, SUCCESS, "", Word.UNKNOWN),
    (503, SUCCESS, "", Word.UNKNOWN),
    (503, SUCCESS, "Retry-After: 7\r\n", Word.LATER),
    (504, SUCCESS, "Retry-After: 7\r\n", Word.UNKNOWN),
    (599, SUCCESS, "", Word.UNKNOWN),
]


@pytest.mark.parametrize(("status", "expect", "fields", "word"), ANSWERS)
async def test_an_answer_means_what_its_row_says(
    status: int, expect: Container[int], fields: str, word: Word
) -> None:
    peer = Http1(answering(status, b"" if status == 204 else b"why", fields=fields))
    async with served(peer):
        sending = post(peer, expect=expect)
        if word is Word.PERFORMED:
            assert (await sending)["status"] == status
        elif word is Word.UNKNOWN:
            with pytest.raises(OutcomeUnknown, match=str(status)) as unknown:
                await sending
            assert unknown.value.answer == str(status)
        else:
            with pytest.raises(Declined, match=str(status)) as declined:
                await sending
            assert declined.value.permanent is (word is Word.DECLINED)
            assert declined.value.retry_after_s == (7.0 if fields else None)


def test_every_row_has_its_source_and_a_known_status_is_never_guessed() -> None:
    for row in (*STATUSES.values(), *CLASSES.values()):
        assert row.source.startswith("RFC ")
    assert judge(999, expect=SUCCESS, retry_after="7").word is Word.UNKNOWN
    # Only an expectation makes an answer mean that it was performed.
    words = {judge(s, expect=(), retry_after=None).word for s in range(1000)}
    assert Word.PERFORMED not in words


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("7", 7.0), (" 7 ", 7.0), ("9" * 50, 86_400.0), ("-1", None), ("²", None), (None, None),
     ("Wed, 21 Oct 2026 07:28:00 GMT", None)],
)  # fmt: skip
def test_retry_after_is_read_in_seconds(text: str | None, seconds: float | None) -> None:
    assert seconds_of(text) == seconds


# --- what is kept -------------------------------------------------------------------------


async def test_a_bomb_is_kept_no_larger_than_the_limit() -> None:
    mib = 2**20
    zipped = gzip.compress(b"\0" * 64 * mib)
    deflated = zlib.compress(b"x" * 64 * mib)
    for encoding, body in (("gzip", zipped), ("deflate", deflated), ("", b"y" * 4 * mib)):
        fields = f"Content-Encoding: {encoding}\r\n" if encoding else ""
        peer = Http1(answering(200, body, fields=fields))
        async with served(peer):
            tracemalloc.start()
            try:
                receipt = await post(peer)
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
        assert receipt["truncated"] and len(receipt["body"]) <= 16 * 1024
        assert peak < 8 * mib


async def test_what_fits_is_kept_whole() -> None:
    for size, truncated in ((1000, False), (1001, True)):
        peer = Http1(answering(200, b"z" * size))
        async with served(peer):
            url = f"http://{HOST}:{peer.port}/"
            receipt = await Http(kept_bytes=1000).send(Effect(), "POST", url)
        assert receipt == {"status": 200, "body": "z" * 1000, "truncated": truncated}
    small = Http1(answering(200, gzip.compress(b"hello"), fields="Content-Encoding: gzip\r\n"))
    async with served(small):
        assert await post(small) == {"status": 200, "body": "hello", "truncated": False}


# --- what is refused ----------------------------------------------------------------------

REFUSED: list[dict[str, Any]] = [
    {"method": "GET / HTTP/1.1\r\nX:"},
    {"method": "get"},
    {"url": "ftp://example.com/"},
    {"url": "file:///etc/passwd"},
    {"url": "//example.com/"},
    {"url": "http:///path"},
    {"url": "http://user:pw@example.com/"},
    {"url": "http://:pw@example.com/"},
    {"url": "http://example.com:99999/"},
    {"headers": {"X": "a\r\nY: b"}},
    {"headers": {"X": "a\0"}},
    {"headers": {"X\r\nY": "a"}},
    {"headers": {"X": "€"}},
    {"headers": {"webhook-id": "mine"}},
    {"headers": {"Idempotency-Key": "mine"}},
    {"headers": {"Host": "elsewhere"}},
    {"headers": {"Content-Length": "1"}},
    {"headers": {"Transfer-Encoding": "chunked"}},
    {"json": {1, object()}},
    {"json": {}, "body": b"x"},
]


@pytest.mark.parametrize("given", REFUSED)
async def test_a_request_that_cannot_be_right_is_refused_unsent(given: dict[str, Any]) -> None:
    given = {"method": "POST", "url": "http://example.com/"} | given
    effect = Effect()
    with pytest.raises(InvalidValue) as told:
        await Http().send(effect, given.pop("method"), given.pop("url"), **given)
    assert isinstance(told.value, NotPerformed) and "pw" not in str(told.value)
    assert effect.calls == 0
