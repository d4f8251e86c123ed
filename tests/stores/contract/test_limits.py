"""Limits: never more admitted than allowed, and every way out gives its slot back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from uuid import UUID

import pytest

from duly.core.runs import Claimed
from duly.core.states import RunVerb
from tests.stores.world import MINUTE, World

Way = Callable[[World, UUID, Claimed], Awaitable[object]]


def ended_by(verb: RunVerb, **how: object) -> Way:
    return lambda world, boot, run: world.end(boot, run, verb, **how)


async def cancelled_and_taken_over(world: World, boot: UUID, run: Claimed) -> None:
    await world.store.cancel(run.id, by="bob", reason="no", now=world.now)
    await world.die(boot)


async def cancelled_and_left(world: World, boot: UUID, run: Claimed) -> None:
    await world.store.cancel(run.id, by="bob", reason="no", now=world.now)
    await world.store.leave(boot, now=world.now)


async def released_and_cancelled(world: World, boot: UUID, run: Claimed) -> None:
    await world.end(boot, run, RunVerb.RELEASE)
    await world.store.cancel(run.id, by="bob", reason="no", now=world.now)


async def released_and_shelved(world: World, boot: UUID, run: Claimed) -> None:
    await world.end(boot, run, RunVerb.RELEASE)
    world.turn(10 * MINUTE)
    await world.boot("u")
    await world.store.shelve(now=world.now)


async def slots(world: World) -> dict[str, list[str]]:
    return (await world.store.snapshot())["slots"]


async def test_no_more_run_than_the_limit_admits(world: World) -> None:
    runs = [await world.enqueue(limit_key="l", limit=2) for _ in range(4)]
    free = await world.enqueue()
    assert await world.store.counts() == {"ready": 3, "waiting": 2}
    assert (await world.view(runs[2])).reason == "limit:l"
    boot = await world.boot()
    claimed = await world.claim(boot)
    assert [one.id for one in claimed] == [runs[0], runs[1], free]
    assert await slots(world) == {"l": [str(runs[0]), str(runs[1])]}


WAYS_OUT = {
    "complete": ended_by(RunVerb.COMPLETE),
    "fail": ended_by(RunVerb.FAIL),
    "cancel": ended_by(RunVerb.CANCEL),
    "retry": ended_by(RunVerb.RETRY, delay_us=60_000_000),
    "wait": ended_by(RunVerb.WAIT, delay_us=60_000_000),
    "park": ended_by(RunVerb.PARK, reason="uncertain"),
    "cancelled and taken over": cancelled_and_taken_over,
    "cancelled and left": cancelled_and_left,
    "released and cancelled": released_and_cancelled,
    "released and shelved": released_and_shelved,
}


@pytest.mark.parametrize("way", WAYS_OUT)
async def test_every_way_out_frees_the_slot_and_admits_the_next(world: World, way: str) -> None:
    boot, run = await world.held(limit_key="l", limit=1)
    task = "u" if way == "released and shelved" else "t"
    waiting = await world.enqueue(limit_key="l", limit=1, task=task)
    assert await world.state(waiting) == "waiting"
    await WAYS_OUT[way](world, boot, run)
    assert await slots(world) == {"l": [str(waiting)]}
    assert await world.state(waiting) == "ready"


@pytest.mark.parametrize("way", ["release", "leave", "take over"])
async def test_a_run_that_goes_back_to_ready_keeps_its_slot(world: World, way: str) -> None:
    boot, run = await world.held(limit_key="l", limit=1)
    waiting = await world.enqueue(limit_key="l", limit=1)
    if way == "release":
        await world.end(boot, run, RunVerb.RELEASE)
    elif way == "leave":
        await world.store.leave(boot, now=world.now)
    else:
        await world.die(boot)
    assert await slots(world) == {"l": [str(run.id)]}
    assert (await world.state(run.id), await world.state(waiting)) == ("ready", "waiting")


async def test_an_expired_run_frees_its_slot(world: World) -> None:
    late = await world.enqueue(limit_key="l", limit=1, expires_at=world.now + MINUTE)
    waiting = await world.enqueue(limit_key="l", limit=1)
    world.turn(MINUTE)
    assert await world.store.expire(now=world.now) == 1
    assert (await world.state(late), await world.state(waiting)) == ("expired", "ready")
    assert await slots(world) == {"l": [str(waiting)]}


async def test_a_parked_poison_frees_its_slot(world: World) -> None:
    run = await world.enqueue(limit_key="l", limit=1)
    waiting = await world.enqueue(limit_key="l", limit=1)
    for _ in range(4):
        boot = await world.boot()
        await world.claim(boot, queues=("default", "~suspect"))
        await world.die(boot)
    assert (await world.state(run), await world.state(waiting)) == ("parked", "ready")


async def test_who_waits_is_admitted_by_priority_then_by_id(world: World) -> None:
    boot, run = await world.held(limit_key="l", limit=1)
    waiting = [await world.enqueue(limit_key="l", limit=1, priority=p) for p in (0, 2, 2)]
    await world.complete(boot, run)
    order = []
    for _ in waiting:
        [next_one] = await world.claim(boot)
        order.append(next_one.id)
        await world.complete(boot, next_one)
    assert order == [waiting[1], waiting[2], waiting[0]]
    assert await slots(world) == {}


async def test_a_woken_run_waits_for_room(world: World) -> None:
    boot, run = await world.held(limit_key="l", limit=1)
    await world.end(boot, run, RunVerb.RETRY, error="boom", delay_us=0)
    other = await world.enqueue(limit_key="l", limit=1)
    assert await world.state(other) == "ready"
    assert await world.store.promote(now=world.now) == 1
    view = await world.view(run.id)
    assert (view.state, view.reason, view.failures) == ("waiting", "limit:l", 1)
    [held] = await world.claim(boot)
    await world.complete(boot, held)
    assert await world.state(run.id) == "ready"


async def test_a_scheduled_run_takes_no_slot_before_its_time(world: World) -> None:
    later = await world.enqueue(limit_key="l", limit=1, run_at=world.now + MINUTE)
    now = await world.enqueue(limit_key="l", limit=1)
    assert await slots(world) == {"l": [str(now)]}
    assert await world.state(later) == "scheduled"


async def test_a_limit_that_was_raised_admits_at_the_next_promotion(world: World) -> None:
    runs = [await world.enqueue(limit_key="l", limit=1) for _ in range(3)]
    await world.enqueue(limit_key="l", limit=3, run_at=world.now + MINUTE)
    assert await world.store.promote(now=world.now) == 2
    assert [await world.state(run) for run in runs] == ["ready"] * 3


async def test_a_limit_that_was_lowered_takes_nothing_away(world: World) -> None:
    boot = await world.boot()
    for _ in range(2):
        await world.enqueue(limit_key="l", limit=2)
    first, second = await world.claim(boot)
    waiting = await world.enqueue(limit_key="l", limit=1)
    await world.complete(boot, first)
    assert await world.state(waiting) == "waiting"
    await world.complete(boot, second)
    assert await world.state(waiting) == "ready"


async def test_a_waiting_run_that_is_cancelled_leaves_the_line(world: World) -> None:
    boot, run = await world.held(limit_key="l", limit=1)
    first = await world.enqueue(limit_key="l", limit=1)
    second = await world.enqueue(limit_key="l", limit=1)
    await world.store.cancel(first, by="bob", reason="no", now=world.now)
    await world.complete(boot, run)
    assert (await world.state(first), await world.state(second)) == ("cancelled", "ready")


async def test_limits_are_apart_from_each_other(world: World) -> None:
    a = [await world.enqueue(limit_key="a", limit=1) for _ in range(2)]
    b = [await world.enqueue(limit_key="b", limit=1) for _ in range(2)]
    boot = await world.boot()
    claimed = await world.claim(boot)
    assert [one.id for one in claimed] == [a[0], b[0]]
    await world.complete(boot, *claimed)
    assert [await world.state(one) for one in (a[1], b[1])] == ["ready", "ready"]
