"""The checkers of the trials can fail: each kind of wrong is seen, and counted by key.

A checker that never bites would call any run of a trial good. So every kind of loss, doubling
and invention is put before it once, beside what is right.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import msgspec
import pytest

from chaos.checks import judge_attempts, judge_flow, judge_recovery, judge_schedule
from chaos.journal import Journal, Line, Pen
from chaos.report import COUNTED, Moment, Report, percentile
from chaos.scenarios.iteration import judge_sink
from duly.core.ids import uuid7
from duly.core.runs import Origin, RunView
from duly.core.states import RunState
from duly.core.verdicts import Verdict, VerdictRange

DAY = datetime(2026, 11, 1, tzinfo=UTC)
A, B = UUID(int=1), UUID(int=2)


def at(*seconds: int) -> list[datetime]:
    return [DAY + timedelta(seconds=one) for one in seconds]


def fired(first: int, last: int, count: int, verdict: Verdict = Verdict.FIRED) -> VerdictRange:
    return VerdictRange(first=at(first)[0], last=at(last)[0], count=count, verdict=verdict)


DUE = (1, 2, 3)
WHOLE = (fired(1, 3, 3),)
SCHEDULES = [
    ("all fired", WHOLE, (1, 2, 3), {}),
    ("one judged", (fired(1, 2, 2), fired(3, 3, 1, Verdict.SKIPPED)), (1, 2), {"other": 1}),
    ("no verdict", (fired(1, 2, 2),), (1, 2), {"lost": 1}),
    ("a verdict without its run", WHOLE, (1, 2), {"lost": 1}),
    ("two runs", WHOLE, (1, 2, 2, 3), {"doubled": 1}),
    ("two verdicts", (fired(1, 2, 2), fired(2, 3, 2)), (1, 2, 3), {"doubled": 1}),
    ("a run of nothing", WHOLE, (1, 2, 3, 4), {"invented": 1}),
    ("a count too high", (fired(1, 3, 4),), (1, 2, 3), {"invented": 1}),
    (
        "lost and doubled do not cancel out",
        (fired(1, 2, 2),),
        (1, 1, 2),
        {"lost": 1, "doubled": 1},
    ),
]


@pytest.mark.parametrize(
    ("ranges", "runs", "wrong"), [c[1:] for c in SCHEDULES], ids=[c[0] for c in SCHEDULES]
)
def test_occurrences_are_compared_by_key(
    ranges: tuple[VerdictRange, ...], runs: tuple[int, ...], wrong: dict[str, int]
) -> None:
    seen = judge_schedule(at(*DUE), ranges, at(*runs))
    names = ("lost", "doubled", "invented", "other")
    assert {n: getattr(seen, n) for n in names if getattr(seen, n)} == wrong


def view(run: UUID, epoch: int = 1, state: RunState = RunState.SUCCEEDED) -> RunView:
    return RunView(
        id=run, task="work", queue="default", priority=0, args=b"{}", origin=Origin.CALL,
        key=None, schedule=None, due=None, window_start=None, enqueued_at=DAY, state=state,
        epoch=epoch, failures=0, deaths=0,
    )  # fmt: skip


def lines(*facts: tuple[str, UUID, int]) -> list[Line]:
    return [
        Line(kind, "w1", float(n), run, attempt) for n, (kind, run, attempt) in enumerate(facts)
    ]


GOOD = (("start", A, 1), ("end", A, 1))
ATTEMPTS = [
    ("done once", [view(A)], GOOD, {}),
    (
        "done again after a death",
        [view(A, 2)],
        (("start", A, 1), ("start", A, 2), ("end", A, 2)),
        {"again": 1},
    ),
    ("one attempt in two hands", [view(A)], (*GOOD, *GOOD), {"started_twice": 1, "ended_twice": 1}),
    ("never ended", [view(A, state=RunState.READY)], (), {"unended": 1}),
    ("succeeded unworked", [view(A)], (("start", A, 1),), {"unworked": 1}),
    (
        "at work beside its successor",
        [view(A, 2)],
        (("start", A, 1), ("start", A, 2), ("end", A, 1), ("end", A, 2)),
        {"again": 1, "at_once": 1},
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("runs", "facts", "wrong"), [c[1:] for c in ATTEMPTS], ids=[c[0] for c in ATTEMPTS]
)
def test_attempts_are_compared_by_key(
    runs: list[RunView], facts: tuple[tuple[str, UUID, int], ...], wrong: dict[str, int]
) -> None:
    seen = judge_attempts(runs, lines(*facts))
    names = [n for n in seen.__struct_fields__ if n != "runs"]
    assert {n: getattr(seen, n) for n in names if getattr(seen, n)} == wrong


RECOVERIES = [
    ("begun again elsewhere", [Moment(0.5, "w1")], (("start", A, 1), ("start", A, 2)), (1, [0.5])),
    ("never begun again", [Moment(0.5, "w1")], (("start", A, 1), ("start", B, 1)), (0, [])),
    (
        "the next one died before its code began",
        [Moment(0.5, "w1")],
        (("start", A, 1), ("start", A, 3)),
        (1, [0.5]),
    ),
    (
        "a sleeper ends it when it wakes",
        [Moment(0.5, "w1")],
        (("start", A, 1), ("start", B, 1), ("end", A, 1)),
        (1, []),
    ),
    ("ended before", [Moment(1.5, "w1")], (*GOOD, ("start", B, 1)), (1, [])),
    ("nothing is begun again", [Moment(0.5)], GOOD, (0, [])),
    ("the store came back", [Moment(0.5)], (*GOOD, ("start", B, 1)), (1, [1.5])),
    (
        "two faults, one lived through",
        [Moment(0.5), Moment(9.0)],
        (*GOOD, ("start", B, 1)),
        (1, [1.5]),
    ),
]


@pytest.mark.parametrize(
    ("moments", "facts", "wanted"), [c[1:] for c in RECOVERIES], ids=[c[0] for c in RECOVERIES]
)
def test_what_came_after_a_fault_is_found_by_key(
    moments: list[Moment],
    facts: tuple[tuple[str, UUID, int], ...],
    wanted: tuple[int, list[float]],
) -> None:
    seen = judge_recovery(moments, lines(*facts))
    assert (seen.injected, seen.survived, seen.times_s) == (len(moments), *wanted)


def test_a_run_that_came_to_rest_need_not_be_begun_again() -> None:
    facts = lines(("start", A, 1), ("start", B, 1))
    moment = [Moment(0.5, "w1")]
    assert judge_recovery(moment, facts).survived == 0
    assert judge_recovery(moment, facts, {A}).survived == 1
    assert judge_recovery([Moment(9.0)], facts, {A}).survived == 0, "the other is left"
    assert judge_recovery([Moment(9.0)], facts, {A, B}).survived == 1


def test_what_was_lost_doubled_and_refused_is_summed_up() -> None:
    report = Report(trial="storm", store="sqlite", figures=[])
    for name in COUNTED:
        report.note(name, 1)
    report.settle(3, 2, [0.001, 0.003])
    kinds = list(COUNTED.values())
    assert (report.lost, report.doubled, report.stale) == tuple(
        kinds.count(one) for one in ("lost", "doubled", "stale")
    )
    assert (report.injected, report.survived) == (3, 2)
    nothing = Report(trial="storm", store="sqlite", figures=[])
    nothing.settle(3, 2, [])
    assert (nothing.lost, nothing.doubled, nothing.stale) == (None, None, None)
    assert report.recovery_ms == {"p50": 3.0, "p99": 3.0}


def test_every_figure_that_is_summed_up_is_one_of_a_trial() -> None:
    folder = Path(judge_sink.__code__.co_filename).parent
    text = "".join(one.read_text() for one in folder.glob("*.py"))
    assert [name for name in COUNTED if f'"{name}"' not in text] == []


def test_a_short_share_never_takes_the_place_of_a_campaign(tmp_path: Path) -> None:
    full = Report(trial="storm", store="sqlite", full=True, injected=300)
    assert full.keep(tmp_path)
    assert not Report(trial="storm", store="sqlite", injected=7).keep(tmp_path)
    assert Report(trial="storm", store="sqlite", full=True, injected=301).keep(tmp_path)
    [kept] = tmp_path.glob("*.json")
    assert msgspec.json.decode(kept.read_bytes(), type=Report).injected == 301


def test_what_went_in_is_compared_with_what_is_there() -> None:
    flow = judge_flow({A}, {A}, {B})
    assert (flow.lost, flow.invented) == (1, 1)


def test_a_line_that_was_written_in_part_is_left_for_later(tmp_path) -> None:  # type: ignore[no-untyped-def]
    journal = Journal(tmp_path / "journal")
    Pen(journal.path, "w1").write("start", run=A, attempt=1)
    with journal.path.open("ab") as file:
        file.write(b'{"kind": "en')
    assert [one.kind for one in journal.read()] == ["start"]
    with journal.path.open("ab") as file:
        file.write(b'd", "worker": "w1", "at_s": 2.0}\n')
    assert [one.kind for one in journal.read()] == ["end"]
    assert journal.find("start", A, 1) is not None


def test_a_report_tells_which_figures_break_a_promise() -> None:
    report = Report(trial="storm", store="sqlite", figures=[])
    report.note("kills", 7)
    report.must_be("lost", 1, 0)
    report.at_most("incidents", 3, 3)
    assert report.wrong == ["lost: expected 0, got 1"]


def test_percentiles_are_values_that_were_seen() -> None:
    assert (percentile([3.0, 1.0, 2.0], 0.5), percentile([3.0, 1.0, 2.0], 0.99)) == (2.0, 3.0)


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_line_that_a_kill_cut_short_is_no_message(tmp_path: Path, cut: int) -> None:
    lines = [f"{uuid7(n, 0)} {n % 7} {n} .\n" for n in range(1, 201)]
    first, second = "\n" + "".join(lines[:100]), "\n" + "".join(lines[100:])
    (tmp_path / "sink").write_text(first + second[: 300 + cut] + second)
    report = Report(trial="iteration", store="none")
    judge_sink(report, tmp_path / "sink", 200)
    assert report.wrong == []


def test_a_row_under_two_ids_is_told(tmp_path: Path) -> None:
    lines = [f"{uuid7(n, 0)} 0 {min(n, 2)} .\n" for n in range(1, 4)]
    (tmp_path / "sink").write_text("".join(lines))
    report = Report(trial="iteration", store="none")
    judge_sink(report, tmp_path / "sink", 2)
    assert [one.partition(":")[0] for one in report.wrong] == [
        "rows published under two ids",
        "first copies out of order within a key",
    ]


def test_a_journal_remembers_of_its_lines_what_it_is_asked_for(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    one, two = Pen(journal.path, "w1"), Pen(journal.path, "w2")
    one.write("instance.started")
    one.write("start", run=A, attempt=1)
    assert journal.at_work() == {"w1"}
    two.write("start", run=A, attempt=2)
    two.write("start", run=B, attempt=1)
    two.write("end", run=A, attempt=2)
    assert journal.at_work() == {"w1", "w2"}, "the first never ended, and the second has B"
    two.write("end", run=B, attempt=1)
    assert journal.at_work() == {"w1"}
    assert journal.who("instance.started", "end") == {"w1", "w2"} and journal.who("none") == set()
    found = [journal.find("start", run, n) for run, n in ((A, 2), (B, 0), (None, 0), (B, 2))]
    assert [line and (line.worker, line.attempt) for line in found] == [
        ("w2", 2), ("w2", 1), ("w1", 1), None,
    ]  # fmt: skip
    assert journal.count() == {"instance.started": 1, "start": 3, "end": 2}
