"""One transaction as the verbs see it: a connection, a clock, and what to tell afterwards.

Verbs are plain functions of a `Tx`. They never begin, commit or roll back; they may be run
again from the start when their transaction was rolled back, and what they `tell` is sent only
after the commit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import apsw

from duly.errors import Refused
from duly.stores.base import Signal, WakeUp
from duly.stores.sqlite.rows import instant

Row = tuple[Any, ...]
Clock = Callable[[], datetime] | None
"""Gives aware UTC; None stands for SQLite's own clock, which counts milliseconds."""


class Tx:
    """What a verb works with."""

    __slots__ = ("_clock", "conn", "told")

    def __init__(self, conn: apsw.Connection, clock: Clock) -> None:
        self.conn = conn
        self.told: dict[WakeUp, None] = {}
        self._clock = clock

    def now(self, now: datetime | None) -> datetime:
        """Return the given instant, or the store's clock."""
        if now is not None:
            return now
        return self.clock() if self._clock is None else self._clock()

    def clock(self) -> datetime:
        """Return SQLite's own time."""
        return instant(1000 * self.value("select cast(1000 * unixepoch('subsec') as integer)"))

    def do(self, sql: str, *values: Any) -> int:
        """Carry out a statement that returns no rows; return how many rows it changed."""
        self.conn.execute(sql, values)
        return self.conn.changes()

    def many(self, sql: str, rows: Sequence[Row]) -> None:
        """Carry out a statement once per row."""
        self.conn.executemany(sql, rows)

    def one(self, sql: str, *values: Any) -> Row | None:
        """Return the first row, or None."""
        row: Row | None = self.conn.execute(sql, values).fetchone()
        return row

    def value(self, sql: str, *values: Any) -> Any:
        """Return the first column of the first row, or None."""
        row = self.conn.execute(sql, values).fetchone()
        return None if row is None else row[0]

    def all(self, sql: str, *values: Any) -> list[Row]:
        """Return all rows."""
        return self.conn.execute(sql, values).fetchall()

    def tell(self, signal: Signal, detail: str = "") -> None:
        """Wake whoever listens, once, after the commit."""
        self.told[WakeUp(signal, detail)] = None

    def must_be_trusted(self) -> None:
        """Raise `Refused` when the database was restored and nobody has accepted that."""
        why = self.value("select value from duly_meta where name = 'untrusted'")
        if why is not None:
            raise Refused(
                f"nothing fires, is claimed or renewed here: {why};"
                " when this is the database to go on with, say: duly db accept"
            )
