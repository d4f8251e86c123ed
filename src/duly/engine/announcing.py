"""Announcing that this boot holds runs, to whoever must watch its locks.

Where every other process can be seen by its descriptor nobody needs to be told; nor again so
soon that they still watch. Best effort: the slow look of the watchers is the net.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from uuid import UUID

from duly.core.clock import Clock
from duly.engine.hands import Hands
from duly.engine.watching import TOLD_S, Watching
from duly.stores.base import Signal, Store, WakeUp

TELLING_S = 0.25


class Announcing:
    """Tells the fleet when empty hands begin to hold."""

    def __init__(
        self,
        store: Store,
        watching: Watching,
        hands: Hands,
        *,
        clock: Clock,
        boot: Callable[[], UUID],
    ) -> None:
        self._store, self._watching, self._hands = store, watching, hands
        self._clock, self._boot = clock, boot
        self._told_at = -TOLD_S
        self._telling: asyncio.Task[None] | None = None
        self._later: asyncio.TimerHandle | None = None

    def fleet_news(self, boot: str) -> bool:
        """Whether to look at the fleet anew; when it changed, so did who watches whom."""
        if not boot:
            self._told_at = -TOLD_S
        return self._watching.concerns(boot)

    async def began_to_hold(self) -> None:
        """Tell whoever watches this boot's locks that there is something to watch for."""
        if not self._watching.remote:
            return
        now = self._clock.monotonic()
        rest_s = self._told_at + TOLD_S - now
        if rest_s <= 0:
            self._told_at = now
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TELLING_S):
                    await self._store.tell(WakeUp(Signal.FLEET, str(self._boot())))
        elif self._later is None:
            loop = asyncio.get_running_loop()
            self._later = loop.call_later(rest_s, self._still_holding)

    def _still_holding(self) -> None:
        self._later = None
        if self._hands.held:
            self._telling = asyncio.get_running_loop().create_task(self.began_to_hold())

    def stop(self) -> None:
        """Tell nothing more."""
        if self._later is not None:
            self._later.cancel()
