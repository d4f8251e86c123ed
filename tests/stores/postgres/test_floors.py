"""Floors: claims that begin where the last left off miss nothing that counts.

What is ready stays ready: a higher priority goes first at once, a lower id when the rest is used
up or when a whole search is due; and the ranges together cover every row, each once.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duly.core.runs import NewRun
from duly.stores.postgres import PostgresStore
from duly.stores.postgres.floors import (
    COSTLY,
    FULL,
    HIGHEST,
    LONGEST_S,
    LOWEST,
    NIL,
    REST_S,
    Floors,
)
from tests.stores.postgres.conftest import MakeStores
from tests.stores.world import ident, instance

Row = tuple[str, int, UUID]

rows = st.lists(
    st.tuples(
        st.sampled_from(["a", "b"]),
        st.sampled_from([LOWEST, -1, 0, 7, HIGHEST]),
        st.integers(1, 50).map(ident),
    ),
    unique=True,
    max_size=30,
)


def after_full_claims(taken: Sequence[Row], *, times: int = 2, took: float = 0.0) -> Floors:
    floors = Floors()
    for _ in range(times):
        floors.ranges(["a", "b"], FULL, 0.0)
        floors.note([*taken, *[("a", 0, NIL)] * FULL][: max(FULL, len(taken))], FULL, 0.0, took)
    return floors


@given(rows, rows)
def test_every_row_is_searched_exactly_once(taken: list[Row], there: list[Row]) -> None:
    ranges = after_full_claims(taken).ranges(["a", "b"], FULL, 0.1)
    for queue, priority, run in there:
        hits = [
            run > floor or lowest == highest == priority  # above the floor, or sought below it
            for name, lowest, highest, floor in zip(*ranges, strict=True)
            if name == queue and lowest <= priority <= highest
        ]
        assert hits == [True]


WHOLE = (["a", "b"], [LOWEST] * 2, [HIGHEST] * 2, [NIL] * 2)

CASES = {
    "nothing was claimed yet": (0, 0.0, FULL, 0.0, True),
    "one full claim may be chance": (1, 0.0, FULL, 0.0, True),
    "two full claims are a rush": (2, 0.0, FULL, 0.1, False),
    "a small claim is in no hurry": (2, 0.0, FULL - 1, 0.1, True),
    "a whole search is due after a rest": (2, 0.0, FULL, REST_S + 0.01, True),
    "a costly search rests longer": (2, 0.3, FULL, COSTLY * 0.3 - 0.1, False),
    "but not for ever": (2, 0.3, FULL, COSTLY * 0.3 + 0.1, True),
    "nor as long as a slow server": (2, 60.0, FULL, LONGEST_S + 0.1, True),
}


@pytest.mark.parametrize("case", CASES)
def test_claims_are_searched_from_the_beginning_unless_they_rush(case: str) -> None:
    times, took, limit, now, whole = CASES[case]
    floors = after_full_claims([("a", 0, ident(9))], times=times, took=took)
    assert (floors.ranges(["a", "b"], limit, now) == WHOLE) is whole


def test_no_queues_are_no_ranges() -> None:
    assert Floors().ranges([], FULL, 0.0) == ([], [], [], [])


def test_a_claim_that_came_back_short_ends_the_rush() -> None:
    floors = after_full_claims([("a", 0, ident(9))])
    floors.note([("a", 0, ident(10))], FULL, 0.1, 0.0)
    assert floors.ranges(["a", "b"], FULL, 0.1) == WHOLE


def some(numbers: range, priority: int = 0) -> list[NewRun]:
    return [NewRun(id=ident(number), task="t", priority=priority) for number in numbers]


async def claimed(store: PostgresStore, number: int) -> list[int]:
    answer = await store.claim(
        ident(1), ident(5_000 + number), queues=["default"], tasks=["t"], limit=FULL
    )
    return [one.id.int >> 80 for one in answer.runs]


@pytest.mark.server
@pytest.mark.xdist_group("postgres")
async def test_a_rush_leaves_nothing_behind_and_lets_a_higher_priority_first(
    make_stores: MakeStores,
) -> None:
    (store,) = await make_stores(1)
    await store.register(instance(ident(1)), {})
    await store.enqueue(some(range(1_000, 1_000 + 5 * FULL)))
    order = [one.id for one in some(range(1_000, 1_000 + 5 * FULL))]
    seen = [await claimed(store, 1), await claimed(store, 2)]
    floors = next(iter(store._floors.values()))
    floors._whole_at = float("inf")  # no whole search is due
    await store.enqueue(some(range(100, 103)))  # ids of a clock that is behind, or late commits
    await store.enqueue(some(range(3_000, 3_002), priority=5))
    seen.append(await claimed(store, 3))
    assert floors._floors, "the third claim began behind the first two"
    assert seen[2][:2] == [3_000, 3_001]
    for number in range(4, 8):
        seen.append(await claimed(store, number))
    taken = [run for claim in seen for run in claim]
    assert sorted(taken) == sorted([*range(100, 103), 3_000, 3_001, *(range(1_000, 1_500))])
    assert len(order) == 500 and len(set(taken)) == 505
    assert [run for run in taken if 1_000 <= run < 3_000] == list(range(1_000, 1_500))
