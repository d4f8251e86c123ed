"""Waking: a connection of its own that hears what others committed, and tells of our commits.

Listeners of this process are called at once. Others are told by NOTIFY, on this connection and
never inside a writing statement: the first at once, then all that gathered, every few
milliseconds. Telling is a hint: what cannot be told is dropped, and a slow poll is the net. A
lost connection is made anew; since hints may have been lost with it, listeners are then told
that something may be ready and something may be due. A line that only listens can fall silent
with its socket open, and nobody would know; so it is asked for a sign of life as soon as another
line of this process broke, and now and then.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import asyncpg

from duly.errors import DulyError
from duly.stores.base import Signal, WakeUp
from duly.stores.postgres.border import BROKEN
from duly.stores.postgres.connection import Address
from duly.stores.postgres.unit import Line

Heard = Callable[[WakeUp], None]

REST_S = 0.003
LAST_WORDS_S = 0.25
LONGEST_MESSAGE = 7000
FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 5.0
CHECK_S = 300.0
"""How often the line is asked for a sign of life although no other broke. An idle instance sends
two statements a minute; this one is hardly seen beside them."""
ANSWER_S = 5.0
"""How long a sign of life is waited for. A new line costs little, being deaf costs more."""

AFTER_LOSS = (WakeUp(Signal.READY), WakeUp(Signal.DUE))


class Bell:
    """The connection that listens and tells. `recheck` is awaited after each reconnection."""

    def __init__(self, address: Address) -> None:
        self.conn: asyncpg.Connection | None = None
        self.recheck: Callable[[], Awaitable[Any]] | None = None
        self.lock = asyncio.Lock()
        self._address = address
        self._listeners: list[Heard] = []
        self._pending: set[WakeUp] = set()
        self._resting = False
        self._closed = asyncio.Event()
        self._pid = 0  # of our own session, whose words were told here already
        self._tasks: set[asyncio.Task[None]] = set()
        self._checking: asyncio.Task[None] | None = None
        self._doubted = asyncio.Event()

    async def open(self) -> None:
        """Connect and listen; raises errors of Duly."""
        if self.conn is None or self.conn.is_closed():
            conn = await self._address.connect(synchronous_commit="off")
            try:
                await conn.add_listener(self._address.channel, self._hear)
            except BaseException:  # a cancelled one too: nobody else knows of this line yet
                conn.terminate()
                raise
            conn.add_termination_listener(self._lost)
            self.conn, self._pid = conn, conn.get_server_pid()
        if self._checking is None:
            self._checking = asyncio.get_running_loop().create_task(self._check())

    async def close(self) -> None:
        """Say what is still unsaid, within a moment; end the connection and all under way."""
        if self._pending or self._tasks:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LAST_WORDS_S):
                    await asyncio.gather(*self._tasks, return_exceptions=True)
                    await self._send()
        self._closed.set()
        left = [*self._tasks, *([self._checking] if self._checking is not None else ())]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        conn, self.conn = self.conn, None
        if conn is not None:
            conn.terminate()

    def listen(self, heard: Heard) -> Callable[[], None]:
        """Call `heard` for every waking message; return what ends that."""
        self._listeners.append(heard)

        def stop() -> None:
            if heard in self._listeners:
                self._listeners.remove(heard)

        return stop

    def ring(self, wakes: Iterable[WakeUp]) -> None:
        """Tell what committed: our own listeners now, the others within milliseconds."""
        wakes = list(wakes)
        if not wakes or self._closed.is_set():
            return
        self._tell_here(wakes)
        self._pending.update(wakes)
        if not self._resting:
            self._resting = True
            self._spawn(self._send())

    def doubt(self) -> None:
        """Another line of this process broke: see soon whether this one is sound."""
        self._doubted.set()

    async def say(self, wake: WakeUp) -> None:
        """Tell one thing at once; returns when the database has it, or cannot be told."""
        self._tell_here([wake])
        await self._notify(message([wake])[0])

    async def tell_within(self, line: Line, wakes: set[WakeUp]) -> None:
        """Tell from inside somebody's transaction: the database delivers it at their commit."""
        if wakes:
            await line.fetch("select pg_notify($1, $2)", self._address.channel, message(wakes)[0])

    async def _send(self) -> None:
        told, rest = message(self._pending)
        self._pending = rest
        await self._notify(told)
        asyncio.get_running_loop().call_later(REST_S, self._rested)

    async def _notify(self, told: str) -> None:
        await self._ask("select pg_notify($1, $2)", self._address.channel, told)

    async def _check(self) -> None:
        """Ask for a sign of life when there is a doubt, and now and then, until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CHECK_S):
                    await self._doubted.wait()
            self._doubted.clear()
            await self._ask("select 1", within_s=ANSWER_S)

    async def _ask(self, sql: str, *args: str, within_s: float | None = None) -> None:
        """Send one statement, if there is a line. One that gives no answer is ended at once."""
        async with self.lock:
            conn = self.conn
            if conn is None or conn.is_closed():
                return  # a hint that is lost: the poll is the net
            try:
                await conn.fetch(sql, *args, timeout=within_s)
            except TimeoutError:
                conn.terminate()  # now, and not when the driver's own cancelling waited in vain
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, BROKEN):
                return

    def _rested(self) -> None:
        self._resting = False
        if self._pending and not self._closed.is_set():
            self._resting = True
            self._spawn(self._send())

    def _hear(self, conn: asyncpg.Connection, pid: int, channel: str, message: str) -> None:
        if pid != self._pid:  # not asked of `conn`: it may have ended since this was sent
            self._tell_here(_wakes(message))

    def _tell_here(self, wakes: Iterable[WakeUp]) -> None:
        for heard in list(self._listeners):
            for wake in wakes:
                heard(wake)

    def _lost(self, conn: asyncpg.Connection) -> None:
        if not self._closed.is_set() and conn is self.conn:
            self._spawn(self._reconnect())

    async def _reconnect(self) -> None:
        pause = FIRST_PAUSE_S
        while not self._closed.is_set():
            try:
                async with self.lock:
                    await self.open()
                if self.recheck is not None:
                    await self.recheck()
            except DulyError:
                await self._wait(pause)
                pause = min(pause * 2, LONGEST_PAUSE_S)
            else:
                self._tell_here(AFTER_LOSS)
                return

    async def _wait(self, seconds: float) -> None:
        """Wait, or until the bell is closed."""
        try:
            async with asyncio.timeout(seconds):
                await self._closed.wait()
        except TimeoutError:
            return

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def message(wakes: Iterable[WakeUp]) -> tuple[str, set[WakeUp]]:
    """Put wakes into one message as far as it has room; return it and the rest."""
    parts: list[str] = []
    rest: set[WakeUp] = set()
    room = LONGEST_MESSAGE
    for wake in sorted(wakes, key=lambda one: (one.signal, one.detail)):
        part = f"{wake.signal.value}:{wake.detail}"
        room -= len(part.encode()) + 1
        if room >= 0:
            parts.append(part)
        else:
            rest.add(wake)
    return " ".join(parts), rest


def _wakes(message: str) -> list[WakeUp]:
    """Read a message; what a newer version of the code says and this one does not know, is left."""
    known = {one.value: one for one in Signal}
    pairs = (part.partition(":") for part in message.split())
    return [WakeUp(known[name], detail) for name, _, detail in pairs if name in known]
