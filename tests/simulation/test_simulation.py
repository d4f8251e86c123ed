"""A share of the simulator in every run: some worlds, three planted bugs, and its own honesty.

Campaigns of hundreds of worlds are `make simulate`; here stands that the promises hold in a few,
that a planted bug does not pass, and that a seed means the same history on any day.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator

import pytest

from simulation.bugs import HUNTED, NAMES, QUICK, STARTS, WITHIN, Found, hunt, planted
from simulation.campaign import COMMON, MUST_MEET, Outcome, live
from simulation.loop import LANE, SimLoop, Stuck
from simulation.results import summed
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
    found = hunt(bug, WITHIN)
    assert found.seed is not None
    assert found.breach


def test_every_planted_bug_has_a_name_of_its_own() -> None:
    assert len(HUNTED) == len(set(HUNTED)) >= 24
    assert set(QUICK) <= set(NAMES)
    assert set(STARTS) <= set(NAMES)


@pytest.mark.slow
def test_a_breach_comes_again_with_its_seed() -> None:
    found = hunt(QUICK[0], WITHIN)
    assert found.seed is not None
    with planted(QUICK[0]) as make_store:
        first, again = (live(found.seed, make_store=make_store) for _ in range(2))
    assert found.breach in first.breaches
    assert first.history == again.history
    assert first.breaches == again.breaches


@pytest.mark.slow
def test_a_seed_means_one_history_whatever_the_salt_of_hashes() -> None:
    script = "from simulation.campaign import live; print(*live(5).history, sep=chr(10))"
    told = {
        subprocess.run(
            [sys.executable, "-c", script],
            cwd=ROOT,
            env=os.environ | {"PYTHONHASHSEED": salt},
            capture_output=True,
            check=True,
        ).stdout
        for salt in ("0", "4711")
    }
    assert len(told) == 1
    assert len(told.pop().splitlines()) > 200


# --- campaigns ----------------------------------------------------------------------------


def outcome(*met: str, breaches: tuple[str, ...] = ()) -> Outcome:
    return Outcome(
        seed=7,
        breaches=breaches,
        sometimes=Counter(met),
        fingerprint="f",
        steps=1,
        virtual_s=3600.0,
        attempts=1,
    )


ALL = tuple(MUST_MEET)

CAMPAIGNS: tuple[tuple[str, list[Outcome], list[Found], bool], ...] = (
    ("too small to demand anything", [outcome()], [], False),
    ("common things not met", [outcome()] * COMMON, [], True),
    ("all met", [outcome(*ALL)] * COMMON, [], False),
    ("a promise broke", [outcome(breaches=("P3: twice",))], [], True),
    ("a bug was found", [], [Found("b", 2, 2, "P3: twice")], False),
    ("a bug was not found", [], [Found("b", 9)], True),
)


@pytest.mark.parametrize(
    ("outcomes", "bugs", "wrong"), [one[1:] for one in CAMPAIGNS], ids=[one[0] for one in CAMPAIGNS]
)
def test_a_campaign_says_whether_it_came_to_anything(
    outcomes: list[Outcome],
    bugs: list[Found],
    wrong: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:
    results = summed(outcomes, bugs, first=7, took_s=1.0)
    results.show()
    told = capsys.readouterr().out
    assert results.wrong is wrong
    assert any(word in told for word in ("VOID", "BROKEN", "NOT FOUND")) is wrong


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
