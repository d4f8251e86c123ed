"""Attempts: a claimed run's function is called, and its end becomes an `Ending`.

Coroutines run as tasks of the event loop, functions on threads. Whatever happens in user code
ends up as data here; nothing user code raises leaves this module. An ending that would be
untrue is not written: a run whose boot was declared dead ends in silence, because it is in
other hands already, and the fence would refuse the word anyway.

A thread that ran over its time keeps its slot, and its run is not retried, until the thread
returns or the process is gone: nobody else may do the work while it might still be doing it.
"""

from __future__ import annotations

import asyncio
import contextlib
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, timedelta, tzinfo
from typing import Any, TypeVar

import msgspec

from duly.core.breakers import breaker_for
from duly.core.clock import Clock
from duly.core.rules import MAX_PAYLOAD
from duly.core.runs import Ending
from duly.core.states import RunVerb
from duly.core.tasks import Task
from duly.core.tripping import WAITS
from duly.engine.breaking import Gate
from duly.engine.context import Context, Facts
from duly.engine.durable.services import Services
from duly.engine.durable.waiting import Suspended
from duly.engine.durable.work import Work
from duly.engine.hands import Holding
from duly.engine.recording import Recording
from duly.engine.synchronous import SyncContext
from duly.engine.threads import Threads
from duly.errors import BreakerOpen, DulyError, InvalidValue, NotPerformed, WorkCancelled

MAX_ERROR = 8000
"""Characters of an error that are kept: the end of it, where the cause stands."""

LOST = "its boot was declared dead"
UNTRUSTED = "the lease could not be trusted"
HANDED_BACK = "handed back at a stop"

C = TypeVar("C", bound=Facts)

Ended = Callable[[Holding, Ending | None], None]
"""Called once per attempt that ended; the ending is None when there is nothing to write."""


class Attempts:
    """Runs attempts within the slots; `ended` hears of each end, `started` of each start."""

    def __init__(
        self,
        tasks: Mapping[str, Task],
        clock: Clock,
        threads: Threads,
        *,
        slots: int,
        zones: Mapping[str, tzinfo],
        services: Services | None = None,
        resources: Any = None,
        gate: Gate | None = None,
        recording: Recording | None = None,
    ) -> None:
        self._gate, self._recording = gate, recording
        self._services = services
        self._tasks, self._clock, self._threads, self._zones = tasks, clock, threads, zones
        self._slots, self._resources = slots, resources
        self._waiting: deque[Holding] = deque()
        self._early: dict[Holding, asyncio.TimerHandle] = {}  # their time is yet to come
        self._running: set[Holding] = set()
        self._on_threads: set[Holding] = set()
        self.ended: Ended = lambda holding, ending: None
        self.started: Callable[[Holding], None] = lambda holding: None
        self.trusted: Callable[[], bool] = lambda: True

    @property
    def coroutines(self) -> int:
        """How many coroutines run or wait for a slot."""
        return len(self._running) + len(self._waiting)

    def threads_taken(self, held: Iterable[Holding]) -> int:
        """How many threads work, or will work, for `held` and for what was let go of since."""
        slow = {one for one in held if not self._tasks[one.claimed.task].is_async}
        return len(slow | self._on_threads)

    def start(self, holding: Holding) -> None:
        """Start an attempt when its time has come and a slot is free, now if that is so."""
        wait_s = holding.claimed.wait_s
        if wait_s > 0:
            loop = asyncio.get_running_loop()
            self._early[holding] = loop.call_later(wait_s, self._in_time, holding)
        else:
            self._start(holding)

    def _in_time(self, holding: Holding) -> None:
        if self._early.pop(holding, None) is not None:
            self._start(holding)

    def _start(self, holding: Holding) -> None:
        task = self._tasks[holding.claimed.task]
        if not task.is_async:
            self._on_threads.add(holding)
            self._begin(holding, self._in_thread(holding, task))
        elif len(self._running) < self._slots:
            self._running.add(holding)
            self._begin(holding, self._in_loop(holding, task))
        else:
            self._waiting.append(holding)

    def _begin(self, holding: Holding, work: Any) -> None:
        if not self.trusted():
            # Handed back by a fenced write: dropped, it would stay held for ever by an instance
            # that has nothing else in hand, and so renews nothing.
            work.close()
            self._running.discard(holding)
            self._on_threads.discard(holding)
            self.ended(holding, self._released(holding, UNTRUSTED))
            return
        holding.started = True
        self.started(holding)
        holding.handle = asyncio.get_running_loop().create_task(work)

    def end_unbegun(self) -> None:
        """End attempts whose tasks somebody else cancelled before their first step.

        Their code never saw it. Looked for now and then: a callback on each task would cost as
        much as the task.
        """
        for holding in [one for one in self._running if one.handle and one.handle.cancelled()]:
            self._end_unbegun(holding)

    def _end_unbegun(self, holding: Holding) -> None:
        self._running.discard(holding)
        self.ended(holding, self._stopped(holding))
        self._start_waiting()

    def stop(self, holding: Holding, why: str) -> None:
        """Ask an attempt to stop: a coroutine at once, a thread at its next `check`."""
        holding.cancel = why
        if not holding.started:
            early = self._early.pop(holding, None)
            if early is not None:
                early.cancel()
            elif holding in self._waiting:
                self._waiting.remove(holding)
            self.ended(holding, self._stopped(holding))
        elif holding.handle is not None and self._tasks[holding.claimed.task].is_async:
            holding.handle.cancel()
            if not holding.begun:
                self._end_unbegun(holding)

    def hand_back(self, holdings: Sequence[Holding]) -> None:
        """Hand back those of `holdings` that still wait for a slot: others may have one."""
        for holding in holdings:
            if not holding.started and not holding.ending and holding in self._waiting:
                self.stop(holding, HANDED_BACK)

    @property
    def crowded(self) -> bool:
        """Whether an attempt waits for a slot."""
        return bool(self._waiting)

    @property
    def unstarted(self) -> Sequence[Holding]:
        """The attempts that wait for a slot or for their time, as they are now."""
        return [*self._waiting, *self._early]

    # --- coroutines -----------------------------------------------------------------------

    async def _in_loop(self, holding: Holding, task: Task) -> None:
        holding.begun = True
        if self._recording is not None:
            self._recording.open(holding, task)
        ending: Ending | None
        context: Context | None = None
        try:
            arguments = task.decode(holding.claimed.args)
            if task.context is not None:
                arguments[task.context] = context = self._context(holding, Context)
            if task.breaker is not None:
                result = await self._guarded(holding, task, arguments)
            elif task.timeout is None:
                result = await task.fn(**arguments)
            else:
                result = await self._timed(task.fn(**arguments), task.timeout)
            ending = self._succeeded(holding, result)
        except asyncio.CancelledError:
            ending = self._stopped(holding)
        except BaseException as error:
            ending = self._failed_or_stopped(holding, task, error)
        if ending is not None and context is not None and context.begun is not None:
            ending = await self._sealed(holding, ending, context.begun)
        self._running.discard(holding)
        self.ended(holding, ending)
        self._start_waiting()

    async def _sealed(self, holding: Holding, ending: Ending, work: Work) -> Ending | None:
        """Seal an ending, whoever asks this attempt to stop meanwhile: it has stopped."""
        sealing = asyncio.ensure_future(work.seal(ending))
        while not sealing.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.shield(sealing)
            if holding.cancel == LOST:
                sealing.cancel()
                return None
        return sealing.result()

    async def _guarded(self, holding: Holding, task: Task, arguments: dict[str, Any]) -> Any:
        """Call a task's function, if its target is not broken; what comes of it is counted."""
        async with self._guard(holding, task, arguments):
            if task.timeout is None:
                return await task.fn(**arguments)
            return await self._timed(task.fn(**arguments), task.timeout)

    def _guard(
        self, holding: Holding, task: Task, arguments: Mapping[str, Any]
    ) -> contextlib.AbstractAsyncContextManager[None]:
        claimed = holding.claimed
        breaker = breaker_for(task.breaker, claimed.task, claimed.schedule, arguments)
        if breaker is None or self._gate is None:
            return contextlib.nullcontext()
        if task.asks_itself:
            return self._gate.told(
                lambda: holding.passage,
                claimed.task,
                lambda: holding.blame,
                schedule=claimed.schedule,
            )
        if task.timeout is not None:
            breaker = breaker.lasting(task.timeout)
        return self._gate.guard(
            breaker, claimed.task, lambda: holding.blame, schedule=claimed.schedule
        )

    async def _timed(self, work: Any, limit: timedelta) -> Any:
        bound = asyncio.timeout(limit.total_seconds())
        try:
            async with bound:
                return await work
        except TimeoutError:
            if bound.expired():
                raise TimeoutError(f"ran longer than its timeout of {limit}") from None
            raise

    def _start_waiting(self) -> None:
        while self._waiting and len(self._running) < self._slots:
            holding = self._waiting.popleft()
            self._running.add(holding)
            self._begin(holding, self._in_loop(holding, self._tasks[holding.claimed.task]))

    # --- threads --------------------------------------------------------------------------

    async def _in_thread(self, holding: Holding, task: Task) -> None:
        if self._recording is not None:
            self._recording.open(holding, task)
        try:
            arguments = task.decode(holding.claimed.args)
        except InvalidValue as error:
            self._on_threads.discard(holding)
            self.ended(holding, self._failed(holding, task, error))
            return
        context: SyncContext | None = None
        if task.context is not None:
            arguments[task.context] = context = self._context(holding, SyncContext)
        overtime = None
        if task.timeout is not None:
            late = f"ran longer than its timeout of {task.timeout}"
            seconds = task.timeout.total_seconds()
            overtime = asyncio.get_running_loop().call_later(seconds, _overtime, holding, late)
        ending = await self._await_thread(
            holding,
            task,
            lambda: self._threads.submit(lambda: task.fn(**arguments)),
            arguments=arguments,
        )
        if overtime is not None:
            overtime.cancel()
        if ending is not None and context is not None and context.begun is not None:
            ending = await self._sealed(holding, ending, context.begun)
        self._on_threads.discard(holding)
        self.ended(holding, ending)

    async def _await_thread(
        self,
        holding: Holding,
        task: Task,
        submit: Callable[[], asyncio.Future[Any]],
        *,
        arguments: Mapping[str, Any],
    ) -> Ending | None:
        """Wait for the thread itself, whoever gives up in between."""
        try:
            async with self._guard(holding, task, arguments):
                try:
                    result = await asyncio.shield(submit())
                except WorkCancelled:
                    if not _is_overtime(holding):
                        raise
                    # A failure like a coroutine's: it may be tried again.
                    raise TimeoutError(holding.cancel) from None
            return self._succeeded(holding, result)
        except Suspended:
            return self._released(holding, "it waits")
        except WorkCancelled as error:
            if holding.cancel is None:
                return self._failed(holding, task, error)
            return self._stopped(holding)
        except BaseException as error:
            return self._failed(holding, task, error)

    # --- endings --------------------------------------------------------------------------

    def _context(self, holding: Holding, kind: type[C]) -> C:
        zone = self._zones.get(holding.claimed.schedule or "", UTC)
        return kind(holding, zone, self._resources, self._services)

    def _failed_or_stopped(
        self, holding: Holding, task: Task, error: BaseException
    ) -> Ending | None:
        """An error that came of being stopped is no failure: a sender says what it did not do."""
        if holding.cancel is not None and isinstance(error, NotPerformed | WorkCancelled):
            return self._stopped(holding)
        return self._failed(holding, task, error)

    def _succeeded(self, holding: Holding, result: Any) -> Ending:
        claimed = holding.claimed
        try:
            encoded = None if result is None else msgspec.json.encode(result)
        except (TypeError, ValueError, RecursionError, msgspec.MsgspecError) as error:
            return self._fail(holding, f"its result cannot be kept as JSON: {error}")
        if encoded is not None and len(encoded) > MAX_PAYLOAD:
            return self._fail(
                holding,
                f"expected its result to be at most {MAX_PAYLOAD:,} bytes as JSON,"
                f" got {len(encoded):,}; store it elsewhere and return a reference",
            )
        return Ending(
            run=claimed.id,
            epoch=claimed.epoch,
            verb=RunVerb.COMPLETE,
            result=encoded,
            limited=claimed.limit_key is not None,
            parent=claimed.parent,
        )

    def _failed(self, holding: Holding, task: Task, error: BaseException) -> Ending:
        claimed = holding.claimed
        if isinstance(error, BreakerOpen):
            return self._held_back(holding, error)
        text = "".join(traceback.format_exception(error))[-MAX_ERROR:]
        permanent = isinstance(error, DulyError) and error.permanent
        delay = task.retry.delay(claimed.failures + 1, self._clock.draw())
        if delay is None or permanent:
            return self._fail(holding, text)
        delay = max(delay, _asked_for(error))
        return Ending(
            run=claimed.id,
            epoch=claimed.epoch,
            verb=RunVerb.RETRY,
            error=text,
            delay_us=delay // timedelta(microseconds=1),
            limited=claimed.limit_key is not None,
            parent=claimed.parent,
        )

    def _fail(self, holding: Holding, text: str) -> Ending:
        claimed = holding.claimed
        return Ending(
            run=claimed.id,
            epoch=claimed.epoch,
            verb=RunVerb.FAIL,
            error=text,
            limited=claimed.limit_key is not None,
            parent=claimed.parent,
        )

    def _held_back(self, holding: Holding, refusal: BreakerOpen) -> Ending:
        """The target is broken: the run waits, and spends no retry."""
        claimed = holding.claimed
        rest = refusal.rest if self._gate is None else self._gate.come_back(refusal)
        return Ending(
            run=claimed.id,
            epoch=claimed.epoch,
            verb=RunVerb.WAIT,
            reason=f"{WAITS}{refusal.breaker}",
            delay_us=rest // timedelta(microseconds=1),
            limited=claimed.limit_key is not None,
            parent=claimed.parent,
        )

    def _stopped(self, holding: Holding) -> Ending | None:
        claimed, why = holding.claimed, holding.cancel
        if why == LOST:
            return None
        if why is None or why == HANDED_BACK:
            return self._released(holding, why or "its task was cancelled from within")
        return Ending(
            run=claimed.id,
            epoch=claimed.epoch,
            verb=RunVerb.CANCEL,
            reason=why,
            limited=claimed.limit_key is not None,
            parent=claimed.parent,
        )

    def _released(self, holding: Holding, why: str) -> Ending:
        claimed = holding.claimed
        return Ending(
            run=claimed.id,
            epoch=claimed.epoch,
            verb=RunVerb.RELEASE,
            reason=why,
            limited=claimed.limit_key is not None,
            parent=claimed.parent,
        )


def _asked_for(error: BaseException) -> timedelta:
    """Return how long the other side asked to wait, where an error says so; a day at most."""
    asked_s = getattr(error, "retry_after_s", None) if isinstance(error, DulyError) else None
    if not isinstance(asked_s, int | float) or not 0 < asked_s <= 86_400:
        return timedelta(0)
    return timedelta(seconds=asked_s)


def _overtime(holding: Holding, late: str) -> None:
    if holding.cancel is None:
        holding.cancel = late


def _is_overtime(holding: Holding) -> bool:
    return holding.cancel is not None and holding.cancel.startswith("ran longer than its timeout")
