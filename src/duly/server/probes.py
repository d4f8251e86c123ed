"""Probes of a worker process: `/livez`, `/readyz` and `/metrics` over plain HTTP.

Served from a thread of its own, so that they answer even while user code blocks the event
loop, and say so. `/livez` speaks for the loops, not for the process: 503 when one has given
up. `/readyz` is 503 while the instance starts, stops, or has no store. Nothing can be changed
through them, and nothing about runs is told; still they bind to loopback unless told otherwise.
`/readyz?verbose` also says how the channels stand by which people are told, to whoever asks from
this machine: there are no keys here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from urllib.parse import parse_qs

from duly.core.fleet import Health
from duly.core.telling import ChannelStanding
from duly.errors import ConfigError, DulyError
from duly.server.standing import channel_line

Page = tuple[int, str, bytes]


class Probes:
    """The server; `start` binds, `stop` ends it. Port 0 takes any free one."""

    def __init__(
        self,
        health: Callable[[], Health],
        metrics: Callable[[], tuple[str, bytes]] | None = None,
        *,
        channels: Callable[[], Sequence[ChannelStanding]] | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self._health, self._metrics, self._channels = health, metrics, channels
        self._host, self._port = host, port
        self._server: ThreadingHTTPServer | None = None

    def start(self) -> int:
        """Begin to serve; return the port. Raises `ConfigError` when it cannot be bound."""
        try:
            server = ThreadingHTTPServer((self._host, self._port), self._handler())
        except OSError as error:
            raise ConfigError(
                f"expected {self._host}:{self._port} to be free for probes: {error.strerror}"
            ) from None
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, name="duly-probes", daemon=True).start()
        self._server = server
        return int(server.server_address[1])

    def stop(self) -> None:
        """End; afterwards the port is free."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def page(self, path: str, *, verbose: bool = False) -> Page:
        """Return status, content type and body for a path."""
        health = self._health()
        if path in ("/livez", "/healthz"):
            return _said(health.live, health.why)
        if path == "/readyz":
            return _said(health.ready, health.why, self._standing() if verbose else "")
        if path == "/metrics" and self._metrics is not None:
            kind, body = self._metrics()
            return 200, kind, body
        return 404, "text/plain", b"there is /livez, /readyz and /metrics\n"

    def _standing(self) -> str:
        """Say how the channels stand; that nobody knows it is no reason to be not ready."""
        if self._channels is None:
            return ""
        try:
            return "".join(map(channel_line, self._channels()))
        except (DulyError, TimeoutError):
            return "channels: the store does not answer\n"

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        page = self.page

        class Handler(BaseHTTPRequestHandler):
            timeout = 5

            def do_GET(self) -> None:
                path, _, query = self.path.partition("?")
                here = ip_address(self.client_address[0]).is_loopback
                verbose = here and "verbose" in parse_qs(query, keep_blank_values=True)
                status, kind, body = page(path, verbose=verbose)
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Probes are not worth a line."""

        return Handler


def _said(well: bool, why: str, more: str = "") -> Page:
    text = "ok\n" if well else f"{why or 'not now'}\n"
    return (200 if well else 503), "text/plain; charset=utf-8", (text + more).encode()
