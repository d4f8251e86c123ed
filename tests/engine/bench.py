"""An engine on the model store, in virtual time: what the tests of this room stand on.

The loop is the simulator's, with one process and no faults unless a test makes them: a test is a
coroutine that runs in it, so that an hour costs nothing and the order is always the same. A
store may be told to fail at chosen verbs.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any
from uuid import UUID

from duly import Duly, events
from duly.core.runs import NewRun, RunView
from duly.engine import Engine, Plan, Ports
from duly.errors import StoreUnavailable
from duly.events import Bus, Event
from duly.stores.memory import MemoryStore
from duly.stores.memory.tables import Tables
from simulation.loop import SimLoop
from simulation.ports import EPOCH, SimClock


async def lasts(seconds: float) -> None:
    """Take so much time, by the clock of whatever loop this runs in."""
    loop = asyncio.get_running_loop()
    over = loop.create_future()
    timer = loop.call_later(seconds, over.set_result, None)
    try:
        await over
    finally:
        timer.cancel()


class HandKeeper:
    """`Keeper` that beats in the loop, when time comes or when it is told."""

    def __init__(self) -> None:
        self.beat: Callable[[], None] = lambda: None
        self.every_s = 5.0
        self.stopped = False
        self.hurried = 0

    def start(self, beat: Callable[[], None], every: float) -> None:
        self.beat, self.every_s = beat, every
        asyncio.get_running_loop().call_later(every, self._turn)

    def _turn(self) -> None:
        if not self.stopped:
            self.beat()
            asyncio.get_running_loop().call_later(self.every_s, self._turn)

    def hurry(self) -> None:
        self.hurried += 1
        asyncio.get_running_loop().call_soon(self.beat)

    def stop(self) -> None:
        self.stopped = True


class Alone:
    """`Processes` where nobody can be watched."""

    def here(self) -> tuple[str, int, str]:
        return "host", 1, ""

    def watch(self, other: Any, gone: Any) -> None:
        return None

    def gone(self, other: Any) -> bool:
        return False

    def memory_kills(self) -> int:
        return 0


class FaultyStore(MemoryStore):
    """The model, at the end of a line that fails when a test says so.

    `before[verb]` and `after[verb]` say how many of the next calls are lost on their way there,
    or on their way back; `away` loses all. Every call is counted in `sent`.
    """

    def __init__(self, bench: Bench) -> None:
        super().__init__(bench.now, tables=bench.tables)
        self.before: dict[str, int] = {}
        self.after: dict[str, int] = {}
        self.away = False
        self.sent: list[str] = []
        self.claims: list[UUID] = []

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name not in VERBS:
            return found

        async def verb(*args: Any, **how: Any) -> Any:
            self.sent.append(name)
            if name == "claim":
                self.claims.append(args[1])
            await asyncio.sleep(0)
            self._lose(name, self.before)
            answer = await found(*args, **how)
            self._lose(name, self.after)
            return answer

        return verb

    def _lose(self, name: str, table: dict[str, int]) -> None:
        if self.away or table.get(name, 0) > 0:
            table[name] = table.get(name, 0) - 1
            raise StoreUnavailable(f"{name} was lost")


VERBS = frozenset(
    "register declare beat claim end fire promote expire shelve take_over come_back lapsed"
    " instances incidents leave clock enqueue cancel prune orphan keep remembered emit happened"
    " log logged post effect sweep outgoing relayed run runs fronts queues open_incident"
    " close_incident outlook untold overdue summed draw_up arrived".split()
)


class Bench:
    """A world of one store, with engines to be started in it."""

    def __init__(self, loop: SimLoop) -> None:
        self.loop, self.tables = loop, Tables()
        self.events: list[Event] = []
        self.keepers: list[HandKeeper] = []
        self.engines: list[Engine] = []
        self.clock = SimClock(loop, random.Random("bench"))
        self.client = MemoryStore(self.now, tables=self.tables)

    def now(self) -> Any:
        return EPOCH + timedelta(seconds=self.loop.time())

    async def start(self, app: Duly, **how: Any) -> tuple[Engine, FaultyStore]:
        """Start an engine for an application."""
        engine, store = self.make(app, **how)
        await engine.start()
        return engine, store

    def make(self, app: Duly, **how: Any) -> tuple[Engine, FaultyStore]:
        store, bus = FaultyStore(self), Bus()
        bus.subscribe(self.events.append)
        plan = Plan(
            owner=app.name,
            version="1",
            tasks=app.tasks,
            definitions=tuple(app.definitions.values()),
            **how,
        )
        clock = SimClock(self.loop, random.Random(f"engine {len(self.engines)}"))
        ports = Ports(clock=clock, keeper=self._keeper, processes=Alone())
        engine = Engine(store, plan, ports=ports, bus=bus)
        self.engines.append(engine)
        return engine, store

    def _keeper(self) -> HandKeeper:
        self.keepers.append(HandKeeper())
        return self.keepers[-1]

    async def ask(self, task: str, **how: Any) -> UUID:
        """Enqueue a run of a task."""
        run = NewRun(id=self.clock.new_id(), task=task, **how)
        await self.client.enqueue([run])
        return run.id

    async def view(self, run: UUID) -> RunView:
        found = await self.client.run(run)
        assert found is not None
        return found

    async def ended(self, run: UUID, within_s: float = 7200) -> RunView:
        """Wait for a run's end, and return how it ended."""
        end, step = self.loop.time() + within_s, 0.01
        while run not in self.tables.ended:
            assert self.loop.time() < end, "it did not end"
            await self.clock.pause(step)
            step = min(1.0, step * 1.2)
        self.assert_sound()
        return await self.view(run)

    async def state(self, run: UUID) -> str:
        return (await self.view(run)).state.value

    async def past(self, seconds: float) -> None:
        """Let virtual time pass."""
        await self.clock.pause(seconds)

    async def until(self, reached: Callable[[], bool], within_s: float = 120) -> None:
        """Wait until something holds; fails when it does not within so much virtual time."""
        end = self.loop.time() + within_s
        while not reached():
            assert self.loop.time() < end, "it never came to that"
            await self.clock.pause(0.01)

    def told(self, kind: type[Event]) -> list[Any]:
        return [one for one in self.events if isinstance(one, kind)]

    def assert_sound(self) -> None:
        """No loop failed by its own fault."""
        assert [one.error for one in self.told(events.LoopFailed)] == []


def in_time(test: Callable[[Bench], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Make a test of a coroutine that is given a bench, and runs in virtual time."""

    def run() -> None:
        loop = SimLoop(random.Random(test.__name__))
        bench = Bench(loop)
        try:
            loop.run_until_complete(loop.spawn(loop.world, test(bench)))
        finally:
            loop.bury()

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run
