"""A schedule moves with the breaker of its own: tripped while it is open, reset for its probe."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from duly.core.breakers import Ask, BreakerPolicy, BreakerRow, Came, Report
from duly.core.schedules import Definition
from duly.core.states import BreakerState, BreakerVerb, ScheduleState, ScheduleVerb
from duly.core.tripping import schedule_verb
from duly.engine.halting import Halting
from duly.engine.telling import Telling
from duly.events import Bus, Event, ScheduleReset, ScheduleTripped
from duly.stores.memory import MemoryStore
from duly.testing import VirtualClock
from tests.stores.world import instance

T0 = datetime(2026, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
BOOT = UUID(int=5)
POLICY = BreakerPolicy(threshold=1, pause=HOUR, slowest=4 * HOUR, jitter=0.0)

A, P, T = ScheduleState.ACTIVE, ScheduleState.PAUSED, ScheduleState.TRIPPED
OPEN, HALF, CLOSED = BreakerState.OPEN, BreakerState.HALF_OPEN, BreakerState.CLOSED
CASES = [
    (A, None, None, None),
    (A, OPEN, HOUR, ScheduleVerb.TRIP),
    (A, OPEN, -HOUR, None),
    (A, OPEN, None, ScheduleVerb.TRIP),
    (A, HALF, -HOUR, None),
    (T, OPEN, HOUR, None),
    (T, OPEN, None, None),
    (T, OPEN, -HOUR, ScheduleVerb.RESET),
    (T, HALF, -HOUR, ScheduleVerb.RESET),
    (T, CLOSED, None, ScheduleVerb.RESET),
    (T, None, None, ScheduleVerb.RESET),
    (P, OPEN, HOUR, None),
    (P, None, None, None),
]


@pytest.mark.parametrize(("state", "breaker", "probe_in", "verb"), CASES)
def test_a_schedule_stops_with_its_breaker_and_fires_for_its_probe(
    state: ScheduleState,
    breaker: BreakerState | None,
    probe_in: timedelta | None,
    verb: ScheduleVerb | None,
) -> None:
    probe_at = None if probe_in is None else T0 + probe_in
    row = breaker and BreakerRow(name="b", changed_at=T0, state=breaker, probe_at=probe_at)
    assert schedule_verb(state, row, T0) is verb


async def test_a_schedule_is_tripped_and_reset_with_its_own_breaker_alone() -> None:
    clock, told = VirtualClock(T0), list[Event]()
    store, bus = MemoryStore(clock.now), Bus()
    bus.subscribe(told.append)
    names = ("nightly", "hourly", "paused")
    definitions = [
        Definition(name=name, task="t", trigger={"kind": "every", "interval": "1h"})
        for name in names
    ]
    await store.register(instance(BOOT), {})
    await store.declare(BOOT, "app", definitions, new_id=clock.new_id)
    await store.move("paused", ScheduleVerb.PAUSE, by="ann", reason="so", new_id=clock.new_id)
    halting = Halting(store, {}, clock=clock, telling=Telling(bus, clock))

    async def states() -> list[str]:
        await halting.turn()
        return [str(row.state) for row in await store.schedules()]  # by name

    async def tell(came: Came, *breakers: str, lease: UUID | None = None) -> None:
        reports = [
            Report(breaker=f"schedule:{one}", came=came, policy=POLICY, lease=lease)
            for one in breakers
        ]
        await store.breaker_tell(BOOT, clock.new_id(), reports)

    await tell(Came.BROKEN, "nightly", "paused")
    assert await states() == ["active", "tripped", "paused"]
    clock.turn(HOUR)
    assert await states() == ["active", "active", "paused"], "for its probe"
    for came, then in ((Came.BROKEN, "tripped"), (Came.GOOD, "active")):
        lease = clock.new_id()
        await store.breaker_calls(BOOT, [Ask("schedule:nightly", lease, HOUR)])
        await tell(came, "nightly", lease=lease)
        assert await states() == ["active", then, "paused"]
        clock.turn(4 * HOUR)
    await store.breaker_move("schedule:hourly", BreakerVerb.FORCE_OPEN, by="ann", why="so")
    assert await states() == ["tripped", "active", "paused"]
    moved = [type(one) for one in told]
    assert (moved.count(ScheduleTripped), moved.count(ScheduleReset)) == (3, 2)
