"""Cron text: what is read, what it means, and what is refused with which words."""

from __future__ import annotations

import sys
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duly.core.cron import parse
from duly.core.triggers import Cron, upcoming
from duly.errors import InvalidValue, UnknownName
from tests.core.time.oracle import Text

REFUSED = [
    ("", "five fields"),
    ("* * * *", "five fields"),
    ("* * * * * *", 'seconds="first" or seconds="last"'),
    ("* * * * * * *", "five fields"),
    ("60 * * * *", "expected minute to be 0-59, got '60'"),
    ("* 24 * * *", "expected hour to be 0-23, got '24'"),
    ("* * 0 * *", "expected day of month to be 1-31.*, got '0'"),
    ("* * 32 * *", "expected day of month to be 1-31.*, got '32'"),
    ("* * * 13 *", "expected month to be 1-12 or JAN-DEC, got '13'"),
    ("* * * 0 *", "expected month"),
    ("* * * * 8", "expected day of week to be 0-7 .*, got '8'"),
    ("*/0 * * * *", "expected step of minute to be 1-59, got '0'"),
    ("*/90 * * * *", "expected step of minute to be 1-59, got '90'"),
    ("0 */24 * * *", "expected step of hour to be 1-23, got '24'"),
    ("1-5/0 * * * *", "step of minute"),
    ("22-2 * * * *", "a range that rises"),
    ("0 22-2 * * *", "a range that rises"),
    ("* * * * FRI-MON", "a range that rises"),
    ("* * * * 6-0", "a range that rises"),
    ("* * * NOV-FEB *", "a range that rises"),
    ("0-99999999 * * * *", "expected minute"),
    ("0-100 * * * *", "expected minute to be 0-59, got '100'"),
    ("1,,2 * * * *", "expected minute"),
    (",1 * * * *", "expected minute"),
    ("1, * * * *", "expected minute"),
    ("-1 * * * *", "expected minute"),
    ("1--2 * * * *", "expected minute"),
    ("1-2-3 * * * *", "expected minute"),
    ("*/2/3 * * * *", "expected minute"),
    ("*-5 * * * *", "expected minute"),
    ("**  * * * *", "expected minute"),
    ("1.5 * * * *", "expected minute"),
    ("+5 * * * *", "expected minute"),
    ("0x1 * * * *", "expected minute"),
    ("? * * * *", "expected minute"),
    ("* * * ? *", "expected month"),
    ("* * * XYZ *", "expected month .* got 'XYZ'"),
    ("* * * MON *", "expected month"),
    ("* * * * JAN", "expected day of week"),
    ("L * * * *", "expected minute"),
    ("* * L-31 * *", "expected day of month"),
    ("* * 32W * *", "expected day of month"),
    ("* * 0W * *", "expected day of month"),
    ("* * 1-5W * *", "expected day of month"),
    ("* * WL * *", "expected day of month"),
    ("* * ?,1 * *", "expected day of month"),
    ("* * * * L", "a day before the L"),
    ("* * * * 5#0", "expected day of week"),
    ("* * * * 5#6", "expected day of week"),
    ("* * * * 8#1", "expected day of week"),
    ("* * * * 9L", "expected day of week"),
    ("* * * * LW", "expected day of week"),
    ("0 0 30 2 *", "due on a day that exists"),
    ("0 0 31 2,4,6,9,11 *", "due on a day that exists"),
    ("0 0 31W 2 *", "due on a day that exists"),
    ("0 0 L-30 2,4 *", "due on a day that exists"),
    ("0 0 */30 2 2#5", "due on a day that exists"),
    ("٣ * * * *", "plain ASCII"),
    ("\N{FULLWIDTH DIGIT ONE} * * * *", "plain ASCII"),
    ("* * * * *\n", "plain ASCII"),
    ("* *\0* * *", "plain ASCII"),
    ("1," * 5_000 + "1 * * * *", "at most 256 characters long, got '10009 characters'"),
    (" " * 257, "at most 256"),
    ("@reboot", "no cron nickname is called '@reboot'"),
    ("@dayly", "did you mean '@daily'"),
    ("@", "no cron nickname"),
    (None, "a text of five fields"),
    (5, "a text of five fields"),
]

SAME = [
    ("@hourly", "0 * * * *"),
    ("@daily", "0 0 * * *"),
    ("@MIDNIGHT", "0 0 * * *"),
    ("@weekly", "0 0 * * 0"),
    ("@monthly", "0 0 1 * *"),
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("  0\t0  * * mon ", "0 0 * * 1"),
    ("0 0 * jan-Mar,DEC *", "0 0 * 1-3,12 *"),
    ("0 0 * * 7", "0 0 * * 0"),
    ("0 0 * * 5-7", "0 0 * * 0,5,6"),
    ("0 0 * * FRI-SUN", "0 0 * * 0,5,6"),
    ("0 0 * * MON-SUN", "0 0 * * *"),
    ("0 0 * * SUN-SAT", "0 0 * * *"),
    ("0 0 * * 0-7", "0 0 * * *"),
    ("5/15 * * * *", "5,20,35,50 * * * *"),
    ("1-30/7 * * * *", "1,8,15,22,29 * * * *"),
    ("0 0 ? * ?", "0 0 * * *"),
    ("0 0 ? * MON", "0 0 * * MON"),
    ("0 0 L-0 * *", "0 0 L * *"),
    ("0 0 * * FRIL", "0 0 * * 5L"),
    ("0 0 * * FRI#3", "0 0 * * 5#3"),
    ("0 0 * * 7#1", "0 0 * * 0#1"),
    ("00 007 * * *", "0 7 * * *"),
]

DAYS = [
    "L * *",
    "L-3 * *",
    "LW * *",
    "15W * *",
    "1W,31W * *",
    "28-31 2 *",
    "29 2 *",
    "1,15,L * *",
    "* * 5L",
    "* * SUN#1,WED#5",
    "* * MON#5,SATL",
    "13 * FRI",
    "*/2 * MON",
    "*/10,L * MON",
    "1-7 * */2",
    "15W * MON#2",
    "L-30 * *",
    "30 2 MON",
    "31 JAN-APR ?",
]

START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(("text", "words"), REFUSED, ids=lambda value: repr(value)[:30])
def test_what_is_malformed_is_refused_with_what_is_allowed(text: str, words: str) -> None:
    with pytest.raises((InvalidValue, UnknownName), match=words):
        parse(text)


@pytest.mark.parametrize(("text", "plain"), SAME)
def test_two_ways_to_write_it_mean_the_same(text: str, plain: str) -> None:
    assert upcoming(Cron(text), START, 400) == upcoming(Cron(plain), START, 400)


@pytest.mark.parametrize("days", DAYS)
def test_day_fields_agree_with_a_plain_reading_of_twelve_years(days: str) -> None:
    oracle, trigger = Text(f"0 0 {days}"), Cron(f"0 0 {days}")
    dates = [date(1999, 12, 31) + timedelta(days=n) for n in range(12 * 366)]
    expected = [day for day in dates if oracle.is_day(day)]
    found, at = [], trigger.next_after(datetime(1999, 12, 30, 12, tzinfo=UTC))
    while at is not None and at.date() <= dates[-1]:
        found.append(at.date())
        at = trigger.next_after(at)
    assert found == expected


SIXTH = [
    ("30 0 12 * * *", "first", 30),
    ("0 12 * * * 30", "last", 30),
    ("@daily", "first", 0),
    ("@daily", "last", 0),
    ("*/20 * * * * *", "first", 20),
]


@pytest.mark.parametrize(("text", "seconds", "second"), SIXTH)
def test_the_second_stands_where_the_caller_says(text: str, seconds: str, second: int) -> None:
    trigger = Cron(text, seconds=seconds)  # type: ignore[arg-type]
    found = trigger.next_after(START)
    assert found is not None
    assert found.second == second


@pytest.mark.parametrize(
    ("text", "seconds", "words"),
    [
        ("* * * * *", "first", 'six fields, as seconds="first" says'),
        ("* * * * *", "last", 'six fields, as seconds="last" says'),
        ("60 * * * * *", "first", "expected second to be 0-59"),
        ("* * * * * 60", "last", "expected second to be 0-59"),
        ("* * * * *", "middle", "expected seconds to be None"),
    ],
)
def test_six_fields_are_read_by_what_was_said(text: str, seconds: str, words: str) -> None:
    with pytest.raises(InvalidValue, match=words):
        parse(text, seconds=seconds)  # type: ignore[arg-type]


def test_a_leap_day_on_a_weekday_is_found_across_forty_years() -> None:
    # Both fields must match, because the day of month starts with a star: 1 or 29, and the
    # fifth Thursday.
    trigger = Cron("0 0 */28 2 THU#5", "Europe/Amsterdam")
    years = [y for y in range(2050, 2200) if is_leap(y) and date(y, 2, 29).isoweekday() == 4]
    found = [row.at.year for row in upcoming(trigger, datetime(2050, 1, 1, tzinfo=UTC), 4)]
    assert found == years[:4] == [2052, 2080, 2120, 2148]
    back = trigger.previous_at_or_before(datetime(years[4], 1, 1, tzinfo=UTC))
    for year in reversed(years[:4]):
        assert back is not None
        assert back.year == year
        back = trigger.previous_at_or_before(back - timedelta(seconds=1))


def is_leap(year: int) -> bool:
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


ALPHABET = "0123456789*/-,?LW# \tJANFEBMRSUTODHI@"


@given(st.text(alphabet=ALPHABET, max_size=60) | st.text(max_size=300))
def test_any_text_is_read_or_refused(text: str) -> None:
    for seconds in (None, "first", "last"):
        with suppress(InvalidValue, UnknownName):
            assert parse(parse(text, seconds=seconds).text, seconds=seconds)  # type: ignore[arg-type]


FIELD = st.sampled_from(
    ["*", "*/2", "0", "1", "5", "1-4", "3/2", "1,3,5", "2-6/3", "L", "LW", "3W", "2#2", "4L", "?"]
)


@given(st.tuples(FIELD, FIELD, FIELD, FIELD, FIELD))
def test_what_was_read_is_due_and_the_oracle_agrees(fields: tuple[str, ...]) -> None:
    text = " ".join(fields)
    with suppress(InvalidValue):
        trigger = Cron(text)
        found = trigger.next_after(START)
        assert found is not None
        assert Text(text).matches(found.replace(tzinfo=None))
        assert trigger.previous_at_or_before(found) == found


BOMBS = [
    "1," * 127 + "1",
    ",".join(["0-59/1"] * 35) + " * * * *",
    "* * " + ",".join(["1W"] * 80) + " * *",
    "* * * * " + ",".join(["1#1"] * 60),
    "0 0 29 2 " + ",".join(["*/6"] * 60),
    "0 0 30 2 *",
    "*/1 " * 64,
]


@pytest.mark.parametrize("text", BOMBS, ids=lambda text: text[:20])
def test_a_bomb_costs_no_more_steps_than_its_length_allows(text: str) -> None:
    """Counts calls of Python functions, which do not depend on the machine."""
    calls = 0

    def count(_frame: object, event: str, _arg: object) -> None:
        nonlocal calls
        calls += event == "call"

    sys.setprofile(count)
    try:
        with suppress(InvalidValue):
            parse(text)
    finally:
        sys.setprofile(None)
    assert calls < 1_500
