"""Telling the service manager how a worker fares: the `sd_notify` protocol of systemd.

Where `NOTIFY_SOCKET` is set (`Type=notify`), a worker says READY=1 once it lives, WATCHDOG=1 as
often as `WATCHDOG_USEC` asks for, STOPPING=1 when it begins to stop, and a sentence of its state.
Beats come from the event loop and only while the supervised loops are sound: a process whose event
loop is blocked, or whose loops are gone, falls silent and is started anew. A store that is away
is no reason to fall silent, nor to be not ready: the worker waits for it.

Datagrams are sent without waiting, and what cannot be sent is dropped: nobody fails for it.
Without `NOTIFY_SOCKET` nothing happens at all.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from typing import Any

from duly.core.clock import Clock
from duly.core.fleet import Health

SLOWEST_S = 10.0
"""How often the state is looked at where no watchdog asks for more."""

LONGEST_STATUS = 200


class Herald:
    """Sends to one socket; `address` begins with `@` for one of Linux's abstract names."""

    def __init__(self, address: str, every_s: float | None) -> None:
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self.every_s = every_s  # how often beats are sent; None: nobody asked for any
        self._status = ""
        self._stopping = False

    def say(self, *lines: str) -> None:
        """Send one datagram; never waits, never raises."""
        with (
            suppress(OSError, AttributeError),  # a system without such sockets has no systemd
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as line,
        ):
            line.setblocking(False)
            line.sendto("\n".join(lines).encode(), self._address)

    def tell(self, health: Health) -> None:
        """Beat if the loops are sound, and say the state if it changed.

        Who is not live and knows why is ending by itself: it says so, and is given its time.
        """
        lines = ["WATCHDOG=1"] if health.live and self.every_s is not None else []
        if not health.live and health.why and not self._stopping:
            self._stopping = True
            lines.append("STOPPING=1")
        words = "works" if health.ready else health.why or "not ready"
        status = " ".join(words.split())[:LONGEST_STATUS]
        if status != self._status:
            self._status = status
            lines.append(f"STATUS={status}")
        if lines:
            self.say(*lines)


def herald_from(env: Mapping[str, str], pid: int) -> Herald | None:
    """Return who tells the service manager, or None where none listens.

    A watchdog that is meant for another process (`WATCHDOG_PID`) is not answered.
    """
    address = env.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")) or len(address) < 2:
        return None
    asked, whose = env.get("WATCHDOG_USEC", ""), env.get("WATCHDOG_PID", "")
    mine = whose in ("", str(pid))
    every_s = int(asked) / 3e6 if mine and asked.isdecimal() and int(asked) > 0 else None
    return Herald(address, every_s)


async def announced(
    work: Coroutine[Any, Any, int], health: Callable[[], Health], clock: Clock
) -> int:
    """Do the work, and tell the service manager of it from its first moment to its last."""
    herald = herald_from(os.environ, os.getpid())
    if herald is None:
        return await work
    telling = asyncio.ensure_future(_tell_on(herald, health, clock))
    working = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        herald.say("STOPPING=1", "STATUS=stopping")
        working.cancel()
        return await working
    finally:
        telling.cancel()
        herald.say("STOPPING=1")


async def _tell_on(herald: Herald, health: Callable[[], Health], clock: Clock) -> None:
    herald.say("READY=1")
    while True:
        herald.tell(health())
        await clock.pause(min(SLOWEST_S, herald.every_s or SLOWEST_S))
