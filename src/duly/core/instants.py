"""When a schedule's occurrences fire: its trigger's instants, each with its own jitter.

Everything here is arithmetic on a definition and instants. A trigger is built once per distinct
spec and kept, because one firing asks for it several times. Nothing here decides what an occurrence
comes to; that is `firing`.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from functools import lru_cache

import msgspec

from duly.core.schedules import Definition
from duly.core.triggers import (
    Trigger,
    occurrences_between,
    previous_at_or_before,
    trigger_from_spec,
)
from duly.core.verdicts import UNCOUNTED

COUNT_LIMIT = 20_000
"""Stretches longer than this are not counted, and never kept whole in a backlog."""

TICK = timedelta(microseconds=1)


def jitter_of(definition: Definition, due: datetime) -> timedelta:
    """Return the offset of one occurrence: an even hash of (schedule, instant), below `jitter`."""
    if not definition.jitter:
        return timedelta(0)
    text = f"{definition.name}\0{due.isoformat()}".encode()
    draw = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") / 2**64
    return definition.jitter * draw


def next_fire(definition: Definition, after: datetime) -> datetime | None:
    """Return when the first occurrence after `after` is to fire: its instant plus its jitter."""
    due = trigger_of(definition).next_after(after)
    return None if due is None else due + jitter_of(definition, due)


def trigger_of(definition: Definition) -> Trigger:
    """Return the trigger of a definition; built once per distinct spec."""
    spec = definition.trigger
    known = _known.get(id(spec))
    if known is not None and known[0] is spec:
        return known[1]
    if len(_known) >= _KNOWN_MOST:
        _known.clear()
    built = _trigger_of(msgspec.json.encode(spec, order="sorted"))
    _known[id(spec)] = spec, built
    return built


_KNOWN_MOST = 20_000
_known: dict[int, tuple[object, Trigger]] = {}  # by identity: one firing asks four times


@lru_cache(maxsize=10_000)
def _trigger_of(spec: bytes) -> Trigger:
    return trigger_from_spec(msgspec.json.decode(spec))


def newest_due(definition: Definition, now: datetime) -> datetime | None:
    """Return the newest occurrence whose instant plus jitter has come."""
    trigger = trigger_of(definition)
    due = previous_at_or_before(trigger, now)
    while due is not None and due + jitter_of(definition, due) > now:
        due = previous_at_or_before(trigger, due - TICK)
    return due


def due_before(definition: Definition, due: datetime) -> datetime | None:
    """Return the occurrence before that of `due`; None when it is the first."""
    return previous_at_or_before(trigger_of(definition), due - TICK)


def stretch_between(
    definition: Definition, after: datetime, until: datetime
) -> tuple[datetime | None, datetime | None, int]:
    """Return first, last and count of the occurrences in (after, until]."""
    trigger = trigger_of(definition)
    first = trigger.next_after(after)
    if first is None or first > until:
        return None, None, 0
    listed = occurrences_between(trigger, after, until, limit=COUNT_LIMIT + 1)
    if len(listed) > COUNT_LIMIT:
        return first, previous_at_or_before(trigger, until), UNCOUNTED
    return first, listed[-1], len(listed)


def newest_between(
    definition: Definition, after: datetime, until: datetime, most: int
) -> list[datetime]:
    """Return the newest `most` occurrences in (after, until], oldest first.

    Looks for a beginning from which there are enough and not too many, first in spans that
    double, then by halves; so a stretch of any length costs about what is kept of it.
    """
    if after >= until:
        return []
    trigger = trigger_of(definition)
    near, far = until, None
    gap = min(trigger.smallest_gap(), (until - after) / most)  # no product that overflows
    begin = max(after, until - gap * most)
    while True:
        listed = occurrences_between(trigger, begin, until, limit=2 * most)
        if len(listed) == 2 * most:
            far, begin = begin, begin + (near - begin) / 2
        elif len(listed) >= most or begin == after:
            return listed[-most:]
        else:
            near = begin
            begin = far + (near - far) / 2 if far else max(after, begin - (until - begin))
