"""Everything a store holds, in the shape in which stores are compared with the model.

It reads whole tables in one transaction and is meant for tests and for small stores.
"""

from __future__ import annotations

from typing import Any

import asyncpg
import msgspec

from duly.core.fleet import Instance
from duly.core.runs import Attempt, NewRun, Origin
from duly.core.states import RunState, RunVerb
from duly.stores.memory.tables import Ended, Held, Identity, Key, Later, Ready
from duly.stores.postgres.fleet import INSTANCES, instance_of
from duly.stores.postgres.housekeeping import incident_of
from duly.stores.postgres.rows import (
    BACKLOG,
    SCHEDULE,
    VERDICT,
    backlog_of,
    schedule_of,
    verdict_of,
)

_plain = msgspec.to_builtins


async def snapshot(conn: asyncpg.Connection) -> dict[str, Any]:
    """Return all rows by kind, as `Tables.snapshot` of the model does."""
    async with conn.transaction(isolation="repeatable_read", readonly=True):
        return await _runs(conn) | await _schedules(conn) | await _others(conn)


async def _runs(conn: asyncpg.Connection) -> dict[str, Any]:
    run = await conn.fetch("select * from duly_run order by id")
    later = await conn.fetch("select * from duly_later order by id")
    ready = await conn.fetch("select * from duly_ready order by id")
    held = await conn.fetch("select * from duly_held order by id")
    ended = await conn.fetch("select * from duly_ended order by id")
    past = await conn.fetch("select * from duly_attempt order by run, epoch")
    return {
        "run": {str(r["id"]): _plain(Identity(_new_run(r), r["enqueued_at"])) for r in run},
        "later": {str(r["id"]): _plain(_fill(Later, r, state=RunState(r["state"]))) for r in later},
        "ready": {str(r["id"]): _plain(_fill(Ready, r)) for r in ready},
        "held": {str(r["id"]): _plain(_fill(Held, r)) for r in held},
        "ended": {str(r["id"]): _plain(_fill(Ended, r, state=RunState(r["state"]))) for r in ended},
        "attempts": {
            f"{r['run']}#{r['epoch']}": _plain(_fill(Attempt, r, outcome=RunVerb(r["outcome"])))
            for r in past
        },
    }


def _new_run(row: Any) -> NewRun:
    run: NewRun = _fill(NewRun, row, origin=Origin(row["origin"]), limit=row["max_running"])
    return run


def _fill(kind: type[msgspec.Struct], row: Any, **given: Any) -> Any:
    fields = {name: row[name] for name in kind.__struct_fields__ if name not in given}
    return kind(**(fields | given))


async def _schedules(conn: asyncpg.Connection) -> dict[str, Any]:
    schedules = await conn.fetch(f"select {SCHEDULE} from duly_schedule order by name")
    backlogs = [
        backlog_of(r)
        for r in await conn.fetch(f"select {BACKLOG} from duly_backlog order by schedule, after")
    ]
    verdicts: dict[str, list[Any]] = {}
    for row in await conn.fetch(f"select {VERDICT} from duly_verdict order by schedule, first"):
        verdicts.setdefault(row["schedule"], []).append(_plain(verdict_of(row)))
    return {
        "schedules": {r["name"]: _plain(schedule_of(r)) for r in schedules},
        "backlogs": {f"{one.schedule}@{one.after}": _plain(one) for one in backlogs},
        "verdicts": verdicts,
    }


async def _others(conn: asyncpg.Connection) -> dict[str, Any]:
    keys = await conn.fetch("select task, key, run, made_at from duly_key order by task, key")
    limits = await conn.fetch("select key, max_running from duly_limit order by key")
    slots: dict[str, list[str]] = {}
    for run, key in await conn.fetch("select run, limit_key from duly_slot order by run"):
        slots.setdefault(key, []).append(str(run))
    instances = [instance_of(row) for row in await conn.fetch(INSTANCES)]
    incidents = await conn.fetch(
        "select kind, subject, severity, summary, opened_at, closed_at, evidence from duly_incident"
    )
    return {
        "keys": {f"{r['task']}/{r['key']}": _plain(Key(r["run"], r["made_at"])) for r in keys},
        "limits": {key: most for key, most in limits},
        "slots": {key: sorted(runs) for key, runs in slots.items()},
        "instances": {str(one.boot): _plain(_as_kept(one)) for one in instances},
        "incidents": sorted((_plain(incident_of(row)) for row in incidents), key=repr),
        "generation": await conn.fetchval("select generation from duly_meta"),
    }


def _as_kept(one: Instance) -> Instance:
    """The count of held runs is counted when asked for, never kept."""
    return msgspec.structs.replace(one, held=0)
