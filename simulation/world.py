"""One simulated world: a store, processes that come, stall and die, and what was seen of them.

Everything that happens follows from the seed: chance comes from generators that are seeded by
texts, so that neither the salt of hashes nor addresses in memory have a say.
"""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from duly import events
from duly.client import Client
from duly.core.tasks import Task
from duly.engine import Engine, Plan, Ports
from duly.events import Bus
from duly.outbound.relay import Relay
from duly.outbound.tasks import TaskDestination
from duly.stores.memory import MemoryStore
from duly.stores.memory.tables import Tables
from simulation.breaking import BreakerJudge, Shop
from simulation.faults import Faults, Sites
from simulation.judge import Judge, short
from simulation.ledger import LedgerJudge
from simulation.loop import LANE, Lane, SimLoop
from simulation.outside import Broker, Callee, Table, Way
from simulation.ports import EPOCH, Baton, SimClock, SimKeeper, SimProcesses
from simulation.presence import Locks, SimPresence
from simulation.remembering import MemoryJudge
from simulation.store import SimStore
from simulation.telling import Paged, notifier
from simulation.timetable import Timetable

HISTORY = 4000
"""Lines of history that are kept."""

LONG_S = 1000.0
"""Who stood still for longer goes on with hours gone."""

MakeStore = Callable[[Callable[[], datetime], Tables], MemoryStore]


def model(clock: Callable[[], datetime], tables: Tables) -> MemoryStore:
    """Make the store as it is meant to be."""
    return MemoryStore(clock, tables=tables)


class Process:
    """One simulated operating-system process that runs an engine."""

    def __init__(self, world: World, number: int, place: int) -> None:
        self.name = f"p{number}"
        self.pid = 1000 + number
        self.place = place  # which of the fleet's places it fills
        self.host = f"host{place % 2}"
        self.space = f"space of {self.host}" if world.sees_neighbours else ""
        self.lane: Lane = world.loop.lane(self.name)
        self.keepers: list[SimKeeper] = []
        self.presences: list[SimPresence] = []
        self.baton: Baton | None = None
        self.engine: Engine | None = None
        self.killed = False
        self.gone = False

    @property
    def is_gone(self) -> bool:
        """Whether it is no more."""
        return self.killed or self.gone


class World:
    """The store's tables, the processes, and the history."""

    def __init__(self, seed: int, *, make_store: MakeStore = model) -> None:
        self.seed = seed
        self.chance = random.Random(f"chance {seed}")
        self.loop = SimLoop(random.Random(f"order {seed}"))
        self.faults = Faults.of(seed)
        self.tables = Tables()
        self.make_store = make_store
        self.sites = Sites(seed)
        self.locks = Locks()
        self.has_locks = self.chance.random() < 0.5
        self.callee, self.broker, self.table = Callee(self), Broker(self), Table(self)
        self.shop, self.breaking = Shop(self), BreakerJudge(self)
        self.paged = Paged(self)
        self.ledger, self.remembering = LedgerJudge(self), MemoryJudge(self)
        self.timetable = Timetable(self)
        self.judge = Judge(self)
        self.processes: dict[int, Process] = {}
        self.away_until = 0.0
        self.sees_neighbours = self.chance.random() < 0.6
        self.revived: Counter[UUID] = Counter()
        self.sometimes: Counter[str] = Counter()
        self.history: list[str] = []
        self.errands: set[asyncio.Future[Any]] = set()  # what is under way outside of the fleet
        self.sent = 0
        self.idle_rate = 0.0
        self.hasty = False
        self._numbers = 0
        self._watched: dict[int, list[tuple[Lane, contextvars.Context, Callable[[], None]]]] = {}

    def now(self) -> datetime:
        """Return the store's clock."""
        return EPOCH + timedelta(seconds=self.loop.time())

    def note(self, who: str, what: str) -> None:
        """Put a line into the history."""
        self.history.append(f"{self.loop.time():9.3f} {who:8} {what}")
        if len(self.history) > 2 * HISTORY:
            del self.history[:HISTORY]

    def met(self, what: str) -> None:
        """Count something that a campaign must meet."""
        self.sometimes[what] += 1

    async def watched(self, what: str, work: Coroutine[Any, Any, Any]) -> Any:
        """Do work that nobody may be there to hear of: what it raises is a breach."""
        try:
            return await work
        except Exception as error:
            self.judge.breach(f"{what} raised {type(error).__name__}: {error}")

    def errand(self, what: str, work: Coroutine[Any, Any, Any]) -> asyncio.Future[Any]:
        """Begin work outside of the fleet."""
        errand = asyncio.ensure_future(self.watched(what, work))
        self.errands.add(errand)
        return errand

    # --- processes ------------------------------------------------------------------------

    def client(self, tasks: Mapping[str, Task] = {}) -> tuple[SimStore, SimClock, Client]:
        """Return the store, clock and client of somebody outside of the fleet."""
        self._numbers += 1
        process = Process(self, self._numbers, self._numbers)
        process.lane = self.loop.world
        clock = SimClock(self.loop, random.Random(f"{self.seed} client {self._numbers}"), 1800.0)
        process.space = f"space of {process.host}" if self.sees_neighbours else ""
        store = SimStore(self, process, self.make_store(self.now, self.tables))
        client = Client(store, tasks, clock, Bus())
        client.gone = SimProcesses(self, process).gone
        return store, clock, client

    def boot(self, place: int, plan: Callable[[World, Process], Plan]) -> Process:
        """Start a process at a place of the fleet."""
        self._numbers += 1
        process = Process(self, self._numbers, place)
        self.processes[process.pid] = process
        chance = random.Random(f"{self.seed} {process.name}")
        clock = SimClock(self.loop, chance, (chance.random() - 0.5) * 7200)
        store = SimStore(self, process, self.make_store(self.now, self.tables))
        ports = Ports(
            clock=clock,
            keeper=lambda: SimKeeper(self, process),
            processes=SimProcesses(self, process),
        )
        self.note(process.name, f"starts on {process.host}")
        life = self._live(process, store, plan(self, process), ports)
        self.loop.spawn(process.lane, self.watched(f"P15: the life of {process.name}", life))
        return process

    async def _live(self, process: Process, store: Any, plan: Plan, ports: Ports) -> None:
        bus = Bus()
        bus.subscribe(lambda event: self._heard(process, event))
        engine = process.engine = Engine(store, plan, ports=ports, bus=bus)
        for topic, to in (
            ("out", Way(self, process, self.broker)),
            ("orders", TaskDestination(plan.tasks["order"], store)),
        ):
            relay = Relay(
                topic,
                to,
                store=store,
                clock=ports.clock,
                bus=bus,
                boot=lambda: engine.boot,
                per_second=1000,
            )
            engine.beside.append(relay)
        if self.paged.there:
            telling = notifier(self, process, engine, store=store, clock=ports.clock, bus=bus)
            engine.beside.append(telling)
        await process.engine.start()
        code = await process.engine.ended()
        self.judge.breach(f"P15: {process.name} gave up with exit code {code}")

    def _heard(self, process: Process, event: events.Event) -> None:
        engine = process.engine
        match event:
            case events.AttemptStarted() if engine is not None:
                self.judge.started(process.name, engine.boot, event.run, event.epoch)
            case events.LoopFailed() if not event.error.startswith("TimeoutError"):
                # A turn in which the process stood still misses its deadline, and may; that it
                # never gives up for it is judged where it would end.
                self.judge.breach(f"loop {event.loop} of {process.name} failed: {event.error}")
            case events.InstanceLostLease():
                self.met("instance buried alive")
            case events.RunLost():
                self.met("work lost to others")
        if event.level >= events.Level.INFO:
            told = [f"{name}={_shown(getattr(event, name))}" for name in event.__struct_fields__]
            self.note(process.name, f"{event.name} {' '.join(told)}"[:300])

    def kill(self, process: Process, why: str) -> None:
        """End a process as `kill -9` does; its neighbours hear of it."""
        if process.killed or process.gone:
            return
        process.killed = True
        self.note(process.name, f"is killed: {why}")
        self.met("kill")
        self.loop.kill(process.lane)
        for keeper in process.keepers:
            keeper.baton.kill()
        for presence in process.presences:
            presence.died()
        for lane, context, gone in self._watched.pop(process.pid, []):
            self._tell_gone(lane, context, gone)

    def ended(self, pid: int) -> bool:
        """Whether the process of this pid is no more."""
        return self.processes[pid].is_gone

    def has_ended(self, name: str | None) -> bool:
        """Whether the process of this name is known, and no more."""
        return any(one.name == name and one.is_gone for one in self.processes.values())

    def edge(self, process: Process, site: str) -> None:
        """Let a process die or stand still at this very edge, where that site is awake."""
        if self.sites.strikes("kill", site):
            self.kill(process, site)
        elif self.sites.strikes("pause", site):
            self.pause(process, self.chance.random() * 40)

    @property
    def away(self) -> bool:
        """Whether the store is away."""
        return self.loop.time() < self.away_until

    def delay(self) -> float:
        """Return how long a verb takes one way."""
        if self.chance.random() < self.faults.slow:
            return self.chance.random() * 6
        return 0.0005 + self.chance.random() * 0.01

    def restart(self, away_s: float) -> None:
        """Restart the store: every connection breaks, and every lock falls at once."""
        self.note("world", f"the store restarts, away for {away_s:.1f} s")
        self.met("store restarted")
        self.away_until = self.loop.time() + away_s
        self.locks.restart()
        for process in self.living:
            for presence in process.presences:
                presence.heal()

    def exits(self, process: Process) -> None:
        """A process ended by itself."""
        process.gone = True
        self.note(process.name, "has left")
        for lane, context, gone in self._watched.pop(process.pid, []):
            self._tell_gone(lane, context, gone)

    def _tell_gone(
        self, lane: Lane, context: contextvars.Context, gone: Callable[[], None]
    ) -> None:
        after = self.loop.time() + 0.002 + self.chance.random() * 0.01
        self.loop.call_at(after, gone, context=context)

    def watch(self, pid: int, lane: Lane, gone: Callable[[], None]) -> Callable[[], None]:
        """Tell a lane when the process of this pid is no more."""
        context = contextvars.copy_context()
        assert context.get(LANE) is lane, "a watch belongs to the watcher"
        process = self.processes[pid]
        if process.killed or process.gone:
            self._tell_gone(lane, context, gone)
            return lambda: None
        entry = (lane, context, gone)
        self._watched.setdefault(pid, []).append(entry)

        def stop() -> None:
            watchers = self._watched.get(pid, [])
            if entry in watchers:
                watchers.remove(entry)

        return stop

    def pause(self, process: Process, seconds: float) -> bool:
        """Let a process stand still, as SIGSTOP does, for a while; whether it could be done."""
        if process.lane.paused or not process.lane.alive or process.lane is self.loop.world:
            return False
        process.lane.paused = True
        self.met("pause")
        self.note(process.name, f"stands still for {seconds:.1f} s")
        self.loop.later_in(self.loop.world, seconds, lambda: self._resume(process, seconds))
        return True

    def _resume(self, process: Process, seconds: float) -> None:
        if process.lane.paused and process.lane.alive:
            self.note(process.name, "goes on")
            if seconds > LONG_S:
                self.met("hours gone")
            self.loop.resume(process.lane)

    @property
    def living(self) -> list[Process]:
        """The processes that are neither killed nor gone."""
        return [one for one in self.processes.values() if not (one.killed or one.gone)]

    def close(self) -> None:
        """End everything, with no trace left in the real process."""
        for process in self.processes.values():
            for baton in [*process.lane.batons, *(one.baton for one in process.keepers)]:
                baton.kill()
        self.loop.bury()


def _shown(value: Any) -> str:
    return short(value) if isinstance(value, UUID) else str(value).replace("\n", " | ")
