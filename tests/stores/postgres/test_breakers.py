"""Breakers between connections: one probe, and every failure counted once, whoever comes at once.

Several stores on one database, as a fleet of processes is to it. Nothing sleeps; the instants are
the test's own.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from duly.core.breakers import OPEN, Ask, BreakerPolicy, Came, Permission, Report
from duly.core.runs import Ending
from duly.core.states import BreakerState, BreakerVerb, RunVerb
from duly.stores.postgres import PostgresStore
from tests.stores.postgres.conftest import MakeStores
from tests.stores.world import World

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("postgres")]

NOW = datetime(2026, 3, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
LONG = BreakerPolicy(threshold=1000)
ONCE = BreakerPolicy(threshold=1, pause=MINUTE, jitter=0.0)


async def test_first_failures_from_everywhere_are_all_counted(make_stores: MakeStores) -> None:
    """Nobody can lock a row that is not there: the second to write it looks again."""
    stores = await make_stores(6)
    report = Report(breaker="bank", came=Came.BROKEN, policy=LONG)
    await asyncio.gather(
        *(one.breaker_tell(UUID(int=n), UUID(int=n), [report]) for n, one in enumerate(stores, 1))
    )
    row = await stores[0].breaker("bank")
    assert row is not None and row.failures == 6


async def test_of_all_who_ask_at_once_one_probes(make_stores: MakeStores) -> None:
    stores = await make_stores(5)
    report = Report(breaker="bank", came=Came.BROKEN, policy=ONCE)
    for turn in range(8):
        at, boot = NOW + turn * timedelta(days=1), UUID(int=99)
        if turn == 0:
            await stores[0].breaker_tell(boot, UUID(int=1), [report], now=at)
        due = at + timedelta(hours=2)
        leases = [UUID(int=1000 * (turn + 1) + n) for n in range(20)]
        asked = await asyncio.gather(
            *(_ask(stores[n % 5], lease, due) for n, lease in enumerate(leases))
        )
        probing = [lease for lease, permission in asked if permission is Permission.PROBE]
        assert len(probing) == 1, "two probes at a time"
        failed = Report(breaker="bank", came=Came.BROKEN, policy=ONCE, lease=probing[0])
        await stores[1].breaker_tell(boot, UUID(int=500 + turn), [failed], now=due)
    lines = await stores[2].breaker_lines("bank")
    assert [one.verb for one in reversed(lines)] == [
        BreakerVerb.TRIP,
        *[BreakerVerb.PROBE, BreakerVerb.REOPEN] * 8,
    ]


async def _ask(store: PostgresStore, lease: UUID, at: datetime) -> tuple[UUID, Permission]:
    [permit] = await store.breaker_calls(lease, [Ask("bank", lease, MINUTE)], now=at)
    return lease, permit.permission


async def test_it_opens_once_and_wakes_who_waits_beside_what_promotes(
    make_stores: MakeStores,
) -> None:
    """Closing touches runs that wait, and so does promoting: neither loses to the other."""
    stores = await make_stores(4)
    world = World(stores[0])
    await stores[0].breaker_tell(
        UUID(int=9), UUID(int=9), [Report(breaker="bank", came=Came.BROKEN, policy=ONCE)]
    )
    boot = await world.boot()
    runs = [await world.enqueue() for _ in range(30)]
    held = await world.claim(boot)
    hour = timedelta(hours=1) // timedelta(microseconds=1)
    await stores[0].end(
        boot,
        [
            Ending(run=o.id, epoch=o.epoch, verb=RunVerb.WAIT, reason="breaker:bank", delay_us=hour)
            for o in held
        ],
        now=world.now,
    )
    later = world.turn(timedelta(hours=1))
    await asyncio.gather(
        stores[1].breaker_move("bank", BreakerVerb.RESUME, by="ann", why="mended", now=world.now),
        *(one.promote(7, now=later) for one in stores for _ in range(3)),
    )
    row = await stores[0].breaker("bank")
    assert row is not None and row.state is BreakerState.CLOSED
    await stores[0].promote(now=later)
    assert {await world.state(run) for run in runs} == {"ready"}
    [incident] = await stores[0].incidents(only_open=False)
    assert (incident.kind, incident.closed_at) == (OPEN, later)
