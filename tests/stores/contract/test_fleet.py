"""The fleet: registering, presence, renewal and its comparing of notes, leaving."""

from __future__ import annotations

from datetime import timedelta

import msgspec

from duly.core.fleet import InstanceState, Renewal
from duly.core.runs import Answer
from duly.core.states import RunVerb
from tests.stores.world import HOUR, MINUTE, World, instance, minutely


async def test_a_boot_is_registered_once(world: World) -> None:
    me = instance(world.new_id())
    first, second = await world.twice(world.store.register, me, {}, now=world.now)
    assert (first, second) == (Answer.DONE, Answer.ALREADY)
    [kept] = await world.store.instances()
    assert kept == msgspec.structs.replace(me, started_at=world.now, seen_at=world.now)


async def test_registering_again_replaces_the_tasks(world: World) -> None:
    boot = await world.boot("t")
    started = world.now
    await world.store.register(instance(boot, ("u", "v")), {}, now=world.turn(1))
    [kept] = await world.store.instances()
    assert (kept.tasks, kept.started_at, kept.seen_at) == (("u", "v"), started, world.now)


async def test_who_is_there_is_told_without_those_that_were(world: World) -> None:
    living, left = await world.boot(), await world.boot()
    busy, run = await world.held()
    await world.store.leave(left, now=world.now)
    dead, _ = await world.held()
    await world.die(dead)
    shown = [(one.boot, one.held) for one in await world.store.instances(here=True)]
    assert shown == [(busy, 1), (living, 0)], run
    assert len(await world.store.instances()) == 4


async def test_instances_come_newest_first_with_what_they_hold(world: World) -> None:
    idle = await world.boot()
    for _ in range(2):
        await world.enqueue()
    busy = await world.boot()
    await world.claim(busy)
    shown = [(one.boot, one.held) for one in await world.store.instances()]
    assert shown == [(busy, 2), (idle, 0)]


async def test_a_beat_shows_presence(world: World) -> None:
    boot = await world.boot()
    world.turn(30)
    horizon = await world.store.beat(boot, queues=("default",), tasks=("t",), now=world.now)
    assert (horizon.now, horizon.alive) == (world.now, True)
    [kept] = await world.store.instances()
    assert (kept.seen_at, kept.lease_until) == (world.now, None)


async def test_an_unknown_boot_is_told_so(world: World) -> None:
    boot = world.new_id()
    horizon = await world.store.beat(boot, queues=(), tasks=(), now=world.now)
    assert (horizon.alive, horizon.ready, horizon.suspects) == (False, False, False)
    assert await world.store.renew(boot, [], [], now=world.now) == Renewal(alive=False)
    assert await world.store.leave(boot, now=world.now) == 0


async def test_the_horizon_says_what_lies_ahead(world: World) -> None:
    boot = await world.boot()
    see = {"queues": ("default",), "tasks": ("t",), "now": world.now}
    empty = await world.store.beat(boot, **see)
    assert (empty.next_fire, empty.next_wake, empty.ready, empty.next_expiry) == (
        None, None, False, None,
    )  # fmt: skip
    await world.declare(minutely())
    await world.enqueue(run_at=world.now + 2 * HOUR)
    await world.enqueue(run_at=world.now + HOUR)
    await world.enqueue(task="u")
    await world.enqueue(queue="other")
    ahead = await world.store.beat(boot, **see)
    assert (ahead.next_fire, ahead.next_wake, ahead.ready) == (
        world.now + MINUTE, world.now + HOUR, False,
    )  # fmt: skip
    await world.enqueue()
    assert (await world.store.beat(boot, **see)).ready


async def test_the_horizon_shows_the_next_lease_of_others_who_hold(world: World) -> None:
    holder, _ = await world.held()
    idle, watcher = await world.boot(), await world.boot()
    await world.claim(idle, lease=timedelta(seconds=1))
    see = {"queues": (), "tasks": (), "now": world.now}
    horizon = await world.store.beat(watcher, **see)
    assert horizon.next_expiry == world.now + timedelta(seconds=15)
    assert (await world.store.beat(holder, **see)).next_expiry is None


async def test_a_renewal_prolongs_the_lease(world: World) -> None:
    boot, run = await world.held()
    world.turn(5)
    first, second = await world.twice(
        world.store.renew, boot, [(run.id, run.epoch)], [], lease=MINUTE, now=world.now
    )
    assert first == second == Renewal(alive=True)
    [kept] = await world.store.instances()
    assert (kept.lease_until, kept.seen_at) == (world.now + MINUTE, world.now)


async def test_what_memory_does_not_know_is_released(world: World) -> None:
    boot, run = await world.held()
    lost = await world.enqueue()
    await world.claim(boot)
    renewed = await world.store.renew(boot, [(run.id, run.epoch)], [], now=world.now)
    assert renewed == Renewal(alive=True, released=1)
    view = await world.view(lost)
    assert (view.state, view.failures, view.deaths, view.epoch) == ("ready", 0, 0, 1)
    assert view.attempts[0].outcome is RunVerb.RELEASE
    assert await world.state(run.id) == "running"


async def test_a_claim_whose_answer_is_awaited_is_left_alone(world: World) -> None:
    boot, claim = await world.boot(), world.new_id()
    run = await world.enqueue()
    await world.claim(boot, claim=claim)
    renewed = await world.store.renew(boot, [], [world.new_id(), claim], now=world.now)
    assert renewed == Renewal(alive=True)
    assert await world.state(run) == "running"


async def test_what_is_no_longer_held_is_named_as_lost(world: World) -> None:
    boot, run = await world.held()
    other, foreign = await world.held()
    await world.complete(boot, run)
    notes = [(foreign.id, 1), (run.id, 1), (world.new_id(), 1)]
    renewed = await world.store.renew(boot, notes, [], now=world.now)
    assert renewed == Renewal(alive=True, lost=tuple(sorted(one for one, _ in notes)))
    assert await world.end(other, foreign, RunVerb.COMPLETE) is Answer.DONE


async def test_a_wrong_epoch_is_lost_and_the_true_one_released(world: World) -> None:
    boot, run = await world.held()
    renewed = await world.store.renew(boot, [(run.id, run.epoch + 1)], [], now=world.now)
    assert renewed == Renewal(alive=True, lost=(run.id,), released=1)
    assert await world.state(run.id) == "ready"


async def test_leaving_hands_everything_back(world: World) -> None:
    boot, run = await world.held()
    first, second = await world.twice(world.store.leave, boot, now=world.turn(1))
    assert (first, second) == (1, 0)
    view = await world.view(run.id)
    assert (view.state, view.deaths, view.failures) == ("ready", 0, 0)
    [kept] = await world.store.instances()
    assert (kept.state, kept.reason, kept.lease_until) == (InstanceState.GONE, "stopped", None)


async def test_a_line_of_its_own_renews_by_the_stores_clock(world: World) -> None:
    boot, line = await world.boot(), world.store.lease_line()
    renewed = line.renew(boot, [], [], lease=MINUTE)
    line.close()
    assert renewed == Renewal(alive=True)
    [kept] = await world.store.instances()
    assert kept.lease_until is not None and kept.seen_at is not None
    assert kept.lease_until - kept.seen_at == MINUTE
