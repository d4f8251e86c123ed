"""Recorded histories, replayed against the tables of states and the decisions of the ledger.

Each attempt is a row of `RUN_MOVES` and begins where the one before it left its run; each line of
an effect's audit is what `core.ledger.decide` decides from the row it found; verdicts of a
schedule lie one behind the other. What is not written down (a promotion, a plain intent) is put
in where the tables allow nothing else. Pure: `wrong` says in words what cannot have happened,
and an empty list says that all of it can.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from itertools import pairwise
from uuid import UUID

from duly.core.fleet import InstanceState
from duly.core.runs import Origin, RunView
from duly.core.states import ENDS, RUN_MOVES, RunState, RunVerb, ScheduleState
from duly.core.verdicts import UNCOUNTED, Verdict, VerdictRange
from models.histories import Histories, ScheduleHistory, held_last
from models.replaying_effects import effect_wrongs

BEGINS = frozenset({RunState.SCHEDULED, RunState.READY, RunState.WAITING})
BETWEEN = frozenset({RunVerb.PROMOTE, RunVerb.WAIT, RunVerb.UNPARK, RunVerb.REVIVE})
"""Moves of a run that nobody holds, and that its attempts do not tell of."""

UNHELD_ENDS = frozenset({RunVerb.CANCEL, RunVerb.SKIP, RunVerb.EXPIRE, RunVerb.FAIL})
CLOCKS = (Origin.CLOCK, Origin.CATCH_UP)


def wrong(past: Histories) -> list[str]:
    """Say what in these histories no table of the core allows."""
    dead = {one.boot for one in past.instances if one.state is InstanceState.DEAD}
    known = {one.boot for one in past.instances}
    found: list[str] = []
    for run in past.runs:
        told = [*_moved(run), *_counted(run), *_in_time(run), *_in_hands(run, dead, known)]
        found += [f"run {run.id}: {one}" for one in told]
    found += effect_wrongs(past)
    for schedule in past.schedules:
        name = f"schedule {schedule.row.name}"
        found += [f"{name}: {one}" for one in _judged(schedule)]
        found += [f"{name}: {one}" for one in _fired(schedule, past.runs)]
    return found


# --- runs -------------------------------------------------------------------------------------


def closure(states: Collection[RunState], verbs: Collection[RunVerb]) -> set[RunState]:
    """Return where a run may be after any number of these moves, none included."""
    reached = set(states)
    while True:
        more = {to for one in reached for verb, to in RUN_MOVES[one].items() if verb in verbs}
        if more <= reached:
            return reached
        reached |= more


def after(outcome: RunVerb) -> set[RunState]:
    """Return where an attempt that ended so leaves its run; empty when no row allows it.

    A takeover that convicts a run parks it, and is told as a takeover all the same.
    """
    verbs = {outcome} | ({RunVerb.PARK} if outcome is RunVerb.TAKE_OVER else set())
    return {to for verb, to in RUN_MOVES[RunState.RUNNING].items() if verb in verbs}


def _moved(run: RunView) -> Iterator[str]:
    may = closure(BEGINS, BETWEEN)
    for attempt in run.attempts:
        if RunState.READY not in may:
            yield f"attempt {attempt.epoch} began from {_names(may)}: a claim takes what is ready"
        left = after(attempt.outcome)
        if not left & set(RUN_MOVES):
            yield f"attempt {attempt.epoch} ended by {attempt.outcome}, which ends no attempt"
        may = closure(left, BETWEEN)
    if held_last(run):
        if RunState.READY not in may:
            yield f"its last attempt began from {_names(may)}: a claim takes what is ready"
        may = {RunState.RUNNING} | (set(RUN_MOVES[RunState.RUNNING].values()) & ENDS)
    else:
        may = closure(may, BETWEEN | UNHELD_ENDS)
    if run.state not in may:
        yield f"it is {run.state}, and could only be {_names(may)}"


def _counted(run: RunView) -> Iterator[str]:
    epochs = [one.epoch for one in run.attempts] + ([run.epoch] if held_last(run) else [])
    if epochs != list(range(1, len(epochs) + 1)):
        yield f"its epochs are {epochs}: each claim raises it by one"
    if run.epoch != len(epochs):
        yield f"its epoch is {run.epoch} after {len(epochs)} attempts"
    outcomes = [one.outcome for one in run.attempts]
    budget = outcomes[_last(outcomes, RunVerb.FAIL) + 1 :]
    failures = budget.count(RunVerb.RETRY) + (run.state is RunState.FAILED and held_last(run))
    if run.failures != failures:
        yield f"it counts {run.failures} failures, and its attempts tell of {failures}"
    if run.deaths > outcomes.count(RunVerb.TAKE_OVER):
        yield f"it counts {run.deaths} deaths, and fewer of its holders died"


def _in_time(run: RunView) -> Iterator[str]:
    """By the store's clock alone, which both ends of an attempt are written by."""
    for one in run.attempts:
        if one.ended_at < one.started_at:
            yield f"attempt {one.epoch} ended before it began"
    for earlier, later in pairwise(run.attempts):
        if later.started_at < earlier.ended_at:
            yield f"attempt {later.epoch} began before attempt {earlier.epoch} had ended"
    last_began = run.started_at if held_last(run) else None
    if last_began is not None and run.attempts and last_began < run.attempts[-1].ended_at:
        yield "its last attempt began before the one before it had ended"


def _in_hands(run: RunView, dead: Collection[UUID], known: Collection[UUID]) -> Iterator[str]:
    for one in run.attempts:
        if one.outcome is RunVerb.TAKE_OVER and one.boot in known and one.boot not in dead:
            yield f"attempt {one.epoch} was taken over from {one.boot}, which is not dead"
    if run.state is RunState.RUNNING and run.boot in dead:
        yield f"it is in the hands of {run.boot}, which is dead"


def _last(outcomes: Sequence[RunVerb], verb: RunVerb) -> int:
    return max((place for place, one in enumerate(outcomes) if one is verb), default=-1)


def _names(states: Collection[RunState]) -> str:
    return ", ".join(sorted(states)) or "nothing"


# --- schedules --------------------------------------------------------------------------------


def _judged(schedule: ScheduleHistory) -> Iterator[str]:
    row = schedule.row
    for one in schedule.verdicts:
        if one.first > one.last or (one.count == 1) != (one.first == one.last):
            yield f"{_told(one)} counts {one.count}"
        if one.count < 1 and one.count != UNCOUNTED:
            yield f"{_told(one)} counts {one.count}"
        if one.last > row.fired_through:
            yield f"{_told(one)} lies behind the mark {row.fired_through.isoformat()}"
        if _not_active(row.state) and one.verdict is Verdict.FIRED and _since(schedule, one):
            yield f"{_told(one)} was fired while it was {row.state}"
    for earlier, later in pairwise(schedule.verdicts):
        if later.first <= earlier.last:
            yield f"{_told(later)} overlaps {_told(earlier)}"
        if later.revision < earlier.revision:
            yield f"{_told(later)} is of revision {later.revision}, after {earlier.revision}"
    if _not_active(row.state) and row.next_fire is not None:
        yield f"it is {row.state}, and is to fire at {row.next_fire.isoformat()}"


def _not_active(state: ScheduleState) -> bool:
    return state is not ScheduleState.ACTIVE


def _since(schedule: ScheduleHistory, one: VerdictRange) -> bool:
    changed_at = schedule.row.changed_at
    return changed_at is not None and one.last > changed_at


def _fired(schedule: ScheduleHistory, runs: Sequence[RunView]) -> Iterator[str]:
    name = schedule.row.name
    dues = Counter(
        one.due
        for one in runs
        if one.schedule == name and one.origin in CLOCKS and one.due is not None
    )
    fired = [one for one in schedule.verdicts if one.verdict is Verdict.FIRED]
    fired += [one.open_range for one in schedule.backlogs if one.open_range is not None]
    for due, count in sorted(dues.items()):
        if count > 1:
            yield f"{due.isoformat()} has {count} runs of the clock"
        if not any(one.first <= due <= one.last for one in fired):
            yield f"{due.isoformat()} has a run, and no verdict that it was fired"


def _told(one: VerdictRange) -> str:
    return f"{one.verdict} from {one.first.isoformat()} to {one.last.isoformat()}"
