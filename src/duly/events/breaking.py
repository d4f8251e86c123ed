"""What happens to breakers: one event for each verb of `core/states.py`, in the past tense.

Told by whoever made the change, and by nobody else; the history in the store is complete.
"""

from __future__ import annotations

from collections.abc import Mapping

from duly.core.states import BreakerVerb
from duly.events.base import Event, Level, event


class BreakerMoved(Event, frozen=True, kw_only=True, gc=False):
    """What every event about a breaker tells."""

    breaker: str
    by: str
    reason: str = ""


@event("breaker.tripped", Level.ERROR)
class BreakerTripped(BreakerMoved, frozen=True, kw_only=True, gc=False):
    """A target failed too often: calls to it are held back, in the whole fleet."""


@event("breaker.probed", Level.INFO)
class BreakerProbed(BreakerMoved, frozen=True, kw_only=True, gc=False):
    """A pause is over: one call may try the target."""


@event("breaker.reopened", Level.WARNING)
class BreakerReopened(BreakerMoved, frozen=True, kw_only=True, gc=False):
    """The probe did not succeed: another pause."""


@event("breaker.closed", Level.INFO)
class BreakerClosed(BreakerMoved, frozen=True, kw_only=True, gc=False):
    """The target answers again, and calls pass."""


@event("breaker.forced_open", Level.WARNING)
class BreakerForcedOpen(BreakerMoved, frozen=True, kw_only=True, gc=False):
    """A person holds calls to a target back, until somebody says otherwise."""


@event("breaker.forced_closed", Level.WARNING)
class BreakerForcedClosed(BreakerMoved, frozen=True, kw_only=True, gc=False):
    """A person lets calls pass, whatever fails."""


@event("breaker.resumed", Level.INFO)
class BreakerResumed(BreakerMoved, frozen=True, kw_only=True, gc=False):
    """A person ended it: calls pass, nothing is counted, and the rules hold again."""


BREAKER_EVENTS: Mapping[BreakerVerb, type[BreakerMoved]] = {
    BreakerVerb.TRIP: BreakerTripped,
    BreakerVerb.PROBE: BreakerProbed,
    BreakerVerb.REOPEN: BreakerReopened,
    BreakerVerb.CLOSE: BreakerClosed,
    BreakerVerb.FORCE_OPEN: BreakerForcedOpen,
    BreakerVerb.FORCE_CLOSE: BreakerForcedClosed,
    BreakerVerb.RESUME: BreakerResumed,
}
"""What is told when a breaker was moved."""
