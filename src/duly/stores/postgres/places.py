"""The places of a run, and the moves between them that several verbs share.

Collects rows and writes them with one statement per table, however many runs move. A limited
run is made ready only when it owns a slot of its limit; else it waits for the limit in `later`.
Callers take a run out of its old place, under its lock, in the same unit.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from duly.core.rules import DEATHS_TO_SUSPECT, after_death, not_before
from duly.core.runs import SUSPECT_QUEUE
from duly.core.states import RunState, RunVerb
from duly.stores.base import Signal
from duly.stores.postgres.unit import Unit


class Mover(msgspec.Struct, gc=False):
    """A run between two places: what of its identity its place needs, and its three numbers."""

    id: UUID
    queue: str
    priority: int
    task: str
    expires_at: datetime | None
    limit_key: str | None
    epoch: int = 0
    failures: int = 0
    deaths: int = 0
    begins_at: datetime | None = None  # when it comes from a holder: not before this
    child: bool = False  # its end wakes whoever awaits it


class End(msgspec.Struct, gc=False):
    """A run that is over."""

    id: UUID
    state: RunState
    epoch: int = 0
    failures: int = 0
    deaths: int = 0
    boot: UUID | None = None
    started_at: datetime | None = None
    result: bytes | None = None
    error: str | None = None
    reason: str | None = None


class Wait(msgspec.Struct, gc=False):
    """A live run that cannot be claimed now."""

    id: UUID
    state: RunState
    wake_at: datetime | None = None
    epoch: int = 0
    failures: int = 0
    deaths: int = 0
    expires_at: datetime | None = None
    reason: str | None = None


class Past(msgspec.Struct, gc=False):
    """An attempt that was not its run's last."""

    run: UUID
    epoch: int
    boot: UUID
    started_at: datetime
    ended_at: datetime
    outcome: RunVerb
    detail: str | None


def columns(rows: Sequence[Any], kind: type[msgspec.Struct]) -> list[list[Any]]:
    """Turn rows into one array per field, as `unnest` takes them."""
    return [[getattr(row, name) for row in rows] for name in kind.__struct_fields__]


async def identities(unit: Unit, runs: Collection[UUID]) -> dict[UUID, Mover]:
    """Read what placing needs of these runs' identities. They never change: no lock."""
    rows = await unit.fetch(IDENTITIES, list(runs))
    return {
        run: Mover(run, queue, priority, task, expires_at, limit_key, child=child)
        for run, queue, priority, task, expires_at, limit_key, child in rows
    }


async def put_ready(
    unit: Unit, movers: Sequence[Mover], mosts: Mapping[UUID, int] | None = None
) -> None:
    """Make runs claimable as far as their limits admit them; the others wait for the limit.

    `mosts` says for new runs which limit each brought along: it holds from that run on.
    """
    if not movers:
        return
    limited = [one.id for one in movers if one.limit_key is not None]
    owners = {row[0] for row in await unit.fetch(OWNERS, limited)} if limited else set()
    ready: list[Mover] = []
    waiting: list[Wait] = []
    slots: list[Mover] = []
    for one in movers:
        if one.limit_key is None or one.id in owners:
            ready.append(one)
            continue
        room = unit.room(one.limit_key)
        most = room.most if mosts is None else mosts[one.id]
        if room.used < most:
            room.used += 1
            slots.append(one)
            ready.append(one)
        else:
            waiting.append(_limit_wait(one))
    if slots:
        await unit.fetch(PUT_SLOTS, [one.id for one in slots], [one.limit_key for one in slots])
    await _put_in_ready(unit, ready)
    await put_later(unit, waiting)


def _limit_wait(one: Mover) -> Wait:
    return Wait(
        one.id, RunState.WAITING, None, one.epoch, one.failures, one.deaths, one.expires_at,
        f"limit:{one.limit_key}",
    )  # fmt: skip


async def _put_in_ready(unit: Unit, movers: Sequence[Mover]) -> None:
    if not movers:
        return
    # A suspect stays one behind every detour: shelved, or unparked when a boot came back.
    queues = [SUSPECT_QUEUE if after_death(one.deaths).alone else one.queue for one in movers]
    arrays = columns(movers, Mover)[:-1]
    arrays[1] = queues
    arrays[-1] = [not_before(one.begins_at or unit.now, unit.now) for one in movers]
    await unit.fetch(PUT_READY, *arrays)
    unit.tell(Signal.READY)


async def put_later(unit: Unit, waits: Sequence[Wait]) -> None:
    """Put live runs aside."""
    if waits:
        await unit.fetch(PUT_LATER, *columns(waits, Wait))
        due = [one.wake_at for one in waits if one.wake_at is not None]
        if due:
            unit.tell(Signal.DUE, min(due).isoformat())


async def put_ended(unit: Unit, ends: Sequence[End]) -> None:
    """End runs. Their slots are given back by `free`."""
    if ends:
        await unit.fetch(PUT_ENDED, unit.now, *columns(ends, End))


async def note_attempts(unit: Unit, past: Sequence[Past]) -> None:
    """Keep attempts that were not their runs' last."""
    if past:
        await unit.fetch(NOTE_ATTEMPTS, *columns(past, Past))


async def free(unit: Unit, runs: Iterable[UUID]) -> None:
    """Give the slots of these runs back, and admit whoever waits for their limits."""
    keys: set[str] = set()
    for (key,) in await unit.fetch(FREE_SLOTS, list(runs)):
        unit.room(key).used -= 1
        keys.add(key)
    await admit_waiting(unit, keys)


async def admit_waiting(unit: Unit, keys: Iterable[str]) -> int:
    """Admit runs that wait for these locked limits, while there is room; return how many."""
    rooms = {key: unit.room(key) for key in sorted(keys)}
    free_keys = [key for key, room in rooms.items() if room.used < room.most]
    if not free_keys:
        return 0
    counts = [rooms[key].most - rooms[key].used for key in free_keys]
    admitted = await unit.fetch(ADMIT, unit.now, free_keys, counts)
    for (key,) in admitted:
        rooms[key].used += 1
    if admitted:
        unit.tell(Signal.READY)
    return len(admitted)


IDENTITIES = """
select id, queue, priority, task, expires_at, limit_key, parent is not null
from duly_run where id = any($1::uuid[])
"""

OWNERS = "select run from duly_slot where run = any($1::uuid[])"

PUT_SLOTS = """
insert into duly_slot (run, limit_key) select * from unnest($1::uuid[], $2::text[])
"""

FREE_SLOTS = "delete from duly_slot where run = any($1::uuid[]) returning limit_key"

PUT_READY = """
insert into duly_ready
  (id, queue, priority, task, expires_at, limit_key, epoch, failures, deaths, ready_at)
select * from unnest($1::uuid[], $2::text[], $3::smallint[], $4::text[],
  $5::timestamptz[], $6::text[], $7::int[], $8::int[], $9::int[], $10::timestamptz[])
"""

PUT_LATER = """
insert into duly_later (id, state, wake_at, epoch, failures, deaths, expires_at, reason)
select * from unnest($1::uuid[], $2::text[], $3::timestamptz[], $4::int[], $5::int[], $6::int[],
  $7::timestamptz[], $8::text[])
"""

PUT_ENDED = """
insert into duly_ended
  (id, state, epoch, failures, deaths, boot, started_at, result, error, reason, ended_at)
select d.*, $1::timestamptz from unnest($2::uuid[], $3::text[], $4::int[], $5::int[], $6::int[],
  $7::uuid[], $8::timestamptz[], $9::bytea[], $10::text[], $11::text[]) d
"""

NOTE_ATTEMPTS = """
insert into duly_attempt (run, epoch, boot, started_at, ended_at, outcome, detail)
select * from unnest($1::uuid[], $2::int[], $3::uuid[], $4::timestamptz[], $5::timestamptz[],
  $6::text[], $7::text[])
"""

ADMIT = f"""
with picked as materialized (
  select w.tid from unnest($2::text[], $3::int[]) k (key, room) cross join lateral (
    select l.ctid as tid from duly_later l
    cross join lateral (select priority from duly_run where id = l.id limit 1) r
    where l.state = 'waiting' and l.reason = 'limit:' || k.key
    order by r.priority desc, l.id limit k.room for update of l) w
), gone as (
  delete from duly_later where ctid = any(array(select tid from picked))
  returning id, epoch, failures, deaths, substr(reason, 7) as key
), slots as (
  insert into duly_slot (run, limit_key) select id, key from gone
)
insert into duly_ready
  (id, queue, priority, task, expires_at, limit_key, epoch, failures, deaths, ready_at)
select g.id, case when g.deaths = {DEATHS_TO_SUSPECT} then '{SUSPECT_QUEUE}' else r.queue end,
  r.priority, r.task, r.expires_at, g.key, g.epoch, g.failures, g.deaths, $1::timestamptz
from gone g cross join lateral (
  select queue, priority, task, expires_at from duly_run where id = g.id limit 1) r
returning limit_key
"""
