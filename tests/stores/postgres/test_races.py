"""Races between real connections, each after an interleaving that was found to break a queue.

A race is provoked by running both sides at once, many times, or by holding a lock in between
with a transaction of the test's own. Nothing sleeps; what must hold is held for every outcome.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import UUID

import asyncpg
import pytest

from duly.core.fleet import Proof
from duly.core.runs import Answer, Claimed, Ending, NewRun, Reuse
from duly.core.states import RunVerb, ScheduleVerb
from duly.stores.base import Signal, WakeUp
from duly.stores.postgres import PostgresStore
from tests.stores.postgres.conftest import MakeStores
from tests.stores.world import T0, World, ident, instance, minutely

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("postgres")]

QUEUES, TASKS = ("default",), ("t",)


class Ids:
    """Ids that no two sides of a race share."""

    def __init__(self) -> None:
        self._made = 0

    def __call__(self) -> UUID:
        self._made += 1
        return ident(self._made)


async def boot_of(store: PostgresStore, new_id: Ids) -> UUID:
    boot = new_id()
    await store.register(instance(boot), {})
    return boot


async def claim(store: PostgresStore, boot: UUID, new_id: Ids, limit: int) -> list[Claimed]:
    got = await store.claim(boot, new_id(), queues=QUEUES, tasks=TASKS, limit=limit)
    return list(got.runs)


def ends(runs: list[Claimed], verb: RunVerb = RunVerb.COMPLETE) -> list[Ending]:
    return [Ending(run=one.id, epoch=one.epoch, verb=verb) for one in runs]


async def plain(store: PostgresStore, new_id: Ids, count: int, **how: object) -> list[UUID]:
    runs = [NewRun(id=new_id(), task="t", **how) for _ in range(count)]  # type: ignore[arg-type]
    await store.enqueue(runs)
    return [one.id for one in runs]


async def test_two_claims_never_share_a_run(make_stores: MakeStores) -> None:
    stores, new_id = await make_stores(4), Ids()
    wanted = await plain(stores[0], new_id, 400)
    boots = [await boot_of(one, new_id) for one in stores]
    batches = await asyncio.gather(
        *(claim(stores[i % 4], boots[i % 4], new_id, 30) for i in range(16))
    )
    taken = [run.id for batch in batches for run in batch]
    assert len(taken) == len(set(taken))
    assert set(taken) == set(wanted)


async def test_a_boot_that_is_being_buried_claims_nothing(
    make_stores: MakeStores, database: str
) -> None:
    [store], new_id = await make_stores(1), Ids()
    boot, [run] = await boot_of(store, new_id), await plain(store, new_id, 1)
    other = await asyncpg.connect(database)
    try:
        async with other.transaction():
            await other.execute("update duly_instance set state = 'dead' where boot = $1", boot)
            claiming = asyncio.create_task(
                store.claim(boot, new_id(), queues=QUEUES, tasks=TASKS, limit=9)
            )
            await waits_for_a_lock(other)
        got = await claiming
    finally:
        await other.close()
    assert (got.alive, got.runs) == (False, ())
    found = await store.run(run)
    assert found is not None and found.state == "ready"


async def waits_for_a_lock(conn: asyncpg.Connection) -> None:
    """Return when some session of this database waits for a lock."""
    asked = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = $1"
    database = await conn.fetchval("select current_database()")
    for _ in range(20_000):
        if await conn.fetchval(asked, database):
            return
        await asyncio.sleep(0)
    raise AssertionError("nobody waits for a lock")


async def test_claims_racing_a_takeover_leave_nothing_in_dead_hands(
    make_stores: MakeStores,
) -> None:
    stores, new_id = await make_stores(2), Ids()
    for _ in range(25):
        await plain(stores[0], new_id, 4)
        boot = await boot_of(stores[0], new_id)
        await asyncio.gather(
            claim(stores[0], boot, new_id, 2),
            stores[1].take_over(boot, Proof.PROCESS),
            claim(stores[0], boot, new_id, 2),
        )
        held = (await stores[0].snapshot())["held"]
        assert [one for one in held.values() if one["boot"] == str(boot)] == []


async def test_taking_over_twice_buries_once(make_stores: MakeStores) -> None:
    stores, new_id = await make_stores(4), Ids()
    for _ in range(10):
        await plain(stores[0], new_id, 3)
        boot = await boot_of(stores[0], new_id)
        got = await claim(stores[0], boot, new_id, 99)
        taken = await asyncio.gather(*(one.take_over(boot, Proof.PROCESS) for one in stores))
        assert sorted(one.buried for one in taken) == [False, False, False, True]
        assert sum(one.taken for one in taken) == len(got) == 3
        survivor = await boot_of(stores[0], new_id)
        rest = await claim(stores[0], survivor, new_id, 99)
        await stores[0].end(survivor, ends(rest))


async def test_a_cancel_always_finds_the_run_that_moves(make_stores: MakeStores) -> None:
    stores, new_id = await make_stores(2), Ids()
    boot = await boot_of(stores[0], new_id)

    async def work() -> Answer | None:
        got = await claim(stores[0], boot, new_id, 1)
        return (await stores[0].end(boot, ends(got)))[0] if got else None

    for _ in range(60):
        [run] = await plain(stores[0], new_id, 1)
        answer, _ = await asyncio.gather(stores[1].cancel(run, by="bob", reason="so"), work())
        found = await stores[0].run(run)
        assert found is not None
        states = {
            Answer.DONE: "cancelled",
            Answer.REQUESTED: "succeeded",
            Answer.IMPOSSIBLE: "succeeded",
        }
        assert found.state == states[answer]


async def test_a_cancel_racing_a_retry_is_never_lost(make_stores: MakeStores) -> None:
    stores, new_id = await make_stores(2), Ids()
    boot = await boot_of(stores[0], new_id)
    for _ in range(30):
        [run] = await plain(stores[0], new_id, 1)
        got = await claim(stores[0], boot, new_id, 1)
        answer, _ = await asyncio.gather(
            stores[1].cancel(run, by="bob", reason="so"),
            stores[0].end(boot, ends(got, RunVerb.RETRY)),
        )
        found = await stores[0].run(run)
        assert found is not None
        assert answer in (Answer.DONE, Answer.REQUESTED)
        assert found.state == "cancelled"


async def test_the_same_keys_in_other_orders_do_not_deadlock(make_stores: MakeStores) -> None:
    stores, new_id = await make_stores(4), Ids()
    keys = [f"k{n}" for n in range(20)]

    async def enqueue(store: PostgresStore, order: list[str]) -> list[Reuse]:
        runs = [NewRun(id=new_id(), task="t", key=key) for key in order]
        return [one.reuse for one in await store.enqueue(runs)]

    answers = await asyncio.gather(
        *(enqueue(one, keys if i % 2 else keys[::-1]) for i, one in enumerate(stores * 3))
    )
    flat = [one for batch in answers for one in batch]
    assert flat.count(Reuse.NEW) == len(keys)
    assert flat.count(Reuse.JOINED) == len(flat) - len(keys)
    assert (await stores[0].counts()) == {"ready": len(keys)}


async def test_eight_connections_fire_each_occurrence_once(make_stores: MakeStores) -> None:
    stores, new_id = await make_stores(2), Ids()
    definitions = [minutely(f"s{n:03}") for n in range(120)]
    await stores[0].declare(new_id(), "app", definitions, new_id=new_id, now=T0)
    fired = await asyncio.gather(
        *(
            stores[i % 2].fire(new_id=new_id, limit=50, now=T0 + timedelta(minutes=1))
            for i in range(8)
        )
    )
    names = [name for one in fired for name, _, _ in one.fired]
    assert sorted(names) == [one.name for one in definitions]
    assert (await stores[0].counts()) == {"ready": 120}


@pytest.mark.parametrize("kind", ["pause", "edit"])
async def test_firing_racing_a_change_judges_each_occurrence_once(
    make_stores: MakeStores, kind: str
) -> None:
    stores, new_id = await make_stores(2), Ids()
    world = World(stores[0])
    world.new_id = new_id  # type: ignore[method-assign]
    for turn in range(15):
        name = f"s{turn}"
        await world.declare(minutely(name))
        world.turn(60)
        change = (
            world.move(ScheduleVerb.PAUSE, name)
            if kind == "pause"
            else world.edit(minutely(name, every="2m"), 1)
        )
        await asyncio.gather(stores[1].fire(new_id=new_id, now=world.now), change)
        assert [count for _, count in await world.said(name)] == [1]
        await world.move(ScheduleVerb.RETIRE, name)


async def test_a_renewal_releases_the_claim_that_was_never_answered(
    make_stores: MakeStores,
) -> None:
    [store], new_id = await make_stores(1), Ids()
    runs, boot = await plain(store, new_id, 3), await boot_of(store, new_id)
    lost, pending = new_id(), new_id()
    await store.claim(boot, lost, queues=QUEUES, tasks=TASKS, limit=2)
    await store.claim(boot, pending, queues=QUEUES, tasks=TASKS, limit=1)
    renewal = await store.renew(boot, [], [pending])
    assert (renewal.alive, renewal.released) == (True, 2)
    states = [(await store.run(run)).state.value for run in runs]  # type: ignore[union-attr]
    assert sorted(states) == ["ready", "ready", "running"]


async def test_a_claim_that_is_sent_again_while_it_runs_takes_nothing_more(
    make_stores: MakeStores, database: str
) -> None:
    [store], new_id = await make_stores(1), Ids()
    await plain(store, new_id, 6)
    boot, same = await boot_of(store, new_id), new_id()
    other = await asyncpg.connect(database)
    try:
        async with other.transaction():
            await other.execute("select from duly_instance where boot = $1 for update", boot)
            both = asyncio.gather(
                *(store.claim(boot, same, queues=QUEUES, tasks=TASKS, limit=2) for _ in range(2))
            )
            await waits_for_a_lock(other)
        first, second = await both
    finally:
        await other.close()
    assert first == second
    assert await store.counts() == {"ready": 4, "running": 2}


async def test_a_limit_is_never_exceeded_and_no_waiter_is_forgotten(
    make_stores: MakeStores,
) -> None:
    stores, new_id = await make_stores(3), Ids()
    boots = [await boot_of(one, new_id) for one in stores]
    total = 60

    async def feed(store: PostgresStore) -> None:
        for _ in range(total // 3):
            await plain(store, new_id, 1, limit_key="api", limit=3)

    async def work(store: PostgresStore, boot: UUID) -> int:
        done = 0
        for _ in range(200):
            got = await claim(store, boot, new_id, 2)
            counts = (await store.snapshot())["slots"].get("api", [])
            assert len(counts) <= 3
            done += len(got)
            await store.end(boot, ends(got))
        return done

    await asyncio.gather(*(feed(one) for one in stores))
    done = await asyncio.gather(*(work(s, b) for s, b in zip(stores, boots, strict=True)))
    assert sum(done) == total
    assert await stores[0].counts() == {"succeeded": total}


async def test_what_commits_elsewhere_is_heard(make_stores: MakeStores) -> None:
    stores, new_id = await make_stores(2), Ids()
    heard: asyncio.Queue[WakeUp] = asyncio.Queue()
    stores[1].listen(heard.put_nowait)
    await plain(stores[0], new_id, 1)
    assert (await asyncio.wait_for(heard.get(), 10)).signal is Signal.READY
