"""Points order what happened, ids are points, and what cannot be told for certain is said to be."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from duly.core.feed import (
    ENDED_AS,
    MOVED_AS,
    NAMES,
    PATIENCE,
    REACH,
    Happening,
    Look,
    Point,
    Settled,
    Sort,
    collected,
    doubtful,
    resumed,
    settled,
)
from duly.core.states import ENDS, RUN_MOVES, BreakerVerb, RunState
from duly.events import BREAKER_EVENTS, EVENTS, RUN_EVENTS

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
POINTS = [
    Point(NOW - SECOND, Sort.LEFT, 9),
    Point(NOW),
    Point(NOW, Sort.STARTED, (1 << 128) - 1),
    Point(NOW, Sort.ENDED, 0),
    Point(NOW, Sort.ENDED, 1),
    Point(NOW, Sort.BREAKER, (1 << 63) - 1),
    Point(NOW + timedelta(microseconds=1), Sort.STARTED, 1),
]


def test_ids_are_points_and_sort_as_what_happened() -> None:
    assert sorted(POINTS, reverse=True)[::-1] == POINTS
    assert [Point.parse(one.text()) for one in POINTS] == POINTS


@pytest.mark.parametrize(
    "text",
    ["", "1", "1.2", "1.2.", "1.2.g", "1.2.3.4", "-1.2.3", "1.22.3", "१.2.3", "9" * 18 + ".1.1",
     "1.2." + "f" * 33, "1.2.3\n", "01900000-0000-7000-8000-000000000000/7"],
)  # fmt: skip
def test_what_is_no_id_is_none(text: str) -> None:
    assert Point.parse(text) is None


def test_behind_a_point_lie_later_sorts_and_higher_ids() -> None:
    point = Point(NOW, Sort.BREAKER, 5)
    most = {Sort.STARTED: (1 << 128) - 1, Sort.ENDED: (1 << 128) - 1, Sort.BREAKER: 5}
    for sort in Sort:
        assert point.behind(sort) == most.get(sort, -1), sort
    assert Point(NOW).behind(Sort.STARTED) == -1


@pytest.mark.parametrize(
    ("oldest_s", "blind", "expected"),
    [
        (None, False, Settled(NOW, NOW)),
        (3, False, Settled(NOW, NOW)),  # it begins later than the look
        (-3, False, Settled(NOW, NOW - 3 * SECOND)),
        (-60, False, Settled(NOW, NOW - PATIENCE)),
        (-61, False, Settled(NOW, NOW - PATIENCE, unsure=True)),
        (None, True, Settled(NOW, NOW - PATIENCE)),
        (-3, True, Settled(NOW, NOW - PATIENCE)),
        (-61, True, Settled(NOW, NOW - PATIENCE, unsure=True)),
    ],
)
def test_what_is_under_way_is_waited_for_but_not_for_ever(
    oldest_s: int | None, blind: bool, expected: Settled
) -> None:
    oldest = None if oldest_s is None else NOW + oldest_s * SECOND
    assert settled(NOW, oldest, blind=blind) == expected


def test_a_look_tells_the_first_of_all_sorts_and_where_it_ended() -> None:
    def some(sort: Sort, *seconds: int) -> list[Happening]:
        return [Happening(Point(NOW + n * SECOND, sort, n), "x", {}) for n in seconds]

    upto, after = Settled(NOW + 60 * SECOND, NOW + 50 * SECOND), Point(NOW)
    found = [some(Sort.ENDED, 1, 4), some(Sort.OPENED, 2)]
    cases = [(4, 3, Point(upto.floor), False), (3, 3, Point(upto.floor), False),
             (2, 2, found[1][0].point, True)]  # fmt: skip
    for limit, count, through, more in cases:
        cut = [one[: limit + 1] for one in found]
        look = collected(after, upto, cut, limit)
        assert (len(look.happenings), look.through, look.more) == (count, through, more), limit
    later = Point(upto.floor + SECOND)
    assert collected(later, upto, [], 9).through == later, "it never goes back"


@pytest.mark.parametrize(
    ("text", "goes_on"),
    [
        (Point(NOW, 1, 1).text(), True),
        (Point(NOW - REACH, 1, 1).text(), True),
        (Point(NOW - REACH - SECOND, 1, 1).text(), False),
        (Point(NOW + SECOND, 1, 1).text(), False),
        ("nonsense", False),
    ],
)
def test_an_id_is_gone_on_from_where_nothing_can_be_missing(text: str, goes_on: bool) -> None:
    assert (resumed(text, NOW) is not None) is goes_on


@pytest.mark.parametrize(
    ("before", "now_s", "unsure", "expected"),
    [
        (None, 0, False, False),
        (None, 0, True, True),
        (False, 0, False, False),
        (False, -1, False, True),  # the store's clock was set back
        (False, 1, True, True),
        (True, 1, True, False),  # told already
        (True, 1, False, True),  # what was not waited for has ended by now
    ],
)
def test_a_doubt_is_told_when_it_begins_and_when_it_ends(
    before: bool | None, now_s: int, unsure: bool, expected: bool
) -> None:
    first = None if before is None else Look(NOW, Point(NOW), unsure=before)
    look = Look(NOW + now_s * SECOND, Point(NOW), unsure=unsure)
    assert doubtful(first, look) is expected


def test_names_are_those_of_the_catalogue() -> None:
    assert {verb: kind.name for verb, kind in BREAKER_EVENTS.items()} == dict(MOVED_AS)
    assert set(MOVED_AS) == set(BreakerVerb) and set(ENDED_AS) == set(ENDS)
    moves = [move for moves in RUN_MOVES.values() for move in moves.items()]
    ends = {target: RUN_EVENTS[verb].name for verb, target in moves}
    assert {state: ends[state] for state in ENDED_AS} == dict(ENDED_AS)
    assert RunState.PARKED not in ENDED_AS and set(EVENTS) > NAMES
