"""What the engine needs from the machine: threads, and news of processes.

The engine touches the machine through these protocols and `core.clock.Clock` only. `clock.py`,
`keeper.py` and `processes.py` implement them for real; the simulator implements them on a
virtual clock. Waiting is done on asyncio events and timers, whose time a simulated loop turns.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec

from duly.core.clock import Clock
from duly.core.fleet import Instance


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

    def gone(self, other: Instance) -> bool:
        """Whether that process has ended for certain; False when it cannot be known from here."""
        ...

    def memory_kills(self) -> int:
        """Return how many processes were ended here for want of memory, so far; 0 if unknown."""
        ...


class Ports(msgspec.Struct, frozen=True):
    """The machine, as the engine sees it."""

    clock: Clock
    keeper: Callable[[], Keeper]
    processes: Processes
