"""What a run has behind it, in words: steps, cursors, children, progress, effects.

`Known` is the evidence about what a run remembers and awaits, as a store has it. Everything in
it may be absent: then nothing is said of it, and nothing is guessed.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import msgspec

from duly.core.breakers import BreakerRow
from duly.core.effects import Address, Effect, Line
from duly.core.runs import RunView
from duly.core.spoken import length_text
from duly.core.states import ENDS, EffectState
from duly.core.steps import FORKED, UNCERTAIN, Event, Memory, Progress, Step, StepKind
from duly.core.why.evidence import SHOWN, Fleet

SHOWN_VALUE = 80
"""Characters of a remembered value that are shown."""

_INNER = "~"
"""How names of steps begin that the engine keeps for itself."""


class EffectKnown(msgspec.Struct, frozen=True, kw_only=True):
    """What is on record about an effect: its row if there is one, the audit oldest first.

    `author` is the run that intended it; `near` are effects with an address like this one.
    """

    address: Address
    row: Effect | None = None
    lines: tuple[Line, ...] = ()
    author: RunView | None = None
    near: tuple[str, ...] = ()


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """What a run remembers and awaits.

    `effects` are those it intended, and the uncertain ones that it may be parked for; `events`
    are those it awaits that happened; `children` are runs it started, as far as looked at.
    """

    memory: Memory = Memory()
    effects: tuple[EffectKnown, ...] = ()
    events: tuple[Event, ...] = ()
    children: tuple[RunView, ...] = ()
    breaker: BreakerRow | None = None  # the one it waits for, where something is known of it
    asked: str | None = None  # the name of the approval it waits for, where that is on record


def told_known(run: RunView, known: Known, fleet: Fleet) -> list[str]:
    """Say what is done already, and what of it is never done again."""
    told = []
    told += [f"it goes on with the effects of the run {one}" for one in forked_of(known)]
    names = [_brief(one) for one in known.memory.steps if not _hidden(one)]
    if names:
        again = "" if run.state in ENDS else "; not done again"
        told.append(f"remembered: {_some(names)}{again}")
    progress = known.memory.progress or run.progress
    if progress is not None:
        told.append(f"progress: {progress_text(progress)}")
    told += _own_effects(run, known, fleet)
    return told


def forked_of(known: Known) -> list[str]:
    """Return the run that a fork goes on from; nothing for any other run."""
    return [str(_decoded(one.value)) for one in known.memory.steps if one.name == FORKED]


def _own_effects(run: RunView, known: Known, fleet: Fleet) -> list[str]:
    """Tell the effects that the run intended; a doubt that it is parked for is told elsewhere."""
    own = [one.row for one in known.effects if one.row and one.row.author.run == run.id]
    told = []
    done = [
        f"{row.address}" + ("" if row.settled_at is None else f" at {fleet.at(row.settled_at)}")
        for row in own
        if row.state is EffectState.DONE
    ]
    if done:
        told.append(f"performed: {_some(done)}")
    for row in own:
        if row.state is EffectState.INTENDED:
            told.append(f"in flight: {row.address}, intended at {fleet.at(row.intended_at)}")
        elif row.state is EffectState.UNCERTAIN and run.reason != UNCERTAIN:
            ask = command("why", *effect_words(row.address))
            told.append(f"in doubt still: {row.address}; {ask}")
    return told


def progress_text(progress: Progress) -> str:
    """Return progress in a line: `30 of 100 done, uploading, 12 published, 3 effects`."""
    parts = []
    if progress.done is not None:
        whole = "" if progress.total is None else f" of {progress.total:,}"
        parts.append(f"{progress.done:,}{whole} done")
    elif progress.total is not None:
        parts.append(f"{progress.total:,} in all")
    if progress.note:
        parts.append(progress.note)
    if progress.published:
        parts.append(f"{_counted(progress.published, 'message')} published")
    if progress.effects:
        parts.append(_counted(progress.effects, "effect"))
    return ", ".join(parts) or "begun"


def value_text(step: Step) -> str:
    """Return a remembered value as people read it, shortened; JSON where nothing fits better."""
    value = _decoded(step.value)
    match step.kind, value:
        case StepKind.SLEEP, int():
            return f"{length_text(timedelta(microseconds=value))} were left"
        case StepKind.CURSOR, {"after": after, "count": count, "over": over}:
            return (
                f"{_counted(count, 'item')}, {'all of them' if over else f'up to {_json(after)}'}"
            )
        case StepKind.EVENT, {"happened": False}:
            return "timed out"
        case StepKind.EVENT, {"happened": True, "body": body}:
            return _json(body)
        case StepKind.EVENT, {"approved": approved, "by": by, "reason": reason}:
            why = f": {reason}" if reason else ""
            return f"{'approved' if approved else 'rejected'} by {by}{why}"
        case StepKind.CHILD, [one]:
            return f"run {one}"
        case StepKind.CHILD, [*many]:
            return f"{len(many):,} runs"
        case _:
            return _json(value)


def hidden(step: Step) -> bool:
    """Whether a step is the engine's own: no user gave it its name."""
    return step.name.startswith(_INNER)


def command(*words: str) -> str:
    """Return a command that can be typed as it stands."""
    return shlex.join(["duly", *words])


def effect_words(address: Address) -> list[str]:
    """Return an address as words of a command; a key that words cannot carry is one word."""
    parts = address.key.split(" ")
    return [address.task, address.name, *(parts if all(parts) else [address.key])]


def _hidden(step: Step) -> bool:
    # A sleep is kept while it lasts: it says what is left, not what is done.
    return hidden(step) or step.kind is StepKind.SLEEP


def _brief(step: Step) -> str:
    match step.kind:
        case StepKind.CURSOR | StepKind.CHILD:
            return f"{step.name} ({value_text(step)})"
        case StepKind.EVENT if not value_text(step).startswith(("{", "[")):
            return f"{step.name} ({value_text(step)})"
        case _:
            return step.name


def _some(names: Iterable[str]) -> str:
    """Return the last few of many: what came last tells most."""
    every = list(names)
    more = len(every) - 2 * SHOWN
    shown = ", ".join(every[-2 * SHOWN :])
    return f"{more:,} more, then {shown}" if more > 0 else shown


def _counted(count: int, thing: str) -> str:
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def _decoded(value: bytes) -> Any:
    try:
        return msgspec.json.decode(value)
    except msgspec.MsgspecError:
        return value.decode("utf-8", "replace")


def _json(value: object) -> str:
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= SHOWN_VALUE else text[: SHOWN_VALUE - 1] + "…"
