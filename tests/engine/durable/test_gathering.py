"""Batches on their way: what is dropped meanwhile is forgotten, and nobody fails for it.

A boot that was declared dead while a batch was under way drops all it had to say; the answer, or
the error, that comes afterwards belongs to nobody. The next batch is not touched by it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from duly.engine.durable.gathering import Gathering


class Slow:
    """A writer that answers when it is told to."""

    def __init__(self, error: Exception | None) -> None:
        self.begun, self.go = asyncio.Event(), asyncio.Event()
        self._error = error

    async def write(self, items: Sequence[int]) -> list[int]:
        self.begun.set()
        await self.go.wait()
        error, self._error = self._error, None
        if error is not None:
            raise error
        return [10 * one for one in items]


@pytest.mark.parametrize("error", [None, ValueError("one of them is wrong")], ids=["ok", "error"])
@pytest.mark.parametrize("count", [1, 3])
async def test_what_is_dropped_while_it_is_on_its_way_fails_nobody(
    error: Exception | None, count: int
) -> None:
    slow = Slow(error)
    gathering: Gathering[int, int] = Gathering("trying", slow.write)
    dropped = [gathering.put(number) for number in range(count)]
    turn = asyncio.ensure_future(gathering.turn())
    await slow.begun.wait()
    gathering.drop()
    fresh = gathering.put(7)
    slow.go.set()
    await turn
    assert all(one.cancelled() for one in dropped)
    await gathering.turn()
    assert await fresh == 70
