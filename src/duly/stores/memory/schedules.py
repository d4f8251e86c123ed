"""The verbs of schedules, in the model.

Nothing is decided here: `core.firing` plans, and these verbs write what the plan says. Every
change of a schedule first settles what was due under the row as it stood.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from uuid import UUID

import msgspec

from duly.core.firing import (
    DrainPlan,
    FirePlan,
    LastRun,
    activated,
    first_row,
    last_run_of,
    made_row,
    plan_drain,
    plan_firing,
    plan_forgo,
    plan_settle,
    plan_unblock,
    revise,
)
from duly.core.runs import Answer, NewRun
from duly.core.schedules import (
    Backlog,
    Declared,
    Definition,
    ScheduleFilter,
    ScheduleRow,
    Source,
    settle_declaration,
)
from duly.core.states import SCHEDULE_MOVES, ScheduleState, ScheduleVerb, advance
from duly.core.verdicts import VerdictRange
from duly.stores.base import EVERY_SCHEDULE, Fired, Signal
from duly.stores.memory.runs import RunVerbs

NewId = Callable[[], UUID]


class ScheduleVerbs(RunVerbs):
    """What `Store` says of schedules, on `Tables`."""

    async def declare(
        self,
        boot: UUID,
        owner: str,
        definitions: Sequence[Definition],
        *,
        new_id: NewId,
        recent: timedelta = timedelta(minutes=10),
        now: datetime | None = None,
    ) -> list[Declared]:
        at = self._now(now)
        carried = self._carried(at - recent, but=boot)
        answers = {
            one.name: self._declare_one(one, owner, carried, new_id, at)
            for one in sorted(definitions, key=lambda one: one.name)
        }
        return [answers[one.name] for one in definitions]

    def _carried(self, since: datetime, *, but: UUID | None = None) -> set[tuple[str, str]]:
        """Return the (schedule, digest) pairs that live or recent instances declare."""
        return {
            pair
            for boot, one in self.t.instances.items()
            if boot != but and one.seen_at and one.seen_at >= since
            for pair in self.t.carries[boot].items()
        }

    def _declare_one(
        self,
        definition: Definition,
        owner: str,
        carried: set[tuple[str, str]],
        new_id: NewId,
        now: datetime,
    ) -> Declared:
        name, digest = definition.name, definition.digest()
        row = self.t.schedules.get(name)
        earlier = self.t.revisions.setdefault(name, [])
        is_carried = row is not None and (name, row.digest) in carried
        answer = settle_declaration(row, digest, earlier=earlier, carried=is_carried)
        if row is None:
            self.t.schedules[name] = first_row(definition, owner, now)
        elif answer is Declared.ADOPTED:
            self._settle(row, new_id, now)
            self._activate(name, now)
        elif answer is Declared.REVISED:
            self._settle(row, new_id, now)
            if row.state is ScheduleState.ORPHANED:
                self._activate(name, now)
            revised = revise(self.t.schedules[name], definition, now)
            self.t.schedules[name] = msgspec.structs.replace(
                revised, owner=owner, source=Source.CODE
            )
        if answer in (Declared.NEW, Declared.REVISED) and digest not in earlier:
            earlier.append(digest)
        if answer in (Declared.NEW, Declared.REVISED, Declared.ADOPTED):
            self.t.tell(Signal.DUE)
        return answer

    def _settle(self, row: ScheduleRow, new_id: NewId, now: datetime) -> None:
        """Give everything due by `now` its verdict under the row's present revision and state."""
        if row.state is ScheduleState.ACTIVE:
            self._apply(plan_settle(row, self._last(row), now, new_id), now)
        else:
            self._apply(plan_unblock(row, now), now)

    def _last(self, row: ScheduleRow) -> LastRun:
        return last_run_of(self.t.state_of(UUID(row.last_run)) if row.last_run else None)

    def _activate(self, name: str, now: datetime) -> None:
        self.t.schedules[name] = activated(self.t.schedules[name], now)

    async def edit(
        self,
        definition: Definition,
        *,
        by: str,
        reason: str,
        revision: int,
        new_id: NewId,
        now: datetime | None = None,
    ) -> Answer:
        at, row = self._now(now), self.t.schedules.get(definition.name)
        if row is None and revision == 0:
            self.t.schedules[definition.name] = made_row(definition, by, reason, at)
            self.t.tell(Signal.DUE)
            return Answer.DONE
        if row is None:
            return Answer.UNKNOWN
        if row.digest == definition.digest():
            return Answer.ALREADY
        if row.revision != revision:
            return Answer.STALE
        self._settle(row, new_id, at)
        revised = revise(self.t.schedules[row.name], definition, at)
        if row.state is ScheduleState.ACTIVE:
            revised = msgspec.structs.replace(revised, by=by, reason=reason)
        self.t.schedules[row.name] = msgspec.structs.replace(revised, source=Source.PERSON)
        self.t.tell(Signal.DUE)
        return Answer.DONE

    async def give_back(self, name: str, *, by: str, now: datetime | None = None) -> Answer:
        row = self.t.schedules.get(name)
        if row is None:
            return Answer.UNKNOWN
        if row.source is Source.CODE:
            return Answer.ALREADY
        self.t.schedules[name] = msgspec.structs.replace(
            row, source=Source.CODE, changed_at=self._now(now)
        )
        return Answer.DONE

    async def move(
        self,
        name: str,
        verb: ScheduleVerb,
        *,
        by: str,
        reason: str,
        new_id: NewId,
        revision: int | None = None,
        now: datetime | None = None,
    ) -> Answer:
        at, row = self._now(now), self.t.schedules.get(name)
        if row is None:
            return Answer.UNKNOWN
        if revision not in (None, row.revision):
            return Answer.STALE
        if verb not in SCHEDULE_MOVES[row.state]:
            there = {moves[verb] for moves in SCHEDULE_MOVES.values() if verb in moves}
            return Answer.ALREADY if row.state in there else Answer.IMPOSSIBLE
        after = advance(SCHEDULE_MOVES, row.state, verb)
        self._settle(row, new_id, at)
        if after is ScheduleState.ACTIVE:
            self._activate(name, at)
        else:
            self.t.schedules[name] = msgspec.structs.replace(
                self.t.schedules[name],
                state=after,
                next_fire=None,
                reason=reason,
                by=by,
                changed_at=at,
            )
            if after is ScheduleState.RETIRED:
                for one in await self.backlogs(name):
                    plan = plan_forgo(one, self.t.schedules[name])
                    self._apply_drain((name, one.after), plan, at)
        self.t.tell(Signal.DUE)
        return Answer.DONE

    async def fire(self, *, new_id: NewId, limit: int = 500, now: datetime | None = None) -> Fired:
        at = self._now(now)
        due = sorted(
            (row.next_fire, row.name)
            for row in self.t.schedules.values()
            if row.next_fire is not None and row.next_fire <= at
        )
        fired: list[tuple[str, datetime, UUID]] = []
        cancelled: list[UUID] = []
        for _, name in due[:limit]:
            row = self.t.schedules[name]
            plan = plan_firing(row, self._last(row), at, new_id)
            fired += self._apply(plan, at)
            cancelled += [plan.cancel] if plan.cancel else []
        drained = self._drainable(at)[:limit]
        for key in drained:
            fired += self._apply_drain(key, plan_drain(self.t.backlogs[key], at, new_id), at)
        return Fired(
            fired=tuple(fired),
            cancelled=tuple(cancelled),
            judged=len(due[:limit]) + len(drained),
            more=len(due) > limit or bool(self._drainable(at)),
        )

    def _drainable(self, now: datetime) -> list[tuple[str, datetime]]:
        return sorted(
            key
            for key, row in self.t.backlogs.items()
            if row.next_at <= now and self.t.schedules[row.schedule].state is ScheduleState.ACTIVE
        )

    def _apply(self, plan: FirePlan, now: datetime) -> list[tuple[str, datetime, UUID]]:
        name = plan.row.name
        self.t.schedules[name] = plan.row
        self.t.verdicts.setdefault(name, []).extend(plan.closed)
        if plan.backlog is not None:
            self.t.backlogs[name, plan.backlog.after] = plan.backlog
        fired = self._insert_fired(plan.runs, now)
        if plan.cancel is not None:
            self.cancel_one(plan.cancel, "duly: overlap is cancel_running", now)
        return fired

    def _apply_drain(
        self, key: tuple[str, datetime], plan: DrainPlan, now: datetime
    ) -> list[tuple[str, datetime, UUID]]:
        name = key[0]
        self.t.verdicts.setdefault(name, []).extend(plan.closed)
        del self.t.backlogs[key]
        if plan.backlog is not None:
            self.t.backlogs[name, plan.backlog.after] = plan.backlog
        return self._insert_fired(plan.runs, now)

    def _insert_fired(
        self, runs: Sequence[NewRun], now: datetime
    ) -> list[tuple[str, datetime, UUID]]:
        """Insert clock runs; an occurrence that has a run already is left alone (P1)."""
        fired: list[tuple[str, datetime, UUID]] = []
        for run in runs:
            assert run.schedule is not None and run.due is not None, "a clock run has both"
            if (run.schedule, run.due) not in self.t.occurrences:
                self.enqueue_one(run, now)
                fired.append((run.schedule, run.due, run.id))
        return fired

    async def orphan(self, recent: timedelta, *, now: datetime | None = None) -> list[str]:
        at = self._now(now)
        declared = {name for name, _ in self._carried(at - recent)}
        orphans = sorted(
            row.name
            for row in self.t.schedules.values()
            if row.source is Source.CODE
            and ScheduleVerb.ORPHAN in SCHEDULE_MOVES[row.state]
            and row.name not in declared
            and row.changed_at is not None
            and row.changed_at < at - recent
        )
        for name in orphans:
            row = self.t.schedules[name]
            self._apply(plan_unblock(row, at), at)
            self.t.schedules[name] = msgspec.structs.replace(
                self.t.schedules[name],
                state=advance(SCHEDULE_MOVES, row.state, ScheduleVerb.ORPHAN),
                next_fire=None,
                reason="no live or recent instance declares it",
                by="duly",
                changed_at=at,
            )
        return orphans

    async def schedule(self, name: str) -> ScheduleRow | None:
        return self.t.schedules.get(name)

    async def schedules(self, where: ScheduleFilter = EVERY_SCHEDULE) -> list[ScheduleRow]:
        rows = [self.t.schedules[name] for name in sorted(self.t.schedules)]
        return [row for row in rows if where.tenant in (None, row.definition.tenant)]

    async def backlogs(self, name: str) -> list[Backlog]:
        found = [row for row in self.t.backlogs.values() if row.schedule == name]
        return sorted(found, key=lambda row: row.after)

    async def verdicts(
        self, name: str, *, after: datetime | None = None, until: datetime | None = None
    ) -> list[VerdictRange]:
        found = list(self.t.verdicts.get(name, ()))
        row = self.t.schedules.get(name)
        growing = [] if row is None else [row.open_range]
        growing += [one.open_range for one in await self.backlogs(name)]
        found += [one for one in growing if one is not None]
        return sorted(
            (
                one
                for one in found
                if (after is None or one.last >= after) and (until is None or one.first <= until)
            ),
            key=lambda one: one.first,
        )
