"""What the fleet remembers of a channel: what it was told, what it was not, and what is on its way.

An incident is told of exactly if the channel has a mark for it. A mark and the notice that tells
of it are written in one commit, *before* the notice is sent: so nothing untold can be forgotten,
and what is sent again after a death is the same notice, under the same id.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from typing import Any

import msgspec

from duly.core.fleet import Incident
from duly.core.notices import MOST_TOLD, Item, Notice, Told, rank
from duly.core.runs import Answer

SLACK = timedelta(hours=1)
"""How long after its instant a change may become visible: no transaction lasts so long."""

DAY = timedelta(days=1)
"""What happened to the same kind and subject so recently is no fresh news."""

LATE_KINDS = ("schedule.late", "expect.start", "expect.finish", "expect.duration")
"""Kinds of incidents that say that something ran late."""


def lease_of(channel: str) -> str:
    """Return the name of a channel's lease; no topic can be called so."""
    return f"notices of {channel}"


class ChannelState(msgspec.Struct, frozen=True, kw_only=True):
    """How a channel stands, by the store's clock."""

    since: datetime  # when it was first known; what was over by then is not told
    looked_from: datetime | None = None  # no change before that is untold; None: never looked
    news_at: datetime | None = None  # when the last news were drawn up
    gap: timedelta | None = None  # how long news are gathered that only happened again
    digested_at: datetime | None = None
    digested_on: date | None = None  # the day, in the channel's zone
    failing_since: datetime | None = None
    why: str = ""  # it fails
    failures: int = 0  # in a row
    retry_at: datetime | None = None
    turn: int = 0  # how often it was written

    def next(self, **changes: Any) -> ChannelState:
        """Return the state to be written after this one."""
        return msgspec.structs.replace(self, turn=self.turn + 1, **changes)


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """That a channel was told of an incident, or that no rule tells it (`heard` is False)."""

    incident: int
    heard: bool
    closed: bool  # nothing is left to tell
    remind_at: datetime | None = None
    reminded: int = 0


class News(msgspec.Struct, frozen=True):
    """What a channel was not told. `fresh`: none of its kind and subject came the day before."""

    incident: Incident
    opened_told: bool
    fresh: bool


class Overdue(msgspec.Struct, frozen=True):
    """An open incident that nobody acknowledged, of which the channel is to be reminded."""

    incident: Incident
    reminded: int


class Untold(msgspec.Struct, frozen=True):
    """How much a channel was not told, as far as was counted; critical ones are counted first."""

    count: int = 0
    fresh: int = 0
    critical: int = 0
    critical_fresh: int = 0


class Pending(msgspec.Struct, frozen=True):
    """A notice that is not known to have arrived; unsealed while it is still being drawn up."""

    notice: Notice
    sealed: bool


class Outlook(msgspec.Struct, frozen=True, kw_only=True):
    """What whoever tells a channel has to know, at one instant of the store's clock."""

    now: datetime
    state: ChannelState
    pending: Pending | None = None
    untold: Untold = Untold()
    remind_at: datetime | None = None  # the earliest of all
    remind_critical_at: datetime | None = None


class Summed(msgspec.Struct, frozen=True):
    """What a digest tells: counts, the worst of it, and what ran late.

    Each incident is counted once: closed since, opened since and open, or open since before.
    """

    counts: Mapping[Told, int]
    items: tuple[Item, ...] = ()
    late: tuple[Incident, ...] = ()


class Drawn(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be written down at once, before anything is sent."""

    channel: str
    state: ChannelState
    marks: tuple[Mark, ...] = ()
    notice: Notice | None = None
    sealed: bool = True


def judged(known: ChannelState | None, drawn: Drawn, *, kept: bool) -> Answer | None:
    """Say what becomes of what was drawn up; None: it is written.

    `done`: it was written before; `kept` says whether its notice is there. `stale`: something else
    was written since it was looked at. Thus a drawing that lands late, when whoever sent it gave up
    on it and drew up anew, tells nobody of the same incident in a second notice.
    """
    if known is None or drawn.state.turn == known.turn + 1:
        return None
    if drawn.state == known and (drawn.notice is None or kept):
        return Answer.DONE
    return Answer.STALE


class ChannelStanding(msgspec.Struct, frozen=True, kw_only=True):
    """A channel as people see it: since when it fails and why, and how much waits."""

    name: str
    failing_since: datetime | None = None
    why: str = ""
    waiting: int = 0  # notices that are drawn up and did not arrive
    untold: int = 0  # incidents of which it was told nothing yet; counted to a thousand


def digest_items(incidents: Iterable[Incident], since: datetime) -> tuple[Item, ...]:
    """Return the items that a digest names: what is open first, then the worst, then by age."""

    def order(one: Incident) -> tuple[bool, int, int]:
        return (one.closed_at is not None, -rank(one.severity), one.id or 0)

    chosen = sorted(incidents, key=order)[:MOST_TOLD]
    return tuple(Item(told_in(one, since), one) for one in chosen)


def told_in(one: Incident, since: datetime) -> Told:
    """Return what a digest from `since` on says of an incident: one thing of each."""
    if one.closed_at is not None:
        return Told.CLOSED
    return Told.OPENED if one.opened_at is not None and one.opened_at >= since else Told.STILL
