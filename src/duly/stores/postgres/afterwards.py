"""What endings leave behind: gathered by table, decided run by run, written once.

An attempt that ends moves its run to where it belongs: over, aside, or back to ready. Slots are
given back when all places are taken; then whoever awaited the end is woken; then what the run
itself awaits is noted. It reads nothing but what has come about, and takes no run from its place.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

import msgspec

from duly.core.rules import wakes_after_us
from duly.core.runs import Ending
from duly.core.states import PLACE, RUN_MOVES, Place, RunState, RunVerb, advance
from duly.core.steps import Await, of_run
from duly.stores.postgres.places import (
    End,
    Mover,
    Past,
    Wait,
    free,
    note_attempts,
    put_ended,
    put_later,
    put_ready,
)
from duly.stores.postgres.unit import Unit
from duly.stores.postgres.waiting import Happened, begin_to_wait, forget_awaits, look, wake


class Held(msgspec.Struct, gc=False):
    """A run that was in an instance's hands, as its deleted row said."""

    id: UUID
    boot: UUID
    epoch: int
    failures: int
    deaths: int
    claimed_at: datetime
    cancel: str | None


class After:
    """What a batch of endings leaves behind, gathered by table.

    `happened` is what of the awaited has come about; with `look_anew` it is looked at again when
    it is needed, because what was settled before this batch may have changed it.
    """

    def __init__(self, happened: Happened, *, look_anew: bool) -> None:
        self._happened = happened
        self._look_anew = look_anew
        self.over: list[str] = []
        self.moved_on: list[UUID] = []
        self.awaits: list[tuple[UUID, tuple[Await, ...], bool]] = []
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
        if known.child:
            self.over.append(of_run(held.id))
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
                _later_by(unit.now, wakes_after_us(ending)),
                held.epoch,
                held.failures + (ending.verb is RunVerb.RETRY),
                held.deaths if ending.verb is RunVerb.PARK else 0,
                known.expires_at,
                ending.reason,
            )
        )
        self._frees(known)
        self.moved_on.append(held.id)
        if ending.awaits:
            self.awaits.append((held.id, ending.awaits, ending.verb is RunVerb.PARK))

    def _frees(self, known: Mover) -> None:
        if known.limit_key is not None:
            self.freed.append(known.id)

    async def write(self, unit: Unit) -> None:
        """Write each table once; slots are freed when all places are taken, then others woken."""
        await note_attempts(unit, self.past)
        await put_ended(unit, self.ends)
        await put_later(unit, self.waits)
        await put_ready(unit, self.back)
        if self.freed:
            await free(unit, self.freed)
        if self.over:
            await wake(unit, self.over)
        await forget_awaits(unit, self.moved_on)
        if self.awaits:
            await begin_to_wait(unit, self.awaits, await self._come_about(unit))

    async def _come_about(self, unit: Unit) -> Happened:
        if not self._look_anew:
            return self._happened
        return await look(unit, {one.event for _, awaits, _ in self.awaits for one in awaits})


def _later_by(now: datetime, delay_us: int | None) -> datetime | None:
    return None if delay_us is None else now + timedelta(microseconds=delay_us)


def returning(known: Mover, held: Held, *, deaths: int | None = None) -> Mover:
    """The mover of a run that goes back from its holder's hands."""
    return msgspec.structs.replace(
        known,
        epoch=held.epoch,
        failures=held.failures,
        deaths=held.deaths if deaths is None else deaths,
        begins_at=held.claimed_at,
    )
