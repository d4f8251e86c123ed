"""Which days and which times of day a cron text means, as tables that answer in one step.

`Calendar` answers for days counted since 1970-01-01, `Clock` for seconds since midnight: the
nearest match at or after a value, and at or before it. Neither knows of zones.

A month has one of 28 forms: four lengths times seven first weekdays. The mask of each form is
computed when the text is read, so that walking the calendar is a table look-up per month. All
28 occur within any forty years, the seven of a leap February last; a walk that finds nothing in
that time cannot find anything later, which bounds every search.
"""

from __future__ import annotations

from datetime import date
from functools import lru_cache
from itertools import pairwise

from duly.core.cron.fields import Days, Weekdays

UNIX_DAY = 719_163
"""The ordinal of 1970-01-01, day 0 here."""

NEVER = -1
"""The answer of a table that has no match left."""

_FOUR_YEARS = 1461
_SURVEY = (date(2000, 1, 1).toordinal() - UNIX_DAY, date(2028, 2, 1).toordinal() - UNIX_DAY)
# Months are counted as 12 * year + month - 1, so that neighbours differ by one.
_MONTHS_START, _MONTHS_END = 12 * 1 - 1, 12 * 10_000
_BOUND = 12 * 41
_SUNDAY, _SATURDAY = 0, 6
_EVERY_WEEK = 0b1_0000001_0000001_0000001_0000001_0000001

_LENGTHS = {1: (31,), 2: (28, 29), 3: (31,), 4: (30,), 5: (31,), 6: (30,)} | {
    7: (31,), 8: (31,), 9: (30,), 10: (31,), 11: (30,), 12: (31,)
}  # fmt: skip


class Calendar:
    """The days of a cron text. Immutable to its users; remembers the month it last looked at."""

    __slots__ = ("_forms", "_months", "_seen", "_strides")

    def __init__(self, days: Days, months: int, weekdays: Weekdays) -> None:
        self._months = months
        self._forms = {
            (length, first): _form(days, weekdays, length=length, first=first)
            for length in (28, 29, 30, 31)
            for first in range(7)
        }
        # For each month the distance to the next one that counts, and to the one before.
        self._strides = _strides(months)
        # First day, day after the last, mask, number of the month that was last looked at.
        # Replaced as a whole, so that threads may share it.
        self._seen = (0, 0, 0, 0)

    @property
    def never(self) -> bool:
        """Whether no day of any year matches."""
        return not any(
            self._forms[length, first]
            for month, lengths in _LENGTHS.items()
            if self._months >> month & 1
            for length in lengths
            for first in range(7)
        )

    def at_or_after(self, day: int) -> int | None:
        """Return the first matching day from `day` on; None when there is none by 9999."""
        start, end, mask, month = self._seen
        if not start <= day < end:
            start, end, mask, month = self._look(day)
        rest = mask >> (day - start)
        if rest:
            return day + (rest & -rest).bit_length() - 1
        return self._forward(month)

    def at_or_before(self, day: int) -> int | None:
        """Return the last matching day up to `day`; None when there is none since year 1."""
        start, end, mask, month = self._seen
        if not start <= day < end:
            start, end, mask, month = self._look(day)
        rest = mask & ((2 << (day - start)) - 1)
        if rest:
            return start + rest.bit_length() - 1
        return self._backward(month)

    def smallest_gap(self) -> int:
        """Return the fewest days between two matching days, never more than four years.

        Looks at the 28 years from 2000, in which every succession of months occurs.
        """
        smallest = _FOUR_YEARS
        before = self.at_or_after(_SURVEY[0])
        while before is not None and before < _SURVEY[1] and smallest > 1:
            found = self.at_or_after(before + 1)
            if found is not None:
                smallest = min(smallest, found - before)
            before = found
        return smallest

    def _forward(self, month: int) -> int | None:
        last = min(month + _BOUND, _MONTHS_END)
        while (month := month + self._strides[month % 12][0]) < last:
            start, _, mask, _ = self._seen = self._load(month)
            if mask:
                return start + (mask & -mask).bit_length() - 1
        return None

    def _backward(self, month: int) -> int | None:
        first = max(month - _BOUND, _MONTHS_START)
        while (month := month - self._strides[month % 12][1]) > first:
            start, _, mask, _ = self._seen = self._load(month)
            if mask:
                return start + mask.bit_length() - 1
        return None

    def _look(self, day: int) -> tuple[int, int, int, int]:
        at = date.fromordinal(day + UNIX_DAY)
        seen = self._seen = self._load(at.year * 12 + at.month - 1)
        return seen

    def _load(self, month: int) -> tuple[int, int, int, int]:
        start, length, first = _month(month)
        mask = self._forms[length, first] if self._months >> month % 12 + 1 & 1 else 0
        return start, start + length, mask, month


class Clock:
    """The times of day of a cron text, in seconds since midnight."""

    __slots__ = ("_hours", "_minutes", "_seconds", "first", "last")

    def __init__(self, hours: int, minutes: int, seconds: int) -> None:
        self._hours = _ladder(hours, 24)
        self._minutes = _ladder(minutes, 60)
        self._seconds = _ladder(seconds, 60)
        self.first = (self._hours[0][0] * 60 + self._minutes[0][0]) * 60 + self._seconds[0][0]
        self.last = (self._hours[1][-1] * 60 + self._minutes[1][-1]) * 60 + self._seconds[1][-1]

    def at_or_after(self, time: int) -> int:
        """Return the first matching time from `time` on, or `NEVER`; 0 <= time < 86,400."""
        hours, minutes, seconds = self._hours[0], self._minutes[0], self._seconds[0]
        minute_of_day, second = divmod(time, 60)
        hour, minute = divmod(minute_of_day, 60)
        if hours[hour] == hour:
            if minutes[minute] == minute and (found := seconds[second]) >= 0:
                return minute_of_day * 60 + found
            if (found := minutes[minute + 1]) >= 0:
                return (hour * 60 + found) * 60 + seconds[0]
        if (found := hours[hour + 1]) >= 0:
            return (found * 60 + minutes[0]) * 60 + seconds[0]
        return NEVER

    def at_or_before(self, time: int) -> int:
        """Return the last matching time up to `time`, or `NEVER`; 0 <= time < 86,400."""
        hours, minutes, seconds = self._hours[1], self._minutes[1], self._seconds[1]
        minute_of_day, second = divmod(time, 60)
        hour, minute = divmod(minute_of_day, 60)
        # Rungs are shifted by one, so that rung 0 answers for "before the first".
        if hours[hour + 1] == hour:
            if minutes[minute + 1] == minute and (found := seconds[second + 1]) >= 0:
                return minute_of_day * 60 + found
            if (found := minutes[minute]) >= 0:
                return (hour * 60 + found) * 60 + seconds[-1]
        if (found := hours[hour]) >= 0:
            return (found * 60 + minutes[-1]) * 60 + seconds[-1]
        return NEVER

    def smallest_gap(self) -> int | None:
        """Return the fewest seconds between two times of one day; None when there is one."""
        gaps, spread = [], 0
        # Neighbours differ in the second, or else from the last second of one minute to the
        # first of the next that matches, or in the same way in the hour.
        for unit, ladder in ((1, self._seconds), (60, self._minutes), (3600, self._hours)):
            values = sorted(set(ladder[0]) - {NEVER})
            gaps += [(later - value) * unit - spread for value, later in pairwise(values)]
            spread += (values[-1] - values[0]) * unit
        return min(gaps, default=None)


@lru_cache(maxsize=4096)
def _month(month: int) -> tuple[int, int, int]:
    """Return first day, length and first weekday (Sunday = 0) of a month of 12 * year + n."""
    year, number = divmod(month, 12)
    start = date(year, number + 1, 1).toordinal() - UNIX_DAY
    length = _LENGTHS[number + 1][0]
    if number == 1 and ((year % 4 == 0 and year % 100 != 0) or year % 400 == 0):
        length = 29
    # Day 0 was a Thursday.
    return start, length, (start + 4) % 7


@lru_cache(maxsize=1024)
def _strides(months: int) -> tuple[tuple[int, int], ...]:
    on = [bool(months >> month + 1 & 1) for month in range(12)]
    return tuple(
        (
            next(n for n in range(1, 13) if on[(month + n) % 12]),
            next(n for n in range(1, 13) if on[(month - n) % 12]),
        )
        for month in range(12)
    )


@lru_cache(maxsize=1024)
def _ladder(mask: int, size: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return two tables: rung n of the first is the next match from n on, rung n + 1 of the
    second the last match up to n; `NEVER` where there is none."""
    up = [NEVER] * (size + 1)
    for value in range(size - 1, -1, -1):
        up[value] = value if mask >> value & 1 else up[value + 1]
    down = [NEVER] * (size + 1)
    for value in range(size):
        down[value + 1] = value if mask >> value & 1 else down[value]
    return tuple(up), tuple(down)


def _form(days: Days, weekdays: Weekdays, *, length: int, first: int) -> int:
    """Return the mask of a month of this length and first weekday; bit 0 is the 1st."""
    by_day = _days_of(days, length, first)
    by_weekday = _weekdays_of(weekdays, length, first)
    # The rule of Vixie's cron, told in text.py.
    if days.starred or weekdays.starred:
        return by_day & by_weekday
    return by_day | by_weekday


def _days_of(days: Days, length: int, first: int) -> int:
    mask = days.mask >> 1
    for back in days.before_last:
        if back < length:
            mask |= 1 << (length - back - 1)
    for day in days.nearest_weekday:
        if day <= length:
            mask |= 1 << (_nearest_weekday(day, length, first) - 1)
    if days.last_weekday:
        mask |= 1 << (_nearest_weekday(length, length, first) - 1)
    return mask & ((1 << length) - 1)


def _nearest_weekday(day: int, length: int, first: int) -> int:
    """Return the Monday to Friday nearest to a day, without leaving the month."""
    weekday = (first + day - 1) % 7
    if weekday == _SATURDAY:
        return day - 1 if day > 1 else day + 2
    if weekday == _SUNDAY:
        return day + 1 if day < length else day - 2
    return day


def _weekdays_of(weekdays: Weekdays, length: int, first: int) -> int:
    mask, whole = 0, (1 << length) - 1
    for weekday in range(7):
        if weekdays.mask >> weekday & 1:
            mask |= _EVERY_WEEK << (weekday - first) % 7
    for weekday, count in weekdays.nth:
        mask |= 1 << ((weekday - first) % 7 + 7 * (count - 1))
    for weekday in weekdays.last:
        of_month = _EVERY_WEEK << (weekday - first) % 7 & whole
        mask |= 1 << (of_month.bit_length() - 1)
    return mask & whole
