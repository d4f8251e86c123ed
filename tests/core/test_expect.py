"""Expectations: what is short or late is told once, plainly; what is not known is not guessed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duly.core.expect import (
    ENOUGH,
    HISTORY,
    Expect,
    Facts,
    expect_from_spec,
    judge,
    next_look,
)
from duly.core.states import RunState
from duly.errors import InvalidValue, UnknownName
from tests.stores.profiles import cases

TZ = "Europe/Amsterdam"
RUN = UUID(int=1)
DUE = datetime(2026, 11, 22, 6, tzinfo=UTC)  # 07:00 CET
MIN = timedelta(minutes=1)
LONG_AFTER = DUE + timedelta(hours=12)
OVER = [RunState.FAILED, RunState.CANCELLED, RunState.SKIPPED, RunState.EXPIRED]


def facts(**told: Any) -> Facts:
    """A run of `publish_prices` that was due at 07:00 CET, started then and took half an hour."""
    usual = {
        "task": "publish_prices", "run": RUN, "state": RunState.SUCCEEDED, "due": DUE,
        "ready_at": DUE, "started_at": DUE, "ended_at": DUE + 31 * MIN,
    }  # fmt: skip
    return Facts(**{**usual, **told})


def running(**told: Any) -> Facts:
    return facts(**{"state": RunState.RUNNING, "ended_at": None, **told})


def waiting(**told: Any) -> Facts:
    return facts(**{"state": RunState.READY, "started_at": None, "ended_at": None, **told})


NOBODY = waiting(run=None, state=None, ready_at=None)


def past(count: int = 20, **told: Any) -> list[Facts]:
    """Earlier runs of 41,203 messages each."""
    told = {"published": 41_203, **told}
    return [
        facts(run=UUID(int=100 + n), due=DUE - n * timedelta(days=1), **told)
        for n in range(1, count + 1)
    ]


def told(
    expect: Expect, one: Facts, history: list[Facts], now: datetime = LONG_AFTER
) -> list[tuple[str, str]]:
    return [(b.kind, b.summary) for b in judge(expect, one, history=history, now=now, zone=TZ)]


# --- what users write ---------------------------------------------------------------------

REFUSED: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({}, InvalidValue, "expected Expect to expect something"),
    ({"of": "effects"}, InvalidValue, "expected Expect to expect something"),
    ({"at_least": 1, "of": "efects"}, UnknownName, "did you mean 'effects'"),
    ({"at_least": 0}, InvalidValue, "expected at_least to be a whole number from 1"),
    ({"at_least": 1.5}, InvalidValue, "expected at_least"),
    ({"at_least": True}, InvalidValue, "expected at_least"),
    ({"usual": 0}, InvalidValue, "expected usual to be a number from"),
    ({"usual": 50}, InvalidValue, "expected usual"),
    ({"usual": float("nan")}, InvalidValue, "expected usual"),
    ({"usual": "half"}, InvalidValue, "expected usual"),
    ({"usual_duration": 0.5}, InvalidValue, "expected usual_duration"),
    ({"usual_duration": float("inf")}, InvalidValue, "expected usual_duration"),
    ({"start_within": "soon"}, InvalidValue, "expected start_within to be a duration"),
    ({"start_within": "07:45"}, InvalidValue, "expected start_within to be a duration"),
    ({"start_within": 0}, InvalidValue, "expected start_within to be longer than 0s"),
    ({"start_within": -1}, InvalidValue, "expected start_within"),
    ({"finish_by": "24:00"}, InvalidValue, "expected finish_by to be a time of day"),
    ({"finish_by": "7:45"}, InvalidValue, "expected finish_by to be a time of day"),
    ({"finish_by": "07:45 CET"}, InvalidValue, "expected finish_by to be a time of day"),
    ({"finish_by": ""}, InvalidValue, "expected finish_by to be a duration"),
]


@pytest.mark.parametrize(("given", "error", "words"), REFUSED)
def test_an_expectation_that_cannot_be_is_refused(
    given: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        Expect(**given)


EQUAL: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"start_within": "5m"}, {"start_within": timedelta(minutes=5)}),
    ({"start_within": 300}, {"start_within": "300s"}),
    ({"finish_by": "07:45:00"}, {"finish_by": "07:45"}),
    ({"finish_by": "07:00:00"}, {"finish_by": "07:00"}),
    ({"finish_by": "90m"}, {"finish_by": "1h30m"}),
    ({"at_least": 1000, "usual": 1, "of": "progress", "usual_duration": 2.5},) * 2,
]


@pytest.mark.parametrize(("one", "other"), EQUAL)
def test_an_expectation_is_canonical_and_survives_storage(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    expect = Expect(**one)
    assert expect == Expect(**other)
    assert expect_from_spec(msgspec.json.decode(msgspec.json.encode(expect.spec()))) == expect


def test_a_stored_expectation_with_an_unknown_key_is_refused() -> None:
    with pytest.raises(UnknownName, match="did you mean 'at_least'"):
        expect_from_spec({"at_lest": 3})


# --- output -------------------------------------------------------------------------------

HALF = Expect(usual=0.5)
THOUSAND = Expect(at_least=1000)
BOTH = Expect(at_least=1000, usual=0.5)
USUAL = "of the usual 41,203 (median of the last 20 runs)"

OUTPUT: list[tuple[Expect, Facts, list[Facts], str | None]] = [
    # The incident: the process was recycled, and two thirds of the prices were never published.
    (HALF, facts(published=13_734), past(), f"published 13,734: a third {USUAL}"),
    (THOUSAND, facts(published=0), past(), "published 0 of at least 1,000"),
    (THOUSAND, facts(published=999), [], "published 999 of at least 1,000"),
    (THOUSAND, facts(published=1000), [], None),
    (BOTH, facts(published=13_734), past(), f"published 13,734: a third {USUAL}"),
    (BOTH, facts(published=0), past(),
     f"published 0: none {USUAL}; at least 1,000 was expected"),
    (BOTH, facts(published=0), past(2), "published 0 of at least 1,000"),
    (HALF, facts(published=20_601), past(), f"published 20,601: just under half {USUAL}"),
    (HALF, facts(published=20_602), past(), None),
    (Expect(usual=1), facts(published=41_202), past(), f"published 41,202: 99 % {USUAL}"),
    (HALF, facts(published=100), past(), f"published 100: less than 1 % {USUAL}"),
    (HALF, facts(published=11_949), past(), f"published 11,949: 29 % {USUAL}"),
    (HALF, facts(published=29), past(published=100),
     "published 29: 29 % of the usual 100 (median of the last 20 runs)"),
    (HALF, facts(published=10_300), past(), f"published 10,300: a quarter {USUAL}"),
    (HALF, facts(published=4_120), past(), f"published 4,120: a tenth {USUAL}"),
    (Expect(usual=0.9), facts(published=27_469), past(), f"published 27,469: two thirds {USUAL}"),
    # Fewer than three say nothing about what is usual, nor does a usual nothing.
    (HALF, facts(published=0), past(ENOUGH - 1), None),
    (HALF, facts(published=1), past(ENOUGH),
     "published 1: less than 1 % of the usual 41,203 (median of the last 3 runs)"),
    (HALF, facts(published=0), past(published=0), None),
    # Only runs that succeeded, only the last twenty, never the run itself.
    (HALF, facts(published=0), past(19, state=RunState.FAILED) + past(2), None),
    (HALF, facts(published=10), past(HISTORY, published=10) + past(30), None),
    (HALF, facts(published=0), [facts(published=50)] * 5, None),
    # What is counted: the first of the three the run has, or most of its predecessors had.
    (THOUSAND, facts(done=24_700), [], None),
    (THOUSAND, facts(done=12, effects=3), [], "got through 12 of at least 1,000"),
    (THOUSAND, facts(effects=3), [], "performed 3 of at least 1,000 effects"),
    (THOUSAND, facts(effects=3_000), past(), "published 0 of at least 1,000"),
    (THOUSAND, facts(done=3_000), past(published=0, done=3_000), None),
    (THOUSAND, facts(done=3_000), past(19, published=0, done=3_000) + past(1), None),
    (Expect(at_least=5, of="effects"), facts(published=9_000, effects=4), [],
     "performed 4 of at least 5 effects"),
    (Expect(usual=0.5, of="effects"), facts(effects=4), past(4, effects=41),
     "performed 4 effects: a tenth of the usual 41 (median of the last 4 runs)"),
    (Expect(at_least=1, of="progress"), facts(published=9), [], "got through 0 of at least 1"),
    # Output is judged when the run has succeeded, and not before or otherwise.
    (BOTH, running(published=0), past(), None),
    (BOTH, waiting(), past(), None),
    (BOTH, NOBODY, past(), None),
    *((BOTH, facts(state=state), past(), None) for state in OVER),
]  # fmt: skip


@pytest.mark.parametrize(("expect", "one", "history", "summary"), OUTPUT)
def test_output_that_is_too_little_is_told_with_what_was_expected(
    expect: Expect, one: Facts, history: list[Facts], summary: str | None
) -> None:
    said = [] if summary is None else [("expect.output", summary)]
    assert told(expect, one, history) == said


def test_an_even_number_of_runs_has_the_middle_of_two_as_its_median() -> None:
    history = past(2, published=100) + past(2, published=200)
    (breach,) = judge(HALF, facts(published=74), history=history, now=LONG_AFTER, zone=TZ)
    assert breach.evidence == {
        "measure": "published", "got": "74", "median": "150", "runs": "4", "usual": "0.5",
    }  # fmt: skip


# --- in time ------------------------------------------------------------------------------

SOON = Expect(start_within="5m")
BY_CLOCK = Expect(finish_by="07:45")
IN_TIME = Expect(finish_by="45m")
SLOW = Expect(usual_duration=2)
NOON = DUE + 300 * MIN

LATE: list[tuple[Expect, Facts, datetime, str | None]] = [
    (SOON, facts(started_at=DUE + 12 * MIN), NOON,
     "started 12 min after it was due at 07:00 CET; within 5 min was expected"),
    (SOON, facts(started_at=DUE + 5 * MIN), NOON, None),
    (SOON, running(started_at=DUE - MIN), NOON, None),
    (SOON, waiting(), DUE + 5 * MIN - timedelta(microseconds=1), None),
    (SOON, waiting(), DUE + 5 * MIN,
     "not started 5 min after it was due at 07:00 CET; within 5 min was expected; "
     "it waits for a worker"),
    (SOON, running(ready_at=DUE + 9 * MIN, started_at=DUE + 9 * MIN), NOON,
     "started 9 min after it was due at 07:00 CET; within 5 min was expected"),
    (SOON, NOBODY, DUE + 12 * MIN,
     "not started 12 min after it was due at 07:00 CET; within 5 min was expected; "
     "no run was made for it"),
    (SOON, waiting(state=RunState.PARKED), DUE + timedelta(days=1),
     "not started 1 d after it was due at 2026-11-22 07:00 CET; within 5 min was expected; "
     "it is parked"),
    (SOON, waiting(state=RunState.EXPIRED, ended_at=DUE + 3 * MIN), NOON,
     "not started 5 h after it was due at 07:00 CET; within 5 min was expected; "
     "it expired at 07:03"),
    (SOON, waiting(due=None, ready_at=DUE + 30 * timedelta(seconds=1)), NOON,
     "not started 4 h 59 min after it was ready at 07:00:30 CET; within 5 min was expected; "
     "it waits for a worker"),
    (SOON, waiting(due=None, ready_at=None), NOON, None),
    # The run's end.
    (BY_CLOCK, running(done=24_700, total=40_500), DUE + 45 * MIN,
     "not finished by 07:45 CET; 60 % done (24,700 of 40,500), since 07:00"),
    (BY_CLOCK, running(done=24_706, total=40_500), DUE + 45 * MIN,
     "not finished by 07:45 CET; 61 % done (24,706 of 40,500), since 07:00"),
    (BY_CLOCK, running(), DUE + 45 * MIN - timedelta(microseconds=1), None),
    (BY_CLOCK, running(done=7), NOON, "not finished by 07:45 CET; 7 done, since 07:00"),
    (BY_CLOCK, running(done=0, total=0, published=13_734, started_at=DUE + 63 * MIN / 60), NOON,
     "not finished by 07:45 CET; 13,734 published, since 07:01"),
    (BY_CLOCK, running(effects=3), NOON, "not finished by 07:45 CET; 3 performed, since 07:00"),
    (BY_CLOCK, running(started_at=DUE + MIN), NOON,
     "not finished by 07:45 CET; started at 07:01"),
    (BY_CLOCK, running(state=RunState.RETRYING), NOON,
     "not finished by 07:45 CET; started at 07:00; it is retrying"),
    (BY_CLOCK, waiting(), NOON,
     "not finished by 07:45 CET; not started: it waits for a worker"),
    (BY_CLOCK, NOBODY, NOON, "not finished by 07:45 CET; not started: no run was made for it"),
    (BY_CLOCK, facts(state=RunState.FAILED, done=5, total=10), NOON,
     "not finished by 07:45 CET; 50 % done (5 of 10), since 07:00; it failed at 07:31"),
    (BY_CLOCK, facts(), NOON, None),
    (BY_CLOCK, facts(ended_at=DUE + 45 * MIN), NOON, None),
    (BY_CLOCK, facts(ended_at=DUE + 70 * MIN), NOON,
     "finished at 08:10 CET, 25 min late; by 07:45 CET was expected"),
    (IN_TIME, facts(ended_at=DUE + 46 * MIN), NOON,
     "finished at 07:46 CET, 1 min late; by 07:45 CET was expected"),
    (IN_TIME, running(due=None, ready_at=None), NOON, None),
    # How long it takes.
    (SLOW, facts(ended_at=DUE + 62 * MIN), NOON, None),
    (SLOW, facts(ended_at=DUE + 63 * MIN), NOON,
     "took 1 h 3 min: twice the usual 31 min (median of the last 20 runs)"),
    (SLOW, running(), DUE + 62 * MIN - timedelta(microseconds=1), None),
    (SLOW, running(), DUE + 62 * MIN,
     "has taken 1 h 2 min so far: twice the usual 31 min (median of the last 20 runs)"),
    (SLOW, running(state=RunState.WAITING), DUE + 93 * MIN,
     "has taken 1 h 33 min so far: 3 times the usual 31 min (median of the last 20 runs)"),
    (SLOW, facts(state=RunState.FAILED, ended_at=DUE + 99 * MIN), NOON, None),
    (SLOW, waiting(), NOON, None),
    # What a person or a policy took out is not late.
    *((expect, waiting(state=state, ended_at=DUE), NOON, None)
      for expect in (SOON, BY_CLOCK, IN_TIME, SLOW)
      for state in (RunState.CANCELLED, RunState.SKIPPED)),
]  # fmt: skip


@pytest.mark.parametrize(("expect", "one", "now", "summary"), LATE)
def test_what_is_late_is_told_from_the_instant_it_is_late(
    expect: Expect, one: Facts, now: datetime, summary: str | None
) -> None:
    said = [words for _, words in told(expect, one, past(), now)]
    assert said == ([] if summary is None else [summary])


def test_a_duration_has_no_verdict_before_three_runs_and_none_below_a_second() -> None:
    slow = facts(ended_at=DUE + 500 * MIN)
    assert told(SLOW, slow, past(ENOUGH - 1)) == []
    quick = [facts(run=one.run, ended_at=DUE) for one in past()]
    assert told(SLOW, facts(ended_at=DUE + timedelta(seconds=1)), quick) == []
    (said,) = told(SLOW, facts(ended_at=DUE + timedelta(seconds=2)), quick)
    assert said[1].startswith("took 2 s: far more than the usual 0 ms")


# Zone, due, time of day, the deadline it means.
DEADLINES = [
    (TZ, "2026-11-22T07:00+01:00", "07:45", "2026-11-22T06:45Z"),
    (TZ, "2026-11-22T07:45+01:00", "07:45", "2026-11-22T06:45Z"),
    (TZ, "2026-11-22T23:30+01:00", "07:45", "2026-11-23T06:45Z"),
    (TZ, "2026-11-22T23:30+01:00", "00:00:30", "2026-11-22T23:00:30Z"),
    (TZ, "2026-03-29T01:00+01:00", "02:30", "2026-03-29T01:00Z"),  # in the gap: its end
    (TZ, "2026-10-25T01:00+02:00", "02:30", "2026-10-25T00:30Z"),  # the fold: its first pass
    (TZ, "2026-10-25T02:45+02:00", "02:30", "2026-10-25T01:30Z"),  # due between the two
    (TZ, "2026-10-25T02:45+01:00", "02:30", "2026-10-26T01:30Z"),
    ("America/St_Johns", "2006-10-29T02:30:30+00:00", "23:30", "2006-10-29T03:00Z"),
    ("Pacific/Apia", "2011-12-29T20:00-10:00", "07:45", "2011-12-30T10:00Z"),  # a day skipped
]


@pytest.mark.parametrize(("tz", "due", "clock", "deadline"), DEADLINES)
def test_a_time_of_day_is_the_first_one_at_or_after_due(
    tz: str, due: str, clock: str, deadline: str
) -> None:
    expect, limit = Expect(finish_by=clock), datetime.fromisoformat(deadline)
    one = running(due=datetime.fromisoformat(due))
    before = limit - timedelta(microseconds=1)
    assert judge(expect, one, now=before, zone=tz) == ()
    (breach,) = judge(expect, one, now=limit, zone=tz)
    assert datetime.fromisoformat(breach.evidence["expected_by"]) == limit
    assert next_look(expect, one, now=before, zone=tz) == limit
    assert next_look(expect, one, now=limit, zone=tz) is None


def test_an_offset_without_a_name_is_told_as_one() -> None:
    (breach,) = judge(SOON, NOBODY, now=DUE + 12 * MIN, zone="America/Sao_Paulo")
    assert "due at 03:00 UTC-03;" in breach.summary


# --- the case as a whole ------------------------------------------------------------------

ALL = Expect(at_least=1000, usual=0.5, start_within="5m", finish_by="07:45", usual_duration=2)

SUBJECTS = [
    (waiting(), "publish_prices due 2026-11-22T06:00:00Z"),
    (NOBODY, "publish_prices due 2026-11-22T06:00:00Z"),
    (waiting(schedule="prices"), "prices due 2026-11-22T06:00:00Z"),
    (waiting(due=None), f"run {RUN} of publish_prices"),
    (waiting(due=None, run=None), "publish_prices"),
]


@pytest.mark.parametrize(("one", "subject"), SUBJECTS)
def test_a_case_has_one_name_before_and_after_its_run_exists(one: Facts, subject: str) -> None:
    (breach,) = judge(SOON, one, now=NOON, zone=TZ)
    assert breach.subject == subject


def test_every_breach_is_told_at_once_each_in_its_kind() -> None:
    worst = facts(started_at=DUE + 60 * MIN, ended_at=DUE + 240 * MIN)
    assert [kind for kind, _ in told(ALL, worst, past())] == [
        "expect.start", "expect.finish", "expect.output", "expect.duration",
    ]  # fmt: skip


def test_looks_come_one_after_another_until_everything_is_late_or_done() -> None:
    def look(one: Facts, minutes: int) -> datetime | None:
        return next_look(ALL, one, history=past(), now=DUE + minutes * MIN, zone=TZ)

    assert look(waiting(), 0) == DUE + 5 * MIN
    assert look(waiting(), 5) == DUE + 45 * MIN
    assert look(waiting(), 45) is None
    assert look(running(), 0) == DUE + 45 * MIN
    assert look(running(), 45) == DUE + 62 * MIN
    assert look(running(), 62) is None
    assert look(facts(), 0) is None
    assert look(waiting(state=RunState.CANCELLED), 0) is None
    assert look(facts(state=RunState.FAILED), 32) == DUE + 45 * MIN


minutes = st.integers(0, 300).map(lambda n: n * MIN)


@st.composite
def drawn(draw: st.DrawFn) -> Facts:
    """A run in any state, with instants in their order."""
    state = draw(st.sampled_from([None, *RunState]))
    begun = DUE + draw(minutes)
    over = state in (RunState.SUCCEEDED, *OVER)
    fresh = state in (None, RunState.SCHEDULED, RunState.READY)
    started = begun if state in (RunState.SUCCEEDED, RunState.RUNNING) else None
    if not fresh and draw(st.booleans()):
        started = begun
    return facts(
        run=None if state is None else RUN, state=state, started_at=started,
        ended_at=begun + draw(minutes) if over else None,
        published=draw(st.sampled_from([0, 999, 41_203])),
    )  # fmt: skip


@cases(300)
@given(drawn(), minutes, minutes, st.sampled_from([ALL, SOON, BY_CLOCK, SLOW, Expect(finish_by=1)]))
def test_between_two_looks_the_verdict_stays(
    one: Facts, since: timedelta, more: timedelta, expect: Expect
) -> None:
    def kinds(at: datetime) -> list[str]:
        return [b.kind for b in judge(expect, one, history=past(), now=at, zone=TZ)]

    now = DUE + since
    look = next_look(expect, one, history=past(), now=now, zone=TZ)
    last = now + more if look is None else min(now + more, look - timedelta(microseconds=1))
    assert kinds(now) == kinds(last)
    if look is not None:
        assert look > now
        assert len(kinds(look)) > len(kinds(now))
