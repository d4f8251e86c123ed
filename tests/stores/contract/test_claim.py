"""Claiming: order, what is passed over, the lease that goes with it, and the resend."""

from __future__ import annotations

from duly.core.fleet import Claim, Proof
from duly.core.runs import Claimed, Origin
from tests.stores.world import MINUTE, World


async def test_higher_priority_goes_first_then_the_older_id(world: World) -> None:
    priorities = [0, 5, -3, 5, 0]
    runs = [await world.enqueue(priority=one) for one in priorities]
    boot = await world.boot()
    first = await world.claim(boot, limit=3)
    rest = await world.claim(boot)
    assert [one.id for one in first + rest] == [runs[n] for n in (1, 3, 0, 4, 2)]


async def test_order_holds_across_queues(world: World) -> None:
    low = await world.enqueue(queue="a")
    high = await world.enqueue(queue="b", priority=1)
    claimed = await world.claim(await world.boot(), queues=("a", "b"))
    assert [one.id for one in claimed] == [high, low]


async def test_only_the_given_queues_and_tasks_are_taken(world: World) -> None:
    wanted = await world.enqueue(task="t", queue="a")
    await world.enqueue(task="t", queue="b")
    await world.enqueue(task="u", queue="a")
    claimed = await world.claim(await world.boot(), queues=("a",), tasks=("t",))
    assert [one.id for one in claimed] == [wanted]


async def test_a_claim_carries_what_the_work_needs(world: World) -> None:
    run = await world.enqueue(args=b"[1]", queue="q", origin=Origin.TRIGGER, due=world.now)
    asked = world.now
    world.turn(5)
    [claimed] = await world.claim(await world.boot(), queues=("q",))
    assert claimed == Claimed(
        id=run, epoch=1, task="t", args=b"[1]", queue="q", failures=0, deaths=0, limit_key=None,
        schedule=None, due=asked, window_start=None, origin=Origin.TRIGGER, enqueued_at=asked,
    )  # fmt: skip
    view = await world.view(run)
    assert (view.state, view.started_at, view.epoch) == ("running", world.now, 1)


async def test_nothing_is_claimed_twice(world: World) -> None:
    for _ in range(4):
        await world.enqueue()
    one, two = await world.boot(), await world.boot()
    first, second = await world.claim(one, limit=3), await world.claim(two, limit=3)
    assert (len(first), len(second)) == (3, 1)
    assert not {r.id for r in first} & {r.id for r in second}


async def test_a_resent_claim_returns_what_it_took_and_still_holds(world: World) -> None:
    runs = [await world.enqueue(priority=n) for n in range(5)]
    boot, claim = await world.boot(), world.new_id()
    first, second = await world.twice(world.claim, boot, claim=claim, limit=3)
    assert first == second
    assert [one.id for one in first] == [runs[4], runs[3], runs[2]]
    await world.complete(boot, first[0])
    assert await world.claim(boot, claim=claim, limit=3) == first[1:]


async def test_a_claim_renews_the_lease(world: World) -> None:
    boot = await world.boot()
    await world.claim(boot, lease=MINUTE)
    [me] = await world.store.instances()
    assert (me.lease_until, me.seen_at, me.held) == (world.now + MINUTE, world.now, 0)


async def test_a_boot_that_is_unknown_dead_or_gone_claims_nothing(world: World) -> None:
    run = await world.enqueue()
    dead, gone = await world.boot(), await world.boot()
    await world.store.take_over(dead, Proof.SESSION, now=world.now)
    await world.store.leave(gone, now=world.now)
    for boot in (dead, gone, world.new_id()):
        answer = await world.store.claim(
            boot, world.new_id(), queues=("default",), tasks=("t",), limit=1, now=world.now
        )
        assert answer == Claim(alive=False)
    assert await world.state(run) == "ready"


async def test_a_run_past_its_expiry_is_passed_over(world: World) -> None:
    late = await world.enqueue(expires_at=world.now + MINUTE)
    good = await world.enqueue(expires_at=world.now + 2 * MINUTE)
    world.turn(MINUTE)
    assert [one.id for one in await world.claim(await world.boot())] == [good]
    assert await world.state(late) == "ready"


async def test_each_claim_raises_the_epoch(world: World) -> None:
    run = await world.enqueue()
    for epoch in (1, 2, 3):
        boot = await world.boot()
        [claimed] = await world.claim(boot)
        assert (claimed.id, claimed.epoch) == (run, epoch)
        await world.store.leave(boot, now=world.now)
