"""What explanations are made of and made from: the answer, and the surroundings.

`Fleet` is the present as a store sees it. It tells instants in the zone of the thing explained,
names instances for people, and says who is there; it decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta, tzinfo
from uuid import UUID

import msgspec

from duly.core.fleet import PRESENT, Instance, InstanceState
from duly.core.runs import RunView
from duly.core.spoken import distance_text, instant_text
from duly.core.states import RunState
from duly.core.why.causes import Cause

HASTE = timedelta(seconds=10)
"""What is due for less than this is on its way; after it somebody should ask why."""

SHOWN = 5
"""How many of a kind are named before "and more"."""


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """The answer: how it stands, the causes oldest first, and what helps.

    `cause` is the first one: why it stands as the headline says, `since` then where that is known.
    `also` are the others that played a part, in the order of the chain, each once. `see` are
    things to ask about next, as `duly why` takes them.
    """

    subject: str
    cause: Cause
    headline: str
    since: datetime | None = None
    causes: tuple[str, ...] = ()
    also: tuple[Cause, ...] = ()
    helps: tuple[str, ...] = ()
    see: tuple[str, ...] = ()


class Standing(msgspec.Struct, frozen=True):
    """How a thing stands, before its story is put around it; fields are those of the answer."""

    cause: Cause
    headline: str
    causes: list[str] = []  # msgspec copies it
    helps: list[str] = []
    also: tuple[Cause, ...] = ()
    see: tuple[str, ...] = ()
    since: datetime | None = None


def explanation(
    subject: str,
    standing: Standing,
    *,
    story: Iterable[str] = (),
    also: Iterable[Cause] = (),
    see: Iterable[str] = (),
) -> Explanation:
    """Put the story before how the thing stands; nothing is named twice."""
    parts = dict.fromkeys((*also, *standing.also))
    parts.pop(standing.cause, None)
    return Explanation(
        subject=subject,
        cause=standing.cause,
        headline=standing.headline,
        since=standing.since,
        causes=(*story, *standing.causes),
        also=tuple(parts),
        helps=tuple(standing.helps),
        see=tuple(dict.fromkeys((*standing.see, *see))),
    )


class Fleet(msgspec.Struct, frozen=True, kw_only=True):
    """The surroundings: the present by the store's clock, the instances, a zone to tell time in.

    `holders` are the ready and running runs of the limit in question; `limit` is its size and
    `retries` the task's budget, where somebody knows them. `ahead` are the ready runs of the same
    queue that go before the run in question, the next first, as far as they were looked at.
    """

    now: datetime
    instances: tuple[Instance, ...] = ()
    zone: tzinfo = UTC
    holders: tuple[RunView, ...] = ()
    ahead: tuple[RunView, ...] = ()
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

    def there_at(self, instant: datetime) -> list[Instance]:
        """Return those on record that were there at an instant, as far as they were seen."""
        return [
            one
            for one in self.instances
            if one.started_at is not None
            and one.seen_at is not None
            and one.started_at <= instant <= one.seen_at
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

    def able(self) -> bool:
        """Whether anybody is there who may work."""
        return self.trusted and bool(self.live())

    def helps(self) -> list[str]:
        """Return what brings somebody to work; nothing where somebody is at it."""
        if not self.trusted:
            return ["duly db accept"]
        return [] if self.live() else ["start a worker: duly worker"]

    def absence(self) -> Cause:
        """Return the cause that `nobody` puts into words."""
        if not self.trusted:
            return Cause.STORE_UNTRUSTED
        return Cause.NEXT_LOOK if self.live() else Cause.NO_WORKER

    def brief(self, run: RunView) -> str:
        """Say in a few words how another run stands."""
        if run.state is not RunState.RUNNING:
            return run.state.value
        since = (
            "" if run.started_at is None else f" since {instant_text(run.started_at, self.zone)}"
        )
        return f"running on {self.who(run.boot)}{since}"


def see_instance(boot: UUID) -> str:
    """Return how an instance is asked about."""
    return f"instance:{boot}"


def see_occurrence(schedule: str, due: datetime) -> str:
    """Return how an occurrence is asked about."""
    return f"{schedule}@{due.astimezone(UTC).isoformat()}"
