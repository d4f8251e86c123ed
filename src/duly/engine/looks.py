"""The looks: what notices that something is wrong with the fleet, composed in one place.

An instance takes them beside its work (`instance`), a lookout takes them alone (`lookout`), so that
both notice the same things in the same words. Which of them act, and when, is decided by the
roster of whoever looks. None of them claims, fires, or runs anything.
"""

from __future__ import annotations

from dataclasses import dataclass

from duly.engine.almanac import Almanac
from duly.engine.caretaking import Looking
from duly.engine.clusters import Clusters
from duly.engine.expecting import Expecting
from duly.engine.plan import Plan
from duly.engine.ports import Ports
from duly.engine.reporting import Reporting
from duly.engine.roster import Roster
from duly.engine.telling import Telling
from duly.engine.watching import Reaping, Watching
from duly.stores.base import Presence, Store


@dataclass(frozen=True)
class Post:
    """Where somebody stands who looks: the alarms, who else is there, the machine, who hears."""

    almanac: Almanac
    roster: Roster
    ports: Ports
    telling: Telling


class Looks:
    """The loops that look, wired to each other and not yet begun."""

    def __init__(
        self, store: Store, plan: Plan, post: Post, *, presence: Presence | None = None
    ) -> None:
        almanac, roster, telling = post.almanac, post.roster, post.telling
        clock = post.ports.clock
        self.looking = Looking(store, almanac, clock, telling, every=plan.presence)
        self.watching = Watching(
            store,
            almanac,
            roster,
            clock=clock,
            processes=post.ports.processes,
            telling=telling,
            presence=presence,
        )
        self.reaping = Reaping(store, almanac, roster, self.watching)
        self.expecting = Expecting(
            store,
            plan.tasks,
            plan.zones,
            roster=roster,
            clock=clock,
            telling=telling,
            owner=plan.owner,
        )
        self.reporting = Reporting(
            store, roster=roster, clock=clock, telling=telling, owner=plan.owner
        )
        self.clusters = Clusters(store, telling)
        self.watching.took = self.reporting.took
        telling.came_back = self.reporting.came_back
