"""Time zones by name, and the two questions about local time that have no single answer.

A `Zone` turns an instant into local time and local time into instants: one, none (the clocks
jumped over it: a *gap*) or two (they went back: a *fold*). It answers from eras: tables of
sixteen years, each built once from the standard `zoneinfo` database and kept.

Instants here are whole seconds since 1970-01-01T00:00Z; a *wall* is the local reading counted
in the same way, so that `wall = instant + offset`. Offsets are exact to the second, also the
local mean times of the nineteenth century.

Loading a zone through `zoneinfo` is the only input this room performs, once per name. A name
is never a path: what could leave the database is refused before it is looked up.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple
from zoneinfo import ZoneInfo, available_timezones

from duly.errors import InvalidValue, UnknownName

LONGEST_NAME = 64
"""No name of a zone is longer, in characters."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FIRST = -62_135_000_000
LAST = 253_402_000_000
"""The seconds between which instants are answered: the years 1 to 9999, less a few days."""

ERA = 504_921_600
"""The length of an era in seconds: sixteen years of 365.25 days."""

# No offset in the database has lasted less than four days, so that looking every second day
# misses none; `test_zones.py` holds this over every zone.
_STEP = 172_800
_MARGIN = 4 * _STEP

# Questions about the whole calendar must not fill the memory: five centuries are kept a zone.
_KEPT_ERAS = 32

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_+\-]*(?:/[A-Za-z0-9_+\-]+){0,3}")
# These depend on the machine, or count leap seconds, which the rest of the world does not.
_NOT_ZONES = ("posix/", "right/", "posixrules", "localtime", "Factory")


class Segment(NamedTuple):
    """A stretch of instants with one offset: start <= instant < end, all in seconds."""

    start: int
    end: int
    offset: int


class Zone:
    """One zone of the database. Immutable to its users; tables are filled in when asked for."""

    __slots__ = ("_eras", "info", "name")

    def __init__(self, name: str, info: tzinfo) -> None:
        self.name = name
        self.info = info
        self._eras: dict[int, tuple[Segment, ...]] = {}

    def __repr__(self) -> str:
        return f"Zone({self.name!r})"

    def era(self, number: int) -> tuple[Segment, ...]:
        """Return the segments that touch the era, and those near it, in order.

        They lie without a hole from some days before the era to some days after it; the first
        and last are cut there, which is no transition.
        """
        found = self._eras.get(number)
        if found is None:
            start = max(FIRST, number * ERA - _MARGIN)
            end = min(LAST, (number + 1) * ERA + _MARGIN)
            found = tuple(self._probe(start, end))
            if len(self._eras) >= _KEPT_ERAS:
                self._eras = {}
            self._eras[number] = found
        return found

    def offset_at(self, instant: int) -> int:
        """Return the seconds to add to an instant to get its local reading."""
        return self._segment_at(instant).offset

    def local(self, instant: datetime) -> datetime:
        """Return the same instant in this zone, with its offset."""
        return instant.astimezone(self.info)

    def instants(self, wall: datetime) -> tuple[datetime, ...]:
        """Return the instants (UTC, in order) at which the clocks show `wall`, which is naive.

        None in a gap, two in a fold, else one.
        """
        seconds, micros = _wall_seconds(wall)
        found = [
            seconds - segment.offset
            for segment in self._near(seconds)
            if segment.start <= seconds - segment.offset < segment.end
        ]
        return tuple(EPOCH + timedelta(seconds=at, microseconds=micros) for at in found)

    def gap_end(self, wall: datetime) -> datetime | None:
        """Return the first instant after the gap `wall` lies in, or None when it is in none."""
        seconds, _ = _wall_seconds(wall)
        near = self._near(seconds)
        for before, after in pairwise(near):
            if before.end + before.offset <= seconds < after.start + after.offset:
                return EPOCH + timedelta(seconds=after.start)
        return None

    def repeated(self, instant: int) -> int:
        """Return 0 when the local reading happens once, 1 in its first pass, 2 in its second."""
        wall = instant + self.offset_at(instant)
        passes = [
            segment.start
            for segment in self._near(wall)
            if segment.start <= wall - segment.offset < segment.end
        ]
        if len(passes) < 2:
            return 0
        return 1 if instant < passes[-1] else 2

    def _segment_at(self, instant: int) -> Segment:
        segments = self.era(instant // ERA)
        place = bisect_right(segments, instant, key=_start) - 1
        return segments[max(place, 0)]

    def _near(self, wall: int) -> tuple[Segment, ...]:
        """Return the segments whose instants lie within two days of the wall's reading."""
        segments = self.era(min(max(wall, FIRST), LAST) // ERA)
        return tuple(s for s in segments if s.start - _STEP <= wall < s.end + _STEP)

    def _probe(self, start: int, end: int) -> list[Segment]:
        """Walk the zone in steps and halve each step in which the offset changed."""
        segments: list[Segment] = []
        at = since = start
        offset = self._ask(start)
        for ahead, then in self._look_ahead(start, end):
            while then != offset:
                at = self._halve(at, ahead, offset)
                segments.append(Segment(since, at, offset))
                since, offset = at, self._ask(at)
            at = ahead
        segments.append(Segment(since, end, offset))
        return segments

    def _look_ahead(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Yield every second day up to the end, with its offset."""
        # The reading of UTC, labelled with the zone, is what `fromutc` expects; and subtracting
        # within one zone ignores offsets. This is several times faster than `_ask`.
        info, step = self.info, timedelta(seconds=_STEP)
        reading = (EPOCH + timedelta(seconds=start)).replace(tzinfo=info)
        same, offset = None, 0
        for at in range(start + _STEP, end, _STEP):
            reading += step
            shift = info.fromutc(reading) - reading
            if shift != same:
                same, offset = shift, shift.days * 86_400 + shift.seconds
            yield at, offset
        yield end, self._ask(end)

    def _halve(self, low: int, high: int, offset: int) -> int:
        """Return the first second after `low` with another offset; `high` has another one."""
        while high - low > 1:
            middle = (low + high) // 2
            if self._ask(middle) == offset:
                low = middle
            else:
                high = middle
        return high

    def _ask(self, instant: int) -> int:
        offset = (EPOCH + timedelta(seconds=instant)).astimezone(self.info).utcoffset()
        assert offset is not None, "an aware datetime has an offset"
        return offset.days * 86_400 + offset.seconds


def zone(name: str) -> Zone:
    """Return the zone of this name, such as "Europe/Amsterdam" or "UTC".

    Raises `InvalidValue` when it is not a text, `UnknownName` with the nearest name when the
    database has none of this name. "UTC" is answered without a database.
    """
    if not isinstance(name, str):
        raise InvalidValue.expected("time zone", 'a name such as "Europe/Amsterdam"', name)
    return _load(name)


@lru_cache(maxsize=1024)
def _load(name: str) -> Zone:
    if name == "UTC":
        return Zone(name, UTC)
    if len(name) > LONGEST_NAME or not _NAME.fullmatch(name) or name.startswith(_NOT_ZONES):
        raise _unknown(name)
    try:
        return Zone(name, ZoneInfo(name))
    except (LookupError, ValueError, OSError):
        # A folder such as "America" is an OSError, a file that is no zone a ValueError.
        raise _unknown(name) from None


def _unknown(name: str) -> UnknownName:
    same = [known for known in _names() if known.casefold() == name.casefold()]
    return UnknownName.of("time zone", name[:LONGEST_NAME], same or _names())


@lru_cache(maxsize=1)
def _names() -> frozenset[str]:
    return frozenset(available_timezones()) | {"UTC"}


def _start(segment: Segment) -> int:
    return segment.start


def _wall_seconds(wall: datetime) -> tuple[int, int]:
    if wall.tzinfo is not None:
        raise InvalidValue.expected("local time", "without an offset", wall.isoformat())
    since = wall.replace(tzinfo=UTC) - EPOCH
    return since.days * 86_400 + since.seconds, since.microseconds
