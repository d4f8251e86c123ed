"""Loops that misbehave under supervision, declared in a worker that `CHAOS_LOOP` tells which.

Each waits until the harness lets it go, so that its process has work in hand by then. One raises,
one hangs in a wait, one swallows every cancellation, one hangs on a thread; and one is sound, and
speaks to the store at each turn.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from duly import Duly, RestartPolicy

GO = "go"
"""The file that lets them go."""

AWAITED_S = 0.02
POLICY = RestartPolicy(threshold=5, pause="20ms", slowest="100ms", deadline="500ms")
SOUND = RestartPolicy(threshold=5, pause="20ms", slowest="200ms", deadline="5m")


def declare(app: Duly, folder: Path) -> None:
    """Declare the loop that this process is to have, if it is to have one."""
    chosen = os.environ.get("CHAOS_LOOP")
    if chosen:
        policy = SOUND if chosen == "asks" else POLICY
        app.supervise(LOOPS[chosen](app, folder), name=chosen, policy=policy, every="100ms")


async def _let_go(folder: Path) -> bool:
    """Wait a little; whether the harness has let them go."""
    await asyncio.sleep(AWAITED_S)
    return (folder / GO).exists()


def _raises(app: Duly, folder: Path) -> Callable[[], Any]:
    async def turn() -> None:
        if await _let_go(folder):
            raise ValueError("it cannot go on")

    return turn


def _hangs(app: Duly, folder: Path) -> Callable[[], Any]:
    async def turn() -> None:
        if await _let_go(folder):
            await asyncio.Event().wait()

    return turn


def _clings(app: Duly, folder: Path) -> Callable[[], Any]:
    async def turn() -> None:
        if not await _let_go(folder):
            return
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                continue  # the very mistake that is on trial

    return turn


def _stuck(app: Duly, folder: Path) -> Callable[[], Any]:
    def turn() -> None:
        if (folder / GO).exists():
            threading.Event().wait()

    return turn


def _asks(app: Duly, folder: Path) -> Callable[[], Any]:
    numbers, me = itertools.count(), os.getpid()

    async def turn() -> None:
        await app.client.emit(f"turn {me} {next(numbers)}", None)

    return turn


LOOPS: dict[str, Callable[[Duly, Path], Callable[[], Any]]] = {
    "raises": _raises,
    "hangs": _hangs,
    "clings": _clings,
    "stuck": _stuck,
    "asks": _asks,
}
