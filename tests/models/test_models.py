"""The protocol models give the expected answers: promises hold, mutants are refuted.

The cases are the quick table of `models/check.py`; the larger campaign runs by
`python models/check.py --full`. Skipped, with the reason, where spin or gcc is missing.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

CHECK = Path(__file__).resolve().parents[2] / "models" / "check.py"


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("duly_models_check", CHECK)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


check = _load()
CASES = [case for case in check.table() if case.quick]
REASON = check.missing()


@pytest.mark.skipif(REASON is not None, reason=str(REASON))
@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_model_gives_the_expected_answer(case: object) -> None:
    outcome = check.check(case)
    assert outcome.as_expected, f"{outcome.answer}: {outcome.words}"


def test_every_promise_of_a_model_is_also_refuted_somewhere() -> None:
    held = {(case.model, case.prop) for case in CASES if case.expected == "holds"}
    refuted = {(case.model, case.prop) for case in CASES if case.expected == "refuted"}
    # These have no mutant of their own: they guard what the other promises presuppose.
    unbroken = {
        ("ledger", "one_receipt"),
        ("ledger", "undisputed"),
        ("waking", "limit_holds"),
    }
    assert held - refuted == unbroken


def test_a_missing_checker_is_said_clearly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check.shutil, "which", lambda tool: None)
    assert check.missing().startswith("spin is not installed: apt-get install spin")
    assert check.main(["--quick"]) == 3


def test_a_search_that_ran_out_of_depth_proves_nothing() -> None:
    words = "error: max search depth too small\nState-vector 9 byte, errors: 0\n 5 states, stored"
    assert check._read(CASES[0], words, 0.0).answer == "incomplete"
