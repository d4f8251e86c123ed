"""The contract of a source over a user's table, which each database keeps in its own way.

A row has a **position**: a number that grows with the order of commits as far as a reader can
tell. A **key** is `[position, tie]`; a **mark** is `[position]`, and stands before every key of
that position. Both are plain lists that survive JSON, and Python's own comparison of lists is
their order, so a mark can be used wherever a key is expected.

A position is `era * 2**48 + number`. The number is what the database counts (a transaction id, a
sequence); the era goes up when the database was restored and counts again from a lower number.
Keys therefore increase for ever. Nothing in this module talks to a database.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from duly.errors import InvalidValue, StoreMismatch, UnknownName

Key = list[Any]
"""`[position, tie]` of a row, or `[position]`: a mark before all rows of that position."""

Row = dict[str, Any]
"""One row: names of columns to values, as the driver gives them."""

ERA = 2**48
"""Positions of one era: at 10,000 transactions a second, enough for 890 years."""

PAGE_ROWS = 1_000
LARGEST = 2**63 - 1

LAG_ROWS_COUNTED = 10_000
"""Rows that wait are counted up to here: an alarm needs no exact number."""


class Lag(msgspec.Struct, frozen=True):
    """How far an open transaction holds the readers of a table back.

    `rows` are committed and cannot be read yet, counted up to 10,000. `seconds` is the age of the
    oldest open writing transaction of the whole server, 0.0 when there is none, None when the
    server does not show it to this user. `holder` says who that is, for people.
    """

    rows: int
    seconds: float | None
    holder: str | None


class Enrolment(msgspec.Struct, frozen=True):
    """What one call of `enrol` did, a sentence each; nothing when the table was enrolled."""

    table: str
    done: tuple[str, ...]


class Selection(msgspec.Struct, frozen=True):
    """Which rows and columns of which table; `where` is SQL of the program's own text."""

    table: str
    pk: str
    columns: tuple[str, ...] | None = None
    where: str | None = None

    def chosen(self, known: Sequence[str], hidden: str | None = None) -> list[str]:
        """Return the columns to read; raise `UnknownName` for one the table does not have."""
        if self.columns is None:
            return [name for name in known if name != hidden]
        for name in self.columns:
            if name not in known:
                raise UnknownName.of(f"column of {self.table}", name, known)
        return list(self.columns)


class Side(Protocol):
    """One database's way to read an enrolled table. Every call is short, and ends by itself."""

    async def ready(self, after: Key | None, upto: Key | None) -> None:
        """Raise unless the table is enrolled, and both can be bounds of a reading of it."""
        ...

    async def page(self, after: Key | None, upto: Key | None) -> list[tuple[Key, Row]]:
        """Return the next rows with after < key < upto, at most `PAGE_ROWS`, in order of key."""
        ...

    async def mark(self) -> Key:
        """Return a mark behind every row that can be read now, before every later one."""
        ...

    async def lag(self) -> Lag:
        """Return how far readers are held back."""
        ...


def checked_key(what: str, key: object) -> Key | None:
    """Return a key or mark as a list, or None; raise `InvalidValue` for anything else."""
    if key is None:
        return None
    if not isinstance(key, list | tuple) or not 1 <= len(key) <= 2:
        raise InvalidValue.expected(what, "a key [position, tie], a mark [position] or None", key)
    position, *tie = key
    if type(position) is not int or not 0 <= position <= LARGEST:
        raise InvalidValue.expected(f"the position in {what}", "a whole number from 0", position)
    if tie and type(tie[0]) not in (int, str):
        raise InvalidValue.expected(f"the tie in {what}", "a whole number or a text", tie[0])
    return [position, *tie]


def ahead(table: str, key: Key) -> StoreMismatch:
    """Return the error for a bound that this database cannot have given out yet."""
    return StoreMismatch(
        f"the cursor or mark {key} is ahead of the table {table}: the database was taken back to"
        f' an earlier moment, or is another one. Call `enrol(conn, "{table}", restored=True)`'
    )


def checked_mark(what: str, mark: object) -> Key:
    """Return a mark; a key would leave its own row out of this reading and of the next."""
    checked = checked_key(what, mark)
    if checked is None or len(checked) != 1:
        raise InvalidValue.expected(what, "a mark [position], as `mark()` gives it", mark)
    return checked


def checked_name(what: str, name: object, *, longest: int = 1_000) -> str:
    """Return a name of a table or column; `longest` is in bytes of UTF-8."""
    if not isinstance(name, str) or not name or "\0" in name:
        raise InvalidValue.expected(what, "a name", name)
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise InvalidValue.expected(what, "text that UTF-8 can hold", name) from None
    if size > longest:
        raise InvalidValue.expected(what, f"at most {longest} bytes long", name)
    return name


def quoted(name: str) -> str:
    """Return a checked name as an SQL identifier, whatever characters it has."""
    return '"' + name.replace('"', '""') + '"'


def filtered(where: str | None) -> str:
    """Return the condition `where` as one more condition of a statement, on lines of its own."""
    return "" if where is None else f"and (\n{where}\n)"
