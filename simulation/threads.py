"""Threads of tasks that are plain functions, in virtual time: one runs, and everything else waits.

The product starts a thread for each such task and lets it block. Here the thread is a real one
that is handed the baton, so that only one of all threads runs at any time, and always the same
one for the same seed. What it asks of the event loop is done there while it waits; a kill ends it
where it stands. `simulated` puts these threads in the place of real ones.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import contextvars
from collections.abc import Callable, Coroutine, Iterator
from typing import Any
from unittest import mock

from duly.engine import instance
from duly.engine.threads import Threads
from simulation.loop import LANE
from simulation.ports import Baton, Killed

BATON: contextvars.ContextVar[Baton] = contextvars.ContextVar("baton")


class SimThreads(Threads):
    """`Threads` whose calls run on batons of the lane that submits them."""

    def submit(self, call: Callable[[], Any]) -> asyncio.Future[Any]:
        """Run `call` on a thread; the future ends when the thread is free again."""
        loop: Any = asyncio.get_running_loop()
        lane = LANE.get()
        assert lane is not None, "only a process has threads"
        future: asyncio.Future[Any] = loop.create_future()
        self.busy += 1
        baton = Baton(loop, lane)
        context = contextvars.copy_context()
        context.run(BATON.set, baton)
        loop.call_soon(baton.begin, lambda: self._call(loop, future, lambda: context.run(call)))
        lane.batons.append(baton)
        return future

    def stop(self) -> None:
        """Nothing is left behind: idle threads do not exist here."""


class Handed:
    """What a thread asked of its event loop, and waits for."""

    def __init__(self, asked: Coroutine[Any, Any, Any], loop: Any, baton: Baton) -> None:
        self._asked, self._loop, self._baton = asked, loop, baton

    def result(self) -> Any:
        """Wait by the baton until it is done, and return what it returned."""
        tasks: list[asyncio.Task[Any]] = []

        def begin() -> None:
            task = self._loop.create_task(self._asked)
            tasks.append(task)
            task.add_done_callback(lambda _: self._baton.go_on())

        self._loop.call_soon(begin)
        try:
            self._baton.park()
        except Killed:
            if not tasks:
                self._asked.close()
            raise
        if tasks[0].cancelled():
            raise concurrent.futures.CancelledError
        return tasks[0].result()


def nap(seconds: float) -> None:
    """Block the calling thread for so much virtual time."""
    BATON.get().wait(seconds)


@contextlib.contextmanager
def simulated() -> Iterator[None]:
    """Let engines that are made inside have threads of the simulator."""
    real = asyncio.run_coroutine_threadsafe

    def handed(asked: Coroutine[Any, Any, Any], loop: Any) -> Any:
        baton = BATON.get(None)
        return real(asked, loop) if baton is None else Handed(asked, loop, baton)

    with (
        mock.patch.object(instance, "Threads", SimThreads),
        mock.patch.object(asyncio, "run_coroutine_threadsafe", handed),
    ):
        yield
