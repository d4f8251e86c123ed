"""What happens to effects, messages and awaited events: what leaves the house, and comes in.

Names are the verbs of the ledger in the past tense, where there is one. None carries a receipt,
a message's body, or what an event brought.
"""

from __future__ import annotations

from uuid import UUID

from duly.events.base import Event, Level, event


@event("effect.intended", Level.DEBUG)
class EffectIntended(Event, frozen=True, kw_only=True, gc=False):
    """An effect is about to be performed; the ledger says so first."""

    effect: str
    intent: UUID
    run: UUID


@event("effect.confirmed", Level.INFO)
class EffectConfirmed(Event, frozen=True, kw_only=True, gc=False):
    """An effect was performed, and its receipt is kept."""

    effect: str
    intent: UUID
    run: UUID


@event("effect.withdrawn", Level.WARNING)
class EffectWithdrawn(Event, frozen=True, kw_only=True, gc=False):
    """Its sender says that an effect was not performed; it may be tried again."""

    effect: str
    intent: UUID
    run: UUID
    reason: str


@event("effect.doubted", Level.ERROR)
class EffectDoubted(Event, frozen=True, kw_only=True, gc=False):
    """Nobody knows whether an effect was performed; its run is parked."""

    effect: str
    intent: UUID
    run: UUID
    reason: str


@event("effect.resolved", Level.INFO)
class EffectResolved(Event, frozen=True, kw_only=True, gc=False):
    """A person, or `verify`, said what became of an uncertain effect."""

    effect: str
    by: str
    reason: str
    performed: bool


@event("effect.contradicted", Level.ERROR)
class EffectContradicted(Event, frozen=True, kw_only=True, gc=False):
    """A receipt came for an effect that was said not to be performed."""

    effect: str
    intent: UUID
    run: UUID


@event("outbox.relayed", Level.DEBUG)
class OutboxRelayed(Event, frozen=True, kw_only=True, gc=False):
    """Messages were confirmed by their destination, and taken out of the outbox."""

    topic: str
    count: int


@event("relay.away", Level.WARNING)
class RelayAway(Event, frozen=True, kw_only=True, gc=False):
    """A topic's destination does not take messages; they wait."""

    topic: str
    reason: str


@event("relay.back", Level.INFO)
class RelayBack(Event, frozen=True, kw_only=True, gc=False):
    """A topic's destination takes messages again."""

    topic: str
    away_s: float


@event("event.emitted", Level.INFO)
class EventEmitted(Event, frozen=True, kw_only=True, gc=False):
    """Somebody said that an event happened that runs may await."""

    happened: str
    by: str


@event("call.answered", Level.INFO)
class CallAnswered(Event, frozen=True, kw_only=True, gc=False):
    """An HTTP call came to an end; `fault` is what was wrong with it, if anything."""

    run: UUID
    schedule: str | None
    target: str
    status: int | None
    fault: str | None
    counts: bool


@event("run.forked", Level.INFO)
class RunForked(Event, frozen=True, kw_only=True, gc=False):
    """A run goes on as another one, from one of its steps."""

    run: UUID
    fork: UUID
    step: str
    by: str


@event("run.interrupted", Level.WARNING)
class RunInterrupted(Event, frozen=True, kw_only=True, gc=False):
    """Work that had begun was cut off by the end of its process; it will go on elsewhere."""

    run: UUID
    boot: UUID
    reason: str
