"""A clock that stands still until a test turns it.

It gives the time, chance and ids of `core.clock.Clock`. All follow from `start` and `seed`, so
that two runs of a test see the same ids, the same jitter and the same pauses between retries.
`pause` waits until the clock is turned past its end, and never by real time.
"""

from __future__ import annotations

import asyncio
import heapq
import random
from datetime import UTC, datetime, timedelta
from uuid import UUID

from duly.core.durations import parse_duration
from duly.core.ids import uuid7
from duly.errors import InvalidValue, UsageError

START = datetime(2026, 1, 1, tzinfo=UTC)
"""What a virtual clock shows at first, unless it is told otherwise."""


class VirtualClock:
    """`Clock` for tests. `now` moves only by `turn_to` and `turn`, and never back."""

    def __init__(self, start: datetime = START, *, seed: int = 0) -> None:
        if start.tzinfo is None:
            raise InvalidValue.expected("start", "an aware datetime (with a zone)", start)
        self._start = self._now = start.astimezone(UTC)
        self._random = random.Random(seed)
        self._waiting: list[tuple[datetime, int, asyncio.Future[None]]] = []
        self._count = 0
        self.turned_by: asyncio.Task[object] | None = None  # who would wait for itself
        self.paused = asyncio.Event()  # set whenever somebody begins to wait

    def now(self) -> datetime:
        """Return what the clock shows, aware UTC."""
        return self._now

    def monotonic(self) -> float:
        """Return the seconds since `start`."""
        return (self._now - self._start).total_seconds()

    def draw(self) -> float:
        """Return the next random number of the seed, in [0, 1)."""
        return self._random.random()

    def new_id(self) -> UUID:
        """Return the next UUIDv7 of the seed; later ones sort later."""
        self._count += 1
        unix_ms = int(self._now.timestamp() * 1000)
        return uuid7(unix_ms, (self._count & 0xFFF) << 62 | self._random.getrandbits(62))

    async def pause(self, seconds: float) -> None:
        """Wait until the clock was turned by so many seconds.

        Raises `UsageError` when the very task that turns the clock asks for it, because nobody
        could ever end that wait.
        """
        if self.turned_by is not None and asyncio.current_task() is self.turned_by:
            raise UsageError("this clock stands still; turn it (`await hand.tick(...)`) first")
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._count += 1
        at = self._now + timedelta(seconds=max(0.0, seconds))
        heapq.heappush(self._waiting, (at, self._count, future))
        self.paused.set()
        await future

    @property
    def next_end(self) -> datetime | None:
        """When the first of those who wait goes on; None when nobody waits."""
        while self._waiting and self._waiting[0][2].done():
            heapq.heappop(self._waiting)
        return self._waiting[0][0] if self._waiting else None

    def turn_to(self, instant: datetime) -> None:
        """Turn the clock to an instant, and let go on whoever waited for one up to it.

        They go on when the event loop next runs. Raises `InvalidValue` for an earlier instant.
        """
        if instant < self._now:
            raise InvalidValue.expected("instant", f"at or after {self._now}", instant)
        self._now = instant.astimezone(UTC)
        while (end := self.next_end) is not None and end <= self._now:
            heapq.heappop(self._waiting)[2].set_result(None)

    def turn(self, by: str | float | timedelta) -> None:
        """Turn the clock by a duration: `"90s"`, seconds, or a `timedelta`."""
        self.turn_to(self._now + parse_duration(by, what="by"))
