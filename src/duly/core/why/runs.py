"""Why a run stands where it stands: its origin, its attempts, and what it waits for.

The story is told here, in the order in which it happened; how the run stands now is told by
`standing`, and by `waits` for what waits or is parked for a reason that is known. The words come
from the run and its surroundings alone.
"""

from __future__ import annotations

from datetime import timedelta

from duly.core.access import unscoped
from duly.core.fleet import Proof
from duly.core.runs import Attempt, Origin, RunView
from duly.core.spoken import instant_text, last_line, length_text
from duly.core.states import RunState, RunVerb
from duly.core.why.causes import Cause
from duly.core.why.evidence import (
    SHOWN,
    Explanation,
    Fleet,
    explanation,
    see_instance,
    see_occurrence,
)
from duly.core.why.remembered import Known, forked_of, told_known
from duly.core.why.standing import run_standing
from duly.core.why.waits import told_wait

NOTHING = Known()
"""Stands for a run of which nothing was looked up."""

_PROOFS = (
    (Proof.PROCESS.value, ": interrupted in the middle of it"),
    (Proof.SESSION.value, ": it lost its locks in the store and did not come back in the grace"),
    (Proof.LEASE.value, ": it did not renew its lease; it died, froze, or was cut off"),
)
"""What each way of noticing a death says about it."""

_SHORT = 120
"""Characters of a reason that are told of each of many attempts."""

_FROM = {
    Origin.CLOCK: Cause.FIRED,
    Origin.CATCH_UP: Cause.CAUGHT_UP,
    Origin.TRIGGER: Cause.TRIGGERED,
    Origin.BACKFILL: Cause.BACKFILLED,
    Origin.CHILD: Cause.CHILD_OF_RUN,
    Origin.FORK: Cause.FORK_OF_RUN,
}

_ENDED = {
    RunVerb.RETRY: Cause.ATTEMPT_FAILED,
    RunVerb.RELEASE: Cause.HANDED_BACK,
    RunVerb.WAIT: Cause.WAITED,
    RunVerb.PARK: Cause.WAS_PARKED,
}

_TAKEN = (
    (Proof.SESSION.value, Cause.HOLDER_CUT_OFF),
    (Proof.LEASE.value, Cause.HOLDER_LOST_LEASE),
    ("", Cause.HOLDER_DIED),
)


def explain_run(run: RunView, fleet: Fleet, known: Known = NOTHING) -> Explanation:
    """Say how a run stands, how that came about, what is done already, and what helps."""
    standing = told_wait(run, known, fleet) or run_standing(run, fleet, known)
    story = [_origin(run, fleet), *_attempts(run, fleet), *told_known(run, known, fleet)]
    return explanation(
        f"run {run.id} of {run.task}",
        standing,
        story=story,
        also=(_origin_cause(run), *_attempt_causes(run)),
        see=(*_seen(run), *forked_of(known)),
    )


def _origin_cause(run: RunView) -> Cause:
    return _FROM.get(run.origin) or (Cause.UNDER_KEY if run.key else Cause.ASKED_FOR)


def _attempt_causes(run: RunView) -> list[Cause]:
    """Name what became of each attempt; the last word of one that failed for good is the run's."""
    found = []
    for one in run.attempts:
        if one.outcome is RunVerb.TAKE_OVER:
            detail = one.detail or ""
            found.append(next(cause for proof, cause in _TAKEN if detail.startswith(proof)))
        elif one.outcome is RunVerb.FAIL and run.state is not RunState.FAILED:
            found.append(Cause.REVIVED)
        elif one.outcome in _ENDED:
            found.append(_ENDED[one.outcome])
    return found


def _seen(run: RunView) -> list[str]:
    seen = [] if run.schedule is None or run.due is None else [
        see_occurrence(run.schedule, run.due)]  # fmt: skip
    if run.parent is not None:
        seen.append(str(run.parent))
    if run.boot is not None and run.state is RunState.RUNNING:
        seen.append(see_instance(run.boot))
    return seen


def _origin(run: RunView, fleet: Fleet) -> str:
    at = fleet.at(run.enqueued_at)
    occurrence = "" if run.due is None else f"{run.schedule} of {instant_text(run.due, fleet.zone)}"
    match run.origin:
        case Origin.CLOCK:
            return f"fired by the clock for the occurrence {occurrence}, at {at}"
        case Origin.CATCH_UP:
            late = run.enqueued_at - run.due if run.due else timedelta(0)
            return f"caught up for the occurrence {occurrence}, {length_text(late)} late, at {at}"
        case Origin.TRIGGER:
            return f"triggered by {run.asked_by or 'hand'} for {occurrence}, at {at}"
        case Origin.BACKFILL:
            return f"backfilled by {run.asked_by or 'hand'} for {occurrence}, at {at}"
        case Origin.CHILD:
            return f"started by the run {run.parent}, at {at}"
        case Origin.FORK:
            return f"forked by {run.asked_by or 'hand'} from an earlier run, at {at}"
        case Origin.CALL:
            own = unscoped(run.key, run.tenant)
            key = f" under the key {own!r}" if own else ""
            return f"asked for by {run.asked_by or 'a call'}{key}, at {at}"


def _attempts(run: RunView, fleet: Fleet) -> list[str]:
    """Tell the first attempts and the last ones; a run that waits often has very many."""
    told = [_attempt(one, fleet) for one in run.attempts]
    left_out = len(told) - 3 * SHOWN
    if left_out <= 0:
        return told
    return [*told[:SHOWN], f"{left_out} more attempts", *told[-2 * SHOWN :]]


def _attempt(one: Attempt, fleet: Fleet) -> str:
    who, took = fleet.who(one.boot), length_text(one.ended_at - one.started_at)
    began = f"attempt {one.epoch} ran on {who} from {instant_text(one.started_at, fleet.zone)}"
    if one.outcome is RunVerb.TAKE_OVER:
        meant = next((said for proof, said in _PROOFS if (one.detail or "").startswith(proof)), "")
        at = fleet.at(one.ended_at)
        return f"{began}; taken over from {who} ({one.detail}) at {at}{meant}"
    ends = {
        RunVerb.RETRY: f"failed after {took}: {last_line(one.detail)}",
        RunVerb.FAIL: f"failed for good after {took}: {last_line(one.detail)}",
        RunVerb.RELEASE: f"handed back after {took}: {one.detail or 'at a stop'}",
        RunVerb.WAIT: f"gave up its slot after {took} to wait: {_reason(one)}",
        RunVerb.PARK: f"parked after {took}: {_reason(one)}",
    }
    return f"{began}; {ends.get(one.outcome, f'{one.outcome.value} after {took}')}"


def _reason(one: Attempt) -> str:
    return last_line(one.detail, _SHORT) if one.detail else "no reason given"
