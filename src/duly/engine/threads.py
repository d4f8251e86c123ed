"""Threads for synchronous tasks: a fixed number of slots that tell the truth.

A thread cannot be killed. One that ran over its time keeps its slot until it returns, so a
pool that is stuck shows as full. The threads are daemons: a process that must end, ends.
"""

from __future__ import annotations

import asyncio
import contextvars
import queue
import threading
from collections.abc import Callable
from typing import Any

_home: contextvars.ContextVar[asyncio.AbstractEventLoop | None] = contextvars.ContextVar(
    "home", default=None
)


def home() -> asyncio.AbstractEventLoop | None:
    """Return the event loop that the task of this thread belongs to; None on any other thread."""
    return _home.get()


class Threads:
    """At most `slots` calls at once; the caller counts, this only runs them."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.busy = 0  # read and written on the event loop only
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._started = 0

    @property
    def free(self) -> int:
        """How many calls could begin now."""
        return self.slots - self.busy

    def submit(self, call: Callable[[], Any]) -> asyncio.Future[Any]:
        """Run `call` on a thread; the future ends when the thread is free again, never before."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        context = contextvars.copy_context()
        context.run(_home.set, loop)
        self.busy += 1
        if self._started < min(self.slots, self.busy):
            self._started += 1
            threading.Thread(
                target=self._run, name=f"duly-work-{self._started}", daemon=True
            ).start()
        self._work.put(lambda: self._call(loop, future, lambda: context.run(call)))
        return future

    def stop(self) -> None:
        """Let idle threads end; busy ones end with their work, or with the process."""
        for _ in range(self._started):
            self._work.put(None)
        self._started = 0

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            work()

    def _call(
        self, loop: asyncio.AbstractEventLoop, future: asyncio.Future[Any], call: Callable[[], Any]
    ) -> None:
        try:
            result: Any = call()
            failure: BaseException | None = None
        except BaseException as error:  # SystemExit in a task ends the task, not the thread
            result, failure = None, error
        if not loop.is_closed():
            loop.call_soon_threadsafe(self._done, future, result, failure)

    def _done(
        self, future: asyncio.Future[Any], result: Any, failure: BaseException | None
    ) -> None:
        self.busy -= 1
        if future.cancelled():
            return
        if failure is None:
            future.set_result(result)
        elif isinstance(failure, StopIteration | KeyboardInterrupt | SystemExit):
            future.set_exception(RuntimeError(f"the task raised {type(failure).__name__}"))
        else:
            future.set_exception(failure)
