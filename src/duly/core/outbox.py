"""Messages on their way out: rows of the outbox, written in the commit that made them true.

A message exists exactly if the commit it belongs to does. It is handed on at least once, always
under the same id, and in the order of their commits for messages of one topic and key.
"""

from __future__ import annotations

import re
from datetime import datetime
from uuid import UUID

import msgspec

from duly.errors import InvalidValue

MAX_MESSAGE = 1024 * 1024
"""Bytes of an encoded message."""

_TOPIC = re.compile(r"[A-Za-z_][A-Za-z0-9_.:/-]{0,127}\Z", re.ASCII)


class Message(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One message. `body` is JSON; `run` is who published it; `kept_at` is the store's time."""

    id: UUID
    topic: str
    body: bytes
    key: str | None = None
    run: UUID | None = None
    kept_at: datetime | None = None


class Outgoing(msgspec.Struct, frozen=True):
    """What waits to be relayed to one topic."""

    topic: str
    count: int
    oldest: datetime


def check_topic(name: str) -> str:
    """Return a topic's name, or raise `InvalidValue`."""
    if not isinstance(name, str) or not _TOPIC.match(name):
        raise InvalidValue.expected(
            "a topic", "1 to 128 letters, digits and _ . : / - that begin with a letter", name
        )
    return name


def check_body(topic: str, body: bytes) -> bytes:
    """Return an encoded message, or raise `InvalidValue` when it is too big."""
    if len(body) > MAX_MESSAGE:
        raise InvalidValue(
            f"expected a message to {topic} to be at most {MAX_MESSAGE:,} bytes as JSON,"
            f" got {len(body):,}; send a reference to the data instead"
        )
    return body
