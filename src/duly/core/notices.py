"""Notices: how incidents are told to people, and what was agreed with each channel.

A notice tells of one incident or of many; what happens within a channel's `gather` time goes out
together, so that ten thousand failures in a minute are not ten thousand messages. It keeps its id
on every try: whoever gets it twice can see that it is the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, time, timedelta
from enum import StrEnum
from uuid import UUID

import msgspec

from duly.core.fleet import Incident

SEVERITIES = ("info", "warning", "critical")
"""From the least to the worst."""

CHANNEL_DOWN = "channel.down"
"""A channel takes no notices. Told on the other channels, never on that one."""

MOST_TOLD = 20
"""Incidents that one notice names; the others are counted."""

REMINDERS = (timedelta(hours=4), timedelta(days=1), timedelta(days=3), timedelta(days=7))
"""After how long an open incident is told of again; the last gap goes on for ever."""


class NoticeKind(StrEnum):
    """Why a notice goes out."""

    NEWS = "news"  # incidents opened, closed, or both
    REMINDER = "reminder"  # what is still open, and nobody acknowledged
    DIGEST = "digest"  # at a time of day: what opened, closed, is still open, ran late
    TEST = "test"  # a person asked whether the channel works


class Told(StrEnum):
    """What a notice says of an incident."""

    OPENED = "opened"
    CLOSED = "closed"
    STILL = "still open"


class Item(msgspec.Struct, frozen=True):
    """One incident in a notice."""

    told: Told
    incident: Incident


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """One message to one channel. `counts` counts all, `items` names the worst `MOST_TOLD`."""

    id: UUID
    kind: NoticeKind
    channel: str
    at: datetime  # the store's time when it was drawn up
    zone: str  # in which people of this channel read times
    application: str
    items: tuple[Item, ...] = ()
    counts: Mapping[Told, int] = {}
    late: tuple[str, ...] = ()  # of a digest: what ran late, one line each
    since: datetime | None = None  # of a digest: where the last one ended


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """Which incidents go to which channels. An empty condition holds for all.

    `kinds`, `owners` and `subjects` are patterns (`breaker.*`); `severity` is the least that
    passes.
    """

    channels: tuple[str, ...]
    kinds: tuple[str, ...] = ()
    owners: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()
    severity: str = "info"


class ChannelPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What was agreed with one channel.

    Between `quiet_from` and `quiet_until` (in `zone`; over midnight if need be) only `critical`
    goes out; the rest waits until they end. `digest_at` is a time of day in `zone`.
    """

    name: str
    zone: str = "UTC"
    quiet_from: time | None = None
    quiet_until: time | None = None
    digest_at: time | None = None
    remind: tuple[timedelta, ...] = REMINDERS  # empty: never
    gather: timedelta = timedelta(seconds=60)


class NotifyPlan(msgspec.Struct, frozen=True, kw_only=True):
    """All channels, and who hears what. Without rules every channel hears everything."""

    channels: tuple[ChannelPlan, ...] = ()
    rules: tuple[Rule, ...] = ()


def rank(severity: str) -> int:
    """Return the place of a severity, from the least up; one that is not known is the worst."""
    return SEVERITIES.index(severity) if severity in SEVERITIES else len(SEVERITIES)
