"""The almanac: an answer never takes back what was heard after its question."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from duly.core.fleet import Horizon
from duly.engine.almanac import LEAD_S, Almanac
from duly.stores.base import Signal, WakeUp
from tests.engine.bench import Bench, in_time


def horizon(bench: Bench, wake_in_s: float | None) -> Horizon:
    """What a store without anything else would answer now."""
    now = bench.now()
    wake = None if wake_in_s is None else now + timedelta(seconds=wake_in_s)
    return Horizon(now=now, next_fire=None, next_wake=wake, ready=False, suspects=False, alive=True)


def due(bench: Bench, in_s: float) -> WakeUp:
    return WakeUp(Signal.DUE, (bench.now() + timedelta(seconds=in_s)).isoformat())


def looked(almanac: Almanac, answer: Horizon) -> None:
    with almanac.looking() as answered:
        pass
    answered(answer)


@in_time
async def test_a_run_that_is_heard_of_is_not_looked_for(bench: Bench) -> None:
    almanac = Almanac()
    looked(almanac, horizon(bench, None))
    almanac.hear(due(bench, 5))
    assert (almanac.look.is_set(), almanac.wake.at) == (False, bench.loop.time() + 5 - LEAD_S)


@in_time
async def test_what_is_heard_during_a_look_is_looked_for_again(bench: Bench) -> None:
    almanac = Almanac()
    looked(almanac, horizon(bench, None))
    with almanac.looking() as answered:
        almanac.hear(due(bench, 5))
    answered(horizon(bench, None))  # as it stood before the run was there
    assert almanac.look.is_set()


@in_time
async def test_an_answer_that_comes_after_that_of_a_later_look_says_nothing(bench: Bench) -> None:
    almanac = Almanac()
    old: Any
    with almanac.looking() as old:
        looked(almanac, horizon(bench, 5))
    old(horizon(bench, None))
    assert almanac.wake.at == bench.loop.time() + 5 - LEAD_S
