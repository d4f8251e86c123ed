"""One simulated world: a store, processes that come, stall and die, and what was seen of them.

Everything that happens follows from the seed: chance comes from generators that are seeded by
texts, so that neither the salt of hashes nor addresses in memory have a say.
"""

from __future__ import annotations

import contextvars
import random
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from duly import events
from duly.engine import Engine, Plan, Ports
from duly.events import Bus
from duly.stores.memory import MemoryStore
from duly.stores.memory.tables import Tables
from simulation.faults import Faults
from simulation.judge import Judge, short
from simulation.loop import LANE, Lane, SimLoop
from simulation.ports import EPOCH, Baton, SimClock, SimKeeper, SimProcesses
from simulation.store import SimStore

HISTORY = 4000
"""Lines of history that are kept."""

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
        self.baton: Baton | None = None
        self.engine: Engine | None = None
        self.killed = False
        self.gone = False


class World:
    """The store's tables, the processes, and the history."""

    def __init__(self, seed: int, *, make_store: MakeStore = model) -> None:
        self.seed = seed
        self.chance = random.Random(f"chance {seed}")
        self.loop = SimLoop(random.Random(f"order {seed}"))
        self.faults = Faults.drawn(random.Random(f"faults {seed}"))
        self.tables = Tables()
        self.make_store = make_store
        self.judge = Judge(self)
        self.processes: dict[int, Process] = {}
        self.away_until = 0.0
        self.sees_neighbours = self.chance.random() < 0.6
        self.revived: Counter[UUID] = Counter()
        self.sometimes: Counter[str] = Counter()
        self.history: list[str] = []
        self.sent = 0
        self.idle_rate = 0.0
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

    # --- processes ------------------------------------------------------------------------

    def client(self) -> tuple[SimStore, SimClock]:
        """Return the store and clock of a process that only asks for work."""
        self._numbers += 1
        process = Process(self, self._numbers, 0)
        process.lane = self.loop.world
        clock = SimClock(self.loop, random.Random(f"{self.seed} client {self._numbers}"), 1800.0)
        return SimStore(self, process, self.make_store(self.now, self.tables)), clock

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
        self.loop.spawn(process.lane, self._live(process, store, plan(self, process), ports))
        return process

    async def _live(self, process: Process, store: Any, plan: Plan, ports: Ports) -> None:
        bus = Bus()
        bus.subscribe(lambda event: self._heard(process, event))
        process.engine = Engine(store, plan, ports=ports, bus=bus)
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
        for lane, context, gone in self._watched.pop(process.pid, []):
            self._tell_gone(lane, context, gone)

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

    def pause(self, process: Process, seconds: float) -> None:
        """Let a process stand still, as SIGSTOP does, for a while."""
        if process.lane.paused or not process.lane.alive or process.lane is self.loop.world:
            return
        process.lane.paused = True
        self.met("pause")
        self.note(process.name, f"stands still for {seconds:.1f} s")
        self.loop.later_in(self.loop.world, seconds, lambda: self._resume(process))

    def _resume(self, process: Process) -> None:
        if process.lane.paused:
            self.note(process.name, "goes on")
            self.loop.resume(process.lane)

    @property
    def living(self) -> list[Process]:
        """The processes that are neither killed nor gone."""
        return [one for one in self.processes.values() if not (one.killed or one.gone)]

    def close(self) -> None:
        """End everything, with no trace left in the real process."""
        for process in self.processes.values():
            for keeper in process.keepers:
                keeper.baton.kill()
        self.loop.bury()


def _shown(value: Any) -> str:
    return short(value) if isinstance(value, UUID) else str(value).replace("\n", " | ")
