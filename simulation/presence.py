"""Session locks of the simulated store: how a death is noticed at once, and what may look like one.

A boot's locks fall when its process dies, when its own sessions break, and, for everybody at the
same instant, when the store restarts. The last says nothing about anybody: whoever watched then
must count on leases alone. As with a real server, a holder whose sessions broke takes its locks
again by itself, unless it stands still; a watcher waits for that through a grace.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from duly.core.fleet import Proof
from duly.errors import StoreUnavailable

if TYPE_CHECKING:
    from simulation.world import Process, World

HEAL_S = 0.02


class Locks:
    """The locks on the server. `starts` counts its starts; sessions of boots in `alone` broke."""

    def __init__(self) -> None:
        self.starts = 1
        self.held: set[UUID] = set()
        self.taken_on: dict[UUID, int] = {}  # on which start a boot took them; kept when they fall
        self.alone: set[UUID] = set()
        self._fallen: dict[UUID, list[asyncio.Future[None]]] = {}

    def take(self, boot: UUID) -> None:
        """Give a boot its locks."""
        self.held.add(boot)
        self.taken_on[boot] = self.starts

    def drop(self, boot: UUID) -> None:
        """Let a boot's locks fall."""
        self.held.discard(boot)
        for one in self._fallen.pop(boot, []):
            if not one.done():
                one.set_result(None)

    def restart(self) -> None:
        """Let all locks fall at once, with the sessions of all who wait."""
        self.starts += 1
        for boot in sorted(self.held | self._fallen.keys()):
            self.drop(boot)

    def forget(self, boot: UUID) -> None:
        """Let a boot's locks go for good, at its own wish."""
        self.taken_on.pop(boot, None)
        self.drop(boot)

    async def fall(self, boot: UUID) -> None:
        """Wait until a boot's locks fall."""
        if boot in self.held:
            one: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._fallen.setdefault(boot, []).append(one)
            await one


class SimPresence:
    """`Presence` of one process."""

    heeds_restarts = True
    """A planted bug takes this away: then a restart looks like the death of all."""

    def __init__(self, world: World, process: Process, grace: timedelta) -> None:
        self._world, self._process = world, process
        self._grace_s = grace.total_seconds()
        self.boot: UUID | None = None
        process.presences.append(self)

    @property
    def _locks(self) -> Locks:
        return self._world.locks

    async def hold(self, boot: UUID) -> None:
        """Take the boot's locks."""
        if self.boot is not None and self.boot != boot:
            self._locks.forget(self.boot)
        self.boot = boot
        await asyncio.sleep(0.002)
        if self._world.away:
            raise StoreUnavailable("presence: the store is away")
        self._locks.take(boot)

    async def holding(self) -> bool:
        """Whether the locks are held; takes fallen ones again."""
        await asyncio.sleep(0.002)
        if self.boot is None or self._world.away:
            return False
        if self.boot not in self._locks.held:
            self._world.met("locks taken again")
        self._locks.take(self.boot)
        return True

    async def watch(self, boot: UUID) -> Proof | None:
        """Wait until a boot's locks fall, and say what that proves."""
        await asyncio.sleep(0.002)
        start = self._locks.starts
        while True:
            if self._world.away or (self._locks.taken_on.get(boot) != start and self._heedful):
                return None
            await self._locks.fall(boot)
            await asyncio.sleep(self._grace_s)
            if self._locks.starts != start and self._heedful:
                self._world.met("restart heeded")
                return None
            if boot not in self._locks.held:
                return Proof.SESSION if boot in self._locks.taken_on else None
            await asyncio.sleep(0.01)

    @property
    def _heedful(self) -> bool:
        return self.heeds_restarts

    async def release(self) -> None:
        """Give everything back."""
        if self.boot is not None:
            self._locks.forget(self.boot)
        self.boot = None

    # --- what happens to it -----------------------------------------------------------------

    def died(self) -> None:
        """The process is no more."""
        if self.boot is not None:
            self._locks.drop(self.boot)

    def breaks(self) -> None:
        """The sessions of this boot alone break; a living holder takes its locks again."""
        if self.boot is not None:
            self._locks.alone.add(self.boot)
            self._locks.drop(self.boot)
            self.heal()

    def heal(self) -> None:
        """Take the locks again in a moment, as long as anybody is there to do it."""
        self._world.loop.later_in(self._process.lane, HEAL_S, self._heal)

    def _heal(self) -> None:
        if self.boot is None or self._process.killed or self._process.gone:
            return
        if self._world.away:
            self._world.loop.later_in(self._process.lane, 0.5, self._heal)
        else:
            self._locks.take(self.boot)
