"""Ending attempts: one statement for what simply ends, a transaction for what lives on.

Theory of operation. Completions and failures of unlimited runs, the bulk, are one statement
fenced by (run, boot, epoch). What it did not match, and every ending that needs limits or lets
the run live on, goes through a transaction that deletes the held rows by the same fence under
lock, decides in Python, and writes each table once (`afterwards.py`). What is in neither gets a
second look: the very same ending done before is `already`, anything else `stale`, with nothing
written.

Endings that carry a note, await something, or may be awaited take the transaction too, in
pieces, because each name that is awaited is a lock; one that starts children has its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from uuid import UUID

from duly.core.rules import LIVES_ON, heed_cancel
from duly.core.runs import Answer, Ending, NewRun
from duly.core.states import PLACE, RUN_MOVES, Place, RunState, RunVerb, advance
from duly.core.steps import of_run
from duly.stores.postgres.afterwards import After, Held
from duly.stores.postgres.enqueue import enqueue_in, lock_keys_of
from duly.stores.postgres.ground import Ground
from duly.stores.postgres.notes import keep_in
from duly.stores.postgres.places import Mover, identities
from duly.stores.postgres.unit import BeginAgain, Unit, sparse, uniform
from duly.stores.postgres.waiting import Happened, lock_awaited, look

PIECE = 128
"""Endings in one transaction, where each may lock a name that is awaited."""

_SIMPLE = {
    verb: state
    for verb, state in RUN_MOVES[RunState.RUNNING].items()
    if PLACE[state] is Place.ENDED
}


_VERBS: dict[str, RunVerb] = {state.value: verb for verb, state in _SIMPLE.items()}


class EndVerbs(Ground):
    """`end`."""

    async def end(
        self, boot: UUID, endings: Sequence[Ending], *, now: datetime | None = None
    ) -> list[Answer]:
        for verb in {one.verb for one in endings}:
            advance(RUN_MOVES, RunState.RUNNING, verb)
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
            more: set[UUID] = set()
            for piece in _pieces(list(rest.values())):
                more |= await self._transact(partial(end_in, boot=boot, endings=piece), now)
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
        simple = _simple(list(turn.values()))
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
        ended = rows[0][0]
        return {one.run for one in simple} if ended is None else set(ended)

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


def _simple(endings: Sequence[Ending]) -> list[Ending]:
    """The endings that may be done first: nothing in the others depends on their order."""
    if any(run.key is not None for one in endings if one.note for run in one.note.runs):
        return []  # a child's key may be that of a run which ends here
    awaited = {wanted.event for one in endings for wanted in one.awaits}
    simple = [one for one in endings if one.verb in _SIMPLE and one.plain]
    return [one for one in simple if of_run(one.run) not in awaited] if awaited else simple


def _pieces(endings: Sequence[Ending]) -> list[list[Ending]]:
    """Cut endings into transactions, in their order; one that starts children is alone."""
    pieces: list[list[Ending]] = []
    alone = True
    for one in endings:
        starts = one.note is not None and bool(one.note.runs)
        if alone or starts or len(pieces[-1]) == PIECE:
            pieces.append([])
        pieces[-1].append(one)
        alone = starts
    return pieces


async def end_in(unit: Unit, boot: UUID, endings: Sequence[Ending]) -> set[UUID]:
    """End attempts in a unit; return the runs that were still in these hands."""
    known = await identities(unit, [one.run for one in endings])
    children = [run for one in endings if one.note is not None for run in one.note.runs]
    if children and not await unit.fetch(HOLDS, boot, endings[0].run, endings[0].epoch):
        return set()
    keys = await lock_keys_of(unit, children) if children else None
    happened = await _lock(unit, endings, known, children)
    if children:
        await enqueue_in(unit, children, keys)
    notes = [one.note for one in endings if one.note is not None]
    if notes:
        await keep_in(unit, boot, notes, progresses=False)
    held = {one.id: one for one in await lock_held(unit, boot, sorted(map(_fence, endings)))}
    if children and not held:
        raise BeginAgain(endings[0].run)  # its children are taken back with all the rest
    if not held:
        return set()
    mine = [heed_cancel(one, held[one.run].cancel) for one in endings if one.run in held]
    in_turns = _meet(unit, mine, happened)
    for turn in [[one] for one in mine] if in_turns else [mine]:
        await unit.fetch(DROP_HELD, [one.run for one in turn])
        after = After(happened, look_anew=in_turns and (bool(children) or len(mine) > 1))
        for one in turn:
            after.settle(one, held[one.run], known[one.run], unit)
        await after.write(unit)
    return set(held)


def _fence(one: Ending) -> tuple[UUID, int]:
    return one.run, one.epoch


async def _lock(
    unit: Unit,
    endings: Sequence[Ending],
    known: Mapping[UUID, Mover],
    children: Sequence[NewRun],
) -> Happened:
    """Lock what these endings touch, in order; see what of the awaited has come about."""
    awaited = {wanted.event for one in endings for wanted in one.awaits}
    ends = {of_run(run) for run, one in known.items() if one.child}
    lives_on = [one.run for one in endings if one.verb in LIVES_ON]
    await lock_awaited(unit, awaited | ends, lives_on)
    happened = await look(unit, awaited)
    limits = {one.limit_key for one in known.values()} | {one.limit_key for one in children}
    await unit.lock_limits(limits | unit.awaited.limits)
    return happened


def _meet(unit: Unit, endings: Sequence[Ending], happened: Happened) -> bool:
    """Whether one of these wakes somebody: then they are settled in turns, each with a look.

    A run that is woken and one that waits for a limit may want the same slot, so the order in
    which endings were given tells.
    """
    if len(endings) == 1:
        return True
    ends = {of_run(one.run) for one in endings}
    waited = {event for mine in unit.awaited.by_run.values() for event, _ in mine}
    asked = [(want.event, one.verb is RunVerb.PARK) for one in endings for want in one.awaits]
    if ends & (waited | {event for event, _ in asked}):
        return True
    return any(happened.met(event, parked=parked) for event, parked in asked)


async def lock_held(unit: Unit, boot: UUID, fences: Sequence[tuple[UUID, int]]) -> list[Held]:
    """Lock what a boot holds, as far as these fences hold, in the order given."""
    runs, epochs = [run for run, _ in fences], [epoch for _, epoch in fences]
    return [Held(*row) for row in await unit.fetch(LOCK_HELD, boot, runs, epochs)]


async def let_go(unit: Unit, boot: UUID, fences: Sequence[tuple[UUID, int]]) -> list[Held]:
    """Take runs out of a boot's hands, as far as these fences hold, in the order given.

    Locked first, deleted by a statement of its own: a row that was changed while the lock was
    waited for (a cancelling, say) is seen as it is now, and certainly deleted.
    """
    held = await lock_held(unit, boot, fences)
    if held:
        await unit.fetch(DROP_HELD, [one.id for one in held])
    return held


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
select case when (select count(*) from gone) < cardinality($3) then array(select id from gone) end
"""

LOCK_HELD = """
select h.* from unnest($2::uuid[], $3::int[]) d (id, epoch)
cross join lateral (
  select h.id, h.boot, h.epoch, h.failures, h.deaths, h.claimed_at, h.cancel from duly_held h
  where h.id = d.id and h.boot is not distinct from $1 and h.epoch = d.epoch
  for update) h
"""

HOLDS = """
select id from duly_held where id = $2 and boot is not distinct from $1 and epoch = $3
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
