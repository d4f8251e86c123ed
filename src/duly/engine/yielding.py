"""Yielding: an instance that is never idle makes its hands empty for a suspect, once in a while.

A suspect is rerun alone, by whoever has nothing else in hand (`core.rules.after_death`). In a fleet
that is always busy nobody ever has; so a suspect that is known for `WAITS_S` makes the first in
the order claim nothing for at most `YIELDS_S`. Where work lasts longer than that it goes on
claiming, and tries again after growing pauses: a suspect never stops a fleet.
"""

from __future__ import annotations

import asyncio

from duly.core.clock import Clock
from duly.engine.hands import Hands
from duly.engine.roster import Roster

WAITS_S = 30.0
YIELDS_S = 30.0
SLOWEST_S = 3600.0
"""The longest pause between two tries that were in vain."""


class Yielding:
    """Knows since when a suspect waits, and lets the hands become empty for it."""

    def __init__(self, hands: Hands, roster: Roster, clock: Clock) -> None:
        self._hands, self._roster, self._clock = hands, roster, clock
        self._next: float | None = None  # when to make way; None while no suspect is known
        self._pause_s = WAITS_S

    async def made_way(self, *, suspects: bool) -> bool:
        """Return whether the hands were emptied for a suspect; whoever asks claims nothing else."""
        now = self._clock.monotonic()
        if not suspects:
            self._next, self._pause_s = None, WAITS_S
            return False
        if self._next is None:
            self._next = now + self._pause_s
        if now < self._next or self._roster.rank(f"suspect {now // WAITS_S}"):
            return False
        try:
            async with asyncio.timeout(YIELDS_S):
                await self._hands.empty()
        except TimeoutError:
            self._pause_s = min(SLOWEST_S, self._pause_s * 2)
            self._next = self._clock.monotonic() + self._pause_s
            return False
        self._next = None
        return True
