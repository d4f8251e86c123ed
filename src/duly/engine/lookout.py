"""A lookout: a process that notices what goes wrong with the fleet, and is no part of it.

`duly server` lives with the store when the last worker has died; it is the one who can tell. So it
takes the looks of an instance, under the same supervision: deaths, lateness, expectations, what is
over again; and it looks whether anybody is there at all. Work that a dead instance held goes back
to whoever will claim it.

It registers nowhere, so nobody counts on it; it claims, fires and prunes nothing, and no schedule
is orphaned by it. Where an instance lives, the instance goes first. Idle, it costs four statements
a minute; it stays up while the store is away.
"""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from duly import events
from duly.core.fleet import Incident, Instance, InstanceState
from duly.engine.almanac import Almanac
from duly.engine.caretaking import open_incident
from duly.engine.clusters import Clusters, is_told, left_by, seen_at, was_told
from duly.engine.looks import Looks, Post
from duly.engine.plan import Plan
from duly.engine.ports import Ports
from duly.engine.roster import Roster
from duly.engine.supervising import EXIT_GAVE_UP, Loop, Supervising, own_policy
from duly.engine.telling import Telling
from duly.events import Bus
from duly.stores.base import Store

DESERTED, FLEET = "fleet.gone", "fleet"

LOOKS = 2
"""Looks in a row at which nobody may be there before a person is told: one restart is no news."""


class Onlooker(Roster):
    """The roster of somebody who is no instance: whoever is one goes first."""

    def rank(self, topic: str) -> int:
        """Return how many live instances there are, who all come before."""
        return sum(one.state is InstanceState.LIVE for one in self.others)

    def distance_after(self, boot: UUID) -> int:
        """Return the place behind all who stand in the ring."""
        return sum(one.boot != boot for one in self.others)


class Onlooking:
    """A supervised loop: looks whether anybody is there, and tells once when nobody is."""

    name = "onlooking"

    def __init__(self, store: Store, post: Post, clusters: Clusters, *, every_s: float) -> None:
        self._store, self._almanac, self._roster = store, post.almanac, post.roster
        self._clock, self._telling = post.ports.clock, post.telling
        self._clusters, self._every_s = clusters, every_s
        self._fleet: frozenset[UUID] | None = None
        self._alone = 0  # looks in a row at which nobody was there
        self._told: bool | None = None  # None: another process may have told

    async def ready(self) -> None:
        """Wait for the pace, a minute as it comes."""
        await self._clock.pause(self._every_s * (0.9 + 0.2 * self._clock.draw()))

    async def turn(self) -> None:
        """Look by what the roster says, and let it be read again for the next look."""
        self._almanac.fleet.set()
        fleet = frozenset(one.boot for one in self._roster.others)
        if fleet:
            self._alone = 0
            await self._somebody()
        else:
            self._alone += 1
            await self._clusters.look(changed=fleet != self._fleet)
            if self._alone >= LOOKS and not self._told:
                await self._nobody()
        self._fleet = fleet

    async def _somebody(self) -> None:
        if self._told is False:
            return
        note = "an instance is there again"
        if await self._store.close_incident(DESERTED, FLEET, note=note):
            self._telling.emit(events.IncidentClosed(kind=DESERTED, subject=FLEET))
        self._told = False

    async def _nobody(self) -> None:
        """Tell, unless nobody ever was there, or left just now, or a person closed it since."""
        instances = await self._store.instances()
        if not instances:
            return
        last = max(instances, key=lambda one: (seen_at(one), one.boot))
        if not is_told(last, await self._store.clock()):
            return
        known = [
            one for one in await self._store.incidents(only_open=False) if one.kind == DESERTED
        ]
        if not was_told(known, FLEET, last):
            await open_incident(self._store, self._telling, _incident(last))
        self._told = True


class Lookout:
    """One process's looks. `start`, then wait for `ended`, then `stop`; not used twice.

    `boot` names it among those that tell a channel, and nowhere else. `beside` are further loops
    under the same supervision: those that tell people.
    """

    def __init__(self, store: Store, plan: Plan, *, ports: Ports, bus: Bus) -> None:
        self._store, clock = store, ports.clock
        self.boot: UUID = clock.new_id()
        self.telling, self.almanac = Telling(bus, clock), Almanac()
        policy = own_policy(plan.loop_failures)
        self.supervisor = Supervising(clock, self.telling, policy=policy)
        self.beside: list[Loop] = []
        every_s = 2 * plan.presence.total_seconds()
        post = Post(self.almanac, Onlooker(self.boot), ports, self.telling)
        self._looks = looks = Looks(store, plan, post)
        self.onlooking = Onlooking(store, post, looks.clusters, every_s=every_s)
        looks.looking.boot, looks.looking.late = self.boot, None
        looks.looking.overdue = 2 * plan.presence  # whoever restarts alone is not late at once
        self.almanac.concerned = lambda boot: not boot  # who only began to hold runs is no news
        self._unlisten: Callable[[], None] | None = None

    def start(self) -> None:
        """Begin to look; a store that is away is waited for."""
        looks = self._looks
        self._unlisten = self._store.listen(self.almanac.hear)
        self.almanac.fleet.set()
        self.almanac.look.set()
        self.supervisor.start(
            [
                looks.looking,
                looks.watching,
                looks.reaping,
                looks.expecting,
                looks.reporting,
                self.onlooking,
                *self.beside,
            ]
        )

    async def ended(self) -> int:
        """Wait until a loop gave up; returns the exit code for that."""
        await self.supervisor.gave_up.wait()
        return EXIT_GAVE_UP

    async def stop(self) -> None:
        """End every look. What is being taken over is left to whoever looks next."""
        await self._looks.watching.stop()
        await self.supervisor.stop()
        if self._unlisten is not None:
            self._unlisten()


def _incident(last: Instance) -> Incident:
    how = "left by itself" if last.state is InstanceState.GONE else "died"
    return Incident(
        kind=DESERTED,
        subject=FLEET,
        severity="critical",
        summary=f"no worker is there any more: the last one, {last.name}, {how}",
        evidence={**left_by(last), "what helps": "start a worker: duly worker"},
    )
