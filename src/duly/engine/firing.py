"""Firing: schedules that are due, and runs whose time has come.

The almanac's alarms ring at the store's next instant. The first instance in the order acts at
once; the others a moment later, unless they hear that it is done. After firing, the horizon is
read anew and told to all, so that one firing costs a handful of statements, however many
instances there are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

from duly.core.clock import Clock
from duly.core.fleet import Horizon
from duly.engine.almanac import LEAD_S, Alarm, Almanac
from duly.engine.patience import Patience
from duly.engine.roster import Roster
from duly.stores.base import Fired, Signal, Store, WakeUp

AHEAD = 2 * timedelta(seconds=LEAD_S)
"""How long before their time runs are made ready: together with the next, those soon after it."""

LANES = 2
"""How many transactions fire beside each other when more is due than one takes."""

TURN_S, PLACES = 0.025, 10
"""How much longer each place in the order waits than the one before it, as far as they count."""


class Firing:
    """A supervised loop: fires what is due and drains backlogs."""

    name = "firing"

    def __init__(
        self,
        store: Store,
        almanac: Almanac,
        roster: Roster,
        clock: Clock,
        *,
        look: Callable[[], Awaitable[Horizon]],
    ) -> None:
        self._store, self._almanac, self._roster, self._clock = store, almanac, roster, clock
        self._look = look
        self.fired: Callable[[Fired], None] = lambda fired: None
        self._more = False
        self._patience = Patience(TURN_S, PLACES)

    async def ready(self) -> None:
        """Wait until something is due and it is this instance's turn."""
        await _await_turn(
            self._almanac.fire, self._roster, self._clock, topic="fire", patience=self._patience
        )

    async def turn(self) -> None:
        """Fire one batch, or more beside each other; while more is due, the alarm rings on."""
        batches = [self._batch() for _ in range(LANES if self._more else 1)]
        ended = await asyncio.gather(*batches, return_exceptions=True)  # none outlasts the turn
        self._more = any(one is True for one in ended)
        for one in ended:
            if isinstance(one, BaseException):
                raise one
        if self._more:
            return
        horizon = await self._look()
        if not self._roster.alone:
            instant = horizon.next_fire.isoformat() if horizon.next_fire else ""
            await self._store.tell(WakeUp(Signal.FIRED, instant))

    async def _batch(self) -> bool:
        """Fire one batch, and say whether there is more to do."""
        fired = await self._store.fire(new_id=self._clock.new_id)
        self.fired(fired)
        if not (fired.judged or self._more):
            self._patience.in_vain()
        return fired.more and bool(fired.judged)


class Promoting:
    """A supervised loop: makes runs ready whose time has come."""

    name = "promoting"

    def __init__(
        self,
        store: Store,
        almanac: Almanac,
        roster: Roster,
        clock: Clock,
        *,
        look: Callable[[], Awaitable[Horizon]],
    ) -> None:
        self._store, self._almanac, self._roster, self._clock = store, almanac, roster, clock
        self._look = look
        self._patience = Patience(TURN_S, PLACES)

    async def ready(self) -> None:
        """Wait until a run's time has come and it is this instance's turn."""
        await _await_turn(
            self._almanac.wake, self._roster, self._clock, topic="promote", patience=self._patience
        )

    async def turn(self) -> None:
        """Promote one batch, with what is due soon, and look ahead.

        A run that is due soon and was not promoted has a limit: it is made ready in its time.
        """
        promoted = await self._store.promote(ahead=AHEAD)
        horizon = await self._look()
        if not promoted and self._almanac.wake.rings:
            self._almanac.wake_in_time()
        elif not promoted:
            self._patience.in_vain()
        elif not self._roster.alone:
            instant = horizon.next_wake.isoformat() if horizon.next_wake else ""
            await self._store.tell(WakeUp(Signal.WOKEN, instant))


async def _await_turn(
    alarm: Alarm, roster: Roster, clock: Clock, *, topic: str, patience: Patience
) -> None:
    """Wait for the alarm, then for those before this instance in the order."""
    while True:
        await alarm.wait()
        rank = 0 if roster.alone else roster.rank(topic)
        if rank == 0:
            return
        began = asyncio.get_running_loop().time()
        await clock.pause(patience.wait_s(rank))
        if alarm.rings:
            return
        patience.heard(alarm.was_set_at - began)
