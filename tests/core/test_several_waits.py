"""Several reasons of one wait are put into one text, and taken apart again; nothing else is."""

from __future__ import annotations

import pytest

from duly.core.steps import AND, joined, parted

WHOLE = [
    ["event:paid"],
    ["event:paid", "sleep:rest"],
    ["2 runs of all", "effect:t pay k", "event:a b"],
    ["before t pay k: OSError: away", "run:x"],
]


@pytest.mark.parametrize("reasons", WHOLE, ids=len)
def test_what_was_put_together_is_taken_apart(reasons: list[str]) -> None:
    assert parted(joined(reversed(reasons))) == reasons


ALONE = ["", "no_code", f"limit:a{AND}b", f"an answer{AND}event:paid", f"event:a{AND}b"]


@pytest.mark.parametrize("reason", ALONE)
def test_what_only_looks_so_is_one_reason(reason: str) -> None:
    assert parted(reason) == [reason]


def test_there_is_a_bound_and_no_part_is_cut() -> None:
    many = [f"event:{n:03}" for n in range(100)]
    told = joined(many, most=60)
    assert len(told) <= 60 and parted(told) == many[:4]
