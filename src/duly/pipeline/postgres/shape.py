"""What a table in PostgreSQL looks like: its columns, its key, and how far it is enrolled.

All of it is read from the catalogue in two short statements, each time a reader starts, so that
a table that was restored, renamed or stripped of its triggers is noticed before a row is
skipped. What belongs to an enrolment is found on the table itself: the column `duly_position`
with a comment that names the era and the cluster, two triggers, one index. A dump carries them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from duly.errors import InvalidValue, StoreMismatch, UnknownName
from duly.pipeline.base import checked_name, quoted

POSITION = "duly_position"
INSERT_TRIGGER = "zzz_duly_insert"
UPDATE_TRIGGER = "zzz_duly_update"
"""Triggers fire in order of name; these have the last word on the position."""

LONGEST_NAME = 63
INTEGERS = ("smallint", "integer", "bigint")
TEXTS = ("text", "character varying")
KEY_TYPES = (*INTEGERS, "uuid", *TEXTS)

_TABLE = """
select c.oid, n.nspname as schema, c.relname as name,
  c.relkind::text || c.relhassubclass::int as kind,
  (select system_identifier::text from pg_control_system()) as cluster,
  array(select format('%s %s%s', t.tgname, t.tgenabled, (t.tgqual is not null)::int)
    from pg_trigger t
    where t.tgrelid = c.oid and not t.tgisinternal) as triggers,
  array(select a.attname from pg_index i join pg_attribute a
      on a.attrelid = c.oid and a.attnum = i.indkey[0]
    where i.indrelid = c.oid and i.indisunique and i.indisvalid and i.indpred is null
      and i.indnkeyatts = 1 and a.attnotnull
    order by i.indisprimary desc, a.attnum) as keys,
  exists (select from pg_index i where i.indrelid = c.oid and i.indisprimary
    and i.indnkeyatts = 1) as simple_primary
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.oid = to_regclass($1)
"""

_COLUMNS = """
select a.attname as name, pg_catalog.format_type(a.atttypid, null) as type,
  pg_catalog.col_description(a.attrelid, a.attnum) as said,
  (select pg_catalog.pg_get_expr(d.adbin, d.adrelid) from pg_attrdef d
    where d.adrelid = a.attrelid and d.adnum = a.attnum) as given
from pg_attribute a where a.attrelid = $1 and a.attnum > 0 and not a.attisdropped
order by a.attnum
"""

_KNOWN = """
select case when pg_table_is_visible(c.oid) then c.relname else n.nspname || '.' || c.relname end
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind = 'r' and n.nspname not in ('pg_catalog', 'information_schema')
"""


class Label(msgspec.Struct, frozen=True):
    """The comment on the column: which era its numbers belong to, counted by which cluster."""

    era: int
    cluster: str
    updates: bool = False
    duly: str = "the order of commits; never write to this column"


class Shape(msgspec.Struct, frozen=True):
    """A table as the catalogue has it."""

    oid: int
    schema: str
    name: str
    cluster: str
    columns: dict[str, str]  # name to type
    keys: tuple[str, ...]
    simple_primary: bool
    label: Label | None
    stamped: bool  # the column has a default
    triggers: frozenset[str]

    @property
    def table(self) -> str:
        """The quoted, qualified name."""
        return f"{quoted(self.schema)}.{quoted(self.name)}"

    @property
    def guarded(self) -> bool:
        """Whether both triggers are there, and fire whatever a session sets."""
        both = (INSERT_TRIGGER, UPDATE_TRIGGER)
        return all(any(t.startswith(f"{name} A") for t in self.triggers) for name in both)

    @property
    def sees_updates(self) -> bool:
        """Whether any update moves a row, and not only one of its key."""
        return f"{UPDATE_TRIGGER} A0" in self.triggers

    def enrolled_as(self) -> Label:
        """Return the label, or raise `StoreMismatch` saying why readers could miss rows."""
        if POSITION not in self.columns or self.label is None:
            why = "is not enrolled"
        elif not (self.guarded and self.stamped and self.sees_updates == self.label.updates):
            why = "lost the triggers or the default of its enrolment"
        elif self.label.cluster != self.cluster:
            why = "was restored from another cluster, whose transaction ids go on elsewhere"
        else:
            return self.label
        raise StoreMismatch(f'the table {self.name} {why}: call `enrol(conn, "{self.name}")`')

    def key(self, pk: str | None) -> str:
        """Return the name of the key column; raise when it cannot order and tell apart rows."""
        if pk is None:
            if not self.simple_primary:
                raise InvalidValue(
                    f"expected {self.name} to have a primary key of one column, got none: pass pk="
                )
            pk = self.keys[0]
        if pk not in self.columns:
            raise UnknownName.of(f"column of {self.name}", pk, self.columns)
        if pk not in self.keys:
            raise InvalidValue.expected(f"the key of {self.name}", "unique and not null", pk)
        if self.columns[pk] not in KEY_TYPES:
            shown = ", ".join(KEY_TYPES)
            raise InvalidValue.expected(f"the type of {pk}", f"one of {shown}", self.columns[pk])
        return pk

    def ordered(self, pk: str) -> str:
        """Return the key as SQL in an order that Python's comparison of keys shares."""
        collate = ' collate "C"' if self.columns[pk] in TEXTS else ""
        return quoted(pk) + collate


def qualified(table: str) -> str:
    """Return `table` or `schema.table` as a quoted name."""
    parts = table.split(".")
    if len(parts) > 2:
        raise InvalidValue.expected("the table", "a name, or schema.name", table)
    names = [checked_name("the table", part, longest=LONGEST_NAME) for part in parts]
    return ".".join(quoted(name) for name in names)


async def read_shape(conn: Any, table: str) -> Shape:
    """Read one table from the catalogue; raise `UnknownName` with the nearest one there is."""
    found = await conn.fetchrow(_TABLE, qualified(table))
    if found is None:
        known = [row[0] for row in await conn.fetch(_KNOWN)]
        raise UnknownName.of("table", table, known)
    if found["kind"] != "r0":
        raise InvalidValue(
            f"expected {table} to be an ordinary table, got a view, or one that is partitioned,"
            " inherited from or foreign: have a trigger copy its keys to an ordinary table"
        )
    columns = await conn.fetch(_COLUMNS, found["oid"])
    own = next((c for c in columns if c["name"] == POSITION), None)
    return Shape(
        oid=found["oid"],
        schema=found["schema"],
        name=found["name"],
        cluster=found["cluster"],
        columns={c["name"]: c["type"] for c in columns},
        keys=_usable(found["keys"]),
        simple_primary=found["simple_primary"],
        label=None if own is None else _label(own["said"]),
        stamped=own is not None and "pg_current_xact_id" in (own["given"] or ""),
        triggers=frozenset(found["triggers"]),
    )


def _usable(keys: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(key for key in keys if key != POSITION))


def _label(said: str | None) -> Label | None:
    try:
        return msgspec.json.decode(said or "", type=Label)
    except msgspec.MsgspecError:
        return None
