"""Retry pauses stay in their bounds; keys answer by state; deaths convict only who was alone."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duly.core.rules import (
    DEATHS_TO_PARK,
    DEATHS_TO_SUSPECT,
    MAX_PAYLOAD,
    RetryPolicy,
    after_death,
    check_payload,
    reuse_of,
)
from duly.core.runs import Reuse
from duly.core.states import RunState
from duly.errors import InvalidValue
from tests.stores.profiles import cases

durations = st.timedeltas(timedelta(0), timedelta(days=3650))
policies = st.builds(
    RetryPolicy,
    retries=st.integers(0, 1_000_000),
    base=durations,
    factor=st.floats(1.0, 100.0),
    longest=durations,
)


@cases()
@given(policies, st.integers(1, 1_000_001), st.floats(0, 1, exclude_max=True))
def test_a_pause_lies_between_nothing_and_the_ceiling(
    policy: RetryPolicy, failures: int, draw: float
) -> None:
    pause = policy.delay(failures, draw)
    assert (pause is None) is (failures > policy.retries)
    if pause is not None:
        assert timedelta(0) <= pause <= policy.longest
        assert failures > 1 or pause <= policy.base


@cases()
@given(policies, st.integers(1, 60))
def test_the_ceiling_never_falls_as_failures_rise(policy: RetryPolicy, failures: int) -> None:
    pauses = [policy.delay(n, 0.999) for n in (failures, failures + 1)]
    if None not in pauses:
        assert pauses[0] <= pauses[1]  # type: ignore[operator] # neither is None


def test_the_default_pauses_double_up_to_the_longest() -> None:
    policy = RetryPolicy(retries=20)
    seconds = [policy.delay(n, 0.5) for n in (1, 2, 3, 10, 20)]
    assert seconds == [timedelta(seconds=s) for s in (0.5, 1, 2, 256, 300)]
    assert policy.delay(21, 0.5) is None
    assert RetryPolicy(retries=0).delay(1, 0.0) is None


@pytest.mark.parametrize(
    "how",
    [
        {"retries": -1},
        {"retries": 1_000_001},
        {"factor": 0.5},
        {"factor": float("nan")},
        {"factor": 101.0},
        {"base": timedelta(seconds=-1)},
        {"longest": timedelta(seconds=-1)},
    ],
)
def test_a_policy_that_cannot_back_off_is_refused(how: dict[str, object]) -> None:
    with pytest.raises(InvalidValue, match="expected"):
        RetryPolicy(**how)  # type: ignore[arg-type] # wrong on purpose


REUSES = {
    RunState.SCHEDULED: Reuse.JOINED,
    RunState.READY: Reuse.JOINED,
    RunState.RUNNING: Reuse.JOINED,
    RunState.RETRYING: Reuse.JOINED,
    RunState.WAITING: Reuse.JOINED,
    RunState.PARKED: Reuse.REFUSED,
    RunState.SUCCEEDED: Reuse.RETURNED,
    RunState.FAILED: Reuse.REVIVED,
    RunState.CANCELLED: Reuse.NEW,
    RunState.SKIPPED: Reuse.NEW,
    RunState.EXPIRED: Reuse.NEW,
}


def test_a_key_answers_by_the_state_of_its_run() -> None:
    assert {state: reuse_of(state) for state in RunState} == REUSES


def test_a_run_is_suspected_then_run_alone_then_parked() -> None:
    ends = [(after_death(n).alone, after_death(n).park) for n in range(1, 7)]
    quiet, alone, parked = (False, False), (True, False), (False, True)
    assert ends == [quiet, quiet, alone, parked, parked, parked]
    assert DEATHS_TO_PARK == DEATHS_TO_SUSPECT + 1


def test_what_is_too_large_is_refused_by_name() -> None:
    fits = b"x" * MAX_PAYLOAD
    assert check_payload("arguments", fits) is fits
    with pytest.raises(InvalidValue, match="expected arguments to be at most 1,048,576 bytes"):
        check_payload("arguments", fits + b"x")
