"""Writing notes: one statement for a batch, fenced row by row.

Theory of operation. The held rows that the fences name are locked, so that whoever takes a run
away waits; what has no row is `stale`, and nothing of it is written. Steps, messages and progress
point at their fence by number. The statement is fenced by itself, so it is complete alone and may
as well be part of a unit. Notes that start children take a unit, where the children come first.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from duly.core.outbox import Message
from duly.core.steps import Note, Progress, Step
from duly.stores.base import Signal, WakeUp
from duly.stores.postgres.unit import Unit, sparse, uniform

Fence = tuple[UUID, int]


class Batch(msgspec.Struct):
    """Notes by table, with everything that one statement must not name twice named once."""

    fences: dict[Fence, int]  # its number, from 1 on
    steps: dict[tuple[int, str], Step]
    messages: dict[tuple[int, UUID], Message]
    progress: dict[int, Progress]

    @classmethod
    def of(cls, notes: Sequence[Note]) -> Batch:
        """Gather notes; what comes later replaces what came before."""
        fences = sorted({(one.run, one.epoch) for one in notes})
        batch = cls({fence: n for n, fence in enumerate(fences, 1)}, {}, {}, {})
        for note in notes:
            n = batch.fences[note.run, note.epoch]
            for step in note.steps:
                known = batch.steps.setdefault((n, step.name), step)
                if step.turn >= known.turn:
                    batch.steps[n, step.name] = step
            for message in note.messages:
                batch.messages.setdefault((n, message.id), message)
            if note.progress is not None:
                batch.progress[n] = note.progress
        return batch

    def columns(self) -> list[list[Any]]:
        """One array per column, as `KEEP` takes them."""
        return [
            [run for run, _ in self.fences],
            [epoch for _, epoch in self.fences],
            *self._steps(),
            *self._messages(),
            *self._progress(),
        ]

    def _steps(self) -> list[list[Any]]:
        steps = list(self.steps.values())
        return [
            [n for n, _ in self.steps],
            [one.name for one in steps],
            [one.number for one in steps],
            uniform([one.kind for one in steps]) if steps else [],
            [one.value for one in steps],
            uniform([one.turn for one in steps]) if steps else [],
        ]

    def _messages(self) -> list[list[Any]]:
        messages = list(self.messages.values())
        return [
            [n for n, _ in self.messages],
            [one.id for one in messages],
            [one.topic for one in messages],
            sparse([one.key for one in messages]),
            [one.body for one in messages],
            sparse([one.run for one in messages]),
        ]

    def _progress(self) -> list[list[Any]]:
        told = list(self.progress.values())
        return [
            list(self.progress),
            sparse([one.done for one in told]),
            sparse([one.total for one in told]),
            sparse([one.note for one in told]),
            [one.published for one in told],
            [one.effects for one in told],
        ]

    def kept(self, rows: Sequence[Any]) -> set[Fence]:
        """The fences that held, from the answer of `KEEP`."""
        held: list[bool] = rows[0][0]
        return {fence for fence, n in self.fences.items() if held[n - 1]}

    def wakes(self, kept: set[Fence]) -> set[WakeUp]:
        """Whom to tell that messages wait."""
        numbers = {self.fences[one] for one in kept}
        topics = {one.topic for (n, _), one in self.messages.items() if n in numbers}
        return {WakeUp(Signal.OUT, topic) for topic in topics}


async def keep_in(unit: Unit, boot: UUID, notes: Sequence[Note], *, progresses: bool) -> set[Fence]:
    """Keep notes in a unit, without their children; return the fences that held.

    Their held rows stay locked. With `progresses` the counts of deaths begin anew.
    """
    batch = Batch.of(notes)
    kept = batch.kept(await unit.fetch(KEEP, *arguments(unit.now, boot, progresses, batch)))
    unit.wakes |= batch.wakes(kept)
    return kept


def arguments(now: datetime | None, boot: UUID, progresses: bool, batch: Batch) -> list[Any]:
    """What `KEEP` is sent with."""
    return [now, boot, progresses, *batch.columns()]


KEEP_STEP = """
with fenced as materialized (
  select id from duly_held h
  where h.id = $3 and h.boot is not distinct from $2 and h.epoch = $4 and h.deaths = 0
  for no key update
)
insert into duly_step (run, name, number, kind, value, turn, at)
select f.id, $5, $6, $7, $8, $9, coalesce($1::timestamptz, clock_timestamp()) from fenced f
on conflict (run, name) do update set number = excluded.number, kind = excluded.kind,
  value = excluded.value, turn = excluded.turn, at = excluded.at
  where excluded.turn >= duly_step.turn
returning 1
"""

KEEP = """
with t as materialized (select coalesce($1::timestamptz, clock_timestamp()) as now),
fenced as materialized (
  select d.n, h.id, h.deaths
  from unnest($4::uuid[], $5::int[]) with ordinality d (run, epoch, n)
  left join lateral (
    select h.id, h.deaths from duly_held h
    where h.id = d.run and h.boot is not distinct from $2 and h.epoch = d.epoch
    for no key update) h on true
), alive as materialized (select array(select id is not null from fenced order by n) as ok),
begun as (
  update duly_held set deaths = 0
  where $3 and id = any(array(select id from fenced where deaths > 0))
), steps as (
  insert into duly_step (run, name, number, kind, value, turn, at)
  select ($4)[d.n], d.name, d.number, coalesce(d.kind, ($9)[1]), d.value,
    coalesce(d.turn, ($11)[1]), t.now
  from t, alive, unnest($6::int[], $7::text[], $8::int[], $9::text[], $10::bytea[], $11::int[])
    d (n, name, number, kind, value, turn)
  where alive.ok[d.n]
  on conflict (run, name) do update set number = excluded.number, kind = excluded.kind,
    value = excluded.value, turn = excluded.turn, at = excluded.at
    where excluded.turn >= duly_step.turn
), messages as (
  insert into duly_outbox (id, topic, key, body, run, kept_at)
  select d.id, d.topic, d.key, d.body, d.run, t.now
  from t, alive, unnest($12::int[], $13::uuid[], $14::text[], $15::text[], $16::bytea[],
    $17::uuid[]) d (n, id, topic, key, body, run)
  where alive.ok[d.n]
  on conflict (id) do nothing
), told as (
  insert into duly_progress (run, done, total, note, published, effects, at)
  select ($4)[d.n], d.done, d.total, d.note, d.published, d.effects, t.now
  from t, alive, unnest($18::int[], $19::bigint[], $20::bigint[], $21::text[], $22::bigint[],
    $23::bigint[]) d (n, done, total, note, published, effects)
  where alive.ok[d.n]
  on conflict (run) do update set done = excluded.done, total = excluded.total,
    note = excluded.note, published = excluded.published, effects = excluded.effects,
    at = excluded.at
)
select ok from alive
"""
