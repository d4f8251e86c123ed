"""What every event is, and the register of all kinds.

A kind is a frozen record with a name, a level and a docstring, which is its meaning. `event`
enters it in `EVENTS`; two kinds of one name cannot be. An event is data: it has no behaviour,
reads no clock and keeps nothing alive.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import ClassVar, TypeVar

import msgspec


class Level(IntEnum):
    """How much an event matters; the numbers of the standard logging module."""

    DEBUG = 10
    INFO = 20
    WARNING = 30
    ERROR = 40


class Event(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Something that happened. The docstring of each kind is its meaning."""

    name: ClassVar[str] = ""
    level: ClassVar[Level] = Level.INFO


E = TypeVar("E", bound=type[Event])

EVENTS: dict[str, type[Event]] = {}
"""Every kind of event by its name, in the order in which they are written down."""


def event(name: str, level: Level) -> Callable[[E], E]:
    """Enter a kind in `EVENTS` under its name, `<thing>.<verb>` in the past tense."""

    def enter(kind: E) -> E:
        assert name not in EVENTS, f"two events are called {name}"
        kind.name, kind.level = name, level
        EVENTS[name] = kind
        return kind

    return enter
