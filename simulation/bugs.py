"""Planted bugs: a simulator that does not find these would not find the real ones.

Each bug is a small change to the model store or to the engine, and the kind of mistake that has
been made in such systems before. `hunt` lives through worlds until one of them breaks a promise.
A bug that no world finds fails the hunt.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any
from unittest import mock
from uuid import UUID

import msgspec

from duly.core.fleet import Claim, InstanceState, Proof, Renewal, TakenOver
from duly.core.runs import Answer, Ending, NewRun
from duly.engine.caretaking import Looking
from duly.engine.hands import Hands
from duly.engine.lease import Lease
from duly.engine.settling import Settling
from duly.engine.watching import Reaping
from duly.errors import StoreUnavailable
from duly.stores.memory import MemoryStore
from simulation.campaign import live
from simulation.ports import SimKeeper


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
        self, boot: UUID, proof: Proof, *, now: datetime | None = None
    ) -> TakenOver:
        return await super().take_over(boot, Proof.PROCESS, now=now)


class LimitForgotten(MemoryStore):
    """A run that is taken over gives its slot back, and goes on without one."""

    async def take_over(
        self, boot: UUID, proof: Proof, *, now: datetime | None = None
    ) -> TakenOver:
        taken = await super().take_over(boot, proof, now=now)
        for run in taken.ready:
            key = self.t.run[run].asked.limit_key
            if key is not None:
                self.t.slots[key].discard(run)
        return taken


async def _forgetful_turn(self: Settling) -> None:
    """Endings whose answer was lost are not sent again, and their runs are let go."""
    if not self._batch:
        self._fill()
    batch, self._batch = self._batch, []
    if not batch or self.boot is None:
        return
    try:
        answers = await self._store.end(self.boot, [ending for _, ending in batch])
    except StoreUnavailable:
        return
    for (holding, ending), answer in zip(batch, answers, strict=True):
        self._hands.drop(holding)
        self._settled(holding, ending, answer)


async def _hear_only(self: Looking) -> None:
    """Nobody looks by himself: what no hint told of is not seen."""
    await self._almanac.look.wait()


async def _reap_none(self: Reaping) -> None:
    """Nobody takes over from those whose lease has ended."""
    self._almanac.expiry.set_at(None)


Patch = tuple[Any, str, Any]

STORES: dict[str, type[MemoryStore]] = {
    "no fence on endings": NoFenceOnEnd,
    "the dead may claim": DeadMayClaim,
    "a resent claim takes others": ClaimForgetsItsId,
    "mark apart from its runs": MarkApartFromRuns,
    "enqueue without identity": NoIdentity,
    "no mark, no guard": NoMark,
    "strays are not released": StraysStay,
    "deaths are not taken back": DeathsStay,
    "takeover from the living": EveryoneIsDead,
    "takeover forgets limits": LimitForgotten,
}

PATCHES: dict[str, tuple[Patch, ...]] = {
    "endings are not resent": ((Settling, "turn", _forgetful_turn),),
    "nobody reaps": ((Reaping, "turn", _reap_none),),
    "no poll under the hints": ((Looking, "ready", _hear_only),),
    "no renewals": ((SimKeeper, "_once", lambda self: self._again()),),
    "lease trusted for ever": ((Lease, "trusted", property(lambda self: True)),),
    "no gate at renewals": ((Hands, "_announced", lambda self, c: not self._pending.add(c)),),
}

QUICK = ("no fence on endings", "a resent claim takes others", "nobody reaps")
"""The ones that every run of the tests hunts."""


@contextlib.contextmanager
def planted(name: str) -> Iterator[Callable[..., MemoryStore]]:
    """Plant a bug; yields how stores are made meanwhile."""
    kind = STORES.get(name, MemoryStore)
    with contextlib.ExitStack() as stack:
        for target, attribute, wrong in PATCHES.get(name, ()):
            stack.enter_context(mock.patch.object(target, attribute, wrong))
        yield lambda clock, tables: kind(clock, tables=tables)


def hunt(name: str, most: int, *, first: int = 1) -> tuple[int, str] | None:
    """Return after how many worlds a planted bug was found and by what breach, or None."""
    with planted(name) as make_store:
        for count in range(1, most + 1):
            outcome = live(first + count - 1, make_store=make_store)
            if outcome.breaches:
                return count, outcome.breaches[0]
    return None


def hunt_all(most: int, *, quick: bool = False) -> int:
    """Hunt every bug, or the quick ones; print what was found, return 0 when all were."""
    lost = 0
    for name in QUICK if quick else [*STORES, *PATCHES]:
        found = hunt(name, most)
        lost += found is None
        words = f"not found in {most} worlds" if found is None else f"world {found[0]}: {found[1]}"
        print(f"{name:30} {words}"[:160], flush=True)
    return int(bool(lost))
