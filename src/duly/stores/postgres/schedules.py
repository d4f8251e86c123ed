"""Schedules: declaring, editing, moving them, and reading what is known of them.

Every change of a definition or a state first settles the past under the row's lock, by the
definition and state that held then. Declarations of a fleet that starts are serialised by one
advisory lock, so that two instances never both make the same new schedule.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from uuid import UUID

import msgspec

from duly.core.firing import (
    FirePlan,
    LastRun,
    activated,
    first_row,
    made_row,
    plan_settle,
    plan_unblock,
    revise,
)
from duly.core.runs import Answer
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
from duly.stores.base import EVERY_SCHEDULE, Signal
from duly.stores.postgres.firing import apply, forgo, last_runs
from duly.stores.postgres.ground import Ground
from duly.stores.postgres.rows import (
    BACKLOG,
    SCHEDULE,
    VERDICT,
    backlog_of,
    schedule_columns,
    schedule_of,
    verdict_of,
)
from duly.stores.postgres.unit import Unit

NewId = Callable[[], UUID]


class ScheduleVerbs(Ground):
    """What `Store` says of schedules, firing apart."""

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
        wanted = {one.name: one for one in sorted(definitions, key=lambda one: one.name)}
        if not wanted:
            return []

        async def work(unit: Unit) -> list[Declared]:
            await unit.fetch("select pg_advisory_xact_lock(hashtext('duly declare'))")
            declaring = _Declaring(owner, new_id, unit.now)
            await declaring.read(unit, list(wanted), boot, unit.now - recent)
            answers = {name: declaring.declare(one) for name, one in wanted.items()}
            await declaring.write(unit)
            return [answers[one.name] for one in definitions]

        return await self._transact(work, now)

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
        async def work(unit: Unit) -> Answer:
            if revision == 0:  # two that make the same schedule at once: one after the other
                await unit.fetch("select pg_advisory_xact_lock(hashtext('duly declare'))")
            rows = await lock(unit, [definition.name])
            if not rows and revision == 0:
                await put(unit, [made_row(definition, by, reason, unit.now)])
                unit.tell(Signal.DUE)
                return Answer.DONE
            if not rows:
                return Answer.UNKNOWN
            row = rows[0]
            if row.digest == definition.digest():
                return Answer.ALREADY
            if row.revision != revision:
                return Answer.STALE
            plan = await _settled(unit, row, new_id)
            revised = revise(plan.row, definition, unit.now)
            if row.state is ScheduleState.ACTIVE:
                revised = msgspec.structs.replace(revised, by=by, reason=reason)
            await put(unit, [msgspec.structs.replace(revised, source=Source.PERSON)])
            await apply(unit, [plan])
            unit.tell(Signal.DUE)
            return Answer.DONE

        return await self._transact(work, now)

    async def give_back(self, name: str, *, by: str, now: datetime | None = None) -> Answer:
        async def work(unit: Unit) -> Answer:
            rows = await lock(unit, [name])
            if not rows:
                return Answer.UNKNOWN
            if rows[0].source is Source.CODE:
                return Answer.ALREADY
            await put(
                unit,
                [msgspec.structs.replace(rows[0], source=Source.CODE, changed_at=unit.now)],
            )
            return Answer.DONE

        return await self._transact(work, now)

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
        async def work(unit: Unit) -> Answer:
            rows = await lock(unit, [name])
            if not rows:
                return Answer.UNKNOWN
            row = rows[0]
            if revision not in (None, row.revision):
                return Answer.STALE
            if verb not in SCHEDULE_MOVES[row.state]:
                there = {moves[verb] for moves in SCHEDULE_MOVES.values() if verb in moves}
                return Answer.ALREADY if row.state in there else Answer.IMPOSSIBLE
            after = advance(SCHEDULE_MOVES, row.state, verb)
            plan = await _settled(unit, row, new_id)
            if after is ScheduleState.ACTIVE:
                moved = activated(plan.row, unit.now)
            else:
                moved = _stopped(plan.row, after, by=by, reason=reason, now=unit.now)
            await put(unit, [moved])
            await apply(unit, [plan])
            if after is ScheduleState.RETIRED:
                await forgo(unit, moved)
            unit.tell(Signal.DUE)
            return Answer.DONE

        return await self._transact(work, now)

    async def orphan(self, recent: timedelta, *, now: datetime | None = None) -> list[str]:
        async def work(unit: Unit) -> list[str]:
            states = [s for s, moves in SCHEDULE_MOVES.items() if ScheduleVerb.ORPHAN in moves]
            found = await unit.fetch(LOCK_ORPHANS, unit.now - recent, states)
            rows = [schedule_of(row) for row in found]
            plans = [plan_unblock(row, unit.now) for row in rows]
            stopped = [
                _stopped(
                    plan.row,
                    advance(SCHEDULE_MOVES, plan.row.state, ScheduleVerb.ORPHAN),
                    by="duly",
                    reason="no live or recent instance declares it",
                    now=unit.now,
                )
                for plan in plans
            ]
            await put(unit, stopped)
            await apply(unit, plans)
            return [row.name for row in rows]

        return await self._transact(work, now)

    async def schedule(self, name: str) -> ScheduleRow | None:
        rows = await self._fetch(f"select {SCHEDULE} from duly_schedule where name = $1", name)
        return schedule_of(rows[0]) if rows else None

    async def schedules(self, where: ScheduleFilter = EVERY_SCHEDULE) -> list[ScheduleRow]:
        rows = await self._fetch(SCHEDULES, where.tenant)
        return [schedule_of(row) for row in rows]

    async def backlogs(self, name: str) -> list[Backlog]:
        rows = await self._fetch(
            f"select {BACKLOG} from duly_backlog where schedule = $1 order by after", name
        )
        return [backlog_of(row) for row in rows]

    async def verdicts(
        self, name: str, *, after: datetime | None = None, until: datetime | None = None
    ) -> list[VerdictRange]:
        found = [verdict_of(row) for row in await self._fetch(VERDICTS, name, after, until)]
        row = await self.schedule(name)
        growing = [] if row is None else [row.open_range]
        growing += [one.open_range for one in await self.backlogs(name)]
        found += [
            one
            for one in growing
            if one is not None
            and (after is None or one.last >= after)
            and (until is None or one.first <= until)
        ]
        return sorted(found, key=lambda one: one.first)


class _Declaring:
    """One declaration: what was read, what was decided, what is to be written."""

    def __init__(self, owner: str, new_id: NewId, now: datetime) -> None:
        self._owner = owner
        self._new_id = new_id
        self._now = now
        self._rows: dict[str, ScheduleRow] = {}
        self._last: dict[str, LastRun] = {}
        self._carried: set[tuple[str, str]] = set()
        self._earlier: dict[str, set[str]] = {}
        self._plans: list[FirePlan] = []
        self._written: list[ScheduleRow] = []
        self._revisions: list[tuple[str, str]] = []

    async def read(self, unit: Unit, names: Sequence[str], boot: UUID, since: datetime) -> None:
        """Lock the rows, and read what the decision needs."""
        rows = await lock(unit, names)
        self._rows = {row.name: row for row in rows}
        self._last = await last_runs(unit, rows)
        carried = await unit.fetch(CARRIED, boot, since, names)
        self._carried = {(name, digest) for name, digest in carried}
        for name, digest in await unit.fetch(REVISIONS, names):
            self._earlier.setdefault(name, set()).add(digest)

    def declare(self, definition: Definition) -> Declared:
        """Decide one declaration, and plan what it writes."""
        name, digest = definition.name, definition.digest()
        row, earlier = self._rows.get(name), self._earlier.get(name, set())
        carried = row is not None and (name, row.digest) in self._carried
        answer = settle_declaration(row, digest, earlier=earlier, carried=carried)
        if row is None:
            self._written.append(first_row(definition, self._owner, self._now))
        elif answer is Declared.ADOPTED:
            self._written.append(activated(self._settle(row), self._now))
        elif answer is Declared.REVISED:
            settled = self._settle(row)
            if row.state is ScheduleState.ORPHANED:
                settled = activated(settled, self._now)
            revised = revise(settled, definition, self._now)
            self._written.append(
                msgspec.structs.replace(revised, owner=self._owner, source=Source.CODE)
            )
        if answer in (Declared.NEW, Declared.REVISED) and digest not in earlier:
            self._revisions.append((name, digest))
        return answer

    def _settle(self, row: ScheduleRow) -> ScheduleRow:
        plan = _settle_plan(row, self._last[row.name], self._now, self._new_id)
        self._plans.append(plan)
        return plan.row

    async def write(self, unit: Unit) -> None:
        """Write each table once."""
        if not self._written:
            return
        await put(unit, self._written)
        await apply(unit, self._plans)
        if self._revisions:
            await unit.fetch(PUT_REVISIONS, *map(list, zip(*self._revisions, strict=True)))
        unit.tell(Signal.DUE)


async def lock(unit: Unit, names: Sequence[str]) -> list[ScheduleRow]:
    """Lock schedules by name, in order."""
    return [schedule_of(row) for row in await unit.fetch(LOCK, list(names))]


async def put(unit: Unit, rows: Sequence[ScheduleRow]) -> None:
    """Write whole rows, new or known."""
    if rows:
        await unit.fetch(PUT, *schedule_columns(rows))


async def _settled(unit: Unit, row: ScheduleRow, new_id: NewId) -> FirePlan:
    """Plan the verdicts of everything due by now, under the present revision and state."""
    last = (await last_runs(unit, [row]))[row.name]
    return _settle_plan(row, last, unit.now, new_id)


def _settle_plan(row: ScheduleRow, last: LastRun, now: datetime, new_id: NewId) -> FirePlan:
    if row.state is ScheduleState.ACTIVE:
        return plan_settle(row, last, now, new_id)
    return plan_unblock(row, now)


def _stopped(
    row: ScheduleRow, state: ScheduleState, *, by: str, reason: str, now: datetime
) -> ScheduleRow:
    return msgspec.structs.replace(
        row, state=state, next_fire=None, reason=reason, by=by, changed_at=now
    )


SCHEDULES = f"""
select {SCHEDULE} from duly_schedule
where $1::text is null or coalesce(definition::json ->> 'tenant', '') = $1 order by name
"""

LOCK = f"""
select {SCHEDULE} from duly_schedule where name = any($1::text[]) order by name for update
"""

LOCK_ORPHANS = f"""
select {SCHEDULE} from duly_schedule s
where source = 'code' and state = any($2::text[]) and changed_at < $1::timestamptz
  and not exists (
    select from duly_carries c join duly_instance i on i.boot = c.boot
    where c.schedule = s.name and i.seen_at >= $1::timestamptz)
order by name for update
"""

_COLUMNS = [name.strip() for name in SCHEDULE.split(",")]
_SETS = ", ".join(f"{name} = excluded.{name}" for name in _COLUMNS if name != "name")

PUT = f"""
insert into duly_schedule ({SCHEDULE})
select * from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::int[], $6::text[],
  $7::text[], $8::timestamptz[], $9::timestamptz[], $10::uuid[], $11::text[], $12::text[],
  $13::text[], $14::timestamptz[], $15::timestamptz[])
on conflict (name) do update set {_SETS}
"""

CARRIED = """
select c.schedule, c.digest from duly_carries c join duly_instance i on i.boot = c.boot
where i.boot <> $1 and i.seen_at >= $2::timestamptz and c.schedule = any($3::text[])
"""

REVISIONS = "select name, digest from duly_revision where name = any($1::text[])"

PUT_REVISIONS = """
insert into duly_revision (name, digest) select * from unnest($1::text[], $2::text[])
on conflict do nothing
"""

VERDICTS = f"""
select {VERDICT} from duly_verdict where schedule = $1
  and ($2::timestamptz is null or last >= $2) and ($3::timestamptz is null or first <= $3)
order by first
"""
