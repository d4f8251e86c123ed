"""The table of events: what documentation is made from.

A field means the same in every event that has it, and `FIELDS` says what; a field without a
meaning there cannot be shown, and a test refuses one that no event has. Lengths of time are
seconds as floats and end in `_s`; instants are aware UTC.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

import msgspec

from duly.events.base import EVENTS, Event, Level

FIELDS: Mapping[str, str] = {
    "after": "the state the run is in now",
    "away_s": "seconds without an answer, by this process's clock",
    "boot": "the random id of the process it is about",
    "breaker": "the breaker's name",
    "by": "who asked for it: a person, or `clock`",
    "channel": "the name of the channel by which people are told",
    "cleared": "runs that were freed of a death they did not die",
    "count": "how many",
    "counts": "whether the failure counts for the target's breaker",
    "deadline_s": "seconds a turn may take",
    "delay_s": "seconds until the run is ready again; null when an event decides that",
    "due": "the nominal instant of the occurrence",
    "effect": "the effect: its task, name and key",
    "epoch": "the number of the attempt; part of its fence",
    "error": "type and text of the exception",
    "fault": "what was wrong, in a word; null when nothing was",
    "failures": "how many there were: of the run so far, or of the loop in a row",
    "fork": "the id of the run that goes on",
    "generation": "the store's generation that would have to be accepted",
    "happened": "the name of what happened",
    "held": "runs in the instance's hands",
    "incidents": "how many incidents it tells of",
    "instance": "the instance's name for people",
    "intent": "the id of one try of an effect",
    "kind": "what sort of incident or notice it is",
    "late_s": "seconds between due and started, as the instance tells time",
    "loop": "the loop's name",
    "notice": "the id of the notice, the same on every try",
    "outcome": "what the declaration came to",
    "owner": "the application that owns the schedules",
    "performed": "whether the effect was performed",
    "proof": "why the boot is held to be dead",
    "queue": "the run's queue",
    "reason": "why, in words",
    "released": "runs that were handed back",
    "reuse": "what the run's key came to; `new` for a run without one",
    "run": "the run's id",
    "schedule": "the schedule's name",
    "severity": "info, warning or critical",
    "status": "the HTTP status; null when none was answered",
    "step": "the step's name",
    "subject": "what the incident is about",
    "summary": "one sentence for people",
    "taken": "runs that left the dead hands",
    "target": "the host that was called, and its port",
    "task": "the task's name",
    "timeout_s": "seconds the attempt was allowed",
    "took_s": "seconds the attempt took, by the monotonic clock",
    "topic": "the messages' topic",
    "verb": "the move that was refused",
    "version": "the application's version",
}
"""Every field of every event, and what it means."""


@dataclass(frozen=True)
class FieldDoc:
    """A field of an event: its name, its type, its meaning."""

    name: str
    type: str
    meaning: str


@dataclass(frozen=True)
class EventDoc:
    """A row of the table of events."""

    name: str
    level: Level
    meaning: str
    fields: tuple[FieldDoc, ...]


def event_table() -> list[EventDoc]:
    """Return every event there is, in the order in which they are written down."""
    return [
        EventDoc(name, kind.level, " ".join((kind.__doc__ or "").split()), _fields(kind))
        for name, kind in EVENTS.items()
    ]


def _fields(kind: type[Event]) -> tuple[FieldDoc, ...]:
    hints = typing.get_type_hints(kind)
    names = (one.name for one in msgspec.structs.fields(kind))
    return tuple(FieldDoc(name, _type(hints[name]), FIELDS[name]) for name in names)


def _type(hint: object) -> str:
    if isinstance(hint, types.UnionType):
        return " or ".join(_type(part) for part in typing.get_args(hint))
    if hint is types.NoneType:
        return "null"
    if isinstance(hint, type) and issubclass(hint, Enum):
        return " | ".join(str(member.value) for member in hint)
    words = {"str": "text", "int": "integer", "float": "number", "datetime": "instant"}
    name = getattr(hint, "__name__", str(hint))
    return words.get(name, name)
