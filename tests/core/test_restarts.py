"""Policies of restarting: what they refuse, how they pause, what makes a row, who is told."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duly import InvalidValue, RestartPolicy
from duly.core.restarts import Trips, last_pause, reminds, times

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no failure at all": ({"threshold": 0}, "threshold to be a whole number from 1 to 1000, got 0"),
    "a share of one": ({"threshold": 2.5}, "threshold to be a whole number"),
    "a truth for a number": ({"threshold": True}, "threshold to be a whole number"),
    "a hot loop": ({"pause": 0}, "pause to be at least 10ms, got 0"),
    "a length that is none": ({"pause": "soon"}, "pause to be a duration such as"),
    "slowest before the first": (
        {"pause": "1m", "slowest": "5s"},
        "slowest to be no shorter than pause (1m), got '5s'",
    ),
    "a deadline of nothing": ({"deadline": "0s"}, "deadline to be at least 10ms"),
    "a negative row": ({"within": -1}, "within to be between 0 and a hundred years"),
    "a slip of the pen": ({"notify": "frist"}, "did you mean 'first'?"),
    "another type": ({"notify": ["first"]}, "notify to be one of first, each, trip"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_policy_that_cannot_be_right_is_refused_with_what_was_expected(case: str) -> None:
    how, said = REFUSED[case]
    with pytest.raises(InvalidValue) as caught:
        RestartPolicy(**how)
    assert said in str(caught.value)


def test_lengths_are_read_however_they_are_written() -> None:
    said = RestartPolicy(pause="1s", slowest=30, deadline=timedelta(minutes=1), within=None)
    assert (said.pause_s, said.slowest_s, said.deadline_s, said.within_s) == (1, 30, 60, None)
    assert said == RestartPolicy(pause=1.0, slowest="30s", deadline="60s", within=None)


@given(st.integers(1, 5_000), st.floats(0, 1, exclude_max=True))
def test_a_pause_grows_to_its_bound_and_is_never_nothing(tries: int, draw: float) -> None:
    policy = RestartPolicy(pause="100ms", slowest="20s")
    pause_s = policy.pause_after(tries, draw)
    assert 0.05 <= pause_s <= 30
    assert policy.pause_after(tries + 1, draw) >= pause_s


ROWS = {
    "one more": ("10m", 3, 5.0, 4),
    "the first": ("10m", 0, 5.0, 1),
    "a turn that went on for long begins a new row": ("10m", 4, 600.0, 1),
    "never by time": (None, 4, 1e9, 5),
}


@pytest.mark.parametrize("case", ROWS)
def test_failures_in_a_row(case: str) -> None:
    within, before, lasted_s, after = ROWS[case]
    assert RestartPolicy(within=within).failures_after(before, lasted_s) == after


TOLD = {"first": [1, 5], "each": [1, 2, 3, 4, 5], "trip": [5]}


@pytest.mark.parametrize("notify", TOLD)
def test_of_which_failures_a_person_is_told(notify: Any) -> None:
    policy = RestartPolicy(notify=notify)
    assert [n for n in range(1, 6) if policy.tells(n)] == TOLD[notify]
    assert [n for n in range(1, 6) if policy.tripped(n)] == [5]


def test_trips_are_counted_by_the_day() -> None:
    first, next_day = date(2026, 3, 1), date(2026, 3, 2)
    once = Trips(first).after(first)
    assert once.after(first) == Trips(first, 2)
    assert once.after(next_day) == Trips(next_day, 1)
    assert [times(n) for n in (1, 2)] == ["for the first time today", "2 times today"]


def test_the_last_pause_grows_to_a_minute_and_reminders_grow_rare() -> None:
    pauses = [last_pause(n).total_seconds() for n in range(1, 12)]
    assert pauses == [0, 1, 3, 7, 15, 31, 60, 60, 60, 60, 60]
    assert [n for n in range(1, 40) if reminds(n)] == [2, 4, 8, 16, 32]
