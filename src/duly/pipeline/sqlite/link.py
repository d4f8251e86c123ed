"""Statements on a user's SQLite file, through its own connection or one opened for the moment.

A path is opened through apsw in a thread, for one piece of work, and closed again. A connection
of apsw or of the standard module is used where the caller is, a short piece at a time, and is
refused inside a transaction: what it has not committed could still be taken back, after a cursor
went past it.

A file must never be opened through both modules in one process: closing one copy drops the
POSIX locks of the other. That cannot be seen from here; who passes a path promises it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import apsw

from duly.errors import DulyError, InvalidValue, StoreFull, StoreReadOnly, StoreUnavailable

Out = TypeVar("Out")
PATIENCE_MS = 5_000

_KINDS: tuple[tuple[str, type[DulyError], str], ...] = (
    ("no such column", InvalidValue, "a condition or a column is not right"),
    ("no such table", InvalidValue, "a table is not there"),
    ("syntax error", InvalidValue, "a condition is not right"),
    ("no such function", InvalidValue, "a condition is not right"),
    ("incomplete input", InvalidValue, "a condition is not right"),
    ("constraint failed", InvalidValue, "the rows that are there cannot be enrolled"),
    ("readonly", StoreReadOnly, "the file can only be read"),
    ("full", StoreFull, "the disk is full"),
)


class Statements:
    """Runs statements of one connection, to the end: no reading stays open between two."""

    def __init__(self, conn: Any) -> None:
        self._conn = conn

    def rows(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement and return all its rows."""
        cursor = self._conn.cursor()
        if not isinstance(cursor, apsw.Cursor):
            cursor.row_factory = None  # the user's own would give rows of another kind
        return [tuple(row) for row in cursor.execute(statement, tuple(values)).fetchall()]

    def value(self, statement: str, values: Sequence[Any] = ()) -> Any:
        """Run a statement and return the first column of its first row, or None."""
        found = self.rows(statement, values)
        return found[0][0] if found else None

    @contextmanager
    def writing(self) -> Iterator[None]:
        """One write transaction, from its lock to its commit; all of it or nothing."""
        self.rows("begin immediate")
        try:
            yield
            self.rows("commit")
        except BaseException:
            if self._conn.in_transaction:
                self.rows("rollback")
            raise


class Link:
    """A way to the file: a path, or a connection of the user."""

    def __init__(self, given: Any) -> None:
        self._given = given

    async def run(self, work: Callable[[Statements], Out]) -> Out:
        """Do a piece of work and return what it returns; nothing is left open."""
        if isinstance(self._given, Path):
            return await asyncio.to_thread(self._opened, self._given, work)
        with border():
            if self._given.in_transaction:
                raise InvalidValue(
                    "expected the connection to be in no transaction, got one that is in one:"
                    " what it has not committed must not move a cursor"
                )
            return work(Statements(self._given))

    @staticmethod
    def _opened(path: Path, work: Callable[[Statements], Out]) -> Out:
        with border():
            conn = apsw.Connection(os.fspath(path), flags=apsw.SQLITE_OPEN_READWRITE)
            try:
                conn.set_busy_timeout(PATIENCE_MS)
                return work(Statements(conn))
            finally:
                conn.close(True)


@contextmanager
def border() -> Iterator[None]:
    """Translate the errors of both modules; the standard one is known by name only."""
    try:
        yield
    except DulyError:
        raise
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in ("apsw", "sqlite3"):
            raise
        raise _translated(error) from error


def _translated(error: Exception) -> DulyError:
    said = str(error)
    for words, kind, why in _KINDS:
        if words in said:
            return kind(f"the file of the table refused: {why} ({said})")
    return StoreUnavailable(f"the file of the table cannot be used now: {said}")
