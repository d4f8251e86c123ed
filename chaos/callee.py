"""An HTTP server on loopback that keeps a record of each call that reached it, with its instant.

It answers as it is told to: by path, in turns, and differently from one moment to the next. What
it recorded is the truth that breakers and runs are held against. It knows nothing of Duly: whoever
calls says in the body which run it is. It listens on 127.0.0.1 alone, and ends with its block.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import msgspec

HOST = "127.0.0.1"
HANG_UP = 0
"""Instead of a status: the connection is ended without an answer."""


class Call(msgspec.Struct, frozen=True):
    """A call that reached the server: when, to which path, by which run, under which id."""

    at: datetime
    path: str
    run: str
    key: str
    status: int


Answering = Callable[[str, int], int]
"""Which status a path is answered with, and how many calls there were before."""


class Callee:
    """The server. `answers` may be replaced at any moment; `slow_s` is what an answer takes."""

    def __init__(self, answers: Answering, *, slow_s: float = 0.0) -> None:
        self.answers, self._slow_s = answers, slow_s
        self.calls: list[Call] = []
        self._server: asyncio.Server | None = None
        self._talks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Callee:
        self._server = await asyncio.start_server(self._accept, HOST, 0, backlog=1000)
        return self

    async def __aexit__(self, *_: Any) -> None:
        assert self._server is not None, "it was entered"
        self._server.close()
        for one in list(self._talks):
            one.cancel()
        await asyncio.gather(*self._talks, return_exceptions=True)

    @property
    def place(self) -> str:
        """Its host and port."""
        assert self._server is not None, "it was entered"
        return f"{HOST}:{self._server.sockets[0].getsockname()[1]}"

    def to(self, path: str) -> list[Call]:
        """Return the calls to a path, in their order."""
        return [one for one in self.calls if one.path == path]

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talk = asyncio.create_task(self._talk(reader, writer))
        self._talks.add(talk)
        talk.add_done_callback(self._talks.discard)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                await self._answer(reader, writer)
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read one request, write it down, and answer it after a while."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *fields = head.strip().split("\r\n")
        pairs = (one.partition(":") for one in fields)
        headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        path = line.split(" ")[1]
        status = self.answers(path, len(self.calls))
        key = headers.get("webhook-id", "")
        self.calls.append(Call(datetime.now(UTC), path, body.decode(), key, status))
        await asyncio.sleep(self._slow_s)
        if status != HANG_UP:
            writer.write(f"HTTP/1.1 {status} so\r\nContent-Length: 0\r\n\r\n".encode())
            await writer.drain()
