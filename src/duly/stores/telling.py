"""The part of the store's protocol about telling people: acknowledgements, channels, notices.

What `base.py` says of all verbs holds here too. An incident that opened or closed is its own entry
in the outbox: what a channel is still to be told is what it has no mark for, so the commit that
opens an incident writes nothing else. Marks and their notice are written in one commit before the
notice is sent, and a sealed notice never changes: whoever sends it again sends the same.

One boot at a time tells a channel, under a lease as the relay's. Reading is bounded: never more
than `limit` rows are answered, and whoever wants more asks again.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from duly.core.runs import Answer
from duly.core.telling import ChannelStanding, Drawn, News, Outlook, Overdue, Summed

MOST_READ = 1000
"""Incidents that one look reads."""

TELLING_LEASE = timedelta(seconds=60)


class Telling(Protocol):
    """What a store knows of telling people."""

    async def acknowledge(
        self, kind: str, subject: str, *, by: str, note: str = "", now: datetime | None = None
    ) -> Answer:
        """Write down who deals with an open incident: nobody is reminded of it any more.

        `already` when somebody did, whose note stays; `unknown` when none is open.
        """
        ...

    async def outlook(
        self,
        boot: UUID,
        channel: str,
        *,
        lease: timedelta = TELLING_LEASE,
        limit: int = MOST_READ,
        now: datetime | None = None,
    ) -> Outlook | None:
        """Take the lease of a channel, and look what it has to be told; None: another has it.

        A channel is known from its first look on: what is open then is news to it, what was over
        before is not.
        """
        ...

    async def untold(
        self, channel: str, *, critical: bool = False, limit: int = MOST_READ
    ) -> list[News]:
        """Return what a channel was not told: critical ones first (or alone), then by age."""
        ...

    async def overdue(
        self, channel: str, until: datetime, *, critical: bool = False, limit: int = MOST_READ
    ) -> list[Overdue]:
        """Return what a channel is to be reminded of by then: open, and not acknowledged."""
        ...

    async def summed(self, channel: str, since: datetime, until: datetime) -> Summed:
        """Return what a channel's digest of `[since, until)` tells."""
        ...

    async def draw_up(self, boot: UUID, drawn: Drawn, *, now: datetime | None = None) -> Answer:
        """Write down a channel's state, marks and notice at once, by `core.telling.judged`.

        `stale` when the lease is another's, or when something else was written since the state
        was looked at that this one follows. A notice that is sealed is not changed any more.
        """
        ...

    async def arrived(self, notice: UUID, *, now: datetime | None = None) -> Answer:
        """Note that a notice arrived. Evidence, so it needs no lease. Again: `already`."""
        ...

    async def channels(self) -> list[ChannelStanding]:
        """Return how every channel stands that was ever told, by name."""
        ...
