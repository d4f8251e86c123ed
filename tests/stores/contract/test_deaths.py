"""Deaths: who may be declared dead, what becomes of the work, and who is not blamed."""

from __future__ import annotations

from uuid import UUID

import pytest

from duly.core.fleet import Proof, TakenOver
from duly.core.runs import SUSPECT_QUEUE, Answer
from duly.core.states import RunVerb
from tests.stores.world import MINUTE, World, instance

ANYWHERE = ("default", SUSPECT_QUEUE)


async def dies_with(world: World, run: UUID, times: int = 1) -> list[UUID]:
    """Let a run be in flight at so many deaths; return the boots that died."""
    boots = []
    for _ in range(times):
        boot = await world.boot()
        assert run in {one.id for one in await world.claim(boot, queues=ANYWHERE)}
        await world.die(boot)
        boots.append(boot)
    return boots


async def test_what_the_dead_held_is_ready_again_at_no_cost(world: World) -> None:
    boot, run = await world.held()
    first, second = await world.twice(world.store.take_over, boot, Proof.PROCESS, now=world.turn(1))
    assert first == TakenOver(boot, True, ready=(run.id,))
    assert second == TakenOver(boot, False)
    view = await world.view(run.id)
    assert (view.state, view.failures, view.deaths, view.epoch) == ("ready", 0, 1, 1)
    [past] = view.attempts
    assert (past.outcome, past.detail, past.ended_at) == (
        RunVerb.TAKE_OVER, "process gone", world.now,
    )  # fmt: skip


async def test_the_dead_stay_dead(world: World) -> None:
    boot, run = await world.held()
    await world.die(boot)
    before = await world.store.snapshot()
    assert await world.store.register(instance(boot), {}, now=world.now) is Answer.STALE
    assert (await world.store.renew(boot, [(run.id, 1)], [], now=world.now)).alive is False
    horizon = await world.store.beat(boot, queues=("default",), tasks=("t",), now=world.now)
    assert (horizon.alive, horizon.ready) == (False, True)
    assert await world.claim(boot) == []
    assert await world.store.leave(boot, now=world.now) == 0
    assert await world.end(boot, run, RunVerb.COMPLETE) is Answer.STALE
    assert await world.store.snapshot() == before


async def test_a_lease_counts_only_when_it_has_ended(world: World) -> None:
    boot, run = await world.held()
    world.turn(14.999)
    assert await world.store.lapsed(now=world.now) == []
    early = await world.store.take_over(boot, Proof.LEASE, now=world.now)
    assert early == TakenOver(boot, False)
    world.turn(0.001)
    assert await world.store.lapsed(now=world.now) == [boot]
    late = await world.store.take_over(boot, Proof.LEASE, now=world.now)
    assert late == TakenOver(boot, True, ready=(run.id,))
    assert await world.store.lapsed(now=world.now) == []


async def test_a_renewed_lease_counts_from_its_renewal(world: World) -> None:
    boot, run = await world.held()
    world.turn(10)
    await world.store.renew(boot, [(run.id, run.epoch)], [], now=world.now)
    world.turn(14)
    assert await world.store.lapsed(now=world.now) == []
    assert not (await world.store.take_over(boot, Proof.LEASE, now=world.now)).buried


async def test_lapsed_boots_come_oldest_first_and_only_with_work(world: World) -> None:
    boots = []
    for _ in range(3):
        boot, _run = await world.held()
        boots.append(boot)
        world.turn(1)
    await world.claim(await world.boot())
    world.turn(MINUTE)
    assert await world.store.lapsed(now=world.now) == boots


async def test_a_suspect_is_rerun_alone_and_then_parked(world: World) -> None:
    run = await world.enqueue()
    await dies_with(world, run, 3)
    boot = await world.boot()
    assert await world.claim(boot) == []
    horizon = await world.store.beat(boot, queues=("default",), tasks=("t",), now=world.now)
    assert (horizon.ready, horizon.suspects) == (False, True)
    [claimed] = await world.claim(boot, queues=(SUSPECT_QUEUE,))
    assert (claimed.id, claimed.deaths, claimed.queue) == (run, 3, "default")
    taken = await world.die(boot)
    assert (taken.parked, taken.ready) == ((run,), ())
    view = await world.view(run)
    assert (view.state, view.reason, view.deaths) == ("parked", "poison", 4)


async def test_a_suspect_that_is_handed_back_stays_one(world: World) -> None:
    run = await world.enqueue()
    await dies_with(world, run, 3)
    boot = await world.boot()
    [claimed] = await world.claim(boot, queues=ANYWHERE)
    await world.end(boot, claimed, RunVerb.RELEASE)
    assert await world.claim(boot) == []
    assert [one.id for one in await world.claim(boot, queues=ANYWHERE)] == [run]


async def test_a_suspect_that_was_shelved_is_still_run_alone(world: World) -> None:
    run = await world.enqueue()
    await dies_with(world, run, 3)
    assert await world.store.shelve(now=world.now) == {"t": 1}
    boot = await world.boot()
    assert await world.claim(boot) == []
    assert [one.id for one in await world.claim(boot, queues=ANYWHERE)] == [run]


@pytest.mark.parametrize("verb", [RunVerb.RETRY, RunVerb.WAIT])
async def test_progress_forgets_deaths(world: World, verb: RunVerb) -> None:
    run = await world.enqueue()
    await dies_with(world, run, 2)
    boot = await world.boot()
    [claimed] = await world.claim(boot)
    await world.end(boot, claimed, verb, delay_us=0)
    await world.store.promote(now=world.now)
    assert (await world.view(run)).deaths == 0
    await dies_with(world, run, 2)
    assert (await world.view(run)).deaths == 2


async def test_an_unparked_poison_starts_afresh(world: World) -> None:
    run = await world.enqueue()
    await dies_with(world, run, 4)
    assert await world.store.unpark(run, by="bob", now=world.now) is Answer.DONE
    [claimed] = await world.claim(await world.boot())
    assert (claimed.id, claimed.deaths) == (run, 0)


async def test_a_boot_that_returns_takes_its_count_back(world: World) -> None:
    run = await world.enqueue()
    [boot] = await dies_with(world, run)
    first, second = await world.twice(world.store.come_back, boot, now=world.now)
    assert (first, second) == (1, 0)
    view = await world.view(run)
    assert (view.deaths, view.attempts[0].outcome) == (0, RunVerb.RELEASE)


async def test_a_return_unparks_what_is_poison_no_more(world: World) -> None:
    run = await world.enqueue(limit_key="l", limit=1)
    boots = await dies_with(world, run, 4)
    other = await world.enqueue(limit_key="l", limit=1)
    assert await world.store.come_back(boots[0], now=world.now) == 1
    view = await world.view(run)
    assert (view.state, view.reason, view.deaths) == ("waiting", "limit:l", 3)
    await world.store.cancel(other, by="bob", reason="no", now=world.now)
    boot = await world.boot()
    assert await world.claim(boot) == []
    [claimed] = await world.claim(boot, queues=(SUSPECT_QUEUE,))
    assert (claimed.id, claimed.deaths) == (run, 3)


async def test_a_return_does_not_touch_a_run_that_was_parked_for_a_doubt(world: World) -> None:
    run = await world.enqueue()
    [dead] = await dies_with(world, run)
    boot = await world.boot()
    [claimed] = await world.claim(boot)
    await world.end(boot, claimed, RunVerb.PARK, reason="uncertain")
    await world.store.come_back(dead, now=world.now)
    assert await world.state(run) == "parked"


async def test_a_return_clears_a_run_in_other_hands(world: World) -> None:
    run = await world.enqueue()
    [dead] = await dies_with(world, run)
    boot = await world.boot()
    [claimed] = await world.claim(boot)
    assert await world.store.come_back(dead, now=world.now) == 1
    assert ((await world.view(run)).deaths, claimed.deaths) == (0, 1)
    assert await world.complete(boot, claimed) == [Answer.DONE]


async def test_neighbours_of_a_death_are_counted_too(world: World) -> None:
    runs = [await world.enqueue() for _ in range(3)]
    boot = await world.boot()
    await world.claim(boot)
    assert (await world.die(boot)).ready == tuple(runs)
    assert [(await world.view(run)).deaths for run in runs] == [1, 1, 1]


async def test_an_unknown_boot_cannot_be_taken_over(world: World) -> None:
    boot = world.new_id()
    assert await world.store.take_over(boot, Proof.PROCESS, now=world.now) == TakenOver(boot, False)
    assert await world.store.come_back(boot, now=world.now) == 0
