"""A run that is made ready ahead of its time never begins before it, whatever happens to it.

Its holder is told how long to wait. Wherever the run goes meanwhile (back at a stop, to another
after a death, into a second answer of the same claim), that time goes with it; a clock that was
set back makes nobody wait for hours.
"""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest

from duly.core.rules import MOST_AHEAD
from duly.core.runs import Claimed
from duly.core.states import RunVerb
from tests.stores.world import HOUR, MINUTE, World, ident

TENTH = timedelta(seconds=0.1)


async def due_in(world: World, wait: timedelta, **how: object) -> UUID:
    """Enqueue a run for so long from now, and make ready what is due within a second."""
    run = await world.enqueue(run_at=world.now + wait, **how)
    await world.store.promote(ahead=MOST_AHEAD, now=world.now)
    return run


async def held_early(world: World) -> tuple[UUID, Claimed]:
    """A boot that holds a run whose time comes in a tenth of a second."""
    await due_in(world, TENTH)
    boot = await world.boot()
    [claimed] = await world.claim(boot)
    return boot, claimed


@pytest.mark.parametrize(
    ("wait_s", "ahead_s", "state"),
    [
        (0.1, 0.0, "scheduled"),
        (0.1, 0.099999, "scheduled"),
        (0.1, 0.1, "ready"),
        (1.0, 1.0, "ready"),
        (1.1, 3600.0, "scheduled"),  # as far ahead as allowed, and no further
    ],
)
async def test_runs_become_ready_as_far_ahead_as_asked(
    world: World, wait_s: float, ahead_s: float, state: str
) -> None:
    run = await world.enqueue(run_at=world.now + timedelta(seconds=wait_s))
    ahead = timedelta(seconds=ahead_s)
    first, second = await world.twice(world.store.promote, ahead=ahead, now=world.now)
    assert (first, second) == (int(state == "ready"), 0)
    assert await world.state(run) == state


async def test_the_holder_is_told_how_long_to_wait(world: World) -> None:
    run = await due_in(world, TENTH)
    plain = await world.enqueue()
    boot = await world.boot()
    world.turn(0.04)
    waits = {one.id: one.wait_s for one in await world.claim(boot)}
    assert waits == {run: 0.06, plain: 0.0}
    assert (await world.view(run)).started_at == world.now + timedelta(seconds=0.06)


async def test_one_that_is_claimed_late_does_not_wait(world: World) -> None:
    await due_in(world, TENTH)
    world.turn(0.1)
    [claimed] = await world.claim(await world.boot())
    assert claimed.wait_s == 0.0


async def test_a_claim_that_is_sent_again_tells_what_is_left(world: World) -> None:
    await due_in(world, TENTH)
    boot, claim = await world.boot(), ident(900)
    seen = []
    for _ in range(2):
        answer = await world.store.claim(
            boot, claim, queues=("default",), tasks=("t",), limit=10, now=world.now
        )
        seen.append([one.wait_s for one in answer.runs])
        world.turn(0.03)
    assert seen == [[0.1], [0.07]]


@pytest.mark.parametrize("way", ["released", "its holder died", "its instance stopped"])
async def test_its_time_goes_with_it_when_it_goes_back(world: World, way: str) -> None:
    boot, run = await held_early(world)
    world.turn(0.02)
    match way:
        case "released":
            await world.end(boot, run, RunVerb.RELEASE)
        case "its holder died":
            await world.die(boot)
        case _:
            await world.store.leave(boot, now=world.now)
    [again] = await world.claim(await world.boot())
    assert (again.id, again.wait_s) == (run.id, 0.08)


@pytest.mark.parametrize("back", [MINUTE, 2 * HOUR])
async def test_nobody_waits_for_a_clock_to_come_round_again(world: World, back: timedelta) -> None:
    boot, run = await world.held()
    await due_in(world, TENTH)
    world.turn(-back)
    await world.end(boot, run, RunVerb.RELEASE)
    claimed = await world.claim(await world.boot())
    assert [one.wait_s for one in claimed] == [0.0, 0.0]


async def test_a_run_that_waits_for_a_limit_gets_no_slot_ahead_of_its_time(world: World) -> None:
    run = await due_in(world, TENTH, limit_key="smtp", limit=1)
    assert await world.state(run) == "scheduled"
    world.turn(0.1)
    assert await world.store.promote(ahead=MOST_AHEAD, now=world.now) == 1
