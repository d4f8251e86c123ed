"""Breakers decide: what opens one, how long it rests, who may probe, what closes it.

Stories are tables of what was told, and what it came to. The machine lets many callers ask, tell,
die and come late, and holds that there is one probe at most, and that nothing passes besides it.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from duly.core.breakers import (
    Ask,
    Breaker,
    BreakerPolicy,
    BreakerRow,
    Came,
    Permission,
    Report,
    breaker_for,
    breaker_of_schedule,
    schedule_of_breaker,
)
from duly.core.faults import Fault
from duly.core.runs import Answer
from duly.core.states import BreakerState, BreakerVerb
from duly.core.tripping import CALM, on_ask, on_move, on_report
from duly.errors import InvalidValue
from tests.stores.profiles import stories

S = timedelta(seconds=1)
T0 = datetime(2026, 3, 1, 12, tzinfo=UTC)
BOOT = UUID(int=7)
PLAIN = BreakerPolicy(threshold=3, pause=30 * S, jitter=0.0)


class Target:
    """One breaker and its clock, told step by step."""

    def __init__(self, policy: BreakerPolicy = PLAIN) -> None:
        self.policy, self.now, self.leases = policy, T0, 0
        self.row: BreakerRow | None = None
        self.opened = self.closed = 0

    def state(self) -> BreakerState:
        return BreakerState.CLOSED if self.row is None else self.row.state

    def tell(self, came: Came, lease: int | None = None, **more: Any) -> None:
        report = Report(
            breaker="b",
            came=came,
            policy=self.policy,
            fault=Fault.TIMED_OUT.value,
            lease=None if lease is None else UUID(int=lease),
            **more,
        )
        decided = on_report(self.row, report, self.now)
        self._take(decided)

    def _take(self, decided: Any) -> None:
        self.row = decided.row if decided.write else self.row
        self.opened += decided.opened is not None
        self.closed += decided.closed is not None

    def ask(self, lease: int | None = None) -> tuple[Permission, int, timedelta]:
        if lease is None:
            self.leases += 1
            lease = self.leases
        ask = Ask("b", UUID(int=lease), self.policy.probe_deadline)
        permit, decided = on_ask(self.row, ask, BOOT, self.now)
        self._take(decided)
        return permit.permission, lease, permit.rest

    def move(self, verb: BreakerVerb) -> Answer:
        answer, decided = on_move(self.row, "b", verb, by="bob", why="so", now=self.now)
        self._take(decided)
        return answer

    def open(self) -> Target:
        while self.state() is not BreakerState.OPEN:
            self.tell(Came.BROKEN)
        return self

    def probe(self) -> int:
        """Wait until a probe is due, and take it; return its lease."""
        permission, lease, rest = self.ask()
        while permission is Permission.REFUSED:
            self.now += rest
            permission, lease, rest = self.ask()
        assert permission is Permission.PROBE
        return lease

    @property
    def lease(self) -> timedelta:
        assert self.row is not None and self.row.probe_until is not None
        return self.row.probe_until - self.now

    @property
    def rest(self) -> timedelta:
        assert self.row is not None and self.row.probe_at is not None
        return self.row.probe_at - self.now


# --- opening ------------------------------------------------------------------------------------

# what is told (B broken, G good, N neither; a number waits so many seconds), policy, open after
OPENINGS: list[tuple[str, dict[str, Any], bool]] = [
    ("BB", {}, False),
    ("BBB", {}, True),
    ("BBGB", {}, False),
    ("BBNB", {}, True),
    ("GGGBBB", {}, True),
    ("B", {"threshold": 1}, True),
    ("NNNN", {"threshold": 1}, False),
    ("BGBGB", {"within": 60 * S}, True),
    ("B 50 B 20 B", {"within": 60 * S}, False),
    ("B 50 B 5 B", {"within": 60 * S}, True),
]


@pytest.mark.parametrize(("told", "how", "opens"), OPENINGS)
def test_it_opens_at_its_threshold_and_not_before(
    told: str, how: dict[str, Any], opens: bool
) -> None:
    target = Target(BreakerPolicy(**{"threshold": 3, "pause": 30 * S, **how}))
    words = {"B": Came.BROKEN, "G": Came.GOOD, "N": Came.NEITHER}
    for part in told.split():
        if part.isdigit():
            target.now += int(part) * S
        else:
            for letter in part:
                target.tell(words[letter])
    assert (target.state() is BreakerState.OPEN, target.opened) == (opens, int(opens))


def test_a_call_of_a_target_that_nothing_is_known_against_passes() -> None:
    target = Target()
    assert target.ask()[0] is Permission.PASS
    assert target.row is None
    target.tell(Came.GOOD)
    assert target.row is None, "a success costs nothing where nothing was counted"


def test_it_keeps_who_failed_last_and_of_what() -> None:
    target = Target()
    for _ in range(3):
        target.tell(Came.BROKEN, error="no answer\nin 30 s", who="pay")
    row = target.row
    assert row is not None
    assert (row.failures, row.error, row.who) == (3, "no answer in 30 s", "pay")
    assert row.why == "3 failures in a row, the last: timed out: no answer in 30 s"
    assert row.opened_at == row.failed_at == T0


# --- resting and probing ------------------------------------------------------------------------


def test_while_it_is_open_nothing_passes_and_the_rest_is_told() -> None:
    target = Target().open()
    assert target.ask()[::2] == (Permission.REFUSED, 30 * S)
    target.now += 29 * S
    assert target.ask()[::2] == (Permission.REFUSED, S)


def test_one_call_probes_and_the_others_wait_for_it() -> None:
    target = Target().open()
    lease = target.probe()
    assert target.ask()[::2] == (Permission.REFUSED, target.policy.probe_deadline)
    assert target.ask(lease)[0] is Permission.PROBE, "a resent ask has the same answer"
    target.tell(Came.GOOD, lease=lease)
    assert (target.state(), target.closed) == (BreakerState.CLOSED, 1)


def test_pauses_grow_and_are_capped() -> None:
    target = Target(BreakerPolicy(threshold=1, pause=30 * S, slowest=300 * S, jitter=0.0)).open()
    rests = [target.rest]
    for _ in range(6):
        target.tell(Came.BROKEN, lease=target.probe())
        rests.append(target.rest)
    assert [rest / S for rest in rests] == [30, 60, 120, 240, 300, 300, 300]
    assert (target.opened, target.closed) == (1, 0), "a probe that fails opens nothing anew"


@pytest.mark.parametrize(("draw", "rest"), [(0.0, 30.0), (0.5, 27.0), (1.0, 24.0)])
def test_a_pause_is_shorter_by_the_lot_and_never_longer(draw: float, rest: float) -> None:
    target = Target(BreakerPolicy(threshold=1, pause=30 * S, jitter=0.2))
    target.tell(Came.BROKEN, draw=draw)
    assert target.rest / S == pytest.approx(rest)


@pytest.mark.parametrize(("asked", "rest"), [(5, 30), (600, 600), (7200, 7200)])
def test_retry_after_is_obeyed(asked: int, rest: int) -> None:
    target = Target(BreakerPolicy(threshold=1, pause=30 * S, slowest=3600 * S, jitter=0.0))
    target.tell(Came.BROKEN, retry_after=asked * S)
    assert target.rest == rest * S


def test_a_call_under_way_may_only_say_come_back_later() -> None:
    target = Target().open()
    before = target.row
    target.tell(Came.BROKEN)
    target.tell(Came.GOOD)
    assert target.row == before
    target.tell(Came.BROKEN, retry_after=100 * S)
    assert target.rest == 100 * S


def test_an_unanswered_probe_is_neither_and_another_may_probe() -> None:
    target = Target().open()
    lost = target.probe()
    target.now += target.policy.probe_deadline
    permission, lease, _ = target.ask()
    assert permission is Permission.PROBE
    assert target.row is not None and (target.row.openings, target.row.probes) == (1, 1)
    target.tell(Came.NEITHER, lease=lost)
    assert target.state() is BreakerState.HALF_OPEN, "its lease is another's"
    target.tell(Came.GOOD, lease=lease)
    assert target.state() is BreakerState.CLOSED


def test_leases_grow_while_nobody_answers() -> None:
    target, lengths = Target().open(), []
    for _ in range(4):
        target.probe()
        lengths.append(target.lease / S)
    assert lengths == [30, 60, 120, 120]
    target.now += 120 * S
    target.tell(Came.BROKEN, lease=target.probe())
    target.probe()
    assert target.lease == 30 * S, "it answered: the next is no slower than any"


# what became of a probe and, since, of the breaker; what the first says late; how it stands then
BELATED = [
    ("lost", Came.GOOD, "closed"),
    ("lost", Came.BROKEN, "open"),
    ("lost", Came.NEITHER, "half_open"),
    ("lost, failed, lost", Came.GOOD, "half_open"),
    ("lost, forced, probed", Came.GOOD, "half_open"),
    ("lost, closed, opened, lost", Came.GOOD, "half_open"),
]


@pytest.mark.parametrize(("story", "came", "state"), BELATED)
def test_a_slow_probe_is_heard_unless_the_target_failed_since(
    story: str, came: Came, state: str
) -> None:
    target = Target().open()
    first = lease = target.probe()
    for step in story.split(", "):
        match step:
            case "lost":
                target.now += 4 * target.policy.probe_deadline
                lease = target.probe()
            case "failed":
                target.tell(Came.BROKEN, lease=lease)
                lease = target.probe()
            case "forced":
                target.move(BreakerVerb.FORCE_OPEN)
            case "probed":
                target.move(BreakerVerb.PROBE)
                target.probe()
            case "closed":
                target.tell(Came.GOOD, lease=lease)
            case _:
                lease = target.open().probe()
    target.tell(came, lease=first, took=timedelta(0))
    assert target.state() == state


def test_who_waits_for_a_long_probe_looks_now_and_then() -> None:
    target = Target(msgspec.structs.replace(PLAIN, probe_deadline=3600 * S)).open()
    target.probe()
    assert target.ask()[::2] == (Permission.REFUSED, 30 * S)
    target.now += 3590 * S
    assert target.ask()[::2] == (Permission.REFUSED, 10 * S)


def test_a_probe_that_has_started_is_waited_for() -> None:
    target = Target().open()
    lease = target.probe()
    target.tell(Came.STARTED, lease=lease, lasts=600 * S)
    assert (target.state(), target.lease) == (BreakerState.HALF_OPEN, 600 * S)
    target.tell(Came.STARTED, lease=lease, lasts=60 * S)
    assert target.lease == 600 * S, "it is never cut short"
    target.tell(Came.STARTED, lease=99, lasts=900 * S)
    assert target.lease == 600 * S, "nobody else prolongs it"
    target.now += 500 * S
    target.tell(Came.GOOD, lease=lease)
    assert target.state() is BreakerState.CLOSED
    target.tell(Came.STARTED, lease=lease, lasts=600 * S)
    assert target.state() is BreakerState.CLOSED


@pytest.mark.parametrize(("told", "most", "calls"), [(True, 1, 1), (False, 2, 2)])
def test_a_target_that_is_slow_and_well_closes_it(told: bool, most: int, calls: int) -> None:
    """One asks each second; the target answers well, after a minute each time."""
    slow = Breaker("b").lasting(60 * S) if told else Breaker("b")
    target = Target(slow.policy).open()
    under_way: dict[int, datetime] = {}
    called = 0
    while target.state() is not BreakerState.CLOSED:
        assert target.now < T0 + timedelta(minutes=5)
        target.now += S
        for lease in [one for one, until in under_way.items() if until <= target.now]:
            del under_way[lease]
            target.tell(Came.GOOD, lease=lease, took=60 * S)
        permission, lease, _ = target.ask()
        if permission is Permission.PROBE:
            under_way[lease], called = target.now + 60 * S, called + 1
        assert len(under_way) <= most
    assert called == calls


def test_success_of_slow_probes_is_counted_once_each() -> None:
    target = Target(msgspec.structs.replace(PLAIN, closes_after=2)).open()
    slow = target.probe()
    target.now += target.policy.probe_deadline
    lease = target.probe()
    for _ in range(2):
        target.tell(Came.GOOD, lease=slow)
    assert target.state() is BreakerState.HALF_OPEN
    assert target.row is not None and target.row.probe == UUID(int=lease), "it is under way still"
    target.tell(Came.GOOD, lease=lease)
    assert target.state() is BreakerState.CLOSED


LASTING = [("30s", 5, 30), ("30s", 60, 70), ("2m", 60, 120), ("30s", 86_400, 3_610)]


@pytest.mark.parametrize(("said", "call_s", "lease_s"), LASTING)
def test_a_probe_may_take_as_long_as_its_call(said: str, call_s: int, lease_s: int) -> None:
    found = Breaker("b", probe_deadline=said).lasting(call_s * S)
    assert found.policy.probe_deadline == lease_s * S


def test_a_late_answer_counts_while_nobody_else_probes() -> None:
    target = Target().open()
    lease = target.probe()
    target.now += 2 * target.policy.probe_deadline
    target.tell(Came.GOOD, lease=lease)
    assert target.state() is BreakerState.CLOSED


def test_a_probe_that_says_nothing_of_the_target_rests_as_long_again() -> None:
    target = Target().open()
    target.tell(Came.NEITHER, lease=target.probe())
    assert (target.state(), target.rest) == (BreakerState.OPEN, 30 * S)


def test_it_may_want_several_probes() -> None:
    target = Target(BreakerPolicy(threshold=1, pause=30 * S, closes_after=2, jitter=0.0)).open()
    target.tell(Came.GOOD, lease=target.probe())
    assert target.state() is BreakerState.HALF_OPEN
    target.tell(Came.GOOD, lease=target.probe())
    assert target.state() is BreakerState.CLOSED


# --- flapping -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("calm", "rest"), [(CALM * 30 - 1, 60), (CALM * 30, 30)])
def test_an_opening_soon_after_a_closing_goes_on_with_the_longer_pause(
    calm: int, rest: int
) -> None:
    target = Target().open()
    target.tell(Came.GOOD, lease=target.probe())
    target.now += calm * S
    target.open()
    assert target.rest == rest * S
    assert (target.opened, target.closed) == (2, 1)


def test_failures_of_calls_begun_before_it_closed_are_not_counted() -> None:
    target = Target(BreakerPolicy(threshold=1, pause=30 * S, jitter=0.0)).open()
    target.tell(Came.GOOD, lease=target.probe())
    target.now += 5 * S
    target.tell(Came.BROKEN, took=6 * S)
    assert target.state() is BreakerState.CLOSED
    target.tell(Came.BROKEN, took=4 * S)
    assert target.state() is BreakerState.OPEN


# --- a person's word ----------------------------------------------------------------------------

CLOSED, OPEN, HALF = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN
V = BreakerVerb
MOVES = [
    ("new", V.RESUME, Answer.UNKNOWN, CLOSED),
    ("new", V.PROBE, Answer.UNKNOWN, CLOSED),
    ("new", V.FORCE_OPEN, Answer.DONE, OPEN),
    ("new", V.FORCE_CLOSE, Answer.DONE, CLOSED),
    ("failing", V.RESUME, Answer.DONE, CLOSED),
    ("failing", V.PROBE, Answer.IMPOSSIBLE, CLOSED),
    ("open", V.RESUME, Answer.DONE, CLOSED),
    ("open", V.PROBE, Answer.DONE, HALF),
    ("open", V.FORCE_OPEN, Answer.DONE, OPEN),
    ("open", V.FORCE_CLOSE, Answer.DONE, CLOSED),
    ("probed", V.PROBE, Answer.ALREADY, HALF),
    ("probed", V.RESUME, Answer.DONE, CLOSED),
    ("open", V.TRIP, Answer.IMPOSSIBLE, OPEN),
]


@pytest.mark.parametrize(("start", "verb", "answer", "state"), MOVES)
def test_a_person_may_force_or_resume_from_any_state(
    start: str, verb: BreakerVerb, answer: Answer, state: BreakerState
) -> None:
    target = Target()
    if start == "failing":
        target.tell(Came.BROKEN)
    elif start in ("open", "probed"):
        target.open()
    if start == "probed":
        target.probe()
    assert (target.move(verb), target.state()) == (answer, state)
    if answer is Answer.DONE:
        before = target.row
        assert (target.move(verb), target.row) == (Answer.ALREADY, before)


def test_what_is_forced_open_is_not_probed_until_somebody_says_so() -> None:
    target = Target()
    target.move(BreakerVerb.FORCE_OPEN)
    target.now += timedelta(days=9)
    assert target.ask()[0] is Permission.REFUSED
    target.move(BreakerVerb.PROBE)
    permission, lease, _ = target.ask()
    assert permission is Permission.PROBE
    target.tell(Came.GOOD, lease=lease)
    assert (target.state(), target.opened, target.closed) == (BreakerState.CLOSED, 1, 1)


def test_what_is_forced_closed_counts_and_does_not_open() -> None:
    target = Target()
    target.move(BreakerVerb.FORCE_CLOSE)
    for _ in range(10):
        target.tell(Came.BROKEN)
    assert target.row is not None
    assert (target.state(), target.row.failures) == (BreakerState.CLOSED, 10)
    target.move(BreakerVerb.RESUME)
    assert target.row.failures == 0
    target.open()
    assert target.opened == 1


# --- names and policies -------------------------------------------------------------------------

WRONG: list[dict[str, Any]] = [
    {"name": "two words"},
    {"threshold": 0},
    {"threshold": True},
    {"closes_after": 1001},
    {"growth": 0.5},
    {"jitter": 1.0},
    {"pause": "0s"},
    {"pause": "soon"},
    {"pause": "2h", "slowest": "1h"},
    {"within": 0},
    {"counts": "all"},
    {"of": "host"},
]


@pytest.mark.parametrize("how", WRONG, ids=repr)
def test_a_breaker_that_cannot_be_right_is_refused(how: dict[str, Any]) -> None:
    with pytest.raises(InvalidValue, match="expected"):
        Breaker(**how)


OWNERS = [
    (None, None, None),
    (Breaker("smtp"), "nightly", "smtp"),
    (Breaker(), "nightly", "task:pay"),
    (Breaker(fixed=True), "nightly", "schedule:nightly"),
    (Breaker(fixed=True), None, "task:pay"),
    (Breaker(of=lambda given: Breaker(f"shop-{given['shop']}")), "nightly", "shop-7"),
    (Breaker(of=lambda given: None), "nightly", "task:pay"),
]


@pytest.mark.parametrize(("declared", "schedule", "name"), OWNERS)
def test_a_run_has_the_breaker_that_is_named_or_its_schedules_or_its_tasks(
    declared: Breaker | None, schedule: str | None, name: str | None
) -> None:
    found = breaker_for(declared, "pay", schedule, {"shop": 7})
    assert (found and found.name) == name


def test_a_schedules_breaker_names_its_schedule() -> None:
    assert schedule_of_breaker(breaker_of_schedule("nightly")) == "nightly"
    assert schedule_of_breaker("smtp") is None


def test_what_counts_is_the_users_to_say() -> None:
    plain, chosen = Breaker("b"), Breaker("b", counts=lambda error: isinstance(error, KeyError))
    assert plain.blames(TimeoutError(), Fault.TIMED_OUT) and not plain.blames(
        KeyError(), Fault.OURS
    )
    assert chosen.blames(KeyError(), Fault.OURS) and not chosen.blames(
        TimeoutError(), Fault.TIMED_OUT
    )


# --- any story ----------------------------------------------------------------------------------


class Callers(RuleBasedStateMachine):
    """Callers that ask, tell, die and come late, in any order."""

    kind = Target

    def __init__(self) -> None:
        super().__init__()
        self.target = self.kind(
            BreakerPolicy(threshold=2, pause=10 * S, slowest=80 * S, probe_deadline=7 * S)
        )
        self.under_way: list[tuple[int | None, datetime]] = []  # its lease if it probes, its start
        self.probing: dict[int, datetime] = {}  # lease: until when nobody else may probe
        self.ceilings: list[timedelta] = []

    @rule(seconds=st.sampled_from([0, 1, 3, 7, 11, 90, 900]))
    def wait(self, seconds: int) -> None:
        self.target.now += seconds * S

    @rule()
    def call(self) -> None:
        target = self.target
        state, forced = target.state(), bool(target.row and target.row.forced)
        live = [lease for lease, until in self.probing.items() if target.now < until]
        permission, lease, rest = target.ask()
        if permission is Permission.PROBE:
            assert state is not BreakerState.CLOSED and not forced
            assert not live, "two probes at a time"
            self.probing = {lease: target.now + target.policy.probe_deadline}
        elif permission is Permission.PASS:
            assert state is BreakerState.CLOSED, "a call passed an open breaker"
        else:
            assert rest > timedelta(0)
            return
        probe = lease if permission is Permission.PROBE else None
        self.under_way.append((probe, target.now))

    @rule(
        pick=st.integers(0, 20),
        came=st.sampled_from([Came.BROKEN, Came.BROKEN, Came.GOOD, Came.NEITHER]),
        draw=st.floats(0, 0.99),
        after=st.sampled_from([None, None, 5, 200]),
    )
    def answer(self, pick: int, came: Came, draw: float, after: int | None) -> None:
        if not self.under_way:
            return
        lease, began = self.under_way.pop(pick % len(self.under_way))
        target, openings = self.target, self.target.row.openings if self.target.row else 0
        rest = None if after is None else after * S
        took = target.now - began
        before = target.state()
        target.tell(came, lease=lease, draw=draw, retry_after=rest, took=took)
        row = target.row
        if row is not None and target.state() is BreakerState.OPEN and row.openings > openings:
            assert before is not BreakerState.OPEN
            if openings:
                assert row.pause >= self.ceilings[-1], "a pause in a row is no shorter"
            self.ceilings.append(row.pause)
            assert row.pause <= target.policy.slowest
            least = max(row.pause * (1 - target.policy.jitter), rest or timedelta(0))
            assert target.rest >= least - timedelta(microseconds=1)
        if before is BreakerState.HALF_OPEN and target.state() is not before:
            self.probing.clear()  # whoever of them said so, the lease is nobody's now

    @rule(calls=st.integers(2, 4))
    def stampede(self, calls: int) -> None:
        """It breaks, its pause ends, and all call at once."""
        target = self.target
        for _ in range(target.policy.threshold):
            target.tell(Came.BROKEN)
        row = target.row
        if row is not None and row.state is BreakerState.OPEN:
            self.ceilings.append(row.pause)
            target.now = max(target.now, row.probe_at or target.now)
        for _ in range(calls):
            self.call()

    @rule(pick=st.integers(0, 20))
    def die(self, pick: int) -> None:
        if self.under_way:
            self.under_way.pop(pick % len(self.under_way))

    @rule(verb=st.sampled_from([V.FORCE_OPEN, V.FORCE_CLOSE, V.RESUME, V.RESUME, V.PROBE]))
    def say(self, verb: BreakerVerb) -> None:
        if self.target.move(verb) is Answer.DONE:
            self.probing.clear()
            self.ceilings.clear()
            self.ceilings.append(timedelta(0))

    @invariant()
    def openings_and_closings_take_turns(self) -> None:
        is_open = self.target.state() is not BreakerState.CLOSED
        assert self.target.opened - self.target.closed == int(is_open)


def test_there_is_one_probe_at_a_time_and_nothing_else_passes() -> None:
    checked: Any = run_state_machine_as_test
    assert checked(Callers, settings=stories("memory")) is None


class CarelessTarget(Target):
    """A planted bug: whoever asks while a probe is under way becomes one more."""

    def ask(self, lease: int | None = None) -> tuple[Permission, int, timedelta]:
        if self.row is not None and self.row.probe is not None:
            self.row = msgspec.structs.replace(self.row, probe=None)
        return super().ask(lease)


def test_the_machine_catches_two_probes() -> None:
    class Planted(Callers):
        kind = CarelessTarget

    with pytest.raises((AssertionError, BaseExceptionGroup), match="two probes"):
        run_state_machine_as_test(Planted, settings=stories("planted"))


def test_rests_of_one_story_never_shrink() -> None:
    target = Target(BreakerPolicy(threshold=1, pause=S, slowest=64 * S, jitter=0.0)).open()
    rests = [target.rest]
    for _ in range(9):
        target.tell(Came.BROKEN, lease=target.probe())
        rests.append(target.rest)
    assert all(a <= b for a, b in pairwise(rests))
