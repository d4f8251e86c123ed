"""Times of day in a zone: quiet hours end when they should, and a digest is due once a day."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duly.core.notices import ChannelPlan
from duly.core.quiet import digest_due, next_digest, quiet_until, time_of_day
from duly.core.zones import zone
from duly.errors import InvalidValue
from tests.stores.profiles import cases

ZONES = ("UTC", "Europe/Amsterdam", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia",
         "Africa/Casablanca", "America/Sao_Paulo", "Asia/Kathmandu")  # fmt: skip

QUIET = [
    # zone, quiet from, until, now (there), when it ends (UTC), or None
    ("UTC", "22:00", "07:00", "2026-05-01T21:59", None),
    ("UTC", "22:00", "07:00", "2026-05-01T22:00", "2026-05-02T07:00"),
    ("UTC", "22:00", "07:00", "2026-05-02T06:59", "2026-05-02T07:00"),
    ("UTC", "22:00", "07:00", "2026-05-02T07:00", None),
    ("UTC", "12:00", "13:00", "2026-05-02T12:30", "2026-05-02T13:00"),
    ("UTC", "12:00", "13:00", "2026-05-02T13:00", None),
    ("UTC", "12:00", "12:00", "2026-05-02T12:00", None),
    # the clocks jump from two to three: the night is short, or its end lies in the gap
    ("Europe/Amsterdam", "22:00", "07:00", "2026-03-28T23:00", "2026-03-29T05:00"),
    ("Europe/Amsterdam", "22:00", "02:30", "2026-03-28T23:00", "2026-03-29T01:00"),
    # the clocks go back from three to two: the night is long
    ("Europe/Amsterdam", "22:00", "07:00", "2026-10-24T23:00", "2026-10-25T06:00"),
    ("Europe/Amsterdam", "22:00", "02:30", "2026-10-24T23:00", "2026-10-25T00:30"),
    # a whole day was left out
    ("Pacific/Apia", "22:00", "07:00", "2011-12-29T23:00", "2011-12-30T17:00"),
]


@pytest.mark.parametrize(("name", "start", "end", "now", "ends"), QUIET)
def test_quiet_hours_end(name: str, start: str, end: str, now: str, ends: str | None) -> None:
    agreed = ChannelPlan(
        name="mail",
        zone=name,
        quiet_from=time_of_day(start, what="quiet"),
        quiet_until=time_of_day(end, what="quiet"),
    )
    at = zone(name).instants(datetime.fromisoformat(now))[0]
    expected = None if ends is None else datetime.fromisoformat(ends).replace(tzinfo=UTC)
    assert quiet_until(agreed, at) == expected


seconds = st.integers(1_100_000_000, 2_200_000_000)  # of the years 2004 to 2039
moments = st.builds(lambda at: datetime.fromtimestamp(at, UTC), seconds)
times = st.builds(time, st.integers(0, 23), st.integers(0, 59))


@cases(300)
@given(name=st.sampled_from(ZONES), start=times, end=times, now=moments)
def test_quiet_hours_always_end_within_two_days(
    name: str, start: time, end: time, now: datetime
) -> None:
    agreed = ChannelPlan(name="mail", zone=name, quiet_from=start, quiet_until=end)
    ends = quiet_until(agreed, now)
    if ends is not None:
        assert now < ends <= now + timedelta(hours=50)
        assert quiet_until(agreed, ends) is None


@cases(300)
@given(name=st.sampled_from(ZONES), at=times, now=moments)
def test_a_digest_is_due_once_for_every_day(name: str, at: time, now: datetime) -> None:
    agreed = ChannelPlan(name="mail", zone=name, digest_at=at)
    due, following = digest_due(agreed, now), next_digest(agreed, now)
    assert due is not None
    assert following is not None
    last, day = due
    assert last <= now < following
    assert following - last <= timedelta(hours=50)
    again = digest_due(agreed, following)
    assert again is not None
    assert again[0] == following
    assert again[1] > day


def test_without_an_hour_there_is_no_digest_and_no_quiet() -> None:
    agreed, now = ChannelPlan(name="mail"), datetime(2026, 1, 1, tzinfo=UTC)
    assert (digest_due(agreed, now), next_digest(agreed, now)) == (None, None)
    assert quiet_until(agreed, now) is None


@pytest.mark.parametrize("given", ["7", "25:00", "07:60", "", "noon", 7, None])
def test_what_is_no_time_of_day_is_refused_with_an_example(given: object) -> None:
    with pytest.raises(InvalidValue, match="expected digest_at to be a time of day, such as 07:30"):
        time_of_day(given, what="digest_at")
