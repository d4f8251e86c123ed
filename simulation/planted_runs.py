"""Bugs to plant in the model store, about runs, claims, deaths, limits and schedules.

Each is a small change, and the kind of mistake that has been made in such systems before. They are
planted by `bugs.planted`, in a store of the simulator; the product knows nothing of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from duly.core.firing import FirePlan
from duly.core.fleet import Claim, InstanceState, Proof, Renewal, TakenOver
from duly.core.runs import Answer, Ending, NewRun
from duly.core.schedules import Definition, ScheduleRow
from duly.core.states import RunVerb
from duly.stores.memory import MemoryStore
from duly.stores.memory.tables import Tables


class NoFenceOnEnd(MemoryStore):
    """Endings are written by run alone, whoever holds it."""

    async def end(
        self, boot: UUID, endings: Sequence[Ending], *, now: datetime | None = None
    ) -> list[Answer]:
        forged = []
        for one in endings:
            held = self.t.held.get(one.run)
            epoch = one.epoch if held is None else held.epoch
            forged.append((held.boot if held else boot, msgspec.structs.replace(one, epoch=epoch)))
        return [(await super(NoFenceOnEnd, self).end(b, [e], now=now))[0] for b, e in forged]


class DeadMayClaim(MemoryStore):
    """A boot that was declared dead is not refused when it claims."""

    async def claim(self, boot: UUID, claim: UUID, **how: Any) -> Claim:
        me = self.t.instances.get(boot)
        if me is None or me.state is not InstanceState.DEAD:
            return await super().claim(boot, claim, **how)
        self.t.instances[boot] = msgspec.structs.replace(me, state=InstanceState.LIVE)
        answer = await super().claim(boot, claim, **how)
        self.t.instances[boot] = msgspec.structs.replace(me, state=InstanceState.DEAD)
        return answer


class ClaimForgetsItsId(MemoryStore):
    """A claim that is sent again takes further runs, instead of those it took before."""

    async def claim(self, boot: UUID, claim: UUID, **how: Any) -> Claim:
        for row in self.t.held.values():
            if (row.boot, row.claim) == (boot, claim):
                row.claim = UUID(int=0)
        return await super().claim(boot, claim, **how)


class MarkApartFromRuns(MemoryStore):
    """The mark and the runs are written in two transactions; the second may be lost."""

    async def fire(self, **how: Any) -> Any:
        fired = await super().fire(**how)
        for schedule, due, run in fired.fired:
            self.t.generation += 1  # counts firings: every seventh loses its second half
            if self.t.generation % 7 == 0 and run in self.t.ready:
                del self.t.ready[run], self.t.run[run], self.t.occurrences[schedule, due]
        return fired


class NoIdentity(MemoryStore):
    """A run that is enqueued again becomes ready again, if it is ready no more."""

    def enqueue_one(self, new: NewRun, now: datetime) -> Any:
        if new.id in self.t.run and new.id not in self.t.ready and new.id not in self.t.later:
            self.t.ended.pop(new.id, None)
            self.t.put_ready(new.id, now)
        return super().enqueue_one(new, now)


class NoMark(MemoryStore):
    """A firing whose answer is slow leaves the mark behind, and the occurrence unguarded."""

    async def fire(self, **how: Any) -> Any:
        before = dict(self.t.schedules)
        fired = await super().fire(**how)
        for schedule, due, _ in fired.fired:
            if due.second % 30 == 0 and schedule in before:
                self.t.occurrences.pop((schedule, due), None)
                row = before[schedule]
                later = msgspec.structs.replace(
                    row, next_fire=self.t.schedules[schedule].next_fire, last_run=None
                )
                self.t.schedules[schedule] = later
        return fired


class StraysStay(MemoryStore):
    """A renewal does not release what memory does not know."""

    def renew_now(
        self,
        boot: UUID,
        held: Sequence[tuple[UUID, int]],
        pending: Sequence[UUID],
        *,
        lease: timedelta,
        now: datetime | None = None,
    ) -> Renewal:
        mine = [(run, row.epoch) for run, row in self.t.held.items() if row.boot == boot]
        return super().renew_now(boot, [*held, *mine], pending, lease=lease, now=now)


class DeathsStay(MemoryStore):
    """An instance that was buried alive is not forgiven: its runs keep their deaths."""

    async def come_back(self, boot: UUID, *, now: datetime | None = None) -> int:
        return 0


class EveryoneIsDead(MemoryStore):
    """A takeover for a lease does not look whether the lease has ended."""

    async def lapsed(self, *, now: datetime | None = None) -> list[UUID]:
        return sorted({row.boot for row in self.t.held.values()})

    async def take_over(
        self, boot: UUID, proof: Proof, *, cause: str = "", now: datetime | None = None
    ) -> TakenOver:
        me = self.t.instances.get(boot)
        if me is not None and proof is Proof.LEASE:
            self.t.instances[boot] = msgspec.structs.replace(me, lease_until=None)
        return await super().take_over(boot, proof, cause=cause, now=now)


class LimitForgotten(MemoryStore):
    """A run that is taken over gives its slot back, and goes on without one."""

    async def take_over(
        self, boot: UUID, proof: Proof, *, cause: str = "", now: datetime | None = None
    ) -> TakenOver:
        taken = await super().take_over(boot, proof, cause=cause, now=now)
        for run in taken.ready:
            key = self.t.run[run].asked.limit_key
            if key is not None:
                self.t.slots[key].discard(run)
        return taken


class NoEpochInTheFence(MemoryStore):
    """Endings are fenced by run and boot alone: a late word about an older attempt counts."""

    def _end_one(self, boot: UUID, ending: Ending, now: datetime) -> Answer:
        held = self.t.held.get(ending.run)
        if held is not None and held.boot == boot:
            ending = msgspec.structs.replace(ending, epoch=held.epoch)
        return super()._end_one(boot, ending, now)


class NoRunInTheFence(MemoryStore):
    """Endings are fenced by boot and epoch alone: whoever holds anything may end what it lost."""

    def _end_one(self, boot: UUID, ending: Ending, now: datetime) -> Answer:
        held, mine = self.t.held.get(ending.run), (boot, ending.epoch)
        if held is not None and any((one.boot, one.epoch) == mine for one in self.t.held.values()):
            boot, ending = held.boot, msgspec.structs.replace(ending, epoch=held.epoch)
        return super()._end_one(boot, ending, now)


class NoBootInTheFence(MemoryStore):
    """Endings are fenced by run and epoch alone."""

    def _end_one(self, boot: UUID, ending: Ending, now: datetime) -> Answer:
        held = self.t.held.get(ending.run)
        return super()._end_one(boot if held is None else held.boot, ending, now)


class CountsAgain(MemoryStore):
    """A failure that is told again counts again."""

    def _end_one(self, boot: UUID, ending: Ending, now: datetime) -> Answer:
        answer = super()._end_one(boot, ending, now)
        row = self.t.later.get(ending.run) or self.t.ready.get(ending.run)
        if answer is Answer.ALREADY and ending.verb is RunVerb.RETRY and row is not None:
            row.failures += 1
        return answer


class LocalClocks(MemoryStore):
    """Whether a lease has ended is judged by the clock of whoever looks."""

    def __init__(self, clock: Callable[[], datetime], *, tables: Tables | None = None) -> None:
        super().__init__(clock, tables=tables)
        self._ahead = timedelta(seconds=7 * (len(self.t.instances) % 5))

    async def lapsed(self, *, now: datetime | None = None) -> list[UUID]:
        return await super().lapsed(now=self._now(now) + self._ahead)

    async def take_over(
        self, boot: UUID, proof: Proof, *, cause: str = "", now: datetime | None = None
    ) -> TakenOver:
        return await super().take_over(boot, proof, cause=cause, now=self._now(now) + self._ahead)


class EditsThePast(MemoryStore):
    """An edit does not first settle what was due under the old definition."""

    _editing = False

    async def edit(self, definition: Definition, **how: Any) -> Answer:
        self._editing = True
        try:
            return await super().edit(definition, **how)
        finally:
            self._editing = False

    def _settle(self, row: ScheduleRow, new_id: Callable[[], UUID], now: datetime) -> None:
        if not self._editing:
            super()._settle(row, new_id, now)


class CancelsNothing(MemoryStore):
    """The run that overlap should end goes on."""

    def _apply(self, plan: FirePlan, now: datetime) -> list[tuple[str, datetime, UUID]]:
        return super()._apply(msgspec.structs.replace(plan, cancel=None), now)


class QueuesBeside(MemoryStore):
    """Runs that should queue behind each other have no limit."""

    def _insert_fired(
        self, runs: Sequence[NewRun], now: datetime
    ) -> list[tuple[str, datetime, UUID]]:
        free = [msgspec.structs.replace(one, limit_key=None, limit=None) for one in runs]
        return super()._insert_fired(free, now)


STORES: dict[str, type[MemoryStore]] = {
    "no fence on endings": NoFenceOnEnd,
    "no epoch in the fence": NoEpochInTheFence,
    "no run in the fence": NoRunInTheFence,
    "no boot in the fence": NoBootInTheFence,
    "the dead may claim": DeadMayClaim,
    "a resent claim takes others": ClaimForgetsItsId,
    "a resent failure counts again": CountsAgain,
    "mark apart from its runs": MarkApartFromRuns,
    "enqueue without identity": NoIdentity,
    "no mark, no guard": NoMark,
    "edit without settling": EditsThePast,
    "strays are not released": StraysStay,
    "deaths are not taken back": DeathsStay,
    "takeover from the living": EveryoneIsDead,
    "lease by local clocks": LocalClocks,
    "takeover forgets limits": LimitForgotten,
    "overlap cancels nothing": CancelsNothing,
    "queued runs beside each other": QueuesBeside,
}
"""Name and store of each."""
