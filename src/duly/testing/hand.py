"""An application turned by hand: its schedules fire and its runs run when a test says so.

    async with turned(app, start=datetime(2026, 3, 1, tzinfo=UTC)) as hand:
        await hand.tick("1d")
        assert len(hand.events.of(RunCompleted)) == 24

Theory of operation. There is no second engine: the store decides what fires and what is due,
the engine's own `Attempts` calls the tasks, and its own endings are written back, with the
retries, limits, overlaps and catch-ups of production. Only the loops are missing: the hand does
their turns one after another, in the test's own task. Runs are taken one at a time, by priority
and then in the order in which they were asked for; one that waits on the clock lets others go
first, and time passes for it when nothing else is left to do.

Nothing here waits by real time, except where a task does so itself (`asyncio.sleep`, I/O, a
task's `timeout`). The store is a new `MemoryStore`; the application's own is never opened.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

from duly.app.binding import checks
from duly.app.duly import Duly
from duly.client import Client
from duly.core.durations import parse_duration
from duly.core.fleet import Instance
from duly.core.runs import Answer, Ending, RunFilter, RunView
from duly.core.states import RunState
from duly.core.steps import Note
from duly.engine.attempts import Attempts
from duly.engine.durable.gathering import AtOnce
from duly.engine.durable.services import Services
from duly.engine.hands import Hands, Holding
from duly.engine.telling import Telling
from duly.engine.threads import Threads
from duly.errors import InvalidValue
from duly.events import Event
from duly.stores.base import Store
from duly.stores.memory import MemoryStore
from duly.testing.clock import START, VirtualClock

E = TypeVar("E", bound=Event)

ALL = 1_000_000
TURNS = 100_000
"""Firings at one instant after which something must be wrong."""

BREATHS = 50
"""Turns of the event loop that a task is given, after its pause, to come to its next one."""


class Captured:
    """The events of an application, in order."""

    def __init__(self) -> None:
        self.all: list[Event] = []

    def of(self, kind: type[E]) -> list[E]:
        """Return the events of one kind, oldest first."""
        return [one for one in self.all if isinstance(one, kind)]

    def clear(self) -> None:
        """Forget what happened so far."""
        self.all.clear()


class Hand:
    """The hand that turns an application; made by `turned`."""

    def __init__(self, app: Duly, store: Store, clock: VirtualClock, resources: Any) -> None:
        self.app, self.store, self.clock = app, store, clock
        self.events = Captured()
        self._boot = clock.new_id()
        self._hands, self._telling = Hands(), Telling(app.bus, clock)
        self._threads = Threads(1)
        self._ended: list[tuple[Holding, Ending | None]] = []
        self._attempts = Attempts(
            app.tasks,
            clock,
            self._threads,
            slots=ALL,
            zones=app.zones,
            services=self._services(),
            resources=resources,
            gate=app.gate,
        )
        self._attempts.started = self._telling.started
        self._attempts.ended = self._note_end

    def _services(self) -> Services:
        async def keep(notes: Sequence[tuple[UUID, Note]]) -> list[Answer]:
            return await self.store.keep(self._boot, [note for _, note in notes])

        return Services(
            store=self.store,
            clock=self.clock,
            keeping=AtOnce(keep),
            posting=AtOnce(self.store.post),
            tasks=self.app.tasks,
            boot=lambda: self._boot,
            emit=self.app.bus.emit,
            topics=checks(self.app) or None,
        )

    async def start(self) -> None:
        """Make the application known to its store, with its schedules."""
        app, definitions = self.app, tuple(self.app.definitions.values())
        instance = Instance(
            boot=self._boot,
            name="hand",
            host="hand",
            pid=0,
            pid_space="",
            owner=app.name,
            version=app.version,
            tasks=tuple(sorted(app.tasks)),
        )
        await self.store.register(instance, {one.name: one.digest() for one in definitions})
        new_id = self.clock.new_id
        await self.store.declare(self._boot, app.name, definitions, new_id=new_id)

    # --- turning --------------------------------------------------------------------------

    @property
    def now(self) -> datetime:
        """What the clock shows, aware UTC."""
        return self.clock.now()

    @property
    def client(self) -> Client:
        """The verbs of programs: pause a schedule, cancel a run, ask for verdicts."""
        return self.app.client

    async def tick(self, by: str | float | timedelta) -> int:
        """Turn the clock by a duration, doing whatever falls due on the way, in order.

        Returns how many attempts ended. Afterwards the clock shows exactly that much more, and
        nothing that was due by then is left undone.
        """
        return await self.tick_to(self.now + parse_duration(by, what="by"))

    async def tick_to(self, until: datetime) -> int:
        """As `tick`, to an instant; raises `InvalidValue` for one that lies behind."""
        if until < self.now:
            raise InvalidValue.expected("until", f"at or after {self.now}", until)
        done = await self.run_due(until=until)
        while (ahead := await self._ahead()) is not None and ahead <= until:
            await self._turn_to(ahead)
            done += await self.run_due(until=until)
        if until > self.now:
            await self._turn_to(until)
            done += await self.run_due(until=until)
        return done

    async def pass_by(self, by: str | float | timedelta) -> None:
        """Turn the clock while nobody works, as in an outage; what it missed is caught up later."""
        self.clock.turn(by)

    async def run_due(self, *, until: datetime | None = None) -> int:
        """Fire what is due now and run what is ready, until nothing is; return attempts ended.

        The clock stands still, unless a task waits on it; then it is turned as far as that
        task needs, but not beyond `until`.
        """
        done = 0
        while True:
            await self._fire()
            await self.store.promote()
            await self.store.expire()
            if await self._start_one():
                await self._progress()
            elif not self._hands.held or not await self._let_time_pass(until):
                return done
            done += await self._settle()

    async def _fire(self) -> None:
        for _ in range(TURNS):
            fired = await self.store.fire(new_id=self.clock.new_id)
            self._telling.fired(fired)
            if not (fired.more and fired.judged):
                return
        raise AssertionError("schedules fire without end")

    async def _ahead(self) -> datetime | None:
        """Return the next instant at which anything is due, or somebody goes on."""
        horizon = await self.store.beat(self._boot, queues=(), tasks=())
        instants = (horizon.next_fire, horizon.next_wake, self.clock.next_end)
        return min((one for one in instants if one is not None), default=None)

    # --- runs -----------------------------------------------------------------------------

    async def _start_one(self) -> bool:
        """Claim the first ready run, whatever its queue, and start it."""
        ready = await self.store.runs(RunFilter(state=RunState.READY, limit=ALL))
        queues = tuple(sorted({one.queue for one in ready}))
        if not queues:
            return False
        claim = await self.store.claim(
            self._boot, self.clock.new_id(), queues=queues, tasks=tuple(self.app.tasks), limit=1
        )
        for holding in self._hands.take(self._boot, claim.runs):
            self._telling.claimed([holding])
            self.clock.paused.clear()
            self._attempts.start(holding)
        return bool(claim.runs)

    def _note_end(self, holding: Holding, ending: Ending | None) -> None:
        self._ended.append((holding, ending))
        self.clock.paused.set()

    async def _progress(self) -> None:
        """Wait until an attempt ended, or waits on the clock."""
        await self.clock.paused.wait()

    async def _let_time_pass(self, until: datetime | None) -> bool:
        """Turn the clock to where something goes on; False when that lies beyond `until`."""
        if self._ended:
            return True
        end = self.clock.next_end
        if end is None:
            self.clock.paused.clear()
            await self._progress()  # an attempt waits for something real
            return True
        if until is not None and end > until:
            return False
        await self._turn_to(min(end, await self._ahead() or end))
        return True

    async def _turn_to(self, instant: datetime) -> None:
        """Turn the clock, and let whoever waited for it go on, as far as it goes at once."""
        self.clock.paused.clear()
        self.clock.turn_to(max(instant, self.now))
        for _ in range(BREATHS):
            if self.clock.paused.is_set():
                return
            await _breathe()

    async def _settle(self) -> int:
        """Write the endings there are, as production would."""
        ended, self._ended = self._ended, []
        for holding, ending in ended:
            assert ending is not None, "this boot is never declared dead"
            [answer] = await self.store.end(self._boot, [ending])
            self._hands.drop([holding])
            self._telling.settled(holding, ending, answer)
        return len(ended)

    async def runs(
        self,
        *,
        task: str | None = None,
        schedule: str | None = None,
        state: RunState | None = None,
    ) -> list[RunView]:
        """Return the runs there are, oldest first."""
        where = RunFilter(task=task, schedule=schedule, state=state, limit=ALL)
        return list(reversed(await self.store.runs(where)))

    async def stop(self) -> None:
        """Cancel what still runs; nothing of it is written."""
        left = [one.handle for one in self._hands.held.values() if one.handle is not None]
        for handle in left:
            handle.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        self._threads.stop()


async def _breathe() -> None:
    """Let everything else on the event loop have one turn."""
    loop = asyncio.get_running_loop()
    turn = loop.create_future()
    loop.call_soon(turn.set_result, None)
    await turn


@asynccontextmanager
async def turned(app: Duly, *, start: datetime = START, seed: int = 0) -> AsyncIterator[Hand]:
    """Turn an application by hand, on a memory store and a virtual clock of its own.

    `start` is what the clock shows at first (aware), `seed` decides ids and jitter. Inside, the
    application's store and clock are the hand's, so that `task.enqueue(...)` works as usual;
    afterwards they are what they were.
    """
    clock = VirtualClock(start, seed=seed)
    store = MemoryStore(clock.now)
    before = app.clock, app._store, app._kept
    async with AsyncExitStack() as stack:
        app.clock = clock
        app.use(store)
        stack.callback(_restore, app, before)
        resources = None
        if app.lifespan is not None:
            resources = await stack.enter_async_context(app.lifespan())
        hand = Hand(app, store, clock, resources)
        stack.callback(app.bus.subscribe(hand.events.all.append))
        stack.push_async_callback(hand.stop)
        await hand.start()
        clock.turned_by = asyncio.current_task()
        yield hand


def _restore(app: Duly, before: tuple[Any, Any, Any]) -> None:
    app.clock, app._store, app._kept = before
    app._gate = None
