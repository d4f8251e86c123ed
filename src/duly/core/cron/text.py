"""The text of a cron schedule, read whole: five fields, six on request, or a nickname.

    minute  hour  day-of-month  month  day-of-week          0 1 * * MON-FRI

Six fields are read only when the caller says where the second stands: two conventions exist,
second first (Quartz, Spring) and second last (some Python libraries), and a guess between them
runs a job at the wrong minute for years.

**When both day fields are restricted, either one is enough.** A day field that *starts* with
`*` (also `*/2`), or is `?`, counts as unrestricted, and then both must match. This is the rule
of Vixie's cron: flags `DOM_STAR` and `DOW_STAR` set on a leading star in `entry.c`, and the
choice between *and* and *or* in `find_jobs` of `cron.c` (ISC cron 4.1); crontab(5) tells it.

Text that can never be due (`0 0 30 2 *`) is refused here, by looking at the 28 forms a month can
have. Reading takes well under ten milliseconds for any input.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from duly.core.cron.calendar import Calendar, Clock
from duly.core.cron.fields import (
    HOUR,
    MINUTE,
    MONTH,
    SECOND,
    read_days,
    read_plain,
    read_weekdays,
)
from duly.errors import InvalidValue, UnknownName

Seconds = Literal["first", "last"]
"""Where the sixth field, the second, stands."""

LONGEST = 256
"""No text is longer, in characters."""

NICKNAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}

_PRINTABLE = re.compile(r"[\x21-\x7e\t ]*")


@dataclass(frozen=True, slots=True, eq=False)
class Expression:
    """A text that was read: `text` is its canonical form, the rest what it means.

    `wildcard_hours` is true when the hour field starts with `*`; such schedules go by elapsed
    time where the clocks change (see `turns.py`).
    """

    text: str
    calendar: Calendar
    clock: Clock
    wildcard_hours: bool


def parse(text: str, *, seconds: Seconds | None = None) -> Expression:
    """Read a cron text; `seconds` says where the second stands, None that there is none.

    Raises `InvalidValue` for text that is too long, malformed, out of range or never due, and
    `UnknownName` for an unknown nickname.
    """
    if not isinstance(text, str):
        raise InvalidValue.expected("cron expression", "a text of five fields", text)
    if seconds not in (None, "first", "last"):
        raise InvalidValue.expected("seconds", 'None, "first" or "last"', seconds)
    if len(text) > LONGEST:
        raise InvalidValue.expected(
            "cron expression", f"at most {LONGEST} characters long", f"{len(text)} characters"
        )
    if not _PRINTABLE.fullmatch(text):
        raise InvalidValue.expected("cron expression", "plain ASCII on one line", text)
    return _read(" ".join(text.split()), seconds)


@lru_cache(maxsize=1024)
def _read(text: str, seconds: Seconds | None) -> Expression:
    if text.startswith("@"):
        canonical = text.lower()
        if canonical not in NICKNAMES:
            raise UnknownName.of("cron nickname", text[:32], NICKNAMES)
        fields, second = NICKNAMES[canonical].split(), "0"
    else:
        canonical = text.upper()
        fields, second = _split(canonical, seconds)
    minute, hour, day, month, weekday = fields
    calendar = Calendar(read_days(day), read_plain(month, MONTH), read_weekdays(weekday))
    clock = Clock(read_plain(hour, HOUR), read_plain(minute, MINUTE), read_plain(second, SECOND))
    if calendar.never:
        raise InvalidValue.expected("cron expression", "due on a day that exists", text)
    return Expression(canonical, calendar, clock, hour.startswith("*"))


def _split(text: str, seconds: Seconds | None) -> tuple[list[str], str]:
    """Return the five fields and the second."""
    fields = text.split(" ") if text else []
    if seconds is None:
        if len(fields) == 6:
            raise InvalidValue.expected(
                "cron expression",
                "five fields (minute hour day month weekday); with six the second stands first or "
                'last, and both conventions exist: say seconds="first" or seconds="last"',
                text,
            )
        if len(fields) != 5:
            raise InvalidValue.expected(
                "cron expression", "five fields (minute hour day month weekday)", text
            )
        return fields, "0"
    if len(fields) != 6:
        raise InvalidValue.expected(
            "cron expression", f'six fields, as seconds="{seconds}" says', text
        )
    return (fields[1:], fields[0]) if seconds == "first" else (fields[:5], fields[5])
