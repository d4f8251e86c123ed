"""What an ask, a report or a person's word does to a breaker. Pure: `now` and chance come in.

    closed ──trip──▶ open ──probe──▶ half open ──close──▶ closed
                      ▲                  │
                      └──────reopen──────┘      longer each time, up to a bound

* At most one probe at a time: the row holds its lease, and only who was lent one moves the row on.
  Calls that were under way when it opened change nothing any more, whatever they say; nor do those
  that began before it closed.
* A probe that is not answered by its deadline counts as neither. A process that died says nothing
  of the target, and what died may have been the cause of nothing: the lease ends, and the next who
  asks probes. It cannot become a storm: each lease lasts a deadline, and the next ones twice and
  four times as long, because the call may be slow rather than dead.
* A slow probe whose lease ended is heard all the same: the row remembers such leases since it was
  last seen to fail, so no clock has to say that its call began after that. A failure ends them.
* A probe that was taken on (202) and ends later keeps its lease until it is said to be done, or has
  been silent for too long: no other may start another piece of the same work meanwhile.
* A probe that ended without a word on the target (our own bug, a stop) reopens the breaker for a
  pause as long as the last: otherwise a bug would probe without end.
* `Retry-After` is obeyed: no probe before it, however short the pause would be.
* Hysteresis: an opening within ten pauses of the last closing goes on with the longer pause, so a
  target that comes and goes does not set the pace.
* What a person forced stays until a person says otherwise; failures are counted meanwhile.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

import msgspec

from duly.core.breakers import (
    HELD,
    OPEN,
    SHOWN,
    Ask,
    BreakerLine,
    BreakerPolicy,
    BreakerRow,
    Came,
    Permission,
    Permit,
    Report,
    schedule_of_breaker,
)
from duly.core.faults import words_of
from duly.core.fleet import Incident
from duly.core.runs import Answer
from duly.core.spoken import length_text
from duly.core.states import (
    BREAKER_MOVES,
    BreakerState,
    BreakerVerb,
    ScheduleState,
    ScheduleVerb,
    advance,
)
from duly.errors import one_line

CALM = 10
"""An opening within this many pauses of the last closing is one more in a row."""

US = "duly"
"""Who changed it, where no person did."""

MOST_UNANSWERED = 32
"""Leases that ended without a word and are remembered, the latest."""

LOOK = timedelta(seconds=30)
"""How long a call waits for a probe, or the pause if that is longer: it may fail long before."""

PATIENCE = 4
"""How many times as long as asked for a lease is at most, after others that nobody answered."""

WAITS = "breaker:"
"""How the reason of a run begins that waits for a breaker; the name follows."""

_NOTHING = timedelta(0)
_UNHELD = {"probe": None, "probe_boot": None, "probe_until": None}


class Decided(msgspec.Struct, frozen=True, kw_only=True):
    """What a row becomes, and what the store is to write with it.

    `row` is the row afterwards, written when `write`. `opened` is an incident; `closed` is what is
    noted when it ends: then whoever waits for the breaker goes on, too.
    """

    row: BreakerRow | None
    write: bool = False
    line: BreakerLine | None = None
    opened: Incident | None = None
    closed: str | None = None
    rouse: bool = False  # who waits may look again: it closed, or may be probed now


# --- may I call? --------------------------------------------------------------------------------


def on_ask(row: BreakerRow | None, ask: Ask, boot: UUID, now: datetime) -> tuple[Permit, Decided]:
    """Say whether a call may pass, and who gets the one probe."""
    if row is None or row.state is BreakerState.CLOSED:
        return Permit(Permission.PASS, row), Decided(row=row)
    if row.state is BreakerState.OPEN:
        if row.forced or row.probe_at is None:
            return Permit(Permission.REFUSED, row, HELD), Decided(row=row)
        if now < row.probe_at:
            return Permit(Permission.REFUSED, row, row.probe_at - now), Decided(row=row)
    elif row.probe is not None and row.probe_until is not None and now < row.probe_until:
        mine = row.probe == ask.lease
        permission = Permission.PROBE if mine else Permission.REFUSED
        rest = _NOTHING if mine else min(row.probe_until - now, max(row.pause, LOOK))
        return Permit(permission, row, rest), Decided(row=row)
    return _lend(row, ask, boot, now)


def _lend(row: BreakerRow, ask: Ask, boot: UUID, now: datetime) -> tuple[Permit, Decided]:
    lost = row.probe is not None
    gone = row.unanswered if row.probe is None else (*row.unanswered, row.probe)
    after = msgspec.structs.replace(
        row,
        state=advance(BREAKER_MOVES, row.state, BreakerVerb.PROBE),
        probe=ask.lease,
        probe_boot=boot,
        probe_until=now + ask.deadline * min(2 ** len(gone), PATIENCE),
        unanswered=gone[-MOST_UNANSWERED:],
        probes=row.probes + lost,
        changed_at=now,
    )
    why = "the probe before it was never answered" if lost else "its pause is over"
    line = _line(after, BreakerVerb.PROBE, now, why=why)
    permit = Permit(Permission.PROBE, after, line=line)
    return permit, Decided(row=after, write=True, line=line)


# --- what came of a call ------------------------------------------------------------------------


def on_report(row: BreakerRow | None, report: Report, now: datetime) -> Decided:
    """Count what came of a call."""
    if row is None or row.state is BreakerState.CLOSED:
        return _counted(row, report, now)
    if row.state is BreakerState.HALF_OPEN and report.lease is not None:
        if report.lease == row.probe:
            started = report.came is Came.STARTED
            return (_prolonged if started else _probed)(row, report, now)
        if report.lease in row.unanswered and report.came in (Came.GOOD, Came.BROKEN):
            return _probed(row, report, now)  # a slow one: no lease says that it knows less
    return _in_vain(row, report, now)


def _counted(row: BreakerRow | None, report: Report, now: datetime) -> Decided:
    if row is not None and row.closed_at is not None and now - report.took < row.closed_at:
        return Decided(row=row)  # begun before it closed: the probe knew better
    if report.came is Came.BROKEN:
        return _failed(row, report, now)
    within = report.policy.within is not None
    if row is None or report.came is not Came.GOOD or row.clean or within:
        return Decided(row=row)
    after = msgspec.structs.replace(row, failures=0, marks=(), changed_at=now)
    return Decided(row=after, write=True)


def _failed(row: BreakerRow | None, report: Report, now: datetime) -> Decided:
    before = row or BreakerRow(name=report.breaker, changed_at=now)
    policy = report.policy
    failures, marks = before.failures + 1, before.marks
    if policy.within is not None:
        recent = [mark for mark in marks if now - policy.within < mark <= now]
        marks = (*recent, now)[-policy.threshold :]
        failures = len(marks)
    after = msgspec.structs.replace(
        before, failures=failures, marks=marks, **_blame(report, now), changed_at=now
    )
    if failures < policy.threshold or before.forced:
        return Decided(row=after, write=True)
    return _trip(after, report, now)


def _trip(row: BreakerRow, report: Report, now: datetime) -> Decided:
    soon = row.closed_at is not None and now - row.closed_at < CALM * row.pause
    openings = row.openings + 1 if soon else 1
    within = report.policy.within
    span = " in a row" if within is None else f" within {length_text(within)}"
    count = "1 failure" if row.failures == 1 else f"{row.failures} failures{span}"
    why = f"{count}, the last: {_told(report)}"
    after = _paused(row, report.policy, openings, report, now)
    after = msgspec.structs.replace(
        after,
        state=advance(BREAKER_MOVES, row.state, BreakerVerb.TRIP),
        opened_at=now,
        probes=0,
        unanswered=(),
        by=US,
        why=why,
    )
    line = _line(after, BreakerVerb.TRIP, now, by=US, why=why)
    return Decided(row=after, write=True, line=line, opened=_incident(after, "critical"))


def _probed(row: BreakerRow, report: Report, now: datetime) -> Decided:
    if report.came is not Came.GOOD:
        return _reopen(row, report, now)
    successes = row.successes + 1
    if successes < report.policy.closes_after:
        held = {} if report.lease != row.probe else _UNHELD
        left = tuple(one for one in row.unanswered if one != report.lease)
        after = msgspec.structs.replace(
            row, successes=successes, unanswered=left, changed_at=now, **held
        )
        return Decided(row=after, write=True, rouse=True)
    why = "its probe succeeded" if successes == 1 else f"{successes} probes succeeded"
    return _closed(row, BreakerVerb.CLOSE, now, US, why)


def _prolonged(row: BreakerRow, report: Report, now: datetime) -> Decided:
    until = now + report.lasts
    if row.probe_until is not None and until <= row.probe_until:
        return Decided(row=row)
    after = msgspec.structs.replace(row, probe_until=until, changed_at=now)
    return Decided(row=after, write=True)


def _reopen(row: BreakerRow, report: Report, now: datetime) -> Decided:
    broken = report.came is Came.BROKEN
    openings = row.openings + 1 if broken else row.openings
    after = _paused(row, report.policy, openings, report, now)
    blame = _blame(report, now) if broken else {}
    told = (
        f"its probe failed: {_told(report)}" if broken else "its probe said nothing of the target"
    )
    after = msgspec.structs.replace(
        after,
        state=advance(BREAKER_MOVES, row.state, BreakerVerb.REOPEN),
        probes=row.probes + 1,
        unanswered=() if broken else row.unanswered,
        **blame,
    )
    return Decided(
        row=after, write=True, line=_line(after, BreakerVerb.REOPEN, now, by=US, why=told)
    )


def _in_vain(row: BreakerRow, report: Report, now: datetime) -> Decided:
    """A call that was under way when it opened: only a later `Retry-After` is heard of it."""
    after_us = report.retry_after
    if report.came is not Came.BROKEN or after_us is None or row.probe_at is None:
        return Decided(row=row)
    if row.state is not BreakerState.OPEN or row.forced or now + after_us <= row.probe_at:
        return Decided(row=row)
    later = msgspec.structs.replace(row, probe_at=now + after_us, changed_at=now)
    return Decided(row=later, write=True)


# --- a person's word ----------------------------------------------------------------------------


def on_move(
    row: BreakerRow | None, name: str, verb: BreakerVerb, *, by: str, why: str, now: datetime
) -> tuple[Answer, Decided]:
    """Do what a person says: `force_open`, `force_close`, `resume`, or `probe` (now).

    `already` when it stands so, `unknown` for a breaker of which nothing is known, `impossible`
    for a probe of one that is closed.
    """
    if row is None and verb in (BreakerVerb.RESUME, BreakerVerb.PROBE):
        return Answer.UNKNOWN, Decided(row=None)
    before = row or BreakerRow(name=name, changed_at=now)
    if verb not in (*_FORCED, BreakerVerb.RESUME, BreakerVerb.PROBE):
        return Answer.IMPOSSIBLE, Decided(row=row)
    if row is not None and _stands(row, verb):
        return Answer.ALREADY, Decided(row=row)
    if verb is BreakerVerb.PROBE:
        return _probe_now(before, by, why, now)
    if verb is BreakerVerb.FORCE_OPEN:
        return Answer.DONE, _force_open(before, by, why, now)
    return Answer.DONE, _closed(before, verb, now, by, why)


_FORCED = (BreakerVerb.FORCE_OPEN, BreakerVerb.FORCE_CLOSE)


def _stands(row: BreakerRow, verb: BreakerVerb) -> bool:
    match verb:
        case BreakerVerb.FORCE_OPEN:
            return row.forced and row.state is BreakerState.OPEN
        case BreakerVerb.FORCE_CLOSE:
            return row.forced and row.state is BreakerState.CLOSED
        case BreakerVerb.RESUME:
            return row.clean and not row.forced and not row.openings
        case _:
            return row.state is BreakerState.HALF_OPEN


def _probe_now(row: BreakerRow, by: str, why: str, now: datetime) -> tuple[Answer, Decided]:
    """Let the next who asks probe, before the pause is over."""
    if row.state is BreakerState.CLOSED:
        return Answer.IMPOSSIBLE, Decided(row=row)
    state = advance(BREAKER_MOVES, row.state, BreakerVerb.PROBE)
    after = msgspec.structs.replace(
        row, state=state, forced=False, by=by, why=why, changed_at=now, successes=0, **_UNHELD
    )
    line = _line(after, BreakerVerb.PROBE, now, by=by, why=why)
    return Answer.DONE, Decided(row=after, write=True, line=line, rouse=True)


def _force_open(row: BreakerRow, by: str, why: str, now: datetime) -> Decided:
    after = msgspec.structs.replace(
        row,
        state=advance(BREAKER_MOVES, row.state, BreakerVerb.FORCE_OPEN),
        forced=True,
        opened_at=row.opened_at or now,
        probe_at=None,
        successes=0,
        unanswered=(),
        by=by,
        why=why,
        changed_at=now,
        **_UNHELD,
    )
    line = _line(after, BreakerVerb.FORCE_OPEN, now, by=by, why=why)
    opened = None if row.opened_at is not None else _incident(after, "warning")
    return Decided(row=after, write=True, line=line, opened=opened)


def _closed(row: BreakerRow, verb: BreakerVerb, now: datetime, by: str, why: str) -> Decided:
    """Close it, by its probe or by a person, who begins with a clean sheet."""
    probed = verb is BreakerVerb.CLOSE
    was_open = row.opened_at is not None
    after = msgspec.structs.replace(
        row,
        state=advance(BREAKER_MOVES, row.state, verb),
        forced=verb is BreakerVerb.FORCE_CLOSE,
        failures=0,
        marks=(),
        opened_at=None,
        closed_at=now if was_open else row.closed_at,
        openings=row.openings if probed else 0,
        probes=0,
        successes=0,
        unanswered=(),
        pause=row.pause if probed else _NOTHING,
        probe_at=None,
        by=by,
        why=why,
        changed_at=now,
        **_UNHELD,
    )
    note = why if by == US else f"by {by}: {why}"
    return Decided(
        row=after,
        write=True,
        line=_line(after, verb, now, by=by, why=why),
        closed=note if was_open else None,
        rouse=was_open,
    )


# --- a schedule's own breaker ---------------------------------------------------------------------


def schedule_verb(
    state: ScheduleState, row: BreakerRow | None, now: datetime
) -> ScheduleVerb | None:
    """Say how a schedule is to move with the breaker of its own; None: not at all.

    It stops while the breaker is open, and fires again when a probe is due: then a run of it, or
    its next occurrence, is the probe. What a person paused stays as it is.
    """
    held = row is not None and row.state is BreakerState.OPEN
    due = row is not None and row.probe_at is not None and row.probe_at <= now
    if state is ScheduleState.ACTIVE and held and not due:
        return ScheduleVerb.TRIP
    if state is ScheduleState.TRIPPED and (not held or due):
        return ScheduleVerb.RESET
    return None


# --- words they share ---------------------------------------------------------------------------


def _paused(
    row: BreakerRow, policy: BreakerPolicy, openings: int, report: Report, now: datetime
) -> BreakerRow:
    """Let it rest: less than the pause by the lot, and never less than the target asked for."""
    ceiling = policy.ceiling(openings)
    rest = max(ceiling * (1 - policy.jitter * report.draw), report.retry_after or _NOTHING)
    return msgspec.structs.replace(
        row,
        openings=openings,
        pause=ceiling,
        probe_at=now + rest,
        successes=0,
        changed_at=now,
        **_UNHELD,
    )


def _blame(report: Report, now: datetime) -> dict[str, object]:
    return {
        "fault": report.fault,
        "error": one_line(report.error, SHOWN),
        "who": report.who,
        "schedule": report.schedule,
        "owner": report.owner,
        "endpoint": report.endpoint,
        "answer": report.answer,
        "ran_by": report.ran_by,
        "failed_at": now,
    }


def _told(report: Report) -> str:
    word = words_of(report.fault)
    return one_line(": ".join(one for one in (word, report.error) if one) or "no message", SHOWN)


def _line(
    row: BreakerRow, verb: BreakerVerb, now: datetime, *, by: str = US, why: str = ""
) -> BreakerLine:
    return BreakerLine(breaker=row.name, verb=verb, state=row.state, at=now, by=by, why=why)


def _incident(row: BreakerRow, severity: str) -> Incident:
    forced = f"by {row.by}: {row.why}" if row.forced else row.why
    schedule = schedule_of_breaker(row.name) or row.schedule
    return Incident(
        kind=OPEN,
        subject=row.name,
        severity=severity,
        summary=f"the breaker {row.name} is open: {forced}",
        owner="" if schedule else row.owner,
        evidence={
            **({"schedule": schedule} if schedule else {}),
            "breaker": row.name,
            "endpoint": row.endpoint,
            "error": row.error,
            "fault": row.fault,
            "who": row.who,
            "run by": row.ran_by,
            "what helps": f"duly breakers show {row.name}",
        },
    )
