"""Migrations: numbered files of SQL, applied forward under a lock, each with its record.

A step and the record that it was done are one transaction, so a migration that was broken off
goes on where it stopped. Steps expand first and contract versions later: `serves_from` is the
oldest code that may still work on the schema. The statements are read from the package and name
their tables without a schema; the connection's search path says which one is meant.
"""

from __future__ import annotations

from importlib import resources

import asyncpg

from duly.errors import StoreMismatch
from duly.stores.postgres.connection import Address

SERVES_FROM = 1

LOCK_KEY = 0x64756C79  # "duly"


def steps() -> list[tuple[int, str, str]]:
    """Return (number, name, statements) of every step, in order."""
    folder = resources.files("duly.stores.postgres") / "migrations"
    files = sorted((one for one in folder.iterdir() if one.name.endswith(".sql")), key=str)
    return [
        (int(one.name[:4]), one.name.removesuffix(".sql"), one.read_text("utf-8")) for one in files
    ]


def newest() -> int:
    """The schema version this code brings."""
    return max(number for number, _, _ in steps())


async def migrate(conn: asyncpg.Connection, address: Address) -> tuple[str, ...]:
    """Apply the steps that are missing; return their names."""
    applied: list[str] = []
    await conn.execute("select pg_advisory_lock($1, hashtext($2))", LOCK_KEY, address.schema)
    try:
        await _make_schema(conn, address.schema)
        have = await version(conn)
        for number, name, statements in steps():
            if number > have:
                async with conn.transaction():
                    await conn.execute(statements)
                    await conn.execute(RECORD, number, SERVES_FROM)
                applied.append(name)
    finally:
        await conn.execute("select pg_advisory_unlock($1, hashtext($2))", LOCK_KEY, address.schema)
    return tuple(applied)


async def _make_schema(conn: asyncpg.Connection, schema: str) -> None:
    known = await conn.fetchval("select 1 from pg_namespace where nspname = $1", schema)
    if known is None:
        await conn.execute(f'create schema "{schema}"')


async def version(conn: asyncpg.Connection) -> int:
    """The schema version of the database; 0 when it has none of ours."""
    if await conn.fetchval("select to_regclass('duly_meta')") is None:
        return 0
    return int(await conn.fetchval("select schema_version from duly_meta") or 0)


async def check(conn: asyncpg.Connection, name: str) -> int:
    """Return the schema version, or raise `StoreMismatch` with the command that mends it."""
    have, want = await version(conn), newest()
    if have < want:
        said = "has no tables of Duly yet" if have == 0 else f"has schema {have}"
        raise StoreMismatch(
            f"the store {name} {said}, and this code needs {want}; run `duly db migrate`"
        )
    if have > want:
        serves = int(await conn.fetchval("select serves_from from duly_meta") or 0)
        if serves > want:
            raise StoreMismatch(
                f"the store {name} has schema {have}, which serves code from {serves} on, and "
                f"this code knows {want}; upgrade this process"
            )
    return have


RECORD = """
insert into duly_meta (schema_version, serves_from) values ($1, $2)
on conflict (one) do update
set schema_version = excluded.schema_version, serves_from = excluded.serves_from
"""
