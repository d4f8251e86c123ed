"""Verbs on schedules: look at them, pause, resume, retire, edit, trigger, backfill.

What a person changes carries who and why. An edit holds against code until it is given back.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

import msgspec

from duly import events
from duly.client.runs import RunHandle, RunVerbs
from duly.core.breakers import BreakerFilter
from duly.core.firing import DRAIN_CHUNK, run_for
from duly.core.health import Health, breaker_before, health_of
from duly.core.instants import trigger_of
from duly.core.runs import Answer, NewRun, Origin
from duly.core.schedules import Definition, ScheduleFilter, ScheduleRow
from duly.core.states import ScheduleVerb
from duly.core.triggers import occurrences_between, previous_at_or_before
from duly.core.verdicts import Verdict, VerdictRange
from duly.errors import InvalidValue, Refused, UnknownName
from duly.stores.base import EVERY_SCHEDULE

MOST_BACKFILLED = 10_000


class Backfill(msgspec.Struct, frozen=True, kw_only=True):
    """What a backfill does, or would do: occurrences to run, and those refused with the reason."""

    runs: tuple[datetime, ...]
    refused: tuple[tuple[datetime, str], ...]
    dry_run: bool


class ScheduleVerbs(RunVerbs):
    """The verbs of schedules, as a part of `Client`."""

    async def schedule(self, name: str) -> ScheduleRow:
        """Return a schedule, or raise `UnknownName` with the nearest."""
        row = await self._store.schedule(name)
        if row is None:
            known = [one.name for one in await self._store.schedules()]
            raise UnknownName.of("schedule", name, known)
        return row

    async def schedules(self, where: ScheduleFilter = EVERY_SCHEDULE) -> list[ScheduleRow]:
        """Return schedules, by name."""
        return await self._store.schedules(where)

    async def health(self, rows: Iterable[ScheduleRow]) -> dict[str, Health]:
        """Return how the target of each schedule stands, by name; one statement for all, or none.

        A schedule whose task has no breaker is not there.
        """
        before = {
            one.name: name
            for one in rows
            if (name := breaker_before(one.definition, self._tasks.get(one.definition.task)))
        }
        if not before:
            return {}
        names = tuple(sorted(set(before.values())))
        where = BreakerFilter(names=names, limit=len(names))
        known = {one.name: one for one in await self._store.breakers(where)}
        return {one: health_of(name, known.get(name)) for one, name in before.items()}

    async def verdicts(
        self, name: str, *, after: datetime | None = None, until: datetime | None = None
    ) -> list[VerdictRange]:
        """Return what became of a schedule's occurrences, oldest first."""
        await self.schedule(name)
        return await self._store.verdicts(name, after=after, until=until)

    async def pause(self, name: str, *, by: str, reason: str) -> Answer:
        """Pause a schedule; what falls due meanwhile is *blocked*, and says by whom."""
        return await self._move(name, ScheduleVerb.PAUSE, by=by, reason=reason)

    async def resume(self, name: str, *, by: str, reason: str = "") -> Answer:
        """Resume a paused schedule, from now on."""
        return await self._move(name, ScheduleVerb.RESUME, by=by, reason=reason)

    async def retire(
        self, name: str, *, by: str, reason: str, revision: int | None = None
    ) -> Answer:
        """Retire a schedule: it stays so, whatever code declares, until it is revived.

        With `revision` only that one: raises `Refused` when it was changed meanwhile.
        """
        return await self._move(name, ScheduleVerb.RETIRE, by=by, reason=reason, revision=revision)

    async def revive(self, name: str, *, by: str, reason: str = "") -> Answer:
        """Bring a retired schedule back, from now on."""
        return await self._move(name, ScheduleVerb.REVIVE, by=by, reason=reason)

    async def _move(
        self, name: str, verb: ScheduleVerb, *, by: str, reason: str, revision: int | None = None
    ) -> Answer:
        new_id = self._clock.new_id
        answer = await self._store.move(
            name, verb, by=by, reason=reason, revision=revision, new_id=new_id
        )
        if answer is Answer.STALE:
            raise Refused(f"schedule {name} was changed meanwhile; look again")
        if answer is Answer.DONE:
            self._bus.emit(events.SCHEDULE_EVENTS[verb](schedule=name, by=by, reason=reason))
        elif answer is Answer.UNKNOWN:
            await self.schedule(name)
        elif answer is Answer.IMPOSSIBLE:
            row = await self.schedule(name)
            raise Refused(f"schedule {name} is {row.state}: {verb} is not possible there")
        return answer

    async def edit(self, definition: Definition, *, by: str, reason: str, revision: int) -> Answer:
        """Replace a schedule's definition; holds against code until it is given back."""
        answer = await self._store.edit(
            definition, by=by, reason=reason, revision=revision, new_id=self._clock.new_id
        )
        if answer is Answer.UNKNOWN:
            await self.schedule(definition.name)
        if answer is Answer.STALE:
            raise Refused(f"schedule {definition.name} was changed meanwhile; look again")
        if answer is Answer.DONE:
            name = definition.name
            self._bus.emit(events.ScheduleEdited(schedule=name, by=by, reason=reason))
        return answer

    async def give_back(self, name: str, *, by: str) -> Answer:
        """End an edit: the next declaration by code holds again."""
        await self.schedule(name)
        return await self._store.give_back(name, by=by)

    async def trigger(self, name: str, *, by: str) -> RunHandle:
        """Run a schedule's task now, out of turn, for its newest occurrence."""
        row = await self.schedule(name)
        now = await self._store.clock()
        due = previous_at_or_before(trigger_of(row.definition), now) or now
        run = run_for(
            row.definition, due, origin=Origin.TRIGGER, run_id=self._clock.new_id(), by=by
        )
        return (await self.enqueue([run]))[0]

    async def backfill(
        self, name: str, after: datetime, until: datetime, *, by: str, dry_run: bool = False
    ) -> Backfill:
        """Run past occurrences in [after, until) that are not known to have fired.

        Each has an identity of its own: asked for twice, it runs once. Refused are those that
        fired, wait in the backlog, or are not past. Raises `InvalidValue` beyond 10,000.
        """
        row = await self.schedule(name)
        now = await self._store.clock()
        tick = timedelta(microseconds=1)
        dues = occurrences_between(
            trigger_of(row.definition), after - tick, until - tick, limit=MOST_BACKFILLED + 1
        )
        if len(dues) > MOST_BACKFILLED:
            raise InvalidValue(
                f"expected at most {MOST_BACKFILLED:,} occurrences; narrow the range"
            )
        fired = await self._fired(name, after, until)
        reasons = {due: self._why_not(due, row, now, fired) for due in dues}
        wanted = [due for due in dues if not reasons[due]]
        if not dry_run:
            for start in range(0, len(wanted), DRAIN_CHUNK):
                await self.enqueue(
                    [self._backfilled(row, due, by) for due in wanted[start : start + DRAIN_CHUNK]]
                )
        refused = tuple((due, why) for due, why in reasons.items() if why)
        return Backfill(runs=tuple(wanted), refused=refused, dry_run=dry_run)

    def _backfilled(self, row: ScheduleRow, due: datetime, by: str) -> NewRun:
        return run_for(
            row.definition,
            due,
            origin=Origin.BACKFILL,
            run_id=self._clock.new_id(),
            by=by,
            key=f"backfill/{row.name}/{due.isoformat()}",
        )

    async def _fired(
        self, name: str, after: datetime, until: datetime
    ) -> list[tuple[datetime, datetime, str]]:
        """Return stretches that fired or will, with the word for it."""
        ranges = await self._store.verdicts(name, after=after, until=until)
        stretches = [
            (one.first, one.last, "it fired") for one in ranges if one.verdict is Verdict.FIRED
        ]
        tick = timedelta(microseconds=1)
        for one in await self._store.backlogs(name):
            stretches.append((one.after + tick, one.until, "it waits in the backlog"))
        return stretches

    @staticmethod
    def _why_not(
        due: datetime,
        row: ScheduleRow,
        now: datetime,
        fired: list[tuple[datetime, datetime, str]],
    ) -> str:
        if due > now:
            return "it is not past"
        if due > row.fired_through and row.next_fire is not None:
            return "it is about to fire"
        return next((why for first, last, why in fired if first <= due <= last), "")
