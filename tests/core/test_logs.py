"""Logs as data: the last lines that fit, and an account of every attempt that leaves none out."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duly.core.logs import (
    LEAST_BYTES,
    LINE_CHARACTERS,
    MOST_BYTES,
    TOGETHER_BYTES,
    AttemptLog,
    LogLine,
    account,
    fitting,
    fullest,
    lines_of,
    share_of,
)
from duly.core.runs import Attempt, Origin, RunView
from duly.core.states import RunState, RunVerb

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
RUN, BOOT = UUID(int=1), UUID(int=2)


def line(text: str) -> LogLine:
    return LogLine(at=AT, level="info", logger="shop", text=text)


def log(epoch: int = 1, told: int = 1, *texts: str) -> AttemptLog:
    return AttemptLog(
        run=RUN, epoch=epoch, told=told, lines=fitting([line(one) for one in texts], MOST_BYTES)
    )


@given(
    st.lists(st.text(max_size=LINE_CHARACTERS), max_size=30),
    st.integers(LEAST_BYTES, MOST_BYTES),
)
def test_the_last_lines_are_kept_and_never_more_than_fit(texts: list[str], most: int) -> None:
    lines = [line(one) for one in texts]
    kept = fitting(lines, most)
    assert len(kept) <= most
    found = lines_of(AttemptLog(run=RUN, epoch=1, told=len(lines), lines=kept))
    assert bool(found) == bool(lines), "the last line is always told, its end at least"
    if found:
        assert lines[-1].text.endswith(found[-1].text)
        assert found[:-1] == lines[len(lines) - len(found) : -1]


def test_the_more_attempts_are_kept_together_the_less_of_each() -> None:
    assert [share_of(one) for one in (0, 1, 64, 128, 1000, 10**6)] == [
        MOST_BYTES, MOST_BYTES, MOST_BYTES, TOGETHER_BYTES // 128, TOGETHER_BYTES // 1000,
        LEAST_BYTES,
    ]  # fmt: skip


def test_of_one_attempt_the_log_that_tells_most_is_the_one() -> None:
    logs = [log(2, 5), log(1, 1), log(2, 7), log(2, 6)]
    assert [(one.epoch, one.told) for one in fullest(logs)] == [(1, 1), (2, 7)]


def view(state: RunState, epoch: int, *past: tuple[int, RunVerb]) -> RunView:
    attempts = tuple(Attempt(number, BOOT, AT, AT, verb) for number, verb in past)
    return RunView(
        id=RUN, task="t", queue="default", priority=0, args=b"{}", origin=Origin.CALL, key=None,
        schedule=None, due=None, window_start=None, enqueued_at=AT, state=state, epoch=epoch,
        failures=0, deaths=0, attempts=attempts,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("outcome", "word"),
    [
        (RunVerb.TAKE_OVER, "lost its process"),
        (RunVerb.RELEASE, "handed back"),
        (RunVerb.WAIT, "waited"),
        (RunVerb.RETRY, "its task keeps nothing"),
    ],
)
def test_an_attempt_without_lines_says_why(outcome: RunVerb, word: str) -> None:
    first, second = account(view(RunState.SUCCEEDED, 2, (1, outcome)), [])
    assert (first.attempt, first.outcome, first.lines) == (1, outcome.value, ())
    assert word in first.unkept
    assert (second.attempt, second.outcome) == (2, "succeeded")
    assert "succeeded, which keeps nothing" in second.unkept


def test_an_account_leaves_no_attempt_out() -> None:
    past = [(number, RunVerb.RETRY) for number in range(1, 13)]
    told = account(view(RunState.RETRYING, 12, *past), [log(11, 300, "x"), log(12, 1, "y")])
    assert [one.attempt for one in told] == list(range(1, 13))
    assert ["newest 10" in one.unkept for one in told[:3]] == [True, True, False]
    assert told[10].unkept == "299 earlier lines are not kept"
    assert (told[11].unkept, told[11].lines[0].text) == ("", "y")


def test_a_run_that_never_began_has_no_attempts() -> None:
    assert account(view(RunState.READY, 0), []) == []
    assert account(view(RunState.CANCELLED, 0), []) == []


def test_a_line_reads_back_as_it_was() -> None:
    one = line('a \x00 \x1b[31m \u2028 "quoted"\n  tail')
    assert lines_of(log(1, 1, one.text)) == [one]
    assert b"\x00" not in fitting([one], MOST_BYTES)
    assert msgspec.json.decode(fitting([one], MOST_BYTES))[0]["text"] == one.text
