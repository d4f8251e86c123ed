"""What the engine needs from the machine: time, chance, threads, and news of processes.

The engine touches the machine through these protocols only. `clock.py` and `processes.py`
implement them for real; the simulator implements them on a virtual clock. Waiting is done on
asyncio events and loop timers, whose time a simulated loop turns.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Protocol
from uuid import UUID

import msgspec

from duly.core.fleet import Instance


class Clock(Protocol):
    """Time and chance. `now` is for people and for stores without a clock of their own."""

    def now(self) -> datetime:
        """Return the wall clock, aware UTC."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never step back; the same scale as the event loop's time."""
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


class Keeper(Protocol):
    """Calls a function at a steady pace, apart from the event loop, until stopped."""

    def start(self, beat: Callable[[], None], every: float) -> None:
        """Begin; the first call comes after `every` seconds."""
        ...

    def hurry(self) -> None:
        """Call the function now, out of turn."""
        ...

    def stop(self) -> None:
        """End; no call is under way afterwards, or none ever again if one hangs."""
        ...


class Processes(Protocol):
    """News of other processes of this host."""

    def here(self) -> tuple[str, int, str]:
        """Return host name, pid, and the identity of this machine's PID namespace."""
        ...

    def watch(self, other: Instance, gone: Callable[[], None]) -> Callable[[], None] | None:
        """Call `gone` on the event loop once the instance's process has ended for certain.

        Returns what ends the watch, or None when that process cannot be watched from here
        (another host or PID namespace, or a system without process descriptors).
        """
        ...


class Ports(msgspec.Struct, frozen=True):
    """The machine, as the engine sees it."""

    clock: Clock
    keeper: Callable[[], Keeper]
    processes: Processes
