"""Writing runs: identity first, and the moving part only if that insert happened.

Plain runs (no key, no limit, no delay, no schedule) are one statement for the whole batch. The
others take a transaction: their keys are locked first, in order, under a lock timeout, so that
one user's open transaction cannot stop everybody; then limits; then the rows are written. The
same code writes into a transaction of the user's own.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from duly.core.rules import reuse_of
from duly.core.runs import Enqueued, NewRun, Reuse
from duly.core.states import RUN_MOVES, RunState, RunVerb, advance
from duly.stores.base import Signal
from duly.stores.postgres.ground import Ground
from duly.stores.postgres.places import (
    Mover,
    Past,
    Wait,
    identities,
    note_attempts,
    put_later,
    put_ready,
)
from duly.stores.postgres.together import Together
from duly.stores.postgres.unit import LimitMoved, Unit, sparse, uniform
from duly.stores.postgres.visitors import visit

Key = tuple[str, str]


class EnqueueVerbs(Ground):
    """`enqueue` and `enqueue_with`."""

    _together: Together

    async def enqueue(
        self, runs: Sequence[NewRun], *, now: datetime | None = None
    ) -> list[Enqueued]:
        if not runs:
            return []
        if all(map(_is_plain, runs)):
            if len(runs) == 1 and now is None:
                await self._together.put(runs[0])
            else:
                await self._put_plain(runs, now)
            self._tell(Signal.READY)
            return [Enqueued(one.id, Reuse.NEW) for one in runs]
        return await self._transact(lambda unit: enqueue_in(unit, runs), now)

    async def _put_plain(self, runs: Sequence[NewRun], now: datetime | None = None) -> None:
        if any(one.parent is not None for one in runs):
            await self._fetch(PUT_CHILDREN, now, *_plain_columns(runs))
            return
        if len(runs) > 1 or now is not None:
            await self._fetch(PUT_PLAIN, now, *_plain_columns(runs))
            return
        one = runs[0]
        await self._fetch(
            PUT_ONE, one.id, one.task, one.args, one.queue, one.priority, one.origin,
            one.expires_at, one.parent, one.due, one.window_start, one.limit,
        )  # fmt: skip

    async def enqueue_with(self, conn: Any, runs: Sequence[NewRun]) -> list[Enqueued]:
        line = await visit(conn, self._address.name)
        at = (await line.fetch("select clock_timestamp()"))[0][0]
        unit = Unit(line, at, schema=self._address.schema)
        try:
            answers = await enqueue_in(unit, runs)
        except LimitMoved:  # pragma: no cover - every limit of a new run is locked first
            raise AssertionError("an enqueue locks each limit that it meets") from None
        await self._bell.tell_within(line, unit.wakes)
        return answers


def _is_plain(run: NewRun) -> bool:
    return (
        run.key is None
        and run.run_at is None
        and run.limit_key is None
        and run.schedule is None
        and run.asked_by is None
        and not run.tenant
    )


def _plain_columns(runs: Sequence[NewRun]) -> list[list[Any]]:
    return [
        [one.id for one in runs],
        uniform([one.task for one in runs]),
        uniform([one.args for one in runs]),
        uniform([one.queue for one in runs]),
        uniform([one.priority for one in runs]),
        uniform([one.origin for one in runs]),
        sparse([one.expires_at for one in runs]),
        sparse([one.parent for one in runs]),
        sparse([one.due for one in runs]),
        sparse([one.window_start for one in runs]),
        uniform([one.limit for one in runs]),
    ]


class _Standing(msgspec.Struct):
    """The run that stands for a key, as this unit sees it."""

    run: UUID
    state: RunState
    reason: str | None = None


class Keys(msgspec.Struct):
    """The locked keys of runs that are to be written, and who stands for them."""

    names: list[Key]
    taken: dict[Key, _Standing]


async def lock_keys_of(unit: Unit, runs: Sequence[NewRun]) -> Keys:
    """Lock the keys that these runs bring along: the first lock of those that write them."""
    names = sorted({(one.task, one.key) for one in runs if one.key is not None})
    return Keys(names, await _lock_keys(unit, names, runs) if names else {})


async def enqueue_in(
    unit: Unit, runs: Sequence[NewRun], keys: Keys | None = None
) -> list[Enqueued]:
    """Write runs in an open unit, their `keys` locked or not; answers in the order given."""
    keys = keys or await lock_keys_of(unit, runs)
    known = {row[0] for row in await unit.fetch(KNOWN, [one.id for one in runs])}
    plan = _Plan(keys.taken, known)
    answers = [plan.place(one) for one in runs]
    revived = await identities(unit, plan.revive) if plan.revive else {}
    await lock_new_limits(unit, plan.new)
    await unit.lock_limits(one.limit_key for one in revived.values())
    await _revive(unit, plan, revived)
    if plan.new:
        await insert_runs(unit, plan.new)
    await _settle_keys(unit, keys.names, plan.keys, {one.id for one in runs})
    return answers


async def _settle_keys(
    unit: Unit, keys: Sequence[Key], owners: dict[Key, UUID], ours: set[UUID]
) -> None:
    """Let the new runs stand for their keys, and take back rows that were made for nobody."""
    if owners:
        tasks, names = [task for task, _ in owners], [key for _, key in owners]
        await unit.fetch(SET_KEYS, unit.now, tasks, names, list(owners.values()))
    idle = [key for key in keys if key not in owners]
    if idle:
        tasks, names = [task for task, _ in idle], [key for _, key in idle]
        await unit.fetch(DROP_KEYS, unit.now, tasks, names, list(ours))


class _Plan:
    """Decides, run by run in the order given, what an enqueue comes to."""

    def __init__(self, taken: dict[Key, _Standing], known: set[UUID]) -> None:
        self._taken = taken
        self._known = known
        self.new: list[NewRun] = []
        self.keys: dict[Key, UUID] = {}
        self.revive: list[UUID] = []

    def place(self, run: NewRun) -> Enqueued:
        """Decide one run."""
        if run.id in self._known:
            return Enqueued(run.id, Reuse.NEW)
        if run.key is not None:
            reused = self._reuse((run.task, run.key))
            if reused is not None:
                return reused
            self.keys[run.task, run.key] = run.id
            self._taken[run.task, run.key] = _Standing(run.id, RunState.READY)
        self._known.add(run.id)
        self.new.append(run)
        return Enqueued(run.id, Reuse.NEW)

    def _reuse(self, key: Key) -> Enqueued | None:
        standing = self._taken.get(key)
        if standing is None:
            return None
        reuse = reuse_of(standing.state)
        if reuse is Reuse.NEW:
            return None
        if reuse is Reuse.REVIVED:
            self.revive.append(standing.run)
            standing.state = RunState.READY
        why = standing.reason if reuse is Reuse.REFUSED else None
        return Enqueued(standing.run, reuse, why or "")


async def _lock_keys(
    unit: Unit, keys: Sequence[Key], runs: Sequence[NewRun]
) -> dict[Key, _Standing]:
    """Take the rows of these keys, making those that are missing; say who stands for them."""
    first = {(one.task, one.key): one.id for one in reversed(runs) if one.key is not None}
    tasks, names = [task for task, _ in keys], [key for _, key in keys]
    await unit.fetch("select set_config('lock_timeout', $1, true)", KEY_LOCK_TIMEOUT)
    made = await unit.fetch(MAKE_KEYS, unit.now, tasks, names, [first[key] for key in keys])
    fresh = {(row[0], row[1]) for row in made}
    rows = await unit.fetch(LOCK_KEYS, tasks, names)
    await unit.fetch("select set_config('lock_timeout', '0', true)")
    owners = {(task, key): run for task, key, run in rows if (task, key) not in fresh}
    states = await states_of(unit, list(owners.values())) if owners else {}
    return {
        key: _Standing(run, *states.get(run, (RunState.SUCCEEDED, None)))  # pruned: it succeeded
        for key, run in owners.items()
    }


async def states_of(unit: Unit, runs: Collection[UUID]) -> dict[UUID, tuple[RunState, str | None]]:
    """Where runs stand, all by one snapshot, in which each is in exactly one place."""
    rows = await unit.fetch(STATES, list(runs))
    return {run: (RunState(state), reason) for run, state, reason in rows}


async def lock_new_limits(unit: Unit, runs: Sequence[NewRun]) -> None:
    """Set the limits that new runs bring along, which locks them."""
    limits = {one.limit_key: one.limit for one in runs if one.limit_key is not None}
    if limits:
        keys = sorted(limits)
        await unit.fetch(SET_LIMITS, keys, [limits[key] for key in keys])
        await unit.lock_limits(keys)
        for key in keys:
            unit.rooms[key].most = limits[key]


async def _revive(unit: Unit, plan: _Plan, movers: dict[UUID, Mover]) -> None:
    """Run failed runs again; one that left `failed` meanwhile is live or revived already."""
    if plan.revive:
        await revive_in(unit, [movers[run] for run in plan.revive])


async def revive_in(unit: Unit, movers: Sequence[Mover]) -> int:
    """Move failed runs back to ready with a new budget; return how many were failed."""
    advance(RUN_MOVES, RunState.FAILED, RunVerb.REVIVE)
    rows = await unit.fetch(TAKE_FAILED, sorted(one.id for one in movers))
    gone = {row[0]: row for row in rows}
    past: list[Past] = []
    back: list[Mover] = []
    for one in movers:
        if one.id not in gone:
            continue
        run, epoch, boot, started_at, ended_at, error = gone[one.id]
        if boot is not None and started_at is not None:
            past.append(Past(run, epoch, boot, started_at, ended_at, RunVerb.FAIL, error))
        back.append(msgspec.structs.replace(one, epoch=epoch))
    await note_attempts(unit, past)
    await put_ready(unit, back)
    return len(back)


def _columns(runs: Sequence[NewRun]) -> list[list[Any]]:
    """One array per field of a run, each no longer than it must be."""
    arrays = []
    for name in NewRun.__struct_fields__:
        column = [getattr(one, name) for one in runs]
        arrays.append(uniform(column) if name in NEVER_NULL else sparse(column))
    return arrays


NEVER_NULL = frozenset({"id", "task", "args", "queue", "priority", "origin", "limit", "tenant"})


async def insert_runs(unit: Unit, runs: Sequence[NewRun]) -> set[UUID]:
    """Write new runs whose limits are locked; return those that were inserted.

    A run whose id is known, or whose occurrence of a schedule has one already, is left alone.
    """
    arrays = _columns(runs)
    rows = await unit.fetch(PUT_IDENTITIES, unit.now, *arrays)
    inserted = {row[0] for row in rows}
    movers: list[Mover] = []
    waits: list[Wait] = []
    for one in runs:
        if one.id not in inserted:
            continue
        if one.run_at is not None and one.run_at > unit.now:
            waits.append(Wait(one.id, RunState.SCHEDULED, one.run_at, expires_at=one.expires_at))
        else:
            movers.append(
                Mover(one.id, one.queue, one.priority, one.task, one.expires_at, one.limit_key)
            )
    await put_ready(unit, movers, {one.id: one.limit for one in runs})
    await put_later(unit, waits)
    return inserted


async def insert_clock_runs(unit: Unit, runs: Sequence[NewRun]) -> set[UUID]:
    """As `insert_runs`, for runs that a schedule made: their limits are set and locked first."""
    if all(one.limit_key is None and one.run_at is None for one in runs):
        arrays = _columns(runs)
        inserted = {row[0] for row in await unit.fetch(PUT_UNLIMITED, unit.now, *arrays)}
        unit.tell(Signal.READY)
        return inserted
    await lock_new_limits(unit, runs)
    return await insert_runs(unit, runs)


KEY_LOCK_TIMEOUT = "5s"

CARRIED = 1000
"""Bytes of arguments that travel with a ready row; what is larger is read where it is kept."""

_READY = f"""
insert into duly_ready (queue, priority, id, task, expires_at, ready_at, args, origin, enqueued_at,
  schedule, due, window_start, parent)
select queue, priority, id, task, expires_at, enqueued_at,
  case when length(args) <= {CARRIED} then args end, origin, enqueued_at,
  schedule, due, window_start, parent
from made
"""


def _of_parent(parent: str, own: str) -> str:
    """A child's tenant is its parent's. For a run without a parent nothing is looked up."""
    found = f"(select p.tenant from duly_run p where p.id = {parent})"
    return f"case when {parent} is null then {own} else coalesce({found}, {own}) end"


_PLAIN = f"""
with t as materialized (select coalesce($1::timestamptz, clock_timestamp()) as now),
made as (
  insert into duly_run (id, task, args, queue, priority, origin, expires_at, parent, due,
    window_start, max_running, enqueued_at, tenant)
  select d.id, coalesce(d.task, ($3)[1]), coalesce(d.args, ($4)[1]), coalesce(d.queue, ($5)[1]),
    coalesce(d.priority, ($6)[1]), coalesce(d.origin, ($7)[1]), d.expires_at, d.parent, d.due,
    d.window_start, coalesce(d.most, ($12)[1]), t.now, {{tenant}}
  from t, unnest($2::uuid[], $3::text[], $4::bytea[], $5::text[], $6::smallint[], $7::text[],
    $8::timestamptz[], $9::uuid[], $10::timestamptz[], $11::timestamptz[], $12::int[])
    d (id, task, args, queue, priority, origin, expires_at, parent, due, window_start, most)
  on conflict do nothing
  returning *
)
{_READY}
"""

PUT_PLAIN = _PLAIN.format(tenant="''")
PUT_CHILDREN = _PLAIN.format(tenant=_of_parent("d.parent", "''"))

PUT_ONE = f"""
with made as (
  insert into duly_run (id, task, args, queue, priority, origin, expires_at, parent, due,
    window_start, max_running, enqueued_at)
  values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, clock_timestamp())
  on conflict do nothing
  returning *
)
{_READY}
"""

_NEW_RUNS = f"""
  insert into duly_run (enqueued_at, id, task, args, queue, priority, origin, key, run_at,
    expires_at, limit_key, max_running, schedule, due, window_start, parent, asked_by, tenant)
  select $1::timestamptz, d.id, coalesce(d.task, ($3)[1]), coalesce(d.args, ($4)[1]),
    coalesce(d.queue, ($5)[1]), coalesce(d.priority, ($6)[1]), coalesce(d.origin, ($7)[1]),
    d.key, d.run_at, d.expires_at, d.limit_key, coalesce(d.most, ($12)[1]), d.schedule, d.due,
    d.window_start, d.parent, d.asked_by,
    {_of_parent("d.parent", "coalesce(d.tenant, ($18)[1])")}
  from unnest($2::uuid[], $3::text[], $4::bytea[], $5::text[], $6::smallint[], $7::text[],
    $8::text[], $9::timestamptz[], $10::timestamptz[], $11::text[], $12::int[], $13::text[],
    $14::timestamptz[], $15::timestamptz[], $16::uuid[], $17::text[], $18::text[])
    d (id, task, args, queue, priority, origin, key, run_at, expires_at, limit_key, most, schedule,
      due, window_start, parent, asked_by, tenant)
  on conflict do nothing
"""

PUT_IDENTITIES = _NEW_RUNS + " returning id"

PUT_UNLIMITED = f"""
with made as ({_NEW_RUNS} returning *)
{_READY}
returning id
"""

KNOWN = "select id from duly_run where id = any($1::uuid[])"

MAKE_KEYS = """
insert into duly_key (task, key, run, made_at)
select d.task, d.key, d.run, $1::timestamptz
from unnest($2::text[], $3::text[], $4::uuid[]) with ordinality d (task, key, run, n) order by d.n
on conflict do nothing returning task, key
"""

LOCK_KEYS = """
select k.* from unnest($1::text[], $2::text[]) with ordinality d (task, key, n)
cross join lateral (
  select k.task, k.key, k.run from duly_key k where k.task = d.task and k.key = d.key for update) k
"""

SET_KEYS = """
insert into duly_key as k (task, key, run, made_at)
select d.*, $1::timestamptz from unnest($2::text[], $3::text[], $4::uuid[]) d
on conflict (task, key) do update set run = excluded.run, made_at = excluded.made_at
where k.run <> excluded.run
"""

DROP_KEYS = """
delete from duly_key k using unnest($2::text[], $3::text[]) d (task, key)
where k.task = d.task and k.key = d.key and k.run = any($4::uuid[]) and k.made_at = $1::timestamptz
  and not exists (select from duly_run r where r.id = k.run and r.key = k.key and r.task = k.task)
"""

SET_LIMITS = """
insert into duly_limit (key, max_running)
select * from unnest($1::text[], $2::int[]) d (key, most) order by key
on conflict (key) do update set max_running = excluded.max_running
"""

STATES = """
select r.id, 'ready', null from unnest($1::uuid[]) u (id)
  cross join lateral (select id, queue, priority from duly_run where id = u.id limit 1) r
  cross join lateral (select from duly_ready y where y.queue = any(array[r.queue, '~suspect'])
    and y.priority = r.priority and y.id = r.id limit 1) y
union all select id, 'running', null from duly_held where id = any($1::uuid[])
union all select id, state, reason from duly_later where id = any($1::uuid[])
union all select id, state, reason from duly_ended where id = any($1::uuid[])
"""

TAKE_FAILED = """
delete from duly_ended where id = any($1::uuid[]) and state = 'failed'
returning id, epoch, boot, started_at, ended_at, error
"""
