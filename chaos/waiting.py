"""Waiting for what real processes do: conditions looked at until they hold, within a bound.

The bound is there so that a trial that hangs says what it waited for; it is generous, and no
promise about speed is ever drawn from it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from chaos.journal import now_s

T = TypeVar("T")


class Overdue(AssertionError):
    """Something that had to happen did not, within a generous bound."""


async def until(
    condition: Callable[[], T | None], *, within_s: float, what: str, every_s: float = 0.01
) -> T:
    """Look until `condition` gives something true; return that."""

    async def look() -> T | None:
        return condition()

    return await until_it(look, within_s=within_s, what=what, every_s=every_s)


async def until_it(
    condition: Callable[[], Awaitable[T | None]],
    *,
    within_s: float,
    what: str,
    every_s: float = 0.05,
) -> T:
    """As `until`, for a condition that must be awaited."""
    end_s = now_s() + within_s
    while not (found := await condition()):
        if now_s() > end_s:
            raise Overdue(f"waited {within_s:g} s for {what}")
        await asyncio.sleep(every_s)
    return found


async def pause(seconds: float) -> None:
    """Let time pass: load runs, or an outage lasts."""
    await asyncio.sleep(seconds)
