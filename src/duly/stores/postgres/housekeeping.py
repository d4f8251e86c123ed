"""Incidents, and pruning: what people should know, and what is let go.

Pruning removes a bounded number of rows in one transaction and may be repeated until it removes
nothing. It never touches a mark, a verdict or a live run.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from duly.core.fleet import Incident
from duly.core.owning import names_of
from duly.stores.base import Filled, Retention, Signal
from duly.stores.postgres.forgetting import prune_breakers, prune_notices
from duly.stores.postgres.ground import Ground
from duly.stores.postgres.unit import Unit

WINDOW = 20_000
"""Ended runs that one statement looks through."""

SKEW = timedelta(days=1)
"""By how much the clock of whoever asked for a run may have been ahead of the store's."""


class HousekeepingVerbs(Ground):
    """`open_incident`, `close_incident`, `incidents` and `prune`."""

    async def open_incident(self, incident: Incident, *, now: datetime | None = None) -> bool:
        opened = await self._fetch(OPEN, now, *incident_columns([incident]))
        if opened:
            self._tell(Signal.INCIDENT)
        return bool(opened)

    async def close_incident(
        self, kind: str, subject: str, *, note: str = "", now: datetime | None = None
    ) -> bool:
        closed = await self._fetch(CLOSE, now, [kind], [subject], note)
        if closed:
            self._tell(Signal.INCIDENT)
        return bool(closed)

    async def incidents(self, *, only_open: bool = True) -> list[Incident]:
        return [incident_of(row) for row in await self._fetch(INCIDENTS, only_open)]

    async def prune(
        self, keep: Retention, *, limit: int = 5000, now: datetime | None = None
    ) -> Filled:
        async def work(unit: Unit) -> Filled:
            before = unit.now - keep.history
            runs = await _old_runs(unit, before, keep.last, limit)
            if runs:
                await unit.fetch(FORGET, runs)
            keys = await unit.fetch(OLD_KEYS, unit.now - keep.keys, limit)
            boots = await unit.fetch(OLD_BOOTS, before, limit)
            closed = await unit.fetch(OLD_INCIDENTS, before, limit)
            effects = await unit.fetch(OLD_EFFECTS, unit.now, limit)
            events = await unit.fetch(OLD_EVENTS, before, limit)
            idle = [row[0] for row in await unit.fetch(IDLE_LIMITS, limit)]
            limits = await unit.fetch(DROP_LIMITS, idle) if idle else []
            lines = await unit.fetch(OLD_LINES, before, limit)
            return Filled(
                breakers=await prune_breakers(unit, before, limit),
                notices=await prune_notices(unit, before, limit),
                lines=len(lines),
                limits=len(limits),
                runs=len(runs),
                keys=len(keys),
                instances=len(boots),
                incidents=len(closed),
                effects=len(effects),
                events=len(events),
            )

        return await self._transact(work, now)


async def _old_runs(unit: Unit, before: datetime, last: int, limit: int) -> list[UUID]:
    """Lock runs that are to be forgotten, the oldest first.

    History is read in windows, in the order of ids, which is that of asking; a run that was asked
    for after `before` cannot have ended earlier, but for clocks that differ.
    """
    found: list[UUID] = []
    end = UUID(int=int((before + SKEW).timestamp() * 1000) << 80)
    count, after = WINDOW, UUID(int=0)
    while count == WINDOW and len(found) < limit:
        asked = (before, last, limit - len(found), after, end, WINDOW)
        count, after, ids = (await unit.fetch(OLD_RUNS, *asked))[0]
        found += ids
    return found


def incident_columns(incidents: Sequence[Incident]) -> list[list[Any]]:
    """One array per column that `OPEN` takes."""
    names = [names_of(one) for one in incidents]
    return [
        [one.kind for one in incidents],
        [one.subject for one in incidents],
        [one.severity for one in incidents],
        [one.summary for one in incidents],
        [msgspec.json.encode(one.evidence).decode() for one in incidents],
        [one.owner for one in incidents],
        [one.schedule for one in names],
        [one.run for one in names],
        [one.boot for one in names],
    ]


def incident_of(row: Any) -> Incident:
    """Build an incident from a row of `INCIDENT`."""
    number, kind, subject, severity, summary, opened_at, closed_at, evidence, owner, *acked = row
    return Incident(
        id=number,
        owner=owner,
        acknowledged_at=acked[0],
        acknowledged_by=acked[1],
        acknowledged_note=acked[2],
        kind=kind,
        subject=subject,
        severity=severity,
        summary=summary,
        opened_at=opened_at,
        closed_at=closed_at,
        evidence=msgspec.json.decode(evidence, type=dict[str, str]),
    )


INCIDENT = """i.id, i.kind, i.subject, i.severity, i.summary, i.opened_at, i.closed_at, i.evidence,
  i.owner, i.acknowledged_at, i.acknowledged_by, i.acknowledged_note"""

# What is open already is left out before a number is drawn for it. Each owner that nobody gave is
# looked up by one key of one table at a time, so that no other plan is possible.
OPEN = """
insert into duly_incident (kind, subject, severity, summary, evidence, owner, opened_at)
select d.kind, d.subject, d.severity, d.summary, d.evidence, coalesce(nullif(d.owner, ''),
    (select owner from duly_schedule where name = d.schedule),
    (select owner from duly_schedule
      where name = (select schedule from duly_run where id = d.run)),
    (select owner from duly_instance where boot = d.boot), ''),
  coalesce($1::timestamptz, clock_timestamp())
from unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
  $9::uuid[], $10::uuid[])
  with ordinality d (kind, subject, severity, summary, evidence, owner, schedule, run, boot, n)
where not exists (select from duly_incident i
  where i.kind = d.kind and i.subject = d.subject and i.closed_at is null)
order by d.n
on conflict (kind, subject) where closed_at is null do nothing returning id
"""

CLOSE = """
update duly_incident i set closed_at = coalesce($1::timestamptz, clock_timestamp()),
  evidence = case when $4 = '' then i.evidence
    else (i.evidence::jsonb || jsonb_build_object('closed', $4::text))::text end
from unnest($2::text[], $3::text[]) d (kind, subject)
where i.kind = d.kind and i.subject = d.subject and i.closed_at is null returning i.id
"""

INCIDENTS = f"""
select {INCIDENT} from duly_incident i where not $1 or closed_at is null order by id desc limit 1000
"""

OLD_RUNS = """
with part as materialized (
  select id, ended_at from duly_ended where id > $4 and id < $5 order by id limit $6
), old as materialized (
  select p.id, r.schedule from part p
  cross join lateral (select schedule from duly_run where id = p.id limit 1) r
  where p.ended_at < $1::timestamptz
), loose as (
  select id from old where schedule is null order by id limit $3
), kept as (
  select id from old o where schedule is not null and $2 <= (
    select count(*) from (
      select from duly_run n join duly_ended m on m.id = n.id
      where n.schedule = o.schedule and n.id > o.id limit $2) newer)
), chosen as (
  select id from loose union all select id from kept order by id limit $3
), locked as materialized (
  select e.id from duly_ended e where e.id = any(array(select id from chosen))
  order by e.id for update skip locked
)
select (select count(*) from part), (select id from part order by id desc limit 1),
  array(select id from locked order by id)
"""

FORGET = """
with runs as (
  delete from duly_run where id = any($1::uuid[]) returning id, task, key
), ended as (
  delete from duly_ended where id = any($1::uuid[]) returning id, state
), attempts as (
  delete from duly_attempt where run = any($1::uuid[])
), steps as (
  delete from duly_step where run = any($1::uuid[])
), progress as (
  delete from duly_progress where run = any($1::uuid[])
), awaits as (
  delete from duly_await where run = any($1::uuid[])
), logs as (
  delete from duly_log where run = any($1::uuid[])
)
delete from duly_key k using runs, ended
where ended.id = runs.id and ended.state <> 'succeeded' and k.task = runs.task
  and k.key = runs.key and k.run = runs.id
"""

OLD_KEYS = """
delete from duly_key k using (
  select o.task, o.key from duly_key o
  where o.made_at < $1::timestamptz and not exists (select from duly_run r where r.id = o.run)
  order by o.task, o.key limit $2 for update) old
where k.task = old.task and k.key = old.key returning 1
"""

OLD_BOOTS = """
with old as (
  select boot from duly_instance i where seen_at < $1::timestamptz
    and not exists (select from duly_held h where h.boot = i.boot)
  order by seen_at limit $2 for update
), carries as (
  delete from duly_carries c using old where c.boot = old.boot
), presence as (
  delete from duly_presence p using old where p.boot = old.boot
)
delete from duly_instance i using old where i.boot = old.boot returning 1
"""

OLD_INCIDENTS = """
with old as materialized (
  select id from duly_incident where closed_at < $1::timestamptz order by id limit $2
), told as (
  delete from duly_told where incident = any(array(select id from old))
)
delete from duly_incident where id = any(array(select id from old)) returning 1
"""

# Locked first, looked at again by a statement of its own: a run of it may have come meanwhile.
IDLE_LIMITS = """
select key from duly_limit l
where not exists (select from duly_run r where r.limit_key = l.key)
order by key limit $1 for update skip locked
"""

DROP_LIMITS = """
delete from duly_limit l where key = any($1::text[])
  and not exists (select from duly_run r where r.limit_key = l.key) returning 1
"""

OLD_LINES = """
delete from duly_effect_line where number = any(array(
  select number from duly_effect_line l where at < $1::timestamptz
    and not exists (select from duly_effect e
      where e.task = l.task and e.name = l.name and e.key = l.key)
  order by number limit $2))
returning 1
"""

OLD_EFFECTS = """
with old as materialized (
  select ctid as tid, task, name, key from duly_effect
  where state = 'done' and keep_until < $1::timestamptz
  order by task, name, key limit $2 for update skip locked
), lines as (
  delete from duly_effect_line l using old
  where l.task = old.task and l.name = old.name and l.key = old.key
)
delete from duly_effect where ctid = any(array(select tid from old)) returning 1
"""

OLD_EVENTS = """
delete from duly_event where name = any(array(
  select name from duly_event where at < $1::timestamptz order by name limit $2))
returning 1
"""
