"""Incidents, and pruning.

One incident is open per kind and subject at most. Pruning removes a bounded number of rows in
a turn, and never a mark, a verdict or a live run.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from duly.core.fleet import Incident
from duly.core.owning import names_of
from duly.stores.base import Filled, Retention, Signal
from duly.stores.sqlite.forgetting import prune_breakers, prune_incidents, prune_notices
from duly.stores.sqlite.rows import instant_or_none, json_text, micros
from duly.stores.sqlite.tx import Row, Tx

INCIDENT = """i.number, kind, subject, severity, summary, opened_at, closed_at, evidence, owner,
    acknowledged_at, acknowledged_by, acknowledged_note"""

_OPEN = """insert into duly_incident (kind, subject, severity, summary, opened_at, evidence, owner)
    select ?1, ?2, ?3, ?4, ?5, ?6, coalesce(nullif(?7, ''),
        (select owner from duly_schedule where name = ?8),
        (select owner from duly_schedule
            where name = (select schedule from duly_run where id = ?9)),
        (select owner from duly_instance where boot = ?10), '')
    where not exists (select 1 from duly_incident
        where kind = ?1 and subject = ?2 and closed_at is null)"""

# Every schedule that has runs, by skipping along its index.
_SCHEDULES = """with recursive name(it) as (
        select min(schedule) from duly_run where schedule is not null
        union all
        select (select min(schedule) from duly_run where schedule > name.it) from name
        where name.it is not null)
    select it from name where it is not null"""
_NEWEST = """select hex(r.id) from duly_run r cross join duly_ended e on e.id = r.id
    where r.schedule = ? order by r.id desc limit 1 offset ?"""
_OLD = """with spared(name, first) as materialized (select key, value from json_each(?))
    select e.id from duly_ended e cross join duly_run r on r.id = e.id
    left join spared s on s.name = r.schedule
    where e.state in ('succeeded', 'failed', 'cancelled', 'skipped', 'expired')
    and e.ended_at < ? and (r.schedule is null or hex(r.id) < s.first) limit ?"""
_SPARE_ALL, _SPARE_NONE = "", "g"  # before, and behind, every hexadecimal text

_FORGET = (
    """delete from duly_key where (task, key) in (
        select r.task, coalesce(r.key, '') from duly_run r where r.id = ?1)
        and run = ?1 and not exists (
            select 1 from duly_ended where id = ?1 and state = 'succeeded')""",
    "delete from duly_attempt where run = ?",
    "delete from duly_step where run = ?",
    "delete from duly_progress where run = ?",
    "delete from duly_log where run = ?",
    "delete from duly_await where run = ?",
    "delete from duly_ended where id = ?",
    "delete from duly_run where id = ?",
)


def open_incident(tx: Tx, one: Incident, now: datetime | None) -> bool:
    """Open an incident; see `Store.open_incident`."""
    names = names_of(one)
    opened = tx.do(
        _OPEN,
        one.kind,
        one.subject,
        one.severity,
        one.summary,
        micros(tx.now(now)),
        json_text(one.evidence),
        one.owner,
        names.schedule,
        names.run and names.run.bytes,
        names.boot and names.boot.bytes,
    )
    if opened:
        tx.tell(Signal.INCIDENT)
    return bool(opened)


def close_incident(tx: Tx, kind: str, subject: str, note: str, *, now: datetime | None) -> bool:
    """Close the open incident of a kind and subject; see `Store.close_incident`."""
    closed = tx.do(
        "update duly_incident set closed_at = ?1, evidence ="
        " case when ?2 = '' then evidence else json_set(evidence, '$.closed', ?2) end"
        " where kind = ?3 and subject = ?4 and closed_at is null",
        micros(tx.now(now)),
        note,
        kind,
        subject,
    )
    if closed:
        tx.tell(Signal.INCIDENT)
    return bool(closed)


def incidents(tx: Tx, *, only_open: bool) -> list[Incident]:
    """Return incidents, newest first; see `Store.incidents`."""
    which = "where closed_at is null" if only_open else ""
    rows = tx.all(f"select {INCIDENT} from duly_incident i {which} order by number desc limit 1000")
    return [incident_of(row) for row in rows]


def incident_rows(tx: Tx) -> list[Incident]:
    """Return every incident that is kept."""
    return [incident_of(row) for row in tx.all(f"select {INCIDENT} from duly_incident i")]


def incident_of(row: Row) -> Incident:
    """Build an incident from the columns of `INCIDENT`."""
    number, kind, subject, severity, summary, opened_at, closed_at, evidence, owner, *acked = row
    return Incident(
        id=number,
        owner=owner,
        acknowledged_at=instant_or_none(acked[0]),
        acknowledged_by=acked[1],
        acknowledged_note=acked[2],
        kind=kind,
        subject=subject,
        severity=severity,
        summary=summary,
        opened_at=instant_or_none(opened_at),
        closed_at=instant_or_none(closed_at),
        evidence=msgspec.json.decode(evidence, type=dict[str, str]),
    )


def prune(tx: Tx, keep: Retention, limit: int, now: datetime | None) -> Filled:
    """Remove a bounded number of old rows; see `Store.prune`."""
    at = tx.now(now)
    before = micros(at - keep.history)
    return Filled(
        runs=_prune_runs(tx, keep.last, before, limit),
        keys=_prune_keys(tx, micros(at - keep.keys), limit),
        instances=_prune_instances(tx, before, limit),
        incidents=prune_incidents(tx, before, limit),
        notices=prune_notices(tx, before, limit),
        effects=_prune_effects(tx, micros(at), limit),
        breakers=prune_breakers(tx, before, limit),
        events=tx.do(
            "delete from duly_event where name in (select name from duly_event"
            " where at < ? order by name limit ?)",
            before,
            limit,
        ),
        lines=tx.do(
            "delete from duly_effect_line where number in (select number from duly_effect_line l"
            " where at < ? and not exists (select 1 from duly_effect e where e.task = l.task"
            " and e.name = l.name and e.key = l.key) order by number limit ?)",
            before,
            limit,
        ),
        limits=tx.do(
            "delete from duly_limit where key in (select key from duly_limit l where not exists"
            " (select 1 from duly_run r where r.limit_key = l.key) order by key limit ?)",
            limit,
        ),
    )


def _prune_effects(tx: Tx, at: int, limit: int) -> int:
    """Forget effects that are done, and whose period is over for long, with their audit."""
    old = tx.all(
        "select task, name, key from duly_effect where state = 'done' and keep_until < ?"
        " order by task, name, key limit ?",
        at,
        limit,
    )
    for table in ("duly_effect", "duly_effect_line"):
        tx.many(f"delete from {table} where task = ? and name = ? and key = ?", old)
    return len(old)


def _prune_runs(tx: Tx, last: int, before: int, limit: int) -> int:
    old = tx.all(_OLD, json_text(_spared(tx, last)), before, 4 * limit)
    gone = sorted(old)[:limit]
    for statement in _FORGET:
        tx.many(statement, gone)
    return len(gone)


def _spared(tx: Tx, last: int) -> dict[str, str]:
    """Return for each schedule the id (as hex) from which on its ended runs are kept."""
    names = [name for (name,) in tx.all(_SCHEDULES)]
    if last <= 0:
        return dict.fromkeys(names, _SPARE_NONE)
    return {name: tx.value(_NEWEST, name, last - 1) or _SPARE_ALL for name in names}


def _prune_keys(tx: Tx, before: int, limit: int) -> int:
    return tx.do(
        """delete from duly_key where (task, key) in (
            select task, key from duly_key k where made_at < ?
            and not exists (select 1 from duly_run where id = k.run)
            order by task, key limit ?)""",
        before,
        limit,
    )


def _prune_instances(tx: Tx, before: int, limit: int) -> int:
    gone = tx.all(
        """select boot from duly_instance i where seen_at < ?
        and not exists (select 1 from duly_held where boot = i.boot)
        order by started_at, boot limit ?""",
        before,
        limit,
    )
    tx.many("delete from duly_carries where boot = ?", gone)
    tx.many("delete from duly_instance where boot = ?", gone)
    return len(gone)
