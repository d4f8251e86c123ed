"""Waiting without a slot: an attempt ends as waiting, and the run goes on when it is woken.

Branches of one attempt may wait for several things while others still work. The attempt is
suspended when something is waited for and no step is at work: its coroutine is cancelled, its
ending says what is awaited, and the next attempt runs the code again up to that point, with
every finished step remembered.

Times are kept as the rest of a duration, counted from the store's instant of writing it down;
so no two machines' clocks are ever compared.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import NoReturn

import msgspec

from duly.core.runs import Ending
from duly.core.states import RunVerb
from duly.core.steps import Await, Step, StepKind, joined
from duly.engine.durable.journal import Journal
from duly.engine.durable.services import Services
from duly.engine.hands import Holding
from duly.errors import Refused

TICK = timedelta(microseconds=1)


QUIET_TURNS = 8
"""Turns of the loop that code between two steps may take: `asyncio.wait`, a task group and a
timeout around each other take five."""


class Suspended(BaseException):
    """Unwinds a thread whose attempt is suspended. No `except Exception` stops it."""


class Wait(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is waited for. `timer` is the step that keeps how much time is left."""

    reason: str
    awaits: tuple[Await, ...] = ()
    rest: timedelta | None = None
    timer: str | None = None
    park: bool = False


class Waits:
    """What one attempt waits for."""

    def __init__(self, holding: Holding, services: Services, journal: Journal) -> None:
        self._holding, self._services, self._journal = holding, services, journal
        self._pending: dict[Wait, float] = {}  # since when, by the monotonic clock
        self._at_work = self._turns = 0
        self.in_thread = False  # then nothing can be cancelled: the wait itself unwinds it
        self._noted: set[Wait] = set()
        self.suspended: tuple[Wait, ...] = ()

    @contextmanager
    def working(self) -> Iterator[None]:
        """Hold off a suspension: something is at work that would have to be done again."""
        self._at_work += 1
        try:
            yield
        finally:
            self._at_work -= 1
            if self._at_work == 0 and self._pending:
                self._consider()

    async def wait(self, wait: Wait) -> NoReturn:
        """Wait for something outside of this attempt; it ends here, one way or the other."""
        self._pending[wait] = self._services.clock.monotonic()
        if self.in_thread:
            self._suspend()
            raise Suspended
        self._consider()
        try:
            await asyncio.Event().wait()
        finally:
            self._pending.pop(wait, None)
        raise AssertionError("nothing sets what was waited for")

    def _consider(self) -> None:
        """Suspend once nothing is at work, and nothing was begun in the next turns of the loop."""
        self._turns += 1
        self._look_again(self._turns, QUIET_TURNS)

    def _look_again(self, asked: int, turns: int) -> None:
        if asked != self._turns:
            return  # something was begun or ended since, and is looked at by itself
        if turns:
            asyncio.get_running_loop().call_soon(self._look_again, asked, turns - 1)
        else:
            self._suspend_if_quiet()

    def _suspend_if_quiet(self) -> None:
        handle = self._holding.handle
        if self.suspended or not self._pending or handle is None:
            return
        if self._at_work:
            self._note_timers()
            return
        self._suspend()
        handle.cancel()

    def _note_timers(self) -> None:
        """Keep when a timed wait began: the work beside it may fail, or die, before the end."""
        waits = [one for one in self._pending if one not in self._noted]
        self._noted.update(waits)
        timers = self._timers([self._left(one) for one in waits])
        if timers:
            self._journal.begin(timers)

    def _suspend(self) -> None:
        self.suspended = tuple(self._left(one) for one in self._pending)

    def _left(self, wait: Wait) -> Wait:
        """Return a wait with what is left of its time now."""
        if wait.rest is None:
            return wait
        took = timedelta(seconds=self._services.clock.monotonic() - self._pending[wait])
        return msgspec.structs.replace(wait, rest=max(timedelta(0), wait.rest - took))

    def ending(self, ending: Ending) -> Ending:
        """Return the ending of a suspended attempt, from one that names its run and fence."""
        waits = self.suspended
        parked = all(wait.park for wait in waits)
        rests = [wait.rest for wait in waits if wait.rest is not None]
        return msgspec.structs.replace(
            ending,
            verb=RunVerb.PARK if parked else RunVerb.WAIT,
            reason=waits[0].reason if parked else joined(wait.reason for wait in waits),
            delay_us=min(rests) // TICK if rests and not parked else None,
            awaits=tuple(dict.fromkeys(one for wait in waits for one in wait.awaits)),
        )

    def timers(self) -> list[Step]:
        """Return the steps that keep how much time is left of what is timed."""
        return self._timers(self.suspended)

    def _timers(self, waits: Sequence[Wait]) -> list[Step]:
        return [
            self._journal.step(wait.timer, StepKind.SLEEP, wait.rest // TICK)
            for wait in waits
            if wait.timer is not None and wait.rest is not None
        ]

    async def rest(self, timer: str, whole: timedelta) -> timedelta:
        """Return how much is left of a duration that began when `timer` was first waited for."""
        step = await self._journal.recall(timer)
        if step is None or step.at is None:
            return whole
        if step.kind is not StepKind.SLEEP:
            raise Refused(f"{timer!r} is the name of a {step.kind}; give the sleep its own")
        now = await self._services.asked(self._services.store.clock)
        left = timedelta(microseconds=msgspec.json.decode(step.value, type=int))
        return max(timedelta(0), step.at + left - now)
