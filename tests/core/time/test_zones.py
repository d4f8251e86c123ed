"""Zones: names that are names, and local times that happen never, once or twice."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo, available_timezones
from zoneinfo._zoneinfo import ZoneInfo as PythonZone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duly.core.zones import EPOCH, ERA, FIRST, LAST, zone
from duly.errors import InvalidValue, UnknownName

NOT_NAMES = [
    "", ".", "..", "../x", "../../etc/passwd", "/etc/localtime", "Europe/../UTC", "Europe//Paris",
    "Europe/", "America", "Europe/Amsterdam\0", "Europe\\Amsterdam", "Europe/Amsterdm", "CEST",
    "posix/UTC", "right/UTC", "posixrules", "localtime", "tzdata.zi", "zone.tab", "Евро",
    "x" * 5_000, "a/b/c/d/e/f", "+00:00", "UTC ", "Factory",
]  # fmt: skip


@pytest.mark.parametrize("name", NOT_NAMES, ids=lambda name: repr(name)[:24])
def test_what_is_no_zone_is_refused_before_it_becomes_a_path(name: str) -> None:
    with pytest.raises(UnknownName, match="no time zone is called"):
        zone(name)


@pytest.mark.parametrize("name", [None, 3, b"UTC", ["UTC"], UTC])
def test_a_name_is_a_text(name: str) -> None:
    with pytest.raises(InvalidValue, match="expected time zone"):
        zone(name)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("Europe/Amsterdm", "Europe/Amsterdam"), ("europe/paris", "Europe/Paris"), ("Utc", "UTC")],
)
def test_the_nearest_name_is_offered(name: str, nearest: str) -> None:
    with pytest.raises(UnknownName, match=nearest):
        zone(name)


@given(st.text(max_size=90) | st.from_regex(r"[A-Za-z./_-]{1,30}"))
def test_any_text_is_a_zone_or_an_unknown_name(name: str) -> None:
    with suppress(UnknownName):
        assert zone(name).name == name


def test_every_zone_of_the_database_is_known() -> None:
    names = available_timezones() - {"Factory", "localtime"}
    assert {zone(name).name for name in names} == names


WALLS = [
    ("Europe/Amsterdam", "2026-07-01T12:00", ["2026-07-01T10:00Z"], None),
    ("Europe/Amsterdam", "2026-03-29T02:30", [], "2026-03-29T01:00Z"),
    ("Europe/Amsterdam", "2026-03-29T03:00", ["2026-03-29T01:00Z"], None),
    ("Europe/Amsterdam", "2026-10-25T02:30", ["2026-10-25T00:30Z", "2026-10-25T01:30Z"], None),
    ("Europe/Amsterdam", "2026-10-25T03:00", ["2026-10-25T02:00Z"], None),
    ("Australia/Lord_Howe", "2026-10-04T02:15", [], "2026-10-03T15:30Z"),
    ("Australia/Lord_Howe", "2026-04-05T01:45", ["2026-04-04T14:45Z", "2026-04-04T15:15Z"], None),
    ("Pacific/Apia", "2011-12-30T12:00", [], "2011-12-30T10:00Z"),
    ("Africa/Cairo", "2026-04-24T00:00", [], "2026-04-23T22:00Z"),
    ("Africa/Monrovia", "1972-01-07T00:30", [], "1972-01-07T00:44:30Z"),
    ("America/New_York", "1883-11-18T12:00", ["1883-11-18T16:56:02Z", "1883-11-18T17:00Z"], None),
    ("America/Juneau", "1867-10-18T15:00", ["1867-10-17T23:57:41Z"], None),
    ("UTC", "2026-01-01T00:00:00.25", ["2026-01-01T00:00:00.25Z"], None),
]  # fmt: skip


@pytest.mark.parametrize(("name", "wall", "instants", "gap_end"), WALLS)
def test_a_local_time_happens_never_once_or_twice(
    name: str, wall: str, instants: list[str], gap_end: str | None
) -> None:
    found, shown = zone(name), datetime.fromisoformat(wall)
    assert found.instants(shown) == tuple(datetime.fromisoformat(i) for i in instants)
    expected = None if gap_end is None else datetime.fromisoformat(gap_end)
    assert found.gap_end(shown) == expected


def test_a_local_time_with_an_offset_is_refused() -> None:
    with pytest.raises(InvalidValue, match="without an offset"):
        zone("UTC").instants(EPOCH)


def test_both_passes_of_a_fold_are_told_apart() -> None:
    first = int(datetime(2026, 10, 25, 0, 30, tzinfo=UTC).timestamp())
    found = zone("Europe/Amsterdam")
    assert [found.repeated(first + n * 3600) for n in (-1, 0, 1, 2)] == [0, 1, 2, 0]


@given(
    st.sampled_from(sorted(available_timezones() - {"Factory", "localtime"})),
    st.integers(FIRST, LAST - 1),
)
def test_offsets_are_those_of_the_database(name: str, instant: int) -> None:
    at = EPOCH + timedelta(seconds=instant)
    assert (
        timedelta(seconds=zone(name).offset_at(instant))
        == at.astimezone(ZoneInfo(name)).utcoffset()
    )


def test_no_offset_lasts_so_short_that_looking_every_second_day_misses_it() -> None:
    """The pure-Python `zoneinfo` shows its table, which holds every change of every zone."""
    for name in available_timezones():
        table = PythonZone(name)
        offsets = [table._tti_before.utcoff, *(found.utcoff for found in table._ttinfos)]
        changes = [
            at
            for at, (before, after) in zip(table._trans_utc, pairwise(offsets), strict=True)
            if before != after
        ]
        assert all(after - before > 3 * 86_400 for before, after in pairwise(changes)), name


def test_questions_about_the_whole_calendar_do_not_fill_the_memory() -> None:
    found = zone("Asia/Tokyo")
    for number in range(FIRST // ERA, 100):
        found.offset_at(number * ERA + ERA // 2)
    assert len(found._eras) <= 32


@pytest.mark.parametrize("number", [-3, -1, 0, 1, 3])
def test_an_era_is_covered_without_a_hole(number: int) -> None:
    segments = zone("America/New_York").era(number)
    assert segments[0].start <= number * ERA
    assert segments[-1].end >= (number + 1) * ERA
    for before, after in pairwise(segments):
        assert before.end == after.start
        assert before.offset != after.offset
