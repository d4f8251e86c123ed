"""The verbs of schedules: every decision is the core's, taken under the write lock.

SQLite has one writer, so a due schedule cannot be fired twice at once; the mark
`fired_through`, written with the runs, is what makes the next firing see that it was done, and
the unique (schedule, occurrence) of clock runs guards it a second time.
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
    ScheduleRow,
    Source,
    settle_declaration,
)
from duly.core.states import SCHEDULE_MOVES, ScheduleState, ScheduleVerb, advance
from duly.stores.base import Fired, Signal
from duly.stores.sqlite.enqueue import enqueue_one
from duly.stores.sqlite.moves import state_of
from duly.stores.sqlite.rows import micros
from duly.stores.sqlite.runs import cancel
from duly.stores.sqlite.timetable import (
    add_verdicts,
    delete_backlog,
    get,
    put,
    put_backlog,
    read_backlogs,
    read_schedules,
)
from duly.stores.sqlite.tx import Tx

NewId = Callable[[], UUID]
FiredRun = tuple[str, datetime, UUID]

_DRAINABLE = """join duly_schedule s on s.name = b.schedule and s.state = 'active'
    where b.next_at <= ? order by b.schedule, b.after"""


def declare(
    tx: Tx,
    boot: UUID,
    owner: str,
    definitions: Sequence[Definition],
    *,
    new_id: NewId,
    recent: timedelta,
    now: datetime | None,
) -> list[Declared]:
    """Declare schedules from code; see `Store.declare`."""
    at = tx.now(now)
    carried = _carried(tx, at - recent, but=boot)
    answers = {
        one.name: _declare_one(tx, one, owner, carried, new_id=new_id, now=at)
        for one in sorted(definitions, key=lambda one: one.name)
    }
    return [answers[one.name] for one in definitions]


def _carried(tx: Tx, since: datetime, *, but: UUID | None = None) -> set[tuple[str, str]]:
    """Return the (schedule, digest) pairs that live or recent instances declare."""
    rows = tx.all(
        """select c.schedule, c.digest from duly_instance i
        join duly_carries c on c.boot = i.boot where i.seen_at >= ? and i.boot is not ?""",
        micros(since),
        None if but is None else but.bytes,
    )
    return {(schedule, digest) for schedule, digest in rows}


def _declare_one(
    tx: Tx,
    definition: Definition,
    owner: str,
    carried: set[tuple[str, str]],
    *,
    new_id: NewId,
    now: datetime,
) -> Declared:
    name, digest = definition.name, definition.digest()
    row = get(tx, name)
    earlier = {one for (one,) in tx.all("select digest from duly_revision where name = ?", name)}
    is_carried = row is not None and (name, row.digest) in carried
    answer = settle_declaration(row, digest, earlier=earlier, carried=is_carried)
    if row is None:
        put(tx, first_row(definition, owner, now))
    elif answer in (Declared.ADOPTED, Declared.REVISED):
        row = _settle(tx, row, new_id, now)
        if row.state is ScheduleState.ORPHANED:
            row = activated(row, now)
        if answer is Declared.REVISED:
            row = msgspec.structs.replace(
                revise(row, definition, now), owner=owner, source=Source.CODE
            )
        put(tx, row)
    if answer in (Declared.NEW, Declared.REVISED):
        tx.do("insert or ignore into duly_revision (name, digest) values (?,?)", name, digest)
    if answer in (Declared.NEW, Declared.REVISED, Declared.ADOPTED):
        tx.tell(Signal.DUE)
    return answer


def _settle(tx: Tx, row: ScheduleRow, new_id: NewId, now: datetime) -> ScheduleRow:
    """Give everything due by `now` its verdict under the row's present revision and state."""
    if row.state is ScheduleState.ACTIVE:
        plan = plan_settle(row, _last(tx, row), now, new_id)
    else:
        plan = plan_unblock(row, now)
    _apply(tx, plan, now)
    return plan.row


def _last(tx: Tx, row: ScheduleRow) -> LastRun:
    return last_run_of(state_of(tx, UUID(row.last_run).bytes) if row.last_run else None)


def edit(
    tx: Tx,
    definition: Definition,
    *,
    by: str,
    reason: str,
    revision: int,
    new_id: NewId,
    now: datetime | None,
) -> Answer:
    """Replace a definition by a person's; see `Store.edit`."""
    at, row = tx.now(now), get(tx, definition.name)
    if row is None and revision == 0:
        put(tx, made_row(definition, by, reason, at))
        tx.tell(Signal.DUE)
        return Answer.DONE
    if row is None:
        return Answer.UNKNOWN
    if row.digest == definition.digest():
        return Answer.ALREADY
    if row.revision != revision:
        return Answer.STALE
    revised = revise(_settle(tx, row, new_id, at), definition, at)
    if row.state is ScheduleState.ACTIVE:
        revised = msgspec.structs.replace(revised, by=by, reason=reason)
    put(tx, msgspec.structs.replace(revised, source=Source.PERSON))
    tx.tell(Signal.DUE)
    return Answer.DONE


def give_back(tx: Tx, name: str, now: datetime | None) -> Answer:
    """End a person's edit; see `Store.give_back`."""
    row = get(tx, name)
    if row is None:
        return Answer.UNKNOWN
    if row.source is Source.CODE:
        return Answer.ALREADY
    put(tx, msgspec.structs.replace(row, source=Source.CODE, changed_at=tx.now(now)))
    return Answer.DONE


def move(
    tx: Tx,
    name: str,
    verb: ScheduleVerb,
    *,
    by: str,
    reason: str,
    new_id: NewId,
    revision: int | None = None,
    now: datetime | None,
) -> Answer:
    """Pause, resume, retire …; see `Store.move`."""
    at, row = tx.now(now), get(tx, name)
    if row is None:
        return Answer.UNKNOWN
    if revision not in (None, row.revision):
        return Answer.STALE
    if verb not in SCHEDULE_MOVES[row.state]:
        there = {moves[verb] for moves in SCHEDULE_MOVES.values() if verb in moves}
        return Answer.ALREADY if row.state in there else Answer.IMPOSSIBLE
    after = advance(SCHEDULE_MOVES, row.state, verb)
    settled = _settle(tx, row, new_id, at)
    if after is ScheduleState.ACTIVE:
        put(tx, activated(settled, at))
    else:
        stopped = msgspec.structs.replace(
            settled, state=after, next_fire=None, reason=reason, by=by, changed_at=at
        )
        put(tx, stopped)
        if after is ScheduleState.RETIRED:
            for one in read_backlogs(tx, "where b.schedule = ? order by b.after", name):
                _drain(tx, one, plan_forgo(one, stopped), at)
    tx.tell(Signal.DUE)
    return Answer.DONE


# --- firing -------------------------------------------------------------------------------


def fire(tx: Tx, new_id: NewId, limit: int, now: datetime | None) -> Fired:
    """Fire what is due and drain backlogs; see `Store.fire`."""
    tx.must_be_trusted()
    at = tx.now(now)
    us = micros(at)
    due = read_schedules(tx, "where next_fire <= ? order by next_fire, name limit ?", us, limit + 1)
    fired: list[FiredRun] = []
    cancelled: list[UUID] = []
    for row in due[:limit]:
        plan = plan_firing(row, _last(tx, row), at, new_id)
        fired += _apply(tx, plan, at)
        cancelled += [plan.cancel] if plan.cancel else []
    drained = read_backlogs(tx, f"{_DRAINABLE} limit ?", us, limit)
    for backlog in drained:
        fired += _drain(tx, backlog, plan_drain(backlog, at, new_id), at)
    more = len(due) > limit or bool(read_backlogs(tx, f"{_DRAINABLE} limit 1", us))
    return Fired(
        fired=tuple(fired),
        cancelled=tuple(cancelled),
        judged=len(due[:limit]) + len(drained),
        more=more,
    )


def _apply(tx: Tx, plan: FirePlan, now: datetime) -> list[FiredRun]:
    put(tx, plan.row)
    add_verdicts(tx, plan.row.name, plan.closed)
    if plan.backlog is not None:
        put_backlog(tx, plan.backlog)
    fired = _insert_fired(tx, plan.runs, now)
    if plan.cancel is not None:
        why = "duly: overlap is cancel_running"
        cancel(tx, plan.cancel.bytes, why, micros(now))
    return fired


def _drain(tx: Tx, backlog: Backlog, plan: DrainPlan, now: datetime) -> list[FiredRun]:
    add_verdicts(tx, backlog.schedule, plan.closed)
    delete_backlog(tx, backlog)
    if plan.backlog is not None:
        put_backlog(tx, plan.backlog)
    return _insert_fired(tx, plan.runs, now)


def _insert_fired(tx: Tx, runs: Sequence[NewRun], now: datetime) -> list[FiredRun]:
    """Insert clock runs; an occurrence that has a run already is left alone (P1)."""
    fired: list[FiredRun] = []
    for run in runs:
        assert run.schedule is not None and run.due is not None, "a clock run has both"
        had = tx.value(
            "select 1 from duly_run where schedule = ? and due = ?"
            " and origin in ('clock', 'catch_up')",
            run.schedule,
            micros(run.due),
        )
        if had is None:
            enqueue_one(tx, run, now)
            fired.append((run.schedule, run.due, run.id))
    return fired


def orphan(tx: Tx, recent: timedelta, now: datetime | None) -> list[str]:
    """Retire, by itself, what no instance carries; see `Store.orphan`."""
    at = tx.now(now)
    declared = {name for name, _ in _carried(tx, at - recent)}
    candidates = read_schedules(
        tx, "where source = 'code' and changed_at < ? order by name", micros(at - recent)
    )
    orphans = [
        row
        for row in candidates
        if ScheduleVerb.ORPHAN in SCHEDULE_MOVES[row.state] and row.name not in declared
    ]
    for row in orphans:
        plan = plan_unblock(row, at)
        _apply(tx, plan, at)
        orphaned = msgspec.structs.replace(
            plan.row,
            state=advance(SCHEDULE_MOVES, row.state, ScheduleVerb.ORPHAN),
            next_fire=None,
            reason="no live or recent instance declares it",
            by="duly",
            changed_at=at,
        )
        put(tx, orphaned)
    return [row.name for row in orphans]
