"""Takeovers: declaring a boot dead, and taking the declaration's consequences back.

Declaring locks the boot's row, which every claim and renewal of that boot locks too: after the
commit none of them can succeed, and none that succeeded before is overlooked. What the boot held
moves on by `core.rules.after_death`. A boot that turns out to have been alive takes its count of
deaths back from the runs it was counted on.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from duly.core.fleet import InstanceState, Proof, TakenOver, proven_gone
from duly.core.rules import DEATHS_TO_PARK, after_death
from duly.core.runs import Answer
from duly.core.states import RUN_MOVES, RunState, RunVerb, advance
from duly.stores.base import Signal
from duly.stores.postgres.afterwards import Held, returning
from duly.stores.postgres.ending import DROP_HELD
from duly.stores.postgres.fleet import (
    LOCK_INSTANCE,
    cancelled,
    instance_of,
    lock_what_is_held,
    past_of,
)
from duly.stores.postgres.ground import Ground
from duly.stores.postgres.places import (
    Mover,
    Wait,
    free,
    identities,
    note_attempts,
    put_later,
    put_ready,
)
from duly.stores.postgres.unit import LimitMoved, Unit
from duly.stores.postgres.waiting import finish

POISON = "poison"
HERE = (InstanceState.LIVE, InstanceState.STOPPING)


class TakeoverVerbs(Ground):
    """`take_over`, `prove` and `come_back`."""

    async def take_over(
        self, boot: UUID, proof: Proof, *, cause: str = "", now: datetime | None = None
    ) -> TakenOver:
        await self._must_be_trusted()
        told = proof.told(cause)

        async def work(unit: Unit) -> TakenOver:
            await lock_what_is_held(unit, boot)
            if not await unit.fetch(BURY, boot, told, proof is Proof.LEASE, unit.now):
                return TakenOver(boot, False)
            rows = await unit.fetch(TAKE_HELD, boot)
            await unit.fetch(DROP_HELD, [row[0] for row in rows])
            unit.tell(Signal.FLEET)
            return await _move_on(unit, boot, told, [Held(*row) for row in rows])

        return await self._transact(work, now)

    async def prove(self, boot: UUID, *, now: datetime | None = None) -> Answer:
        async def work(unit: Unit) -> Answer:
            rows = await unit.fetch(LOCK_INSTANCE, boot)
            if not rows:
                return Answer.UNKNOWN
            known = instance_of(rows[0])
            if known.state in HERE:
                return Answer.IMPOSSIBLE
            if proven_gone(known):
                return Answer.ALREADY
            told = Proof.PROCESS.told(f"after: {known.reason}" if known.reason else "")
            await unit.fetch(PROVE, boot, told)
            return Answer.DONE

        return await self._transact(work, now)

    async def come_back(self, boot: UUID, *, now: datetime | None = None) -> int:
        async def work(unit: Unit) -> int:
            runs = [row[0] for row in await unit.fetch(COUNTED, boot)]
            if not runs:
                return 0
            known = await identities(unit, runs)
            await unit.lock_limits(one.limit_key for one in known.values())
            cleared = await unit.fetch(CLEAR, boot)
            deaths: dict[UUID, int] = {}
            for (run,) in cleared:
                deaths[run] = deaths.get(run, 0) + 1
            for run in sorted(deaths):
                await _forgive(unit, run, deaths[run], known)
            return len(cleared)

        return await self._transact(work, now)


async def _move_on(unit: Unit, boot: UUID, told: str, held: Sequence[Held]) -> TakenOver:
    """Move what a dead boot held to where it belongs now.

    All at once, unless somebody is woken by that: then in turns, as `waiting.finish` does.
    """
    if not held:
        return TakenOver(boot, True)
    held = sorted(held, key=lambda one: one.id)
    known = await identities(unit, [one.id for one in held])
    ends: tuple[list[UUID], list[UUID], list[UUID]] = ([], [], [])
    for turn in [[one] for one in held] if unit.awaited.by_run else [held]:
        for gathered, moved in zip(ends, await _move(unit, told, turn, known), strict=True):
            gathered += [one.id for one in moved]
    return TakenOver(boot, True, *map(tuple, ends))


async def _move(
    unit: Unit, told: str, held: Sequence[Held], known: dict[UUID, Mover]
) -> tuple[list[Held], list[Held], list[Held]]:
    """Move runs on; return those that are ready, parked and cancelled."""
    asked = [one for one in held if one.cancel is not None]
    others = [one for one in held if one.cancel is None]
    parked = [one for one in others if after_death(one.deaths + 1).park]
    ready = [one for one in others if not after_death(one.deaths + 1).park]
    past = [past_of(one, unit.now, RunVerb.TAKE_OVER, told) for one in others]
    advance(RUN_MOVES, RunState.RUNNING, RunVerb.TAKE_OVER)
    await note_attempts(unit, past)
    await put_later(unit, [_poison(one, known[one.id]) for one in parked])
    await put_ready(unit, [returning(known[one.id], one, deaths=one.deaths + 1) for one in ready])
    await _free_limited(unit, parked, known)
    await finish(unit, [cancelled(one) for one in asked], known)
    return ready, parked, asked


async def _free_limited(unit: Unit, held: Sequence[Held], known: dict[UUID, Mover]) -> None:
    limited = [one.id for one in held if known[one.id].limit_key is not None]
    if limited:
        await free(unit, limited)


def _poison(one: Held, known: Mover) -> Wait:
    state = advance(RUN_MOVES, RunState.RUNNING, RunVerb.PARK)
    return Wait(
        one.id, state, None, one.epoch, one.failures, one.deaths + 1, known.expires_at, POISON
    )


async def _forgive(unit: Unit, run: UUID, count: int, known: dict[UUID, Mover]) -> None:
    """Take deaths back, and let a run go on that is no longer poison by that."""
    for place in (FORGIVE_READY, FORGIVE_LATER, FORGIVE_HELD):
        rows = await unit.fetch(place, run, count)
        if not rows:
            continue
        deaths, state, reason = rows[0]
        if (state, reason) != (RunState.PARKED, POISON) or deaths >= DEATHS_TO_PARK:
            return
        advance(RUN_MOVES, RunState.PARKED, RunVerb.UNPARK)
        taken = await unit.fetch(TAKE_POISON, run)
        if run not in known:
            raise LimitMoved
        back = [
            msgspec.structs.replace(known[run], epoch=epoch, failures=failures, deaths=deaths)
            for epoch, failures in taken
        ]
        await put_ready(unit, back)
        return


BURY = """
update duly_instance set state = 'dead', lease_until = null, reason = $2, left_at = $4::timestamptz
where boot = $1 and state in ('live', 'stopping')
  and not ($3 and lease_until is not null and lease_until > $4::timestamptz)
returning boot
"""

PROVE = "update duly_instance set reason = $2 where boot = $1"

TAKE_HELD = """
select id, boot, epoch, failures, deaths, claimed_at, cancel from duly_held
where boot = $1 order by id for update
"""

COUNTED = "select run from duly_attempt where boot = $1 and outcome = 'take_over'"

CLEAR = """
update duly_attempt set outcome = 'release', detail = 'taken over from a living holder'
where boot = $1 and outcome = 'take_over' returning run
"""

FORGIVE_READY = """
update duly_ready y set deaths = greatest(0, y.deaths - $2) from duly_run r
where r.id = $1 and y.queue = any(array[r.queue, '~suspect']) and y.priority = r.priority
  and y.id = r.id
returning y.deaths, 'ready', null
"""

FORGIVE_LATER = """
update duly_later set deaths = greatest(0, deaths - $2) where id = $1
returning deaths, state, reason
"""

FORGIVE_HELD = """
update duly_held set deaths = greatest(0, deaths - $2) where id = $1
returning deaths, 'running', null
"""

TAKE_POISON = "delete from duly_later where id = $1 returning epoch, failures"
