"""What a simulated fleet has to do, who disturbs it, and how it comes to rest.

A world has a time of trouble and a time of calm. In trouble processes are killed, stand still,
stop and start, and the store goes away, as its faults say, while clients ask for runs and
schedules fall due. In calm nothing fails any more: backlogs must drain, the schedules are
paused, and every run must come to its end with nobody's help (P7).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from duly import Duly
from duly.core.runs import NewRun
from duly.core.states import RunState, ScheduleVerb
from duly.core.tasks import Task
from duly.engine import Context, Plan
from duly.errors import StoreUnavailable
from simulation.judge import alive
from simulation.ports import SimClock

if TYPE_CHECKING:
    from simulation.world import Process, World

TROUBLE_S = 150.0
CALM_S = 900.0
"""Virtual seconds; the calm must outlast leases, polls, chores and retries."""

TASKS: tuple[tuple[str, float, dict[str, Any]], ...] = (
    ("beat", 14.0, {"every": "10s", "retries": 5}),
    ("every_one", 1.0, {"every": "12s", "catch_up": "all", "retries": 5}),
    ("paced", 1.0, {"every": "15s", "catch_up": "all", "pace": "2s", "overlap": "allow"}),
    ("many", 3.0, {"every": "7s", "overlap": "queue_one", "jitter": "2s", "retries": 5}),
    ("quick", 0.2, {"retries": 5}),
    ("narrow", 4.0, {"retries": 5, "limit": ("pair", 2)}),
    ("timed", 9.0, {"retries": 2, "timeout": "6s", "backoff": "3s"}),
    ("long", 70.0, {"retries": 2}),
    ("perishable", 2.0, {"retries": 2, "expires_after": "20s"}),
)
"""Name, longest seconds of work, and options; those with `every` are schedules too."""


class Shattered(Exception):
    """What failing tasks raise."""


def make_app(world: World, process: Process) -> Duly:
    """Declare the tasks and schedules of the fleet, for one process."""
    app = Duly(name="fleet", settings={})
    chance = random.Random(f"{world.seed} tasks {process.name}")

    def task(name: str, longest_s: float, **options: Any) -> None:
        async def work(ctx: Context) -> dict[str, int]:
            world.judge.attempts += 1
            await asyncio.sleep(chance.random() * longest_s)
            if chance.random() < world.faults.fails:
                raise Shattered
            world.judge.worked.add((ctx.run_id, ctx.attempt))
            return {"epoch": ctx.attempt}

        app.task(name=name, **options)(work)

    for name, longest_s, options in TASKS:
        task(name, longest_s, **options)
    return app


class Fleet:
    """The processes of one world and their troubles."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.chance = random.Random(f"{world.seed} nemesis")
        self.places = self.chance.choice((1, 2, 2, 3, 3, 4))
        self.filled: list[Process] = []
        self.trouble = True

    def plan(self, world: World, process: Process) -> Plan:
        """Return what every process of the fleet does."""
        app = make_app(world, process)
        return Plan(
            owner="fleet",
            version="1",
            tasks=app.tasks,
            definitions=tuple(app.definitions.values()),
            slots=self.chance.choice((2, 4, 100)),
            stop_grace=timedelta(seconds=self.chance.choice((1, 10, 30))),
        )

    # --- trouble --------------------------------------------------------------------------

    async def live(self) -> None:
        """Live through trouble and calm; returns when all is at rest, or time is up."""
        world = self.world
        world.note("world", f"{self.places} places; faults: {world.faults.shown()}")
        self.filled = [world.boot(place, self.plan) for place in range(self.places)]
        troubles = [
            self._now_and_then(world.faults.kill_every_s, self._kill),
            self._now_and_then(world.faults.pause_every_s, self._pause),
            self._now_and_then(world.faults.stop_every_s, self._stop),
            self._now_and_then(world.faults.away_every_s, self._away),
            *(self._ask(number) for number in range(2)),
            self._refill(),
        ]
        tasks = [asyncio.ensure_future(one) for one in troubles]
        await asyncio.sleep(TROUBLE_S)
        await self._calm(tasks)

    async def _now_and_then(self, every_s: float, do: Callable[[Process], Awaitable[None]]) -> None:
        while every_s and self.trouble:
            await asyncio.sleep(self.chance.expovariate(1 / every_s))
            if self.trouble:
                await do(self.chance.choice(self.filled))

    async def _kill(self, process: Process) -> None:
        self.world.kill(process, "by chance")

    async def _pause(self, process: Process) -> None:
        self.world.pause(process, self.chance.choice((2.0, 14.0, 60.0)) * self.chance.random())

    async def _stop(self, process: Process) -> None:
        if process.engine is None or not process.engine.ready or process.lane.paused:
            return
        self.world.met("graceful stop")

        async def leave() -> None:
            assert process.engine is not None
            await process.engine.stop()
            self.world.exits(process)

        self.world.loop.spawn(process.lane, leave())

    async def _away(self, _: Process) -> None:
        seconds = self.chance.choice((3.0, 20.0, 90.0)) * self.chance.random()
        self.world.away_until = self.world.loop.time() + seconds
        self.world.note("world", f"the store goes away for {seconds:.1f} s")

    async def _refill(self) -> None:
        """Start a new process wherever one is no more, after a while."""
        while True:
            await asyncio.sleep(1.0)
            for place, process in enumerate(self.filled):
                if process.killed or process.gone:
                    if self.trouble:
                        await asyncio.sleep(self.chance.random() * 15)
                    self.filled[place] = self.world.boot(place, self.plan)

    # --- clients --------------------------------------------------------------------------

    async def _ask(self, number: int) -> None:
        """Ask for runs, each until the store has answered."""
        world = self.world
        store, clock = world.client()
        tasks = make_app(world, self.filled[0]).tasks
        names = ("quick", "narrow", "timed", "long", "perishable", "quick")
        while self.trouble:
            await asyncio.sleep(self.chance.expovariate(1 / 4))
            task = tasks[self.chance.choice(names)]
            run = self._new_run(task, clock)
            [answer] = await self._persist(lambda: store.enqueue([run]))  # noqa: B023
            world.judge.acknowledge(answer)
            if self.chance.random() < world.faults.cancels:
                await asyncio.sleep(self.chance.random() * 4)
                await self._persist(
                    lambda: store.cancel(answer.run, by="client", reason="changed")  # noqa: B023
                )
                world.met("cancelling asked for")

    def _new_run(self, task: Task, clock: SimClock) -> NewRun:
        now = self.world.now()
        later = self.chance.random() < 0.2
        keyed = self.chance.random() < 0.2
        return NewRun(
            id=clock.new_id(),
            task=task.name,
            args=b"{}",
            key=f"k{self.chance.randrange(6)}" if keyed else None,
            run_at=now + timedelta(seconds=self.chance.random() * 20) if later else None,
            expires_at=None if task.expires_after is None else now + task.expires_after,
            limit_key=task.limit_key,
            limit=task.limit,
        )

    async def _persist(self, ask: Callable[[], Awaitable[Any]]) -> Any:
        while True:
            try:
                return await ask()
            except StoreUnavailable:
                await asyncio.sleep(0.2 + self.chance.random())

    # --- calm -----------------------------------------------------------------------------

    async def _calm(self, troubles: list[asyncio.Task[None]]) -> None:
        world = self.world
        world.note("world", "calm")
        self.trouble = False
        world.faults.calm()
        world.away_until = 0.0
        asking = troubles[-3:-1]
        await asyncio.wait(asking)
        await self._until(lambda: world.loop.time() > TROUBLE_S + 60 and not world.tables.backlogs)
        store, clock = world.client()
        for name in sorted(world.tables.schedules):
            await store.move(
                name, ScheduleVerb.PAUSE, by="judge", reason="the end", new_id=clock.new_id
            )
        sent, since = world.sent, world.loop.time()
        await self._until(self._at_rest)
        world.idle_rate = (world.sent - sent) / max(1.0, world.loop.time() - since)
        await asyncio.sleep(30)

    async def _until(self, reached: Callable[[], bool]) -> None:
        end = self.world.loop.time() + CALM_S
        while not reached() and self.world.loop.time() < end:  # noqa: ASYNC110 - virtual time
            await asyncio.sleep(1.0)

    def _at_rest(self) -> bool:
        tables = self.world.tables
        return not any(
            alive(state) and state is not RunState.PARKED
            for state in map(tables.state_of, tables.run)
        )
