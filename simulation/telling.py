"""A pager by which some worlds tell people of incidents, and the judge of what it was told (P12).

Only some worlds have it, by a chance of their own, so that the others live on as before it was
there. The pager may be away, and its answer may be lost; a process may die before and after. What
arrived is the truth: copies under one id are one notice, each opening and each closing is told in
one notice at most, and at rest nothing is untold that was due.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID

import msgspec

from duly.core.notices import ChannelPlan, Notice, NotifyPlan, Told
from duly.core.telling import Outlook, lease_of
from duly.core.telling_plan import plan_next
from duly.outbound.base import DestinationUnavailable
from duly.outbound.notifier import Notifier
from simulation.store import SimStore, finish

if TYPE_CHECKING:
    from duly.engine import Engine
    from duly.events import Bus
    from simulation.ports import SimClock
    from simulation.world import Process, World

NAME = "pager"
AGREED = ChannelPlan(name=NAME, gather=timedelta(seconds=5), remind=(timedelta(minutes=3),))
PLAN = NotifyPlan(channels=(AGREED,))


def has_pager(seed: int) -> bool:
    """Whether a world has it.

    The word in the seed is one under which the worlds of `bugs.STARTS` have none, but for those of
    the bug that is about it.
    """
    return random.Random(f"pager 67 {seed}").random() < 0.2


class Paged:
    """What reached people."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.there = has_pager(world.seed)
        self.copies: Counter[UUID] = Counter()
        self.notices: dict[UUID, Notice] = {}

    def take(self, who: str, notice: Notice) -> None:
        """Take a notice; a copy must be the same to the letter."""
        self.copies[notice.id] += 1
        before = self.notices.setdefault(notice.id, notice)
        self._world.note(who, f"tells {notice.kind} {dict(notice.counts)}")
        self._world.met("notice told")
        if self.copies[notice.id] > 1:
            self._world.met("notice told again")
            if msgspec.json.encode(before) != msgspec.json.encode(notice):
                self._world.judge.breach(f"P12: notice {notice.id} changed between two tries")

    @property
    def quiet(self) -> bool:
        """Whether nothing is on its way to people, and nothing is due to be told."""
        if not self.there:
            return True
        out = self._outlook()
        return out.pending is None and plan_next(out, AGREED).what is None

    def _outlook(self) -> Outlook:
        """Look as whoever has the lease does, without taking it."""
        world, relays = self._world, self._world.tables.relays
        kept = dict(relays)
        relays.pop(lease_of(NAME), None)
        found = finish(world.make_store(world.now, world.tables).outlook(UUID(int=0), NAME))
        relays.clear()
        relays.update(kept)
        assert isinstance(found, Outlook), "nobody has the lease"
        return found

    def final(self) -> list[str]:
        """Return what is wrong with what people were told, once all is at rest."""
        if not self.there:
            return []
        late = [] if self.quiet else [f"P12: nobody tells what is due: {self._outlook()}"[:400]]
        return [*self._too_often(), *self._never(), *late]

    def _told(self) -> Counter[tuple[int | None, Told]]:
        return Counter(
            (item.incident.id, item.told)
            for notice in self.notices.values()
            if notice.kind == "news"
            for item in notice.items
        )

    def _too_often(self) -> list[str]:
        return [
            f"P12: incident {number} was told as {told.value} in {count} notices"
            for (number, told), count in self._told().items()
            if count > 1
        ]

    def _never(self) -> list[str]:
        """Return what counts as told, and reached nobody; what is on its way may still."""
        tables = self._world.tables
        named = {number for number, _ in self._told()}
        waiting = [row.notice for row in tables.notices.values() if row.sent_at is None]
        named |= {item.incident.id for notice in waiting for item in notice.items}
        many = any(
            sum(one.counts.values()) > len(one.items) for one in [*self.notices.values(), *waiting]
        )
        heard = [number for (_, number), mark in tables.marks.items() if mark.heard]
        lost = [] if many else [number for number in heard if number not in named]
        return [f"P12: incident {number} counts as told, and reached nobody" for number in lost]


class Pager:
    """One process's way to people: a `Channel`."""

    name = NAME

    def __init__(self, world: World, process: Process) -> None:
        self._world, self._process = world, process
        self._chance = random.Random(f"pager {world.seed} {process.name}")

    async def send(self, notice: Notice) -> None:
        """Tell people: all that can happen on the way."""
        world, chance, faults = self._world, self._chance, self._world.faults
        await asyncio.sleep(chance.random() * 0.5)
        world.edge(self._process, "page")
        await asyncio.sleep(0)  # a process that was killed or stands still gets no further
        if chance.random() < faults.broker_away:
            raise DestinationUnavailable("the pager is away")
        world.paged.take(self._process.name, notice)
        world.edge(self._process, "paged")
        await asyncio.sleep(0.01)
        if chance.random() < faults.confirm_lost:
            world.met("pager's answer lost")
            raise DestinationUnavailable("the answer was lost")


def notifier(
    world: World, process: Process, engine: Engine, *, store: SimStore, clock: SimClock, bus: Bus
) -> Notifier:
    """Return the loop of a process that tells people."""
    return Notifier(
        Pager(world, process),
        AGREED,
        PLAN,
        application="fleet",
        store=store,  # type: ignore[arg-type]  # it has every verb, by its `__getattr__`
        clock=clock,
        bus=bus,
        boot=lambda: engine.boot,
    )
