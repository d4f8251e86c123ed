"""Every kind of incident is somebody's, as far as anybody can know: rules of notices go by it.

Each case opens one through whatever opens it in production, in a house called `house` that works
for a schedule of `acme`, and looks whose it is.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import pytest
from msgspec.structs import replace

from duly import Breaker, Duly
from duly.app import reconciling
from duly.app.working import _report_untrusted
from duly.core import ledger
from duly.core.calls import TASK
from duly.core.effects import CONTRADICTED, UNCERTAIN, Address, Author
from duly.core.expect import Breach, Facts
from duly.core.fleet import Incident, InstanceState, Proof, TakenOver
from duly.core.notices import ChannelPlan, NotifyPlan
from duly.core.runs import Claimed, Ending, Origin
from duly.core.schedules import Definition
from duly.core.states import RunVerb
from duly.core.steps import APPROVAL, Await
from duly.core.telling import ChannelState
from duly.engine import Engine, lookout
from duly.engine.breaking import Gate
from duly.engine.durable.work import CHANGED
from duly.engine.expecting import _incident as breach_told
from duly.engine.hands import Holding
from duly.engine.supervising import Notice
from duly.engine.trips import Tripping
from duly.events import Bus
from duly.outbound.notifier import Notifier
from duly.outbound.relay import Relay
from duly.pipeline import Difference
from duly.stores.base import Standing
from tests.engine.bench import Bench, in_time
from tests.engine.test_clusters import member
from tests.engine.test_reporting import _lived

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "incidents.md"
TIMER = "nightly"
"""A schedule of acme's; the tasks are the house's."""


class House:
    """An engine of the application `house`, and how each kind of incident comes about in it."""

    def __init__(self, bench: Bench, *, of_a_schedule: bool) -> None:
        self.bench, self.app = bench, Duly("memory://", name="house")
        self.schedule = TIMER if of_a_schedule else None
        self.engine: Engine
        self.tasks = {"work", TASK}

    async def start(self) -> None:
        await self.acmes(TIMER, "work")
        for name in sorted(self.tasks):
            self.app.task(name=name)(_work)
        self.engine, _ = await self.bench.start(self.app)

    async def acmes(self, name: str, task: str) -> None:
        """Make a schedule as timers are made: a person's, which no fleet retires."""
        made = Definition(name=name, task=task, trigger={"kind": "every", "interval": "10m"})
        store, new_id = self.bench.client, self.bench.clock.new_id
        await store.declare(new_id(), "acme", [made], new_id=new_id)
        how = {"by": "ann", "reason": "so", "revision": 1}
        await store.edit(replace(made, priority=1), **how, new_id=new_id)

    async def run(self, task: str = "work", **how: Any) -> UUID:
        how = {"schedule": self.schedule, "origin": Origin.TRIGGER} | how
        return await self.bench.ask(task, **how)

    async def ends(self, verb: RunVerb, reason: str | None = None, **how: Any) -> None:
        """Hear that an attempt ended."""
        task = how.pop("task", "work")
        run = await self.run(task, run_at=self.bench.now() + timedelta(days=1))
        claimed = Claimed(
            **dict.fromkeys(("limit_key", "due", "window_start")),
            **dict.fromkeys(("failures", "deaths"), 0),
            id=run, epoch=1, task=task, args=b"{}", queue="default", schedule=self.schedule,
            origin=Origin.TRIGGER, enqueued_at=self.bench.now(),
        )  # fmt: skip
        ending = Ending(run=run, epoch=1, verb=verb, reason=reason, **how)
        self.engine.reporting.settled(Holding(claimed), ending)

    async def fails(self) -> None:
        await self.ends(RunVerb.FAIL, error="OSError: disk full")

    async def changes(self) -> None:
        await self.ends(RunVerb.PARK, f"{CHANGED} at a step")

    async def asks(self) -> None:
        await self.ends(RunVerb.PARK, APPROVAL, awaits=(Await("approval", "boss"),))

    async def took(self, **taken: Any) -> None:
        run = await self.run(run_at=self.bench.now() + timedelta(days=1))
        dead = member("", 0, InstanceState.DEAD)
        self.bench.tables.instances[dead.boot] = dead
        what = {key: (run,) for key in taken}
        self.engine.reporting.took(TakenOver(dead.boot, True, **what), Proof.LEASE, "")

    async def poisons(self) -> None:
        await self.took(parked=True)

    async def interrupts(self) -> None:
        await self.took(ready=True)

    async def was_away(self) -> None:
        self.engine.reporting.came_back(100)

    async def breaches(self, kind: Any) -> None:
        facts = Facts(task="work", run=await self.run(), schedule=self.schedule)
        breach = Breach(kind, "run", "it is late", {})
        await self.opens(breach_told(facts, breach, owner=self.app.name))

    async def opens(self, incident: Incident) -> None:
        await self.bench.client.open_incident(incident)

    async def meets_a_rhythm(self) -> None:
        self.bench.tables.instances.clear()
        start = end = cast(datetime, self.bench.now() - timedelta(hours=116))
        for _ in range(4):
            end, boot = start + timedelta(hours=29), self.bench.clock.new_id()
            self.bench.tables.instances[boot] = _lived(boot, "house", start, end)
            start = end
        here = _lived(self.engine.boot, "house", end, None)
        alive = replace(here, state=InstanceState.LIVE, seen_at=self.bench.now())
        self.bench.tables.instances[self.engine.boot] = alive
        self.bench.tables.carries |= {boot: {} for boot in self.bench.tables.instances}
        row = self.bench.tables.schedules[TIMER]
        due = replace(row, next_fire=self.bench.now() + timedelta(hours=28))
        self.bench.tables.schedules[TIMER] = due
        for n in range(3):
            began = self.bench.now() - timedelta(hours=2 + n)
            await _took(self.bench, began, timedelta(hours=3))
        await self.engine.reporting._look_for_rhythms()

    async def fires_late(self) -> None:
        async def nobody() -> None:
            await self.bench.past(1)

        self.engine.firing.turn = nobody  # type: ignore[method-assign]
        await self.bench.past(720)

    async def knows_no_task(self) -> None:
        gone = member("", 0, InstanceState.GONE)
        self.bench.tables.instances[gone.boot] = replace(gone, tasks=("gone",))
        self.bench.tables.carries[gone.boot] = {}
        if self.schedule:
            await self.acmes("theirs", "gone")
        await self.run("gone")

    async def serves_no_queue(self) -> None:
        await self.run(queue="mail")

    async def loses_a_cluster(self) -> None:
        await self.bench.client.register(member("nl", 0), {})
        await self.bench.past(600)

    async def is_deserted(self) -> None:
        last = member("", 0)
        await self.bench.client.register(last, {})
        await self.opens(lookout._incident(last))

    async def trips(self, *, tripped: bool) -> None:
        tripping = Tripping(
            self.bench.client, self.engine.telling, self.bench.clock, owner="house", instance="i"
        )
        tripping.note(Notice(loop="poll", failures=5, error="so", tripped=tripped))
        await tripping.turn()

    async def distrusts(self) -> None:
        self.app.use(self.bench.client)
        await _report_untrusted(self.app, Standing(schema=1, generation=1, trusted=False, why="so"))

    async def has_no_channel(self) -> None:
        notifier = Notifier(
            cast(Any, None), ChannelPlan(name="ops"), NotifyPlan(), application="house",
            store=self.bench.client, clock=self.bench.clock, bus=Bus(),
            boot=self.bench.clock.new_id,
        )  # fmt: skip
        await notifier._tell_the_others(ChannelState(since=self.bench.now(), why="so"))

    async def is_stuck(self) -> None:
        relay = Relay(
            "orders", cast(Any, _Broker), store=self.bench.client, clock=self.bench.clock,
            bus=Bus(), boot=self.bench.clock.new_id, per_second=1, owner="house",
        )  # fmt: skip
        await relay._tell([], "so")

    async def misses_rows(self) -> None:
        async def found(*_: Any, **__: Any) -> Difference:
            return Difference(2, (1, 2))

        self.app.use(self.bench.client)
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(reconciling, "reconcile", found)
            await self.app.reconcile(None, "orders", pk="id", seen="mails", seen_pk="id")

    async def doubts(self, kind: str) -> None:
        author = Author(await self.run(), self.engine.boot, 1)
        address, intent = Address("work", "pay", "1"), self.bench.clock.new_id()
        await self.opens(ledger._incident(kind, address, "so", intent, author))

    async def breaks(self) -> None:
        gate = Gate(self.bench.client, self.bench.clock, emit=lambda _: None, owner="house")
        with pytest.raises(ConnectionRefusedError):
            async with gate.guard(Breaker("bank", threshold=1), "work", schedule=self.schedule):
                raise ConnectionRefusedError("nobody there")


class _Broker:
    name = "broker"


async def _work() -> None: ...


async def _took(bench: Bench, began: datetime, length: timedelta) -> None:
    """Leave behind a run of the timer that took so long."""
    run = await bench.ask("work", schedule=TIMER, origin=Origin.TRIGGER)
    await bench.ended(run)
    bench.tables.ended[run].started_at = began
    bench.tables.ended[run].ended_at = began + length


Scene = Callable[[House], Awaitable[None]]

# Of each kind: how it comes about, whose it is when acme's schedule asked, and whose else.
KINDS: dict[str, tuple[Scene, str, str]] = {
    "breaker.open": (House.breaks, "acme", "house"),
    "channel.down": (House.has_no_channel, "house", "house"),
    "cluster.gone": (House.loses_a_cluster, "shop", "shop"),
    "effect.contradicted": (lambda house: house.doubts(CONTRADICTED), "acme", "house"),
    "effect.uncertain": (lambda house: house.doubts(UNCERTAIN), "acme", "house"),
    "expect.duration": (lambda house: house.breaches("expect.duration"), "acme", "house"),
    "expect.finish": (lambda house: house.breaches("expect.finish"), "acme", "house"),
    "expect.output": (lambda house: house.breaches("expect.output"), "acme", "house"),
    "expect.start": (lambda house: house.breaches("expect.start"), "acme", "house"),
    "fleet.gone": (House.is_deserted, "shop", "shop"),
    "host.rhythm": (House.meets_a_rhythm, "acme", "acme"),
    "loop.failing": (lambda house: house.trips(tripped=False), "house", "house"),
    "outbox.stuck": (House.is_stuck, "house", "house"),
    "queue.unserved": (House.serves_no_queue, "acme", "house"),
    "rows.missing": (House.misses_rows, "house", "house"),
    "run.approval": (House.asks, "acme", "house"),
    "run.changed": (House.changes, "acme", "house"),
    "run.failed": (House.fails, "acme", "house"),
    "run.interrupted": (House.interrupts, "shop", "shop"),
    "run.poison": (House.poisons, "acme", "shop"),
    "schedule.late": (House.fires_late, "acme", "acme"),
    "store.away": (House.was_away, "house", "house"),
    "store.untrusted": (House.distrusts, "house", "house"),
    "supervisor.tripped": (lambda house: house.trips(tripped=True), "house", "house"),
    "task.unknown": (House.knows_no_task, "acme", "shop"),
}


@pytest.mark.parametrize("of_a_schedule", [True, False], ids=["of a schedule", "of nobody's"])
@pytest.mark.parametrize("kind", KINDS)
def test_an_incident_is_of_whom_it_concerns(kind: str, of_a_schedule: bool) -> None:
    scene, asked, else_ = KINDS[kind]

    @in_time
    async def check(bench: Bench) -> None:
        house = House(bench, of_a_schedule=of_a_schedule)
        await house.start()
        await scene(house)
        await bench.until(lambda: any(one.kind == kind for one in bench.tables.incidents), 1200)
        opened = next(one for one in bench.tables.incidents if one.kind == kind)
        assert opened.owner == (asked if of_a_schedule else else_), opened

    check()


def test_the_table_has_every_kind_there_is() -> None:
    kinds = re.findall(r"^\| `([a-z]+\.[a-z]+)` \|", PAGE.read_text(), re.MULTILINE)
    assert sorted(KINDS) == sorted(kinds)


@in_time
async def test_a_timer_that_fails_is_an_incident_of_its_own(bench: Bench) -> None:
    house = House(bench, of_a_schedule=True)
    await house.start()
    await house.ends(RunVerb.FAIL, task=TASK, error="410 gone")
    await bench.past(1)
    [one] = bench.tables.incidents
    assert (one.kind, one.subject, one.owner) == ("run.failed", TIMER, "acme")
    assert one.summary == f"{TIMER} failed for good: 410 gone"
    await bench.ended(await bench.ask(TASK))
    await bench.past(180)
    assert one.subject in {open_.subject for open_ in await bench.client.incidents()}
    await bench.ended(await bench.ask(TASK, schedule=TIMER, origin=Origin.TRIGGER))
    await bench.past(180)
    assert await bench.client.incidents() == []
