"""Ending attempts: one statement for what simply ends, a transaction for what lives on.

Theory of operation. Completions and failures of unlimited runs, the bulk, are one statement
fenced by (run, boot, epoch). What it did not match, and every ending that needs limits or lets
the run live on, goes through a transaction that deletes the held rows by the same fence under
lock, decides in Python, and writes each table once. What is in neither gets a second look: the
very same ending done before is `already`, anything else `stale`, with nothing written.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

import msgspec

from duly.core.runs import Answer, Ending
from duly.core.states import PLACE, RUN_MOVES, Place, RunState, RunVerb, advance
from duly.stores.base import Signal
from duly.stores.postgres.ground import Ground
from duly.stores.postgres.places import (
    End,
    Mover,
    Past,
    Wait,
    free,
    identities,
    note_attempts,
    put_ended,
    put_later,
    put_ready,
)
from duly.stores.postgres.unit import Unit, sparse, uniform

LIVES_ON = frozenset({RunVerb.RETRY, RunVerb.WAIT, RunVerb.RELEASE, RunVerb.PARK})

_SIMPLE = {
    verb: state
    for verb, state in RUN_MOVES[RunState.RUNNING].items()
    if PLACE[state] is Place.ENDED
}


_VERBS: dict[str, RunVerb] = {state.value: verb for verb, state in _SIMPLE.items()}


class Held(msgspec.Struct, gc=False):
    """A run that was in an instance's hands, as its deleted row said."""

    id: UUID
    boot: UUID
    epoch: int
    failures: int
    deaths: int
    claimed_at: datetime
    cancel: str | None


class EndVerbs(Ground):
    """`end`."""

    async def end(
        self, boot: UUID, endings: Sequence[Ending], *, now: datetime | None = None
    ) -> list[Answer]:
        for one in endings:
            advance(RUN_MOVES, RunState.RUNNING, one.verb)
        answers: list[Answer] = [Answer.STALE] * len(endings)
        left = list(range(len(endings)))
        while left:  # a run that is named twice is ended in turns
            turn: dict[UUID, int] = {}
            for index in left:
                turn.setdefault(endings[index].run, index)
            mine = set(turn.values())
            left = [index for index in left if index not in mine]
            await self._end_turn(boot, {i: endings[i] for i in turn.values()}, now, answers)
        return answers

    async def _end_turn(
        self, boot: UUID, turn: dict[int, Ending], now: datetime | None, answers: list[Answer]
    ) -> None:
        """End attempts of distinct runs."""
        done = await self._end_simply(boot, turn, now)
        rest = {i: one for i, one in turn.items() if one.run not in done}
        if rest:
            more = await self._transact(lambda unit: end_in(unit, boot, list(rest.values())), now)
            done |= more
            missed = {i: one for i, one in rest.items() if one.run not in more}
            if missed:
                looked = await self._look_again(boot, list(missed.values()))
                for index, answer in zip(missed, looked, strict=True):
                    answers[index] = answer
        for index, one in turn.items():
            if one.run in done:
                answers[index] = Answer.DONE

    async def _end_simply(
        self, boot: UUID, turn: dict[int, Ending], now: datetime | None
    ) -> set[UUID]:
        simple = [one for one in turn.values() if one.verb in _SIMPLE and not one.limited]
        if not simple:
            return set()
        rows = await self._fetch(
            END_SIMPLY,
            now,
            boot,
            [one.run for one in simple],
            uniform([one.epoch for one in simple]),
            uniform([_SIMPLE[one.verb] for one in simple]),
            sparse([one.result for one in simple]),
            sparse([one.error for one in simple]),
            sparse([one.reason for one in simple]),
        )
        return {row[0] for row in rows}

    async def _look_again(self, boot: UUID, endings: Sequence[Ending]) -> list[Answer]:
        """Whether these very endings were done before; by a snapshot taken after the try."""
        rows = await self._fetch(
            ENDED_SO, boot, [one.run for one in endings], [one.epoch for one in endings]
        )
        found = {run: (state, outcome) for run, state, outcome in rows}
        return [
            Answer.ALREADY if _ended_so(one, *found.get(one.run, (None, None))) else Answer.STALE
            for one in endings
        ]


def _ended_so(ending: Ending, state: str | None, outcome: str | None) -> bool:
    """Whether this very attempt has ended by this very verb, or as cancelled in its stead."""
    heeded = state == RunState.CANCELLED and ending.verb in LIVES_ON
    return heeded or ending.verb in (_VERBS.get(state or ""), outcome)


async def end_in(unit: Unit, boot: UUID, endings: Sequence[Ending]) -> set[UUID]:
    """End attempts in a unit; return the runs that were still in these hands."""
    known = await identities(unit, [one.run for one in endings])
    await unit.lock_limits(one.limit_key for one in known.values())
    fences = sorted((one.run, one.epoch) for one in endings)
    held = {one.id: one for one in await let_go(unit, boot, fences)}
    after = _After()
    for one in endings:
        if one.run in held:
            after.settle(_heeding_cancel(one, held[one.run]), held[one.run], known[one.run], unit)
    await after.write(unit)
    return set(held)


async def let_go(unit: Unit, boot: UUID, fences: Sequence[tuple[UUID, int]]) -> list[Held]:
    """Take runs out of a boot's hands, as far as these fences hold, in the order given.

    Locked first, deleted by a statement of its own: a row that was changed while the lock was
    waited for (a cancelling, say) is seen as it is now, and certainly deleted.
    """
    runs, epochs = [run for run, _ in fences], [epoch for _, epoch in fences]
    held = [Held(*row) for row in await unit.fetch(LET_GO, boot, runs, epochs)]
    if held:
        await unit.fetch(DROP_HELD, [one.id for one in held])
    return held


def _heeding_cancel(ending: Ending, held: Held) -> Ending:
    """A run that would live on, although its cancelling was requested, ends as cancelled."""
    if held.cancel is None or ending.verb not in LIVES_ON:
        return ending
    return Ending(run=ending.run, epoch=ending.epoch, verb=RunVerb.CANCEL, reason=held.cancel)


class _After:
    """What a batch of endings leaves behind, gathered by table."""

    def __init__(self) -> None:
        self.ends: list[End] = []
        self.past: list[Past] = []
        self.waits: list[Wait] = []
        self.back: list[Mover] = []
        self.freed: list[UUID] = []

    def settle(self, ending: Ending, held: Held, known: Mover, unit: Unit) -> None:
        """Decide where one run goes."""
        state = advance(RUN_MOVES, RunState.RUNNING, ending.verb)
        if PLACE[state] is not Place.ENDED:
            self._go_on(ending, held, known, unit)
            return
        failures = held.failures + (ending.verb is RunVerb.FAIL)
        self.ends.append(
            End(
                held.id, state, held.epoch, failures, held.deaths, held.boot, held.claimed_at,
                ending.result, ending.error, ending.reason,
            )
        )  # fmt: skip
        self._frees(known)

    def _go_on(self, ending: Ending, held: Held, known: Mover, unit: Unit) -> None:
        detail = ending.error if ending.verb is RunVerb.RETRY else ending.reason
        self.past.append(
            Past(held.id, held.epoch, held.boot, held.claimed_at, unit.now, ending.verb, detail)
        )
        if ending.verb is RunVerb.RELEASE:
            self.back.append(returning(known, held))
            return
        self.waits.append(
            Wait(
                held.id,
                RUN_MOVES[RunState.RUNNING][ending.verb],
                _wake_at(ending, unit.now),
                held.epoch,
                held.failures + (ending.verb is RunVerb.RETRY),
                held.deaths if ending.verb is RunVerb.PARK else 0,
                known.expires_at,
                ending.reason,
            )
        )
        self._frees(known)

    def _frees(self, known: Mover) -> None:
        if known.limit_key is not None:
            self.freed.append(known.id)

    async def write(self, unit: Unit) -> None:
        """Write each table once; slots are freed last, when all places are taken."""
        await note_attempts(unit, self.past)
        await put_ended(unit, self.ends)
        await put_later(unit, self.waits)
        await put_ready(unit, self.back)
        if self.freed:
            await free(unit, self.freed)
        if self.waits:
            unit.tell(Signal.DUE)


def _wake_at(ending: Ending, now: datetime) -> datetime | None:
    """A retry always wakes by itself, a parked run never, a wait when it says so."""
    if ending.verb is RunVerb.PARK:
        return None
    delay_us = 0 if ending.delay_us is None and ending.verb is RunVerb.RETRY else ending.delay_us
    return None if delay_us is None else now + timedelta(microseconds=delay_us)


def returning(known: Mover, held: Held, *, deaths: int | None = None) -> Mover:
    """The mover of a run that goes back from its holder's hands."""
    return msgspec.structs.replace(
        known,
        epoch=held.epoch,
        failures=held.failures,
        deaths=held.deaths if deaths is None else deaths,
    )


END_SIMPLY = """
with t as materialized (select coalesce($1::timestamptz, clock_timestamp()) as now),
locked as materialized (
  select d.id, coalesce(d.state, ($5)[1]) as state, d.result, d.error, d.reason, h.*
  from unnest($3::uuid[], $4::int[], $5::text[], $6::bytea[], $7::text[], $8::text[])
    d (id, epoch, state, result, error, reason)
  cross join lateral (
    select h.ctid as tid, h.epoch, h.failures, h.deaths, h.claimed_at from duly_held h
    where h.id = d.id and h.boot is not distinct from $2
      and h.epoch = coalesce(d.epoch, ($4)[1])
      and h.limit_key is null
    offset 0) h
), gone as (
  delete from duly_held where ctid = any(array(select tid from locked)) returning id
), kept as (
  insert into duly_ended (id, state, epoch, failures, deaths, boot, started_at, ended_at, result,
    error, reason)
  select l.id, l.state, l.epoch, l.failures + (l.state = 'failed')::int, l.deaths, $2,
    l.claimed_at, t.now, l.result, l.error, l.reason
  from locked l cross join t where (l.id in (select id from gone)) is true
)
select id from gone
"""

LET_GO = """
select h.* from unnest($2::uuid[], $3::int[]) d (id, epoch)
cross join lateral (
  select h.id, h.boot, h.epoch, h.failures, h.deaths, h.claimed_at, h.cancel from duly_held h
  where h.id = d.id and h.boot is not distinct from $1 and h.epoch = d.epoch
  for update) h
"""

DROP_HELD = "delete from duly_held where id = any($1::uuid[])"

ENDED_SO = """
select d.id, e.state, a.outcome from unnest($2::uuid[], $3::int[]) d (id, epoch)
left join lateral (
  select state from duly_ended where id = d.id and boot = $1 and epoch = d.epoch limit 1) e on true
left join lateral (
  select outcome from duly_attempt where run = d.id and epoch = d.epoch and boot = $1 limit 1) a
  on true
"""
