"""What the simulator found in the product, each with the seed and the smallest case of it.

A seed means its history only for the code it was found on; the small cases stay what they are.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence

import pytest

from duly.engine.durable.gathering import Gathering
from simulation.campaign import live


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Simulated loops log their troubles as real ones would."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


async def test_a_batch_that_is_dropped_on_its_way_is_no_failure_of_its_loop() -> None:
    """Seed 3: buried while a note was on its way, an instance took the answer for a wrong one."""
    under_way, answered = asyncio.Event(), asyncio.Event()

    async def write(items: Sequence[int]) -> list[int]:
        under_way.set()
        await answered.wait()
        return [one + 1 for one in items]

    gathering: Gathering[int, int] = Gathering("keeping", write)
    dropped = gathering.put(1)
    turn = asyncio.ensure_future(gathering.turn())
    await under_way.wait()
    gathering.drop()
    kept = gathering.put(2)
    answered.set()
    await turn
    assert dropped.cancelled()
    await gathering.turn()
    assert await kept == 3


@pytest.mark.slow
def test_who_has_a_full_room_does_not_ask_for_the_others_all_the_time() -> None:
    """Seed 1: with all its threads at work, an instance claimed for its coroutines all the time."""
    outcome = live(2)  # of today's code: one in which such threads are at work
    assert outcome.sometimes["thread at its end"] > 0
    assert [one for one in outcome.breaches if one.startswith("idle")] == []


@pytest.mark.slow
def test_a_notice_that_was_given_up_and_lands_late_tells_nothing_twice() -> None:
    """Seed 91: a drawing landed after its sender had drawn up anew; one opening was told twice."""
    outcome = live(91)
    assert outcome.sometimes["late verb landed"] > 0 and outcome.sometimes["notice told"] > 0
    assert outcome.breaches == ()
