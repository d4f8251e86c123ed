"""The page of reliability is what the results say, and hides nothing of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from chaos import page
from chaos.campaign import FAULTS, LESSER, NAMES, TRIALS, command_of
from chaos.report import PACE, Report
from chaos.scale import Scale
from chaos.scenarios import supervised, target

ASKED = "fewer than 20 times"
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
    bad = report(injected=1200, survived=1199, command="python -m chaos")
    bad.must_be("lost", 1, 0)
    text = page.make([bad], FRAME)
    assert text.startswith("1,200 1 0 1 2026-11-22\n")
    assert "| 1,200 | 1,199 | 1 | – | – |" in text
    assert "lost: expected 0, got 1" in text


def test_a_dash_stands_where_nothing_was_looked_at_and_a_nought_where_nothing_was_found() -> None:
    looked = report(injected=3, survived=3)
    looked.must_be("lost", 0, 0)
    looked.note("stale writes refused", 2)
    assert "| 3 | 3 | 0 | – | 2 |" in page.make([looked], FRAME)
    assert "| 3 | 3 | – | – | – |" in page.make([report(injected=3, survived=3)], FRAME)


LABELS = [
    ("supervised", True, None, "a store away for ten minutes"),
    ("supervised", False, None, "a store away for four seconds"),
    ("target", False, None, "is dead for five seconds, and is back"),
    ("zombie", False, None, FAULTS["zombie"]),
    ("storm", True, None, "1,000 schedules"),
    ("storm", True, 2.1, "1,000 schedules, one every 2.1 s"),
    ("storm", False, 2.1, "100 schedules, one every 2.1 s"),
]


@pytest.mark.parametrize(("trial", "full", "pace_s", "said"), LABELS)
def test_a_line_says_of_its_fault_what_was_done(
    trial: str, full: bool, pace_s: float | None, said: str
) -> None:
    one = report(trial=trial, full=full)
    if pace_s is not None:
        one.note(PACE, pace_s)
    assert page.fault_of(one).endswith(said)


def test_what_the_gates_share_is_said_to_be_is_what_it_is() -> None:
    assert LESSER.keys() <= FAULTS.keys()
    assert (target.GATE.dead_s, supervised.AWAY_S) == (5, (4, 600))


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
    line = command_of("storm", "sqlite", scale)
    assert line == f"python -m chaos --store sqlite --what storm {said}"


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


def test_between_them_the_kept_parts_died_often_enough_at_every_point_of_every_verb() -> None:
    kept = [one for one in page.read() if one.trial in ("points", "points-seldom")]
    assert len(kept) == 4 and all(one.full and one.times is None for one in kept)
    asked = [figure for one in kept for figure in one.figures if figure.name.endswith(ASKED)]
    assert len(asked) == len(kept), "each says which points had fewer"
    assert page.short_of_deaths(kept) == []


def test_a_point_that_too_few_kills_found_is_laid_to_the_part_that_answers_for_it() -> None:
    often, seldom = report(trial="points"), report(trial="points-seldom")
    for one in (often, seldom):
        one.note("points died at fewer than 20 times", "claim.asked 3, prune.later 19")
    assert page.short_of_deaths([often, seldom]) == [
        "points on sqlite: claim.asked",
        "points-seldom on sqlite: claim.asked",
        "points-seldom on sqlite: prune.later",
    ]


def test_times_are_told_in_the_unit_of_their_size() -> None:
    text = page.make([report(recovery_ms={"p50": 12.4, "p99": 2345.0})], FRAME)
    assert "| 12 ms / 2.3 s |" in text


def test_the_page_that_is_kept_is_what_the_kept_results_say() -> None:
    assert page.main(["--check"]) == 0


@pytest.mark.parametrize("one", page.read(), ids=lambda one: f"{one.trial}-{one.store}")
def test_a_kept_result_names_its_command_and_its_day(one: Report) -> None:
    assert one.date and one.command.startswith("python -m chaos --store ")
    assert one.skipped or one.injected > 0
