"""How long to wait for those who go first, learnt from how long they take.

Whoever is not first in an order gives those before it time to do what is due, and to say so. How
much they need depends on the store, the network and the load of the machines, so a fixed pause is
either wasted or too short; and one that is too short makes every instance of a fleet do the same
work in vain, which makes them all slower still. Never waits longer than half a second for the
first: it may be dead.
"""

from __future__ import annotations

LONGEST_S = 0.25
SHARE = 4
"""One in so many: how much the newest time counts among those before it."""


class Patience:
    """How long those before usually take: half of `step_s` at least, which each place adds."""

    def __init__(self, step_s: float, places: int) -> None:
        self._step_s, self._places = step_s, places
        self.usual_s = step_s / 2

    def wait_s(self, rank: int) -> float:
        """Return how long to wait at a place in the order, from 1: twice what is usual, or more."""
        return 2 * self.usual_s + (min(rank, self._places) - 1) * self._step_s

    def heard(self, after_s: float) -> None:
        """Those before said so long after it was due that it is done."""
        told_s = min(max(after_s, self._step_s / 2), LONGEST_S)
        self.usual_s += (told_s - self.usual_s) / SHARE

    def in_vain(self) -> None:
        """It was done already when this instance went: those before need longer than it waited."""
        self.usual_s = min(LONGEST_S, 2 * self.usual_s)
