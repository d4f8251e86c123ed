"""An independent answer to "when is this cron text due?", slow and plain.

Written from the policy's prose, and with another algorithm than the product: it lists every
minute (or second) of a stretch of time, asks `zoneinfo` what the clocks show, and matches texts by
expanding each field into a set. It shares no code with `duly.core.cron` and no table of
transitions. It reads what is valid only; what is refused is tested elsewhere.
"""

from __future__ import annotations

from calendar import monthrange
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

PACE = timedelta(days=5)
MONTHS = "JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC".split()
WEEKDAYS = "SUN MON TUE WED THU FRI SAT".split()


def expand(field: str, low: int, high: int, names: list[str] | None = None) -> set[int]:
    """The values of a plain field."""
    values: set[int] = set()
    for item in field.split(","):
        base, _, step = item.partition("/")
        first, _, last = base.partition("-")
        if base in ("*", "?"):
            start, stop = low, high
        else:
            start = number(first, low, names)
            stop = number(last, low, names) if last else high if step else start
            if last == "SUN" and start > 0:
                stop = 7
        values |= {v for v in range(start, stop + 1) if (v - start) % int(step or 1) == 0}
    return values


def number(text: str, low: int, names: list[str] | None) -> int:
    return low + names.index(text) if names and text in names else int(text)


def day_matches(field: str, day: date) -> bool:
    """Whether a day-of-month field holds a date."""
    last = monthrange(day.year, day.month)[1]
    return any(day_item_matches(item, day, last) for item in field.split(","))


def day_item_matches(item: str, day: date, last: int) -> bool:
    if item == "LW":
        return day.day == nearest_weekday(day, last)
    if item.startswith("L"):
        return day.day == last - int(item[2:] or 0)
    if item.endswith("W"):
        return int(item[:-1]) <= last and day.day == nearest_weekday(day, int(item[:-1]))
    return day.day in expand(item, 1, 31)


def nearest_weekday(month: date, wanted: int) -> int:
    """Among the weekdays of the month, the one with the smallest distance."""
    days = range(1, monthrange(month.year, month.month)[1] + 1)
    working = [d for d in days if month.replace(day=d).weekday() < 5]
    return min(working, key=lambda d: abs(d - wanted))


def weekday_matches(field: str, day: date) -> bool:
    """Whether a day-of-week field holds a date."""
    today = day.isoweekday() % 7
    for item in field.split(","):
        if "#" in item:
            name, count = item.split("#")
            if number(name, 0, WEEKDAYS) % 7 == today and (day.day + 6) // 7 == int(count):
                return True
        elif item.endswith("L"):
            in_a_week = day + timedelta(days=7)
            if number(item[:-1], 0, WEEKDAYS) % 7 == today and in_a_week.month != day.month:
                return True
        elif today in {v % 7 for v in expand(item, 0, 6, WEEKDAYS)}:
            return True
    return False


class Text:
    """A cron text, five fields or six with the second first."""

    def __init__(self, text: str) -> None:
        fields = text.split()
        second, minute, hour, self.day, month, self.weekday = ["0", *fields][-6:]
        self.seconds = expand(second, 0, 59)
        self.minutes = expand(minute, 0, 59)
        self.hours = expand(hour, 0, 23)
        self.months = expand(month, 1, 12, MONTHS)
        self.wildcard = hour[0] == "*"
        self.days: dict[date, bool] = {}

    def is_day(self, day: date) -> bool:
        """Whether the text is due on a date; both day fields, or either when both are bound."""
        if day not in self.days:
            by_day, by_weekday = day_matches(self.day, day), weekday_matches(self.weekday, day)
            either = self.day[0] not in "*?" and self.weekday[0] not in "*?"
            due = (by_day or by_weekday) if either else (by_day and by_weekday)
            self.days[day] = due and day.month in self.months
        return self.days[day]

    def matches(self, wall: datetime) -> bool:
        return (
            wall.minute in self.minutes
            and wall.hour in self.hours
            and wall.second in self.seconds
            and self.is_day(wall.date())
        )


@dataclass
class Stretch:
    """What the clocks of a zone show at each step of a stretch of instants."""

    zone: str
    start: datetime
    end: datetime
    step: timedelta = timedelta(minutes=1)

    def __post_init__(self) -> None:
        info = ZoneInfo(self.zone)
        self.readings: list[tuple[datetime, datetime]] = []
        self.shown: dict[datetime, list[datetime]] = defaultdict(list)
        at = self.start
        while at < self.end:
            wall = at.astimezone(info).replace(tzinfo=None, fold=0)
            self.readings.append((at, wall))
            self.shown[wall].append(at)
            at += self.step
        self.left_out = self.find_left_out()

    def find_left_out(self) -> dict[datetime, datetime]:
        """Local times that are never shown, with the first instant after their gap."""
        found: dict[datetime, datetime] = {}
        for (_, before), (after, wall) in zip(self.readings, self.readings[1:], strict=False):
            missing = before + self.step
            while missing < wall:
                if missing not in self.shown:
                    found[missing] = after
                missing += self.step
        return found

    def due(self, text: Text, gap: str, fold: str) -> list[datetime]:
        """The instants of the stretch at which a text is due under a policy, in order."""
        if text.wildcard:
            return [at for at, wall in self.readings if text.matches(wall)]
        found: set[datetime] = set()
        for wall, instants in self.shown.items():
            if text.matches(wall):
                found |= set({"first": instants[:1], "second": instants[-1:]}.get(fold, instants))
        if gap == "after":
            found |= {after for wall, after in self.left_out.items() if text.matches(wall)}
        return sorted(found)


def turns(zone: str, first_year: int, last_year: int) -> list[datetime]:
    """The instants, five days apart, before which the offset of a zone had changed.

    No offset of these decades lasted less than six days.
    """
    info, found = ZoneInfo(zone), []
    at, end = datetime(first_year, 1, 1, 12, tzinfo=UTC), datetime(last_year, 1, 1, tzinfo=UTC)
    before = at.astimezone(info).utcoffset()
    while at < end:
        at += PACE
        offset = at.astimezone(info).utcoffset()
        if offset != before:
            found.append(at)
        before = offset
    return found


def turn_before(zone: str, late: datetime) -> datetime:
    """The minute of the change in the five days that end at `late`."""
    info, at = ZoneInfo(zone), late - PACE
    offset = at.astimezone(info).utcoffset()
    while at.astimezone(info).utcoffset() == offset:
        at += timedelta(hours=1)
    while at.astimezone(info).utcoffset() != offset:
        at -= timedelta(minutes=1)
    return at + timedelta(minutes=1)
