"""Floors: where the last claims left off, so that the next ones need not pass what they took.

A row that was claimed is deleted, but its index entry stays until no snapshot can see it: behind
a reader that holds one for a minute, every claim would pass a million of them. So while claims
come back full, the next begins behind the last: at each priority seen, above the highest id taken
there. Other priorities are searched from their beginning, so a higher one never waits. What lies
below a floor (a retry, a commit that came late) is taken when the rest is used up, and in any
case by a claim from the very beginning, which comes several times a second, or as often as makes
it a tenth of the time, and every few seconds at least.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

FULL = 100
"""Claims that ask for fewer are searched from the beginning: there is no hurry."""

REST_S = 0.2
COSTLY = 10
LONGEST_S = 5.0
"""How long floors are trusted: `REST_S`, or `COSTLY` times what a whole search took, up to
`LONGEST_S`: one that waited for a slow server must not hold retries back for minutes."""

LOWEST, HIGHEST, NIL = -32768, 32767, UUID(int=0)

Ranges = tuple[list[str], list[int], list[int], list[UUID]]
"""Queue, lowest and highest priority, and the id above which to search, in parallel lists."""


class Floors:
    """The floors of one kind of claim, known by its queues and tasks."""

    def __init__(self) -> None:
        self._floors: dict[tuple[str, int], UUID] = {}
        self._whole_at = float("-inf")
        self._whole_took = 0.0
        self._full = 0

    def ranges(self, queues: Sequence[str], limit: int, now: float) -> Ranges:
        """Return where to search; forgets the floors when a whole search is due."""
        rest = min(LONGEST_S, max(REST_S, COSTLY * self._whole_took))
        if limit < FULL or self._full < 2 or now - self._whole_at > rest:
            self._floors.clear()
        found: list[tuple[str, int, int, UUID]] = []
        for queue in queues:
            top = HIGHEST
            mine = [one for one in self._floors if one[0] == queue]
            for _, priority in sorted(mine, key=lambda one: -one[1]):
                if priority < top:
                    found.append((queue, priority + 1, top, NIL))
                found.append((queue, priority, priority, self._floors[queue, priority]))
                top = priority - 1
            if top >= LOWEST:
                found.append((queue, LOWEST, top, NIL))
        return (
            [one[0] for one in found],
            [one[1] for one in found],
            [one[2] for one in found],
            [one[3] for one in found],
        )

    def note(
        self, taken: Sequence[tuple[str, int, UUID]], limit: int, now: float, took: float
    ) -> None:
        """Learn from an answer: queue, priority and id of each row taken."""
        if not self._floors:
            self._whole_at, self._whole_took = now, took
        if limit < FULL or len(taken) < limit:
            self._floors.clear()
            self._full = 0
            return
        self._full += 1
        for queue, priority, run in taken:
            if self._floors.get((queue, priority), NIL) < run:
                self._floors[queue, priority] = run
