"""Reading an enrolled table in PostgreSQL.

A statement reads only rows whose transaction id is below the `xmin` of its own snapshot: every
transaction below has ended, and if it committed, this snapshot sees it. So no row can appear
later before a row that was read, whatever order transactions began, wrote or committed in. The
price is that the oldest open writing transaction of the server, in any database, holds readers
back; `lag` says who that is.

A cursor ahead of the server's own count belongs to a past that was taken back, and is refused; on
a replica it only means that the replica lags, and nothing is read.
"""

from __future__ import annotations

from typing import Any

from duly.errors import InvalidValue, StoreUnavailable
from duly.pipeline.base import (
    ERA,
    LAG_ROWS_COUNTED,
    PAGE_ROWS,
    Key,
    Lag,
    Row,
    Selection,
    ahead,
    filtered,
    quoted,
)
from duly.pipeline.postgres.border import Lend
from duly.pipeline.postgres.shape import INTEGERS, POSITION, Shape, read_shape

EDGE = "pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())::text::bigint"

_HOLDER = """
select * from (
  select age(backend_xid) as age, extract(epoch from clock_timestamp() - xact_start) as seconds,
    format('pid %s (%s, %s)', pid, coalesce(nullif(application_name, ''), usename, '?'),
      coalesce(state, 'not shown')) as holder
  from pg_stat_activity where backend_xid is not null and pid <> pg_backend_pid()
  union all
  select age(transaction), extract(epoch from clock_timestamp() - prepared),
    format('prepared transaction %L', gid)
  from pg_prepared_xacts) as holders
order by age desc limit 1
"""


class PostgresSide:
    """One table through a user's pool or connection; a connection is held for a page only."""

    def __init__(self, lend: Lend, selection: Selection) -> None:
        self._lend = lend
        self._selection = selection
        self._plan: Plan | None = None

    async def ready(self, after: Key | None, upto: Key | None) -> None:
        """Read the catalogue, and hold both bounds against the server's own count."""
        async with self._lend() as conn:
            plan = self._plan = Plan(await read_shape(conn, self._selection.table), self._selection)
            plan.check(after)
            edge, replica = await conn.fetchrow(f"select {plan.base} + {EDGE}, pg_is_in_recovery()")
        for bound in (after, upto):
            if bound is not None and bound[0] > edge and not replica:
                raise ahead(self._selection.table, bound)
        if upto is not None and upto[0] > edge:
            raise StoreUnavailable("this replica has not come to the mark yet: try again later")

    async def page(self, after: Key | None, upto: Key | None) -> list[tuple[Key, Row]]:
        """Return the next rows in order, as far as they are certain."""
        statement, values = self._ready_plan().page(after, upto)
        async with self._lend() as conn:
            rows = await conn.fetch(statement, *values)
        return [self._ready_plan().item(row) for row in rows]

    async def mark(self) -> Key:
        """Return the position that the oldest open transaction has, or the next one will get."""
        async with self._lend() as conn:
            return [await conn.fetchval(f"select {self._ready_plan().base} + {EDGE}")]

    async def lag(self) -> Lag:
        """Count what is committed and not yet certain, and name the oldest transaction."""
        async with self._lend() as conn:
            rows = await conn.fetchval(self._ready_plan().waiting())
            holder = await conn.fetchrow(_HOLDER)
        if holder is None:
            return Lag(rows=rows, seconds=0.0, holder=None)
        seconds = None if holder["seconds"] is None else float(holder["seconds"])
        return Lag(rows=rows, seconds=seconds, holder=holder["holder"])

    def _ready_plan(self) -> Plan:
        assert self._plan is not None, "`ready` comes before every reading"
        return self._plan


class Plan:
    """The statements over one table, made from what the catalogue said. No I/O."""

    def __init__(self, shape: Shape, selection: Selection) -> None:
        self.base = shape.enrolled_as().era * ERA
        self._shape = shape
        self._pk = shape.key(selection.pk)
        self._where = filtered(selection.where)
        self._columns = selection.chosen(list(shape.columns), hidden=POSITION)

    def check(self, key: Key | None) -> None:
        """Raise `InvalidValue` when the tie of a key is not of the key's type."""
        whole = self._shape.columns[self._pk] in INTEGERS
        if key is not None and len(key) == 2 and isinstance(key[1], int) != whole:
            to_be = "a whole number" if whole else "a text"
            raise InvalidValue.expected(f"the tie ({self._pk}) of the cursor", to_be, key[1])

    def page(self, after: Key | None, upto: Key | None) -> tuple[str, list[Any]]:
        """Return the statement for one page, and its values."""
        order = self._shape.ordered(self._pk)
        conditions, values = [f"{POSITION} < {self.base} + {EDGE}"], list(after or [])
        if after is not None:
            conditions.append(
                f"{POSITION} >= $1" if len(after) == 1 else f"({POSITION}, {order}) > ($1, $2)"
            )
        if upto is not None:
            conditions.append(f"{POSITION} < ${len(values) + 1}")
            values += upto
        wanted = ", ".join([POSITION, quoted(self._pk), *map(quoted, self._columns)])
        statement = (
            f"select {wanted} from {self._shape.table} where {' and '.join(conditions)}"
            f" {self._where} order by {POSITION}, {order} limit {PAGE_ROWS}"
        )
        return statement, values

    def waiting(self) -> str:
        """Return the statement that counts committed rows which cannot be read yet."""
        return (
            f"select count(*) from (select from {self._shape.table}"
            f" where {POSITION} >= {self.base} + {EDGE} {self._where}"
            f" limit {LAG_ROWS_COUNTED}) as waiting"
        )

    def item(self, row: Any) -> tuple[Key, Row]:
        """Return a fetched row as its key and its columns; a uuid in a key is a text."""
        position, tie, *rest = tuple(row)
        key = [position, tie if isinstance(tie, int) else str(tie)]
        return key, dict(zip(self._columns, rest, strict=True))
