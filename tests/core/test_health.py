"""How the target of a schedule stands: which breaker its runs ask, and what that knows."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from duly.core.breakers import Breaker, BreakerRow
from duly.core.calls import TASK
from duly.core.health import Health, breaker_before, health_of
from duly.core.schedules import Definition
from duly.core.states import BreakerState
from duly.core.tasks import Task, task_from

AT = datetime(2026, 3, 1, tzinfo=UTC)
CALL: dict[str, Any] = {"url": "https://shop.example:8443/x", "method": "GET"}


def definition(task: str = "send", args: dict[str, Any] | None = None) -> Definition:
    return Definition(name="nightly", task=task, args=msgspec.json.encode(args or {}), trigger={})


async def send(host: str = "a.example") -> None:
    """Do nothing."""


def sender(breaker: Breaker | None) -> Task:
    return task_from(send, breaker=breaker)


def by_host(choose: Callable[[str], Breaker | None]) -> Breaker:
    return Breaker(of=lambda arguments: choose(arguments["host"]))


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ({}, "schedule:nightly"),
        ({"breaker": "erp"}, "erp"),
        ({"breaker": "host"}, "host:shop.example:8443"),
        ({"breaker": "tenant", "tenant": "acme"}, "tenant:acme"),
        ({"breaker": "erp", "tenant": "acme"}, "tenant:acme/erp"),
        ({"tenant": "acme"}, "schedule:nightly"),
    ],
)
def test_a_timer_asks_the_breaker_that_its_call_names(said: dict[str, Any], name: str) -> None:
    assert breaker_before(definition(TASK, {"call": {**CALL, **said}}), None) == name


@pytest.mark.parametrize(
    ("task", "name"),
    [
        (None, "task:send"),  # not known here
        (sender(None), None),
        (sender(Breaker()), "task:send"),
        (sender(Breaker("smtp")), "smtp"),
        (sender(Breaker(fixed=True)), "schedule:nightly"),
        (sender(by_host(lambda host: Breaker(host))), "b.example"),
        (sender(by_host(lambda _: None)), "task:send"),
        (sender(by_host(lambda host: Breaker(f"no name: {host}"))), None),
    ],
)
def test_another_schedule_asks_the_breaker_that_its_task_declares(
    task: Task | None, name: str | None
) -> None:
    assert breaker_before(definition(args={"host": "b.example"}), task) == name


def test_arguments_that_fit_their_task_no_more_ask_no_breaker() -> None:
    assert breaker_before(definition(args={"gone": 1}), sender(Breaker("smtp"))) is None


def test_what_nothing_is_known_against_is_well() -> None:
    stands = health_of("smtp", None)
    assert stands == Health(breaker="smtp", state=BreakerState.CLOSED, failure_count=0)


def test_a_broken_target_says_since_when_why_and_when_it_is_tried_again() -> None:
    row = BreakerRow(
        name="smtp",
        changed_at=AT,
        state=BreakerState.OPEN,
        failures=5,
        fault="route_not_found",
        error="answered 404",
        failed_at=AT,
        opened_at=AT,
        probe_at=AT.replace(hour=1),
    )
    stands = health_of("smtp", row)
    assert msgspec.structs.asdict(stands) == {
        "breaker": "smtp",
        "state": BreakerState.OPEN,
        "failure_count": 5,
        "last_failed_at": AT,
        "last_error": "answered 404",
        "fault": "route not found",
        "failing_since": AT,
        "next_probe_at": AT.replace(hour=1),
    }
    newer = msgspec.structs.replace(row, fault="a word of a newer version")
    assert health_of("smtp", newer).fault == "a word of a newer version"


def test_failures_that_count_are_told_before_they_open_anything() -> None:
    stands = health_of("smtp", BreakerRow(name="smtp", changed_at=AT, failures=1))
    assert (stands.state, stands.failure_count) == (BreakerState.CLOSED, 1)
