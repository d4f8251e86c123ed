"""How a run stands now, by its state: what it waits for in the fleet, or how it ended.

One function per state, in a table. What waits for something of its own (an event, a child, an
effect, a breaker) is told by `waits`; here it waits for time, for code, for a limit, or for room.
"""

from __future__ import annotations

import re

from duly.core.calls import TASK
from duly.core.faults import Fault
from duly.core.fleet import Instance
from duly.core.rules import DEATHS_TO_PARK, DEATHS_TO_SUSPECT
from duly.core.runs import RunView
from duly.core.spoken import distance_text, last_line, length_text
from duly.core.states import RunState
from duly.core.why.causes import Cause
from duly.core.why.evidence import HASTE, SHOWN, Fleet, Standing, see_instance
from duly.core.why.remembered import Known

_LIMIT, _OWN_LIMIT = "limit:", "schedule:"
_FORKED = re.compile(r": forked as ([0-9a-f]{8}-[0-9a-f-]{27})\Z")
_OVERLAPPED = "duly: overlap is cancel_running"
_SILENT = frozenset(
    one.words
    for one in (
        Fault.TIMED_OUT,
        Fault.NAME_NOT_FOUND,
        Fault.CONNECTION_REFUSED,
        Fault.TLS_FAILED,
        Fault.CONNECTION_FAILED,
    )
)
_UNSENT = frozenset(one.words for one in (Fault.NOT_ALLOWED, Fault.OURS))


def run_standing(run: RunView, fleet: Fleet, known: Known) -> Standing:
    """Say how a run stands, by its state."""
    return _STANDING[run.state](run, fleet, known)


# --- it did not begin -----------------------------------------------------------------------


def _scheduled(run: RunView, fleet: Fleet, _: Known) -> Standing:
    helps = [f"duly runs cancel {run.id}"]
    if run.wake_at is None or run.wake_at > fleet.now - HASTE:
        when = "later" if run.wake_at is None else fleet.at(run.wake_at)
        return Standing(Cause.NOT_YET_DUE, f"scheduled for {when}", [], helps)
    headline = f"due since {fleet.at(run.wake_at)}, but nobody made it ready"
    return Standing(
        fleet.absence(),
        headline,
        [fleet.nobody()],
        [*fleet.helps(), "duly doctor"],
        since=run.wake_at,
    )


def _ready(run: RunView, fleet: Fleet, _: Known) -> Standing:
    since = run.attempts[-1].ended_at if run.attempts else run.enqueued_at
    head = f"ready since {fleet.at(since)}"
    if not fleet.able():
        hindrance = "no live worker" if fleet.trusted else "the store is not trusted"
        head = f"{head}, but: {hindrance}"
        return Standing(fleet.absence(), head, [fleet.nobody()], fleet.helps(), since=since)
    able = fleet.live(run.task)
    if not able:
        return Standing(
            Cause.NO_CODE,
            f"{head}, but: no live instance carries the task {run.task}",
            [carried(fleet)],
            [f"start a worker with the code of {run.task}", f"duly runs cancel {run.id}"],
            since=since,
        )
    if run.deaths >= DEATHS_TO_SUSPECT:
        why = (
            f"{run.deaths} processes died while it ran, so it is rerun alone, by an instance that"
            " holds nothing else"
        )
        head = f"{head}, but: it waits for an idle instance"
        return Standing(Cause.SUSPECT, head, [why], ["duly instances"], since=since)
    if fleet.now - since < HASTE:
        return Standing(Cause.ABOUT_TO_START, f"{head}: about to be claimed", since=since)
    return _crowded(run, fleet, head, able)


def _crowded(run: RunView, fleet: Fleet, head: str, able: list[Instance]) -> Standing:
    held = ", ".join(f"{one.name} holds {one.held}" for one in able[:SHOWN])
    queue = f"queue:{run.queue}"
    if any(one.held == 0 for one in able):
        idle = next(one.name for one in able if one.held == 0)
        return Standing(
            Cause.QUEUE_UNSERVED,
            f"{head}, but: queue {run.queue!r} is not served",
            [f"{idle} carries {run.task} and is idle, so that it does not claim from this queue"],
            [f"duly worker --queues {run.queue}"],
            see=(queue,),
        )
    busy = f"every live instance with {run.task} is busy: {held}"
    helps = ["start another worker", "raise engine.slots or engine.threads"]
    if fleet.ahead:
        first = fleet.ahead[0]
        higher = sum(one.priority > run.priority for one in fleet.ahead)
        told = f", {higher} of them of a higher priority" if higher else ", asked for before it"
        return Standing(
            Cause.BEHIND_OTHERS,
            f"{head}, but: {_counted(len(fleet.ahead))} of the queue {run.queue!r} go before it",
            [f"next is the run {first.id} of {first.task}, priority {first.priority}{told}", busy],
            helps,
            also=(Cause.ALL_BUSY,),
            see=(str(first.id), queue),
        )
    return Standing(
        Cause.ALL_BUSY,
        f"{head}, but: all workers are full, or do not serve the queue {run.queue!r}",
        [busy],
        helps,
        see=(*(see_instance(one.boot) for one in able[:1]), queue),
    )


def carried(fleet: Fleet) -> str:
    """Say which tasks the live instances carry."""
    known = sorted({task for one in fleet.live() for task in one.tasks})
    shown = ", ".join(known[:SHOWN]) + (", …" if len(known) > SHOWN else "")
    return f"live instances carry: {shown or 'no tasks at all'}"


# --- it is under way ------------------------------------------------------------------------


def _running(run: RunView, fleet: Fleet, _: Known) -> Standing:
    who = fleet.who(run.boot)
    since = "" if run.started_at is None else f" since {fleet.at(run.started_at)}"
    headline = f"runs on {who}{since}, attempt {run.epoch}"
    causes, helps, found = [], [f"duly runs cancel {run.id}"], [Cause.RUNNING]
    if run.cancel_requested is not None:
        causes.append(f"asked to stop by {run.cancel_requested}; its holder has not answered yet")
        helps = ["a synchronous task stops at its next ctx.check()"]
        found.insert(0, Cause.CANCEL_ASKED)
    holder = next((one for one in fleet.instances if one.boot == run.boot), None)
    others = [one for one in fleet.live() if one.boot != run.boot]
    if holder is not None and holder.lease_until is not None and holder.lease_until < fleet.now:
        causes.append(
            f"the lease of {who} ended at {fleet.at(holder.lease_until)}: it will be taken over"
            + ("" if others else " as soon as a worker is there")
        )
        found.insert(0, Cause.LEASE_ENDED)
    first, *also = found
    return Standing(first, headline, causes, helps, tuple(also), since=run.started_at)


def _retrying(run: RunView, fleet: Fleet, _: Known) -> Standing:
    budget = (
        f"{run.failures} failure{'s' if run.failures != 1 else ''}"
        if fleet.retries is None
        else f"{run.failures} of {fleet.retries + 1} attempts failed"
    )
    error = next((one.detail for one in reversed(run.attempts) if one.detail), run.error)
    headline = f"retrying: {budget}, {_next_attempt(run, fleet)}, last error: {last_line(error)}"
    late = run.wake_at is not None and run.wake_at <= fleet.now - HASTE
    worker = fleet.helps() if late else []
    return Standing(
        fleet.absence() if late else Cause.RETRY_DUE,
        headline,
        [],
        [*worker, f"duly runs show {run.id}", f"duly runs cancel {run.id}"],
        also=(Cause.RETRY_DUE,),
        since=run.attempts[-1].ended_at if run.attempts else None,
    )


def _next_attempt(run: RunView, fleet: Fleet) -> str:
    if run.wake_at is None:
        return "next attempt when it is made ready"
    if run.wake_at > fleet.now - HASTE:
        return f"next attempt {distance_text(run.wake_at, fleet.now)}"
    return f"next attempt due since {fleet.at(run.wake_at)}, but {fleet.nobody()}"


def _waiting(run: RunView, fleet: Fleet, _: Known) -> Standing:
    reason = run.reason or "no reason given"
    if reason == "no_code":
        return Standing(
            Cause.NO_CODE,
            f"waits for code: no live instance carries the task {run.task}",
            [carried(fleet) if fleet.live() else fleet.nobody()],
            [f"start a worker with the code of {run.task}", f"duly runs cancel {run.id}"],
        )
    if reason.startswith(_LIMIT):
        return _waiting_for_limit(fleet, reason.removeprefix(_LIMIT))
    until = "" if run.wake_at is None else f", until {fleet.at(run.wake_at)} at the latest"
    return Standing(Cause.WAITS, f"waits: {reason}{until}", [], [f"duly runs cancel {run.id}"])


def _waiting_for_limit(fleet: Fleet, key: str) -> Standing:
    size = "" if fleet.limit is None else f"={fleet.limit}"
    own = key.startswith(_OWN_LIMIT)
    headline = f"waits for limit {key}{size}"
    if own:
        headline = f"waits for the earlier runs of schedule {key.removeprefix(_OWN_LIMIT)}"
    cause = Cause.WAITS_FOR_EARLIER_RUN if own else Cause.WAITS_FOR_LIMIT
    helps = [f"duly why {one.id}" for one in fleet.holders[:1]]
    see = (*(str(one.id) for one in fleet.holders[:SHOWN]), f"limit:{key}")
    if not fleet.holders:
        headline += "; it has room now, and the next sweep admits the run"
        return Standing(Cause.CAME_ABOUT, headline, [], helps, (cause,), see)
    return Standing(cause, f"{headline}, held by {named_runs(fleet)}", [], helps, see=see)


def named_runs(fleet: Fleet) -> str:
    """Name the runs that hold a limit: `runs X (running on host:1 since …), Y (ready)`."""
    held = ", ".join(f"{one.id} ({fleet.brief(one)})" for one in fleet.holders[:SHOWN])
    more = len(fleet.holders) - SHOWN
    tail = f" and {more} more" if more > 0 else ""
    return f"run{'s' if len(fleet.holders) > 1 else ''} {held}{tail}"


def _parked(run: RunView, fleet: Fleet, _: Known) -> Standing:
    go_on = [f"duly runs retry {run.id}", f"duly runs cancel {run.id}"]
    if run.reason == "poison":
        return Standing(
            Cause.PARKED_POISON,
            f"parked: poison: {run.deaths} processes died while it ran",
            [f"what was in flight at {DEATHS_TO_PARK} deaths, at the last alone, is parked"],
            ["mend its task, then: " + go_on[0], go_on[1]],
        )
    return Standing(Cause.PARKED, f"parked: {run.reason or 'no reason given'}", [], go_on)


# --- it ended -------------------------------------------------------------------------------


def _succeeded(run: RunView, fleet: Fleet, _: Known) -> Standing:
    return Standing(Cause.SUCCEEDED, f"succeeded at {_end(run, fleet)}", since=run.ended_at)


def _failed(run: RunView, fleet: Fleet, known: Known) -> Standing:
    count = f"{run.failures} failure{'s' if run.failures != 1 else ''}"
    budget = "" if fleet.retries is None else f" with {fleet.retries} retries allowed"
    headline = f"failed for good at {_end(run, fleet)} after {count}{budget}"
    permanent = fleet.retries is not None and run.failures <= fleet.retries
    causes = ["its error says that no retry can help: what was left of the retries is not spent"]
    cause = Cause.FAILED_PERMANENTLY if permanent else Cause.FAILED
    called = _called(run, known)
    return Standing(
        called or cause,
        f"{headline}: {last_line(run.error)}",
        causes if permanent else [],
        [
            f"duly runs show {run.id} for the traceback",
            f"duly runs logs {run.id} for what it logged",
            f"duly runs retry {run.id}",
        ],
        also=(cause,),
        since=run.ended_at,
    )


def _called(run: RunView, known: Known) -> Cause | None:
    """Read the last word about a call: no answer, one that was not expected, or silence after."""
    progress = known.memory.progress or run.progress
    if run.task != TASK or progress is None or progress.note is None:
        return None
    answer, _, word = progress.note.rpartition(": ")
    if word == Fault.VANISHED.words:
        return Cause.CALL_VANISHED
    if word in _SILENT:
        return Cause.CALL_UNANSWERED
    return Cause.CALL_REFUSED if answer and word not in _UNSENT else None


def _cancelled(run: RunView, fleet: Fleet, _: Known) -> Standing:
    reason = run.reason or "somebody"
    cause, see = Cause.CANCELLED, tuple[str, ...]()
    forked = _FORKED.search(reason)
    if forked is not None:
        cause, see = Cause.FORKED_AWAY, (forked[1],)
    elif reason == _OVERLAPPED:
        cause = Cause.CANCELLED_BY_OVERLAP
    headline = f"cancelled by {reason} at {_end(run, fleet)}"
    return Standing(cause, headline, see=see, since=run.ended_at)


def _skipped(run: RunView, fleet: Fleet, _: Known) -> Standing:
    headline = f"skipped at {_end(run, fleet)}: {run.reason or 'by policy'}"
    return Standing(Cause.SKIPPED, headline, since=run.ended_at)


def _expired(run: RunView, fleet: Fleet, _: Known) -> Standing:
    causes = ["it had a deadline (expires_after) and no attempt had begun by then"]
    if run.ended_at is not None and not fleet.there_at(run.ended_at):
        causes.append("no instance that is on record was there then")
    return Standing(
        Cause.EXPIRED,
        f"expired at {_end(run, fleet)}: {run.reason or 'not started in time'}",
        causes,
        ["duly instances shows whether workers were there"],
        since=run.ended_at,
    )


def _end(run: RunView, fleet: Fleet) -> str:
    at = "an unknown time" if run.ended_at is None else fleet.at(run.ended_at)
    if run.started_at is None or run.ended_at is None:
        return at
    took = length_text(run.ended_at - run.started_at)
    return f"{at} on {fleet.who(run.boot)}, attempt {run.epoch}, after {took}"


def _counted(count: int) -> str:
    return f"{count:,} run{'' if count == 1 else 's'}"


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
