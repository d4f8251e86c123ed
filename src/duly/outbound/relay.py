"""The relay: what was published in a commit leaves the house, in order, and is not lost.

One instance relays a topic at a time, under a lease in the store. It reads the oldest messages,
hands them on, and takes out what was confirmed. Killed between the two it, or the next, hands
the same messages on again, under the same ids. While the destination is away everything waits
in the store; when it is back, the backlog drains at a bounded pace. A destination that is away
is no fault of this process: it opens an incident, and stops nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta
from uuid import UUID

from duly import events
from duly.core.clock import Clock
from duly.core.fleet import Incident
from duly.core.outbox import Message
from duly.events import Bus
from duly.outbound.base import Destination, DestinationUnavailable, plain
from duly.stores.base import Signal, Store, WakeUp

BATCH = 500
LEASE = timedelta(seconds=15)
SEND_S = 10.0
"""A batch is given up after so long; less than the lease, so that nobody else has begun it."""

YIELD_S = 5.0
"""How long an instance leaves a topic alone that another one relays."""

POLL_S = 30.0
SLOWEST_S = 30.0
TOLD_AFTER_S = 60.0
"""How long a destination may be away before a person is told."""

STUCK = "outbox.stuck"


class Relay:
    """Relays one topic. A supervised loop: `ready` waits for messages, `turn` hands some on."""

    def __init__(
        self,
        topic: str,
        destination: Destination,
        *,
        store: Store,
        clock: Clock,
        bus: Bus,
        boot: Callable[[], UUID],
        per_second: int,
        owner: str = "",
    ) -> None:
        self.name = f"relay {topic}"
        self._topic, self._destination = topic, destination
        self._store, self._clock, self._bus, self._boot = store, clock, bus, boot
        self._per_second, self._owner = per_second, owner
        self._some = asyncio.Event()
        self._some.set()
        self._pause_s = 0.0  # before the next try, while the destination is away
        self._away_since: float | None = None
        self._told = False
        self._free_at = 0.0  # when the pace allows the next batch
        self._unlisten: Callable[[], None] | None = None

    def hear(self, wake: WakeUp) -> None:
        """Take a hint that something was published."""
        if wake.signal is Signal.OUT and wake.detail in ("", self._topic):
            self._some.set()

    async def ready(self) -> None:
        """Wait for messages, or for the slow look that is the net under lost hints."""
        if self._unlisten is None:
            self._unlisten = self._store.listen(self.hear)
        rest_s = max(self._pause_s, self._free_at - self._clock.monotonic())
        if rest_s > 0:
            await self._clock.pause(rest_s)
        try:
            async with asyncio.timeout(POLL_S * (0.9 + 0.2 * self._clock.draw())):
                await self._some.wait()
        except TimeoutError:
            return

    async def turn(self) -> None:
        """Hand one batch on."""
        self._some.clear()
        boot = self._boot()
        batch = await self._store.outgoing(boot, self._topic, limit=BATCH, lease=LEASE)
        if batch is None:  # another instance relays: its hints are not for this one, for a while
            self._free_at = self._clock.monotonic() + YIELD_S
            return
        if not batch:
            return
        try:
            async with asyncio.timeout(SEND_S):
                confirmed = await self._destination.send(batch)
        except TimeoutError:
            await self._failed(boot, batch, f"no answer within {SEND_S:g} s", [])
        except DestinationUnavailable as error:
            await self._failed(boot, batch, str(error), error.confirmed)
        else:
            if confirmed:
                await self._went(boot, batch, confirmed)
            else:
                await self._failed(boot, batch, "it confirmed nothing", [])

    async def _went(self, boot: UUID, batch: Sequence[Message], confirmed: Sequence[UUID]) -> None:
        await self._take_out(boot, confirmed)
        self._pace(len(confirmed))
        if len(confirmed) < len(batch):
            self._pause_s = min(SLOWEST_S, max(0.2, self._pause_s * 2))
            self._some.set()
            return
        self._pause_s = 0.0
        await self._back()
        if len(batch) == BATCH:
            self._some.set()

    async def _failed(
        self, boot: UUID, batch: Sequence[Message], why: str, confirmed: Sequence[UUID]
    ) -> None:
        await self._take_out(boot, confirmed)
        now = self._clock.monotonic()
        if self._away_since is None:
            self._away_since = now
            self._bus.emit(events.RelayAway(topic=self._topic, reason=plain(why)))
        longest_s = 0.2 if confirmed else SLOWEST_S  # one that nobody takes must not slow the rest
        self._pause_s = min(longest_s, max(0.2, self._pause_s * 2)) * (0.5 + self._clock.draw() / 2)
        self._some.set()
        if not self._told and now - self._away_since >= TOLD_AFTER_S:
            self._told = True
            await self._tell(batch, why)

    async def _tell(self, batch: Sequence[Message], why: str) -> None:
        waiting = next(
            (one for one in await self._store.outbox() if one.topic == self._topic), None
        )
        count = len(batch) if waiting is None else waiting.count
        incident = Incident(
            kind=STUCK,
            subject=self._topic,
            severity="critical",
            summary=f"{count:,} messages to {self._topic} wait: {plain(why)}",
            owner=self._owner,
            evidence={"destination": self._destination.name, "waiting": str(count)},
        )
        if await self._store.open_incident(incident):
            self._bus.emit(events.IncidentOpened.of(incident))

    async def _back(self) -> None:
        if self._away_since is None:
            return
        away_s = self._clock.monotonic() - self._away_since
        self._away_since, self._told = None, False
        self._bus.emit(events.RelayBack(topic=self._topic, away_s=away_s))
        note = f"{self._destination.name} takes messages again"
        if await self._store.close_incident(STUCK, self._topic, note=note):
            self._bus.emit(events.IncidentClosed(kind=STUCK, subject=self._topic))

    async def _take_out(self, boot: UUID, confirmed: Sequence[UUID]) -> None:
        if confirmed:
            await self._store.relayed(boot, self._topic, confirmed)
            self._bus.emit(events.OutboxRelayed(topic=self._topic, count=len(confirmed)))

    def _pace(self, count: int) -> None:
        self._free_at = max(self._free_at, self._clock.monotonic()) + count / self._per_second

    async def stop(self) -> None:
        """Give the destination back."""
        if self._unlisten is not None:
            self._unlisten()
        await self._destination.close()
