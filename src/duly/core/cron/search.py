"""The search for occurrences of a cron text on the clocks of a zone, forwards and backwards.

Whole seconds since 1970 in and out; no datetime is made on the way. A search takes the span
that holds the instant, asks calendar and clock for the nearest local time, and goes on to the
neighbouring span while that time belongs to another one (`turns.py` says who owns what).

Guarantees: `after(i) > i`, `at_or_before(i) <= i`, both are the nearest, and each ends within
eighty years of its start: further than any match is away (forty years for a leap day on a given
weekday), except one that falls into a skipped gap every time. That one is answered with None.
"""

from __future__ import annotations

from bisect import bisect_right
from functools import lru_cache

from duly.core.cron.calendar import NEVER
from duly.core.cron.text import Expression
from duly.core.cron.turns import Fold, Gap, Span, Spans, Turns, spans
from duly.core.zones import ERA, FIRST, LAST, Zone

_DAY = 86_400
_HORIZON = 60 * 31_557_600
# Eras of which the smallest gap is taken: 1970 to 2050.
_SURVEYED = range(5)


@lru_cache(maxsize=4096)
def search_for(expression: Expression, zone: Zone, gap: Gap, fold: Fold) -> Search:
    """Return the one search for these, so that equal schedules share what it remembers."""
    return Search(expression, zone, gap=gap, fold=fold)


class Search:
    """Occurrences of one text in one zone. Immutable to its users; remembers the last span."""

    __slots__ = (
        "_calendar",
        "_clock",
        "_era",
        "_last",
        "_smallest",
        "_turns",
        "_zone",
        "expression",
    )

    def __init__(self, expression: Expression, zone: Zone, *, gap: Gap, fold: Fold) -> None:
        self.expression = expression
        self._calendar = expression.calendar
        self._clock = expression.clock
        self._zone = zone
        self._turns = Turns(gap, fold, expression.wildcard_hours)
        self._smallest: int | None = None
        # The span and the era last used. Replaced as a whole: threads may share them.
        self._last = Span(0, 0, 0, 0, 0)
        self._era: tuple[int | None, Spans] = (None, Spans((), ()))

    def after(self, instant: int) -> int | None:
        """Return the first occurrence after the instant, or None."""
        start, end, offset, low, high = self._last
        if not start <= instant < end:
            if instant >= LAST - 1:
                return None
            instant = max(instant, FIRST)
            start, end, offset, low, high = self._last = self._span_at(instant)
        wall = instant + offset + 1
        if wall < low:
            wall = low
        found = self._wall_at_or_after(wall)
        if found is not None and found < high:
            return found - offset if found - offset > start else start
        return None if found is None else self._after_span(instant, wall, found)

    def _after_span(self, instant: int, wall: int, found: int | None) -> int | None:
        """Go on behind the span of the instant, in which `found` from `wall` on is not due."""
        era = instant // ERA
        table = self._spans(era)
        place = bisect_right(table.starts, instant)
        while found is not None:
            if place == len(table.rows):
                era, place = era + 1, 0
                if era * ERA >= min(LAST, instant + _HORIZON):
                    return None
                table = self._spans(era)
            span = table.rows[place]
            # The first match from `wall` on is also the first from anywhere up to itself on.
            if not wall <= span.low <= found:
                wall = span.low
                found = self._wall_at_or_after(wall)
            if found is not None and found < span.high:
                return max(span.start, found - span.offset)
            place += 1
        return None

    def at_or_before(self, instant: int) -> int | None:
        """Return the last occurrence up to and including the instant, or None."""
        if instant < FIRST:
            return None
        instant = min(instant, LAST - 1)
        span = self._span_at(instant)
        wall = min(instant + span.offset, span.high - 1)
        found = self._wall_at_or_before(wall)
        if found is not None and found >= span.low:
            return max(span.start, found - span.offset)
        return self._before_span(instant, wall, found)

    def _before_span(self, instant: int, wall: int, found: int | None) -> int | None:
        """Go on before the span of the instant: the mirror of `_after_span`."""
        era = instant // ERA
        table = self._spans(era)
        place = bisect_right(table.starts, instant) - 2
        while found is not None:
            if place < 0:
                if era * ERA <= max(FIRST, instant - _HORIZON):
                    return None
                era -= 1
                table = self._spans(era)
                place = len(table.rows) - 1
            span = table.rows[place]
            if not found < span.high <= wall + 1:
                wall = span.high - 1
                found = self._wall_at_or_before(wall)
            if found is not None and found >= span.low:
                return max(span.start, found - span.offset)
            place -= 1
        return None

    def moved(self, instant: int) -> bool:
        """Return whether this occurrence stands for a local time that a gap left out."""
        span = self._span_at(instant)
        if span.start != instant:
            return False
        found = self._wall_at_or_after(span.low)
        return found is not None and found < span.start + span.offset

    def smallest_gap(self) -> int:
        """Return the fewest seconds between two occurrences, by the zone's turns 1970 to 2050.

        The first answer is kept; it costs some milliseconds.
        """
        if self._smallest is None:
            self._smallest = self._survey()
        return self._smallest

    def _survey(self) -> int:
        smallest = self._smallest_on_the_wall()
        for era in _SURVEYED:
            for turn in self._spans(era).starts:
                # Away from turns, distances are those on the wall.
                before = self.at_or_before(turn - 1)
                at = self.after(turn - 1)
                then = None if at is None else self.after(at)
                if at is not None and before is not None:
                    smallest = min(smallest, at - before)
                if at is not None and then is not None:
                    smallest = min(smallest, then - at)
        return smallest

    def _smallest_on_the_wall(self) -> int:
        clock = self._clock
        overnight = self._calendar.smallest_gap() * _DAY - clock.last + clock.first
        within = clock.smallest_gap()
        return overnight if within is None else min(overnight, within)

    def _spans(self, number: int) -> Spans:
        kept = self._era
        if kept[0] != number:
            kept = self._era = number, spans(self._zone, number, self._turns)
        return kept[1]

    def _span_at(self, instant: int) -> Span:
        table = self._spans(instant // ERA)
        return table.rows[max(bisect_right(table.starts, instant) - 1, 0)]

    def _wall_at_or_after(self, wall: int) -> int | None:
        day, time = divmod(wall, _DAY)
        found_day = self._calendar.at_or_after(day)
        if found_day == day:
            found_time = self._clock.at_or_after(time)
            if found_time != NEVER:
                return day * _DAY + found_time
            found_day = self._calendar.at_or_after(day + 1)
        return None if found_day is None else found_day * _DAY + self._clock.first

    def _wall_at_or_before(self, wall: int) -> int | None:
        day, time = divmod(wall, _DAY)
        found_day = self._calendar.at_or_before(day)
        if found_day == day:
            found_time = self._clock.at_or_before(time)
            if found_time != NEVER:
                return day * _DAY + found_time
            found_day = self._calendar.at_or_before(day - 1)
        return None if found_day is None else found_day * _DAY + self._clock.last
