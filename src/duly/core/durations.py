"""Lengths of time as people write them: "90s", "1h30m", "2d", "250ms", "1w".

`parse_duration` reads a text, a number of seconds or a `timedelta`; `format_duration` writes
the one canonical text, which `parse_duration` reads back to the same length. A day is
86,400 seconds and a week seven of those: a duration is elapsed time, never a calendar.

Every answer is finite, not negative, and at most `LONGEST` (a hundred years). What cannot be
read is refused with what was expected; nothing is guessed, rounded away or clamped.
"""

from __future__ import annotations

import math
import re
from datetime import timedelta

from duly.errors import InvalidValue

LONGEST = timedelta(days=36_525)
"""No duration is longer: a hundred years."""

LONGEST_TEXT = 64
"""No text of a duration is longer, in characters."""

_UNIT_US = {
    "w": 604_800_000_000,
    "d": 86_400_000_000,
    "h": 3_600_000_000,
    "m": 60_000_000,
    "s": 1_000_000,
    "ms": 1_000,
    "us": 1,
}
_ORDER = tuple(_UNIT_US)
_PART = re.compile(r"([0-9]{1,15})(?:\.([0-9]{1,6}))?(ms|us|w|d|h|m|s)")
_SHAPE = 'a duration such as "90s", "5m", "1h30m", "2d" or "250ms" (units w d h m s ms us)'


def parse_duration(value: str | int | float | timedelta, *, what: str) -> timedelta:
    """Read a length of time; `what` names the setting in the message of a refusal.

    A number is seconds. In a text the units fall in order and each comes once ("1h30m", not
    "30m1h"); a part may have decimals ("1.5h"). Raises `InvalidValue` for anything else, for
    a negative length, and for one longer than `LONGEST`.
    """
    if isinstance(value, timedelta):
        length = value
    elif isinstance(value, str):
        length = _from_text(value, what)
    elif isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidValue.expected(what, _SHAPE, value)
    else:
        length = _from_number(value, what)
    if not timedelta(0) <= length <= LONGEST:
        raise InvalidValue.expected(what, "between 0s and a hundred years", value)
    return length


def format_duration(length: timedelta) -> str:
    """Return the canonical text, largest unit first: `1h30m`, `2d`, `250ms`, `0s`.

    Weeks are written as days. Raises `InvalidValue` for a negative length.
    """
    left = length // timedelta(microseconds=1)
    if left < 0:
        raise InvalidValue.expected("duration", "zero or more", length)
    parts = []
    for unit in _ORDER[1:]:
        count, left = divmod(left, _UNIT_US[unit])
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def _from_number(seconds: float, what: str) -> timedelta:
    # The comparison comes before the conversion: a huge integer would overflow in it.
    if not 0 <= seconds <= LONGEST.total_seconds() or not math.isfinite(seconds):
        raise InvalidValue.expected(what, "between 0 and a hundred years of seconds", seconds)
    return timedelta(seconds=seconds)


def _from_text(text: str, what: str) -> timedelta:
    if len(text) > LONGEST_TEXT:
        raise InvalidValue.expected(what, f"at most {LONGEST_TEXT} characters long", text)
    total, place, last_unit = 0, 0, -1
    stripped = text.strip(" ")
    while place < len(stripped):
        part = _PART.match(stripped, place)
        if part is None or _ORDER.index(part[3]) <= last_unit:
            raise InvalidValue.expected(what, _SHAPE, text)
        total += _part_us(part, what, text)
        place, last_unit = part.end(), _ORDER.index(part[3])
    if place == 0:
        raise InvalidValue.expected(what, _SHAPE, text)
    if total > LONGEST // timedelta(microseconds=1):
        raise InvalidValue.expected(what, "between 0s and a hundred years", text)
    return timedelta(microseconds=total)


def _part_us(part: re.Match[str], what: str, text: str) -> int:
    unit = _UNIT_US[part[3]]
    decimals = part[2] or ""
    # "1.25h" is 1 h and 250,000 millionths of one.
    fraction, rest = divmod(int(decimals.ljust(6, "0")) * unit, 1_000_000)
    if rest:
        raise InvalidValue.expected(what, "a whole number of microseconds", text)
    return int(part[1]) * unit + fraction
