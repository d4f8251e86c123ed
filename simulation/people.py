"""People and programs outside of the fleet: they ask, cancel, retry, resolve, edit, and insist.

They speak through the product's own client over lines that break as the fleet's do, and ask again
until they are answered. A person who resolves an effect has looked at the callee; a careless one
takes the risk of a double as well. In the calm they mend what only people can mend.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

import msgspec

from duly.client import Client
from duly.core.effects import Effect, EffectFilter
from duly.core.runs import NewRun, RunFilter
from duly.core.schedules import Overlap, ScheduleRow
from duly.core.states import EffectState, RunState, ScheduleState
from duly.core.tasks import Task
from duly.errors import Refused, StoreUnavailable, UnknownName
from simulation.ports import SimClock
from simulation.store import SimStore
from simulation.tasks import ASKED, tasks_of

if TYPE_CHECKING:
    from simulation.world import Process, World

T = TypeVar("T")

BY = {"by": "somebody", "reason": "a test"}
RETIRED = (ScheduleState.RETIRED, ScheduleState.ORPHANED)


class Person:
    """Somebody with a client."""

    def __init__(self, world: World, process: Process, number: int) -> None:
        self.world = world
        self.chance = random.Random(f"person {world.seed} {number}")
        self.tasks = tasks_of(world, process)
        self.store: SimStore
        self.clock: SimClock
        self.client: Client
        self.store, self.clock, self.client = world.client(self.tasks)

    async def insist(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask until the store has answered."""
        while True:
            try:
                return await ask()
            except StoreUnavailable:
                await asyncio.sleep(0.2 + self.chance.random())

    async def try_to(self, ask: Callable[[], Awaitable[Any]]) -> bool:
        """Ask until there is an answer; whether it was not a refusal."""
        try:
            await self.insist(ask)
        except (Refused, UnknownName):
            return False
        return True

    # --- asking for runs ----------------------------------------------------------------------

    async def ask(self) -> None:
        """Ask for a run, and perhaps do something about it."""
        task = self.tasks[self.chance.choice(ASKED)]
        run = self._new_run(task)
        [answer] = await self.insist(lambda: self.store.enqueue([run]))
        self.world.judge.acknowledge(answer)
        if self.chance.random() < self.world.faults.cancels:
            await asyncio.sleep(self.chance.random() * 4)
            await self.try_to(lambda: self.client.cancel(answer.run, **BY))
            self.world.met("cancelling asked for")
        if task.name == "wait":
            after_s = self.chance.random() * self.chance.choice((0.0, 5.0, 40.0))
            self.later(after_s, lambda: self.client.emit(f"go {answer.run}", 1))
        if task.name == "approved":
            self.later(self.chance.random() * 10, lambda: self._approve(answer.run))

    def later(self, after_s: float, ask: Callable[[], Awaitable[Any]]) -> None:
        """Do something after a while, in a task of its own."""

        async def do() -> None:
            await asyncio.sleep(after_s)
            await self.try_to(ask)

        self.world.errand("somebody", do())

    def _approve(self, run: UUID) -> Awaitable[Any]:
        return self.client.approve(run, "boss", by="boss")

    def _new_run(self, task: Task) -> NewRun:
        now = self.world.now()
        later = self.chance.random() < 0.15
        keyed = self.chance.random() < 0.15
        return NewRun(
            id=self.clock.new_id(),
            task=task.name,
            args=b"{}",
            key=f"k{self.chance.randrange(4)}" if keyed else None,
            run_at=now + timedelta(seconds=self.chance.random() * 20) if later else None,
            expires_at=None if task.expires_after is None else now + task.expires_after,
            limit_key=task.limit_key,
            limit=task.limit,
        )

    async def buy(self) -> None:
        """Ask for a run that calls the shop."""
        run = NewRun(id=self.clock.new_id(), task="buy", args=b"{}")
        [answer] = await self.insist(lambda: self.store.enqueue([run]))
        self.world.judge.acknowledge(answer)

    # --- effects and runs in trouble ------------------------------------------------------------

    async def look_after(self) -> None:
        """Look at what is in doubt, failed or parked, and do something about some of it."""
        where = EffectFilter(state=EffectState.UNCERTAIN)
        for row in await self.insist(lambda: self.store.effects(where)):
            if self.chance.random() < 0.4:
                await self.resolve(row, careless=self.chance.random() < self.world.faults.careless)
        for state in (RunState.FAILED, RunState.PARKED):
            found = await self.insist(partial(self.store.runs, RunFilter(state=state, limit=10)))
            for view in found:
                if self.chance.random() < 0.1:
                    self.world.met(f"retried by hand: {state}")
                    await self.try_to(partial(self.client.retry, view.id, by="somebody"))

    async def be_rash(self) -> None:
        """Say of what is in doubt that it was not performed, before anybody could know."""
        where = EffectFilter(state=EffectState.UNCERTAIN)
        for row in await self.insist(lambda: self.store.effects(where)):
            await self.resolve(row, careless=True)

    async def resolve(self, row: Effect, *, careless: bool) -> None:
        """Say what became of an effect: a look at the callee tells, or a guess."""
        performed = not careless and self.world.callee.got[str(row.address)] > 0
        await self.try_to(
            lambda: self.client.resolve(
                row.address, performed=performed, accept_double=careless, **BY
            )
        )

    # --- schedules ------------------------------------------------------------------------------

    async def meddle(self) -> None:
        """Change a schedule, at whatever moment this is."""
        name = self.chance.choice(sorted(self.world.tables.schedules) or ["beat"])
        row = self.world.tables.schedules.get(name)
        if row is None:
            return
        verbs: list[Callable[[], Awaitable[Any]]] = [
            lambda: self.client.pause(name, **BY),
            lambda: self.client.resume(name, **BY),
            lambda: self.client.retire(name, **BY),
            lambda: self.client.revive(name, **BY),
            lambda: self.client.edit(self._edited(row), revision=row.revision, **BY),
            lambda: self.client.give_back(name, by="somebody"),
        ]
        await self.try_to(self.chance.choice(verbs))

    def _edited(self, row: ScheduleRow) -> Any:
        interval = f"{self.chance.choice((5, 8, 14, 25))}s"
        return msgspec.structs.replace(
            row.definition,
            trigger={"kind": "every", "interval": interval},
            overlap=self.chance.choice(tuple(Overlap)),
        )

    # --- in the calm ------------------------------------------------------------------------------

    async def mend_schedules(self) -> None:
        """Let every schedule go on, so that what waits in backlogs is drained."""
        for name in sorted(self.world.tables.schedules):
            state = self.world.tables.schedules[name].state
            if state is ScheduleState.PAUSED:
                await self.try_to(partial(self.client.resume, name, **BY))
            elif state in RETIRED:
                await self.try_to(partial(self.client.revive, name, **BY))

    async def end_schedules(self) -> None:
        """Pause every schedule."""
        for name in sorted(self.world.tables.schedules):
            await self.try_to(partial(self.client.pause, name, **BY))

    async def settle(self) -> None:
        """Settle every doubt by a look at the callee, at a risk where the ledger asks for it."""
        for address, row in sorted(self.world.tables.effects.items()):
            if row.state is EffectState.UNCERTAIN:
                await self.resolve(row, careless=False)
                now = self.world.tables.effects.get(address)
                if now is not None and now.state is EffectState.UNCERTAIN:
                    await self.resolve(row, careless=True)
