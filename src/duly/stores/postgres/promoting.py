"""Promoting: making runs ready whose time has come, and admitting those that wait for a limit.

Theory of operation. A run without a limit, the usual one, needs no lock but that of its own row,
so all that are due move in one statement; what they carry into `ready` is read on the way. The
same statement says whether anything is left that concerns a limit: only then a transaction
follows that locks limits first, as everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from duly.core.rules import DEATHS_TO_SUSPECT, MOST_AHEAD
from duly.core.runs import SUSPECT_QUEUE
from duly.core.states import RUN_MOVES, RunState, RunVerb, advance
from duly.stores.base import AT_ONCE, Signal
from duly.stores.postgres.enqueue import CARRIED
from duly.stores.postgres.ground import Ground
from duly.stores.postgres.places import Mover, admit_waiting, put_ready
from duly.stores.postgres.unit import Unit

_STATES = [one.value for one, moves in RUN_MOVES.items() if RunVerb.PROMOTE in moves]


class PromoteVerbs(Ground):
    """`promote`."""

    async def promote(
        self, limit: int = 1000, *, ahead: timedelta = AT_ONCE, now: datetime | None = None
    ) -> int:
        asked = (now, limit, _STATES, min(ahead, MOST_AHEAD))
        promoted, limits = (await self._fetch(PROMOTE_PLAIN, *asked))[0]
        if promoted:
            self._tell(Signal.READY)
        if not limits:
            return int(promoted)

        async def work(unit: Unit) -> int:
            found = await unit.fetch(FIND_DUE, unit.now, limit - promoted)
            keys = [row[0] for row in await unit.fetch(WAITED_FOR)]
            await unit.lock_limits([*(row[1] for row in found), *keys])
            moved = await _promote(unit, [row[0] for row in found]) if found else 0
            return moved + await admit_waiting(unit, [k for k in keys if k in unit.rooms])

        return int(promoted) + await self._transact(work, now)


async def _promote(unit: Unit, runs: Sequence[UUID]) -> int:
    rows = await unit.fetch(TAKE_DUE, unit.now, runs)
    movers: list[Mover] = []
    for state, *fields in rows:
        advance(RUN_MOVES, RunState(state), RunVerb.PROMOTE)
        movers.append(Mover(*fields))
    order = {run: place for place, run in enumerate(runs)}
    movers.sort(key=lambda one: order[one.id])
    await put_ready(unit, movers)
    return len(movers)


_WAITS = "state = 'waiting' and reason >= 'limit:' and reason < 'limit;'"

PROMOTE_PLAIN = f"""
with t as materialized (select coalesce($1::timestamptz, clock_timestamp()) as now),
first as materialized (
  select l.tid, l.wake_at <= t.now as due,
    (select limit_key from duly_run where id = l.id limit 1) is not null as limited
  from t cross join lateral (
    select ctid as tid, id, wake_at from duly_later
    where wake_at <= t.now + $4::interval and state = any($3::text[])
    order by wake_at, id limit $2) l
), locked as materialized (
  select l.tid from first f cross join lateral (
    select ctid as tid from duly_later where ctid = f.tid for update skip locked) l
  where not f.limited
), gone as (
  delete from duly_later where ctid = any(array(select tid from locked))
  returning id, wake_at, epoch, failures, deaths
), made as (
  insert into duly_ready (queue, priority, id, task, epoch, failures, deaths, expires_at, ready_at,
    args, origin, enqueued_at, schedule, due, window_start, parent)
  select case when g.deaths = {DEATHS_TO_SUSPECT} then '{SUSPECT_QUEUE}' else r.queue end,
    r.priority, r.id, r.task, g.epoch, g.failures, g.deaths, r.expires_at,
    greatest(t.now, g.wake_at),
    case when length(r.args) <= {CARRIED} and g.deaths <> {DEATHS_TO_SUSPECT} then r.args end,
    r.origin, r.enqueued_at, r.schedule, r.due, r.window_start, r.parent
  from t, gone g cross join lateral (select * from duly_run where id = g.id limit 1) r
  returning 1
)
select (select count(*) from made),
  exists (select from first where limited and due) or exists (select from duly_later where {_WAITS})
"""

FIND_DUE = """
select l.id, r.limit_key from (
  select id, wake_at from duly_later where wake_at <= $1::timestamptz
  order by wake_at, id limit $2) l
cross join lateral (select limit_key from duly_run where id = l.id limit 1) r
order by l.wake_at, l.id
"""

WAITED_FOR = f"""
select distinct substr(reason, 7) from duly_later where {_WAITS}
"""

TAKE_DUE = """
with locked as materialized (
  select ctid as tid from duly_later where id = any($2::uuid[]) and wake_at <= $1::timestamptz
  order by id for update skip locked
), gone as (
  delete from duly_later where ctid = any(array(select tid from locked))
  returning id, state, epoch, failures, deaths
)
select g.state, r.*, g.epoch, g.failures, g.deaths
from gone g cross join lateral (
  select id, queue, priority, task, expires_at, limit_key from duly_run where id = g.id limit 1) r
"""
