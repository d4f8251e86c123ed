"""What explanations are made of and made from: the answer, and the surroundings.

`Fleet` is the present as a store sees it. It tells instants in the zone of the thing explained,
names instances for people, and says who is there; it decides nothing.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from uuid import UUID

import msgspec

from duly.core.fleet import PRESENT, Instance, InstanceState
from duly.core.runs import RunView
from duly.core.spoken import distance_text, instant_text
from duly.core.states import RunState

HASTE = timedelta(seconds=10)
"""What is due for less than this is on its way; after it somebody should ask why."""

SHOWN = 5
"""How many of a kind are named before "and more"."""


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """The answer: how it stands, the causes oldest first, and what helps."""

    subject: str
    headline: str
    causes: tuple[str, ...] = ()
    helps: tuple[str, ...] = ()


class Fleet(msgspec.Struct, frozen=True, kw_only=True):
    """The surroundings: the present by the store's clock, the instances, a zone to tell time in.

    `holders` are the ready and running runs of the limit in question; `limit` is its size and
    `retries` the task's budget, where somebody knows them.
    """

    now: datetime
    instances: tuple[Instance, ...] = ()
    zone: tzinfo = UTC
    holders: tuple[RunView, ...] = ()
    limit: int | None = None
    retries: int | None = None
    trusted: bool = True

    def at(self, instant: datetime) -> str:
        """Tell an instant, and how far away it is."""
        return f"{instant_text(instant, self.zone)} ({distance_text(instant, self.now)})"

    def who(self, boot: UUID | None) -> str:
        """Return the name of an instance for people."""
        known = next((one.name for one in self.instances if one.boot == boot), None)
        return known or (f"boot {boot}" if boot else "nobody")

    def live(self, task: str | None = None) -> list[Instance]:
        """Return the instances that are there, of a task where one is given."""
        return [
            one
            for one in self.instances
            if one.state is InstanceState.LIVE
            and one.seen_at is not None
            and one.seen_at > self.now - PRESENT
            and (task is None or task in one.tasks)
        ]

    def nobody(self) -> str:
        """Say why nothing happens that should: who is, or is not, there."""
        if not self.trusted:
            return "the store was restored or failed over, and nobody accepted it: nothing runs"
        if self.live():
            return "instances are there; the next poll at the latest (30 s) should do it"
        seen = max((one.seen_at for one in self.instances if one.seen_at), default=None)
        last = "none was ever seen" if seen is None else f"the last one was seen {self.at(seen)}"
        return f"no live worker: {last}"

    def brief(self, run: RunView) -> str:
        """Say in a few words how another run stands."""
        if run.state is not RunState.RUNNING:
            return run.state.value
        since = (
            "" if run.started_at is None else f" since {instant_text(run.started_at, self.zone)}"
        )
        return f"running on {self.who(run.boot)}{since}"
