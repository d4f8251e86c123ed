"""Who does no work tells when nobody else is left to, once, and gets in nobody's way."""

from __future__ import annotations

import random

from duly import Duly, events
from duly.core.fleet import Incident
from duly.engine import Lookout, Plan, Ports
from duly.engine.lookout import DESERTED, FLEET
from duly.events import Bus
from simulation.ports import SimClock
from tests.engine.bench import Alone, Bench, FaultyStore, HandKeeper, in_time
from tests.engine.test_clusters import member
from tests.stores.world import minutely

WORK = frozenset("claim fire promote expire shelve prune orphan register declare enqueue".split())
"""What a lookout never asks of the store."""


def look_out(bench: Bench) -> tuple[Lookout, FaultyStore]:
    """Begin a lookout on the bench's store."""
    store, bus = FaultyStore(bench), Bus()
    bus.subscribe(bench.events.append)
    clock = SimClock(bench.loop, random.Random("lookout"))
    ports = Ports(clock=clock, keeper=HandKeeper, processes=Alone())
    lookout = Lookout(store, Plan(owner="shop", version="1", tasks={}), ports=ports, bus=bus)
    lookout.start()
    return lookout, store


async def told(bench: Bench) -> list[Incident]:
    return [one for one in await bench.client.incidents(only_open=False) if one.kind == DESERTED]


@in_time
async def test_a_fleet_that_died_is_told_once_and_is_over_when_somebody_is_back(
    bench: Bench,
) -> None:
    lookout, store = look_out(bench)
    await bench.past(600)
    assert await told(bench) == [], "where nobody ever was nobody is missed"
    await bench.client.register(member("", 10), {})
    await bench.past(60)
    assert await told(bench) == []
    await bench.past(240)
    [one] = await told(bench)
    assert (one.subject, one.severity, one.owner) == (FLEET, "critical", "shop")
    assert one.summary == "no worker is there any more: the last one, -10, died"
    assert one.evidence["what helps"] == "start a worker: duly worker"
    await bench.client.close_incident(DESERTED, FLEET, note="we know")
    await bench.past(1200)
    assert len(await told(bench)) == 1, "whoever closed it is not told again"
    engine, _ = await bench.start(Duly())
    await bench.past(300)
    await engine.stop()
    await bench.past(480)
    assert len(await told(bench)) == 1, "who left by itself may come back"
    await bench.past(300)
    assert (await told(bench))[0].summary.endswith("left by itself")
    await bench.start(Duly())
    assert [one.closed_at is None for one in await told(bench)] == [False, False]
    assert not WORK & set(store.sent)
    bench.assert_sound()
    await lookout.stop()


@in_time
async def test_what_another_process_told_is_not_told_again_and_is_closed(bench: Bench) -> None:
    first, _ = look_out(bench)
    await bench.client.register(member("", 0), {})
    await bench.past(600)
    await first.stop()
    second, _ = look_out(bench)
    await bench.past(600)
    assert len(await told(bench)) == 1
    await bench.client.register(member("", 21), {})
    await bench.past(150)
    [one] = await told(bench)
    assert one.closed_at is not None
    await second.stop()


@in_time
async def test_what_a_dead_instance_held_goes_back_and_its_end_is_told(bench: Bench) -> None:
    lookout, _ = look_out(bench)
    dying = member("", 0)
    await bench.client.register(dying, {})
    run = await bench.ask("work")
    await bench.client.claim(dying.boot, bench.clock.new_id(), queues=["default"], tasks=["work"],
                             limit=1)  # fmt: skip
    await bench.until(lambda: run in bench.tables.ready)
    await bench.past(30)
    kinds = {one.kind for one in await bench.client.incidents()}
    assert "run.interrupted" in kinds
    assert [one.boot for one in bench.told(events.InstanceDeclaredDead)] == [dying.boot]
    await lookout.stop()


@in_time
async def test_lateness_is_told_when_nobody_is_there_to_fire(bench: Bench) -> None:
    lookout, store = look_out(bench)
    hourly = minutely(every="1h")
    await bench.client.declare(bench.clock.new_id(), "shop", [hourly], new_id=bench.clock.new_id)
    await bench.past(7500)
    [late] = [one for one in await bench.client.incidents() if one.kind == "schedule.late"]
    assert late.evidence["schedule"] == "s"
    assert not WORK & set(store.sent), "it is told, and left to whoever may fire it"
    await lookout.stop()


@in_time
async def test_an_idle_lookout_costs_four_statements_a_minute(bench: Bench) -> None:
    await bench.start(Duly())
    lookout, store = look_out(bench)
    await bench.past(600)
    before = len(store.sent)
    await bench.past(3600)
    per_minute = (len(store.sent) - before) / 60
    assert 2 <= per_minute <= 4.5
    await lookout.stop()


@in_time
async def test_a_look_that_keeps_failing_ends_in_seventy_and_an_absent_store_does_not(
    bench: Bench,
) -> None:
    lookout, store = look_out(bench)
    store.away = True
    await bench.past(1800)
    assert not lookout.supervisor.gave_up.is_set()
    store.away = False
    await bench.past(60)

    async def fails() -> None:
        raise ValueError("so")

    lookout.onlooking.turn = fails  # type: ignore[method-assign]
    assert await lookout.ended() == 70
    assert [one.loop for one in bench.told(events.LoopGaveUp)] == ["onlooking"]
    await lookout.stop()
