"""Claiming: one statement that locks and renews the boot's own row, takes, and answers.

Theory of operation. `me` updates the boot's row and thereby waits for a takeover of this very
boot; a boot that was declared dead finds no row and takes nothing. Everything else depends on
`me`. Ready rows are locked per queue in order, skipping those that others hold, and deleted by
the place they were locked at, so no other plan is possible. A row that was enqueued carries what
the answer needs; for any other the identity is looked up. The same claim sent again finds its
own id on the boot's row (or its rows in `held`) and is answered with what it still holds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from duly.core.fleet import Claim
from duly.core.rules import MOST_AHEAD
from duly.core.runs import Claimed, Origin
from duly.stores.base import DEFAULT_LEASE
from duly.stores.postgres.ending import END_SIMPLY
from duly.stores.postgres.floors import Floors
from duly.stores.postgres.ground import Ground

WARM = 2
"""Connections that are opened at the first claim: one ends while the other claims."""

_ORIGINS = {one.value: one for one in Origin}


class ClaimVerbs(Ground):
    """`claim`."""

    _floors: dict[tuple[str, ...], Floors]
    _warming: asyncio.Future[None] | None

    async def _warm_up(self) -> None:
        nobody = UUID(int=0)
        await self._pool.warm(
            WARM,
            (TAKE, nobody, nobody, [], [], 0, DEFAULT_LEASE, None, [], [], [], False),
            (END_SIMPLY, None, nobody, [], [], [], [], [], []),
        )

    async def claim(
        self,
        boot: UUID,
        claim: UUID,
        *,
        queues: Sequence[str],
        tasks: Sequence[str],
        limit: int,
        lease: timedelta = DEFAULT_LEASE,
        now: datetime | None = None,
    ) -> Claim:
        await self._must_be_trusted()
        if self._warming is None:  # whoever claims will end too, beside its next claim
            self._warming = asyncio.ensure_future(self._warm_up())
        floors = self._floors.setdefault((*queues, "", *tasks), Floors())
        clock = asyncio.get_running_loop().time
        began = clock()
        ranges = floors.ranges(list(dict.fromkeys(queues)), limit, began)
        asked = (boot, claim, ranges[0], list(tasks), limit, lease, now, *ranges[1:])
        rows = await self._fetch(TAKE, *asked, False)
        if not rows:
            rows = await self._fetch(AGAIN, boot, claim, lease, now)
            if rows and rows[0][0] is None:
                rows = await self._fetch(TAKE, *asked, True)
        if not rows:
            return Claim(alive=False)
        rows = [row for row in rows if row[0] is not None]
        floors.note([(row[15], row[16], row[0]) for row in rows], limit, began, clock() - began)
        return Claim(alive=True, runs=tuple(map(_claimed, rows)))


def _claimed(row: Any) -> Claimed:
    (run, epoch, task, args, queue, failures, deaths, limit_key, schedule, due, start, origin,
     enqueued_at, parent, wait_s, _, _) = row  # fmt: skip
    return Claimed(
        run, epoch, task, args, queue, failures, deaths, limit_key, schedule, due, start,
        _ORIGINS[origin], enqueued_at, parent, wait_s,
    )  # fmt: skip


_MOST_AHEAD = f"interval '{MOST_AHEAD.total_seconds()} seconds'"

_SHOWN = f"""
r.id, h.epoch, r.task, r.args, r.queue, h.failures, h.deaths, r.limit_key, r.schedule, r.due,
r.window_start, r.origin, r.enqueued_at, r.parent, coalesce(
  (select extract(epoch from h.claimed_at - me.now)
    where h.claimed_at > me.now and h.claimed_at <= me.now + {_MOST_AHEAD}), 0)::float8,
r.queue, r.priority
"""

TAKE = f"""
with t as materialized (select coalesce($7::timestamptz, clock_timestamp()) as now),
me as (
  update duly_instance i
  set seen_at = t.now, lease_until = t.now + $6::interval, last_claim = $2, beats = beats + 1
  from t
  where i.boot = $1 and i.state in ('live', 'stopping')
    and ($11 or i.last_claim is distinct from $2)
    and not exists (select from duly_held where boot = $1 and claim = $2)
  returning t.now
), sought as (
  select * from unnest($3::text[], $8::smallint[], $9::smallint[], $10::uuid[])
    q (queue, lowest, highest, floor)
), picked as materialized (
  select p.tid from me cross join sought q cross join lateral (
    select y.ctid as tid, y.priority, y.id from duly_ready y
    where y.queue = q.queue and y.priority between q.lowest and q.highest and y.id > q.floor
      and y.task = any($4::text[])
      and (y.expires_at is null or y.epoch > 0 or y.expires_at > me.now)
    order by y.priority desc, y.id limit $5 for update skip locked) p
  order by p.priority desc, p.id limit $5
), below as (
  select p.tid from me cross join sought q cross join lateral (
    select y.ctid as tid, y.priority, y.id from duly_ready y
    where y.queue = q.queue and y.priority = q.lowest and y.id <= q.floor
      and y.task = any($4::text[])
      and (y.expires_at is null or y.epoch > 0 or y.expires_at > me.now)
    order by y.priority desc, y.id limit $5 for update skip locked) p
  where (select count(*) from picked) < $5
  order by p.priority desc, p.id limit greatest(0, $5 - (select count(*) from picked))
), gone as (
  delete from duly_ready
  where ctid = any(array(select tid from picked union all select tid from below))
  returning *
), begin as (
  select g.*, case when g.ready_at > me.now and g.ready_at <= me.now + {_MOST_AHEAD}
    then g.ready_at else me.now end as begins_at
  from gone g, me
), held as (
  insert into duly_held (id, boot, claim, epoch, failures, deaths, claimed_at, limit_key)
  select id, $1, $2, epoch + 1, failures, deaths, begins_at, limit_key from begin
)
select g.id, g.epoch + 1, g.task, coalesce(g.args, r.args), coalesce(r.queue, g.queue),
  g.failures, g.deaths, g.limit_key, coalesce(g.schedule, r.schedule), coalesce(g.due, r.due),
  coalesce(g.window_start, r.window_start), coalesce(g.origin, r.origin),
  coalesce(g.enqueued_at, r.enqueued_at), coalesce(g.parent, r.parent),
  extract(epoch from g.begins_at - me.now)::float8, g.queue, g.priority
from me left join begin g on true
left join lateral (select * from duly_run where id = g.id and g.args is null limit 1) r on true
order by g.priority desc, g.id
"""

AGAIN = f"""
with t as materialized (select coalesce($4::timestamptz, clock_timestamp()) as now),
me as (
  update duly_instance i set seen_at = t.now, lease_until = t.now + $3::interval from t
  where i.boot = $1 and i.state in ('live', 'stopping') returning t.now
)
select {_SHOWN} from me
left join lateral (
  select * from duly_held where boot = $1 and claim = $2 offset 0) h on true
left join lateral (select * from duly_run where id = h.id limit 1) r on true
order by r.priority desc, r.id
"""
