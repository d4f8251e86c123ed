"""Enrolling a table in PostgreSQL: a column that holds the order of commits, and its guards.

The column's default is the transaction's id, so a row is stamped by whoever writes it. The
default is constant within a statement, therefore adding the column rewrites nothing: rows that
are there share the position of the enrolment, and their key tells them apart. Column, triggers
and comment come in one short transaction under the table's exclusive lock, which is waited for in
bounded tries so that no queue builds up behind it; the index is built without a lock.

Two triggers guard the position: one against a writer that brings its own (a copy of rows, a load
of data), one against a changed key. Their conditions cost next to nothing while they are false.
Never touches a row that was there.
"""

from __future__ import annotations

import hashlib
from typing import Any

import asyncpg
import msgspec

from duly.errors import InvalidValue, StoreUnavailable
from duly.pipeline.base import ERA, Enrolment, quoted
from duly.pipeline.postgres.shape import (
    INSERT_TRIGGER,
    LONGEST_NAME,
    POSITION,
    UPDATE_TRIGGER,
    Label,
    Shape,
    read_shape,
)

LOCK_TRIES = 5
LOCK_TIMEOUT = "2s"

_INDEX = """
select c.relname as name, i.indisvalid as valid from pg_index i
join pg_class c on c.oid = i.indexrelid
join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
where i.indrelid = $1 and a.attname = $2 and i.indnkeyatts = 2
"""


async def enrol_table(
    conn: Any, table: str, *, pk: str | None, updates: bool, restored: bool
) -> Enrolment:
    """Enrol one table; see `duly.pipeline.enrol`."""
    shape = await read_shape(conn, table)
    key = shape.key(pk)
    done: list[str] = []
    if not _complete(shape, updates) or restored:
        done += await _stamp_patiently(conn, table, key=key, updates=updates, restored=restored)
    done += await _index(conn, await read_shape(conn, table), key)
    return Enrolment(table=table, done=tuple(done))


def _complete(shape: Shape, updates: bool) -> bool:
    return (
        shape.label is not None
        and shape.label.cluster == shape.cluster
        and shape.stamped
        and shape.guarded
        and shape.sees_updates == shape.label.updates
        and shape.label.updates >= updates
    )


async def _stamp_patiently(
    conn: Any, table: str, *, key: str, updates: bool, restored: bool
) -> list[str]:
    """Try a few times for the exclusive lock; writers go on between two tries."""
    for _ in range(LOCK_TRIES):
        try:
            async with conn.transaction():
                await conn.execute(f"set local lock_timeout = '{LOCK_TIMEOUT}'")
                shape = await read_shape(conn, table)
                await conn.execute(f"lock table {shape.table} in access exclusive mode")
                shape = await read_shape(conn, table)
                if _complete(shape, updates) and not restored:
                    return []  # another session was faster
                return await _stamp(conn, shape, key=key, updates=updates)
        except asyncpg.LockNotAvailableError:
            continue
    raise StoreUnavailable(
        f"the table {table} was in use by other transactions for {LOCK_TRIES} tries of"
        f" {LOCK_TIMEOUT}; nothing was changed, call enrol again"
    )


async def _stamp(conn: Any, shape: Shape, *, key: str, updates: bool) -> list[str]:
    """Write column, triggers and label; the caller holds the exclusive lock."""
    updates = updates or (shape.label is not None and shape.label.updates)
    era, why = await _era(conn, shape)
    label = Label(era=era, cluster=shape.cluster, updates=updates)
    position = f"({era * ERA} + pg_catalog.pg_current_xact_id()::text::bigint)"
    column = quoted(POSITION)
    if POSITION in shape.columns:
        await conn.execute(
            f"alter table {shape.table} alter column {column} set default {position}"
        )
    else:
        await conn.execute(
            f"alter table {shape.table} add column {column} bigint not null default {position}"
        )
        why = f"added the column {POSITION}; rows that were there come first, in order of {key}"
    for statement in _guards(shape, position, key=key, updates=updates):
        await conn.execute(statement)
    said = msgspec.json.encode(label).decode().replace("'", "''")
    await conn.execute(f"comment on column {shape.table}.{column} is '{said}'")
    return [why] if why else ["put the default and the triggers of the position in place"]


async def _era(conn: Any, shape: Shape) -> tuple[int, str | None]:
    """Return the era for new positions, and what to tell when it is a new one.

    A new one begins whenever this cluster might count from a lower number than the rows have.
    """
    if POSITION not in shape.columns:
        return 0, None
    if shape.columns[POSITION] != "bigint":
        raise InvalidValue.expected(f"{POSITION} of {shape.name}", "a bigint", "another column")
    highest = await conn.fetchval(f"select max({POSITION}) from {shape.table}")
    era = max((highest or 0) // ERA, shape.label.era if shape.label else 0) + 1
    return era, (
        f"began era {era}: new rows come after all that this table ever had; rows written between"
        " a restore and this call may have been passed over, so reconcile them"
    )


def _guards(shape: Shape, position: str, *, key: str, updates: bool) -> list[str]:
    """Statements that put the function and both triggers in place, in the present era."""
    function = f"{quoted(shape.schema)}.{quoted(fitting('duly_stamp_', shape.name))}"
    own, pk = quoted(POSITION), quoted(key)
    forged = f"new.{own} is distinct from {position}"
    moved = f"old.{pk} is distinct from new.{pk} or old.{own} is distinct from new.{own}"
    statements = [
        f"create or replace function {function}() returns trigger language plpgsql as $duly$"
        f" begin new.{own} := {position}; return new; end $duly$",
    ]
    for name, event, condition in (
        (INSERT_TRIGGER, "insert", f"when ({forged})"),
        (UPDATE_TRIGGER, "update", "" if updates else f"when ({moved})"),
    ):
        statements += [
            f"drop trigger if exists {name} on {shape.table}",
            f"create trigger {name} before {event} on {shape.table} for each row {condition}"
            f" execute function {function}()",
            f"alter table {shape.table} enable always trigger {name}",
        ]
    return statements


async def _index(conn: Any, shape: Shape, key: str) -> list[str]:
    """Build the index without locking the table; mend one whose building was broken off."""
    ticket = f"duly enrol {shape.oid}"
    # Waiting for this lock would hold a snapshot, for which the other session's index waits.
    if not await conn.fetchval("select pg_try_advisory_lock(hashtext($1))", ticket):
        return ["left the index to another session, which is building it"]
    try:
        return await _index_alone(conn, shape, key)
    finally:
        if not conn.is_closed():
            await conn.execute("select pg_advisory_unlock(hashtext($1))", ticket)


async def _index_alone(conn: Any, shape: Shape, key: str) -> list[str]:
    name = fitting("duly_position_", shape.name)
    for found in await conn.fetch(_INDEX, shape.oid, POSITION):
        if found["valid"]:
            return []
        broken = f"{quoted(shape.schema)}.{quoted(found['name'])}"
        await conn.execute(f"drop index concurrently {broken}")
    columns = f"{quoted(POSITION)}, {shape.ordered(key)}"
    await conn.execute(f"create index concurrently {quoted(name)} on {shape.table} ({columns})")
    return [f"built the index {name}"]


def fitting(prefix: str, name: str) -> str:
    """Return a name of at most 63 bytes, made of both; a long one is told apart by its hash."""
    whole = prefix + name
    if len(whole.encode()) <= LONGEST_NAME:
        return whole
    return prefix + hashlib.sha256(name.encode()).hexdigest()[:16]
