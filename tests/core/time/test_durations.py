"""Durations: what people write is read exactly, everything else is refused."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duly.core.durations import LONGEST, format_duration, parse_duration
from duly.errors import InvalidValue

READ = [
    ("90s", timedelta(seconds=90)),
    ("5m", timedelta(minutes=5)),
    ("1h30m", timedelta(minutes=90)),
    ("2d", timedelta(days=2)),
    ("250ms", timedelta(milliseconds=250)),
    ("1w", timedelta(weeks=1)),
    ("1.5h", timedelta(minutes=90)),
    ("0.25s", timedelta(milliseconds=250)),
    (" 1w2d3h4m5s6ms7us ", timedelta(9, 4 * 60 + 5 + 3 * 3600, 7, 6)),
    ("0s", timedelta(0)),
    (30, timedelta(seconds=30)),
    (0.5, timedelta(milliseconds=500)),
    (timedelta(hours=1), timedelta(hours=1)),
]
REFUSED = [
    "", " ", "5", "s", "5 m", "-5m", "5M", "30m1h", "1h1h", "1h,30m", "1e3s", "٣s", "5m\n", "inf",
    "1.1234567s", "0.0000001s", "0.3us", "1" * 16 + "s", "9999w999999d", "1s" * 40, "36526d",
    -1, float("nan"), float("inf"), 10**400, True, None, b"5m", [], timedelta(-1),
    timedelta.max,
]  # fmt: skip


@pytest.mark.parametrize(("value", "length"), READ)
def test_what_people_write_is_read_exactly(value: str | float, length: timedelta) -> None:
    assert parse_duration(value, what="timeout") == length


@pytest.mark.parametrize("value", REFUSED, ids=lambda value: repr(value)[:20])
def test_what_cannot_be_read_is_refused_by_name(value: str) -> None:
    with pytest.raises(InvalidValue, match=r"expected timeout to be .*, got "):
        parse_duration(value, what="timeout")


@given(st.timedeltas(min_value=timedelta(0), max_value=LONGEST))
def test_what_is_written_is_read_back(length: timedelta) -> None:
    assert parse_duration(format_duration(length), what="length") == length


@given(st.text(max_size=80) | st.floats() | st.integers())
def test_any_input_is_read_or_refused(value: str | float) -> None:
    try:
        length = parse_duration(value, what="length")
    except InvalidValue:
        return
    assert timedelta(0) <= length <= LONGEST


def test_a_negative_length_is_not_written() -> None:
    with pytest.raises(InvalidValue):
        format_duration(timedelta(seconds=-1))
