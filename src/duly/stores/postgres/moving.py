"""Moves by time and by people: expiring, shelving, cancelling, unparking, reviving.

A run may move between two looks; so whoever wants a particular run looks in its places, each
with a fresh snapshot, until one hits. Limits are locked before runs: candidates are read without
a lock first, and what left its place meanwhile is simply not taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from duly.core.fleet import PRESENT
from duly.core.runs import Answer
from duly.core.states import PLACE, RUN_MOVES, Place, RunState, RunVerb, advance
from duly.stores.base import Signal
from duly.stores.postgres.enqueue import revive_in, states_of
from duly.stores.postgres.ground import Ground
from duly.stores.postgres.places import (
    End,
    Mover,
    Wait,
    free,
    identities,
    put_later,
    put_ready,
)
from duly.stores.postgres.unit import Unit
from duly.stores.postgres.waiting import finish, lock_ends

NO_CODE = "no_code"
LOOKS = 50


class MoveVerbs(Ground):
    """`expire`, `shelve`, `cancel`, `unpark` and `revive`."""

    async def expire(self, limit: int = 1000, *, now: datetime | None = None) -> int:
        async def work(unit: Unit) -> int:
            runs = [row[0] for row in await unit.fetch(FIND_OVERDUE, unit.now, limit)]
            if not runs:
                return 0
            known = await identities(unit, runs)
            await lock_ends(unit, known.values())
            rows = await unit.fetch(TAKE_READY, runs)
            rows += await unit.fetch(TAKE_LATER_UNPARKED, runs)
            ends = [
                _over(row[:4], RunState(row[4]), RunVerb.EXPIRE, "not started in time")
                for row in rows
                if row[1] == 0
            ]
            await finish(unit, sorted(ends, key=lambda one: one.id), known)
            return len(ends)

        return await self._transact(work, now)

    async def shelve(self, *, now: datetime | None = None) -> dict[str, int]:
        if not (await self._fetch(SHELVES, now, PRESENT, NO_CODE))[0][0]:
            return {}  # as nearly always: one look, and no transaction

        async def work(unit: Unit) -> dict[str, int]:
            tasks = [row[0] for row in await unit.fetch(KNOWN_TASKS, unit.now, PRESENT)]
            found = await unit.fetch(FIND_CODELESS, tasks)
            waiting = await unit.fetch(FIND_NO_CODE, NO_CODE, tasks)
            if not found and not waiting:
                return {}
            known = await identities(unit, [row[0] for row in (*found, *waiting)])
            await unit.lock_limits(one.limit_key for one in known.values())
            await unshelve(unit, {run: known[run] for (run,) in waiting})
            if not found:
                return {}
            rows = await unit.fetch(TAKE_READY, sorted(row[0] for row in found))
            advance(RUN_MOVES, RunState.READY, RunVerb.WAIT)
            waits = [
                Wait(
                    run,
                    RunState.WAITING,
                    None,
                    epoch,
                    failures,
                    deaths,
                    known[run].expires_at,
                    NO_CODE,
                )
                for run, epoch, failures, deaths, _ in rows
            ]
            await put_later(unit, waits)
            await _free_limited(unit, [one.id for one in waits], known)
            moved: dict[str, int] = {}
            for one in waits:
                task = known[one.id].task
                moved[task] = moved.get(task, 0) + 1
            return moved

        return await self._transact(work, now)

    async def cancel(
        self, run: UUID, *, by: str, reason: str, now: datetime | None = None
    ) -> Answer:
        return await self._transact(lambda unit: cancel_in(unit, run, f"{by}: {reason}"), now)

    async def unpark(self, run: UUID, *, by: str, now: datetime | None = None) -> Answer:
        async def work(unit: Unit) -> Answer:
            known = await identities(unit, [run])
            await unit.lock_limits(one.limit_key for one in known.values())
            taken = await unit.fetch(TAKE_PARKED, run)
            if not taken:
                return await _standing_answer(unit, run)
            _, epoch, failures = taken[0]
            back = msgspec.structs.replace(known[run], epoch=epoch, failures=failures)
            await put_ready(unit, [back])
            return Answer.DONE

        return await self._transact(work, now)

    async def revive(self, run: UUID, *, by: str, now: datetime | None = None) -> Answer:
        async def work(unit: Unit) -> Answer:
            known = await identities(unit, [run])
            await unit.lock_limits(one.limit_key for one in known.values())
            if known and await revive_in(unit, list(known.values())):
                return Answer.DONE
            return await _standing_answer(unit, run)

        return await self._transact(work, now)


async def unshelve(unit: Unit, movers: Mapping[UUID, Mover]) -> None:
    """Make these runs ready, which waited for code, by id; their limits are locked."""
    if not movers:
        return
    rows = await unit.fetch(TAKE_NO_CODE, NO_CODE, sorted(movers))
    advance(RUN_MOVES, RunState.WAITING, RunVerb.PROMOTE)
    back = [
        msgspec.structs.replace(movers[run], epoch=epoch, failures=failures, deaths=deaths)
        for run, epoch, failures, deaths in rows
    ]
    await put_ready(unit, sorted(back, key=lambda one: one.id))


async def _standing_answer(unit: Unit, run: UUID) -> Answer:
    """The answer about a run that is not where the verb wanted it."""
    state, _ = (await states_of(unit, [run])).get(run, (None, None))
    if state is None:
        return Answer.UNKNOWN
    return Answer.IMPOSSIBLE if PLACE[state] is Place.ENDED else Answer.ALREADY


def _over(row: tuple[UUID, int, int, int], state: RunState, verb: RunVerb, why: str) -> End:
    """The end of a run that was in no hands: (id, epoch, failures, deaths)."""
    run, epoch, failures, deaths = row
    return End(run, advance(RUN_MOVES, state, verb), epoch, failures, deaths, reason=why)


async def _free_limited(unit: Unit, runs: Sequence[UUID], known: dict[UUID, Mover]) -> None:
    limited = [run for run in runs if known[run].limit_key is not None]
    if limited:
        await free(unit, limited)


async def cancel_in(unit: Unit, run: UUID, why: str) -> Answer:
    """Cancel a run in a unit; what its end touches was not locked too late, or it begins again."""
    known = await identities(unit, [run])
    if not known:
        return Answer.UNKNOWN
    await lock_ends(unit, known.values())
    for _ in range(LOOKS):
        answer = await _cancel_look(unit, run, why, known)
        if answer is not None:
            return answer
        if not await identities(unit, [run]):
            return Answer.UNKNOWN  # it had ended, and was pruned between two looks
    raise AssertionError("a run with an identity is found in one of its places")


async def _cancel_look(unit: Unit, run: UUID, why: str, known: dict[UUID, Mover]) -> Answer | None:
    """Look in every place once, each with a snapshot of its own; None when all were missed."""
    rows = await unit.fetch(TAKE_READY, [run]) or await unit.fetch(TAKE_LATER, [run])
    if rows:
        end = _over(rows[0][:4], RunState(rows[0][4]), RunVerb.CANCEL, why)
        await finish(unit, [end], known)
        return Answer.DONE
    if await unit.fetch(ASK_TO_CANCEL, run, why):
        unit.tell(Signal.CANCEL, str(run))
        return Answer.REQUESTED
    state, _ = (await states_of(unit, [run])).get(run, (None, None))
    if state is RunState.RUNNING:
        asked = await unit.fetch(WAS_ASKED, run)
        return Answer.ALREADY if asked else None
    if state is RunState.CANCELLED:
        return Answer.ALREADY
    return Answer.IMPOSSIBLE if state is not None and PLACE[state] is Place.ENDED else None


FIND_OVERDUE = """
select id from (
  select id from duly_ready where expires_at <= $1::timestamptz and epoch = 0
  union all
  select id from duly_later
  where expires_at <= $1::timestamptz and epoch = 0 and state <> 'parked') o
order by id limit $2
"""

SHELVES = """
with t as materialized (select coalesce($1::timestamptz, clock_timestamp()) as now),
known as materialized (
  select array(
    select distinct k.task from t, duly_instance i cross join unnest(i.tasks) k (task)
    where i.state = 'live' and i.seen_at > t.now - $2::interval) as tasks
)
select exists (select from known k, duly_ready y where y.task <> all(k.tasks))
  or exists (
    select from known k, duly_later l join duly_run r on r.id = l.id
    where l.state = 'waiting' and l.reason = $3 and r.task = any(k.tasks))
"""

KNOWN_TASKS = """
select distinct k.task from duly_instance i cross join unnest(i.tasks) k (task)
where i.state = 'live' and i.seen_at > $1::timestamptz - $2::interval
"""

FIND_CODELESS = "select id from duly_ready where task <> all($1::text[])"

FIND_NO_CODE = """
select l.id from duly_later l join duly_run r on r.id = l.id
where l.state = 'waiting' and l.reason = $1 and r.task = any($2::text[])
"""

TAKE_NO_CODE = """
delete from duly_later where id = any($2::uuid[]) and state = 'waiting' and reason = $1
returning id, epoch, failures, deaths
"""

TAKE_READY = """
with locked as materialized (
  select y.tid from unnest($1::uuid[]) u (id)
  cross join lateral (select id, queue, priority from duly_run where id = u.id limit 1) r
  cross join lateral (
    select y.ctid as tid from duly_ready y where y.queue = any(array[r.queue, '~suspect'])
      and y.priority = r.priority and y.id = r.id for update) y
)
delete from duly_ready where ctid = any(array(select tid from locked))
returning id, epoch, failures, deaths, 'ready'
"""

TAKE_LATER = """
delete from duly_later where id = any($1::uuid[]) returning id, epoch, failures, deaths, state
"""

TAKE_LATER_UNPARKED = """
delete from duly_later where id = any($1::uuid[]) and state <> 'parked' and epoch = 0
returning id, epoch, failures, deaths, state
"""

TAKE_PARKED = """
delete from duly_later where id = $1 and state = 'parked' returning id, epoch, failures
"""

ASK_TO_CANCEL = """
update duly_held set cancel = $2 where id = $1 and cancel is null returning id
"""

WAS_ASKED = "select id from duly_held where id = $1 and cancel is not null"
