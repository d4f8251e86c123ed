"""Patience: it grows when it was too short, follows what is usual, and stays bounded."""

from __future__ import annotations

import pytest

from duly.engine.patience import LONGEST_S, Patience

CASES: dict[str, tuple[list[float | None], int, float]] = {
    # what happened (seconds until it was heard; None: in vain), the place, the wait after it
    "at first one step": ([], 1, 0.02),
    "each place further one step more": ([], 3, 0.06),
    "no longer than the last place that counts": ([], 50, 0.10),
    "in vain: twice as long": ([None], 1, 0.04),
    "in vain again and again: half a second": ([None] * 30, 1, 2 * LONGEST_S),
    "in vain, then quick: shorter by a quarter": ([None, 0.002], 1, 0.035),
    "others are much slower: longer, and bounded": ([9.0] * 60, 1, 2 * LONGEST_S),
    "never shorter than one step": ([-1.0] * 60, 1, 0.02),
}


@pytest.mark.parametrize("case", CASES)
def test_patience_is_learnt(case: str) -> None:
    happened, rank, expected = CASES[case]
    patience = Patience(0.02, 5)
    for one in happened:
        if one is None:
            patience.in_vain()
        else:
            patience.heard(one)
    assert patience.wait_s(rank) == pytest.approx(expected, abs=1e-6)
