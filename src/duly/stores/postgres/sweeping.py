"""Sweeping: the net under senders that died, and under wakes that were lost.

Intents that are over and not live any more are doubted, as `post` would. Then what runs await is
looked through for what has come about without anybody waking them: by a look without locks, piece
by piece from where the last sweep stopped; what it finds is locked, looked at again, and woken.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from uuid import UUID

from duly.core.states import RunState
from duly.core.tripping import WAITS
from duly.stores.postgres.breaking import rouse_missed
from duly.stores.postgres.enqueue import states_of
from duly.stores.postgres.ground import Ground
from duly.stores.postgres.ledger import doubt_old
from duly.stores.postgres.unit import Unit
from duly.stores.postgres.waiting import lock_awaited, look, wake

LOOKED_AT = 5_000
"""Runs whose awaited things one sweep looks through."""

PIECE = 128
"""Names that one transaction locks."""


class SweepVerbs(Ground):
    """`sweep`."""

    _swept: UUID = UUID(int=0)

    async def sweep(self, limit: int = 1000, *, now: datetime | None = None) -> int:
        intents, awaits, waits = (await self._fetch(ANYTHING, WAITS))[0]
        moved = await self._transact(lambda unit: doubt_old(unit, limit), now) if intents else 0
        names = await self._missed() if awaits else []
        for start in range(0, len(names), PIECE):
            piece = names[start : start + PIECE]
            moved += await self._transact(partial(_wake_missed, names=piece), now)
        return moved + (await self._transact(rouse_missed, now) if waits else 0)

    async def _missed(self) -> list[str]:
        """The names of what came about although somebody still awaits it."""
        rows = await self._fetch(MISSED, self._swept, LOOKED_AT)
        self._swept = rows[0][0] or UUID(int=0)
        return [row[1] for row in rows if row[1] is not None]


async def _wake_missed(unit: Unit, names: Sequence[str]) -> int:
    await lock_awaited(unit, names)
    await unit.lock_limits(unit.awaited.limits)
    happened = await look(unit, names)
    states = await states_of(unit, unit.awaited.by_run)
    woken = 0
    for run, awaits in sorted(unit.awaited.by_run.items()):
        parked = states.get(run, (None, None))[0] is RunState.PARKED
        for event, _ in sorted(awaits):
            if event in unit.awaited.named and happened.met(event, parked=parked):
                woken += await wake(unit, [event])
    return woken


ANYTHING = """
select exists (select from duly_effect where state = 'intended'), exists (select from duly_await),
  exists (select from duly_later where state = 'waiting' and reason >= $1
    and starts_with(reason, $1))
"""

MISSED = """
with runs as materialized (
  select distinct run from duly_await where run > $1::uuid order by run limit $2
), part as materialized (
  select a.run, a.event from runs cross join lateral (
    select a.run, a.event from duly_await a where a.run = runs.run) a
), met as (
  select distinct p.event from part p where case
    when p.event like 'event:%' then
      exists (select from duly_event where name = substr(p.event, 7))
    when p.event like 'run:%' then
      exists (select from duly_ended where id = substr(p.event, 5)::uuid)
      or not exists (select from duly_run where id = substr(p.event, 5)::uuid)
    else not exists (
      select from duly_effect e
      where e.task = split_part(substr(p.event, 8), ' ', 1)
        and e.name = split_part(p.event, ' ', 2)
        and e.key = substr(p.event, length(split_part(p.event, ' ', 1))
          + length(split_part(p.event, ' ', 2)) + 3)
        and e.state = (select case when exists (
          select from duly_later l where l.id = p.run and l.state = 'parked')
          then 'uncertain' else 'intended' end))
    end
)
select s.next, m.event from (
  select case when count(*) = $2 then max(run::text)::uuid end as next from runs) s
left join (select event from met order by event) m on true
"""
