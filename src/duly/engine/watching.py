"""Noticing death: three kinds of evidence, from the quickest to the one that always works.

    process gone     pidfd of the same host and PID namespace, or a fallen file lock  ~ms
    session lost     the locks a boot holds on the database fell, and stayed fallen
                     through a grace; not after a restart of the server, and not when
                     this instance's own session broke                                ~grace
    lease expired    by the store's clock                                            ≤ lease

All who can see a process of their host watch it: a descriptor costs nothing. Session locks
cost the database a waiting statement, so only the next in the ring waits, and only for those
that hold runs. When a death is proven the next in the ring takes over at once and the others a
moment later, in ring order: the first of them may be dying too. Taking over is fenced in the
store by the boot's row; a wrong suspicion ends there, never in doubled work.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from uuid import UUID

from duly.core.clock import Clock
from duly.core.fleet import Instance, Proof, TakenOver
from duly.engine.almanac import Almanac
from duly.engine.hands import Hands
from duly.engine.lease import Lease
from duly.engine.ports import Processes
from duly.engine.roster import Roster
from duly.engine.telling import Telling
from duly.errors import EnvironmentFailure
from duly.stores.base import Presence, Signal, Store, WakeUp

TURN_S = 0.03
"""How long each place in the ring waits for those before it."""

TOLD_S = 10.0
"""How often at most a boot tells that it began to hold runs."""

WATCHED_S = 300.0
"""How long a boot's locks are watched after it was last known to hold runs."""

OUT_OF_MEMORY = "its host ended a process for want of memory just then"

AGAIN_S = 0.25
"""How long a takeover that the store did not answer waits before it is sent again."""


class Watching:
    """A supervised loop: keeps the roster, and a watch on whoever can be watched."""

    name = "watching"

    def __init__(
        self,
        store: Store,
        almanac: Almanac,
        roster: Roster,
        *,
        clock: Clock,
        processes: Processes,
        telling: Telling,
        presence: Presence | None,
    ) -> None:
        self._store, self._almanac, self._roster = store, almanac, roster
        self._clock, self._processes, self._telling = clock, processes, telling
        self._presence = presence
        self._descriptors: dict[UUID, Callable[[], None]] = {}
        self._sessions: dict[UUID, asyncio.Task[None]] = {}
        self._takeovers: set[asyncio.Task[None]] = set()
        self._held_at: dict[UUID, float] = {}
        self._memory_kills = processes.memory_kills()
        self.took: Callable[[TakenOver, Proof, str], None] = lambda taken, proof, cause: None

    async def ready(self) -> None:
        """Wait until somebody came, went, or began to hold runs."""
        await self._almanac.fleet.wait()

    async def turn(self) -> None:
        """Read the fleet and set the watches accordingly."""
        self._almanac.fleet.clear()
        try:
            now = await self._store.clock()
            self._roster.note(await self._store.instances(here=True), now)
        except EnvironmentFailure:
            self._almanac.fleet.set()  # what was heard of is still to be looked at
            raise
        here = {one.boot: one for one in self._roster.others}
        for boot in self._descriptors.keys() - here.keys():
            self._descriptors.pop(boot)()
        for boot in self._sessions.keys() - self._worth_a_session(here):
            self._sessions.pop(boot).cancel()
        for one in here.values():
            if one.boot not in self._descriptors and one.boot not in self._sessions:
                self._watch(one)

        self._note_leases(now)

    def _worth_a_session(self, here: Mapping[UUID, Instance]) -> set[UUID]:
        """Who holds runs, or did lately: a boot tells only now and then that it holds again."""
        at = self._clock.monotonic()
        self._held_at.update({one.boot: at for one in here.values() if one.held})
        self._held_at = {
            boot: then
            for boot, then in self._held_at.items()
            if boot in here and at - then < WATCHED_S
        }
        return set(self._held_at)

    def _note_leases(self, now: datetime) -> None:
        """See to it that the end of each holder's lease is not slept through."""
        ends = [one.lease_until for one in self._roster.others if one.held and one.lease_until]
        if ends:
            in_s = (min(ends) - now).total_seconds()
            self._almanac.expiry.no_later_than(asyncio.get_running_loop().time() + in_s)

    def _watch(self, other: Instance) -> None:
        stop = self._processes.watch(other, lambda: self._fell(other.boot, Proof.PROCESS))
        if stop is not None:
            self._descriptors[other.boot] = stop
        elif self._presence is not None and other.boot in self._held_at and self._is_next(other):
            self._sessions[other.boot] = asyncio.get_running_loop().create_task(
                self._watch_session(self._presence, other.boot)
            )

    def _is_next(self, other: Instance) -> bool:
        return self._roster.distance_after(other.boot) == 0

    def concerns(self, boot: str) -> bool:
        """Whether news of a boot that began to hold runs is for this instance to act on.

        Being told is as good as having seen it: short work may be over by the time of a look,
        and the next one is not told again so soon.
        """
        if not boot:
            return True
        if boot == str(self._roster.boot):
            return False
        known = {str(one.boot): one for one in self._roster.others}
        if boot in known and not self._is_next(known[boot]):
            return False
        self._held_at[UUID(boot)] = self._clock.monotonic()
        return True

    @property
    def remote(self) -> bool:
        """Whether there are instances whose process cannot be seen from here."""
        return any(one.boot not in self._descriptors for one in self._roster.others)

    async def _watch_session(self, presence: Presence, boot: UUID) -> None:
        try:
            proof = await presence.watch(boot)
        except EnvironmentFailure:
            proof = None
        if proof is not None:
            self._fell(boot, proof)
        elif self._sessions.pop(boot, None) is not None:
            await self._clock.pause(1.0)
            self._almanac.fleet.set()

    def _fell(self, boot: UUID, proof: Proof) -> None:
        task = asyncio.get_running_loop().create_task(self.take_over(boot, proof))
        self._takeovers.add(task)
        task.add_done_callback(self._takeovers.discard)

    async def take_over(self, boot: UUID, proof: Proof) -> None:
        """Take what a dead boot held, in ring order; tries until the store answers."""
        distance = self._roster.distance_after(boot)
        if distance:
            await self._clock.pause(distance * TURN_S)
        cause = self._cause() if proof is Proof.PROCESS else ""
        taken = await self._persist(boot, proof, cause)
        self._descriptors.pop(boot, lambda: None)()
        self._sessions.pop(boot, None)
        self._telling.taken_over(taken, proof)
        self.took(taken, proof, cause)
        self._almanac.fleet.set()
        if taken.buried:
            await self._store.tell(WakeUp(Signal.FLEET))

    def _cause(self) -> str:
        """Say what is known of why a process of this host ended just now."""
        before, self._memory_kills = self._memory_kills, self._processes.memory_kills()
        return OUT_OF_MEMORY if self._memory_kills > before else ""

    async def _persist(self, boot: UUID, proof: Proof, cause: str) -> TakenOver:
        while True:
            try:
                return await self._store.take_over(boot, proof, cause=cause)
            except EnvironmentFailure:
                await self._clock.pause(AGAIN_S * (1 + self._clock.draw()))

    async def stop(self) -> None:
        """End every watch."""
        for stop in self._descriptors.values():
            stop()
        self._descriptors.clear()
        waiting = [*self._sessions.values(), *self._takeovers]
        self._sessions.clear()
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


class Presenting:
    """A supervised loop: an instance that holds runs makes sure that its own locks hold.

    Others take over a grace after the locks fell. So while they are known to be lost nothing
    new is started (`Lease.trusted`); what runs goes on, and its writes are fenced. A boot
    without its locks claims nothing: claiming and being taken over again would never end.
    """

    name = "presenting"

    def __init__(
        self, presence: Presence, hands: Hands, lease: Lease, clock: Clock, *, every: timedelta
    ) -> None:
        self._presence, self._hands, self._lease = presence, hands, lease
        self._clock, self._every_s = clock, every.total_seconds()
        self.regained: Callable[[], None] = lambda: None

    async def ready(self) -> None:
        """Wait until runs are in hand, and then for the pace of renewals."""
        if self._lease.locked:
            await self._hands.some()
            await self._clock.pause(self._every_s)
        else:
            await self._clock.pause(AGAIN_S)

    async def turn(self) -> None:
        """Look after the locks once."""
        lost = not self._lease.locked
        self._lease.locked = await self._presence.holding()
        if lost and self._lease.locked:
            self.regained()


class Reaping:
    """A supervised loop: takes over from holders whose lease has ended."""

    name = "reaping"

    def __init__(self, store: Store, almanac: Almanac, roster: Roster, watching: Watching) -> None:
        self._store, self._almanac, self._watching = store, almanac, watching
        self._roster = roster
        self.look: Callable[[], None] = lambda: None

    async def ready(self) -> None:
        """Wait until some holder's lease should have ended."""
        await self._almanac.expiry.wait()

    async def turn(self) -> None:
        """Take over from whoever did not renew."""
        for boot in await self._store.lapsed():
            # After an outage this instance's own lease may have ended too: its renewal, or
            # another's takeover, settles that.
            if boot != self._roster.boot:
                await self._watching.take_over(boot, Proof.LEASE)
        self._almanac.expiry.set_at(None)
        self._almanac.look.set()
