"""The slow way to be sure: hold a whole table against what was dealt with.

For a table that cannot be enrolled, and as a net under one that is: `reconcile` counts the rows
whose key is not in another table of the same database. A hit is an incident for a person, not
something to be mended in silence. Never writes.
"""

from __future__ import annotations

from typing import Any

import msgspec

from duly.errors import InvalidValue
from duly.pipeline.base import checked_name, filtered, quoted
from duly.pipeline.enrolled import is_postgres, lent, link_of

SHOWN = 20


class Difference(msgspec.Struct, frozen=True):
    """`missing` rows of the table are not among the seen ones; the first 20 keys are shown."""

    missing: int
    first: tuple[Any, ...]


async def reconcile(
    conn: Any, table: str, *, pk: str, seen: str, seen_pk: str, where: str | None = None
) -> Difference:
    """Count rows of `table` whose `pk` is not in the column `seen_pk` of the table `seen`.

    One statement, as of one moment; rows that are being dealt with are among the missing, so let
    `where` leave out the youngest. Raises `InvalidValue` for names that are not there.
    """
    names = {"table": table, "pk": pk, "seen": seen, "seen_pk": seen_pk}
    for what, name in names.items():
        checked_name(what, name)
    statement = _statement(table, pk=pk, seen=seen, seen_pk=seen_pk, where=where)
    if is_postgres(conn):
        async with lent(conn) as one:
            found = [tuple(row) for row in await one.fetch(statement)]
    else:
        found = await link_of(conn).run(lambda do: do.rows(statement))
    return Difference(missing=found[0][1] if found else 0, first=tuple(row[0] for row in found))


def _statement(table: str, *, pk: str, seen: str, seen_pk: str, where: str | None) -> str:
    key, other = quoted(pk), quoted(seen_pk)
    # Both sides are qualified: a column that is missing inside must not be taken from outside.
    return (
        f"select t.{key}, count(*) over () from {_path(table)} t"
        f" where not exists (select 1 from {_path(seen)} s where s.{other} = t.{key})"
        f" {filtered(where)} order by t.{key} limit {SHOWN}"
    )


def _path(name: str) -> str:
    parts = name.split(".")
    if len(parts) > 2 or not all(parts):
        raise InvalidValue.expected("the table", "a name, or schema.name", name)
    return ".".join(quoted(part) for part in parts)
