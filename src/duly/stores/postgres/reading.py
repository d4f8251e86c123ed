"""Reading runs: one with its attempts, many by a filter, and how many stand where.

Every read is one statement, hence one snapshot, in which a run is in exactly one place.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from duly.core.runs import Attempt, Front, Origin, RunFilter, RunView
from duly.core.states import RunState, RunVerb
from duly.core.steps import Progress
from duly.stores.postgres.ground import Ground


class ReadVerbs(Ground):
    """`run`, `runs` and `counts`."""

    async def run(self, run: UUID) -> RunView | None:
        rows = await self._fetch(RUN, run)
        if not rows:
            return None
        past = tuple(_attempt(row) for row in await self._fetch(ATTEMPTS, run))
        return _view(rows[0], past)

    async def runs(self, where: RunFilter) -> list[RunView]:
        schedule = "r.schedule = $2" if where.schedule is not None else "$2::text is null"
        rows = await self._fetch(
            RUNS.replace("{schedule}", schedule).replace("{tenant}", _of_tenant(where.tenant)),
            where.task,
            where.schedule,
            where.before,
            where.limit,
            where.state,
            where.tenant,
            where.queue,
        )
        return [_view(row) for row in rows]

    async def counts(self) -> dict[str, int]:
        return {state: count for state, count in await self._fetch(COUNTS)}

    async def queues(self) -> dict[str, dict[str, int]]:
        counted: dict[str, dict[str, int]] = {}
        for queue, place, count in await self._fetch(QUEUES):
            counted.setdefault(queue, {"ready": 0, "running": 0, "later": 0})[place] = count
        return counted

    async def fronts(self) -> list[Front]:
        return [Front(*row) for row in await self._fetch(FRONTS)]


def _of_tenant(tenant: str | None) -> str:
    """Return the condition on a tenant; the index has only those rows that have one."""
    if tenant is None:
        return "$6::text is null"
    return "r.tenant = $6 and r.tenant <> ''" if tenant else "r.tenant = $6"


def _attempt(row: Any) -> Attempt:
    epoch, boot, started_at, ended_at, outcome, detail = row
    return Attempt(epoch, boot, started_at, ended_at, RunVerb(outcome), detail)


def _progress(row: Any) -> Progress | None:
    if row["told_at"] is None:
        return None
    return Progress(
        done=row["done"],
        total=row["total"],
        note=row["note"],
        published=row["published"],
        effects=row["effects"],
        at=row["told_at"],
    )


def _view(row: Any, attempts: tuple[Attempt, ...] = ()) -> RunView:
    return RunView(
        id=row["id"],
        task=row["task"],
        queue=row["queue"],
        priority=row["priority"],
        args=row["args"],
        origin=Origin(row["origin"]),
        key=row["key"],
        schedule=row["schedule"],
        due=row["due"],
        window_start=row["window_start"],
        enqueued_at=row["enqueued_at"],
        state=RunState(row["state"]),
        epoch=row["epoch"],
        failures=row["failures"],
        deaths=row["deaths"],
        reason=row["reason"],
        wake_at=row["wake_at"],
        boot=row["boot"],
        started_at=row["started_at"],
        ended_at=row["ended_at"],
        result=row["result"],
        error=row["error"],
        cancel_requested=row["cancel"],
        limit_key=row["limit_key"],
        asked_by=row["asked_by"],
        parent=row["parent"],
        tenant=row["tenant"],
        progress=_progress(row),
        attempts=attempts,
    )


_PLACES = """
cross join lateral (
  select 'ready' as state, y.epoch, y.failures, y.deaths, null::text as reason,
    null::timestamptz as wake_at, null::uuid as boot, null::timestamptz as started_at,
    null::timestamptz as ended_at, null::bytea as result, null::text as error, null::text as cancel
  from duly_ready y
  where y.queue = any(array[r.queue, '~suspect']) and y.priority = r.priority and y.id = r.id
  union all
  select 'running', h.epoch, h.failures, h.deaths, null, null, h.boot, h.claimed_at, null, null,
    null, h.cancel
  from duly_held h where h.id = r.id
  union all
  select l.state, l.epoch, l.failures, l.deaths, l.reason, l.wake_at, null, null, null, null, null,
    null
  from duly_later l where l.id = r.id
  union all
  select e.state, e.epoch, e.failures, e.deaths, e.reason, null, e.boot, e.started_at, e.ended_at,
    e.result, e.error, null
  from duly_ended e where e.id = r.id
) p
"""

_PROGRESS = """
left join lateral (
  select done, total, note, published, effects, at as told_at from duly_progress
  where run = r.id limit 1) g on true
"""

_SHOWN = "r.*, p.*, g.*"

RUN = f"select {_SHOWN} from duly_run r {_PLACES} {_PROGRESS} where r.id = $1"

RUNS = f"""
select {_SHOWN} from duly_run r {_PLACES} {_PROGRESS}
where ($1::text is null or r.task = $1) and {{schedule}} and {{tenant}}
  and ($3::uuid is null or r.id < $3) and ($5::text is null or p.state = $5)
  and ($7::text is null or r.queue = $7)
order by r.id desc limit $4
"""

ATTEMPTS = """
select epoch, boot, started_at, ended_at, outcome, detail from duly_attempt
where run = $1 order by epoch
"""

COUNTS = """
select state, sum(n)::bigint from (
  select 'ready' as state, count(*) as n from duly_ready
  union all select 'running', count(*) from duly_held
  union all select state, count(*) from duly_later group by state
  union all select state, count(*) from duly_ended group by state) c
where n > 0 group by state order by state
"""

QUEUES = """
select queue, 'ready', count(*)::int from duly_ready group by queue
union all select r.queue, 'running', count(*)::int from duly_held h
  join duly_run r on r.id = h.id group by r.queue
union all select r.queue, 'later', count(*)::int from duly_later l
  join duly_run r on r.id = l.id group by r.queue
"""

# From one priority of a queue to the next below it, else to the next queue: each step is one
# descent of the index that claims use, however much waits.
FRONTS = """
with recursive line as (
  (select queue, priority, id, task from duly_ready order by queue, priority desc, id limit 1)
  union all
  select n.* from line l cross join lateral (
    (select y.queue, y.priority, y.id, y.task from duly_ready y
      where y.queue = l.queue and y.priority < l.priority
      order by y.queue, y.priority desc, y.id limit 1)
    union all
    (select y.queue, y.priority, y.id, y.task from duly_ready y
      where y.queue > l.queue order by y.queue, y.priority desc, y.id limit 1)
    order by queue limit 1
  ) n
), held as materialized (
  select distinct r.queue from duly_held h join duly_run r on r.id = h.id
)
select f.queue, f.id, f.task, r.schedule, f.queue in (select queue from held)
from (select distinct on (queue) queue, id, task from line order by queue, id) f
join duly_run r on r.id = f.id order by f.queue
"""
