"""Whether a store is what it was: recognising a restored dump, a promoted copy, a lagging replica.

The store's row of itself remembers the server's system identifier and timeline. A dump that was
restored elsewhere shows another identifier; a promoted replica or a recovered backup shows
another timeline. Either may lack acknowledged writes, so the store marks itself as not trusted
until a person accepts it. A server that does not tell these things is taken at its word. In one
process there is one witness more: the count of its own beats, which never goes down.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

import asyncpg

from duly.core.effects import Doubt
from duly.errors import StoreReadOnly
from duly.stores.base import Standing
from duly.stores.postgres.entries import INTENDED, effect_of
from duly.stores.postgres.ledger import post_in
from duly.stores.postgres.unit import Unit

RESTORED = "the store was restored: writes may be missing"

Origin = tuple[str | None, int | None]


async def look(conn: asyncpg.Connection, name: str) -> Standing:
    """Read the standing, and mark the store when the server under it is another one."""
    if await conn.fetchval("select pg_is_in_recovery()"):
        raise StoreReadOnly(f"the store {name} is on a replica, which only reads")
    here = await origin(conn)
    row: Any = await conn.fetchrow(META)
    why = _difference((row["system_identifier"], row["timeline"]), here)
    if row["system_identifier"] is None and row["timeline"] is None:
        await conn.execute(SET_ORIGIN, *here)
    elif why and row["trusted"]:
        await conn.execute(DISTRUST, why)
        row = await conn.fetchrow(META)
    return of_row(row)


async def origin(conn: asyncpg.Connection) -> Origin:
    """Return the server's (system identifier, timeline), each None if it may not be asked."""
    return (
        await _ask(conn, "select system_identifier::text from pg_control_system()"),
        await _ask(
            conn,
            "select ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int",
        ),
    )


async def _ask(conn: asyncpg.Connection, question: str) -> Any:
    try:
        return await conn.fetchval(question)
    except asyncpg.PostgresError:
        return None


def _difference(then: Origin, now: Origin) -> str:
    if None not in (then[0], now[0]) and then[0] != now[0]:
        return (
            f"it was written under another server (system {then[0]}, now {now[0]}): "
            "restored from a dump or copied"
        )
    if None not in (then[1], now[1]) and then[1] != now[1]:
        return (
            f"the server's timeline went from {then[1]} to {now[1]}: a replica or a backup was "
            "promoted, and acknowledged writes may be missing"
        )
    return ""


async def accept(unit: Unit, by: str, reason: str, here: Origin) -> Standing:
    """Trust the store again as it is, with the next generation; trusted already: no change.

    `here` is the server's origin. What was on its way may have been confirmed in writes that are
    missing, so every intended effect is doubted in the same transaction.
    """
    if await unit.fetch(ACCEPT, by, reason, *here):
        rows = [effect_of(row) for row in await unit.fetch(INTENDED)]
        await post_in(
            unit, [Doubt(address=one.address, intent=one.intent, why=RESTORED) for one in rows]
        )
    return of_row((await unit.fetch(META))[0])


async def went_back(conn: asyncpg.Connection, beats: tuple[UUID, int]) -> Standing | None:
    """Mark the store when it knows less of this process's beats than this process does."""
    boot, remembered = beats
    have = await conn.fetchval("select beats from duly_instance where boot = $1", boot)
    if have is not None and have >= remembered:
        return None
    told = "nothing" if have is None else str(have)
    why = f"it forgot writes of a living process (beat {remembered} was answered, it has {told})"
    await conn.execute(DISTRUST, why)
    return of_row(await conn.fetchrow(META))


def of_row(row: Any) -> Standing:
    """Return what the store's row of itself says."""
    return Standing(
        schema=row["schema_version"],
        generation=row["generation"],
        trusted=row["trusted"],
        why=row["why"],
    )


META = """
select schema_version, generation, trusted, why, system_identifier, timeline from duly_meta
"""

SET_ORIGIN = """
update duly_meta set system_identifier = $1, timeline = $2
where system_identifier is null and timeline is null
"""

DISTRUST = "update duly_meta set trusted = false, why = $1 where trusted"

ACCEPT = """
update duly_meta set trusted = true, why = '', generation = generation + 1, accepted_by = $1,
  accepted_reason = $2, system_identifier = $3, timeline = $4
where not trusted returning generation
"""
