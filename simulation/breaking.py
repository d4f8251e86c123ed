"""A target that breaks for a while now and then, and the judge of the breaker before it (P11).

Only some worlds have it, by a chance of their own, so that the others live on as before it was
there. The judge looks at each ask where it is answered: a probe is lent to one at a time, and an
incident is open exactly while the breaker is not closed.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from duly import Breaker
from duly.core.breakers import OPEN, Ask, BreakerRow, Heard, Permission, Permit
from duly.core.states import BreakerState, BreakerVerb
from simulation.faults import apart_of

if TYPE_CHECKING:
    from simulation.world import Process, World

LAST_S = 110.0
"""When it breaks for the last time, at the latest."""

SHOP = Breaker("shop", threshold=3, pause="4s", slowest="15s", probe_deadline="8s")
VERBS = ("breaker_calls", "breaker_tell")


class Shop:
    """The target. `times` are the stretches of time in which it is broken."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._chance = chance = random.Random(f"shop {world.seed}")
        self.there = apart_of(world.seed).shop
        self.times: list[tuple[float, float]] = []
        at = 5 + chance.expovariate(1 / 10)
        while at < LAST_S:
            until = at + chance.choice((3.0, 15.0, 30.0)) * (0.3 + chance.random())
            self.times.append((at, until))
            at = until + chance.expovariate(1 / 25)

    @property
    def broken(self) -> bool:
        """Whether it is broken now."""
        now = self._world.loop.time()
        return any(begin <= now < end for begin, end in self.times)

    async def buy(self, process: Process) -> None:
        """Be called; a call takes a while, in which its process may die or stand still."""
        await asyncio.sleep(self._chance.random() * 0.8)
        self._world.edge(process, "buy")
        await asyncio.sleep(0)
        if self.broken:
            raise ConnectionResetError("the shop hung up")


class BreakerJudge:
    """What the store answered about breakers, held against the rows before."""

    def __init__(self, world: World) -> None:
        self._world = world

    def before(self) -> dict[str, BreakerRow]:
        """Keep the rows as they are."""
        return dict(self._world.tables.breakers)

    def after(
        self, who: str, verb: str, args: tuple[Any, ...], rows: dict[str, BreakerRow], answer: Any
    ) -> None:
        """Judge a verb that was just done."""
        if verb == "breaker_calls":
            for ask, permit in zip(args[1], answer, strict=True):
                self._asked(who, ask, permit, rows.get(ask.breaker))
        elif isinstance(answer, Heard):
            self._heard(who, answer)
        self._incidents()

    def _asked(self, who: str, ask: Ask, permit: Permit, row: BreakerRow | None) -> None:
        world = self._world
        if permit.permission is Permission.REFUSED:
            world.met("breaker refused a call")
        if permit.permission is not Permission.PROBE:
            return
        world.met("half-open breaker")
        world.note(who, f"probes {ask.breaker}")
        if row is None or row.probe in (None, ask.lease) or row.probe_until is None:
            return
        if row.probe_until > world.now():
            world.judge.breach(f"P11: {who} probes {ask.breaker} beside another")
        world.met("probe that was never answered")

    def _heard(self, who: str, answer: Heard) -> None:
        for line in answer.lines:
            self._world.note(who, f"breaker {line.verb} {line.breaker}: {line.why}")
            if line.verb is BreakerVerb.TRIP:
                self._world.met("breaker tripped")
            elif line.verb is BreakerVerb.REOPEN:
                self._world.met("probe that failed")
            elif line.verb is BreakerVerb.CLOSE:
                self._world.met("breaker closed by its probe")

    def _incidents(self) -> None:
        tables = self._world.tables
        told: Sequence[str] = [
            one.subject for one in tables.incidents if one.kind == OPEN and one.closed_at is None
        ]
        rows = tables.breakers.values()
        broken = [one.name for one in rows if one.state is not BreakerState.CLOSED]
        if sorted(told) != sorted(broken):
            self._world.judge.breach(f"P12: not closed are {broken}, told are {told}")
