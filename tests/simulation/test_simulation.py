"""The simulator's own honesty: a seed means one history, and a campaign says what it came to.

That the promises hold, and that every planted bug is found, is `make simulate`, of which the gate
takes a share beside the tests; nothing of that is repeated here.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator

import pytest

from simulation.bugs import (
    HUNTED,
    NAMES,
    STARTS,
    UNSEEN,
    WITHIN,
    Found,
    hunt,
    live_with,
)
from simulation.campaign import ALWAYS, COMMON, FURTHER, MUST_MEET, PINNED, Outcome, further, live
from simulation.loop import LANE, SimLoop, Stuck
from simulation.results import commit, summed
from tests.house.rules import ROOT

QUICK, FIRST = "no fence on endings", 3
"""A bug that is found soon, from this seed on."""


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Simulated loops log their troubles as real ones would."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.slow
def test_a_fleet_keeps_its_promises() -> None:
    outcome = live(41)  # which once spun while joining anew
    assert outcome.breaches == (), "\n".join(outcome.history[-60:])
    assert outcome.attempts > 20


def test_every_planted_bug_has_a_name_of_its_own() -> None:
    assert len(HUNTED) == len(set(HUNTED)) >= 50
    assert set(STARTS) <= set(HUNTED)
    assert {*HUNTED, *UNSEEN} == set(NAMES)


@pytest.mark.slow
def test_a_breach_comes_again_with_its_seed() -> None:
    found = hunt(QUICK, WITHIN, first=FIRST)
    assert found.seed is not None
    live(found.seed + 1)  # what was lived through before changes nothing
    first, again = (live_with(QUICK, found.seed) for _ in range(2))
    assert found.breach == first.breaches[0]
    assert (first.history, first.steps) == (again.history, again.steps)
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
NAMED = tuple(what for what, since in MUST_MEET.items() if since == ALWAYS)

CAMPAIGNS: tuple[tuple[str, list[Outcome], list[Found], bool], ...] = (
    ("nothing but hunts", [], [], False),
    ("what the promises name is not met", [outcome(*NAMED[1:])], [], True),
    ("too small to demand anything else", [outcome(*NAMED)], [], False),
    ("common things not met", [outcome(*NAMED)] * COMMON, [], True),
    ("all met", [outcome(*ALL)] * COMMON, [], False),
    ("a promise broke", [outcome(*NAMED, breaches=("P3: twice",))], [], True),
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


def test_what_was_not_met_is_looked_for_in_further_worlds() -> None:
    asked: list[int] = []

    def lived(seed: int) -> Outcome:
        asked.append(seed)
        return outcome(*NAMED[:1]) if len(asked) == 3 else outcome()

    assert further([outcome(*NAMED)], lived) == []
    assert len(further([outcome(*NAMED[1:])], lived)) == 3
    assert asked[: len(PINNED)] == list(PINNED)
    assert len(set(asked)) == len(asked) == 3


def test_a_campaign_that_meets_nothing_comes_to_an_end() -> None:
    more = further([outcome()], lambda seed: outcome())
    assert FURTHER <= len(more) <= FURTHER + len(PINNED)
    assert summed([outcome()], [], first=7, took_s=1.0, further=more).wrong


def test_a_hunt_says_whether_it_knew_its_seed(capsys: pytest.CaptureFixture[str]) -> None:
    known = Found("two probes", 1, 6, "P11: twice", known=True)
    counted = Found("two probes", 4, 4, "P11: twice")
    summed([], [known, counted], first=1, took_s=1.0).show()
    told = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert "two probes known seed 6 P11: twice".split() in told
    assert "two probes 4 P11: twice".split() in told
    assert "python -m simulation --seed 6 --bug 'two probes'".split() in told


def test_results_name_the_commit_or_say_that_nobody_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    assert commit() != ""
    monkeypatch.setenv("PATH", "")
    assert commit() == "unknown"


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
