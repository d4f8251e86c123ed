"""What leaves the house: senders of effects, and the destinations of the outbox."""

from __future__ import annotations

from duly.outbound.base import (
    Declined,
    Destination,
    DestinationRefused,
    DestinationUnavailable,
    OutcomeUnknown,
    Unroutable,
    Unsendable,
)

__all__ = [
    "Declined",
    "Destination",
    "DestinationRefused",
    "DestinationUnavailable",
    "OutcomeUnknown",
    "Unroutable",
    "Unsendable",
]
