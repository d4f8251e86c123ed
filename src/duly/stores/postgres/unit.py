"""A unit of work: one open transaction, its instant, what it will tell, and its limits.

Verbs that need more than one statement run inside a unit. Its `now` is one instant for all it
writes. What is awaited is locked first, then limits, each once and in ascending order, before any
run (the lock order of `stores.base`); whoever meets what had to be locked and was not raises
`BeginAgain`, and the whole unit is run again with a fresh look. Wakes are told after the commit,
never before.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from functools import cache
from typing import Any, Protocol
from uuid import UUID

import msgspec

from duly.stores.base import Signal, WakeUp


def uniform(column: list[Any]) -> list[Any]:
    """Send a column without nulls whose values are all the same as that one value.

    `unnest` fills up with null what is too short, and the statement puts the first value there.
    The driver looks at every element it sends, which costs as much as the rest of the row.
    """
    return column[:1] if column.count(column[0]) == len(column) else column


def sparse(column: list[Any]) -> list[Any]:
    """Send nothing for a column that holds nothing but null."""
    return [] if column.count(None) == len(column) else column


class BeginAgain(Exception):
    """What was looked at moved before it was locked; the unit begins again with a fresh look."""


class LimitMoved(BeginAgain):
    """A run of a limit that is not locked was met."""


class Line(Protocol):
    """What a unit sends its statements through."""

    async def fetch(self, sql: str, /, *args: Any) -> list[Any]:
        """Run a statement with `$1`-style arguments and return its rows."""
        ...


class Room(msgspec.Struct):
    """A locked limit: how many runs it may admit, and how many it has."""

    most: int
    used: int


class Awaited(msgspec.Struct):
    """What this unit may wake: locked names, and by run the (event, group) pairs it awaits.

    `limits` are those of the awaiting runs; `effects` the states of effects that are awaited.
    """

    named: set[str] = msgspec.field(default_factory=set)
    by_run: dict[UUID, set[tuple[str, str]]] = msgspec.field(default_factory=dict)
    limits: set[str] = msgspec.field(default_factory=set)
    effects: dict[str, str | None] = msgspec.field(default_factory=dict)


class Unit:
    """One transaction. `sent` counts its statements."""

    def __init__(self, line: Line, now: datetime, *, schema: str | None = None) -> None:
        self.now = now
        self.wakes: set[WakeUp] = set()
        self.rooms: dict[str, Room] = {}
        self.awaited = Awaited()
        self.sent = 0
        self._line = line
        self._schema = schema

    async def fetch(self, sql: str, *args: Any) -> list[Any]:
        """Run one statement; its tables are qualified when the connection is not ours."""
        self.sent += 1
        return await self._line.fetch(qualified(sql, self._schema) if self._schema else sql, *args)

    def tell(self, signal: Signal, detail: str = "") -> None:
        """Wake whoever listens, once this has committed."""
        self.wakes.add(WakeUp(signal, detail))

    async def lock_limits(self, keys: Iterable[str | None]) -> None:
        """Lock the limits of these keys, and count what they have admitted."""
        wanted = sorted({key for key in keys if key is not None} - self.rooms.keys())
        if not wanted:
            return
        locked = await self.fetch(LOCK_LIMITS, wanted)
        used = dict(await self.fetch(COUNT_SLOTS, wanted))
        for key, most in locked:
            self.rooms[key] = Room(most, used.get(key, 0))

    def room(self, key: str) -> Room:
        """The locked limit of a key; raises `LimitMoved` when it was not locked."""
        try:
            return self.rooms[key]
        except KeyError:
            raise LimitMoved(key) from None


LOCK_LIMITS = """
select key, max_running from duly_limit where key = any($1::text[]) order by key for update
"""

COUNT_SLOTS = """
select limit_key, count(*)::int from duly_slot where limit_key = any($1::text[]) group by limit_key
"""

_TABLE = re.compile(r"\b(duly_[a-z_]+)\b(?!\.)")


@cache
def qualified(sql: str, schema: str) -> str:
    """Name the schema of every table, for a connection with a search path of its own."""
    return _TABLE.sub(rf'"{schema}".\1', sql)
