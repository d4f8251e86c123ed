"""Periods: they touch, never overlap, keep one name, and end where the clocks say."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duly.core.periods import UNITS, Period, Unit, parse_period
from duly.core.zones import EPOCH, ERA, zone
from duly.errors import InvalidValue, UnknownName
from tests.stores.profiles import cases

TICK = timedelta(microseconds=1)
ZONES = sorted(available_timezones() - {"Factory", "localtime"})


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


READ = [
    ("hour", "UTC", Period("hour", "UTC")),
    ("day", "Europe/Amsterdam", Period("day", "Europe/Amsterdam")),
    ("day Europe/Amsterdam", "UTC", Period("day", "Europe/Amsterdam")),
    ("  week   Asia/Tokyo ", "UTC", Period("week", "Asia/Tokyo")),
    ("month", "UTC", Period("month")),
    ("year UTC", "Asia/Tokyo", Period("year")),
]


@pytest.mark.parametrize(("text", "default", "period"), READ)
def test_a_period_is_read_and_written(text: str, default: str, period: Period) -> None:
    assert parse_period(text, zone=default) == period
    assert parse_period(period.text, zone="Pacific/Apia") == period


REFUSED = [
    ("dya", UnknownName, "no period is called 'dya'; did you mean 'day'"),
    ("Day", UnknownName, "did you mean 'day'"),
    ("fortnight", UnknownName, "known: day, hour, month, week, year"),
    ("day Europe/Amsterdm", UnknownName, "did you mean 'Europe/Amsterdam'"),
    ("Europe/Amsterdam", UnknownName, "no period is called"),
    ("day ../etc/passwd", UnknownName, "no time zone is called"),
    ("", InvalidValue, "expected period to be a unit and perhaps a time zone"),
    ("day Europe Amsterdam", InvalidValue, "expected period"),
    (None, InvalidValue, "expected period"),
    (5, InvalidValue, "expected period"),
]


@pytest.mark.parametrize(("text", "error", "words"), REFUSED)
def test_what_is_no_period_is_refused_with_the_nearest_name(
    text: str, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        parse_period(text)


@pytest.mark.parametrize(("unit", "tz"), [("dya", "UTC"), ("day", "CEST"), (3, "UTC"), ("day", 3)])
def test_a_period_that_exists_can_be_asked(unit: Unit, tz: str) -> None:
    with pytest.raises((UnknownName, InvalidValue)):
        Period(unit, tz)


FAR = ["2026-11-22T12:00", "0001-06-01T00:00Z", "9998-01-01T00:00Z"]


@pytest.mark.parametrize("instant", FAR)
def test_an_instant_is_aware_and_within_the_calendar(instant: str) -> None:
    for asked in (Period("day").name_of, Period("hour").end_of):
        with pytest.raises(InvalidValue, match="expected instant"):
            asked(at(instant))


# Unit, zone, instant, name, end.
NAMED = [
    ("hour", "UTC", "2026-11-22T14:59:59.5Z", "2026-11-22T14+00:00", "2026-11-22T15:00Z"),
    ("hour", "Asia/Kolkata", "2026-11-22T14:00Z", "2026-11-22T19+05:30", "2026-11-22T14:30Z"),
    ("day", "UTC", "2026-11-22T14:00Z", "2026-11-22", "2026-11-23T00:00Z"),
    ("day", "Europe/Amsterdam", "2026-11-22T23:00Z", "2026-11-23", "2026-11-23T23:00Z"),
    ("day", "Europe/Amsterdam", "2026-11-22T23:59:59+01:00", "2026-11-22", "2026-11-22T23:00Z"),
    ("week", "UTC", "2026-11-22T14:00Z", "2026-W47", "2026-11-23T00:00Z"),
    ("week", "UTC", "2027-01-03T14:00Z", "2026-W53", "2027-01-04T00:00Z"),
    ("week", "UTC", "2024-12-30T00:00Z", "2025-W01", "2025-01-06T00:00Z"),
    ("month", "UTC", "2026-12-31T23:59:59Z", "2026-12", "2027-01-01T00:00Z"),
    ("month", "Europe/Amsterdam", "2026-10-25T00:00Z", "2026-10", "2026-10-31T23:00Z"),
    ("month", "UTC", "2028-02-01T00:00Z", "2028-02", "2028-03-01T00:00Z"),
    ("year", "Asia/Tokyo", "2026-12-31T15:00Z", "2027", "2027-12-31T15:00Z"),
    # A day of 23 hours and one of 25; the hours of the fold differ.
    ("day", "Europe/Amsterdam", "2026-03-28T23:00Z", "2026-03-29", "2026-03-29T22:00Z"),
    ("day", "Europe/Amsterdam", "2026-10-24T22:00Z", "2026-10-25", "2026-10-25T23:00Z"),
    ("hour", "Europe/Amsterdam", "2026-10-25T00:30Z", "2026-10-25T02+02:00", "2026-10-25T01:00Z"),
    ("hour", "Europe/Amsterdam", "2026-10-25T01:30Z", "2026-10-25T02+01:00", "2026-10-25T02:00Z"),
    ("hour", "Europe/Amsterdam", "2026-03-29T00:59Z", "2026-03-29T01+01:00", "2026-03-29T01:00Z"),
    ("hour", "Europe/Amsterdam", "2026-03-29T01:00Z", "2026-03-29T03+02:00", "2026-03-29T02:00Z"),
    # Half an hour is repeated.
    ("hour", "Australia/Lord_Howe", "2026-04-04T14:59Z", "2026-04-05T01+11:00",
     "2026-04-04T15:00Z"),
    ("hour", "Australia/Lord_Howe", "2026-04-04T15:00Z", "2026-04-05T01+10:30",
     "2026-04-04T15:30Z"),
    # Midnight lies in a gap: the day begins after it.
    ("day", "Africa/Cairo", "2026-04-23T21:59:59Z", "2026-04-23", "2026-04-23T22:00Z"),
    ("day", "Africa/Cairo", "2026-04-23T22:00Z", "2026-04-24", "2026-04-24T21:00Z"),
    # Midnight comes twice, within the new day.
    ("day", "America/Havana", "2026-11-01T04:00Z", "2026-11-01", "2026-11-02T05:00Z"),
    ("day", "America/Havana", "2026-11-01T05:00Z", "2026-11-01", "2026-11-02T05:00Z"),
    # The last hour of the day comes twice.
    ("day", "America/Sao_Paulo", "2018-02-18T01:30Z", "2018-02-17", "2018-02-18T03:00Z"),
    ("day", "America/Sao_Paulo", "2018-02-18T02:30Z", "2018-02-17", "2018-02-18T03:00Z"),
    # One minute after midnight the clocks go back over it: the minute stays with the old day.
    ("day", "America/St_Johns", "2006-10-29T02:30:30Z", "2006-10-28", "2006-10-29T03:30Z"),
    ("day", "America/St_Johns", "2006-10-29T02:31Z", "2006-10-28", "2006-10-29T03:30Z"),
    ("day", "America/St_Johns", "2006-10-29T03:30Z", "2006-10-29", "2006-10-30T03:30Z"),
    # A day that never was, and what lies around it.
    ("day", "Pacific/Apia", "2011-12-30T09:59Z", "2011-12-29", "2011-12-30T10:00Z"),
    ("day", "Pacific/Apia", "2011-12-30T10:00Z", "2011-12-31", "2011-12-31T10:00Z"),
    ("year", "Pacific/Apia", "2011-12-30T09:59Z", "2011", "2011-12-31T10:00Z"),
    ("week", "Pacific/Apia", "2011-12-26T10:00Z", "2011-W52", "2012-01-01T10:00Z"),
    # Local mean time has seconds.
    ("hour", "Europe/Paris", "1850-01-01T00:00Z", "1850-01-01T00+00:09:21",
     "1850-01-01T00:50:39Z"),
    ("year", "UTC", "0002-01-01T00:00Z", "0002", "0003-01-01T00:00Z"),
    ("week", "UTC", "0999-06-03T00:00Z", "0999-W23", "0999-06-10T00:00Z"),
]  # fmt: skip


@pytest.mark.parametrize(("unit", "tz", "instant", "name", "end"), NAMED)
def test_a_period_has_the_name_and_end_its_clocks_give(
    unit: Unit, tz: str, instant: str, name: str, end: str
) -> None:
    period = Period(unit, tz)
    assert (period.name_of(at(instant)), period.end_of(at(instant))) == (name, at(end))
    assert period.end_of(at(instant)).tzinfo is UTC


OLD = [
    ("2026-11-22T22:59Z", "2026-11-23T22:59:59Z", False),
    ("2026-11-22T22:59Z", "2026-11-23T23:00Z", True),
    ("2026-11-22T00:00Z", "2026-11-23T23:00Z", True),
    ("2026-11-22T23:00Z", "2026-11-23T23:00Z", False),
    ("2027-01-01T00:00Z", "2026-11-23T23:00Z", False),
]


@pytest.mark.parametrize(("instant", "now", "old"), OLD)
def test_a_period_is_too_old_when_what_is_kept_of_it_is_gone(
    instant: str, now: str, old: bool
) -> None:
    day = Period("day", "Europe/Amsterdam")
    assert day.too_old(at(instant), at(now), timedelta(days=1)) is old


def check(period: Period, instant: datetime, shares: list[float]) -> None:
    """An instant lies before its end; the name holds up to it, and not at it."""
    name, end = period.name_of(instant), period.end_of(instant)
    assert instant < end
    inside = [instant + (end - TICK - instant) * share for share in (*shares, 1.0)]
    assert {period.name_of(one) for one in inside} == {name}
    assert {period.end_of(one) for one in inside} == {end}
    assert period.name_of(end) != name


near_turns = st.integers(-7_200, 7_200)
spread = st.integers(
    int(at("1900-01-01T00:00Z").timestamp()), int(at("2100-01-01T00:00Z").timestamp())
)


@st.composite
def instants(draw: st.DrawFn, tz: str) -> datetime:
    """Anywhere in two centuries, or near a turn of the clocks."""
    seconds = draw(spread)
    if draw(st.booleans()):
        seconds = draw(st.sampled_from(zone(tz).era(seconds // ERA))).end + draw(near_turns)
    return EPOCH + timedelta(seconds=seconds, microseconds=draw(st.integers(0, 999_999)))


@cases(400)
@given(st.data(), st.sampled_from(UNITS), st.sampled_from(ZONES))
def test_periods_touch_and_never_overlap(data: st.DataObject, unit: Unit, tz: str) -> None:
    instant = data.draw(instants(tz))
    check(Period(unit, tz), instant, data.draw(st.lists(st.floats(0, 1), max_size=4)))


@pytest.mark.slow
@pytest.mark.parametrize("unit", UNITS)
def test_every_turn_of_every_zone_leaves_periods_whole(unit: Unit) -> None:
    turns = 0
    for tz in {tuple(zone(tz).era(2)): tz for tz in ZONES}.values():  # each of those that differ
        for segment in zone(tz).era(2)[:-1]:
            turns += 1
            turn = EPOCH + timedelta(seconds=segment.end)
            check(Period(unit, tz), turn - TICK, [0.5])
            check(Period(unit, tz), turn, [0.5])
    assert turns > 1_000
