"""What a waiting or parked run waits for, whether that came about, and the exact way out.

One function per kind of reason, in a table; each returns headline, further causes, and what
helps. A reason that is not in the table is somebody else's to tell. What came about already, and
did not wake the run, is said to be woken by the next sweep: it is the net under lost wakes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta

from duly.core.effects import MARGIN
from duly.core.runs import RunView
from duly.core.spoken import instant_text
from duly.core.states import ENDS, BreakerState, EffectState, RunState
from duly.core.steps import APPROVAL, UNCERTAIN
from duly.core.tripping import WAITS
from duly.core.why.breakers import breaker_standing
from duly.core.why.effects import in_doubt
from duly.core.why.evidence import HASTE, SHOWN, Fleet
from duly.core.why.remembered import EffectKnown, Known, command, effect_words

Standing = tuple[str, list[str], list[str]]
Teller = Callable[[RunView, str, Known, Fleet], Standing]

_CHANGED = "code changed"
_SWEPT = "it came about already: the next sweep of a live worker wakes the run"


def told_wait(run: RunView, known: Known, fleet: Fleet) -> Standing | None:
    """Say what a run waits for, or None for a reason that is told elsewhere."""
    reason = run.reason or ""
    table = {RunState.WAITING: _WAITING, RunState.PARKED: _PARKED}.get(run.state, {})
    for beginning, tell in table.items():
        if reason == beginning or (reason.startswith(beginning) and beginning.endswith(_OPEN)):
            return tell(run, reason.removeprefix(beginning), known, fleet)
    if run.state is RunState.WAITING and " runs of " in reason:
        return _children(run, reason, known, fleet)
    return None


# --- waiting ----------------------------------------------------------------------------------


def _sleep(run: RunView, name: str, known: Known, fleet: Fleet) -> Standing:
    return f"sleeps ({name}){_until(run, fleet)}", _late(run, fleet), _stop(run)


def _event(run: RunView, name: str, known: Known, fleet: Fleet) -> Standing:
    limit = "" if run.wake_at is None else f";{_until(run, fleet)} at the latest"
    headline = f"waits for the event {name}"
    if name.startswith(f"call/{run.id}/"):
        headline = f"its call was started (202): waits for its target to say more ({name})"
    if known.event is None:
        told = f"{headline}, which nobody has emitted yet{limit}"
        return told, _late(run, fleet), [command("events", "emit", name), *_stop(run)]
    by = f" by {known.event.by}" if known.event.by else ""
    at = "" if known.event.at is None else f" at {fleet.at(known.event.at)}"
    return f"{headline}, which was emitted{by}{at}", [_swept(fleet)], _worker(fleet)


def _effect(run: RunView, address: str, known: Known, fleet: Fleet) -> Standing:
    headline = f"waits for the effect {address}"
    one = next((one for one in known.effects if str(one.address) == address), None)
    if one is None or one.row is None or one.row.state is not EffectState.INTENDED:
        became = "open again" if one is None or one.row is None else one.row.state.value
        return f"{headline}, which is {became}", [_swept(fleet)], _worker(fleet)
    row = one.row
    who = f"run {row.author.run} on {fleet.who(row.author.boot)}"
    until = fleet.at(row.deadline + MARGIN)
    asking = [command("why", str(row.author.run)), command("why", *effect_words(one.address))]
    causes = [
        f"it is believed to be on its way until {until}, longer while that run is in hand;"
        " after that it is uncertain, and never sent again by guess"
    ]
    told = f"{headline}, which {who} performs since {fleet.at(row.intended_at)}"
    return told, causes, [*asking, *_stop(run)]


def _child(run: RunView, child: str, known: Known, fleet: Fleet) -> Standing:
    one = next((one for one in known.children if str(one.id) == child), None)
    if one is None:
        return f"waits for its child run {child}, of which nothing is on record", [], _stop(run)
    headline = f"waits for its child run {child} of {one.task}: {_brief(one, fleet)}"
    if one.state in ENDS:
        return headline, [_swept(fleet)], _worker(fleet)
    return headline, [], [command("why", child), *_stop(run)]


def _children(run: RunView, reason: str, known: Known, fleet: Fleet) -> Standing:
    """A fan-out: how many are where, and those that need somebody first."""
    counts: dict[str, int] = {}
    for one in known.children:
        counts[one.state.value] = counts.get(one.state.value, 0) + 1
    told = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
    causes = [f"of its children that were looked at: {told}"] if told else []
    left = [one for one in known.children if one.state not in ENDS]
    left.sort(key=lambda one: (one.state is not RunState.PARKED, one.id))
    causes += [f"child {one.id} of {one.task}: {_brief(one, fleet)}" for one in left[:SHOWN]]
    if known.children and not left:
        return f"waits for {reason}, which have ended", [*causes, _swept(fleet)], _worker(fleet)
    return f"waits for {reason}", causes, [
        *(command("why", str(one.id)) for one in left[:1]), *_stop(run)]  # fmt: skip


def _before(run: RunView, rest: str, known: Known, fleet: Fleet) -> Standing:
    again = "" if run.wake_at is None else f"; it is asked again at {fleet.at(run.wake_at)}"
    causes = ["nothing is intended yet, and no retry is spent; after a day of this it fails"]
    headline = f"waits until its effect can be begun: {rest}{again}"
    return headline, [*causes, *_late(run, fleet)], _stop(run)


def _breaker(run: RunView, name: str, known: Known, fleet: Fleet) -> Standing:
    """Its target is broken: how that stands, and that the wait costs nothing."""
    headline = f"waits for the breaker {name}"
    row = known.breaker
    if row is None or row.state is BreakerState.CLOSED:
        return f"{headline}, which is closed{_until(run, fleet)}", [_swept(fleet)], _worker(fleet)
    stands, helps = breaker_standing(row, fleet)
    causes = ["no retry is spent; it goes on when the breaker closes, or to probe it"]
    last = f"the last failure: {row.error}" if row.error else ""
    asking = command("why", f"{WAITS}{name}")
    return (
        f"{headline}, {stands}",
        [*([last] if last else []), *causes, *_late(run, fleet)],
        [*helps, asking, *_stop(run)],
    )


# --- parked -----------------------------------------------------------------------------------


def _uncertain(run: RunView, _: str, known: Known, fleet: Fleet) -> Standing:
    """Name the effects in doubt: its own, else those of its task that it may have met."""
    doubtful = [one for one in known.effects if one.row and one.row.state is EffectState.UNCERTAIN]
    own = [one for one in doubtful if one.row and one.row.author.run == run.id]
    named = own or doubtful
    if not named:
        head = "parked: uncertain: nobody knew whether its effect was performed"
        causes = [f"no effect of {run.task} is uncertain on record: {_swept(fleet)}"]
        return head, causes, [*_worker(fleet), command("runs", "retry", str(run.id))]
    addresses = " or ".join(str(one.address) for one in named[:SHOWN])
    other = "" if own else ", which another run intended"
    head = f"parked: uncertain: nobody knows whether {addresses} was performed{other}"
    return head, _doubts(named, fleet), _ways(named, run, fleet)


def _doubts(named: list[EffectKnown], fleet: Fleet) -> list[str]:
    return [line for one in named[:SHOWN] for line in in_doubt(one, fleet)[0]]


def _ways(named: list[EffectKnown], run: RunView, fleet: Fleet) -> list[str]:
    return [*(way for one in named[:SHOWN] for way in in_doubt(one, fleet)[1]), *_stop(run)]


def _approval(run: RunView, _: str, known: Known, fleet: Fleet) -> Standing:
    since = f" since {fleet.at(run.attempts[-1].ended_at)}" if run.attempts else ""
    unnamed = "a person has to approve it; NAME is the one its code gives to ctx.approve(NAME)"
    causes = [unnamed if known.asked is None else f"a person has to decide on {known.asked!r}"]
    said = command("runs", "approve", str(run.id), known.asked or "NAME")
    return (
        f"parked: approval: waits for a person's decision{since}",
        causes,
        [said, f"{said} --reject --reason WHY", *_stop(run)],
    )


def _changed(run: RunView, why: str, known: Known, fleet: Fleet) -> Standing:
    """A remembered step does not fit: name the step in the command that forgets it."""
    why = why.removeprefix(":").strip()
    names = [one.name for one in known.memory.steps]
    step = next((one for one in names if why.startswith(f"step {one!r}:")), None)
    fork = command("runs", "fork", str(run.id), "--from", step or "STEP")
    causes = ["what it remembers was written by other code, and is not read as something else"]
    if step is not None:
        kept = names.index(step)
        again = "every step" if kept == 0 else f"{step} and all after it"
        causes.append(f"a fork does {again} again, and none of the effects that are done")
    helps = [
        fork,
        f"put the code right, then: {command('runs', 'retry', str(run.id))}",
        *_stop(run),
    ]
    return f"parked: {_CHANGED}: {why}", causes, helps


# --- words they share -------------------------------------------------------------------------


def _brief(child: RunView, fleet: Fleet) -> str:
    why = "" if child.state is RunState.RUNNING else (child.reason or "")
    return fleet.brief(child) + (f" ({why})" if why else "")


def _until(run: RunView, fleet: Fleet) -> str:
    return "" if run.wake_at is None else f" until {fleet.at(run.wake_at)}"


def _late(run: RunView, fleet: Fleet) -> list[str]:
    late = timedelta(0) if run.wake_at is None else fleet.now - run.wake_at
    if run.wake_at is None or late < HASTE:
        return []
    return [f"it is due since {instant_text(run.wake_at, fleet.zone)}, but {fleet.nobody()}"]


def _swept(fleet: Fleet) -> str:
    return _SWEPT if fleet.live() else f"{_SWEPT}, but {fleet.nobody()}"


def _worker(fleet: Fleet) -> list[str]:
    return [] if fleet.live() else ["start a worker: duly worker"]


def _stop(run: RunView) -> list[str]:
    return [command("runs", "cancel", str(run.id))]


_OPEN = (":", " ", _CHANGED)

_WAITING: Mapping[str, Teller] = {
    "sleep:": _sleep,
    "event:": _event,
    "effect:": _effect,
    "run:": _child,
    "before ": _before,
    WAITS: _breaker,
}

_PARKED: Mapping[str, Teller] = {
    UNCERTAIN: _uncertain,
    APPROVAL: _approval,
    _CHANGED: _changed,
}
