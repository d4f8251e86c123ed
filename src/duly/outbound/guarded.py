"""Connections that go only where calls may go: every name is judged by what it leads to, each time.

`Http(guard=Guard(rules))` makes each request through a `Guard`. It reads the URL by the strict
grammar of `core.targets`, resolves the name once, judges *all* answers, and connects to one of
those very addresses, with the name of the URL in `Host` and in TLS. Right before each connection
the address itself is judged once more, so that no path of the driver leads past the judgement.

A name that leads to one address that may not be called is refused altogether: it would be called
by luck. Never asks a second time, never caches an answer, never consults the environment.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from duly.core.addresses import read_address
from duly.core.targets import Rules, Target
from duly.errors import InvalidValue
from duly.outbound.base import Forbidden, missing_extra

try:
    import aiohttp
    from aiohttp.abc import AbstractResolver
    from aiohttp.resolver import ThreadedResolver
except ImportError:
    raise missing_extra("http", "aiohttp") from None

if TYPE_CHECKING:
    from aiohttp.abc import ResolveResult

__all__ = ["Guard", "Rules"]

Resolving = Callable[[], AbstractResolver]


class Guard:
    """Judges URLs and addresses by `Rules`, and makes connectors that obey. Safe to share.

    `resolver` makes what asks for names; the system's own, when it is left out.
    """

    def __init__(self, rules: Rules | None = None, *, resolver: Resolving | None = None) -> None:
        self._rules = rules or Rules()
        self._resolving = resolver or ThreadedResolver

    def target(self, url: str) -> Target:
        """Return where a URL leads, or raise `Forbidden`, which says why it may not be called."""
        try:
            return self._rules.read(url)
        except InvalidValue as error:
            raise Forbidden(str(error)) from None

    def connector(self, target: Target) -> aiohttp.BaseConnector:
        """Return the connector of one request to a target."""

        def make_socket(info: tuple[Any, ...]) -> socket.socket:
            family, kind, protocol, _, place = info
            self.judge(target, [str(place[0])])
            return socket.socket(family=family, type=kind, proto=protocol)

        return aiohttp.TCPConnector(
            resolver=_Judged(self, target, self._resolving()),
            use_dns_cache=False,
            force_close=True,
            limit=0,
            socket_factory=make_socket,
        )

    def judge(self, target: Target, addresses: Sequence[str]) -> None:
        """Raise `Forbidden` unless each of the addresses may be called for the target."""
        for text in addresses:
            try:
                address = read_address(text)
            except InvalidValue as error:
                raise Forbidden(str(error)) from None
            reason = self._rules.why_not(target.host, target.port, address)
            if reason is None and not self._rules.port_opens(target.host, target.port, address):
                reason = f"the port {target.port}, which is not allowed at {address}"
            if reason is not None:
                raise Forbidden(
                    f"expected {target.host} to lead where calls may go, got {reason};"
                    " calls.allow names the exceptions"
                )


class _Judged(AbstractResolver):
    """Asks once, and answers only what may all be called."""

    def __init__(self, guard: Guard, target: Target, inner: AbstractResolver) -> None:
        self._guard, self._target, self._inner = guard, target, inner

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        self._guard.judge(self._target, [one["host"] for one in found])
        return found

    async def close(self) -> None:
        await self._inner.close()
