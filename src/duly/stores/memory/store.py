"""The model store: plain dictionaries, written only with the core.

It is what the other stores are compared with, and what users' tests and the simulator run
on. It keeps nothing beyond its process, holds no lock, and reads no clock but the one it was
given. A verb is one call without an `await` inside, so it is atomic on an event loop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from duly.core.fleet import Renewal
from duly.stores.base import DEFAULT_GRACE, DEFAULT_LEASE, LeaseLine, Presence, Standing, WakeUp
from duly.stores.memory.access import AccessVerbs
from duly.stores.memory.breaking import BreakerVerbs
from duly.stores.memory.feeding import FeedVerbs
from duly.stores.memory.fleet import FleetVerbs
from duly.stores.memory.ledger import LedgerVerbs
from duly.stores.memory.logs import LogVerbs
from duly.stores.memory.remembering import MemoryVerbs
from duly.stores.memory.schedules import ScheduleVerbs
from duly.stores.memory.tables import Tables
from duly.stores.memory.telling import TellingVerbs

__all__ = ["MemoryStore"]


class _Line:
    """The renewing thread's line to the model; its verbs never wait, so they can be called."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    def renew(
        self,
        boot: UUID,
        held: Sequence[tuple[UUID, int]],
        pending: Sequence[UUID],
        *,
        lease: timedelta = DEFAULT_LEASE,
    ) -> Renewal:
        return self._store.renew_now(boot, held, pending, lease=lease)

    def close(self) -> None:
        """Nothing is held."""


class MemoryStore(
    BreakerVerbs,
    MemoryVerbs,
    LogVerbs,
    LedgerVerbs,
    ScheduleVerbs,
    TellingVerbs,
    FeedVerbs,
    FleetVerbs,
    AccessVerbs,
):
    """`Store` in memory. `clock` gives aware UTC; several stores may share one `tables`."""

    name = "memory"

    def __init__(self, clock: Callable[[], datetime], *, tables: Tables | None = None) -> None:
        self._clock = clock
        self.t = tables or Tables()

    def _now(self, now: datetime | None) -> datetime:
        return self._clock() if now is None else now

    async def open(self) -> Standing:
        return await self.standing()

    async def close(self) -> None:
        """Nothing is held; listeners end themselves."""

    async def migrate(self) -> tuple[str, ...]:
        return ()

    async def accept(self, by: str, reason: str) -> Standing:
        return await self.open()

    async def standing(self) -> Standing:
        return Standing(schema=0, generation=self.t.generation)

    async def clock(self) -> datetime:
        return self._clock()

    def presence(self, grace: timedelta = DEFAULT_GRACE) -> Presence | None:
        return None

    def listen(self, heard: Callable[[WakeUp], None]) -> Callable[[], None]:
        self.t.listeners.append(heard)

        def stop() -> None:
            if heard in self.t.listeners:
                self.t.listeners.remove(heard)

        return stop

    async def tell(self, wake: WakeUp) -> None:
        self.t.tell(wake.signal, wake.detail)

    def lease_line(self) -> LeaseLine:
        return _Line(self)

    async def snapshot(self) -> dict[str, Any]:
        """Return all rows in the shape the agreement test compares."""
        return self.t.snapshot()
