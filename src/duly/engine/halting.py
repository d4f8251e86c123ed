"""Halting: a schedule whose own target is broken stops firing, and begins again by itself.

It is `tripped` while its breaker is open, so that its occurrences are judged as blocked, with the
reason. When a probe is due it is `reset`: a run of it that waits, or its next occurrence, is the
probe. What a person paused is left as it is. Every instance with a task whose request is fixed
looks, on a hint or each minute, because no other need know such a schedule; the first moves it, and
the others find that it is so already.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from duly import events
from duly.core.breakers import BreakerFilter, schedule_of_breaker
from duly.core.clock import Clock
from duly.core.runs import Answer
from duly.core.states import ScheduleVerb
from duly.core.tasks import Task
from duly.core.tripping import US, schedule_verb
from duly.engine.telling import Telling
from duly.stores.base import Signal, Store, WakeUp

EVERY_S = 60.0


class Halting:
    """A supervised loop: `ready` waits for a hint, or for the slow pace."""

    name = "halting"

    def __init__(
        self,
        store: Store,
        tasks: Mapping[str, Task],
        *,
        clock: Clock,
        telling: Telling,
    ) -> None:
        self._store, self._clock, self._telling = store, clock, telling
        self._concerned = any(one.breaker and one.breaker.fixed for one in tasks.values())
        self._some = asyncio.Event()
        self._halted = True  # whether schedules may be tripped; at first nobody knows

    def hear(self, wake: WakeUp) -> None:
        """Look soon when the breaker of a schedule moved."""
        if wake.signal is Signal.BREAKER and schedule_of_breaker(wake.detail) is not None:
            self._some.set()

    async def ready(self) -> None:
        """Wait for a hint, or about a minute; for ever where no task is concerned."""
        if not self._concerned:
            await asyncio.Event().wait()
        try:
            async with asyncio.timeout(EVERY_S * (0.9 + 0.2 * self._clock.draw())):
                await self._some.wait()
        except TimeoutError:
            return

    async def turn(self) -> None:
        """Trip and reset what is to be; another instance may do so too, to the same end."""
        self._some.clear()
        found = await self._store.breakers(BreakerFilter(broken=True))
        broken = {schedule_of_breaker(one.name): one for one in found}
        broken.pop(None, None)
        if not broken and not self._halted:
            return
        now = await self._store.clock()
        for one in await self._store.schedules():
            row = broken.get(one.name)
            verb = schedule_verb(one.state, row, now)
            if verb is None:
                continue
            why = "its target is probed, or answers again"
            if verb is ScheduleVerb.TRIP and row is not None:
                why = row.why
            answer = await self._store.move(
                one.name, verb, by=US, reason=why, new_id=self._clock.new_id
            )
            if answer is Answer.DONE:
                told = events.SCHEDULE_EVENTS[verb](schedule=one.name, by=US, reason=why)
                self._telling.emit(told)
        self._halted = bool(broken)
