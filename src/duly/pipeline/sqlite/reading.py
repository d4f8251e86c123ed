"""Reading an enrolled table of an SQLite file, by the numbers of its log.

What a statement sees is committed, and whatever commits later has a higher number: nothing has
to be waited for, so the lag is always nothing. The tie of a key is 0, since a number is drawn
once. A page is one statement, read to its end: no reader keeps the write-ahead log from being
cut, or a writer of a file without one from its commit.
"""

from __future__ import annotations

from duly.pipeline.base import (
    PAGE_ROWS,
    Key,
    Lag,
    Row,
    Selection,
    ahead,
    filtered,
    quoted,
)
from duly.pipeline.sqlite.enrolling import highest_number
from duly.pipeline.sqlite.link import Link, Statements
from duly.pipeline.sqlite.shape import KEY, SEQ, Shape, read_shape


class SqliteSide:
    """One table through a path or a user's connection."""

    def __init__(self, link: Link, selection: Selection) -> None:
        self._link = link
        self._selection = selection
        self._columns: list[str] = []
        self._shape: Shape | None = None

    async def ready(self, after: Key | None, upto: Key | None) -> None:
        """Read the file's schema, and hold both bounds against the log's own count."""

        def look(do: Statements) -> tuple[Shape, int]:
            shape = read_shape(do, self._selection.table)
            shape.must_be_enrolled(shape.key(self._selection.pk))
            return shape, highest_number(do, shape)

        shape, highest = await self._link.run(look)
        self._shape, self._columns = shape, self._selection.chosen(shape.columns)
        for bound in (after, upto):
            if bound is not None and bound[0] > highest + 1:
                raise ahead(self._selection.table, bound)

    async def page(self, after: Key | None, upto: Key | None) -> list[tuple[Key, Row]]:
        """Return the next rows in order of their numbers."""
        statement = self._statement(upto)
        # A key stands behind the rows of its position, a mark before them.
        first = 0 if after is None else after[0] + (len(after) - 1)
        values = [first] if upto is None else [first, upto[0]]
        rows = await self._link.run(lambda do: do.rows(statement, values))
        return [
            ([number, 0], dict(zip(self._columns, rest, strict=True))) for number, *rest in rows
        ]

    async def mark(self) -> Key:
        """Return the number that the next row will have, or a lower one than that."""
        shape = self._ready_shape()
        return [await self._link.run(lambda do: highest_number(do, shape)) + 1]

    async def lag(self) -> Lag:
        """Return nothing: who writes holds no reader back."""
        return Lag(rows=0, seconds=0.0, holder=None)

    def _statement(self, upto: Key | None) -> str:
        shape, selection = self._ready_shape(), self._selection
        wanted = ", ".join([f"l.{SEQ}", *(f"t.{quoted(name)}" for name in self._columns)])
        bound = "" if upto is None else f" and l.{SEQ} < ?2"
        # A cross join is done in the order it is written: by the log, then each row by its key.
        return (
            f"select {wanted} from {quoted(shape.log)} l cross join {quoted(shape.name)} t"
            f" on t.{quoted(shape.key(selection.pk))} = l.{KEY}"
            f" where l.{SEQ} >= ?1{bound} {filtered(selection.where)}"
            f" order by l.{SEQ} limit {PAGE_ROWS}"
        )

    def _ready_shape(self) -> Shape:
        assert self._shape is not None, "`ready` comes before every reading"
        return self._shape
