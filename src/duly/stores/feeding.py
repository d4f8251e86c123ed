"""The part of the store's protocol about the feed: what happened, read from what is kept anyway.

What `base.py` says of all verbs holds here too. Nothing is written for the feed, neither by this
verb nor by any other; where nobody reads it, it costs nothing. It tells what the tables hold with
an instant that is found without looking through their history: runs that ended, incidents, changes
of breakers, instances that came and left. What leaves no instant (a claim, a retry, a run that is
parked, a takeover, a schedule that is paused) is not told; where a person should know of it, its
incident is. A failed run that was revived before anybody looked did not end.
"""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from duly.core.feed import AT_ONCE, Look, Point


class Feeding(Protocol):
    """What a store knows of what happened."""

    async def feed(
        self, after: Point | None, *, limit: int = AT_ONCE, now: datetime | None = None
    ) -> Look:
        """Return what happened behind a point, in order, as far as it is settled.

        Settled: every write that may carry such an instant has ended, so no later look can find
        anything before `through`. None: nothing, and the point at which to begin.
        """
        ...
