"""Notices for the tests of channels: one incident, many, or a test, with any words in them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

from duly.core.fleet import Incident
from duly.core.notices import Item, Notice, NoticeKind, Told

OPENED = datetime(2026, 3, 1, 2, 12, 7, tzinfo=UTC)
AT = OPENED + timedelta(minutes=4)
ID = UUID("0199a0b0-0000-7000-8000-000000000001")


def an_incident(words: str = "it broke", **more: str) -> Incident:
    """An incident that says the same words in every place where strangers' words go."""
    return Incident(
        kind=more.get("kind", "breaker.open"),
        subject=more.get("subject", words),
        severity="critical",
        summary=words,
        opened_at=OPENED,
        evidence={"error": words, words or "key": words, "what helps": words},
    )


def a_notice(
    *items: Item,
    kind: NoticeKind = NoticeKind.NEWS,
    id: UUID = ID,
    words: str = "shop",
    counts: dict[Told, int] | None = None,
) -> Notice:
    """A notice to the channel `ops`, drawn up four minutes after the incident opened."""
    return Notice(
        id=id,
        kind=kind,
        channel="ops",
        at=AT,
        zone="Europe/Amsterdam",
        application=words,
        items=items,
        counts=counts or {},
        late=(words,) if kind is NoticeKind.DIGEST else (),
    )


def opened(words: str = "it broke", **more: str) -> Notice:
    """News of one incident that opened."""
    return a_notice(Item(Told.OPENED, an_incident(words, **more)))
