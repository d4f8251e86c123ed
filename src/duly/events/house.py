"""What happens to instances, to the store, to supervised loops, and what people should know.

These events are rare, and each is worth a line in a log. `store.away` is told once until
`store.back`, however often the store was tried in between.
"""

from __future__ import annotations

from uuid import UUID

from duly.core.fleet import Incident, Proof
from duly.events.base import Event, Level, event

# --- instances ------------------------------------------------------------------------------


@event("instance.started", Level.INFO)
class InstanceStarted(Event, frozen=True, kw_only=True, gc=False):
    """This instance is known to the store, and begins to claim."""

    boot: UUID
    instance: str
    owner: str
    version: str


@event("instance.stopping", Level.INFO)
class InstanceStopping(Event, frozen=True, kw_only=True, gc=False):
    """This instance claims no more, and hands back what it can."""

    boot: UUID
    reason: str
    held: int


@event("instance.stopped", Level.INFO)
class InstanceStopped(Event, frozen=True, kw_only=True, gc=False):
    """This instance has left; `released` runs were still held and went back."""

    boot: UUID
    released: int


@event("instance.declared_dead", Level.WARNING)
class InstanceDeclaredDead(Event, frozen=True, kw_only=True, gc=False):
    """This instance declared another one dead and took over what it held."""

    boot: UUID
    proof: Proof
    taken: int


@event("instance.returned", Level.WARNING)
class InstanceReturned(Event, frozen=True, kw_only=True, gc=False):
    """This instance had been declared dead, and is alive: deaths counted for it are undone."""

    boot: UUID
    cleared: int


@event("instance.lost_lease", Level.ERROR)
class InstanceLostLease(Event, frozen=True, kw_only=True, gc=False):
    """This instance may no longer trust its lease: it stops its work and registers anew."""

    boot: UUID
    held: int
    reason: str


# --- the store ------------------------------------------------------------------------------


@event("store.away", Level.WARNING)
class StoreAway(Event, frozen=True, kw_only=True, gc=False):
    """The store does not answer. Told once, until it is back."""

    reason: str


@event("store.back", Level.INFO)
class StoreBack(Event, frozen=True, kw_only=True, gc=False):
    """The store answers again."""

    away_s: float


@event("store.untrusted", Level.ERROR)
class StoreUntrusted(Event, frozen=True, kw_only=True, gc=False):
    """The store was restored or failed over: nothing fires until a person accepts it."""

    generation: int
    reason: str


@event("store.pruned", Level.DEBUG)
class StorePruned(Event, frozen=True, kw_only=True, gc=False):
    """Old rows were removed."""

    count: int


# --- supervision ----------------------------------------------------------------------------


@event("loop.failed", Level.ERROR)
class LoopFailed(Event, frozen=True, kw_only=True, gc=False):
    """A turn of a supervised loop raised; the loop goes on after a pause."""

    loop: str
    failures: int
    error: str


@event("loop.missed_deadline", Level.ERROR)
class LoopMissedDeadline(Event, frozen=True, kw_only=True, gc=False):
    """A turn of a supervised loop takes longer than it may."""

    loop: str
    deadline_s: float


@event("loop.lingered", Level.ERROR)
class LoopLingered(Event, frozen=True, kw_only=True, gc=False):
    """A supervised loop did not end within the grace of a stop, which goes on without it."""

    loop: str


@event("loop.gave_up", Level.ERROR)
class LoopGaveUp(Event, frozen=True, kw_only=True, gc=False):
    """A loop failed too often in a row: work is handed back, and the process ends with 70."""

    loop: str
    failures: int


@event("incident.opened", Level.WARNING)
class IncidentOpened(Event, frozen=True, kw_only=True, gc=False):
    """Something a person should know began."""

    kind: str
    subject: str
    severity: str
    summary: str

    @classmethod
    def of(cls, incident: Incident) -> IncidentOpened:
        """Return the event of an incident that was just opened."""
        return cls(
            kind=incident.kind,
            subject=incident.subject,
            severity=incident.severity,
            summary=incident.summary,
        )


@event("incident.closed", Level.INFO)
class IncidentClosed(Event, frozen=True, kw_only=True, gc=False):
    """Something a person should know is over."""

    kind: str
    subject: str


@event("incident.acknowledged", Level.INFO)
class IncidentAcknowledged(Event, frozen=True, kw_only=True, gc=False):
    """Somebody deals with an incident: nobody is reminded of it any more."""

    kind: str
    subject: str
    by: str


# --- telling people -------------------------------------------------------------------------


@event("notice.sent", Level.INFO)
class NoticeSent(Event, frozen=True, kw_only=True, gc=False):
    """A channel took a notice; `incidents` are all it tells of."""

    channel: str
    kind: str
    notice: UUID
    incidents: int


@event("channel.away", Level.WARNING)
class ChannelAway(Event, frozen=True, kw_only=True, gc=False):
    """A channel takes no notices. Told once, until it is back."""

    channel: str
    reason: str


@event("channel.back", Level.INFO)
class ChannelBack(Event, frozen=True, kw_only=True, gc=False):
    """A channel takes notices again."""

    channel: str
    away_s: float
