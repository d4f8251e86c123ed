"""The protocol models give the expected answers: promises hold, mutants are refuted.

The cases are the quick ones of `models/table.py`; the larger campaign runs by
`python -m models --full`. Skipped, with the reason, where spin or gcc is missing.
"""

from __future__ import annotations

import pytest

from models import check
from models.check import Outcome
from models.mutants import told
from models.table import Case, table

CASES = sorted(
    (case for case in table() if case.quick),
    key=lambda case: (case.model, case.liveness, case.flags),  # those of one build together
)
REASON = check.missing()


@pytest.mark.skipif(REASON is not None, reason=str(REASON))
@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_model_gives_the_expected_answer(case: Case) -> None:
    outcome = check.check(case)
    assert outcome.as_expected, f"{outcome.answer}: {outcome.words}"


def test_every_promise_of_a_model_is_also_refuted_somewhere() -> None:
    held = {(case.model, case.prop) for case in CASES if case.expected == "holds"}
    refuted = {(case.model, case.prop) for case in CASES if case.expected == "refuted"}
    assert held - refuted == set()


def test_a_missing_checker_is_said_clearly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check.shutil, "which", lambda tool: None)
    assert str(check.missing()).startswith("spin is not installed: apt-get install spin")
    assert check.main(["--quick"]) == 3


def test_a_search_that_ran_out_of_depth_proves_nothing() -> None:
    words = "error: max search depth too small\nState-vector 9 byte, errors: 0\n 5 states, stored"
    assert check._read(CASES[0], words, 0.0).answer == "incomplete"


def test_the_table_of_mutants_names_rule_promise_and_states() -> None:
    fallen = Case("ledger", "fenced", "refuted", "M_UNFENCED_COMPLETION")
    spared = Case("ledger", "fenced", "holds")
    lines = list(told(Outcome(case, case.expected, 7_592, 0.1, "") for case in (fallen, spared)))
    assert len(lines) == 2
    assert lines[1].split() == (
        "ledger fenced refuted 7,592 an attempt's end is not fenced".split()
    )
