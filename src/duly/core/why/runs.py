"""Why a run stands where it stands: its origin, its attempts, and what it waits for.

One function per state, in a table; each returns headline, further causes, and what helps.
The words come from the run and its surroundings alone.
"""

from __future__ import annotations

from datetime import timedelta

from duly.core.fleet import Instance, Proof
from duly.core.rules import DEATHS_TO_PARK, DEATHS_TO_SUSPECT
from duly.core.runs import Attempt, Origin, RunView
from duly.core.spoken import distance_text, instant_text, last_line, length_text
from duly.core.states import RunState, RunVerb
from duly.core.why.evidence import HASTE, SHOWN, Explanation, Fleet
from duly.core.why.remembered import Known, told_known
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

_LIMIT = "limit:"
_OWN_LIMIT = "schedule:"


def explain_run(run: RunView, fleet: Fleet, known: Known = NOTHING) -> Explanation:
    """Say how a run stands, how that came about, what is done already, and what helps."""
    waits = told_wait(run, known, fleet)
    headline, more, helps = waits or _STANDING[run.state](run, fleet)
    causes = [_origin(run, fleet), *_attempts(run, fleet), *told_known(run, known, fleet), *more]
    return Explanation(
        subject=f"run {run.id} of {run.task}",
        headline=headline,
        causes=tuple(causes),
        helps=tuple(helps),
    )


_Standing = tuple[str, list[str], list[str]]


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
            key = f" under the key {run.key!r}" if run.key else ""
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


def _scheduled(run: RunView, fleet: Fleet) -> _Standing:
    if run.wake_at is None or run.wake_at > fleet.now - HASTE:
        when = "later" if run.wake_at is None else fleet.at(run.wake_at)
        return f"scheduled for {when}", [], [f"duly runs cancel {run.id}"]
    headline = f"due since {fleet.at(run.wake_at)}, but nobody made it ready"
    return headline, [fleet.nobody()], ["start a worker: duly worker", "duly doctor"]


def _ready(run: RunView, fleet: Fleet) -> _Standing:
    since = run.attempts[-1].ended_at if run.attempts else run.enqueued_at
    head = f"ready since {fleet.at(since)}"
    if not fleet.trusted or not fleet.live():
        helps = ["start a worker: duly worker"] if fleet.trusted else ["duly db accept"]
        return f"{head}, but: no live worker", [fleet.nobody()], helps
    able = fleet.live(run.task)
    if not able:
        return (
            f"{head}, but: no live instance carries the task {run.task}",
            [_carried(fleet)],
            [f"start a worker with the code of {run.task}", f"duly runs cancel {run.id}"],
        )
    if run.deaths >= DEATHS_TO_SUSPECT:
        why = (
            f"{run.deaths} processes died while it ran, so it is rerun alone, by an instance that"
            " holds nothing else"
        )
        return f"{head}, but: it waits for an idle instance", [why], ["duly instances"]
    return _crowded(run, fleet, head, able)


def _crowded(run: RunView, fleet: Fleet, head: str, able: list[Instance]) -> _Standing:
    since = run.attempts[-1].ended_at if run.attempts else run.enqueued_at
    if fleet.now - since < HASTE:
        return f"{head}: about to be claimed", [], []
    held = ", ".join(f"{one.name} holds {one.held}" for one in able[:SHOWN])
    if any(one.held == 0 for one in able):
        idle = next(one.name for one in able if one.held == 0)
        return (
            f"{head}, but: queue {run.queue!r} is not served",
            [f"{idle} carries {run.task} and is idle, so that it does not claim from this queue"],
            [f"duly worker --queues {run.queue}"],
        )
    return (
        f"{head}, but: all workers are full, or do not serve the queue {run.queue!r}",
        [f"every live instance with {run.task} is busy: {held}"],
        ["start another worker", "raise engine.slots or engine.threads"],
    )


def _carried(fleet: Fleet) -> str:
    known = sorted({task for one in fleet.live() for task in one.tasks})
    shown = ", ".join(known[:SHOWN]) + (", …" if len(known) > SHOWN else "")
    return f"live instances carry: {shown or 'no tasks at all'}"


def _running(run: RunView, fleet: Fleet) -> _Standing:
    who = fleet.who(run.boot)
    since = "" if run.started_at is None else f" since {fleet.at(run.started_at)}"
    headline = f"runs on {who}{since}, attempt {run.epoch}"
    causes, helps = [], [f"duly runs cancel {run.id}"]
    if run.cancel_requested is not None:
        causes.append(f"asked to stop by {run.cancel_requested}; its holder has not answered yet")
        helps = ["a synchronous task stops at its next ctx.check()"]
    holder = next((one for one in fleet.instances if one.boot == run.boot), None)
    others = [one for one in fleet.live() if one.boot != run.boot]
    if holder is not None and holder.lease_until is not None and holder.lease_until < fleet.now:
        causes.append(
            f"the lease of {who} ended at {fleet.at(holder.lease_until)}: it will be taken over"
            + ("" if others else " as soon as a worker is there")
        )
    return headline, causes, helps


def _retrying(run: RunView, fleet: Fleet) -> _Standing:
    budget = (
        f"{run.failures} failure{'s' if run.failures != 1 else ''}"
        if fleet.retries is None
        else f"{run.failures} of {fleet.retries + 1} attempts failed"
    )
    error = next((one.detail for one in reversed(run.attempts) if one.detail), run.error)
    headline = f"retrying: {budget}, {_next_attempt(run, fleet)}, last error: {last_line(error)}"
    return headline, [], [f"duly runs show {run.id}", f"duly runs cancel {run.id}"]


def _next_attempt(run: RunView, fleet: Fleet) -> str:
    if run.wake_at is None:
        return "next attempt when it is made ready"
    if run.wake_at > fleet.now - HASTE:
        return f"next attempt {distance_text(run.wake_at, fleet.now)}"
    return f"next attempt due since {fleet.at(run.wake_at)}, but {fleet.nobody()}"


def _waiting(run: RunView, fleet: Fleet) -> _Standing:
    reason = run.reason or "no reason given"
    if reason == "no_code":
        return (
            f"waits for code: no live instance carries the task {run.task}",
            [_carried(fleet) if fleet.live() else fleet.nobody()],
            [f"start a worker with the code of {run.task}", f"duly runs cancel {run.id}"],
        )
    if reason.startswith(_LIMIT):
        return _waiting_for_limit(run, fleet, reason.removeprefix(_LIMIT))
    until = "" if run.wake_at is None else f", until {fleet.at(run.wake_at)} at the latest"
    return f"waits: {reason}{until}", [], [f"duly runs cancel {run.id}"]


def _waiting_for_limit(run: RunView, fleet: Fleet, key: str) -> _Standing:
    size = "" if fleet.limit is None else f"={fleet.limit}"
    if key.startswith(_OWN_LIMIT):
        headline = f"waits for the earlier runs of schedule {key.removeprefix(_OWN_LIMIT)}"
    else:
        headline = f"waits for limit {key}{size}"
    held = [f"{one.id} ({fleet.brief(one)})" for one in fleet.holders[:SHOWN]]
    more = len(fleet.holders) - SHOWN
    if held:
        tail = f" and {more} more" if more > 0 else ""
        headline += f", held by run{'s' if len(fleet.holders) > 1 else ''} " + ", ".join(held)
        headline += tail
    else:
        headline += "; it has room now, and the next sweep admits the run"
    return headline, [], [f"duly why {one.id}" for one in fleet.holders[:1]]


def _parked(run: RunView, fleet: Fleet) -> _Standing:
    go_on = [f"duly runs retry {run.id}", f"duly runs cancel {run.id}"]
    if run.reason == "poison":
        return (
            f"parked: poison: {run.deaths} processes died while it ran",
            [f"what was in flight at {DEATHS_TO_PARK} deaths, at the last alone, is parked"],
            ["mend its task, then: " + go_on[0], go_on[1]],
        )
    return f"parked: {run.reason or 'no reason given'}", [], go_on


def _succeeded(run: RunView, fleet: Fleet) -> _Standing:
    return f"succeeded at {_end(run, fleet)}", [], []


def _failed(run: RunView, fleet: Fleet) -> _Standing:
    count = f"{run.failures} failure{'s' if run.failures != 1 else ''}"
    budget = "" if fleet.retries is None else f" with {fleet.retries} retries allowed"
    headline = f"failed for good at {_end(run, fleet)} after {count}{budget}"
    return (
        f"{headline}: {last_line(run.error)}",
        [],
        [f"duly runs show {run.id} for the traceback", f"duly runs retry {run.id}"],
    )


def _cancelled(run: RunView, fleet: Fleet) -> _Standing:
    return f"cancelled by {run.reason or 'somebody'} at {_end(run, fleet)}", [], []


def _skipped(run: RunView, fleet: Fleet) -> _Standing:
    return f"skipped at {_end(run, fleet)}: {run.reason or 'by policy'}", [], []


def _expired(run: RunView, fleet: Fleet) -> _Standing:
    return (
        f"expired at {_end(run, fleet)}: {run.reason or 'not started in time'}",
        ["it had a deadline (expires_after) and no attempt had begun by then"],
        ["duly instances shows whether workers were there"],
    )


def _end(run: RunView, fleet: Fleet) -> str:
    at = "an unknown time" if run.ended_at is None else fleet.at(run.ended_at)
    if run.started_at is None or run.ended_at is None:
        return at
    took = length_text(run.ended_at - run.started_at)
    return f"{at} on {fleet.who(run.boot)}, attempt {run.epoch}, after {took}"


_STANDING = {
    RunState.SCHEDULED: _scheduled,
    RunState.READY: _ready,
    RunState.RUNNING: _running,
    RunState.RETRYING: _retrying,
    RunState.WAITING: _waiting,
    RunState.PARKED: _parked,
    RunState.SUCCEEDED: _succeeded,
    RunState.FAILED: _failed,
    RunState.CANCELLED: _cancelled,
    RunState.SKIPPED: _skipped,
    RunState.EXPIRED: _expired,
}
