"""Sources over users' own tables that miss no committed row, however late it was committed.

A cursor by id, or by time, passes over a row whose transaction got the lower number and committed
later. `enrol` gives the table a commit-ordered position; `Enrolled` reads by it. A reader sees a
row once nothing that could still commit can come before it: an open transaction holds the reader
back, never makes it skip. `lag` tells by how much.

Guarantees: keys strictly increase; every committed row is handed out once to a cursor that goes
on from its last key; each page of 1,000 rows has a short snapshot of its own, so memory is flat
and no transaction stays open. Never writes to the table. Deletes leave no trace, and an update is
seen only with `updates=True`, as the row stands when it is read.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

from duly.errors import InvalidValue
from duly.pipeline.base import (
    PAGE_ROWS,
    Enrolment,
    Key,
    Lag,
    Row,
    Selection,
    Side,
    checked_key,
    checked_mark,
    checked_name,
)
from duly.pipeline.sqlite.enrolling import enrol_table as enrol_logged
from duly.pipeline.sqlite.link import Link
from duly.pipeline.sqlite.reading import SqliteSide

CONNECTIONS = (
    "a pool or connection of asyncpg, a connection of apsw or sqlite3, or the path of a file"
)


async def enrol(
    conn: Any, table: str, *, pk: str | None = None, updates: bool = False, restored: bool = False
) -> Enrolment:
    """Give a table what its readers need; safe on a live table, and again at every start.

    `conn` must not be in a transaction. `pk` is needed only where the primary key is not one
    column. With `updates`, a changed row is handed out again; once asked for, that stays.
    `restored` says that the database was taken back to an earlier moment, or lost its last
    commits in a failover; a dump that was loaded into another PostgreSQL cluster is noticed
    without it. Existing rows come first, in order of their key.

    Raises `UnknownName`, `InvalidValue` for a table that cannot be enrolled, `StoreUnavailable`
    when its lock could not be had. What a broken call had done, the next one finds and goes on.
    """
    checked_name("the table", table)
    if pk is not None:
        checked_name("pk", pk)
    if is_postgres(conn):
        from duly.pipeline.postgres.enrolling import enrol_table

        async with lent(conn) as one:
            return await enrol_table(one, table, pk=pk, updates=updates, restored=restored)
    return await link_of(conn).run(
        lambda do: enrol_logged(do, table, pk=pk, updates=updates, restored=restored)
    )


class Enrolled:
    """The rows of one enrolled table, in the order in which they became certain.

    `connect` is a pool or connection of asyncpg, a connection of apsw or of the standard
    `sqlite3`, or the path of an SQLite file. A path is opened through apsw: a process that opens
    the same file through `sqlite3` must pass that connection instead, because closing one of two
    copies of SQLite drops the locks of the other. A connection that is passed is used on the
    event loop's thread, a page at a time, and must not be in a transaction then.

    `columns` are those to read, all when None. `where` is a condition in SQL, written by the
    program and never put together from input.
    """

    def __init__(
        self,
        table: str,
        *,
        pk: str,
        connect: Any,
        columns: Sequence[str] | None = None,
        where: str | None = None,
    ) -> None:
        selection = Selection(
            table=checked_name("the table", table),
            pk=checked_name("pk", pk),
            columns=_checked_columns(columns),
            where=None if where is None else checked_name("where", where, longest=100_000),
        )
        self.table = table
        self._side = _side(connect, selection)

    def after(self, cursor: Key | None = None) -> AsyncIterator[tuple[Key, Row]]:
        """Iterate over (key, row) beyond `cursor`, until nothing more can be read now.

        `cursor` is the key of the last row that was dealt with, a mark, or None for the start.
        Raises `InvalidValue`, `UnknownName`, `StoreMismatch` when the table is not enrolled (any
        more) or the cursor is ahead of a restored database, `StoreUnavailable`.
        """
        return self._rows(checked_key("cursor", cursor), None)

    def between(self, after: Key | None, upto: Key) -> AsyncIterator[tuple[Key, Row]]:
        """Iterate over (key, row) from `after` up to the mark `upto`.

        With each export's `upto` as the next one's `after`, every committed row is in exactly
        one. `upto` must come from `mark`: a row before it can no longer appear.
        """
        return self._rows(checked_key("after", after), checked_mark("upto", upto))

    async def mark(self) -> Key:
        """Return an upper bound fixed now: what can be read now is before it, the rest behind."""
        await self._side.ready(None, None)
        return await self._side.mark()

    async def lag(self) -> Lag:
        """Return how far the oldest open transaction holds the readers of this table back."""
        await self._side.ready(None, None)
        return await self._side.lag()

    async def _rows(self, after: Key | None, upto: Key | None) -> AsyncIterator[tuple[Key, Row]]:
        await self._side.ready(after, upto)
        while True:
            page = await self._side.page(after, upto)
            for key, row in page:
                yield key, row
            if len(page) < PAGE_ROWS:
                return
            after = page[-1][0]


def _checked_columns(columns: Sequence[str] | None) -> tuple[str, ...] | None:
    if columns is None:
        return None
    if isinstance(columns, str) or not columns:
        raise InvalidValue.expected("columns", "a list of names, or None for all", columns)
    return tuple(checked_name("a column", name) for name in columns)


def _side(connect: Any, selection: Selection) -> Side:
    """Choose by the kind of connection; asyncpg is imported only when it is used."""
    if is_postgres(connect):
        from duly.pipeline.postgres.reading import PostgresSide

        return PostgresSide(lambda: lent(connect), selection)
    return SqliteSide(link_of(connect), selection)


def is_postgres(conn: Any) -> bool:
    """Whether a connection or pool is one of asyncpg, known without importing it."""
    return type(conn).__module__.partition(".")[0] == "asyncpg"


def lent(conn: Any) -> AbstractAsyncContextManager[Any]:
    """Return a context that lends a connection of asyncpg: the pool's, or the given one."""
    from duly.pipeline.postgres import border

    return border.lent(conn)


def link_of(conn: Any) -> Link:
    """Return the way to an SQLite file; raise `InvalidValue` for what is none."""
    if isinstance(conn, Path):
        return Link(conn)
    if isinstance(conn, str) and conn and "\0" not in conn and "://" not in conn:
        return Link(Path(conn))
    if type(conn).__module__.partition(".")[0] in ("apsw", "sqlite3"):
        return Link(conn)
    raise InvalidValue.expected("the connection", CONNECTIONS, conn)
