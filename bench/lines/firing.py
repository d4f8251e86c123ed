"""K: what firing costs, in statements a firing and in schedules a second.

The fleet of 1, 10 and 50 instances is made of engines in few processes (25 at most in one), each
with a store and connections of its own: to the database they are 50 instances. One schedule is due
every second; all statements of the fleet are counted, the run's own claim and ending among them,
and those of as many idle instances are not taken off.
"""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from uuid import UUID

from bench.products import DULY
from bench.scene import Scene
from duly.core.fleet import Instance
from duly.core.schedules import Definition, Overlap
from duly.core.triggers import Every
from duly.engine import SystemClock
from duly.engine.firing import LANES
from duly.stores.postgres import PostgresStore

PER_PROCESS = 25


def measure(scene: Scene) -> None:
    """Measure firings of a fleet, then of the store alone."""
    for instances in (1, 10, 50)[: scene.some(3, 1)]:
        _of_fleet(scene, instances)
    for registered in (1000, 100_000)[: scene.some(2, 1)]:
        url = scene.server.fresh(scene.database(DULY))
        registered = scene.some(registered, 100)
        asyncio.run(_of_store(scene, url, registered))


def _of_fleet(scene: Scene, instances: int) -> None:
    watched_s = scene.some(30, 1)
    with scene.fleet(DULY) as fleet:
        left = instances
        while left:
            here = min(left, PER_PROCESS)
            fleet.start(BENCH_EVERY="1s", BENCH_INSTANCES=here)
            left -= here
        fleet.until(lambda: bool(fleet.lines("S")))
        time.sleep(scene.some(3 + instances // 4, 0))
        database = scene.database(DULY)
        scene.server.forget()
        before, fired = scene.server.counted(database), len(fleet.lines("S"))
        time.sleep(watched_s)
        after, fired = scene.server.counted(database), len(fleet.lines("S")) - fired
        busiest = scene.server.busiest(database)
    word = f"{instances} instance{'s'[: instances - 1]}"
    if after[0] is not None and before[0] is not None:
        scene.results.add(
            f"K statements a firing, {word}", "duly", [(after[0] - before[0]) / fired],
            unit="each", firings=fired, busiest=busiest,
        )  # fmt: skip
    scene.results.add(
        f"K transactions a firing, {word}", "duly", [(after[1] - before[1]) / fired],
        unit="each", firings=fired,
    )  # fmt: skip


async def _of_store(scene: Scene, url: str, registered: int) -> None:
    store, clock = PostgresStore(url), SystemClock()
    await store.migrate()
    await store.open()
    boot, began = clock.new_id(), await store.clock()
    await _declare(store, boot, registered)
    await _fire_one(store, clock, scene, registered)
    at, fired, more = time.perf_counter(), 0, True
    while more:  # as the engine does when more is due than one transaction takes
        batches = [
            store.fire(new_id=clock.new_id, now=began + timedelta(hours=25)) for _ in range(LANES)
        ]
        done = await asyncio.gather(*batches)
        fired += sum(len(one.fired) for one in done)
        more = any(one.more for one in done)
    rate = fired / (time.perf_counter() - at)
    line = f"K batch of {registered:,} due schedules"
    scene.results.add(line, "duly", [rate], unit="fired/s", fired=fired)
    await store.close()


async def _declare(store: PostgresStore, boot: UUID, registered: int) -> None:
    clock = SystemClock()
    instance = Instance(
        boot=boot, name="bench", host="bench", pid=0, pid_space="", owner="bench", version="0",
        tasks=("noop",),
    )  # fmt: skip
    await store.register(instance, {})
    trigger = Every(timedelta(hours=24), anchor=await store.clock() - timedelta(seconds=5)).spec()
    for first in range(0, registered, 2000):
        some = [
            Definition(name=f"s{number}", task="noop", trigger=trigger)
            for number in range(first, min(registered, first + 2000))
        ]
        await store.declare(boot, "bench", some, new_id=clock.new_id)


async def _fire_one(store: PostgresStore, clock: SystemClock, scene: Scene, among: int) -> None:
    """Fire the only schedule that is due, again and again; all others are due much later."""
    often = Definition(
        name="often", task="noop", trigger=Every(timedelta(seconds=1)).spec(), overlap=Overlap.ALLOW
    )
    await store.declare(clock.new_id(), "bench", [often], new_id=clock.new_id)
    now, took = await store.clock(), []
    for second in range(scene.some(200, 5)):
        at = time.perf_counter()
        await store.fire(new_id=clock.new_id, now=now + timedelta(seconds=1 + second))
        took.append((time.perf_counter() - at) * 1e3)
    scene.results.add(f"K one firing among {among:,} schedules", "duly", took, unit="ms")
