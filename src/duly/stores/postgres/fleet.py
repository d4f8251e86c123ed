"""The fleet: registering, beating, renewing, leaving, and what is known of instances.

A boot's own row is locked by whoever decides about it: a claim, a renewal, a takeover. Renewing
reads and writes one row and compares notes; only when notes differ does it take a transaction
that hands back what the boot's memory does not know. The same code serves the thread that
renews, on a line of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from duly.core.fleet import Horizon, Instance, InstanceState, Renewal
from duly.core.runs import SUSPECT_QUEUE, Answer
from duly.core.states import RUN_MOVES, RunState, RunVerb, advance
from duly.core.steps import of_run
from duly.stores.base import DEFAULT_LEASE, Signal
from duly.stores.postgres.afterwards import Held, returning
from duly.stores.postgres.ending import let_go
from duly.stores.postgres.ground import Ground
from duly.stores.postgres.moving import FIND_NO_CODE, NO_CODE, unshelve
from duly.stores.postgres.places import (
    End,
    Past,
    identities,
    note_attempts,
    put_ready,
)
from duly.stores.postgres.unit import LimitMoved, Unit
from duly.stores.postgres.waiting import finish, lock_awaited, lock_ends

UNANSWERED = "its claim was never answered"


class FleetVerbs(Ground):
    """`register`, `beat`, `renew`, `leave`, `lapsed` and `instances`."""

    _beats: tuple[UUID, int] | None = None

    async def register(
        self, instance: Instance, carries: Mapping[str, str], *, now: datetime | None = None
    ) -> Answer:
        async def work(unit: Unit) -> Answer:
            waiting = await unit.fetch(FIND_NO_CODE, NO_CODE, list(instance.tasks))
            movers = await identities(unit, [row[0] for row in waiting]) if waiting else {}
            await unit.lock_limits(one.limit_key for one in movers.values())
            answer = await _register(unit, instance)
            if answer is Answer.STALE:
                return answer
            names = sorted(carries)
            await unit.fetch(
                REPLACE_CARRIES, instance.boot, names, [carries[name] for name in names]
            )
            await unshelve(unit, movers)
            if answer is Answer.DONE:
                unit.tell(Signal.FLEET)
            return answer

        return await self._transact(work, now)

    async def beat(
        self,
        boot: UUID,
        *,
        queues: Sequence[str],
        tasks: Sequence[str],
        now: datetime | None = None,
    ) -> Horizon:
        rows = await self._fetch(BEAT, boot, list(queues), list(tasks), SUSPECT_QUEUE, now)
        at, beats, fire, drain, wake, expiry, ready, suspects = rows[0]
        if beats is not None:
            self._beats = (boot, beats)
        return Horizon(
            now=at,
            next_fire=min((one for one in (fire, drain) if one is not None), default=None),
            next_wake=wake,
            ready=ready,
            suspects=suspects,
            alive=beats is not None,
            next_expiry=expiry,
        )

    async def renew(
        self,
        boot: UUID,
        held: Sequence[tuple[UUID, int]],
        pending: Sequence[UUID],
        *,
        lease: timedelta = DEFAULT_LEASE,
        now: datetime | None = None,
    ) -> Renewal:
        await self._must_be_trusted()
        rows = await self._fetch(RENEW, boot, lease, now)
        renewal, strays = compared(rows, held, pending)
        if strays:
            released = await self._transact(lambda unit: hand_back(unit, boot, strays), now)
            renewal = after_release(renewal, strays, released)
        return renewal

    async def leave(self, boot: UUID, *, now: datetime | None = None) -> int:
        async def work(unit: Unit) -> int:
            await lock_what_is_held(unit, boot)
            if not await unit.fetch(LOCK_LIVE, boot):
                return 0
            rows = await unit.fetch("select id, epoch from duly_held where boot = $1", boot)
            mine = [(run, epoch) for run, epoch in rows]
            count = await hand_back(unit, boot, mine, "its instance stopped", locked=True)
            await unit.fetch(LEAVE, boot, unit.now)
            unit.tell(Signal.FLEET)
            return count

        return await self._transact(work, now)

    async def lapsed(self, *, now: datetime | None = None) -> list[UUID]:
        return [row[0] for row in await self._fetch(LAPSED, now)]

    async def instances(self, *, here: bool = False) -> list[Instance]:
        return [instance_of(row) for row in await self._fetch(PRESENT if here else INSTANCES)]


async def _register(unit: Unit, one: Instance) -> Answer:
    made = await unit.fetch(
        REGISTER, one.boot, one.name, one.host, one.pid, one.pid_space, one.owner, one.version,
        list(one.tasks), one.state, unit.now, one.cluster,
    )  # fmt: skip
    if made:
        return Answer.DONE
    again = await unit.fetch(REGISTER_AGAIN, one.boot, list(one.tasks), unit.now)
    return Answer.ALREADY if again else Answer.STALE


def compared(
    rows: Sequence[Any], held: Sequence[tuple[UUID, int]], pending: Sequence[UUID]
) -> tuple[Renewal, list[tuple[UUID, int]]]:
    """Compare the rows of `RENEW` with the holder's memory: the answer, and the strays."""
    if not rows:
        return Renewal(alive=False), []
    mine = {(row[0], row[1]): row for row in rows if row[0] is not None}
    known = set(held)
    strays = sorted(
        fence for fence, row in mine.items() if fence not in known and row[2] not in pending
    )
    left = sorted(row[0] for fence, row in mine.items() if row[3] is not None)
    why = {row[0]: row[3] for row in mine.values()}
    lost = tuple(sorted(run for run, _ in known - mine.keys()))
    return Renewal(True, lost, 0, tuple((run, why[run]) for run in left)), strays


def after_release(renewal: Renewal, strays: Sequence[tuple[UUID, int]], released: int) -> Renewal:
    """The answer of a renewal once its strays were handed back."""
    gone = {run for run, _ in strays}
    cancels = tuple(pair for pair in renewal.cancels if pair[0] not in gone)
    return msgspec.structs.replace(renewal, released=released, cancels=cancels)


async def lock_what_is_held(unit: Unit, boot: UUID) -> None:
    """Lock what the loss of a boot's runs touches, before its own row.

    Those are limits, and whoever awaits what will end as cancelled; what comes later makes the
    unit begin again.
    """
    rows = await unit.fetch(HELD_BY, boot)
    await lock_awaited(unit, [of_run(run) for run, _, ends in rows if ends])
    await unit.lock_limits({row[1] for row in rows} | unit.awaited.limits)


async def hand_back(
    unit: Unit,
    boot: UUID,
    fences: Sequence[tuple[UUID, int]],
    why: str = UNANSWERED,
    *,
    locked: bool = False,
) -> int:
    """Release held runs: back to ready, or cancelled if that was asked; return how many.

    With `locked`, what that touches was locked before; what was not makes the unit begin again.
    """
    if not fences:
        return 0
    known = await identities(unit, [run for run, _ in fences])
    if not locked:
        await lock_ends(unit, known.values())
    elif not {one.limit_key for one in known.values()} <= {None, *unit.rooms}:
        raise LimitMoved
    held = await let_go(unit, boot, sorted(fences))
    ends = [cancelled(one) for one in held if one.cancel is not None]
    back = [one for one in held if one.cancel is None]
    advance(RUN_MOVES, RunState.RUNNING, RunVerb.RELEASE)
    await note_attempts(unit, [past_of(one, unit.now, RunVerb.RELEASE, why) for one in back])
    await put_ready(unit, [returning(known[one.id], one) for one in back])
    await finish(unit, ends, known)
    return len(held)


def cancelled(one: Held) -> End:
    """The end of a held run whose cancelling was requested."""
    state = advance(RUN_MOVES, RunState.RUNNING, RunVerb.CANCEL)
    return End(
        one.id, state, one.epoch, one.failures, one.deaths, one.boot, one.claimed_at,
        reason=one.cancel,
    )  # fmt: skip


def past_of(one: Held, now: datetime, verb: RunVerb, detail: str | None) -> Past:
    """The attempt of a held run, as it is kept when it was not the last."""
    return Past(one.id, one.epoch, one.boot, one.claimed_at, now, verb, detail)


def instance_of(row: Any) -> Instance:
    """Build an instance from a row of `INSTANCES`."""
    (boot, name, host, pid, pid_space, owner, version, tasks, state, started_at, seen_at,
     lease_until, reason, held, cluster, left_at) = row  # fmt: skip
    return Instance(
        boot=boot,
        name=name,
        host=host,
        pid=pid,
        pid_space=pid_space,
        owner=owner,
        version=version,
        cluster=cluster,
        tasks=tuple(tasks),
        state=InstanceState(state),
        started_at=started_at,
        seen_at=seen_at,
        lease_until=lease_until,
        left_at=left_at,
        held=held,
        reason=reason,
    )


REGISTER = """
insert into duly_instance (boot, name, host, pid, pid_space, owner, version, tasks, state,
  started_at, seen_at, cluster)
values ($1, $2, $3, $4, $5, $6, $7, $8::text[], $9, $10::timestamptz, $10::timestamptz, $11)
on conflict (boot) do nothing returning boot
"""

REGISTER_AGAIN = """
update duly_instance set tasks = $2::text[], seen_at = $3::timestamptz
where boot = $1 and state in ('live', 'stopping') returning boot
"""

REPLACE_CARRIES = """
with given as materialized (select * from unnest($2::text[], $3::text[]) d (schedule, digest)),
gone as (
  delete from duly_carries where boot = $1
  and schedule <> all(array(select schedule from given))
)
insert into duly_carries (boot, schedule, digest) select $1, schedule, digest from given
on conflict (boot, schedule) do update set digest = excluded.digest
"""

BEAT = """
with t as materialized (select coalesce($5::timestamptz, clock_timestamp()) as now),
me as (
  update duly_instance i set seen_at = t.now, beats = i.beats + 1 from t
  where i.boot = $1 and i.state in ('live', 'stopping') returning i.beats
)
select t.now,
  (select beats from me),
  (select min(next_fire) from duly_schedule where next_fire is not null),
  (select min(b.next_at) from duly_backlog b join duly_schedule s on s.name = b.schedule
    where s.state = 'active'),
  (select min(wake_at) from duly_later where wake_at is not null),
  (select min(o.lease_until) from duly_instance o
    where o.boot <> $1 and o.state in ('live', 'stopping') and o.lease_until is not null
      and exists (select from duly_held h where h.boot = o.boot)),
  exists (select from unnest($2::text[]) q (queue) cross join lateral (
    select from duly_ready y where y.queue = q.queue and y.task = any($3::text[]) limit 1) f),
  exists (select from duly_ready y where y.queue = $4 and y.task = any($3::text[]))
from t
"""

RENEW = """
with t as materialized (select coalesce($3::timestamptz, clock_timestamp()) as now),
me as (
  update duly_instance i
  set seen_at = t.now, lease_until = t.now + $2::interval, beats = i.beats + 1
  from t where i.boot = $1 and i.state in ('live', 'stopping') returning i.boot
)
select h.id, h.epoch, h.claim, h.cancel from me left join duly_held h on h.boot = $1
"""

HELD_BY = """
select h.id, h.limit_key, h.cancel is not null and r.parent is not null
from duly_held h cross join lateral (select parent from duly_run where id = h.id limit 1) r
where h.boot = $1
"""

LOCK_LIVE = """
select boot from duly_instance where boot = $1 and state in ('live', 'stopping') for update
"""

LEAVE = """
update duly_instance set state = 'gone', seen_at = $2::timestamptz, lease_until = null,
  left_at = $2::timestamptz, reason = 'stopped'
where boot = $1
"""

LAPSED = """
select boot from duly_instance i
where state in ('live', 'stopping')
  and lease_until <= coalesce($1::timestamptz, clock_timestamp())
  and exists (select from duly_held h where h.boot = i.boot)
order by lease_until, boot
"""

_INSTANCE = """
select boot, name, host, pid, pid_space, owner, version, tasks, state, started_at, seen_at,
  lease_until, reason, (select count(*)::int from duly_held h where h.boot = i.boot), cluster,
  left_at
from duly_instance i
"""

INSTANCES = _INSTANCE + " order by boot desc"

PRESENT = _INSTANCE + " where state in ('live', 'stopping') order by boot desc"

LOCK_INSTANCE = _INSTANCE + " where boot = $1 for update of i"
