"""What a simulated fleet has to do, who disturbs it, and how it comes to rest.

A world has a time of trouble and a time of calm. In trouble processes are killed, stand still,
stop and start, the store goes away and restarts, people meddle, as its faults say, while programs
ask for runs and schedules fall due. In calm nothing fails any more: backlogs must drain, the
schedules are paused, and every run must come to its end with nobody's help, doubtful effects
apart (P7). Then people settle the doubts, and what was parked for them must end as well.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from duly.core.runs import NewRun
from duly.core.states import RunState
from duly.engine import Plan
from duly.stores.memory.fleet import POISON
from simulation.judge import alive, short
from simulation.people import Person
from simulation.tasks import make_app

if TYPE_CHECKING:
    from simulation.world import Process, World

TROUBLE_S = 150.0
CALM_S = 900.0
"""Virtual seconds; the calm must outlast leases, polls, chores and retries."""

HOURS_S = 5400.0
"""How long a process stands still at most that goes on with hours gone."""

QUIET_S = 75.0
"""How long a world at rest is looked at: the slow sweep comes once a minute."""


class Fleet:
    """The processes of one world and their troubles."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.chance = random.Random(f"{world.seed} nemesis")
        self.places = self.chance.choice((1, 2, 2, 3, 3, 4))
        self.filled: list[Process] = []
        self.people: list[Person] = []
        self.trouble = True
        self.frozen_until = 0.0

    def plan(self, world: World, process: Process) -> Plan:
        """Return what every process of the fleet does."""
        app = make_app(world, process)
        return Plan(
            owner="fleet",
            version="1",
            tasks=app.tasks,
            definitions=tuple(app.definitions.values()),
            slots=self.chance.choice((3, 6, 100)),
            threads=self.chance.choice((1, 3)),
            stop_grace=timedelta(seconds=self.chance.choice((1, 10, 30))),
        )

    # --- trouble --------------------------------------------------------------------------

    async def live(self) -> None:
        """Live through trouble and calm; returns when all is at rest, or time is up."""
        world, faults = self.world, self.world.faults
        world.note("world", f"{self.places} places; faults: {faults.shown()}")
        self.filled = [world.boot(place, self.plan) for place in range(self.places)]
        self.people = [Person(world, self.filled[0], number) for number in range(3)]
        troubles = [
            self._now_and_then(faults.kill_every_s, self._kill),
            self._now_and_then(faults.pause_every_s, self._pause),
            self._now_and_then(faults.stop_every_s, self._stop),
            self._now_and_then(faults.away_every_s, self._away),
            self._now_and_then(faults.restart_every_s, self._restart),
            self._now_and_then(faults.session_every_s, self._break_sessions),
            self._refill(),
        ]
        clients = [
            self._ask(self.people[0], 4.0),
            self._ask(self.people[1], 6.0),
            self._look_after(self.people[2]),
            self._meddle(self.people[1], faults.people_every_s),
            world.table.fill(TROUBLE_S * 0.6),
        ]
        if world.shop.there:
            clients.append(self._buy(Person(world, self.filled[0], 3)))
        if faults.rash_every_s:
            clients.append(self._be_rash(Person(world, self.filled[0], 4), faults.rash_every_s))
        for one in troubles:
            world.errand("the nemesis", one)
        asking = [world.errand("somebody", one) for one in clients]
        await self._ask_once(self.people[0])
        await asyncio.sleep(TROUBLE_S - world.loop.time())
        await self._calm(asking)

    async def _now_and_then(self, every_s: float, do: Callable[[Process], Awaitable[None]]) -> None:
        while every_s and self.trouble:
            await asyncio.sleep(self.chance.expovariate(1 / every_s))
            if self.trouble:
                await do(self.chance.choice(self.filled))

    async def _kill(self, process: Process) -> None:
        self.world.kill(process, "by chance")

    async def _pause(self, process: Process) -> None:
        seconds = self.chance.choice((2.0, 14.0, 60.0)) * self.chance.random()
        hours = self.chance.random() < 0.12 and self.frozen_until == 0.0 and self.places > 1
        if hours:
            seconds = HOURS_S * (0.3 + 0.7 * self.chance.random())
        if self.world.pause(process, seconds) and hours:
            self.frozen_until = self.world.loop.time() + seconds

    async def _stop(self, process: Process) -> None:
        if process.engine is None or not process.engine.ready or process.lane.paused:
            return
        self.world.met("graceful stop")

        async def leave() -> None:
            assert process.engine is not None
            await process.engine.stop()
            self.world.exits(process)

        leaving = self.world.watched(f"P7: the stop of {process.name}", leave())
        self.world.loop.spawn(process.lane, leaving)

    async def _away(self, _: Process) -> None:
        seconds = self.chance.choice((3.0, 20.0, 90.0)) * self.chance.random()
        self.world.away_until = self.world.loop.time() + seconds
        self.world.note("world", f"the store goes away for {seconds:.1f} s")

    async def _restart(self, _: Process) -> None:
        self.world.restart(self.chance.choice((0.05, 0.4, 6.0)) * self.chance.random())

    async def _break_sessions(self, process: Process) -> None:
        if process.is_gone:
            return
        self.world.note(process.name, "its sessions break")
        for presence in process.presences:
            presence.breaks()

    async def _refill(self) -> None:
        """Start a new process wherever one is no more, after a while."""
        while True:
            await asyncio.sleep(1.0)
            for place, process in enumerate(self.filled):
                if process.is_gone:
                    if self.trouble:
                        await asyncio.sleep(self.chance.random() * 15)
                    self.filled[place] = self.world.boot(place, self.plan)

    # --- people ---------------------------------------------------------------------------

    async def _ask(self, person: Person, every_s: float) -> None:
        while self.trouble:
            await asyncio.sleep(self.chance.expovariate(1 / every_s))
            await person.ask()

    async def _ask_once(self, person: Person) -> None:
        """Ask for the one run that reads the user's table all the time."""
        run = NewRun(id=person.clock.new_id(), task="drain", key="the one")
        [answer] = await person.insist(lambda: person.store.enqueue([run]))
        self.world.judge.acknowledge(answer)

    async def _look_after(self, person: Person) -> None:
        while self.trouble:
            await asyncio.sleep(self.chance.expovariate(1 / 12))
            await person.look_after()

    async def _buy(self, person: Person) -> None:
        while self.trouble:
            await asyncio.sleep(person.chance.expovariate(1 / 1.5))
            await person.buy()

    async def _be_rash(self, person: Person, every_s: float) -> None:
        while self.trouble:
            await asyncio.sleep(person.chance.expovariate(1 / every_s))
            await person.be_rash()

    async def _meddle(self, person: Person, every_s: float) -> None:
        while self.trouble and every_s:
            await asyncio.sleep(self.chance.expovariate(1 / every_s))
            await person.meddle()

    # --- calm -----------------------------------------------------------------------------

    async def _calm(self, asking: Sequence[asyncio.Future[Any]]) -> None:
        world = self.world
        world.note("world", "calm")
        self.trouble = False
        world.faults.calm()
        world.sites.calm()
        world.away_until = 0.0
        await asyncio.wait(asking)
        await self.people[2].mend_schedules()
        await self._until("backlogs are drained", self._drained)
        await self.people[2].end_schedules()
        await self._until("everything ended with nobody's help", self._at_rest)
        if world.loop.time() < self.frozen_until + 1:
            await asyncio.sleep(self.frozen_until + 1 - world.loop.time())
        sent, since = world.sent, world.loop.time()
        await self._until("everything is still at its end", self._at_rest)
        await asyncio.sleep(QUIET_S)
        world.idle_rate = (world.sent - sent) / max(1.0, world.loop.time() - since)
        await self._settle()
        await self._until("people were told", lambda: world.paged.quiet)

    async def _settle(self) -> None:
        """Let people settle the doubts; each may be followed by the next, behind it."""
        for _ in range(20):
            if not self._waiting_for_people():
                return
            await self.people[2].settle()
            await self._until("what people decided went on", lambda: not self._busy())
            await asyncio.sleep(1.0)

    async def _until(self, what: str, reached: Callable[[], bool]) -> None:
        """Wait for the calm to bring something about; that it does not is a breach (P7)."""
        world, end = self.world, self.world.loop.time() + CALM_S
        while not reached() and world.loop.time() < end:  # noqa: ASYNC110 - virtual time
            await asyncio.sleep(1.0)
        if not reached():
            left = [f"{short(run)} {world.tables.state_of(run)}" for run in self._left()]
            world.judge.breach(
                f"P7: not within {CALM_S:.0f} s of calm: {what}; left are {' '.join(left)}"
                f" {len(world.tables.backlogs)} backlogs {len(world.tables.outbox)} messages"
            )

    def _drained(self) -> bool:
        return self.world.loop.time() > TROUBLE_S + 60 and not self.world.tables.backlogs

    def _left(self) -> list[UUID]:
        """Return what is alive, and not parked for people to decide."""
        states = ((run, self.world.tables.state_of(run)) for run in self.world.tables.run)
        return [run for run, state in states if alive(state) and state is not RunState.PARKED]

    def _at_rest(self) -> bool:
        return not self._busy() and not self.world.tables.outbox

    def _busy(self) -> bool:
        return bool(self._left()) and not self._only_waiting()

    def _only_waiting(self) -> bool:
        """Whether all that is left waits for a run that is parked, and will go on behind it."""
        tables = self.world.tables
        parked = {f"run:{r}" for r, row in tables.later.items() if row.state is RunState.PARKED}
        rest = [run for run, row in tables.later.items() if row.state is not RunState.PARKED]
        if tables.ready or tables.held:
            return False
        return all(parked & {one.event for one in tables.awaits.get(run, ())} for run in rest)

    def _waiting_for_people(self) -> bool:
        later = self.world.tables.later.values()
        return any(row.state is RunState.PARKED and row.reason != POISON for row in later)
