"""Time and chance as a port: what a machine, a test or the simulator must provide.

A protocol only. The real clock is in `engine/clock.py`, the one module that reads one.
"""

from __future__ import annotations

from datetime import datetime
from typing import Protocol
from uuid import UUID


class Clock(Protocol):
    """Time and chance. `now` is for people, and for stores without a clock of their own."""

    def now(self) -> datetime:
        """Return the wall clock, aware UTC."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never step back."""
        ...

    def draw(self) -> float:
        """Return an even random number in [0, 1)."""
        ...

    def new_id(self) -> UUID:
        """Return a fresh UUIDv7."""
        ...

    async def pause(self, seconds: float) -> None:
        """Wait by the event loop's clock."""
        ...
