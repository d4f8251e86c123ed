"""Triggers: the same questions to all three, and the same answer for the same spec."""

from __future__ import annotations

import copy
import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from functools import cache
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duly.core.triggers import (
    Cron,
    Every,
    Once,
    Trigger,
    occurrences_between,
    previous_at_or_before,
    trigger_from_spec,
    upcoming,
)
from duly.errors import InvalidValue, UnknownName

MOVED, FIRST, SECOND = (
    "in a gap: moved to first instant after",
    "repeated hour: first",
    "repeated hour: second",
)
AMSTERDAM, NEW_YORK, CAIRO = "Europe/Amsterdam", "America/New_York", "Africa/Cairo"


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
NOON = at("2026-06-01T12:00Z")

TRIGGERS: list[Trigger] = [
    Cron("* * * * *"),
    Cron("*/7 * * * *", AMSTERDAM),
    Cron("30 2 * * *", NEW_YORK),
    Cron("30 2 * * *", NEW_YORK, gap="skip", fold="second"),
    Cron("0 0 * * *", CAIRO, fold="both"),
    Cron("0 0 L * *", "Pacific/Apia"),
    Cron("0 0 29 2 *"),
    Cron("*/10 0 9 * * MON-FRI", NEW_YORK, seconds="first"),
    Cron("@weekly", start=at("2026-05-01T00:00Z"), end=at("2026-07-01T00:00+02:00")),
    Every(timedelta(minutes=5)),
    Every(timedelta(milliseconds=250), anchor=at("2026-01-01T00:00:00.1Z")),
    Every(timedelta(days=3), start=NOON - 9 * DAY, end=NOON + 9 * DAY),
    Once(NOON),
]
each_trigger = pytest.mark.parametrize("trigger", TRIGGERS, ids=lambda t: t.describe()[:40])

INSTANTS = st.datetimes(
    min_value=at("1900-01-01"), max_value=at("2150-01-01"), timezones=st.just(UTC)
)


@each_trigger
def test_a_spec_builds_the_same_trigger_again(trigger: Trigger) -> None:
    again = trigger_from_spec(json.loads(json.dumps(trigger.spec())))
    assert again == trigger
    assert again.spec() == trigger.spec()
    assert hash(again) == hash(trigger)
    assert copy.deepcopy(trigger) == trigger


@each_trigger
@given(instant=INSTANTS)
def test_next_is_later_and_previous_is_not(trigger: Trigger, instant: datetime) -> None:
    later = trigger.next_after(instant)
    earlier = trigger.previous_at_or_before(instant)
    if later is not None:
        assert later > instant
        assert later.tzinfo is UTC
        assert trigger.previous_at_or_before(later) == later
        assert trigger.previous_at_or_before(later - timedelta(microseconds=1)) == earlier
    if earlier is not None:
        assert earlier <= instant
        assert earlier.tzinfo is UTC
        assert trigger.next_after(earlier) == later


@each_trigger
@given(instant=INSTANTS.filter(lambda instant: instant.year >= 1970))
def test_no_two_occurrences_since_1970_are_closer_than_the_smallest_gap(
    trigger: Trigger, instant: datetime
) -> None:
    rows = [row.at for row in upcoming(trigger, instant, 8)]
    smallest = smallest_gap(trigger)
    assert all(later - earlier >= smallest for earlier, later in pairwise(rows))


@cache
def smallest_gap(trigger: Trigger) -> timedelta:
    return trigger.smallest_gap()


GAPS = [
    (Cron("* * * * *"), MINUTE),
    (Cron("*/25 * * * *"), 10 * MINUTE),
    (Cron("0 0 * * *"), DAY),
    (Cron("0 1,22 * * *"), 3 * HOUR),
    (Cron("0 0 1 * *"), 28 * DAY),
    (Cron("0 0 1 1 *"), 365 * DAY),
    (Cron("0 0 29 2 *"), 1461 * DAY),
    (Cron("0 0 31 * *"), 31 * DAY),
    (Cron("0 12 1,L * *"), DAY),
    (Cron("30 2 * * *", AMSTERDAM), 23 * HOUR + 30 * MINUTE),
    (Cron("0 1 * * *", AMSTERDAM), 23 * HOUR),
    (Cron("30 2,3 * * *", AMSTERDAM), 30 * MINUTE),
    (Cron("0 */2 * * *", AMSTERDAM), HOUR),
    (Cron("0 * * * *", "Australia/Lord_Howe"), HOUR),
    (Cron("30 * * * *", "Australia/Lord_Howe"), HOUR / 2),
    (Cron("30 1 * * *", NEW_YORK, fold="both"), HOUR),
    (Every(90 * MINUTE), 90 * MINUTE),
    (Once(NOON), timedelta.max),
]


@pytest.mark.parametrize(("trigger", "gap"), GAPS, ids=lambda value: str(value)[:50])
def test_the_smallest_gap_counts_the_turns_in(trigger: Trigger, gap: timedelta) -> None:
    assert trigger.smallest_gap() == gap


PREVIEWS = [
    (Cron("30 2 * * *", AMSTERDAM), "2026-03-28T12:00Z", [
        ("2026-03-29 03:00:00+02:00", MOVED), ("2026-03-30 02:30:00+02:00", "")]),
    (Cron("0,30 2,3 * * *", AMSTERDAM), "2026-03-28T12:00Z", [
        ("2026-03-29 03:00:00+02:00", MOVED), ("2026-03-29 03:30:00+02:00", "")]),
    (Cron("30 2 * * *", AMSTERDAM, gap="skip"), "2026-03-28T12:00Z", [
        ("2026-03-30 02:30:00+02:00", "")]),
    (Cron("30 2 * * *", AMSTERDAM), "2026-10-24T12:00Z", [
        ("2026-10-25 02:30:00+02:00", FIRST), ("2026-10-26 02:30:00+01:00", "")]),
    (Cron("30 2 * * *", AMSTERDAM, fold="second"), "2026-10-24T12:00Z", [
        ("2026-10-25 02:30:00+01:00", SECOND), ("2026-10-26 02:30:00+01:00", "")]),
    (Cron("30 2 * * *", AMSTERDAM, fold="both"), "2026-10-24T12:00Z", [
        ("2026-10-25 02:30:00+02:00", FIRST), ("2026-10-25 02:30:00+01:00", SECOND)]),
    (Cron("*/30 * * * *", AMSTERDAM), "2026-10-25T00:00Z", [
        ("2026-10-25 02:30:00+02:00", FIRST), ("2026-10-25 02:00:00+01:00", SECOND),
        ("2026-10-25 02:30:00+01:00", SECOND), ("2026-10-25 03:00:00+01:00", "")]),
    (Cron("0 */2 * * *", AMSTERDAM), "2026-03-28T22:30Z", [
        ("2026-03-29 00:00:00+01:00", ""), ("2026-03-29 04:00:00+02:00", "")]),
    (Cron("0 0 * * *", CAIRO), "2026-04-23T12:00Z", [
        ("2026-04-24 01:00:00+03:00", MOVED), ("2026-04-25 00:00:00+03:00", "")]),
    (Cron("0 9 * * *", "Pacific/Apia"), "2011-12-29T12:00Z", [
        ("2011-12-29 09:00:00-10:00", ""), ("2011-12-31 00:00:00+14:00", MOVED),
        ("2011-12-31 09:00:00+14:00", "")]),
    (Cron("15 2 * * *", "Australia/Lord_Howe"), "2026-10-02T22:00Z", [
        ("2026-10-04 02:30:00+11:00", MOVED), ("2026-10-05 02:15:00+11:00", "")]),
    (Every(timedelta(hours=12)), "2026-01-01T00:00Z", [
        ("2026-01-01 12:00:00+00:00", ""), ("2026-01-02 00:00:00+00:00", "")]),
    (Once(NOON), "2026-01-01T00:00Z", [("2026-06-01 12:00:00+00:00", "")]),
]  # fmt: skip


@pytest.mark.parametrize(("trigger", "after", "rows"), PREVIEWS, ids=lambda v: str(v)[:50])
def test_a_preview_shows_offsets_and_flags_turns(
    trigger: Trigger, after: str, rows: list[tuple[str, str]]
) -> None:
    found = upcoming(trigger, at(after), len(rows))
    assert [(row.local, row.flag) for row in found] == rows
    assert [row.at for row in found] == [at(local) for local, _ in rows]


BOUNDED = {"start": at("2026-06-01T00:00Z"), "end": at("2026-06-03T00:00Z")}


@pytest.mark.parametrize(
    "trigger",
    [Cron("0 */12 * * *", **BOUNDED), Every(timedelta(hours=12), **BOUNDED)],  # type: ignore[arg-type]
    ids=["cron", "every"],
)
def test_the_start_is_in_and_the_end_is_out(trigger: Trigger) -> None:
    days = [at(f"2026-06-0{day}T{hour}:00Z") for day in (1, 2) for hour in ("00", "12")]
    wide = at("1990-01-01T00:00Z"), at("2040-01-01T00:00Z")
    assert occurrences_between(trigger, *wide, limit=10) == days
    assert trigger.next_after(days[-1]) is None
    assert previous_at_or_before(trigger, wide[1]) == days[-1]
    assert previous_at_or_before(trigger, days[0]) == days[0]
    assert previous_at_or_before(trigger, days[0] - MINUTE) is None


@pytest.mark.parametrize("kind", ["cron", "every"])
@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("2026-06-01T00:00:00.5Z", "2026-06-01T00:00:03.5Z"),
        ("2026-06-01T00:00:01Z", "2026-06-01T00:00:04Z"),
    ],
)
def test_bounds_between_two_seconds_are_kept(kind: str, start: str, end: str) -> None:
    bounds = {"start": at(start), "end": at(end)}
    trigger: Trigger = (
        Every(timedelta(seconds=1), **bounds)
        if kind == "every"
        else Cron("* * * * * *", seconds="first", **bounds)
    )
    inside = [at("2026-06-01T00:00Z") + timedelta(seconds=n) for n in (1, 2, 3)]
    assert occurrences_between(trigger, at("2000-01-01T00:00Z"), NOON, limit=9) == inside
    assert trigger.previous_at_or_before(NOON) == inside[-1]


def test_bounds_may_be_the_ends_of_the_calendar() -> None:
    bounds = {"start": datetime.min.replace(tzinfo=UTC), "end": datetime.max.replace(tzinfo=UTC)}
    for trigger in (Every(DAY, **bounds), Cron("@daily", **bounds)):
        assert trigger.next_after(NOON) == NOON + DAY / 2
        assert trigger.previous_at_or_before(NOON) == NOON - DAY / 2
        assert trigger.next_after(datetime.min.replace(tzinfo=UTC)) is not None
        assert trigger.previous_at_or_before(datetime.max.replace(tzinfo=UTC)) is not None


VALUES = st.sets(st.integers(0, 23), min_size=1, max_size=5)


@given(hours=VALUES, minutes=VALUES, seconds=VALUES)
def test_the_smallest_gap_of_a_day_is_exact(
    hours: set[int], minutes: set[int], seconds: set[int]
) -> None:
    fields = (",".join(map(str, values)) for values in (seconds, minutes, hours))
    trigger = Cron(f"{' '.join(fields)} * * *", seconds="first")
    rows = occurrences_between(trigger, NOON, NOON + 2 * DAY, limit=1_000)
    assert trigger.smallest_gap() == min(b - a for a, b in pairwise(rows))


def test_between_leaves_out_after_and_takes_until() -> None:
    trigger = Every(HOUR)
    found = occurrences_between(trigger, NOON, NOON + 3 * HOUR, limit=10)
    assert found == [NOON + n * HOUR for n in (1, 2, 3)]
    assert occurrences_between(trigger, NOON, NOON + 3 * HOUR, limit=2) == found[:2]
    assert occurrences_between(trigger, NOON, NOON, limit=2) == []


def test_an_interval_goes_by_elapsed_time_through_a_turn() -> None:
    trigger = Every(6 * HOUR, anchor=at("2026-03-28T21:00+01:00"))
    rows = upcoming(trigger, at("2026-03-28T20:00Z"), 3)
    assert [row.at for row in rows] == [at("2026-03-28T20:00Z") + n * 6 * HOUR for n in (1, 2, 3)]


NONE_EVER = Cron("30 2 * MAR SUN#2", NEW_YORK, gap="skip")


def test_what_falls_into_a_skipped_gap_every_year_ends_the_search() -> None:
    assert NONE_EVER.next_after(at("2007-01-01T00:00Z")) is None
    before = previous_at_or_before(NONE_EVER, at("2026-01-01T00:00Z"))
    assert before == at("2006-03-12T02:30-05:00")


EDGES = ["0001-01-01", "0001-01-02", "0001-01-09", "9999-12-28", "9999-12-31T23:59:59.999999"]


@each_trigger
@pytest.mark.parametrize("edge", EDGES)
def test_the_ends_of_the_calendar_are_answered(trigger: Trigger, edge: str) -> None:
    instant = at(edge).replace(tzinfo=UTC)
    later, earlier = trigger.next_after(instant), trigger.previous_at_or_before(instant)
    assert later is None or later > instant
    assert earlier is None or earlier <= instant


@each_trigger
def test_an_instant_without_an_offset_is_refused(trigger: Trigger) -> None:
    for ask in (trigger.next_after, trigger.previous_at_or_before):
        with pytest.raises(InvalidValue, match="an aware datetime"):
            ask(at("2026-01-01T00:00:00"))


@each_trigger
def test_any_offset_is_read_as_the_instant_it_names(trigger: Trigger) -> None:
    east = timezone(timedelta(hours=5, minutes=45))
    assert trigger.next_after(NOON.astimezone(east)) == trigger.next_after(NOON)


LATE = at("2026-06-01T00:00Z")
REFUSED: list[tuple[Any, type[Exception], str]] = [
    ({"kind": "corn", "expression": "@daily"}, UnknownName, "did you mean 'cron'"),
    ({}, UnknownName, "kind of trigger"),
    ({"kind": ["cron"]}, UnknownName, "kind of trigger"),
    ("cron", InvalidValue, "an object with a kind"),
    ({"kind": "cron"}, InvalidValue, "given with 'expression'"),
    ({"kind": "every"}, InvalidValue, "given with 'interval'"),
    ({"kind": "once"}, InvalidValue, "given with 'at'"),
    ({"kind": "cron", "expression": "@daily", "zone": "UTC"}, UnknownName, "no key of a cron"),
    ({"kind": "cron", "expression": 5}, InvalidValue, "cron expression"),
    ({"kind": "cron", "expression": "@daily", "tz": None}, InvalidValue, "time zone"),
    ({"kind": "cron", "expression": "@daily", "tz": "../x"}, UnknownName, "time zone"),
    ({"kind": "cron", "expression": "@daily", "gap": []}, InvalidValue, "expected gap"),
    ({"kind": "cron", "expression": "@daily", "fold": "none"}, InvalidValue, "expected fold"),
    ({"kind": "cron", "expression": "@daily", "seconds": {}}, InvalidValue, "expected seconds"),
    ({"kind": "cron", "expression": "@daily", "start": "x"}, InvalidValue, "expected start"),
    ({"kind": "cron", "expression": "@daily", "start": 5}, InvalidValue, "expected start"),
    ({"kind": "every", "interval": "5x"}, InvalidValue, "expected interval"),
    ({"kind": "every", "interval": None}, InvalidValue, "expected interval"),
    ({"kind": "every", "interval": "0s"}, InvalidValue, "between 1ms"),
    ({"kind": "every", "interval": "500us"}, InvalidValue, "between 1ms"),
    ({"kind": "every", "interval": "1h", "anchor": None}, InvalidValue, "expected anchor"),
    ({"kind": "once", "at": None}, InvalidValue, "expected at"),
    ({"kind": "once", "at": "2026-01-01T00:00:00"}, InvalidValue, "an aware datetime"),
    ({"kind": "once", "at": "2026-13-01T00:00:00Z"}, InvalidValue, "expected at"),
    ({"kind": "once", "at": "2" * 5_000}, InvalidValue, "expected at"),
    ({"kind": "every", "interval": "1h", "start": LATE, "end": LATE}, InvalidValue, "expected end"),
]


@pytest.mark.parametrize(("spec", "error", "words"), REFUSED, ids=lambda v: str(v)[:50])
def test_a_wrong_spec_is_refused_by_name(spec: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        trigger_from_spec(spec)


JSON = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.lists(st.integers(), max_size=2)
)
KEY = st.sampled_from(
    [
        "kind",
        "expression",
        "tz",
        "seconds",
        "gap",
        "fold",
        "start",
        "end",
        "interval",
        "at",
        "anchor",
    ]
)


@given(st.dictionaries(KEY, JSON), st.sampled_from(["cron", "every", "once", ""]))
def test_any_spec_is_built_or_refused(spec: dict[str, Any], kind: str) -> None:
    with suppress(InvalidValue, UnknownName):
        trigger = trigger_from_spec({**spec, "kind": kind})
        assert trigger_from_spec(trigger.spec()) == trigger


@pytest.mark.parametrize("count", [-1, 100_001])
def test_a_preview_is_bounded(count: int) -> None:
    with pytest.raises(InvalidValue, match="number of occurrences"):
        upcoming(Every(HOUR), NOON, count)
