"""Firing: one transaction for many schedules, a fixed number of statements for any number.

Theory of operation. Due schedules are locked in the order of their instants, those that another
instance fires are skipped. The core plans each; then every table is written once. The mark
`fired_through`, written under the row's lock, is the guard of P1; the unique occurrence of clock
runs is the second, and a run it refuses is left out of the answer. Backlogs are drained in the
same transaction, behind the present.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from uuid import UUID

from duly.core.firing import (
    DrainPlan,
    FirePlan,
    LastRun,
    last_run_of,
    plan_drain,
    plan_firing,
    plan_forgo,
)
from duly.core.runs import NewRun
from duly.core.schedules import Backlog, ScheduleRow
from duly.core.states import RunState
from duly.core.verdicts import VerdictRange
from duly.stores.base import Fired
from duly.stores.postgres.enqueue import insert_clock_runs, states_of
from duly.stores.postgres.ground import Ground
from duly.stores.postgres.moving import cancel_in
from duly.stores.postgres.places import identities
from duly.stores.postgres.rows import (
    BACKLOG,
    SCHEDULE,
    VERDICT,
    backlog_columns,
    backlog_of,
    mark_columns,
    schedule_of,
    verdict_columns,
)
from duly.stores.postgres.unit import Unit, sparse
from duly.stores.postgres.waiting import lock_ends

NewId = Callable[[], UUID]
Occurrence = tuple[str, datetime, UUID]


class FireVerbs(Ground):
    """`fire`."""

    async def fire(self, *, new_id: NewId, limit: int = 500, now: datetime | None = None) -> Fired:
        await self._must_be_trusted()

        async def work(unit: Unit) -> Fired:
            found = await unit.fetch(LOCK_DUE, unit.now, limit)
            rows = [schedule_of(tuple(row)[:-1]) for row in found]
            last = await last_runs(unit, rows)
            plans = [plan_firing(row, last[row.name], unit.now, new_id) for row in rows]
            await write_marks(unit, [plan.row for plan in plans])
            fired = await apply(unit, plans)
            backlogs = not found or found[0][-1] or any(plan.backlog for plan in plans)
            drained, more_fired = await _drain(unit, limit, new_id) if backlogs else (0, [])
            more = bool(len(rows) == limit or drained) and await _is_more(unit)
            return Fired(
                fired=(*fired, *more_fired),
                cancelled=tuple(plan.cancel for plan in plans if plan.cancel is not None),
                judged=len(rows) + drained,
                more=more,
            )

        return await self._transact(work, now)


async def last_runs(unit: Unit, rows: Sequence[ScheduleRow]) -> dict[str, LastRun]:
    """Where the newest run of each schedule stands, as far as overlap cares."""
    runs = [UUID(row.last_run) for row in rows if row.last_run is not None]
    live = await states_of(unit, runs) if runs else {}
    states: dict[str, RunState] = {str(run): state for run, (state, _) in live.items()}
    return {row.name: last_run_of(states.get(row.last_run or "")) for row in rows}


async def write_marks(unit: Unit, rows: Sequence[ScheduleRow]) -> None:
    """Write what firing moves of each row."""
    if rows:
        await unit.fetch(MARK, [row.name for row in rows], *map(sparse, mark_columns(rows)))


async def apply(unit: Unit, plans: Sequence[FirePlan]) -> list[Occurrence]:
    """Write what plans say beside their rows: verdicts, backlogs, runs, cancellings."""
    closed = [(plan.row.name, one) for plan in plans for one in plan.closed]
    await write_verdicts(unit, closed)
    await write_backlogs(unit, [plan.backlog for plan in plans if plan.backlog is not None])
    cancels = [plan.cancel for plan in plans if plan.cancel is not None]
    runs = [run for plan in plans for run in plan.runs]
    if cancels:  # who awaits them, then limits of both kinds together, in order
        known = await identities(unit, cancels)
        await lock_ends(unit, known.values(), [run.limit_key for run in runs])
    fired = await _insert_fired(unit, runs)
    for run in cancels:
        await cancel_in(unit, run, "duly: overlap is cancel_running")
    return fired


async def _insert_fired(unit: Unit, runs: Sequence[NewRun]) -> list[Occurrence]:
    if not runs:
        return []
    inserted = await insert_clock_runs(unit, runs)
    return [
        (run.schedule, run.due, run.id)
        for run in runs
        if run.id in inserted and run.schedule is not None and run.due is not None
    ]


async def write_verdicts(unit: Unit, closed: Sequence[tuple[str, VerdictRange]]) -> None:
    """Keep ranges that stopped growing."""
    if closed:
        await unit.fetch(PUT_VERDICTS, *verdict_columns(closed))


async def write_backlogs(unit: Unit, backlogs: Sequence[Backlog]) -> None:
    """Put missed stretches aside, to be caught up."""
    if backlogs:
        await unit.fetch(PUT_BACKLOGS, *backlog_columns(backlogs))


async def forgo(unit: Unit, row: ScheduleRow) -> None:
    """End the backlogs of a schedule that was retired in this unit.

    Who drains one writes it anew, where a statement that waited for that does not see it: so the
    next statement looks whether something is left.
    """
    while (await unit.fetch(ANY_BACKLOG, row.name))[0][0]:
        rows = await unit.fetch(FORGO, row.name)
        plans = [plan_forgo(backlog_of(one), row) for one in rows]
        await write_verdicts(unit, [(row.name, one) for plan in plans for one in plan.closed])


async def _drain(unit: Unit, limit: int, new_id: NewId) -> tuple[int, list[Occurrence]]:
    """Drain backlogs whose time has come; return how many were looked at, and what fired."""
    rows = [backlog_of(row) for row in await unit.fetch(LOCK_DRAINABLE, unit.now, limit)]
    if not rows:
        return 0, []
    plans: list[DrainPlan] = [plan_drain(row, unit.now, new_id) for row in rows]
    await unit.fetch(DROP_BACKLOGS, [row.schedule for row in rows], [row.after for row in rows])
    await write_backlogs(unit, [plan.backlog for plan in plans if plan.backlog is not None])
    closed = [
        (row.schedule, one) for row, plan in zip(rows, plans, strict=True) for one in plan.closed
    ]
    await write_verdicts(unit, closed)
    fired = await _insert_fired(unit, [run for plan in plans for run in plan.runs])
    return len(rows), fired


async def _is_more(unit: Unit) -> bool:
    rows = await unit.fetch(IS_MORE, unit.now)
    return bool(rows[0][0])


# The rows are locked, so each of them conflicts; written so that no join can be planned badly.
MARK = """
insert into duly_schedule (name, fired_through, next_fire, last_run, open_range, owner, definition,
  digest, revision, source, state)
select d.*, '', '', '', 0, '', ''
from unnest($1::text[], $2::timestamptz[], $3::timestamptz[], $4::uuid[], $5::text[]) d
on conflict (name) do update set fired_through = excluded.fired_through,
  next_fire = excluded.next_fire, last_run = excluded.last_run, open_range = excluded.open_range
"""

PUT_VERDICTS = f"""
insert into duly_verdict ({VERDICT})
select * from unnest($1::text[], $2::timestamptz[], $3::timestamptz[], $4::bigint[], $5::text[],
  $6::text[], $7::text[], $8::int[])
"""

PUT_BACKLOGS = f"""
insert into duly_backlog ({BACKLOG})
select * from unnest($1::text[], $2::timestamptz[], $3::timestamptz[], $4::int[], $5::text[],
  $6::timestamptz[], $7::timestamptz[], $8::int[], $9::text[])
on conflict (schedule, after) do update set until = excluded.until, revision = excluded.revision,
  definition = excluded.definition, next_at = excluded.next_at, window_from = excluded.window_from,
  drained = excluded.drained, open_range = excluded.open_range
"""

_DRAINABLE = """
from duly_backlog b join duly_schedule s on s.name = b.schedule
where b.next_at <= $1::timestamptz and s.state = 'active'
"""

LOCK_DUE = f"""
select {SCHEDULE}, exists (select {_DRAINABLE}) from duly_schedule
where next_fire <= $1::timestamptz order by next_fire, name limit $2 for update skip locked
"""

LOCK_DRAINABLE = f"""
select {", ".join("b." + name for name in BACKLOG.split(", "))} {_DRAINABLE}
order by b.schedule, b.after limit $2 for update of b skip locked
"""

DROP_BACKLOGS = """
delete from duly_backlog b using unnest($1::text[], $2::timestamptz[]) d (schedule, after)
where b.schedule = d.schedule and b.after = d.after
"""

ANY_BACKLOG = "select exists (select from duly_backlog where schedule = $1)"

FORGO = f"""
delete from duly_backlog where schedule = $1 returning {BACKLOG}
"""

IS_MORE = f"""
select exists (select from duly_schedule where next_fire <= $1::timestamptz)
  or exists (select {_DRAINABLE})
"""
