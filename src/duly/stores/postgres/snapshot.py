"""Everything a store holds, in the shape in which stores are compared with the model.

It reads whole tables in one transaction and is meant for tests and for small stores.
"""

from __future__ import annotations

from typing import Any

import asyncpg
import msgspec

from duly.core.breakers import BreakerRow
from duly.core.effects import EffectFilter
from duly.core.fleet import Instance
from duly.core.notices import Notice
from duly.core.runs import Attempt
from duly.core.states import RunState, RunVerb
from duly.core.telling import ChannelState, Mark
from duly.stores.memory.tables import Ended, Held, Identity, Key, Later, NoticeRow, Ready
from duly.stores.postgres.access import CHANGE, KEY, api_key_of, change_of
from duly.stores.postgres.breaking import BREAKER_LINE, breaker_line_of
from duly.stores.postgres.entries import AUDIT_COLUMNS, effect_of, line_of, where_clause
from duly.stores.postgres.fleet import INSTANCES, instance_of
from duly.stores.postgres.housekeeping import INCIDENT, incident_of
from duly.stores.postgres.logs import log_of
from duly.stores.postgres.outbox import message_of
from duly.stores.postgres.remembering import event_of, progress_of, step_of
from duly.stores.postgres.rows import (
    BACKLOG,
    SCHEDULE,
    VERDICT,
    backlog_of,
    new_run_of,
    schedule_of,
    verdict_of,
)

_plain = msgspec.to_builtins

EVERY_EFFECT = EffectFilter(limit=2**31 - 1)

OUTBOX = "select id, topic, body, key, run, kept_at from duly_outbox order by seq"


async def snapshot(conn: asyncpg.Connection) -> dict[str, Any]:
    """Return all rows by kind, as `Tables.snapshot` of the model does."""
    async with conn.transaction(isolation="repeatable_read", readonly=True):
        return (
            await _runs(conn)
            | await _schedules(conn)
            | await _others(conn)
            | await _lasting(conn)
            | await _breakers(conn)
        )


async def _runs(conn: asyncpg.Connection) -> dict[str, Any]:
    run = await conn.fetch("select * from duly_run order by id")
    later = await conn.fetch("select * from duly_later order by id")
    ready = await conn.fetch("select * from duly_ready order by id")
    held = await conn.fetch("select * from duly_held order by id")
    ended = await conn.fetch("select * from duly_ended order by id")
    past = await conn.fetch("select * from duly_attempt order by run, epoch")
    return {
        "run": {str(r["id"]): _plain(Identity(new_run_of(r), r["enqueued_at"])) for r in run},
        "later": {str(r["id"]): _plain(_fill(Later, r, state=RunState(r["state"]))) for r in later},
        "ready": {str(r["id"]): _plain(_fill(Ready, r)) for r in ready},
        "held": {str(r["id"]): _plain(_fill(Held, r)) for r in held},
        "ended": {str(r["id"]): _plain(_fill(Ended, r, state=RunState(r["state"]))) for r in ended},
        "attempts": {
            f"{r['run']}#{r['epoch']}": _plain(_fill(Attempt, r, outcome=RunVerb(r["outcome"])))
            for r in past
        },
    }


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
    incidents = await conn.fetch(f"select {INCIDENT} from duly_incident i")
    return {
        "keys": {f"{r['task']}/{r['key']}": _plain(Key(r["run"], r["made_at"])) for r in keys},
        "limits": {key: most for key, most in limits},
        "slots": {key: sorted(runs) for key, runs in slots.items()},
        "instances": {str(one.boot): _plain(_as_kept(one)) for one in instances},
        "incidents": sorted((_plain(incident_of(row)) for row in incidents), key=repr),
        "generation": await conn.fetchval("select generation from duly_meta"),
    } | await _telling(conn)


async def _lasting(conn: asyncpg.Connection) -> dict[str, Any]:
    steps = await conn.fetch(
        "select run, name, number, kind, value, turn, at from duly_step order by run, name"
    )
    told = await conn.fetch(
        "select run, done, total, note, published, effects, at from duly_progress order by run"
    )
    awaits: dict[str, list[list[str]]] = {}
    for run, event, group in await conn.fetch(
        "select run, event, grp from duly_await order by run, event, grp"
    ):
        awaits.setdefault(str(run), []).append([event, group])
    events = await conn.fetch("select name, body, by, at from duly_event order by name")
    relays = await conn.fetch("select topic, boot, until from duly_relay order by topic")
    logs = await conn.fetch("select run, epoch, told, lines from duly_log order by run, epoch")
    return {
        "logs": {f"{r['run']}#{r['epoch']}": _plain(log_of(r)) for r in logs},
        "steps": {f"{r['run']}/{r['name']}": _plain(step_of(tuple(r)[1:])) for r in steps},
        "progress": {str(r["run"]): _plain(progress_of(tuple(r)[1:])) for r in told},
        "awaits": awaits,
        "events": {r["name"]: _plain(event_of(r)) for r in events},
        "outbox": [_plain(message_of(r)) for r in await conn.fetch(OUTBOX)],
        "relays": {topic: [str(boot), _plain(until)] for topic, boot, until in relays},
    } | await _ledger(conn)


async def _ledger(conn: asyncpg.Connection) -> dict[str, Any]:
    effects = [effect_of(row) for row in await conn.fetch(*where_clause(EVERY_EFFECT))]
    keys = [api_key_of(row) for row in await conn.fetch(f"select {KEY} from duly_api_key")]
    changed = [change_of(row) for row in await conn.fetch(f"select {CHANGE} from duly_change")]
    lines = await conn.fetch(f"select {AUDIT_COLUMNS} from duly_effect_line order by number")
    return {
        "effects": {str(one.address): _plain(one) for one in effects},
        "audit": [_plain(line_of(row)) for row in lines],
        "api_keys": {str(one.id): _plain(one) for one in keys},
        "changes": {str(one.id): _plain(one) for one in changed},
    }


async def _breakers(conn: asyncpg.Connection) -> dict[str, Any]:
    rows = await conn.fetch("select name, body from duly_breaker order by name")
    lines = await conn.fetch(f"select {BREAKER_LINE} from duly_breaker_line order by number")
    tellers = await conn.fetch("select boot, telling, at from duly_breaker_teller order by boot")
    return {
        "breakers": {name: _plain(msgspec.json.decode(b, type=BreakerRow)) for name, b in rows},
        "breaker_lines": [_plain(breaker_line_of(row)) for row in lines],
        "breaker_tellers": {str(boot): [str(word), _plain(at)] for boot, word, at in tellers},
    }


async def _telling(conn: asyncpg.Connection) -> dict[str, Any]:
    states = await conn.fetch("select name, body from duly_channel order by name")
    marks = await conn.fetch("select * from duly_told order by incident, channel")
    notices = await conn.fetch("select id, body, sealed, sent_at from duly_notice order by id")
    return {
        "channels": {name: _plain(msgspec.json.decode(b, type=ChannelState)) for name, b in states},
        "told": {
            f"{row['incident']}@{row['channel']}": _plain(
                Mark(**{name: value for name, value in row.items() if name != "channel"})
            )
            for row in marks
        },
        "notices": {
            str(number): _plain(NoticeRow(msgspec.json.decode(body, type=Notice), sealed, sent_at))
            for number, body, sealed, sent_at in notices
        },
    }


def _as_kept(one: Instance) -> Instance:
    """The count of held runs is counted when asked for, never kept."""
    return msgspec.structs.replace(one, held=0)
