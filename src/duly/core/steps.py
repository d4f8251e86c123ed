"""What an attempt remembers: steps, cursors, waits, children, progress, as data.

A `Note` is what one commit keeps for one attempt. It is fenced by (run, boot, epoch): a boot
that lost the run writes nothing of it. Steps are known by their names within the run, so a note
that is sent twice leaves what it left the first time. Values are JSON bytes; stores never look
inside them.

A run that waits names what it awaits by the texts made here. Whoever waits and whoever wakes
lock that name, so that neither can miss the other.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING
from uuid import UUID

import msgspec

from duly.core.outbox import Message
from duly.errors import InvalidValue, UnknownName

if TYPE_CHECKING:
    from duly.core.runs import NewRun

MAX_NAME = 200
"""Characters of a step's or event's name."""


class StepKind(StrEnum):
    """What a step's value is."""

    RESULT = "result"  # what its function returned
    CURSOR = "cursor"  # how far an iteration is confirmed; replaced as it goes on
    SLEEP = "sleep"  # the instant until which it sleeps
    EVENT = "event"  # what the awaited event brought, or that it timed out
    CHILD = "child"  # the run that was started
    FORK = "fork"  # the run this one was forked from


class Step(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One remembered part of a run. `number` orders them; `at` is the store's time.

    What is replaced as a run goes on counts its `turn`: a lower one never replaces a higher, so
    that a note which was given up, and arrives after newer ones, takes nothing back.
    """

    name: str
    number: int
    kind: StepKind = StepKind.RESULT
    value: bytes = b"null"
    turn: int = 0
    at: datetime | None = None


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a run is, and what it has put out in all; counts are totals, never differences."""

    done: int | None = None
    total: int | None = None
    note: str | None = None
    published: int = 0
    effects: int = 0
    at: datetime | None = None


class Await(msgspec.Struct, frozen=True, gc=False):
    """What a waiting run awaits. It is woken when nothing of one `group` is awaited any more."""

    event: str
    group: str = ""


class Note(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What one commit keeps for one attempt. `runs` are children, enqueued in the same commit."""

    run: UUID
    epoch: int
    steps: tuple[Step, ...] = ()
    messages: tuple[Message, ...] = ()
    runs: tuple[NewRun, ...] = ()
    progress: Progress | None = None


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened, once: the first word about a name stays."""

    name: str
    body: bytes = b"null"
    by: str = ""
    at: datetime | None = None


class Memory(msgspec.Struct, frozen=True):
    """All that is remembered of a run, in the order of the steps' numbers."""

    steps: tuple[Step, ...] = ()
    progress: Progress | None = None


UNCERTAIN = "uncertain"
APPROVAL = "approval"

WAKEABLE = frozenset({UNCERTAIN, APPROVAL})
"""Reasons of parked runs that end by themselves, when what they await comes about."""

FORKED = "~fork"
"""The step in which a forked run remembers whose effects it goes on with."""


AND = "; and "
"""What parts the reasons of a run that waits for several things."""

_REASONS = ("sleep:", "event:", "effect:", "run:", "before ", "breaker:")


def joined(reasons: Iterable[str], most: int = 500) -> str:
    """Return the reasons of a run that waits for several things, as far as there is room.

    Their order says nothing of which was waited for first, and is always the same.
    """
    first, *others = sorted(set(reasons))
    for one in others:
        if len(first) + len(AND) + len(one) <= most:
            first += AND + one
    return first


def parted(reason: str) -> list[str]:
    """Return what `joined` put together; anything else is one reason."""
    parts = reason.split(AND)
    known = all(one.startswith(_REASONS) or " runs of " in one for one in parts)
    return parts if known else [reason]


# --- the names of what is awaited -----------------------------------------------------------


def of_event(name: str) -> str:
    """Name an event that users emit."""
    return f"event:{name}"


def of_run(run: UUID) -> str:
    """Name the end of a run."""
    return f"run:{run}"


def of_effect(address: str) -> str:
    """Name the settling of an effect."""
    return f"effect:{address}"


_APPROVALS = "approval/"


def approval(run: UUID, name: str) -> str:
    """Name the event that decides an approval; the same text wherever it is asked for."""
    return f"{_APPROVALS}{run}/{name}"


def run_of_approval(event: str) -> UUID | None:
    """Return the run whose approval an event decides; None when it decides none."""
    if not event.startswith(_APPROVALS):
        return None
    try:
        return UUID(event.removeprefix(_APPROVALS).partition("/")[0])
    except ValueError:
        return None


def of_call(run: UUID, count: int | None = None) -> str:
    """Name the event of the target's n-th word about a call that it started, from 0.

    Without a number, the text with which all of them begin.
    """
    return f"call/{run}/{'' if count is None else count}"


MOST_WORDS = 10_000
"""Words that a target may say about one call, heartbeats included."""

TOKENS = "~completion "
"""How steps begin that keep the hash of a token with which a call may be completed."""


def token_step(attempt: int) -> str:
    """Name the step in which an attempt keeps the hash of its token."""
    return f"{TOKENS}{attempt}"


def check_name(what: str, name: object) -> str:
    """Return the name of a step or event, or raise `InvalidValue`."""
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME or not name.isprintable():
        raise InvalidValue.expected(
            f"the name of {what}", f"1 to {MAX_NAME} printable characters", name
        )
    return name


def fork_point(steps: tuple[Step, ...], at: str) -> tuple[Step, ...]:
    """Return the steps before the one named `at`; raises `UnknownName` when there is none."""
    for index, one in enumerate(steps):
        if one.name == at:
            return steps[:index]
    raise UnknownName.of("step of this run", at, [one.name for one in steps])


def forked_from(run: UUID) -> Step:
    """Return the step in which a fork remembers the run whose effects it goes on with."""
    return Step(name=FORKED, number=-1, kind=StepKind.FORK, value=msgspec.json.encode(str(run)))
