"""Ranges of verdicts: neighbours that say the same are one range, and nothing is lost by it."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from duly.core.verdicts import UNCOUNTED, Verdict, VerdictRange, extend
from tests.stores.profiles import cases

T0 = datetime(2026, 1, 5, tzinfo=UTC)
singles = st.lists(
    st.tuples(
        st.sampled_from(Verdict),
        st.sampled_from(["", "why"]),
        st.sampled_from(["clock", "bob"]),
        st.integers(1, 2),
        st.sampled_from([1, 1, 3, UNCOUNTED]),
    ),
    max_size=12,
)


def chain(told: list[tuple[Verdict, str, str, int, int]]) -> list[VerdictRange]:
    """Put ranges behind each other; return closed ones and the open one, oldest first."""
    closed, grown = [], None
    for n, (verdict, reason, by, revision, count) in enumerate(told):
        first = T0 + n * timedelta(hours=1)
        more = VerdictRange(
            first=first, last=first + timedelta(minutes=9), count=count, verdict=verdict,
            reason=reason, by=by, revision=revision,
        )  # fmt: skip
        one, grown = extend(grown, more)
        closed += [one] if one else []
    return closed + ([grown] if grown else [])


@cases()
@given(singles)
def test_ranges_keep_order_count_and_words(
    told: list[tuple[Verdict, str, str, int, int]],
) -> None:
    ranges = chain(told)
    for one, after in itertools.pairwise(ranges):
        assert one.last < after.first
        assert not one.says_the_same(after)
    if told:
        assert (ranges[0].first, ranges[-1].last) == (
            T0, T0 + (len(told) - 1) * timedelta(hours=1) + timedelta(minutes=9),
        )  # fmt: skip
    if all(count > 0 for *_, count in told):
        assert sum(one.count for one in ranges) == sum(count for *_, count in told)


def test_what_could_not_be_counted_stays_uncounted() -> None:
    fired = (Verdict.FIRED, "", "clock", 1)
    assert [one.count for one in chain([(*fired, 2), (*fired, UNCOUNTED), (*fired, 2)])] == [
        UNCOUNTED
    ]
    assert [one.count for one in chain([(*fired, 2), (*fired, 3)])] == [5]
