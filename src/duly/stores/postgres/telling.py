"""Telling people: what a channel has no mark for it was not told; notices are kept, then sent.

Channels and notices are kept whole as JSON, beside the few columns that are looked for. A look
takes the lease in a statement of its own and reads afterwards, so what the holder before wrote is
seen. What is written is one transaction that holds the lease's row: who lost it writes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from duly.core.notices import MOST_TOLD, Notice, Told
from duly.core.runs import Answer
from duly.core.telling import (
    DAY,
    LATE_KINDS,
    ChannelStanding,
    ChannelState,
    Drawn,
    Mark,
    News,
    Outlook,
    Overdue,
    Pending,
    Summed,
    Untold,
    digest_items,
    judged,
    lease_of,
)
from duly.stores.postgres.ground import Ground
from duly.stores.postgres.housekeeping import INCIDENT, incident_of
from duly.stores.postgres.outbox import RELAY
from duly.stores.postgres.unit import Unit, sparse
from duly.stores.telling import MOST_READ, TELLING_LEASE

_state = msgspec.json.Decoder(ChannelState).decode
_notice = msgspec.json.Decoder(Notice).decode


class TellingVerbs(Ground):
    """Every verb of `Telling`."""

    async def acknowledge(
        self, kind: str, subject: str, *, by: str, note: str = "", now: datetime | None = None
    ) -> Answer:
        rows = await self._fetch(ACKNOWLEDGE, kind, subject, by, note, now)
        if not rows:
            return Answer.UNKNOWN
        return Answer.DONE if rows[0][0] else Answer.ALREADY

    async def outlook(
        self,
        boot: UUID,
        channel: str,
        *,
        lease: timedelta = TELLING_LEASE,
        limit: int = MOST_READ,
        now: datetime | None = None,
    ) -> Outlook | None:
        await self._must_be_trusted()
        if not await self._fetch(RELAY, lease_of(channel), boot, lease, now):
            return None
        found = await self._fetch(LOOK, channel, now)
        if not found:
            await self._fetch(BEGIN, channel, _text(ChannelState(since=await self._at(now))))
            found = await self._fetch(LOOK, channel, now)
        at, body, notice, sealed, remind_at, critical_at = found[0]
        state = _state(body)
        rows = await self._fetch(COUNT, *_where(channel, state, critical=False, limit=limit))
        return Outlook(
            now=at,
            state=state,
            pending=None if notice is None else Pending(_notice(notice), sealed),
            untold=Untold(*rows[0]),
            remind_at=remind_at,
            remind_critical_at=critical_at,
        )

    async def _at(self, now: datetime | None) -> datetime:
        at: datetime = (await self._fetch(NOW, now))[0][0]
        return at

    async def untold(
        self, channel: str, *, critical: bool = False, limit: int = MOST_READ
    ) -> list[News]:
        found = await self._fetch("select body from duly_channel where name = $1", channel)
        if not found:
            return []
        how = _where(channel, _state(found[0][0]), critical=critical, limit=limit)
        rows = await self._fetch(UNTOLD, *how)
        return [News(incident_of(row[:-2]), row[-2], row[-1]) for row in map(tuple, rows)]

    async def overdue(
        self, channel: str, until: datetime, *, critical: bool = False, limit: int = MOST_READ
    ) -> list[Overdue]:
        rows = await self._fetch(OVERDUE, channel, until, critical, limit)
        return [Overdue(incident_of(row[:-1]), row[-1]) for row in map(tuple, rows)]

    async def summed(self, channel: str, since: datetime, until: datetime) -> Summed:
        counts = (await self._fetch(COUNTS, channel, since, until))[0]
        named = await self._fetch(NAMED, channel, since, until, MOST_TOLD)
        late = await self._fetch(LATE, channel, since, until, list(LATE_KINDS), MOST_TOLD)
        told = (Told.OPENED, Told.CLOSED, Told.STILL)
        return Summed(
            dict(zip(told, counts, strict=True)),
            digest_items(map(incident_of, named), since),
            tuple(map(incident_of, late)),
        )

    async def draw_up(self, boot: UUID, drawn: Drawn, *, now: datetime | None = None) -> Answer:
        async def work(unit: Unit) -> Answer:
            if not await unit.fetch(HOLDS, lease_of(drawn.channel), boot, unit.now):
                return Answer.STALE
            found = await unit.fetch(
                BEFORE, drawn.channel, drawn.notice.id if drawn.notice is not None else None
            )
            known = _state(found[0][0]) if found else None
            answer = judged(known, drawn, kept=bool(found and found[0][1]))
            if answer is not None:
                return answer
            await unit.fetch(PUT_STATE, drawn.channel, _text(drawn.state))
            if drawn.marks:
                await unit.fetch(MARK, drawn.channel, *_columns(drawn.marks))
            if drawn.notice is not None:
                one = drawn.notice
                await unit.fetch(PUT, one.id, one.channel, one.at, drawn.sealed, _text(one))
            return Answer.DONE

        return await self._transact(work, now)

    async def arrived(self, notice: UUID, *, now: datetime | None = None) -> Answer:
        rows = await self._fetch(ARRIVED, notice, now)
        if not rows:
            return Answer.UNKNOWN
        return Answer.DONE if rows[0][0] else Answer.ALREADY

    async def channels(self) -> list[ChannelStanding]:
        standings = []
        for name, body, waiting in await self._fetch(CHANNELS):
            state = _state(body)
            how = _where(name, state, critical=False, limit=MOST_READ)
            untold = (await self._fetch(COUNT, *how))[0][0]
            standings.append(
                ChannelStanding(
                    name=name,
                    failing_since=state.failing_since,
                    why=state.why,
                    waiting=waiting,
                    untold=untold,
                )
            )
        return standings


def _text(one: msgspec.Struct) -> str:
    return msgspec.json.encode(one).decode()


def _where(channel: str, state: ChannelState, *, critical: bool, limit: int) -> list[Any]:
    """What `UNTOLD` and `COUNT` are sent with. What is open at the first look is news."""
    looked = state.looked_from
    return [channel, state.since, looked or state.since, looked is None, critical, limit, DAY]


def _columns(marks: Sequence[Mark]) -> list[list[Any]]:
    return [
        [one.incident for one in marks],
        [one.heard for one in marks],
        [one.closed for one in marks],
        sparse([one.remind_at for one in marks]),
        [one.reminded for one in marks],
    ]


NOW = "select coalesce($1::timestamptz, clock_timestamp())"

ACKNOWLEDGE = """
with found as materialized (
  select id, acknowledged_at from duly_incident
  where kind = $1 and subject = $2 and closed_at is null for update
), done as (
  update duly_incident i set acknowledged_at = coalesce($5::timestamptz, clock_timestamp()),
    acknowledged_by = $3, acknowledged_note = $4
  from found f where i.id = f.id and f.acknowledged_at is null
)
select acknowledged_at is null from found
"""

BEGIN = "insert into duly_channel (name, body) values ($1, $2) on conflict (name) do nothing"

LOOK = """
select coalesce($2::timestamptz, clock_timestamp()), c.body, n.body, n.sealed, m.soonest, m.critical
from duly_channel c
left join lateral (
  select body, sealed from duly_notice where channel = c.name and sent_at is null
  order by at, id limit 1) n on true
cross join lateral (
  select min(t.remind_at) as soonest,
    min(t.remind_at) filter (where i.severity = 'critical') as critical
  from duly_told t join duly_incident i on i.id = t.incident
  where t.channel = c.name and t.remind_at is not null and i.closed_at is null
    and i.acknowledged_at is null) m
where c.name = $1
"""

# The marks are looked up one by one: a plan of early days would read them all each time.
_CHANGED = """
from duly_incident i
left join lateral (
  select incident, closed from duly_told where incident = i.id and channel = $1 limit 1) t on true
cross join lateral (select not exists (
  select from duly_incident e where e.kind = i.kind and e.subject = i.subject and e.id < i.id
    and e.opened_at > i.opened_at - $7::interval) as fresh) f
where (coalesce(i.closed_at, i.opened_at) >= $3::timestamptz or ($4 and i.closed_at is null))
  and case when t.incident is null then i.closed_at is null or i.opened_at >= $2::timestamptz
    else i.closed_at is not null and not t.closed end
  and (i.severity = 'critical' or not $5)
order by i.severity <> 'critical', i.id limit $6
"""

UNTOLD = f"select {INCIDENT}, t.incident is not null, f.fresh {_CHANGED}"

COUNT = f"""
select count(*)::int, count(*) filter (where fresh)::int,
  count(*) filter (where critical)::int, count(*) filter (where critical and fresh)::int
from (select i.severity = 'critical' as critical, f.fresh {_CHANGED}) untold
"""

OVERDUE = f"""
select {INCIDENT}, t.reminded from duly_told t join duly_incident i on i.id = t.incident
where t.channel = $1 and t.remind_at <= $2::timestamptz and i.closed_at is null
  and i.acknowledged_at is null and (i.severity = 'critical' or not $3)
order by i.id limit $4
"""

_HEARD = (
    "from duly_told t join duly_incident i on i.id = t.incident where t.channel = $1 and t.heard"
)
_OPENED = "i.opened_at >= $2::timestamptz and i.opened_at < $3::timestamptz"
_CLOSED = "i.closed_at >= $2::timestamptz and i.closed_at < $3::timestamptz"

COUNTS = f"""
select count(*) filter (where i.closed_at is null and i.opened_at >= $2::timestamptz)::int,
  count(*) filter (where {_CLOSED})::int,
  count(*) filter (where i.closed_at is null and i.opened_at < $2::timestamptz)::int {_HEARD}
"""

NAMED = f"""
select {INCIDENT} {_HEARD} and (i.closed_at is null or ({_CLOSED}))
order by i.closed_at is not null,
  case i.severity when 'info' then 3 when 'warning' then 2 when 'critical' then 1 else 0 end, i.id
limit $4
"""

LATE = f"""
select {INCIDENT} {_HEARD} and {_OPENED} and i.kind = any($4::text[]) order by i.id limit $5
"""

HOLDS = """
select from duly_relay where topic = $1 and boot = $2 and until > $3::timestamptz for update
"""

BEFORE = """
select c.body, exists (select from duly_notice n where n.id = $2)
from duly_channel c where c.name = $1
"""

PUT_STATE = """
insert into duly_channel (name, body) values ($1, $2)
on conflict (name) do update set body = excluded.body
"""

MARK = """
insert into duly_told (incident, channel, heard, closed, remind_at, reminded)
select i.id, $1, d.heard, d.closed, d.remind_at, d.reminded
from unnest($2::bigint[], $3::boolean[], $4::boolean[], $5::timestamptz[], $6::int[])
  d (incident, heard, closed, remind_at, reminded)
join duly_incident i on i.id = d.incident
order by i.id
on conflict (incident, channel) do update set heard = excluded.heard, closed = excluded.closed,
  remind_at = excluded.remind_at, reminded = excluded.reminded
"""

PUT = """
insert into duly_notice as n (id, channel, at, sealed, body) values ($1, $2, $3, $4, $5)
on conflict (id) do update set sealed = excluded.sealed, body = excluded.body where not n.sealed
"""

ARRIVED = """
with found as materialized (select id, sent_at from duly_notice where id = $1 for update),
done as (
  update duly_notice n set sent_at = coalesce($2::timestamptz, clock_timestamp())
  from found f where n.id = f.id and f.sent_at is null
)
select sent_at is null from found
"""

CHANNELS = """
select name, body, (select count(*)::int from duly_notice n
  where n.channel = c.name and n.sent_at is null)
from duly_channel c order by name
"""
