"""Group commit: what many coroutines enqueue one by one shares statements and commits.

The first calls are sent at once, each alone; what is asked for while they are under way gathers,
and goes together as soon as one of them is answered. So a lone caller waits for nobody, and many
pay for one flush of the log between them. A call returns when its own run is committed, as if it
had been sent alone. What the database refuses together is sent again one by one, so that one
caller's mistake is told to that caller only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from duly.core.runs import NewRun
from duly.errors import DulyError, EnvironmentFailure

LANES = 2
"""Statements under way at the same time: one is written while another's log is flushed."""

MOST = 500
"""Runs in one statement."""

Write = Callable[[Sequence[NewRun]], Awaitable[None]]
Waiting = list[tuple[NewRun, "asyncio.Future[None]"]]


class Together:
    """Writes single runs; `write` commits all it is given, or raises and has written none."""

    def __init__(self, write: Write) -> None:
        self._write = write
        self._lanes = 0
        self._waiting: Waiting = []
        self._sending: set[asyncio.Task[None]] = set()

    async def put(self, run: NewRun) -> None:
        """Return when the run is committed; raises as `write` does."""
        if self._lanes < LANES:
            self._lanes += 1
            try:
                await self._write([run])
            finally:
                self._lanes -= 1
                self._next()
        else:
            written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append((run, written))
            await written

    def _next(self) -> None:
        """Send what has gathered, as far as there is a lane."""
        while self._waiting and self._lanes < LANES:
            batch, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
            self._lanes += 1
            task = asyncio.get_running_loop().create_task(self._send(batch))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    async def _send(self, batch: Waiting) -> None:
        left = [one for one in batch if not one[1].done()]  # who gave up asks for nothing
        try:
            await self._write_all(left)
        except BaseException as error:
            _answer(left, error)
            if not isinstance(error, Exception):
                raise
        else:
            _answer(left, None)
        finally:
            self._lanes -= 1
            self._next()

    async def _write_all(self, batch: Waiting) -> None:
        try:
            if batch:
                await self._write([run for run, _ in batch])
        except EnvironmentFailure:
            raise  # perhaps it is written: sending again is for whoever gave the runs their ids
        except DulyError:
            for one in batch:
                try:
                    await self._write([one[0]])
                except DulyError as error:
                    _answer([one], error)


def _answer(batch: Waiting, error: BaseException | None) -> None:
    for _, written in batch:
        if written.done():
            continue
        if error is None:
            written.set_result(None)
        elif isinstance(error, Exception):
            written.set_exception(error)
        else:
            written.cancel()
