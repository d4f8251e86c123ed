"""What an answer or an error tells of its target is a table: complete, and without a guess."""

from __future__ import annotations

import pytest

from duly.core import faults
from duly.core.answers import (
    fault_of_status,
    shown_answer,
)
from duly.core.faults import FAULTS, Fault, said_of

STATUSES: list[tuple[int, str | None, str, bool]] = [
    (404, None, "route not found", True),
    (410, None, "route not found", True),
    (400, None, "contract changed", True),
    (405, None, "contract changed", True),
    (415, None, "contract changed", True),
    (422, None, "contract changed", True),
    (501, None, "contract changed", True),
    (401, None, "access denied", True),
    (403, None, "access denied", True),
    (429, None, "busy", True),
    (429, "7", "busy", True),
    (503, "7", "busy", True),
    (503, None, "server error", True),
    (500, "7", "server error", True),
    (502, None, "server error", True),
    (504, None, "server error", True),
    (599, None, "server error", True),
    (301, None, "redirected", True),
    (202, None, "only started", True),
    (201, None, "unexpected status", True),
    (409, None, "unexpected status", True),
    (999, None, "unexpected status", True),
]


@pytest.mark.parametrize(("status", "retry_after", "word", "counts"), STATUSES)
def test_a_status_has_its_class(
    status: int, retry_after: str | None, word: str, counts: bool
) -> None:
    found = fault_of_status(status, retry_after=retry_after)
    assert FAULTS[found].words == word
    assert faults.counts(found, fixed=True) is counts


def test_every_fault_says_what_it_means_and_our_own_mistakes_do_not_count() -> None:
    assert set(FAULTS) == set(Fault)
    assert all(row.meaning for row in FAULTS.values())
    spared = {one for one in Fault if not faults.counts(one, fixed=True)}
    assert spared == {Fault.NOT_ALLOWED, Fault.OURS}


def test_an_error_that_names_no_fault_has_none() -> None:
    assert said_of(ValueError("x")) is None
    odd = ValueError("x")
    odd.fault = "route not found"  # type: ignore[attr-defined]
    assert said_of(odd) is None


def test_the_last_word_is_told_in_a_line() -> None:
    assert shown_answer(404, Fault.ROUTE_NOT_FOUND) == "answered 404: route not found"
    assert shown_answer(None, Fault.CONNECTION_REFUSED) == "connection refused"
    assert shown_answer(200, None) == "answered 200: success"
    assert shown_answer(202, None, started=True) == "answered 202: started"
