"""The page of reliability is what the results say, and hides nothing of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from chaos import page
from chaos.campaign import FAULTS, NAMES, TRIALS, command_of
from chaos.report import Report
from chaos.scale import Scale

FRAME = "{faults} {lost} {doubled} {broken} {dates}\n{table}\n{skipped}\n"


def report(**facts: object) -> Report:
    given: dict[str, object] = {"trial": "storm", "store": "sqlite", "date": "2026-11-22"}
    made = Report(**(given | facts))  # type: ignore[arg-type]
    made.figures = []
    return made


def test_every_trial_is_a_fault_with_words() -> None:
    assert list(FAULTS) == list(FAULTS.keys() & TRIALS.keys()) or set(FAULTS) == set(NAMES)
    assert all(FAULTS[one] for one in NAMES)


def test_a_broken_promise_stands_in_its_line() -> None:
    bad = report(injected=1200, survived=1199, lost=1, command="python -m chaos")
    bad.must_be("lost", 1, 0)
    text = page.make([bad], FRAME)
    assert text.startswith("1,200 1 0 1 2026-11-22\n")
    assert "| 1,200 | 1,199 | 1 |" in text
    assert "lost: expected 0, got 1" in text


def test_what_was_left_out_is_told_with_its_reason() -> None:
    text = page.make([report(skipped="there is no disk")], FRAME)
    assert text.endswith("on SQLite: there is no disk.\n")
    assert text.startswith("0 0 0 0 no day yet")


@pytest.mark.parametrize(
    ("scale", "said"),
    [
        (Scale(), "--gate"),
        (Scale(full=True), "--minutes 10"),
        (Scale(full=True, minutes=6, times=5), "--minutes 6 --times 5"),
        (Scale(times=2), "--times 2 --gate"),
    ],
)
def test_the_command_of_a_line_says_how_much_was_taken(scale: Scale, said: str) -> None:
    line = command_of("points", "sqlite", scale)
    assert line == f"python -m chaos --store sqlite --what points {said}"


def test_a_result_is_never_replaced_by_a_lesser_one(tmp_path: Path) -> None:
    gate, some, full = report(), report(full=True, times=5), report(full=True)
    kept = [one.keep(tmp_path) for one in (gate, some, gate, full, some, full)]
    assert kept == [True, True, False, True, False, True]


def test_points_that_too_few_kills_found_are_named() -> None:
    one = report(trial="points", injected=7)
    one.note("points", 3)
    one.note("points died at 5 times or more", 1)
    one.note("points died at fewer than 5 times", "keep.asked 0, leave.flight 0, run.asked 4")
    one.note("points seen, and never again", "keep.asked, leave.flight")
    expected = (
        "3 points were come by, 1 died at 5 times or more; fewer times at `keep.asked 0`,"
        " `leave.flight 0`, `run.asked 4`; never at `keep.asked`, `leave.flight`"
    )
    assert f"- SQLite: {expected}.\n" in page.make([one], "{points}\n")


def test_times_are_told_in_the_unit_of_their_size() -> None:
    text = page.make([report(recovery_ms={"p50": 12.4, "p99": 2345.0})], FRAME)
    assert "| 12 ms / 2.3 s |" in text


def test_the_page_that_is_kept_is_what_the_kept_results_say() -> None:
    assert page.main(["--check"]) == 0


@pytest.mark.parametrize("one", page.read(), ids=lambda one: f"{one.trial}-{one.store}")
def test_a_kept_result_names_its_command_and_its_day(one: Report) -> None:
    assert one.date and one.command.startswith("python -m chaos --store ")
    assert one.skipped or one.injected > 0
