"""Texts about time: any of them is read or refused, and no question of them runs on for ever.

Cron texts, specs of triggers, lengths, zones and periods. What is read has a normal form that is
read back to the same. What a question costs is counted in calls, never in time.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from duly.core.cron import parse
from duly.core.durations import LONGEST, format_duration, parse_duration
from duly.core.periods import Period, parse_period
from duly.core.triggers import Cron, Every, trigger_from_spec
from duly.core.zones import zone
from duly.errors import InvalidValue, UnknownName
from tests.fuzz.hostile import ANY_TEXT, ANYTHING, HUGE, TEXT, answered
from tests.stores.profiles import cases

NUMBER = st.integers(0, 99).map(str)
ITEM = st.one_of(
    st.sampled_from(
        ["*", "?", "L", "LW", "L-3", "15W", "1W", "MON#5", "5L", "7", "JAN-MAR", "FRI"]
    ),
    NUMBER,
    st.builds("{}-{}".format, NUMBER, NUMBER),
    st.builds("{}/{}".format, st.sampled_from(["*", "5", "1-30"]), NUMBER),
)
FIELD = st.lists(ITEM, min_size=1, max_size=4).map(",".join)
CRON = st.lists(FIELD, min_size=4, max_size=7).map(" ".join)
# The 29th of February, a fifth weekday in it, the last days of short months: rare, or never.
RARE = st.tuples(
    st.sampled_from(["0", "59", "*/30"]),
    st.sampled_from(["0", "2", "*"]),
    st.sampled_from(["29", "30", "31", "29W", "L-28", "*/28", "31,30", "*"]),
    st.sampled_from(["2", "2,4", "FEB", "4,6,9,11", "*"]),
    st.sampled_from(["*", "MON#5", "7#5", "SUNL", "0"]),
).map(" ".join)
INSTANT = st.datetimes(
    datetime(2, 1, 1),  # noqa: DTZ001 - the zone is given beside it
    datetime(9998, 1, 1),  # noqa: DTZ001
    timezones=st.just(UTC),
)
ZONES = st.sampled_from(["UTC", "Europe/Amsterdam", "America/New_York", "Australia/Lord_Howe"])
WALK = 30_000
"""Python calls that one question may cost; a day-by-day search of a century needs more."""


def steps_of(question: Callable[[], Any]) -> int:
    """Count calls of Python functions, which do not depend on the machine."""
    calls = 0

    def count(_frame: object, event: str, _arg: object) -> None:
        nonlocal calls
        calls += event == "call"

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        question()
    finally:
        sys.setprofile(before)
    return calls


@given(CRON | TEXT, st.sampled_from([None, "first", "last"]))
@cases(120)
def test_a_cron_text_has_one_normal_form_or_is_refused(text: str, seconds: Any) -> None:
    read = answered(parse, text, seconds=seconds)
    if read is not None:
        again = parse(read.text, seconds=seconds)
        assert again == read
        assert again.text == read.text


@given(RARE | CRON, ZONES, INSTANT)
@cases(60)
def test_the_next_occurrence_is_found_or_known_not_to_be_in_bounded_steps(
    text: str, tz: str, start: datetime
) -> None:
    trigger = answered(Cron, text, tz)
    if trigger is None:
        return
    zone(tz).era(0)
    found: list[datetime | None] = []
    cost = steps_of(lambda: found.append(trigger.next_after(start)))
    cost += steps_of(lambda: found.append(trigger.previous_at_or_before(start)))
    assert cost < WALK, (text, cost)
    later, earlier = found
    assert later is None or later > start
    assert earlier is None or earlier <= start
    if later is not None:
        assert trigger.previous_at_or_before(later) == later


KEYS = st.sampled_from(
    ["kind", "expression", "tz", "seconds", "gap", "fold", "start", "end", "interval", "at"]
)
VALUES = st.sampled_from(
    ["cron", "every", "once", "UTC", "0 0 * * *", "1h", "2026-01-01T00:00:00Z", "0s", "x", "first"]
)


@given(st.dictionaries(KEYS | ANY_TEXT, VALUES | ANYTHING, max_size=6))
@cases(80)
def test_a_spec_from_anywhere_is_a_trigger_or_refused(spec: dict[str, Any]) -> None:
    trigger = answered(trigger_from_spec, spec)
    if trigger is not None:
        assert trigger_from_spec(trigger.spec()) == trigger


@given(st.timedeltas(timedelta(seconds=1), timedelta(days=40)), INSTANT)
@cases(50)
def test_an_interval_survives_its_spec(interval: timedelta, start: datetime) -> None:
    every = answered(Every, interval, start=start)
    if every is not None:
        assert trigger_from_spec(every.spec()) == every


UNITS = st.sampled_from(["w", "d", "h", "m", "s", "ms", "us", "M", "y", ""])
PARTS = st.lists(st.builds("{}{}".format, st.integers(0, 10**18) | st.floats(), UNITS), max_size=8)


@given(PARTS.map("".join) | TEXT | st.floats() | st.integers() | HUGE | st.binary())
@cases(120)
def test_a_length_of_time_is_read_exactly_or_refused(value: Any) -> None:
    length = answered(parse_duration, value, what="timeout", kinds=(InvalidValue,))
    if length is not None:
        assert timedelta(0) <= length <= LONGEST
        text = format_duration(length)
        assert parse_duration(text, what="timeout") == length
        assert format_duration(parse_duration(text, what="timeout")) == text


PATHS = st.sampled_from(
    [
        "../../etc/passwd",
        "/etc/passwd",
        "Europe/../UTC",
        "posix/UTC",
        "localtime",
        "europe/amsterdam",
    ]
)


@given(TEXT | PATHS | st.from_regex(r"[A-Za-z]{1,9}(/[A-Za-z_+-]{1,9}){0,4}", fullmatch=True))
@cases(80)
def test_a_zone_is_one_of_the_database_or_unknown(name: str) -> None:
    found = answered(zone, name, kinds=(InvalidValue, UnknownName))
    if found is not None:
        assert zone(found.name) is found
        assert not found.name.startswith(("/", ".", "posix", "right"))


@given(TEXT | st.builds("{} {}".format, st.sampled_from(["day", "hour", "week", "era"]), ZONES))
@cases(80)
def test_a_period_is_read_back_from_its_own_text(text: str) -> None:
    period = answered(parse_period, text, kinds=(InvalidValue, UnknownName))
    if period is not None:
        assert parse_period(period.text) == period


@given(st.sampled_from(["hour", "day", "week", "month", "year"]), ZONES, INSTANT)
@cases(80)
def test_every_instant_lies_in_one_period(unit: Any, tz: str, at: datetime) -> None:
    period = Period(unit, tz)
    end = period.end_of(at)
    assert end > at
    assert period.name_of(end - timedelta(microseconds=1)) == period.name_of(at)
    assert period.name_of(end) != period.name_of(at)
