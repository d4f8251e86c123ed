"""The judge itself: what breaks in a simulated world is told, whoever it happened to.

Each case breaks one thing and demands the sentence for it. A world that is hasty ends at the first
breach, so that most of these live through seconds of it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any
from unittest import mock

import pytest

from duly.client import Client
from duly.core.runs import NewRun
from duly.core.states import RunState
from duly.engine import Engine
from duly.engine.lease import Lease
from simulation.campaign import live
from simulation.people import Person
from simulation.scenario import Fleet
from simulation.world import LONG_S, Process, World


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Simulated loops log their troubles as real ones would."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


# --- whoever raises is heard ----------------------------------------------------------------


def broken(*given: Any, **how: Any) -> Any:
    raise ValueError("broken on purpose")


RAISING: tuple[tuple[str, Any, str, int, str], ...] = (
    ("somebody who asks", Person, "ask", 1, "somebody raised ValueError"),
    ("a verb of the client", Client, "cancel", 8, "somebody raised ValueError"),
    ("what is done a while later", Client, "approve", 1, "somebody raised ValueError"),
    ("the nemesis, killing", Fleet, "_kill", 15, "the nemesis raised ValueError"),
    ("the nemesis, pausing", Fleet, "_pause", 2, "the nemesis raised ValueError"),
    ("an engine that starts", Engine, "start", 1, "P15: the life of p1 raised ValueError"),
    ("an engine that stops", Engine, "stop", 2, "P7: the stop of"),
    ("the calm", Fleet, "_settle", 1, "the world raised ValueError"),
    ("a keeper's thread", Lease, "beat", 1, "broken on purpose"),
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("who", "verb", "seed", "told"), [one[1:] for one in RAISING], ids=[one[0] for one in RAISING]
)
def test_whoever_raises_in_a_world_is_heard(who: Any, verb: str, seed: int, told: str) -> None:
    with mock.patch.object(who, verb, broken):
        outcome = live(seed, hasty=True)
    assert any(told in one for one in outcome.breaches), outcome.breaches


# --- what is counted happened ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("killed", "stood", "hours_gone"), [("never", True, 1), ("before", False, 0), ("then", True, 0)]
)
def test_hours_are_gone_for_who_stood_still_and_goes_on(
    killed: str, stood: bool, hours_gone: int
) -> None:
    world = World(1)
    process = Process(world, 1, 0)

    async def stand_still() -> bool:
        if killed == "before":
            world.kill(process, killed)
        done = world.pause(process, LONG_S + 1)
        if killed == "then":
            world.kill(process, killed)
        later = world.loop.create_future()
        world.loop.call_later(LONG_S + 2, later.set_result, None)
        await later
        return done

    try:
        done = world.loop.run_until_complete(world.loop.spawn(world.loop.world, stand_still()))
    finally:
        world.close()
    assert (done, world.sometimes["hours gone"]) == (stood, hours_gone)


def test_who_was_lost_is_not_hidden_by_who_is_doubled() -> None:
    world = World(1)
    store, clock, _ = world.client()
    world.faults.calm()
    world.sites.calm()
    lost, doubled = (NewRun(id=clock.new_id(), task="quick", args=b"{}") for _ in range(2))
    try:
        world.loop.run_until_complete(
            world.loop.spawn(world.loop.world, store.enqueue([lost, doubled]))
        )
        assert world.judge.breaches == []
        world.tables.put_ended(doubled.id, RunState.CANCELLED, world.now(), before=None)
        del world.tables.ready[lost.id]
        world.judge.always()
    finally:
        world.close()
    assert [one for one in world.judge.breaches if one.startswith("one place")] != []


@pytest.mark.slow
def test_what_never_comes_to_rest_is_told_before_people_help() -> None:
    with mock.patch.object(Fleet, "_at_rest", lambda fleet: False):
        outcome = live(1, hasty=True)
    [breach] = outcome.breaches
    assert breach.startswith("P7: not within 900 s of calm")
