"""One field of a cron text: lists, ranges, steps and names, read into a mask of bits.

Bit `n` of a mask is set when the value `n` matches. The two day fields may hold besides what
depends on the month: `L`, `L-3`, `LW` and `15W` as days of the month, `5#3` and `5L` as days of
the week. Those are kept as they are written; `calendar.py` works them out month by month.

Whatever is not understood is refused with the field, the value and what is allowed. A range
that wraps around (`22-2`, `FRI-MON`) is refused, because readers disagree on what it means;
so is a step longer than its field, because `*/90` is not every ninety minutes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

from duly.errors import InvalidValue

_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_WEEKDAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")


@dataclass(frozen=True, slots=True)
class Field:
    """What a field is called, its values, and the names that stand for some of them."""

    name: str
    low: int
    high: int
    names: dict[str, int]
    also: str = ""

    @property
    def allowed(self) -> str:
        """The allowed values in words, for messages."""
        return f"{self.low}-{self.high}{self.also}"


SECOND = Field("second", 0, 59, {})
MINUTE = Field("minute", 0, 59, {})
HOUR = Field("hour", 0, 23, {})
DAY = Field("day of month", 1, 31, {}, also=", L, L-3, LW, 15W or ?")
MONTH = Field("month", 1, 12, {n: i for i, n in enumerate(_MONTHS, 1)}, also=" or JAN-DEC")
WEEKDAY = Field(
    "day of week",
    0,
    7,
    {n: i for i, n in enumerate(_WEEKDAYS)},
    also=" (0 and 7 are Sunday), SUN-SAT, 5L, 5#3 or ?",
)


class Days(NamedTuple):
    """The day-of-month field. `mask` holds plain days, the rest what depends on the month."""

    mask: int
    before_last: tuple[int, ...]
    nearest_weekday: tuple[int, ...]
    last_weekday: bool
    starred: bool


class Weekdays(NamedTuple):
    """The day-of-week field, Sunday = 0: plain days, nth of the month, last of the month."""

    mask: int
    nth: tuple[tuple[int, int], ...]
    last: tuple[int, ...]
    starred: bool


_ITEM = re.compile(
    r"(?:(?P<star>\*)|(?P<first>[0-9]{1,4}|[A-Z]{3})(?:-(?P<last>[0-9]{1,4}|[A-Z]{3}))?)"
    r"(?:/(?P<step>[0-9]{1,4}))?"
)
_BEFORE_LAST = re.compile(r"L(?:-([0-9]{1,2}))?")
_NEAREST = re.compile(r"([0-9]{1,2})W")
_NTH = re.compile(r"([0-9]|[A-Z]{3})#([0-9])")
_LAST_OF = re.compile(r"([0-9]|[A-Z]{3})L")


def read_plain(text: str, field: Field) -> int:
    """Return the mask of a field without day specials. Raises `InvalidValue`."""
    mask = 0
    for item in text.split(","):
        mask |= _read_item(item, field)
    return mask


def read_days(text: str) -> Days:
    """Read the day-of-month field. Raises `InvalidValue`."""
    if text == "?":
        return Days(_span(1, 31, 1), (), (), False, True)
    mask, last_weekday = 0, False
    before_last: set[int] = set()
    nearest: set[int] = set()
    for item in text.split(","):
        if item == "LW":
            last_weekday = True
        elif found := _BEFORE_LAST.fullmatch(item):
            before_last.add(_within(int(found[1] or 0), 0, 30, item, DAY))
        elif found := _NEAREST.fullmatch(item):
            nearest.add(_within(int(found[1]), 1, 31, item, DAY))
        else:
            mask |= _read_item(item, DAY)
    starred = text.startswith("*")
    return Days(mask, tuple(sorted(before_last)), tuple(sorted(nearest)), last_weekday, starred)


def read_weekdays(text: str) -> Weekdays:
    """Read the day-of-week field. Raises `InvalidValue`."""
    if text == "?":
        return Weekdays(_span(0, 6, 1), (), (), True)
    mask = 0
    nth: set[tuple[int, int]] = set()
    last: set[int] = set()
    for item in text.split(","):
        if item == "L":
            raise InvalidValue.expected(
                WEEKDAY.name, 'a day before the L, such as "5L" for the last Friday', item
            )
        if found := _NTH.fullmatch(item):
            nth.add((_value(found[1], WEEKDAY) % 7, _within(int(found[2]), 1, 5, item, WEEKDAY)))
        elif found := _LAST_OF.fullmatch(item):
            last.add(_value(found[1], WEEKDAY) % 7)
        else:
            mask |= _read_item(item, WEEKDAY)
    # Sunday may have been written as 7.
    mask = (mask | mask >> 7) & _span(0, 6, 1)
    return Weekdays(mask, tuple(sorted(nth)), tuple(sorted(last)), text.startswith("*"))


def _read_item(item: str, field: Field) -> int:
    found = _ITEM.fullmatch(item)
    if found is None:
        raise InvalidValue.expected(field.name, field.allowed, item)
    top = 6 if field is WEEKDAY else field.high
    step = _step(found["step"], field, top)
    if found["star"]:
        return _span(field.low, top, step)
    first = _value(found["first"], field)
    if found["last"] is None:
        return _span(first, top, step) if found["step"] else 1 << first
    last = _value(found["last"], field)
    if found["last"] == "SUN" and first > 0:
        # The week that ends on Sunday: MON-SUN is read, although SUN alone is 0.
        last = 7
    if last < first:
        raise InvalidValue.expected(
            field.name,
            f"a range that rises (two ranges make one that wraps, {field.allowed})",
            item,
        )
    return _span(first, last, step)


def _step(text: str | None, field: Field, top: int) -> int:
    if text is None:
        return 1
    longest = top - field.low
    if not 1 <= int(text) <= longest:
        raise InvalidValue.expected(f"step of {field.name}", f"1-{longest}", text)
    return int(text)


def _value(text: str, field: Field) -> int:
    if text.isdigit():
        return _within(int(text), field.low, field.high, text, field)
    if text not in field.names:
        raise InvalidValue.expected(field.name, field.allowed, text)
    return field.names[text]


def _within(value: int, low: int, high: int, shown: str, field: Field) -> int:
    if not low <= value <= high:
        raise InvalidValue.expected(field.name, field.allowed, shown)
    return value


def _span(first: int, last: int, step: int) -> int:
    mask = 0
    for value in range(first, last + 1, step):
        mask |= 1 << value
    return mask
