"""The period in which the key of an effect is unique: "once per Amsterdam day".

A `Period` cuts the time of a zone into calendar hours, days, weeks (ISO, from Monday), months or
years. Periods of one unit touch and never overlap: every instant lies in exactly one, whose name
is a stable text, and whose end is the first instant of the next. A day has 23, 25 or however
many hours its clocks make of it; a day the clocks skip does not exist.

Where clocks go back over midnight, a date is read, left and read again. Such a day ends when it
is read for the last time, so that it is never entered twice. Hours carry their offset instead:
both hours of a fold are named, and each is a period of its own.

Nothing here reads a clock. Equal zone data gives equal names on every machine.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Literal, TypeAlias, get_args

import msgspec

from duly.core.zones import EPOCH, ERA, Zone
from duly.core.zones import zone as zone_called
from duly.errors import InvalidValue, UnknownName

Unit: TypeAlias = Literal["hour", "day", "week", "month", "year"]

UNITS: tuple[Unit, ...] = get_args(Unit)
"""What time can be cut into, shortest first."""

_TICK = timedelta(microseconds=1)
_DAY = timedelta(days=1)
_SHAPE = 'a unit and perhaps a time zone, such as "day" or "day Europe/Amsterdam"'
_FIRST = datetime(2, 1, 1, tzinfo=UTC)
_LAST = datetime(9998, 1, 1, tzinfo=UTC)


class Period(msgspec.Struct, frozen=True):
    """A way to cut time: a unit of the calendar, on the clocks of a zone.

    Raises `UnknownName`, with the nearest name, for a unit or zone there is not, and
    `InvalidValue` where one is no text. Instants are aware, with any offset, from the year 2 to
    the year 9997; `InvalidValue` is raised for others.
    """

    unit: Unit
    zone: str = "UTC"

    def __post_init__(self) -> None:
        if not isinstance(self.unit, str):
            raise InvalidValue.expected("period", _SHAPE, self.unit)
        if self.unit not in UNITS:
            raise UnknownName.of("period", self.unit, UNITS)
        zone_called(self.zone)

    @property
    def text(self) -> str:
        """The text that `parse_period` reads back to an equal period, whatever its default."""
        return f"{self.unit} {self.zone}"

    def name_of(self, instant: datetime) -> str:
        """Return the name of the period this instant lies in; names differ between periods.

        `2026-11-22T14+01:00` (hour), `2026-11-22`, `2026-W47`, `2026-11`, `2026`.
        """
        at, zone = _checked(instant), zone_called(self.zone)
        if self.unit == "hour":
            # `2026-11-22T14:59:59+01:00` without its minutes and seconds.
            read = zone.local(at).isoformat(timespec="seconds")
            return read[:13] + read[19:]
        return _day_name(self.unit, _day_of(zone, at))

    def end_of(self, instant: datetime) -> datetime:
        """Return the first instant, in UTC, after the period this instant lies in."""
        at, zone = _checked(instant), zone_called(self.zone)
        if self.unit == "hour":
            return _hour_end(zone, at)
        return _day_end(zone, _last_day(self.unit, _day_of(zone, at)))

    def too_old(self, instant: datetime, now: datetime, keep: timedelta) -> bool:
        """Whether the period of this instant ended `keep` before now, or earlier.

        Its keys may be forgotten by then, so that nobody can tell any more whether an effect was
        performed in it.
        """
        return _checked(now) - self.end_of(instant) >= keep


def parse_period(text: str, *, zone: str = "UTC") -> Period:
    """Read `day`, or `day Europe/Amsterdam`; `zone` holds where the text names none.

    Raises `InvalidValue` for what is neither, `UnknownName` with the nearest name for a unit or a
    zone there is not.
    """
    if not isinstance(text, str):
        raise InvalidValue.expected("period", _SHAPE, text)
    words = text.split()
    if len(words) not in (1, 2):
        raise InvalidValue.expected("period", _SHAPE, text)
    unit: Unit | None = next((known for known in UNITS if known == words[0]), None)
    if unit is None:
        raise UnknownName.of("period", words[0][:40], UNITS)
    return Period(unit, words[1] if len(words) == 2 else zone)


def _checked(instant: datetime) -> datetime:
    if not isinstance(instant, datetime) or instant.tzinfo is None:
        raise InvalidValue.expected("instant", "an aware datetime", instant)
    if not _FIRST <= instant < _LAST:
        raise InvalidValue.expected("instant", "in the years 2 to 9997", instant.isoformat())
    return instant.astimezone(UTC)


def _day_of(zone: Zone, at: datetime) -> date:
    """Return the day an instant lies in: what the clocks read, or an earlier day not yet over."""
    day = zone.local(at).date()
    while at < _day_end(zone, day - _DAY):
        day -= _DAY
    return day


def _day_end(zone: Zone, day: date) -> datetime:
    """Return the instant after the last one that reads this date, or would have."""
    last = datetime.combine(day + _DAY, datetime.min.time()) - _TICK
    found = zone.instants(last)
    if found:
        return found[-1] + _TICK
    after = zone.gap_end(last)
    assert after is not None, "a local time that never happens lies in a gap"
    return after


def _hour_end(zone: Zone, at: datetime) -> datetime:
    """Return the end of the hour, or the instant in it at which the offset changes."""
    seconds = (at - EPOCH) // timedelta(seconds=1)
    segment = next(s for s in zone.era(seconds // ERA) if s.start <= seconds < s.end)
    wall = seconds + segment.offset
    whole = wall - wall % 3_600 + 3_600
    return EPOCH + timedelta(seconds=min(whole - segment.offset, segment.end))


def _day_name(unit: Unit, day: date) -> str:
    if unit == "week":
        year, week, _ = day.isocalendar()
        return f"{year:04}-W{week:02}"
    return day.isoformat()[: {"day": 10, "month": 7, "year": 4}[unit]]


def _last_day(unit: Unit, day: date) -> date:
    """Return the last day of the period a day lies in."""
    if unit == "week":
        return day + (7 - day.isoweekday()) * _DAY
    if unit == "month":
        return (day.replace(day=1) + 31 * _DAY).replace(day=1) - _DAY
    return day.replace(month=12, day=31) if unit == "year" else day
