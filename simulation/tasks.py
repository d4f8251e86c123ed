"""The tasks and schedules of a simulated fleet: plain work, and every durable verb of a context.

Each task tells the judge what it really did, and returns the epoch of the attempt that did it. They
are written as a user would write them; the faults come from outside, and from `strain`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

from duly import Duly
from duly.core.tasks import Task
from duly.engine import Context, Effect
from duly.engine.synchronous import SyncContext
from duly.errors import WorkCancelled, WorkFailed
from simulation.breaking import SHOP
from simulation.threads import nap

if TYPE_CHECKING:
    from simulation.world import Process, World

PLAIN: tuple[tuple[str, float, dict[str, Any]], ...] = (
    ("beat", 14.0, {"every": "10s", "retries": 5}),
    ("every_one", 1.0, {"every": "12s", "catch_up": "all", "retries": 5}),
    ("paced", 1.0, {"every": "15s", "catch_up": "all", "pace": "2s", "overlap": "allow"}),
    ("many", 9.0, {"every": "7s", "overlap": "queue_one", "jitter": "2s", "retries": 5}),
    ("piled", 12.0, {"every": "11s", "overlap": "queue_all", "retries": 2}),
    ("replaced", 16.0, {"every": "13s", "overlap": "cancel_running", "retries": 2}),
    ("quick", 0.2, {"retries": 5}),
    ("narrow", 4.0, {"retries": 5, "limit": ("pair", 2)}),
    ("timed", 9.0, {"retries": 2, "timeout": "6s", "backoff": "3s"}),
    ("long", 70.0, {"retries": 2}),
    ("perishable", 2.0, {"retries": 2, "expires_after": "20s"}),
)
"""Name, longest seconds of work, and options; those with `every` are schedules too."""

ASKED: tuple[str, ...] = (
    *("quick", "narrow", "timed", "long", "perishable", "pay", "pay_checked", "pay_once", "steps"),
    *("publish", "wait", "family", "blocking", "brief", "approved", "pay", "publish"),
)
"""What clients ask for."""

DRAINS = 11
"""Passes of the task that reads the user's table, and its pause between two of them."""
DRAIN_S = 10


class Shattered(Exception):
    """What failing tasks raise."""


class Fleet:
    """The tasks of one process; `task` declares one that says which attempt did the work."""

    def __init__(self, world: World, process: Process) -> None:
        self.world, self.process = world, process
        self.app = Duly(name="fleet", settings={})
        self._chance = random.Random(f"{world.seed} tasks {process.name}")

    async def strain(self, longest_s: float) -> None:
        """Work for a while; it may fail."""
        await asyncio.sleep(self._chance.random() * longest_s)
        self.may_fail()

    def may_fail(self) -> None:
        """Fail now and then."""
        if self._chance.random() < self.world.faults.fails:
            raise Shattered

    def nap(self, longest_s: float) -> None:
        """Work for a while on a thread; it may fail."""
        nap(self._chance.random() * longest_s)
        self.may_fail()

    def done(self, ctx: Context | SyncContext, **more: Any) -> dict[str, Any]:
        """Return what an attempt returns that came to its end."""
        self.world.judge.worked.add((ctx.run_id, ctx.attempt))
        return {"epoch": ctx.attempt} | more

    async def step(self, ctx: Context, name: str, longest_s: float = 1.0) -> int:
        """Do a step, and tell the judge of it."""

        async def work() -> int:
            self.world.remembering.working(ctx.run_id, ctx.attempt, name)
            await self.strain(longest_s)
            self.world.edge(self.process, "in a step")
            await asyncio.sleep(0)
            return ctx.attempt

        answer = await ctx.step(name, work)
        self.world.remembering.went_by(ctx.run_id, ctx.attempt, name)
        return answer

    async def send(self, effect: Effect) -> dict[str, int]:
        """Send an effect to the callee."""
        return await self.world.callee.send(self.process, effect)


def make_app(world: World, process: Process) -> Duly:
    """Declare the tasks and schedules of the fleet, for one process."""
    fleet = Fleet(world, process)
    for name, longest_s, options in PLAIN:
        _declare(fleet, name, _plain(fleet, longest_s), **options)
    _declare_effects(fleet)
    _declare_memory(fleet)
    _declare_drain(fleet)
    _declare_waits(fleet)
    if world.shop.there:
        _declare_shop(fleet)
    return fleet.app


def _declare(
    fleet: Fleet, name: str, work: Callable[[Context], Awaitable[dict[str, Any]]], **options: Any
) -> None:
    async def counted(ctx: Context) -> dict[str, Any]:
        fleet.world.judge.attempts += 1
        return await work(ctx)

    fleet.app.task(name=name, **options)(counted)


def _plain(fleet: Fleet, longest_s: float) -> Callable[[Context], Awaitable[dict[str, Any]]]:
    async def work(ctx: Context) -> dict[str, Any]:
        await fleet.strain(longest_s)
        return fleet.done(ctx)

    return work


def _declare_effects(fleet: Fleet) -> None:
    callee = fleet.world.callee

    async def pay(ctx: Context) -> dict[str, Any]:
        await fleet.step(ctx, "prepare")
        receipt = await ctx.effect("send", fleet.send)
        await fleet.step(ctx, "note")
        return fleet.done(ctx, count=receipt.value)

    async def pay_checked(ctx: Context) -> dict[str, Any]:
        await ctx.effect("send", fleet.send, verify=callee.verify, before=callee.fit)
        return fleet.done(ctx)

    async def pay_once(ctx: Context) -> dict[str, Any]:
        which = str(ctx.run_id.int % 7)
        receipt = await ctx.effect("send", fleet.send, per="day", key=which, deadline="8s")
        if not receipt.first:
            fleet.world.met("effect done before")
        return fleet.done(ctx)

    async def daily(ctx: Context) -> dict[str, Any]:
        await ctx.effect("send", fleet.send)
        await fleet.strain(2.0)
        return fleet.done(ctx)

    _declare(fleet, "pay", pay, retries=6, backoff="0.3s")
    _declare(fleet, "pay_checked", pay_checked, retries=6, backoff="0.3s")
    _declare(fleet, "pay_once", pay_once, retries=6, timeout="12s")
    _declare(fleet, "daily", daily, retries=6, every="20s", catch_up="all")


def _declare_memory(fleet: Fleet) -> None:
    async def steps(ctx: Context) -> dict[str, Any]:
        for turn in range(4):
            await fleet.step(ctx, f"turn {turn}", 3.0)
            await ctx.sleep(f"nap {turn}", fleet._chance.random() * 2)
        return fleet.done(ctx)

    async def publish(ctx: Context) -> dict[str, Any]:
        count = 3 + ctx.run_id.int % 12

        async def items(after: int | None) -> AsyncIterator[tuple[int, int]]:
            for item in range(0 if after is None else after + 1, count):
                yield item, item

        topic = "orders" if ctx.run_id.int % 3 == 0 else "out"
        async for item in ctx.each("items", items):
            await fleet.strain(0.3)
            body = {"run": str(ctx.run_id), "item": item}
            await ctx.publish(topic, body, key=f"k{item % 3}" if topic == "out" else None)
        return fleet.done(ctx, published=count, topic=topic)

    async def order(ctx: Context, run: str, item: int) -> dict[str, Any]:
        fleet.world.met("message became a run")
        await asyncio.sleep(0.01)
        return fleet.done(ctx)

    _declare(fleet, "steps", steps, retries=6)
    _declare(fleet, "publish", publish, retries=6)
    fleet.app.task(name="order", retries=2)(order)


def _declare_drain(fleet: Fleet) -> None:
    table = fleet.world.table

    async def drain(ctx: Context) -> dict[str, Any]:
        low = 0
        for turn in range(DRAINS):
            await ctx.sleep(f"pause {turn}", DRAIN_S)
            upto = await ctx.step(f"mark {turn}", table.mark)

            def rows(
                after: int | None, low: int = low, upto: int = upto
            ) -> AsyncIterator[tuple[int, str]]:
                return table.between(low - 1 if after is None else after, upto)

            async for row in ctx.each(f"rows {turn}", rows):
                await asyncio.sleep(0.01)
                item = int(row.removeprefix("row "))
                await ctx.publish("out", {"run": str(ctx.run_id), "item": item})
            low = max(low, upto)
        return fleet.done(ctx, upto=low)

    _declare(fleet, "drain", drain, retries=50, backoff_longest="5s")


def _declare_waits(fleet: Fleet) -> None:
    world = fleet.world

    async def wait(ctx: Context) -> dict[str, Any]:
        await fleet.step(ctx, "before", 0.5)
        try:
            timeout = "15s" if ctx.run_id.int % 4 == 0 else None
            await ctx.wait_for(f"go {ctx.run_id}", timeout=timeout)
            world.met("event awaited")
        except TimeoutError:
            world.met("event that came too late")
        return fleet.done(ctx)

    async def family(ctx: Context) -> dict[str, Any]:
        try:
            await ctx.call("first", "brief", which=1)
            calls = [{"which": which} for which in range(2, 5)]
            await ctx.map("rest", "brief", calls, at_most=2)
            world.met("children gathered")
        except (WorkFailed, WorkCancelled):
            world.met("child that failed")
        return fleet.done(ctx)

    async def brief(ctx: Context, which: int = 0) -> dict[str, Any]:
        await fleet.strain(1.0)
        return fleet.done(ctx)

    async def approved(ctx: Context) -> dict[str, Any]:
        await ctx.approve("boss")
        world.met("approved")
        return fleet.done(ctx)

    def blocking(ctx: SyncContext) -> dict[str, Any]:
        world.judge.attempts += 1

        def work() -> int:
            world.remembering.working(ctx.run_id, ctx.attempt, "first")
            fleet.nap(3.0)
            return ctx.attempt

        ctx.step("first", work)
        world.remembering.went_by(ctx.run_id, ctx.attempt, "first")
        ctx.sleep("nap", 1.0)
        for item in ctx.each("items", lambda after: _numbers(after, 5)):
            fleet.nap(0.5)
            ctx.publish("out", {"run": str(ctx.run_id), "item": item}, key=f"k{item % 3}")
        ctx.effect("send", fleet.send)
        world.met("thread at its end")
        return fleet.done(ctx, published=5, topic="out")

    _declare(fleet, "wait", wait, retries=6)
    _declare(fleet, "family", family, retries=6)
    fleet.app.task(name="brief", retries=6)(brief)
    _declare(fleet, "approved", approved, retries=6)
    fleet.app.task(name="blocking", retries=6, timeout="12s")(blocking)


def _declare_shop(fleet: Fleet) -> None:
    async def buy(ctx: Context) -> dict[str, Any]:
        await fleet.world.shop.buy(fleet.process)
        return fleet.done(ctx)

    _declare(fleet, "buy", buy, retries=20, backoff="0.5s", breaker=SHOP)


async def _numbers(after: int | None, count: int) -> AsyncIterator[tuple[int, int]]:
    for number in range(0 if after is None else after + 1, count):
        yield number, number


def tasks_of(world: World, process: Process) -> dict[str, Task]:
    """Return the tasks alone, for who asks for runs of them."""
    return dict(make_app(world, process).tasks)
