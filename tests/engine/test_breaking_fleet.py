"""A fleet before one target: half of its calls fail, then it dies for an hour, then it comes back.

Fifty gates, each its own process as far as the store can tell, on a virtual clock. On SQLite it
dies for some minutes only, before five stores on one file. Calls take time, so that many are under
way when it breaks and when a probe is out. What was called is counted at the target, and held
against the store's own history.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from duly import Breaker, BreakerOpen
from duly.core.breakers import BreakerLine
from duly.core.fleet import Instance
from duly.core.notices import ChannelPlan, Notice, NotifyPlan, Told
from duly.core.states import BreakerState, BreakerVerb
from duly.engine.breaking import Gate
from duly.events import Bus, Event
from duly.outbound.notifier import Notifier
from duly.stores.memory import MemoryStore
from duly.stores.sqlite import SqliteStore
from duly.testing import VirtualClock
from tests.stores.planted_breakers import LetsTwoProbe

GATES = 50
PER_SECOND = 4
SLOW_S = 2.0
HALF, BACK = 200, 700
START = datetime(2026, 3, 1, tzinfo=UTC)
BANK = Breaker("bank", threshold=15, pause="30s", slowest="10m", probe_deadline="20s")


class Target:
    """Half well for a while, dead for long, then well. Answers after two seconds."""

    def __init__(self, clock: VirtualClock, dead: int) -> None:
        self._clock, self.dead = clock, dead
        self.calls: list[datetime] = []

    async def call(self) -> None:
        self.calls.append(self._clock.now())
        number, second = len(self.calls), (self._clock.now() - START).total_seconds()
        await self._clock.pause(SLOW_S)
        if HALF <= second < HALF + self.dead or (second < HALF and number % 2):
            raise ConnectionResetError("it hung up")


class Post:
    """A channel that keeps what it was told."""

    name = "mail"

    def __init__(self, told: list[Notice]) -> None:
        self._told = told

    async def send(self, notice: Notice) -> None:
        self._told.append(notice)


class Fleet:
    """Many callers; each second some of them call, and the clock moves on when all wait."""

    def __init__(self, stores: Sequence[Any], clock: VirtualClock, dead: int) -> None:
        self.stores, self.clock, self.target = stores, clock, Target(clock, dead)
        self.events: list[Event] = []
        self.gates = [
            Gate(stores[n % len(stores)], clock, emit=self.events.append) for n in range(GATES)
        ]
        for n, gate in enumerate(self.gates):
            stores[n % len(stores)].listen(gate.hear)
        self.passed = self.refused = 0
        self.tried: list[datetime] = []
        self._at_work: set[asyncio.Task[None]] = set()
        self._waiting = 0
        self.told: list[Notice] = []

    async def tell(self) -> None:
        """Be one of the instances that tell a channel; it goes on until it is cancelled."""
        store, boot = self.stores[-1], self.clock.new_id()
        me = Instance(boot=boot, name="a", host="h", pid=1, pid_space="", owner="app", version="1")
        await store.register(me, {})
        mine = ChannelPlan(name="mail")
        notifier = Notifier(
            Post(self.told), mine, NotifyPlan(channels=(mine,)), application="app", store=store,
            clock=self.clock, bus=Bus(), boot=lambda: boot,
        )  # fmt: skip
        while True:
            await notifier.ready()
            await notifier.turn()

    async def _call(self, gate: Gate) -> None:
        self.tried.append(self.clock.now())
        try:
            async with gate.guard(BANK, "fleet"):
                self.passed += 1
                self._waiting += 1
                try:
                    await self.target.call()
                finally:
                    self._waiting -= 1
        except BreakerOpen:
            self.refused += 1
        except ConnectionResetError:
            pass

    async def live(self, seconds: int) -> None:
        """Live through it, second by second."""
        draw = random.Random(7)
        for _ in range(seconds):
            for gate in draw.sample(self.gates, PER_SECOND):
                task = asyncio.create_task(self._call(gate))
                self._at_work.add(task)
                task.add_done_callback(self._at_work.discard)
            await self._rest()
            self.clock.turn(1)
            await self._rest()
        while self._at_work:
            self.clock.turn(1)
            await self._rest()

    async def heard(self) -> None:
        """Let the channel be told; a hint between processes may take a moment of the real time."""
        async with asyncio.timeout(30):
            while not any(one.told is Told.CLOSED for kept in self.told for one in kept.items):
                self.clock.turn(1)
                await asyncio.sleep(0)

    async def _rest(self) -> None:
        """Let everybody go on until all who are at work wait for the target."""
        while True:
            await asyncio.sleep(0)
            if len(self._at_work) == self._waiting and self.clock.next_end != self.clock.now():
                return


async def must_have_held(fleet: Fleet) -> None:
    """Hold the calls that were counted against the history of the store."""
    lines: list[BreakerLine] = (await fleet.stores[0].breaker_lines("bank", 1000))[::-1]
    verbs = [one.verb for one in lines]
    assert fleet.passed == len(fleet.target.calls), "the target counted other calls"
    assert fleet.passed + fleet.refused == len(fleet.tried)
    assert verbs.count(BreakerVerb.TRIP) == verbs.count(BreakerVerb.CLOSE) == 1
    opened, closed = lines[0].at, lines[-1].at
    assert timedelta(0) <= opened - START - timedelta(seconds=HALF) < timedelta(seconds=20)
    # In each window between two pauses one probe of the whole fleet, and its answer.
    probes = [one.at for one in lines if one.verb is BreakerVerb.PROBE]
    expected = [BreakerVerb.TRIP]
    expected += [BreakerVerb.PROBE, BreakerVerb.REOPEN] * (len(probes) - 1)
    assert verbs == [*expected, BreakerVerb.PROBE, BreakerVerb.CLOSE]
    while_open = [at for at in fleet.target.calls if opened < at < closed]
    assert sorted(while_open) == sorted(probes), "somebody called besides the probes"
    tried = [at for at in fleet.tried if opened < at < closed]
    assert len(tried) > 0.9 * PER_SECOND * fleet.target.dead
    assert len(while_open) <= 0.01 * len(tried), "more than one call of a hundred came through"
    gaps = [later - earlier for earlier, later in pairwise(probes)]
    assert max(gaps) <= timedelta(minutes=10, seconds=10) and gaps[0] < gaps[-1]
    [incident] = await fleet.stores[0].incidents(only_open=False)
    assert (incident.opened_at, incident.closed_at) == (opened, closed)
    heard = [(item.told, item.incident.subject) for one in fleet.told for item in one.items]
    news = [one for one in heard if one[0] is not Told.STILL]
    assert news == [(Told.OPENED, "bank"), (Told.CLOSED, "bank")], "the channel was told otherwise"
    assert len({one.id for one in fleet.told}) == len(fleet.told)
    after = [at for at in fleet.tried if at > closed]
    assert len([at for at in fleet.target.calls if at > closed]) == len(after) > 0
    row = await fleet.stores[0].breaker("bank")
    assert (row.state, row.failures) == (BreakerState.CLOSED, 0)


Make = Callable[[VirtualClock, Path], list[Any]]


def memory(clock: VirtualClock, folder: Path) -> list[Any]:
    return [MemoryStore(clock.now)]


def sqlite(clock: VirtualClock, folder: Path) -> list[Any]:
    return [SqliteStore(folder / "duly.db", clock=clock.now) for _ in range(5)]


def planted(clock: VirtualClock, folder: Path) -> list[Any]:
    return [LetsTwoProbe(clock.now)]


@asynccontextmanager
async def fleet_on(make: Make, folder: Path, dead: int) -> AsyncIterator[Fleet]:
    clock = VirtualClock(START)
    async with AsyncExitStack() as stack:
        stores = make(clock, folder)
        await stores[0].migrate()
        for one in stores:
            await one.open()
            stack.push_async_callback(one.close)
        yield Fleet(stores, clock, dead)


@pytest.mark.slow
@pytest.mark.parametrize(("make", "dead"), [(memory, 3600), (sqlite, 240)])
async def test_a_dead_target_is_left_alone_but_for_one_probe_at_a_time(
    make: Make, dead: int, tmp_path: Path
) -> None:
    async with fleet_on(make, tmp_path, dead) as fleet, asyncio.TaskGroup() as group:
        tellers = [group.create_task(fleet.tell()) for _ in range(2)]
        await fleet.live(HALF + dead + BACK)
        await fleet.heard()
        await must_have_held(fleet)
        for one in tellers:
            one.cancel()


async def test_two_probes_at_a_time_would_be_noticed(tmp_path: Path) -> None:
    """A planted bug, so that the check above is known to bite."""
    async with fleet_on(planted, tmp_path, 3600) as fleet:
        await fleet.live(HALF + 200)
        lines = (await fleet.stores[0].breaker_lines("bank", 1000))[::-1]
        verbs = [one.verb for one in lines]
        assert (BreakerVerb.PROBE, BreakerVerb.PROBE) in pairwise(verbs)
        with pytest.raises(AssertionError):
            await must_have_held(fleet)
