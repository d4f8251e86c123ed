"""An event loop whose time and order a seed decides, with processes that can die in it.

One loop carries a whole fleet. Every callback belongs to the simulated process that a context
variable names, and each process has a lane of its own, first in first out, as a real event loop
would be to it; which lane goes next is drawn. When no lane has anything to do, time jumps to
the next timer. Nothing waits for real.

A killed process is never resumed: its callbacks are dropped, and its tasks are kept referenced,
because a task that is collected would run its `finally` blocks, which no killed process does.
A paused process keeps its callbacks until it is resumed, while time goes on for everybody.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import heapq
import inspect
import random
import warnings
from asyncio import base_events, events
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

LANE: contextvars.ContextVar[Lane | None] = contextvars.ContextVar("lane", default=None)

SPIN = 20_000
"""Callbacks at one instant after which a loop is held to spin."""


class Spinning(Exception):
    """Callbacks follow each other without time passing."""


class Stuck(Exception):
    """Nothing is ready and no timer is set."""


class Lane:
    """One simulated process, as the loop sees it."""

    __slots__ = ("alive", "batons", "name", "paused", "queue")

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.paused = False
        self.queue: deque[events.Handle] = deque()
        self.batons: list[Any] = []  # of threads that run tasks; they end with their process


class SimLoop(base_events.BaseEventLoop):
    """The loop. `rng` is the one source of order; `steps` counts callbacks."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__()
        self.rng = rng
        self.steps = 0
        self.troubles: list[dict[str, Any]] = []
        self.world = Lane("world")
        self.lanes = [self.world]
        self._living = [self.world]
        self._now = 0.0
        self._at_instant = 0
        self._kept: list[tuple[Lane, asyncio.Task[Any]]] = []
        self._clock_resolution = 1e-9
        self.set_debug(False)  # debugging checks threads, and reads the stack at every callback
        self.set_task_factory(self._make_task)
        self.set_exception_handler(lambda loop, trouble: self.troubles.append(trouble))

    # --- processes ------------------------------------------------------------------------

    def lane(self, name: str) -> Lane:
        """Begin a process."""
        lane = Lane(name)
        self.lanes.append(lane)
        self._living.append(lane)
        return lane

    def spawn(self, lane: Lane, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Begin a task of a process."""
        context = contextvars.copy_context()
        context.run(LANE.set, lane)
        return self.create_task(work, context=context)

    def kill(self, lane: Lane) -> None:
        """End a process as `kill -9` does: not one more callback of it runs."""
        lane.alive = False
        lane.queue.clear()
        self._living.remove(lane)
        for baton in lane.batons:
            baton.kill()
        lane.batons.clear()

    def resume(self, lane: Lane) -> None:
        """Let a paused process go on with what came meanwhile."""
        lane.paused = False

    def later_in(self, lane: Lane, seconds: float, call: Callable[[], object]) -> None:
        """Call back in a process's lane after a while."""
        context = contextvars.copy_context()
        context.run(LANE.set, lane)
        self.call_at(self._now + seconds, call, context=context)

    def _make_task(self, loop: Any, coro: Any, **how: Any) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=loop, **how)
        context: contextvars.Context | None = how.get("context")
        lane = LANE.get() if context is None else context.get(LANE)
        self._kept.append((lane or self.world, task))
        if len(self._kept) % 5000 == 0:
            self._kept = [(lane, one) for lane, one in self._kept if not _is_over(one)]
        return task

    # --- the loop -------------------------------------------------------------------------

    def time(self) -> float:
        """Return virtual seconds since the world began."""
        return self._now

    def call_soon(  # type: ignore[override]
        self, callback: Any, *args: Any, context: contextvars.Context | None = None
    ) -> events.Handle:
        """Put a callback into the lane of whoever asks for it."""
        handle = events.Handle(callback, args, self, context)
        self._enter(handle)
        return handle

    def call_soon_threadsafe(  # type: ignore[override]
        self, callback: Any, *args: Any, context: contextvars.Context | None = None
    ) -> events.Handle:
        """As `call_soon`: only one thread at a time ever runs here."""
        return self.call_soon(callback, *args, context=context)

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, call: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """Call a function a moment later, in one piece, as a thread of the pool might."""
        future = self.create_future()

        def do() -> None:
            try:
                result: Any = call(*args)
            except BaseException as error:
                if not future.done():
                    future.set_exception(error)
            else:
                if not future.done():
                    future.set_result(result)

        self.call_later(0.0005 + self.rng.random() * 0.01, do)
        return future

    def _enter(self, handle: events.Handle) -> None:
        lane = handle._context.get(LANE) or self.world  # type: ignore[attr-defined]
        if lane.alive:
            lane.queue.append(handle)

    def _run_once(self) -> None:
        runnable = [one for one in self._living if one.queue and not one.paused]
        if not runnable:
            self._advance()
            return
        lane = runnable[0] if len(runnable) == 1 else self.rng.choice(runnable)
        for _ in range(len(lane.queue)):
            if lane.paused or not lane.queue:
                return
            handle = lane.queue.popleft()
            if not handle.cancelled():
                self.steps += 1
                self._at_instant += 1
                handle._run()
        if self._at_instant > SPIN:
            raise Spinning(f"{self._at_instant} callbacks at {self._now:.3f} s in {lane.name}")

    def _advance(self) -> None:
        scheduled: list[Any] = self._scheduled  # type: ignore[attr-defined]
        while scheduled and scheduled[0].cancelled():
            heapq.heappop(scheduled)._scheduled = False
        if not scheduled:
            raise Stuck("nothing is ready, and nothing is set for later")
        if scheduled[0].when() > self._now:
            self._now, self._at_instant = scheduled[0].when(), 0
        while scheduled and scheduled[0].when() <= self._now:
            handle = heapq.heappop(scheduled)
            handle._scheduled = False
            if not handle.cancelled():
                self._enter(handle)

    def _process_events(self, event_list: Any) -> None:
        """There is no input or output here."""

    def _write_to_self(self) -> None:
        """Nobody sleeps in a selector here."""

    # --- the end --------------------------------------------------------------------------

    def unheard(self) -> list[str]:
        """Return what was raised, and heard by nobody; the dead have nobody to hear them.

        A task tells its loop of that only when it is collected, and all of them are kept here.
        """
        found = [str(one.get("exception") or one["message"]) for one in self.troubles]
        for lane, task in self._kept:
            if task.done() and lane.alive and not _is_over(task):
                found.append(f"{lane.name} raised unheard: {task.exception()!r}")
        return found

    def bury(self) -> None:
        """End every task that is left, the dead ones' too, without time passing, and close."""
        left = [one for _, one in self._kept if not one.done()]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # of work that was handed to one
            for task in left:
                coro: Any = task.get_coro()
                if inspect.getcoroutinestate(coro) == inspect.CORO_CREATED:
                    coro.close()  # or it would complain that nobody awaited it
        for lane in self.lanes:
            lane.alive, lane.paused = True, False
        self._living = self.lanes
        self._scheduled.clear()  # type: ignore[attr-defined]
        for _ in range(4):  # a task may wait again in its `finally`
            for task in left:
                task.cancel()
            self._run_ready()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # work that closing made them begin
            for _, task in self._kept:  # those too that only began to end
                if not task.done():  # its next step was dropped when its process was killed
                    task._log_destroy_pending = False  # type: ignore[attr-defined]
                    with contextlib.suppress(RuntimeError):
                        task.get_coro().close()
        self._kept.clear()
        self.close()

    def _run_ready(self) -> None:
        events._set_running_loop(self)
        self._at_instant = 0
        try:
            while any(one.queue for one in self.lanes):
                self._run_once()
        finally:
            events._set_running_loop(None)


def _is_over(task: asyncio.Task[Any]) -> bool:
    """Whether a task is done, and whatever it raised was heard by somebody."""
    return task.done() and not task._log_traceback
