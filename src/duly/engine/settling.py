"""Endings on their way to the store: many small writes become one statement.

While one batch is in flight the next gathers, so an idle instance adds no delay and a busy
one pays one commit for hundreds of runs. A batch whose outcome is unknown is sent again as it
was: the verb is idempotent. A run leaves the hands only when its ending was answered.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from uuid import UUID

from duly.core.runs import Answer, Ending
from duly.engine.hands import Hands, Holding
from duly.engine.recording import logs_of_ends
from duly.stores.base import Store

BATCH = 1000
"""Endings in one statement at most."""

Settled = Callable[[Sequence[tuple[Holding, Ending]], Sequence[Answer]], None]
"""Called once per batch that was answered, with the answers in the same order."""


class Settling:
    """Writes endings. A supervised loop: `ready` waits for some, `turn` writes one batch."""

    name = "settling"

    def __init__(self, store: Store, hands: Hands, settled: Settled) -> None:
        self._store, self._hands, self._settled = store, hands, settled
        self.boot: UUID | None = None
        self._queue: deque[tuple[Holding, Ending]] = deque()
        self._batch: list[tuple[Holding, Ending]] = []
        self._some = asyncio.Event()

    def put(self, holding: Holding, ending: Ending) -> None:
        """Queue an ending; the holding stays in hand until it was answered."""
        holding.ending = True
        self._queue.append((holding, ending))
        self._some.set()

    def forget_all(self) -> None:
        """Drop what is queued: the boot that would say it is dead."""
        self._queue.clear()
        self._batch.clear()

    @property
    def unsettled(self) -> int:
        """How many endings were not answered yet."""
        return len(self._queue) + len(self._batch)

    async def ready(self) -> None:
        """Wait until there is something to write."""
        if not self._batch:
            await self._some.wait()

    async def turn(self) -> None:
        """Write one batch; raises `StoreUnavailable` and keeps it when the store is away."""
        if not self._batch:
            self._fill()
        if not self._batch or self.boot is None:
            return
        batch, boot = self._batch, self.boot
        logs = logs_of_ends(batch)
        if logs:  # first, so that whoever hears of the end finds them
            await self._store.log(logs)
        answers = await self._store.end(boot, [ending for _, ending in batch])
        if boot != self.boot:
            return  # the boot died meanwhile; its batch was forgotten
        self._batch = []
        self._hands.drop(holding for holding, _ in batch)
        self._settled(batch, answers)

    def _fill(self) -> None:
        for _ in range(min(BATCH, len(self._queue))):
            self._batch.append(self._queue.popleft())
        if not self._queue:
            self._some.clear()
