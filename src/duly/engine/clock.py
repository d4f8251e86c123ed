"""The one place that reads clocks and chance.

Everything else is given time as an argument, or a `Clock`. `monotonic` is `CLOCK_BOOTTIME`
where the system has it, because a suspended host's leases go on running elsewhere.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from uuid import UUID

from duly.core.ids import uuid7


class SystemClock:
    """The machine's clock, and a random source of its own (never the global one)."""

    def __init__(self) -> None:
        self._random = random.SystemRandom()
        self._bits = random.Random(self._random.getrandbits(128))
        self._last_ms = self._last_bits = 0

    def now(self) -> datetime:
        """Return the wall clock, aware UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds since the host booted, time asleep included where that is known."""
        return _monotonic()

    def draw(self) -> float:
        """Return an even random number in [0, 1)."""
        return self._bits.random()

    def new_id(self) -> UUID:
        """Return a fresh UUIDv7, greater than any that this clock gave before.

        Within a millisecond the random part goes up by a random step (RFC 9562, 6.2, method 2):
        what one process asks for in order is done in order.
        """
        ms = time.time_ns() // 1_000_000
        if ms > self._last_ms:
            self._last_ms, self._last_bits = ms, self._bits.getrandbits(73)
        else:
            self._last_bits += 1 + self._bits.getrandbits(40)
            if self._last_bits >> 74:
                self._last_ms, self._last_bits = self._last_ms + 1, self._bits.getrandbits(73)
        return uuid7(self._last_ms, self._last_bits)

    async def pause(self, seconds: float) -> None:
        """Wait by the event loop's clock."""
        await asyncio.sleep(seconds)


def draw_secret() -> bytes:
    """Return 32 bytes that nobody can guess, from the system's source: for keys and tokens."""
    return secrets.token_bytes(32)


_monotonic: Callable[[], float] = (
    partial(time.clock_gettime, time.CLOCK_BOOTTIME)
    if hasattr(time, "CLOCK_BOOTTIME")
    else time.monotonic
)
