"""The sharing out of local time, for zones wilder than any that exists."""

from __future__ import annotations

from datetime import UTC
from itertools import pairwise
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duly.core.cron.turns import Span, Turns, spans
from duly.core.zones import ERA, Segment, Zone

DAY, MINUTE = 86_400, 60


class Wild(Zone):
    """A zone whose clocks turn whenever a test says so."""

    __slots__ = ("_segments",)

    def __init__(self, segments: tuple[Segment, ...]) -> None:
        super().__init__("Wild", UTC)
        self._segments = segments

    def era(self, number: int) -> tuple[Segment, ...]:
        return self._segments


@st.composite
def wild_zones(draw: st.DrawFn) -> Wild:
    """Up to six turns, minutes or days apart, each by up to a day, well inside the era."""
    start, offset, segments = -8 * DAY, 0, []
    turn = ERA // 2
    for _ in range(draw(st.integers(1, 6))):
        turn += draw(st.integers(1, 3 * 24 * 60)) * MINUTE
        segments.append(Segment(start, turn, offset))
        start, offset = turn, draw(st.integers(-24 * 60, 24 * 60)) * MINUTE
    segments.append(Segment(start, ERA + 8 * DAY, offset))
    return Wild(tuple(segments))


def owned(zone: Zone, fold: Literal["first", "second", "both"]) -> tuple[Span, ...]:
    return spans(zone, 0, Turns("after", fold, wildcard=False)).rows


@pytest.mark.parametrize("fold", ["first", "second"])
@given(zone=wild_zones())
def test_every_local_time_is_owned_once(fold: Literal["first", "second"], zone: Wild) -> None:
    rows = owned(zone, fold)
    assert all(before.high == after.low for before, after in pairwise(rows))
    assert all(row.low <= row.high for row in rows)
    assert rows[0].low == 0
    assert rows[-1].high == ERA + rows[-1].offset


@pytest.mark.parametrize("fold", ["first", "second", "both"])
@given(zone=wild_zones())
def test_what_a_span_owns_is_due_inside_it(
    fold: Literal["first", "second", "both"], zone: Wild
) -> None:
    for row in owned(zone, fold):
        if row.low < row.high:
            assert row.high - 1 - row.offset < row.end


@given(zone=wild_zones())
def test_the_first_pass_is_due_when_the_clocks_first_reach_a_time(zone: Wild) -> None:
    rows = owned(zone, "first")
    for row in rows:
        for wall in {row.low, (row.low + row.high) // 2, row.high - 1}:
            if row.low <= wall < row.high:
                reached = [r.start for r in rows if r.end - 1 + r.offset >= wall]
                due = max(row.start, wall - row.offset)
                assert row.start == min(reached)
                assert row.start <= due < row.end
