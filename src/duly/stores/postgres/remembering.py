"""What runs remember and await: notes, events, forks.

Notes without children, the bulk, are one statement for the whole batch. Children are written
before the fences are locked, because keys and limits come before runs in the lock order; when a
fence fell meanwhile, all of it is taken back and looked at anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from duly.core.runs import Answer, Origin
from duly.core.states import PLACE, Place, RunState
from duly.core.steps import (
    FORKED,
    Event,
    Memory,
    Note,
    Progress,
    Step,
    StepKind,
    fork_point,
    forked_from,
    of_event,
)
from duly.stores.postgres.enqueue import enqueue_in, insert_runs, lock_new_limits, states_of
from duly.stores.postgres.ground import Ground
from duly.stores.postgres.moving import cancel_in
from duly.stores.postgres.notes import KEEP, KEEP_STEP, Batch, Fence, arguments, keep_in
from duly.stores.postgres.places import Mover, identities
from duly.stores.postgres.rows import new_run_of
from duly.stores.postgres.unit import BeginAgain, Unit
from duly.stores.postgres.waiting import lock_awaited, lock_ends, wake


class RememberVerbs(Ground):
    """`keep`, `remembered`, `emit`, `happened` and `fork`."""

    async def keep(
        self, boot: UUID, notes: Sequence[Note], *, now: datetime | None = None
    ) -> list[Answer]:
        if not notes:
            return []
        if len(notes) == 1 and await self._keep_step(boot, notes[0], now):
            return [Answer.DONE]
        if any(one.runs for one in notes):
            kept = await self._transact(lambda unit: _keep_all(unit, boot, notes), now)
        else:
            batch = Batch.of(notes)
            kept = batch.kept(await self._fetch(KEEP, *arguments(now, boot, True, batch)))
            self._bell.ring(batch.wakes(kept))
        return [Answer.DONE if (one.run, one.epoch) in kept else Answer.STALE for one in notes]

    async def _keep_step(self, boot: UUID, note: Note, now: datetime | None) -> bool:
        """Keep a note that is one step of a run without deaths; False when it is anything else.

        One run alone waits for each of its steps, so the shortest statement counts here.
        """
        if len(note.steps) != 1 or note.messages or note.runs or note.progress is not None:
            return False
        one = note.steps[0]
        of = (now, boot, note.run, note.epoch)
        kept = (one.name, one.number, one.kind, one.value, one.turn)
        return bool(await self._fetch(KEEP_STEP, *of, *kept))

    async def remembered(self, run: UUID) -> Memory:
        rows = await self._fetch(STEPS, run)
        told = await self._fetch(PROGRESS, run)
        return Memory(tuple(map(step_of, rows)), progress_of(told[0]) if told else None)

    async def emit(self, event: Event, *, now: datetime | None = None) -> Answer:
        async def work(unit: Unit) -> Answer:
            name = of_event(event.name)
            await lock_awaited(unit, [name])
            if not await unit.fetch(EMIT, event.name, event.body, event.by, unit.now):
                return Answer.ALREADY
            await unit.lock_limits(unit.awaited.limits)
            await wake(unit, [name])
            return Answer.DONE

        return await self._transact(work, now)

    async def happened(self, names: Sequence[str]) -> list[Event]:
        found = {row[0]: event_of(row) for row in await self._fetch(HAPPENED, list(names))}
        return [found[name] for name in names if name in found]

    async def fork(
        self, run: UUID, *, at: str, new: UUID, by: str, now: datetime | None = None
    ) -> Answer:
        async def work(unit: Unit) -> Answer:
            known = await identities(unit, [run, new])
            if new in known:
                return Answer.ALREADY
            if run not in known:
                return Answer.UNKNOWN
            await lock_ends(unit, [known[run]])
            state = await _brought_to_an_end(unit, known[run], f"{by}: forked as {new}")
            kept = fork_point(tuple(map(step_of, await unit.fetch(STEPS, run))), at)
            if state is RunState.RUNNING:
                return Answer.IMPOSSIBLE
            await _fork(unit, run, new, by, kept)
            return Answer.DONE

        return await self._transact(work, now)


async def _keep_all(unit: Unit, boot: UUID, notes: Sequence[Note]) -> set[Fence]:
    """Keep notes of which some start children."""
    fences = sorted({(one.run, one.epoch) for one in notes})
    rows = await unit.fetch(HOLD, boot, [run for run, _ in fences], [epoch for _, epoch in fences])
    held = {(run, epoch) for run, epoch in rows}
    alive = [one for one in notes if (one.run, one.epoch) in held]
    if not alive:
        return set()
    await enqueue_in(unit, [run for one in alive for run in one.runs])
    if await keep_in(unit, boot, alive, progresses=True) != held:
        raise BeginAgain(boot)  # the children are taken back with all the rest
    return held


async def _brought_to_an_end(unit: Unit, known: Mover, why: str) -> RunState:
    """Cancel a run that has not ended, unless it is in hands; return where it stood."""
    state, _ = (await states_of(unit, [known.id])).get(known.id, (None, None))
    if state is None:
        raise BeginAgain(known.id)
    if PLACE[state] is Place.ENDED:
        if not await unit.fetch(LOCK_ENDED, known.id):
            raise BeginAgain(known.id)
    elif state is not RunState.RUNNING and await cancel_in(unit, known.id, why) is not Answer.DONE:
        raise BeginAgain(known.id)  # it was claimed meanwhile: nobody asks it to stop
    return state


async def _fork(unit: Unit, run: UUID, new: UUID, by: str, kept: Sequence[Step]) -> None:
    """Write the run that goes on with what was kept, and with the effects of `run`."""
    asked = msgspec.structs.replace(
        new_run_of((await unit.fetch(ASKED, run))[0]),
        id=new,
        origin=Origin.FORK,
        key=None,
        run_at=None,
        expires_at=None,
        asked_by=by,
    )
    steps = {one.name: one for one in kept}
    steps.setdefault(FORKED, forked_from(run))
    await lock_new_limits(unit, [asked])
    if not await insert_runs(unit, [asked]):
        raise BeginAgain(new)
    rows = list(steps.values())
    await unit.fetch(
        PUT_STEPS,
        unit.now,
        new,
        [one.name for one in rows],
        [one.number for one in rows],
        [one.kind for one in rows],
        [one.value for one in rows],
        [one.turn for one in rows],
    )


def step_of(row: tuple[str, int, str, bytes, int, datetime]) -> Step:
    """Build a step from a row of `STEPS`."""
    name, number, kind, value, turn, at = row
    return Step(name=name, number=number, kind=StepKind(kind), value=value, turn=turn, at=at)


def progress_of(row: tuple[int | None, int | None, str | None, int, int, datetime]) -> Progress:
    """Build progress from a row of `PROGRESS`."""
    done, total, note, published, effects, at = row
    return Progress(done=done, total=total, note=note, published=published, effects=effects, at=at)


def event_of(row: tuple[str, bytes, str, datetime]) -> Event:
    """Build an event from a row of `HAPPENED`."""
    name, body, by, at = row
    return Event(name=name, body=body, by=by, at=at)


HOLD = """
select d.run, d.epoch from unnest($2::uuid[], $3::int[]) d (run, epoch)
cross join lateral (
  select from duly_held h
  where h.id = d.run and h.boot is not distinct from $1 and h.epoch = d.epoch) h
"""

STEPS = """
select name, number, kind, value, turn, at from duly_step where run = $1 order by number, name
"""

PROGRESS = """
select done, total, note, published, effects, at from duly_progress where run = $1
"""

EMIT = """
insert into duly_event (name, body, by, at) values ($1, $2, $3, $4::timestamptz)
on conflict (name) do nothing returning name
"""

HAPPENED = "select name, body, by, at from duly_event where name = any($1::text[])"

LOCK_ENDED = "select id from duly_ended where id = $1 for share"

ASKED = "select * from duly_run where id = $1"

PUT_STEPS = """
insert into duly_step (run, name, number, kind, value, turn, at)
select $2::uuid, d.*, $1::timestamptz
from unnest($3::text[], $4::int[], $5::text[], $6::bytea[], $7::int[]) d
"""
