"""A share of the simulator in every run: some worlds, three planted bugs, and its own honesty.

Campaigns of hundreds of worlds are `make simulate`; here stands that the promises hold in a few,
that a planted bug does not pass, and that a seed means the same history on any day.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from simulation.bugs import QUICK, hunt
from simulation.campaign import live
from simulation.loop import LANE, SimLoop, Stuck
from tests.house.rules import ROOT


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Simulated loops log their troubles as real ones would."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [41, *range(1001, 1006)])  # 41 once spun while joining anew
def test_a_fleet_keeps_its_promises(seed: int) -> None:
    outcome = live(seed)
    assert outcome.breaches == (), "\n".join(outcome.history[-60:])
    assert outcome.attempts > 20


@pytest.mark.slow
@pytest.mark.parametrize("bug", QUICK)
def test_a_planted_bug_is_found(bug: str) -> None:
    assert hunt(bug, 40) is not None


@pytest.mark.slow
def test_a_seed_means_one_history_whatever_the_salt_of_hashes() -> None:
    script = "from simulation.campaign import live; print(live(5).fingerprint)"
    prints = {
        subprocess.run(
            [sys.executable, "-c", script],
            cwd=ROOT,
            env=os.environ | {"PYTHONHASHSEED": salt},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for salt in ("0", "1", "4711")
    }
    assert len(prints) == 1


# --- the loop itself ----------------------------------------------------------------------


def make_loop() -> SimLoop:
    import random

    return SimLoop(random.Random(3))


def test_a_killed_process_runs_not_even_its_finally() -> None:
    import asyncio

    loop, seen = make_loop(), []
    lane = loop.lane("p")

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            seen.append("finally")

    async def world() -> None:
        loop.spawn(lane, work())
        loop.call_later(1, loop.kill, lane)
        done = loop.create_future()
        loop.call_later(5, done.set_result, None)
        await done

    loop.run_until_complete(loop.spawn(loop.world, world()))
    assert seen == []
    assert loop.time() == 5
    loop.bury()


def test_a_paused_process_goes_on_later_while_time_passes() -> None:
    loop, seen = make_loop(), []
    lane = loop.lane("p")

    async def work() -> None:
        assert LANE.get() is lane
        woken = loop.create_future()
        loop.call_later(1, woken.set_result, None)
        await woken
        seen.append(loop.time())

    async def world() -> None:
        task = loop.spawn(lane, work())
        lane.paused = True
        loop.call_later(9, loop.resume, lane)
        await task

    loop.run_until_complete(loop.spawn(loop.world, world()))
    assert seen == [10]
    loop.bury()


def test_a_world_in_which_nothing_can_happen_is_told() -> None:
    loop = make_loop()

    async def world() -> None:
        await loop.create_future()

    with pytest.raises(Stuck):
        loop.run_until_complete(loop.spawn(loop.world, world()))
    loop.bury()
