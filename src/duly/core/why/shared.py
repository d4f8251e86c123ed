"""Why what runs share lets them through or not: a queue, a limit, a key.

A queue is told by who waits in it and who is there; a limit by who holds it; a key by the one run
that stands for it, and what that means for whoever asks under it again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from duly.core.fleet import Incident
from duly.core.runs import RunView
from duly.core.states import ENDS, RunState
from duly.core.why.causes import Cause
from duly.core.why.evidence import SHOWN, Explanation, Fleet, Standing, explanation
from duly.core.why.incidents import see_incident
from duly.core.why.remembered import command

QUEUE, LIMIT, KEY = "queue:", "limit:", "key:"
"""How they are asked about; a name follows, or of a key its task, a space and the key."""


def explain_queue(
    name: str,
    counts: Mapping[str, int],
    fleet: Fleet,
    *,
    oldest: RunView | None = None,
    unserved: Incident | None = None,
) -> Explanation:
    """Say whether a queue moves. `counts` are its live runs; `oldest` is ready the longest."""
    ready, running, later = (counts.get(one, 0) for one in ("ready", "running", "later"))
    story = [f"{ready:,} ready, {running:,} running, {later:,} that wait for something"]
    if oldest is not None:
        since = oldest.attempts[-1].ended_at if oldest.attempts else oldest.enqueued_at
        story.append(
            f"ready the longest: run {oldest.id} of {oldest.task}, since {fleet.at(since)}"
        )
    return explanation(
        f"queue {name}",
        _queue(name, ready, running, fleet=fleet, unserved=unserved),
        story=story,
        see=[] if oldest is None else [str(oldest.id)],
    )


def _queue(
    name: str, ready: int, running: int, *, fleet: Fleet, unserved: Incident | None
) -> Standing:
    if unserved is not None:
        helps = [unserved.evidence.get("what helps", f"duly worker --queues {name}")]
        told = f"nobody claims from it: {unserved.summary}"
        see = (see_incident(unserved),)
        return Standing(Cause.QUEUE_UNSERVED, told, [], helps, see=see, since=unserved.opened_at)
    if ready and not fleet.able():
        told = f"stands still: {fleet.nobody()}"
        return Standing(fleet.absence(), told, [], fleet.helps())
    if running:
        also = (Cause.QUEUE_WAITS,) if ready else ()
        return Standing(Cause.QUEUE_MOVES, f"moves: {running:,} running", also=also)
    if ready:
        told = f"{ready:,} ready and none running: whoever serves it is full, or about to claim"
        return Standing(Cause.QUEUE_WAITS, told, [], ["duly instances"])
    return Standing(Cause.QUEUE_EMPTY, "nothing of it is ready or running")


def explain_limit(key: str, fleet: Fleet, waiting: Sequence[RunView]) -> Explanation:
    """Say who holds a limit (`fleet.holders`), and who waits for it, as far as looked at."""
    size = "" if fleet.limit is None else f" of {fleet.limit}"
    held = [f"run {one.id} of {one.task}: {fleet.brief(one)}" for one in fleet.holders[:SHOWN]]
    waits = [f"run {one.id} of {one.task} waits for it" for one in waiting[:SHOWN]]
    count = len(fleet.holders)
    told = f"{count}{size} slot{'' if count == 1 else 's'} held, {len(waiting)} waiting"
    full = bool(waiting) or (fleet.limit is not None and count >= fleet.limit)
    cause = Cause.LIMIT_FULL if count and full else Cause.LIMIT_FREE
    if waiting and not count:
        waits.append("it has room now: the next sweep admits who waits")
    return explanation(
        f"limit {key}",
        Standing(cause, told if count or waiting else "free: no live run has it", [*held, *waits]),
        see=[str(one.id) for one in (*fleet.holders[:SHOWN], *waiting[:SHOWN])],
    )


def explain_key(task: str, key: str, run: RunView | None, fleet: Fleet) -> Explanation:
    """Say which run stands for a key, and what becomes of whoever asks under it again."""
    if run is None:
        told = "free: no run on record has it, so asking under it makes a new one"
        standing = Standing(Cause.KEY_FREE, told)
    else:
        standing = _key(run, fleet)
    see = [] if run is None else [str(run.id)]
    return explanation(f"key {key!r} of {task}", standing, see=see)


def _key(run: RunView, fleet: Fleet) -> Standing:
    why = [command("why", str(run.id))]
    stands = f"the run {run.id} stands for it ({fleet.brief(run)}, asked for at"
    head = f"{stands} {fleet.at(run.enqueued_at)})"
    match run.state:
        case RunState.SUCCEEDED:
            told = f"{head}: asking again returns its result"
            return Standing(Cause.KEY_RETURNS, told, [], why, since=run.ended_at)
        case RunState.FAILED:
            told = f"{head}: asking again lets it run anew, with a new budget"
            return Standing(Cause.KEY_REVIVES, told, [], why, since=run.ended_at)
        case RunState.PARKED:
            told = f"{head}: asking again is refused: {run.reason or 'it is parked'}"
            return Standing(Cause.KEY_REFUSES, told, [], why)
        case state if state in ENDS:
            told = f"{head}: it did no work, so asking again makes a new run"
            return Standing(Cause.KEY_FREE, told, [], why, since=run.ended_at)
        case _:
            told = f"{head}: asking again joins it"
            return Standing(Cause.KEY_JOINS, told, [], why, since=run.enqueued_at)
