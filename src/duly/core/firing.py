"""What a due schedule does: the planner of the firing transaction.

Theory of operation. A store locks the due rows, asks `plan_firing` for each, writes what the
plan says, and commits; nothing is decided anywhere else. The mark `fired_through` says up to
where every occurrence has its verdict (or lies in a backlog), so a plan covers exactly the
occurrences in (fired_through, now]:

* the newest of them is the *present*: it fires, unless its age, the catch-up policy or an
  earlier run that is still live (overlap) says otherwise;
* all before it are the *missed stretch*: given a verdict in one range, or put into a backlog
  that `plan_drain` empties beside the present, at its own pace.

An edit, a resume or a retirement first settles the past (`plan_settle`, `plan_unblock`), so
that no occurrence is ever judged by a definition or a state it was not due under.

Windows chain: each run's window starts at the occurrence before it, whatever revision that
belonged to, so that consecutive windows neither overlap nor leave a gap.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

import msgspec

from duly.core.instants import (
    COUNT_LIMIT,
    TICK,
    due_before,
    newest_between,
    newest_due,
    next_fire,
    stretch_between,
    trigger_of,
)
from duly.core.runs import NewRun, Origin
from duly.core.schedules import (
    PEOPLE,
    Backlog,
    CatchUpMode,
    Definition,
    Overlap,
    ScheduleRow,
    Source,
)
from duly.core.states import PLACE, Place, RunState, ScheduleState
from duly.core.triggers import (
    occurrences_between,
    previous_at_or_before,
)
from duly.core.verdicts import Verdict, VerdictRange, extend
from duly.errors import InvalidValue

ON_TIME = timedelta(seconds=60)
"""An occurrence that fires within this is on time; only later ones are matters of catch-up."""

IN_ONE = "caught up in one run"
"""The reason of occurrences that one run stands for."""

DRAIN_CHUNK = 100
"""Occurrences drained from a backlog in one transaction, when no pace holds them back."""


class LastRun(StrEnum):
    """Where the newest run of a schedule stands, as far as overlap cares."""

    NONE = "none"  # there is none, it ended, or it is parked: parked runs do not count
    QUEUED = "queued"
    RUNNING = "running"


def last_run_of(state: RunState | None) -> LastRun:
    """Read the standing of a schedule's newest run off its state (None: there is no run)."""
    if state is None or state is RunState.PARKED or PLACE[state] is Place.ENDED:
        return LastRun.NONE
    return LastRun.RUNNING if state is RunState.RUNNING else LastRun.QUEUED


class FirePlan(msgspec.Struct, frozen=True, kw_only=True):
    """What to write: the row as it stands afterwards, and what goes with it."""

    row: ScheduleRow
    closed: tuple[VerdictRange, ...] = ()  # ranges that stopped growing
    runs: tuple[NewRun, ...] = ()
    backlog: Backlog | None = None
    cancel: UUID | None = None  # the earlier run that overlap `cancel_running` ends


class DrainPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What to write when a backlog is drained; `backlog` is None when it is empty now."""

    backlog: Backlog | None
    closed: tuple[VerdictRange, ...] = ()  # ranges that stopped growing
    runs: tuple[NewRun, ...] = ()


NewId = Callable[[], UUID]


def check_definition(definition: Definition) -> Definition:
    """Return the definition, or raise `InvalidValue` when its parts contradict each other."""
    gap = trigger_of(definition).smallest_gap()
    if definition.jitter < timedelta(0) or (definition.jitter and definition.jitter >= gap):
        raise InvalidValue.expected(
            f"jitter of schedule {definition.name!r}",
            f"0 or more and smaller than the smallest gap of its trigger ({gap})",
            str(definition.jitter),
        )
    serial = definition.overlap not in (Overlap.ALLOW, Overlap.SKIP)
    if serial and definition.limit_key is not None:
        raise InvalidValue(
            f"expected schedule {definition.name!r} with overlap {definition.overlap.value!r} to"
            f" have no limit of its own, got {definition.limit_key!r}: queueing is a limit of 1"
        )
    return definition


def plan_firing(row: ScheduleRow, last: LastRun, now: datetime, new_id: NewId) -> FirePlan:
    """Plan what an active schedule does at `now`. Afterwards its mark is at `now`'s newest."""
    newest = newest_due(row.definition, now)
    return _plan_through(row, last, now, new_id=new_id, newest=newest)


def plan_settle(row: ScheduleRow, last: LastRun, now: datetime, new_id: NewId) -> FirePlan:
    """Plan the end of a revision: whatever is nominally due by `now` gets its verdict first.

    Jitter is cut short: an occurrence whose instant has passed belongs to the old revision.
    """
    newest = previous_at_or_before(trigger_of(row.definition), now)
    return _plan_through(row, last, now, new_id=new_id, newest=newest)


def plan_unblock(row: ScheduleRow, now: datetime) -> FirePlan:
    """Plan a schedule's return: what was due while it was not active is `blocked`, and by whom."""
    first, last, count = stretch_between(row.definition, row.fired_through, now)
    reason, by = _why_blocked(row)
    plan = FirePlan(row=msgspec.structs.replace(row, fired_through=max(now, row.fired_through)))
    if first is None or last is None:
        return plan
    blocked = VerdictRange(
        first=first,
        last=last,
        count=count,
        verdict=Verdict.BLOCKED,
        reason=reason,
        by=by,
        revision=row.revision,
    )
    return _with_range(plan, blocked)


def plan_drain(backlog: Backlog, now: datetime, new_id: NewId) -> DrainPlan:
    """Plan the next runs of a backlog, oldest first, no faster than its pace."""
    policy = backlog.definition.catch_up
    chunk = 1 if policy.pace else DRAIN_CHUNK
    limit = COUNT_LIMIT if policy.batch else chunk
    dues = occurrences_between(
        trigger_of(backlog.definition), backlog.after, backlog.until, limit=limit
    )
    if not dues:
        return DrainPlan(backlog=None, closed=_ranges(backlog.open_range))
    starts = [backlog.window_from or due_before(backlog.definition, dues[0]), *dues[:-1]]
    if policy.batch:
        starts, fired_dues = [starts[0]], [dues[-1]]
    else:
        fired_dues = dues
    runs = tuple(
        _run(backlog.definition, due, start, origin=Origin.CATCH_UP, run_id=new_id())
        for due, start in zip(fired_dues, starts, strict=True)
    )
    fired = VerdictRange(
        first=dues[0],
        last=dues[-1],
        count=len(dues),
        verdict=Verdict.FIRED,
        reason=IN_ONE if policy.batch else "caught up",
        revision=backlog.revision,
    )
    closed, grown = extend(backlog.open_range, fired)
    if dues[-1] >= backlog.until or policy.batch:
        return DrainPlan(backlog=None, closed=_ranges(closed, grown), runs=runs)
    rest = msgspec.structs.replace(
        backlog,
        after=dues[-1],
        window_from=dues[-1],
        next_at=now + policy.pace,
        drained=backlog.drained + len(dues),
        open_range=grown,
    )
    return DrainPlan(backlog=rest, closed=_ranges(closed), runs=runs)


def plan_forgo(backlog: Backlog, row: ScheduleRow) -> DrainPlan:
    """Plan the end of a backlog whose schedule was retired: what is left of it is `blocked`."""
    first, last, count = stretch_between(backlog.definition, backlog.after, backlog.until)
    if first is None or last is None:
        return DrainPlan(backlog=None, closed=_ranges(backlog.open_range))
    reason, by = _why_blocked(row)
    blocked = VerdictRange(
        first=first,
        last=last,
        count=count,
        verdict=Verdict.BLOCKED,
        reason=reason,
        by=by,
        revision=backlog.revision,
    )
    closed, grown = extend(backlog.open_range, blocked)
    return DrainPlan(backlog=None, closed=_ranges(closed, grown))


def revise(row: ScheduleRow, definition: Definition, now: datetime) -> ScheduleRow:
    """Return the row under a new definition; the old one must have been settled up to `now`."""
    active = row.state is ScheduleState.ACTIVE
    return msgspec.structs.replace(
        row,
        definition=definition,
        digest=definition.digest(),
        revision=row.revision + 1,
        fired_through=max(now, row.fired_through),
        next_fire=next_fire(definition, max(now, row.fired_through)) if active else None,
        changed_at=now,
    )


def first_row(definition: Definition, owner: str, now: datetime) -> ScheduleRow:
    """Return the row of a schedule that code declares for the first time: due from `now` on."""
    return ScheduleRow(
        name=definition.name,
        owner=owner,
        definition=definition,
        digest=definition.digest(),
        revision=1,
        source=Source.CODE,
        state=ScheduleState.ACTIVE,
        fired_through=now,
        next_fire=next_fire(definition, now),
        created_at=now,
        changed_at=now,
    )


def made_row(definition: Definition, by: str, reason: str, now: datetime) -> ScheduleRow:
    """Return the row of a schedule that a person makes: due from `now` on, and no code's."""
    return msgspec.structs.replace(
        first_row(definition, PEOPLE, now), source=Source.PERSON, by=by, reason=reason
    )


def activated(row: ScheduleRow, now: datetime) -> ScheduleRow:
    """Return the row as it goes on firing from its mark; nobody holds it back any more."""
    return msgspec.structs.replace(
        row,
        state=ScheduleState.ACTIVE,
        reason=None,
        by=None,
        next_fire=next_fire(row.definition, row.fired_through),
        changed_at=now,
    )


def run_for(
    definition: Definition,
    due: datetime,
    *,
    origin: Origin,
    run_id: UUID,
    by: str,
    key: str | None = None,
) -> NewRun:
    """Build a run for one occurrence that `by` asked for out of turn: a trigger, or a backfill."""
    run = _run(definition, due, due_before(definition, due), origin=origin, run_id=run_id)
    return msgspec.structs.replace(run, key=key, expires_at=None, asked_by=by)


# --- the parts ----------------------------------------------------------------------------


def _why_blocked(row: ScheduleRow) -> tuple[str, str]:
    """Return reason and person; an active row is blocked only because it is being orphaned."""
    if row.state is ScheduleState.ACTIVE:
        return "orphaned: no live or recent instance declares it", "duly"
    reason = f"{row.state.value}: {row.reason}" if row.reason else row.state.value
    return reason, row.by or "duly"


def _plan_through(
    row: ScheduleRow, last: LastRun, now: datetime, *, new_id: NewId, newest: datetime | None
) -> FirePlan:
    if newest is None or newest <= row.fired_through:
        after = row.fired_through
        return FirePlan(
            row=msgspec.structs.replace(row, next_fire=next_fire(row.definition, after))
        )
    before = due_before(row.definition, newest)
    plan = FirePlan(row=row)
    if before is not None and before > row.fired_through:
        plan = _plan_missed(plan, before, now)
    else:
        before = _window_from(row, newest)
    plan = _plan_present(plan, newest, before, last=last, now=now, new_id=new_id)
    marked = msgspec.structs.replace(
        plan.row, fired_through=newest, next_fire=next_fire(row.definition, newest)
    )
    return msgspec.structs.replace(plan, row=marked)


def _window_from(row: ScheduleRow, due: datetime) -> datetime | None:
    """Where the window of `due` starts: at the last occurrence on record, else by the trigger."""
    if row.open_range is not None and row.open_range.last < due:
        return row.open_range.last
    return due_before(row.definition, due)


def _plan_missed(plan: FirePlan, until: datetime, now: datetime) -> FirePlan:
    """Plan the occurrences in (fired_through, until], all of which have a successor due."""
    row, policy = plan.row, plan.row.definition.catch_up
    if policy.mode is not CatchUpMode.ALL:
        return _miss(plan, row.fired_through, until, f"catch_up is {policy.mode.value}")
    oldest = max(row.fired_through, now - policy.max_age - TICK)
    most = min(policy.max_count, COUNT_LIMIT)
    listed = newest_between(row.definition, oldest, until, most + 1)
    kept = listed[-most:] if most else []
    if not kept:
        why = "beyond max_count" if listed else "older than max_age"
        return _miss(plan, row.fired_through, until, why)
    start = due_before(row.definition, kept[0])
    if start is not None and start > row.fired_through:
        why = "beyond max_count" if len(kept) < len(listed) else "older than max_age"
        plan = _miss(plan, row.fired_through, start, why)
        after = start
    else:
        after, start = row.fired_through, _window_from(row, kept[0])
    backlog = Backlog(
        schedule=row.name,
        revision=row.revision,
        definition=row.definition,
        after=after,
        until=until,
        next_at=now,
        window_from=start,
    )
    # The range so far ends before the stretch: the present must not grow it across the backlog,
    # whose occurrences have ranges of their own (test_firing: ranges never overlap).
    return msgspec.structs.replace(
        plan,
        row=msgspec.structs.replace(plan.row, open_range=None),
        closed=(*plan.closed, *_ranges(plan.row.open_range)),
        backlog=backlog,
    )


def _miss(plan: FirePlan, after: datetime, until: datetime, why: str) -> FirePlan:
    first, last, count = stretch_between(plan.row.definition, after, until)
    if first is None or last is None:
        return plan
    missed = VerdictRange(
        first=first,
        last=last,
        count=count,
        verdict=Verdict.MISSED,
        reason=why,
        revision=plan.row.revision,
    )
    return _with_range(plan, missed)


def _plan_present(
    plan: FirePlan,
    due: datetime,
    window_start: datetime | None,
    *,
    last: LastRun,
    now: datetime,
    new_id: NewId,
) -> FirePlan:
    row = plan.row
    verdict, reason = _judge(row, due, last, now)
    single = VerdictRange(
        first=due, last=due, count=1, verdict=verdict, reason=reason, revision=row.revision
    )
    plan = _with_range(plan, single)
    if verdict is not Verdict.FIRED:
        return plan
    origin = Origin.CLOCK if now - due <= ON_TIME else Origin.CATCH_UP
    run = _run(row.definition, due, window_start, origin=origin, run_id=new_id())
    ends_earlier = row.definition.overlap is Overlap.CANCEL_RUNNING and last is not LastRun.NONE
    return msgspec.structs.replace(
        plan,
        row=msgspec.structs.replace(plan.row, last_run=str(run.id)),
        runs=(*plan.runs, run),
        cancel=UUID(row.last_run) if ends_earlier and row.last_run else None,
    )


def _judge(row: ScheduleRow, due: datetime, last: LastRun, now: datetime) -> tuple[Verdict, str]:
    """Say what becomes of the present occurrence, and why when it does not simply fire."""
    policy, age = row.definition.catch_up, now - due
    if age > ON_TIME and policy.mode is CatchUpMode.SKIP:
        return Verdict.MISSED, "catch_up is skip"
    if age > max(policy.max_age, ON_TIME):
        return Verdict.MISSED, "older than max_age"
    overlap = row.definition.overlap
    if last is not LastRun.NONE and overlap is Overlap.SKIP:
        return Verdict.SKIPPED, f"run {row.last_run} is still {last.value}; overlap is skip"
    if last is LastRun.QUEUED and overlap is Overlap.QUEUE_ONE:
        return Verdict.SKIPPED, f"run {row.last_run} is already queued; overlap is queue_one"
    return Verdict.FIRED, ""


def _run(
    definition: Definition,
    due: datetime,
    window_start: datetime | None,
    *,
    origin: Origin,
    run_id: UUID,
) -> NewRun:
    serial = definition.overlap is not Overlap.ALLOW and (
        definition.overlap is not Overlap.SKIP or definition.catch_up.mode is CatchUpMode.ALL
    )
    own = serial and definition.limit_key is None
    expires = definition.expires_after
    return NewRun(
        id=run_id,
        task=definition.task,
        args=definition.args,
        queue=definition.queue,
        priority=definition.priority,
        origin=origin,
        limit_key=f"schedule:{definition.name}" if own else definition.limit_key,
        limit=1 if own else definition.limit,
        schedule=definition.name,
        due=due,
        window_start=window_start,
        expires_at=due + expires if expires and origin is Origin.CLOCK else None,
        tenant=definition.tenant,
    )


def _ranges(*ranges: VerdictRange | None) -> tuple[VerdictRange, ...]:
    return tuple(one for one in ranges if one is not None)


def _with_range(plan: FirePlan, more: VerdictRange) -> FirePlan:
    closed, grown = extend(plan.row.open_range, more)
    return msgspec.structs.replace(
        plan,
        row=msgspec.structs.replace(plan.row, open_range=grown),
        closed=(*plan.closed, closed) if closed else plan.closed,
    )
