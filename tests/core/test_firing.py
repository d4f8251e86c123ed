"""The planner of firing, over any story of clocks, edits and pauses.

A `Story` plays the store: it keeps the row, the backlogs and the closed ranges, and applies each
plan. After every act: each occurrence that came due has one verdict or lies in one backlog (P2),
none has two runs (P1), ranges never overlap, the mark never goes back, windows chain.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count, pairwise
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duly.core.firing import (
    DRAIN_CHUNK,
    LastRun,
    check_definition,
    last_run_of,
    plan_drain,
    plan_firing,
    plan_settle,
    plan_unblock,
    revise,
    run_for,
)
from duly.core.instants import jitter_of, next_fire, trigger_of
from duly.core.runs import NewRun, Origin
from duly.core.schedules import (
    Backlog,
    CatchUp,
    CatchUpMode,
    Definition,
    Overlap,
    ScheduleRow,
    Source,
)
from duly.core.states import RunState, ScheduleState
from duly.core.triggers import Cron, Every, occurrences_between, previous_at_or_before
from duly.core.verdicts import UNCOUNTED, Verdict, VerdictRange
from duly.errors import InvalidValue
from tests.stores.profiles import cases

T0 = datetime(2026, 3, 28, 22, tzinfo=UTC)  # hours before the clocks of Amsterdam turn
SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
ALL = CatchUp(mode=CatchUpMode.ALL, max_age=timedelta(days=30))

TRIGGERS: list[dict[str, object]] = [
    {"kind": "every", "interval": "1m"},
    {"kind": "every", "interval": "7m", "anchor": (T0 + 11 * SECOND).isoformat()},
    {"kind": "every", "interval": "5m", "end": (T0 + HOUR).isoformat()},
    {"kind": "every", "interval": "5m", "start": (T0 + HOUR).isoformat()},
    {"kind": "once", "at": (T0 + HOUR / 2).isoformat()},
    {"kind": "cron", "expression": "*/20 1-3 * * *", "tz": "Europe/Amsterdam"},
]


def definition(**how: Any) -> Definition:
    how = {"name": "s", "task": "t", "trigger": TRIGGERS[0], "overlap": Overlap.ALLOW} | how
    return Definition(**how)


catch_ups = st.builds(
    CatchUp,
    mode=st.sampled_from(CatchUpMode),
    max_age=st.sampled_from([timedelta(0), 10 * MINUTE, timedelta(days=1)]),
    max_count=st.sampled_from([0, 1, 5, 10_000]),
    pace=st.sampled_from([timedelta(0), MINUTE]),
    batch=st.booleans(),
)
definitions = st.builds(
    definition,
    trigger=st.sampled_from(TRIGGERS),
    catch_up=catch_ups,
    overlap=st.sampled_from(Overlap),
    jitter=st.sampled_from([timedelta(0), 50 * SECOND]),
)
chaining = st.builds(
    definition,
    trigger=st.sampled_from(TRIGGERS[:2]),
    catch_up=st.builds(
        CatchUp,
        mode=st.just(CatchUpMode.ALL),
        max_age=st.just(timedelta(days=30)),
        pace=st.sampled_from([timedelta(0), MINUTE]),
    ),
    jitter=st.sampled_from([timedelta(0), 50 * SECOND]),
)
steps = st.sampled_from(
    [timedelta(0), SECOND, 30 * SECOND, MINUTE, 3 * MINUTE, HOUR / 3, 2 * HOUR, -MINUTE]
)
acts = st.sampled_from(["fire", "fire", "fire", "drain", "drain", "edit", "pause", "resume"])


class Story:
    """One schedule, by the planner alone."""

    def __init__(self, first: Definition) -> None:
        self.now = T0
        self.row = ScheduleRow(
            name="s", owner="app", definition=first, digest=first.digest(), revision=1,
            source=Source.CODE, state=ScheduleState.ACTIVE, fired_through=T0,
            next_fire=next_fire(first, T0),
        )  # fmt: skip
        self.backlogs: list[Backlog] = []
        self.closed: list[VerdictRange] = []
        self.runs: list[NewRun] = []
        self.owed: set[datetime] = set()
        self._ids = (UUID(int=n) for n in count(1))

    def act(self, what: str, step: timedelta, other: Definition, last: LastRun) -> None:
        self.now += step
        mark, trigger = self.row.fired_through, trigger_of(self.row.definition)
        if what == "drain":
            self._drain()
        elif what == "fire":
            self._fire(last)
        else:
            self._change(what, other, last)
        assert self.row.fired_through >= mark, "the mark went back"
        self.owed.update(occurrences_between(trigger, mark, self.row.fired_through, limit=50_000))

    def _fire(self, last: LastRun) -> None:
        due = self.row.next_fire
        if due is not None and due <= self.now:
            self._apply(plan_firing(self.row, last, self.now, self.new_id))
            assert self.row.next_fire is None or self.row.next_fire > self.now

    def _change(self, what: str, other: Definition, last: LastRun) -> None:
        active = self.row.state is ScheduleState.ACTIVE
        if active:
            self._apply(plan_settle(self.row, last, self.now, self.new_id))
        else:
            self._apply(plan_unblock(self.row, self.now))
        if what == "edit":
            self.row = revise(self.row, other, self.now)
            return
        state = ScheduleState.ACTIVE if what == "resume" else ScheduleState.PAUSED
        fire = next_fire(self.row.definition, self.row.fired_through)
        self.row = msgspec.structs.replace(
            self.row, state=state, next_fire=fire if what == "resume" else None
        )

    def _drain(self) -> None:
        for backlog in [one for one in self.backlogs if one.next_at <= self.now]:
            plan = plan_drain(backlog, self.now, self.new_id)
            self.closed += plan.closed
            self.runs += plan.runs
            self.backlogs.remove(backlog)
            if plan.backlog is not None:
                assert plan.backlog.after > backlog.after, "a drain that drains nothing"
                self.backlogs.append(plan.backlog)

    def _apply(self, plan: Any) -> None:
        self.row = plan.row
        self.closed += plan.closed
        self.runs += plan.runs
        self.backlogs += [plan.backlog] if plan.backlog else []

    def new_id(self) -> UUID:
        return next(self._ids)

    def finish(self) -> None:
        """Settle the present and drain what is left."""
        self.act("fire" if self.row.state is ScheduleState.ACTIVE else "pause",
                 timedelta(0), self.row.definition, LastRun.NONE)  # fmt: skip
        while self.backlogs:
            self.now = max(self.now, *(one.next_at for one in self.backlogs))
            self._drain()

    @property
    def ranges(self) -> list[VerdictRange]:
        growing = [one.open_range for one in (self.row, *self.backlogs) if one.open_range]
        return sorted([*self.closed, *growing], key=lambda one: one.first)

    def check(self) -> None:
        """Hold P1 and P2, and that ranges are apart."""
        dues = [run.due for run in self.runs]
        assert len(dues) == len(set(dues)), "an occurrence has two runs"
        waiting = {d for d in self.owed for b in self.backlogs if b.after < d <= b.until}
        judged: set[datetime] = set()
        for one, after in pairwise(self.ranges):
            assert one.last < after.first, "ranges overlap"
        for one in self.ranges:
            inside = {due for due in self.owed if one.first <= due <= one.last}
            assert one.count in (len(inside), UNCOUNTED)
            assert {one.first, one.last} <= inside, "a range ends at no occurrence"
            judged |= inside
        assert not judged & waiting, "an occurrence is judged and waits"
        assert judged | waiting == self.owed, "an occurrence has no verdict"


Told = list[tuple[str, timedelta, Definition, LastRun]]
told = st.lists(
    st.tuples(acts, steps, definitions, st.sampled_from(LastRun)), min_size=1, max_size=12
)


@cases(150)
@given(definitions, told)
def test_every_occurrence_has_one_verdict_and_at_most_one_run(
    first: Definition, acts: Told
) -> None:
    story = Story(first)
    for act in acts:
        story.act(*act)
        story.check()
    story.finish()
    story.check()
    assert story.backlogs == []


@cases()
@given(chaining, st.lists(st.tuples(st.sampled_from(["fire", "drain"]), steps), max_size=12))
def test_windows_chain_when_everything_is_caught_up(
    first: Definition, acts: list[tuple[str, timedelta]]
) -> None:
    story = Story(first)
    for what, step in acts:
        story.act(what, step, first, LastRun.NONE)
    story.finish()
    runs = sorted(story.runs, key=lambda run: (run.due is not None, run.due))
    assert {run.due for run in runs} == story.owed
    for one, after in pairwise(runs):
        assert after.window_start == one.due


@cases(50)
@given(chaining, chaining, steps.filter(lambda step: step > timedelta(0)))
def test_windows_chain_across_an_edit(
    first: Definition, second: Definition, step: timedelta
) -> None:
    story = Story(first)
    story.act("fire", 11 * MINUTE, first, LastRun.NONE)
    story.act("edit", step, second, LastRun.NONE)
    story.act("fire", 23 * MINUTE, first, LastRun.NONE)
    story.finish()
    story.check()
    runs = sorted(story.runs, key=lambda run: (run.due is not None, run.due))
    assert all(after.window_start == one.due for one, after in pairwise(runs))


@cases(50)
@given(catch_ups, st.integers(2, 400))
def test_a_stretch_is_judged_or_drained_exactly(policy: CatchUp, missed: int) -> None:
    story = Story(definition(catch_up=policy))
    story.act("fire", missed * MINUTE, story.row.definition, LastRun.NONE)
    waiting = sum(
        len(occurrences_between(trigger_of(b.definition), b.after, b.until, limit=1000))
        for b in story.backlogs
    )
    assert waiting <= policy.max_count
    before = len(story.runs)
    story.finish()
    assert len(story.runs) - before == (min(waiting, 1) if policy.batch else waiting)
    assert sum(one.count for one in story.ranges) == missed
    story.check()


def test_the_range_so_far_does_not_grow_across_a_backlog() -> None:
    story = Story(definition(catch_up=ALL))
    story.act("fire", MINUTE, story.row.definition, LastRun.NONE)
    story.act("fire", 5 * MINUTE, story.row.definition, LastRun.NONE)
    assert [(one.first, one.last, one.count) for one in story.ranges] == [
        (T0 + MINUTE, T0 + MINUTE, 1),
        (T0 + 6 * MINUTE, T0 + 6 * MINUTE, 1),
    ]
    story.check()


def test_a_backlog_is_drained_in_chunks_or_one_by_one() -> None:
    for pace, chunk in ((timedelta(0), DRAIN_CHUNK), (MINUTE, 1)):
        policy = msgspec.structs.replace(ALL, pace=pace)
        story = Story(definition(catch_up=policy))
        story.act("fire", 251 * MINUTE, story.row.definition, LastRun.NONE)
        [backlog] = story.backlogs
        plan = plan_drain(backlog, story.now, story.new_id)
        assert len(plan.runs) == chunk
        assert plan.backlog is not None
        assert plan.backlog.next_at == story.now + pace
        assert {run.origin for run in plan.runs} == {Origin.CATCH_UP}


def test_a_stretch_too_long_to_count_is_said_to_be_so() -> None:
    story = Story(definition(trigger={"kind": "every", "interval": "1s"}))
    story.act("fire", 6 * HOUR, story.row.definition, LastRun.NONE)
    missed, fired = story.ranges
    assert (missed.count, missed.verdict, fired.count) == (UNCOUNTED, Verdict.MISSED, 1)
    assert (missed.first, missed.last) == (T0 + SECOND, T0 + 6 * HOUR - SECOND)


@cases()
@given(st.integers(0, 10_000), st.integers(0, 59_999))
def test_jitter_is_even_bounded_and_always_the_same(minutes: int, jitter_ms: int) -> None:
    jitter = timedelta(milliseconds=jitter_ms)
    one, due = definition(jitter=jitter), T0 + minutes * MINUTE
    offset = jitter_of(one, due)
    assert timedelta(0) <= offset <= jitter
    assert offset < jitter or not jitter
    assert offset == jitter_of(definition(jitter=jitter), due)
    fires = next_fire(one, due - SECOND)
    assert fires == due + offset


def test_jitter_spreads_schedules_apart() -> None:
    offsets = [jitter_of(definition(name=f"s{n}", jitter=MINUTE), T0) for n in range(400)]
    quarters = [sum(offset // (15 * SECOND) == n for offset in offsets) for n in range(4)]
    assert min(quarters) > 60


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"jitter": MINUTE}, "smaller than the smallest gap"),
        ({"jitter": -SECOND}, "0 or more"),
        ({"overlap": Overlap.QUEUE_ALL, "limit_key": "l", "limit": 1}, "queueing is a limit of 1"),
    ],
)
def test_a_contradiction_is_refused(how: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidValue, match=words):
        check_definition(definition(**how))
    fine = definition(jitter=59 * SECOND)
    assert check_definition(fine) is fine


def test_only_live_runs_that_are_not_parked_overlap() -> None:
    standing = {state: last_run_of(state) for state in RunState}
    live = {RunState.SCHEDULED, RunState.READY, RunState.RETRYING, RunState.WAITING}
    assert {s for s, last in standing.items() if last is LastRun.QUEUED} == live
    assert {s for s, last in standing.items() if last is LastRun.RUNNING} == {RunState.RUNNING}
    assert last_run_of(None) is LastRun.NONE


LIMITS: list[tuple[Overlap, CatchUpMode, str | None, tuple[str | None, int]]] = [
    (Overlap.ALLOW, CatchUpMode.LATEST, None, (None, 0)),
    (Overlap.ALLOW, CatchUpMode.ALL, "l", ("l", 3)),
    (Overlap.SKIP, CatchUpMode.LATEST, "l", ("l", 3)),
    (Overlap.SKIP, CatchUpMode.ALL, None, ("schedule:s", 1)),
    (Overlap.QUEUE_ONE, CatchUpMode.LATEST, None, ("schedule:s", 1)),
    (Overlap.QUEUE_ALL, CatchUpMode.LATEST, None, ("schedule:s", 1)),
    (Overlap.CANCEL_RUNNING, CatchUpMode.SKIP, None, ("schedule:s", 1)),
]


@pytest.mark.parametrize(("overlap", "mode", "own", "expected"), LIMITS)
def test_queueing_is_a_limit_of_one(
    overlap: Overlap, mode: CatchUpMode, own: str | None, expected: tuple[str | None, int]
) -> None:
    one = definition(
        overlap=overlap, catch_up=CatchUp(mode=mode), limit_key=own, limit=3 if own else 0
    )
    run = run_for(one, T0, origin=Origin.BACKFILL, run_id=UUID(int=1), by="ann", key="k")
    assert (run.limit_key, run.limit) == expected
    assert (run.key, run.due, run.window_start) == ("k", T0, T0 - MINUTE)


def test_what_cancels_the_earlier_run_names_it() -> None:
    earlier = UUID(int=99)
    for last, expected in ((LastRun.RUNNING, earlier), (LastRun.QUEUED, earlier),
                           (LastRun.NONE, None)):  # fmt: skip
        story = Story(definition(overlap=Overlap.CANCEL_RUNNING))
        row = msgspec.structs.replace(story.row, last_run=str(earlier))
        plan = plan_firing(row, last, T0 + MINUTE, story.new_id)
        assert plan.cancel == expected
        assert plan.row.last_run == str(plan.runs[0].id)


def test_a_return_says_why_and_by_whom() -> None:
    later = T0 + 3 * MINUTE
    rows: list[tuple[dict[str, Any], str, str]] = [
        ({"state": ScheduleState.PAUSED, "reason": "rest", "by": "bob"}, "paused: rest", "bob"),
        ({"state": ScheduleState.TRIPPED}, "tripped", "duly"),
        ({"by": "bob", "reason": "an edit"},
         "orphaned: no live or recent instance declares it", "duly"),
    ]  # fmt: skip
    for how, reason, by in rows:
        row = msgspec.structs.replace(Story(definition()).row, **how)
        plan = plan_unblock(row, later)
        blocked = plan.row.open_range
        assert blocked is not None
        assert (blocked.verdict, blocked.count) == (Verdict.BLOCKED, 3)
        assert (blocked.reason, blocked.by) == (reason, by)
        assert plan.row.fired_through == later


def test_nothing_due_changes_nothing_but_what_is_next() -> None:
    story = Story(definition())
    plans: list[Callable[[], Any]] = [
        lambda: plan_firing(story.row, LastRun.NONE, T0, story.new_id),
        lambda: plan_settle(story.row, LastRun.NONE, T0 - HOUR, story.new_id),
        lambda: plan_unblock(story.row, T0 - HOUR),
    ]
    for plan in plans:
        done = plan()
        assert (done.row, done.closed, done.runs) == (story.row, (), ())


def test_a_year_of_missed_seconds_costs_what_is_kept_of_it() -> None:
    start = datetime(2025, 1, 1, tzinfo=UTC)
    now = start + timedelta(days=365)
    triggers = [
        Every(timedelta(seconds=1)),
        Cron("* * * * 12 *", seconds="first"),  # dense in December only
        Cron("0 1 * * *"),
    ]
    for trigger in triggers:
        definition = Definition(
            name="s",
            task="t",
            trigger=trigger.spec(),
            catch_up=CatchUp(mode=CatchUpMode.ALL, max_age=timedelta(days=400), max_count=50),
        )
        row = ScheduleRow(
            name="s",
            owner="o",
            definition=definition,
            digest="d",
            revision=1,
            source=Source.CODE,
            state=ScheduleState.ACTIVE,
            fired_through=start,
            next_fire=start,
        )
        backlog = plan_firing(row, LastRun.NONE, now, uuid4).backlog
        assert backlog is not None
        dues = occurrences_between(trigger, backlog.after, backlog.until, limit=1000)
        assert len(dues) == 50
        newest = previous_at_or_before(trigger, now)
        assert newest is not None
        assert trigger.next_after(dues[-1]) == newest
