"""What a waiting or parked run waits for, whether that came about, and the exact way out.

One function per kind of reason, in a table; one that is not there is told by `standing`. What came
about already, and did not wake the run, is said to be woken by the next sweep: it is the net under
lost wakes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta

import msgspec

from duly.core.effects import MARGIN
from duly.core.runs import RunView
from duly.core.spoken import instant_text
from duly.core.states import ENDS, BreakerState, EffectState, RunState
from duly.core.steps import APPROVAL, UNCERTAIN, parted
from duly.core.tripping import WAITS
from duly.core.why.breakers import breaker_standing
from duly.core.why.causes import Cause
from duly.core.why.effects import in_doubt
from duly.core.why.evidence import HASTE, SHOWN, Fleet, Standing
from duly.core.why.remembered import EffectKnown, Known, command, effect_words

Teller = Callable[[RunView, str, Known, Fleet], Standing]

_CHANGED = "code changed"
_SWEPT = "it came about already: the next sweep of a live worker wakes the run"


def told_wait(run: RunView, known: Known, fleet: Fleet) -> Standing | None:
    """Say what a run waits for, or None for a reason that is told elsewhere.

    Of several things the first is the headline, and each of the others a cause of its own.
    """
    reasons = parted(run.reason or "")
    if len(reasons) == 1:
        return _told(run, reasons[0], known, fleet)
    untimed = msgspec.structs.replace(run, wake_at=None)  # nobody knows whose time that is
    told = [one for it in reasons if (one := _told(untimed, it, known, fleet)) is not None]
    return _together(told, run, fleet) if told else None


def _together(told: list[Standing], run: RunView, fleet: Fleet) -> Standing:
    """Put what is waited for at the same time into one answer."""
    first, *others = told
    late = _late(run, fleet)
    due = [] if run.wake_at is None else [f"the first of these is due at {fleet.at(run.wake_at)}"]
    besides = [line for one in others for line in _besides(one)]
    return msgspec.structs.replace(
        first,
        cause=fleet.absence() if late else first.cause,
        causes=[*first.causes, *besides, *(late or due)],
        also=tuple(it for one in told for it in (one.cause, *one.also)),
        helps=list(dict.fromkeys(it for one in told for it in one.helps)),
        see=tuple(it for one in told for it in one.see),
    )


def _besides(one: Standing) -> list[str]:
    return [f"besides, it {one.headline}", *one.causes]


def _told(run: RunView, reason: str, known: Known, fleet: Fleet) -> Standing | None:
    table = {RunState.WAITING: _WAITING, RunState.PARKED: _PARKED}.get(run.state, {})
    for beginning, tell in table.items():
        if reason == beginning or (reason.startswith(beginning) and beginning.endswith(_OPEN)):
            return tell(run, reason.removeprefix(beginning), known, fleet)
    if run.state is RunState.WAITING and " runs of " in reason:
        return _children(run, reason, known, fleet)
    return None


# --- waiting ----------------------------------------------------------------------------------


def _sleep(run: RunView, name: str, known: Known, fleet: Fleet) -> Standing:
    return _held_up(Cause.SLEEPS, f"sleeps ({name}){_until(run, fleet)}", run, fleet)


def _held_up(
    cause: Cause,
    headline: str,
    run: RunView,
    fleet: Fleet,
    *,
    causes: Sequence[str] = (),
    helps: Sequence[str] = (),
    see: tuple[str, ...] = (),
) -> Standing:
    """Tell a wait; what is over its time, and not woken, is first of all that."""
    late = _late(run, fleet)
    return Standing(
        fleet.absence() if late else cause,
        headline,
        [*causes, *late],
        [*helps, *(fleet.helps() if late else ()), *_stop(run)],
        (cause,),
        see,
        run.attempts[-1].ended_at if run.attempts else None,
    )


def _happened(cause: Cause, headline: str, fleet: Fleet, see: tuple[str, ...] = ()) -> Standing:
    """Tell a wait for what came about: its wake was lost, and the sweep is the net."""
    also = (cause,) if fleet.able() else (cause, fleet.absence())
    return Standing(Cause.CAME_ABOUT, headline, [_swept(fleet)], fleet.helps(), also, see)


def _event(run: RunView, name: str, known: Known, fleet: Fleet) -> Standing:
    limit = "" if run.wake_at is None else f";{_until(run, fleet)} at the latest"
    headline, cause = f"waits for the event {name}", Cause.WAITS_FOR_EVENT
    if name.startswith(f"call/{run.id}/"):
        headline = f"its call was started (202): waits for its target to say more ({name})"
        cause = Cause.WAITS_FOR_TARGET
    found = next((one for one in known.events if one.name == name), None)
    if found is None:
        told = f"{headline}, which nobody has emitted yet{limit}"
        return _held_up(cause, told, run, fleet, helps=[command("events", "emit", name)])
    by = f" by {found.by}" if found.by else ""
    at = "" if found.at is None else f" at {fleet.at(found.at)}"
    return _happened(cause, f"{headline}, which was emitted{by}{at}", fleet)


def _effect(run: RunView, address: str, known: Known, fleet: Fleet) -> Standing:
    headline = f"waits for the effect {address}"
    one = next((one for one in known.effects if str(one.address) == address), None)
    if one is None or one.row is None or one.row.state is not EffectState.INTENDED:
        became = "open again" if one is None or one.row is None else one.row.state.value
        told = f"{headline}, which is {became}"
        return _happened(Cause.WAITS_FOR_EFFECT, told, fleet, (address,))
    row = one.row
    who = f"run {row.author.run} on {fleet.who(row.author.boot)}"
    until = fleet.at(row.deadline + MARGIN)
    asking = [command("why", str(row.author.run)), command("why", *effect_words(one.address))]
    causes = [
        f"it is believed to be on its way until {until}, longer while that run is in hand;"
        " after that it is uncertain, and never sent again by guess"
    ]
    told = f"{headline}, which {who} performs since {fleet.at(row.intended_at)}"
    see = (str(row.author.run), address)
    return Standing(
        Cause.WAITS_FOR_EFFECT, told, causes, [*asking, *_stop(run)], see=see, since=row.intended_at
    )


def _child(run: RunView, child: str, known: Known, fleet: Fleet) -> Standing:
    one = next((one for one in known.children if str(one.id) == child), None)
    if one is None:
        told = f"waits for its child run {child}, of which nothing is on record"
        return Standing(Cause.WAITS_FOR_RUN, told, [], _stop(run))
    headline = f"waits for its child run {child} of {one.task}: {_brief(one, fleet)}"
    if one.state in ENDS:
        return _happened(Cause.WAITS_FOR_RUN, headline, fleet, (child,))
    helps = [command("why", child), *_stop(run)]
    return Standing(Cause.WAITS_FOR_RUN, headline, [], helps, see=(child,))


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
        ended = _happened(Cause.WAITS_FOR_RUNS, f"waits for {reason}, which have ended", fleet)
        return msgspec.structs.replace(ended, causes=[*causes, *ended.causes])
    helps = [*(command("why", str(one.id)) for one in left[:1]), *_stop(run)]
    see = tuple(str(one.id) for one in left[:SHOWN])
    return Standing(Cause.WAITS_FOR_RUNS, f"waits for {reason}", causes, helps, see=see)


def _before(run: RunView, rest: str, known: Known, fleet: Fleet) -> Standing:
    again = "" if run.wake_at is None else f"; it is asked again at {fleet.at(run.wake_at)}"
    causes = ["nothing is intended yet, and no retry is spent; after a day of this it fails"]
    headline = f"waits until its effect can be begun: {rest}{again}"
    return _held_up(Cause.EFFECT_NOT_BEGUN, headline, run, fleet, causes=causes)


def _breaker(run: RunView, name: str, known: Known, fleet: Fleet) -> Standing:
    """Its target is broken: how that stands, and that the wait costs nothing."""
    headline = f"waits for the breaker {name}"
    row, see = known.breaker, (f"{WAITS}{name}",)
    if row is None or row.state is BreakerState.CLOSED:
        again = "" if run.wake_at is None else f"; it looks again at {fleet.at(run.wake_at)}"
        told = f"{headline}, which is closed{again}"
        return _happened(Cause.WAITS_FOR_BREAKER, told, fleet, see)
    stands = breaker_standing(row, fleet)
    causes = ["no retry is spent; it goes on when the breaker closes, or to probe it"]
    last = f"the last failure: {row.error}" if row.error else ""
    held_up = _held_up(
        Cause.WAITS_FOR_BREAKER,
        f"{headline}, {stands.headline}",
        run,
        fleet,
        causes=[*([last] if last else []), *causes],
        helps=[*stands.helps, command("why", f"{WAITS}{name}")],
        see=see,
    )
    also = (*held_up.also, stands.cause)
    return msgspec.structs.replace(held_up, also=also, since=row.opened_at)


# --- parked -----------------------------------------------------------------------------------


def _uncertain(run: RunView, _: str, known: Known, fleet: Fleet) -> Standing:
    """Name the effects in doubt: its own, else those of its task that it may have met."""
    doubtful = [one for one in known.effects if one.row and one.row.state is EffectState.UNCERTAIN]
    own = [one for one in doubtful if one.row and one.row.author.run == run.id]
    named = own or doubtful
    if not named:
        head = "parked: uncertain: nobody knew whether its effect was performed"
        causes = [f"no effect of {run.task} is uncertain on record: {_swept(fleet)}"]
        helps = [*fleet.helps(), command("runs", "retry", str(run.id))]
        return Standing(Cause.CAME_ABOUT, head, causes, helps, (Cause.PARKED_UNCERTAIN,))
    addresses = " or ".join(str(one.address) for one in named[:SHOWN])
    other = "" if own else ", which another run intended"
    return Standing(
        Cause.PARKED_UNCERTAIN,
        f"parked: uncertain: nobody knows whether {addresses} was performed{other}",
        _doubts(named, fleet),
        _ways(named, run, fleet),
        tuple(it for one in named[:SHOWN] for it in in_doubt(one, fleet).also),
        tuple(str(one.address) for one in named[:SHOWN]),
    )


def _doubts(named: list[EffectKnown], fleet: Fleet) -> list[str]:
    return [line for one in named[:SHOWN] for line in in_doubt(one, fleet).causes]


def _ways(named: list[EffectKnown], run: RunView, fleet: Fleet) -> list[str]:
    return [*(way for one in named[:SHOWN] for way in in_doubt(one, fleet).helps), *_stop(run)]


def _approval(run: RunView, _: str, known: Known, fleet: Fleet) -> Standing:
    since = f" since {fleet.at(run.attempts[-1].ended_at)}" if run.attempts else ""
    unnamed = "a person has to approve it; NAME is the one its code gives to ctx.approve(NAME)"
    causes = [unnamed if known.asked is None else f"a person has to decide on {known.asked!r}"]
    said = command("runs", "approve", str(run.id), known.asked or "NAME")
    return Standing(
        Cause.PARKED_APPROVAL,
        f"parked: approval: waits for a person's decision{since}",
        causes,
        [said, f"{said} --reject --reason WHY", *_stop(run)],
        since=run.attempts[-1].ended_at if run.attempts else None,
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
    return Standing(Cause.PARKED_CODE_CHANGED, f"parked: {_CHANGED}: {why}", causes, helps)


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
    return _SWEPT if fleet.able() else f"{_SWEPT}, but {fleet.nobody()}"


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
