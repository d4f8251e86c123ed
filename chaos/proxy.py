"""A way to PostgreSQL that can fail: a Unix socket in a folder of its own, which passes bytes on.

It reads both sides of the protocol as far as it needs to know where a commit is: an explicit
COMMIT, or a writing statement outside of a transaction. Of a commit it can cut the request, so that
the server never sees it, or the answer, so that nobody knows it happened. It can also go silent
with its sockets open, and answer late. Unless it is told to, it does nothing of the kind.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Literal

SOCKET = ".s.PGSQL.5432"
WRITES = re.compile(rb"\b(insert|update|delete)\b", re.IGNORECASE)
Cut = Literal["request", "answer"]


class Proxy:
    """One way. `cut_next` says of a commit what is to be cut, if anything; `delay_s` of answers."""

    def __init__(self, folder: Path, server: Path) -> None:
        self.folder, self._server_path = folder, server / SOCKET
        self.cut_next: Callable[[], Cut | None] = lambda: None
        self.delay_s = 0.0
        self.done: Counter[str] = Counter()
        self._lines: set[_Line] = set()
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Proxy:
        await asyncio.to_thread(self.folder.mkdir)
        self._server = await asyncio.start_unix_server(
            self._begin, str(self.folder / SOCKET), backlog=200
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None, "it was entered"
        self._server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)
        await self._server.wait_closed()

    def url(self, of: str) -> str:
        """Return an address of the same database by this way."""
        return re.sub(r"host=[^&]+", f"host={self.folder}", of)

    def silence(self) -> int:
        """Pass nothing on any more on what is open now; new connections work. How many."""
        for line in self._lines:
            line.silent.clear()
        return len(self._lines)

    def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there = await asyncio.open_unix_connection(str(self._server_path))
        except (OSError, asyncio.CancelledError):
            await _closed(writer)
            return
        line = _Line(self, (reader, writer), there)
        self._lines.add(line)
        try:
            await line.run()
        finally:
            self._lines.discard(line)


Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Line:
    """One connection through a proxy."""

    def __init__(self, proxy: Proxy, here: Ends, there: Ends) -> None:
        self._proxy, self._here, self._there = proxy, here, there
        self.silent = asyncio.Event()  # set: it passes things on
        self.silent.set()
        self._statements: dict[bytes, bytes] = {}
        self._at_rest = True  # no transaction is open
        self._swallow = False  # the answer to a commit is being cut

    async def run(self) -> None:
        """Pass bytes on until one side ends."""
        ways = [asyncio.ensure_future(one) for one in (self._asked(), self._answered())]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in ways:
                one.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            await asyncio.gather(*(_closed(writer) for _, writer in (self._here, self._there)))

    async def _asked(self) -> None:
        reader, writer = self._here[0], self._there[1]
        size = await reader.readexactly(4)
        writer.write(size + await reader.readexactly(int.from_bytes(size) - 4))
        while True:
            kind, size, body = await _message(reader)
            await self.silent.wait()
            cut = self._proxy.cut_next() if self._commits(kind, body) else None
            if cut is not None:
                self._proxy.done[cut] += 1
            if cut == "request":
                return
            self._swallow = self._swallow or cut == "answer"
            writer.write(kind + size + body)
            await writer.drain()

    async def _answered(self) -> None:
        reader, writer = self._there[0], self._here[1]
        while True:
            kind, size, body = await _message(reader)
            if kind == b"Z":
                self._at_rest = body == b"I"
                if self._swallow:
                    return
            if self._swallow:
                continue
            if self._proxy.delay_s and kind == b"Z":
                await asyncio.sleep(self._proxy.delay_s)
            await self.silent.wait()
            writer.write(kind + size + body)
            await writer.drain()

    def _commits(self, kind: bytes, body: bytes) -> bool:
        """Whether the server will have committed something once it has done this."""
        if kind == b"Q":
            return body.upper().startswith(b"COMMIT")
        if kind == b"P":
            name, statement, _ = body.split(b"\0", 2)
            self._statements[name] = statement
        elif kind == b"B" and self._at_rest:
            statement = self._statements.get(body.split(b"\0", 2)[1], b"")
            return WRITES.search(statement) is not None
        return False


async def _closed(writer: asyncio.StreamWriter) -> None:
    """Close one end, and wait until it is."""
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def _message(reader: asyncio.StreamReader) -> tuple[bytes, bytes, bytes]:
    kind = await reader.readexactly(1)
    size = await reader.readexactly(4)
    return kind, size, await reader.readexactly(int.from_bytes(size) - 4)


def now_and_then(share: float, most: int, done: Counter[str]) -> Callable[[], Cut | None]:
    """Cut one in so many commits, requests and answers in turn, until there were enough."""
    chance = random.Random(3)

    def choose() -> Cut | None:
        cut = done.total()
        if cut >= most or chance.random() > share:
            return None
        return "answer" if cut % 2 else "request"

    return choose
