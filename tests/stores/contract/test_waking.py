"""Promotion, expiry, code that nobody carries, and the hints that something happened."""

from __future__ import annotations

import asyncio

from duly.core.runs import Answer
from duly.core.states import RunVerb
from duly.stores.base import Signal, WakeUp
from tests.stores.world import MINUTE, World


async def test_due_runs_are_promoted_earliest_first(world: World) -> None:
    late = await world.enqueue(run_at=world.now + 2 * MINUTE)
    soon = await world.enqueue(run_at=world.now + MINUTE)
    far = await world.enqueue(run_at=world.now + 3 * MINUTE)
    world.turn(2 * MINUTE)
    assert await world.store.promote(1, now=world.now) == 1
    assert [await world.state(run) for run in (soon, late, far)] == [
        "ready", "scheduled", "scheduled",
    ]  # fmt: skip
    first, second = await world.twice(world.store.promote, now=world.now)
    assert (first, second) == (1, 0)
    assert [await world.state(run) for run in (late, far)] == ["ready", "scheduled"]


async def test_a_wait_without_an_end_is_not_promoted(world: World) -> None:
    boot, run = await world.held()
    await world.end(boot, run, RunVerb.WAIT, reason="event:paid")
    world.turn(1000 * MINUTE)
    assert await world.store.promote(now=world.now) == 0
    view = await world.view(run.id)
    assert (view.state, view.reason, view.wake_at) == ("waiting", "event:paid", None)


async def test_a_run_that_never_started_expires(world: World) -> None:
    until = world.now + MINUTE
    ready = await world.enqueue(expires_at=until)
    scheduled = await world.enqueue(expires_at=until, run_at=world.now + 2 * MINUTE)
    kept = await world.enqueue(expires_at=until + MINUTE)
    assert await world.store.expire(now=world.now) == 0
    world.turn(MINUTE)
    first, second = await world.twice(world.store.expire, now=world.now)
    assert (first, second) == (2, 0)
    for run in (ready, scheduled):
        view = await world.view(run)
        assert (view.state, view.reason, view.boot) == ("expired", "not started in time", None)
    assert await world.state(kept) == "ready"


async def test_a_run_that_started_in_time_does_not_expire(world: World) -> None:
    run = await world.enqueue(expires_at=world.now + MINUTE)
    boot = await world.boot()
    [claimed] = await world.claim(boot)
    await world.end(boot, claimed, RunVerb.RELEASE)
    world.turn(2 * MINUTE)
    assert await world.store.expire(now=world.now) == 0
    assert [one.id for one in await world.claim(boot)] == [run]


async def test_work_without_code_is_put_aside_and_comes_back_with_it(world: World) -> None:
    await world.boot("t")
    runs = [await world.enqueue(task="u") for _ in range(2)]
    kept = await world.enqueue(task="t")
    first, second = await world.twice(world.store.shelve, now=world.now)
    assert (first, second) == ({"u": 2}, {})
    view = await world.view(runs[0])
    assert (view.state, view.reason, view.wake_at) == ("waiting", "no_code", None)
    assert await world.state(kept) == "ready"
    assert await world.store.promote(now=world.now) == 0
    await world.boot("u")
    assert [await world.state(run) for run in runs] == ["ready", "ready"]


async def test_an_instance_that_was_away_gets_its_work_back_without_registering(
    world: World,
) -> None:
    boot = await world.boot("t")
    run = await world.enqueue(task="t")
    world.turn(2 * MINUTE)
    assert await world.store.shelve(now=world.now) == {"t": 1}
    await world.store.beat(boot, queues=("default",), tasks=("t",), now=world.now)
    assert await world.store.shelve(now=world.now) == {}
    assert await world.state(run) == "ready"


async def test_gone_and_dead_instances_carry_nothing(world: World) -> None:
    await world.enqueue(task="t")
    await world.enqueue(task="u")
    gone, dead = await world.boot("t"), await world.boot("u")
    await world.store.leave(gone, now=world.now)
    await world.die(dead)
    assert await world.store.shelve(now=world.now) == {"t": 1, "u": 1}


async def test_shelved_work_can_be_cancelled_or_expire(world: World) -> None:
    cancelled = await world.enqueue()
    expired = await world.enqueue(expires_at=world.now + MINUTE)
    await world.store.shelve(now=world.now)
    answer = await world.store.cancel(cancelled, by="bob", reason="no", now=world.now)
    assert answer is Answer.DONE
    world.turn(MINUTE)
    assert await world.store.expire(now=world.now) == 1
    await world.boot()
    assert [await world.state(run) for run in (cancelled, expired)] == ["cancelled", "expired"]


async def test_what_commits_is_told(world: World) -> None:
    heard: asyncio.Queue[WakeUp] = asyncio.Queue()
    stop = world.store.listen(heard.put_nowait)
    boot = await world.boot()
    for act, expected in (
        (world.enqueue(), Signal.READY),
        (world.enqueue(run_at=world.now + MINUTE), Signal.DUE),
    ):
        await act
        await _until(heard, expected)
    [run] = await world.claim(boot)
    await world.store.cancel(run.id, by="bob", reason="no", now=world.now)
    assert (await _until(heard, Signal.CANCEL)).detail == str(run.id)
    stop()
    stop()


async def test_who_stopped_listening_hears_nothing(world: World) -> None:
    heard: list[WakeUp] = []
    world.store.listen(heard.append)()
    await world.enqueue()
    await asyncio.sleep(0)
    assert heard == []


async def _until(heard: asyncio.Queue[WakeUp], signal: Signal) -> WakeUp:
    async with asyncio.timeout(10):
        while True:
            one = await heard.get()
            if one.signal is signal:
                return one
