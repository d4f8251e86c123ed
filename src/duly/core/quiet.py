"""Times of day in a zone: when quiet hours end, and which digest was due last, or is due next.

A time of day that the clocks jump over counts as the first instant after the jump; one that they
show twice counts once, the first time. Quiet hours are what the clock on the wall shows, so a
night with a jump in it is shorter or longer than others.
"""

from __future__ import annotations

from datetime import date, datetime, time, timedelta

from duly.core.notices import ChannelPlan
from duly.core.zones import Zone, zone
from duly.errors import InvalidValue

_DAY = timedelta(days=1)


def time_of_day(given: object, *, what: str) -> time:
    """Return the time of day that a text such as `07:30` names; raises `InvalidValue`."""
    if isinstance(given, time) and given.tzinfo is None:
        return given
    try:
        return datetime.strptime(str(given), "%H:%M").time()  # noqa: DTZ007, a reading of a clock
    except ValueError:
        raise InvalidValue.expected(what, "a time of day, such as 07:30", given) from None


def quiet_until(agreed: ChannelPlan, now: datetime) -> datetime | None:
    """Return when the quiet hours end that `now` lies in, or None when it lies in none."""
    start, end = agreed.quiet_from, agreed.quiet_until
    if start is None or end is None or start == end:
        return None
    there = zone(agreed.zone)
    if not _within(there.local(now).time(), start, end):
        return None
    today = there.local(now).date()
    days = (today + n * _DAY for n in range(4))  # a whole day may have been left out
    ends = (one for day in days for one in _all(there, day, end) if one > now)
    return next(one for one in ends if not _within(there.local(one).time(), start, end))


def _within(at: time, start: time, end: time) -> bool:
    return start <= at < end if start < end else at >= start or at < end


def digest_due(agreed: ChannelPlan, now: datetime) -> tuple[datetime, date] | None:
    """Return the last instant at which a digest was due, and its day there; None: never is."""
    if agreed.digest_at is None:
        return None
    there, day = zone(agreed.zone), zone(agreed.zone).local(now).date()
    while (at := _first(there, day, agreed.digest_at)) > now:
        day -= _DAY
    return at, day


def next_digest(agreed: ChannelPlan, now: datetime) -> datetime | None:
    """Return when the next digest is due after `now`, or None."""
    if agreed.digest_at is None:
        return None
    there, day = zone(agreed.zone), zone(agreed.zone).local(now).date()
    while (at := _first(there, day, agreed.digest_at)) <= now:
        day += _DAY
    return at


def _first(there: Zone, day: date, at: time) -> datetime:
    return _all(there, day, at)[0]


def _all(there: Zone, day: date, at: time) -> tuple[datetime, ...]:
    """The instants of a time of day, in order; what the clocks jump over: where they land."""
    wall = datetime.combine(day, at)
    found = there.instants(wall)
    landed = there.gap_end(wall) if not found else None
    if found or landed is None:
        return found or (wall.replace(tzinfo=there.info),)
    return (landed,)
