"""Breakers as people see and change them: listed, explained, forced, resumed, probed."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from duly.app import Duly
from duly.core.breakers import BreakerPolicy, Came, Report
from duly.core.ids import uuid7
from duly.core.runs import NewRun
from duly.core.states import BreakerState, RunVerb
from duly.core.timers import read_timer
from duly.stores.base import Store
from tests.cli.prepared import BOOT, Prepared
from tests.cli.test_durable import end

RUN = uuid7(7, 3)
POLICY = BreakerPolicy(threshold=2, pause=timedelta(hours=2), slowest=timedelta(hours=4), jitter=0)


@pytest.fixture
def prepared(tmp_path: Path) -> Prepared:
    return Prepared(tmp_path)


async def broken(store: Store, app: Duly) -> None:
    """The bank failed twice, and a run waits for it."""
    report = Report(
        breaker="bank",
        came=Came.BROKEN,
        policy=POLICY,
        fault="route_not_found",
        error="POST bank:443 was answered with 404",
        who="add",
    )
    await store.breaker_tell(BOOT, app.clock.new_id(), [report, report])
    await store.enqueue([NewRun(id=RUN, task="add", args=b'{"a":1}')])
    claimed = await store.claim(
        BOOT, limit=1, queues=("default",), tasks=("add",), claim=app.clock.new_id()
    )
    wait = timedelta(hours=2) // timedelta(microseconds=1)
    await end(store, claimed.runs[0], RunVerb.WAIT, reason="breaker:bank", delay_us=wait)


def prepare(prepared: Prepared) -> None:
    prepared.register("add")
    prepared.at(broken)


async def state(store: Store, app: Duly) -> BreakerState | None:
    row = await store.breaker("bank")
    return None if row is None else row.state


def test_what_is_open_is_listed_with_its_reason(prepared: Prepared) -> None:
    assert "nothing is known against any target" in prepared.result("breakers", "list").stderr
    prepare(prepared)
    [row] = prepared.json("breakers", "list", "--open")
    assert (row["breaker"], row["state"], row["failures"]) == ("bank", "open", 2)
    assert row["why"].startswith("2 failures in a row, the last: route not found: POST bank:443")
    told = prepared.out("breakers", "show", "bank")
    assert " trip by duly: 2 failures in a row" in told
    assert "what helps: duly breakers probe bank --why WHY" in told


def test_why_answers_for_the_breaker_and_for_the_run_that_waits(prepared: Prepared) -> None:
    prepare(prepared)
    for thing in ("breaker:bank", "bank"):
        told = prepared.out("why", thing)
        assert "open since " in told and " after 2 × route not found; next probe at " in told
        assert "the last failure of add, at " in told
    told = prepared.out("why", str(RUN))
    assert "waits for the breaker bank, open since " in told
    assert "no retry is spent; it goes on when the breaker closes" in told
    assert "duly breakers resume bank --why WHY" in told


# command, what is said, how it stands then
WORDS = [
    ("open", "held open", BreakerState.OPEN),
    ("close", "held closed", BreakerState.CLOSED),
    ("resume", "closed; the rules hold again", BreakerState.CLOSED),
    ("probe", "the next call probes", BreakerState.HALF_OPEN),
]


@pytest.mark.parametrize(("command", "said", "then"), WORDS)
def test_a_persons_word_is_done_and_shown(
    prepared: Prepared, command: str, said: str, then: BreakerState
) -> None:
    prepare(prepared)
    given = ("breakers", command, "bank", "--why", "they mended it", "--by", "ann")
    assert f"breaker bank: {said}" in prepared.out(*given)
    assert prepared.at(state) is then
    assert "nothing changed" in prepared.out(*given)
    shown = prepared.out("breakers", "show", "bank")
    assert "by ann: they mended it" in shown
    assert "ann" in prepared.out("why", "breaker:bank")


async def pulse(store: Store, app: Duly) -> None:
    timer, faults = read_timer("pulse", {"every": "1h", "url": "https://example.com/"})
    assert timer is not None, faults
    await app.client.save_timer(timer.definition, by="ann")


def test_the_breaker_of_a_schedule_needs_the_schedule(prepared: Prepared) -> None:
    prepared.at(pulse)
    for command in ("open", "close", "resume", "probe"):
        wrong = prepared.result("breakers", command, "schedule:puls", "--why", "x").exception
        assert "no schedule is called 'puls'; did you mean 'pulse'?" in str(wrong)
    wrong = prepared.result("breakers", "show", "schedule:puls").exception
    assert "did you mean 'pulse'?" in str(wrong)
    assert prepared.json("breakers", "list") == []


def test_a_breaker_that_is_well_is_shown_and_has_nothing_to_resume(prepared: Prepared) -> None:
    prepared.at(pulse)
    name = "schedule:pulse"
    done = prepared.result("breakers", "show", name)
    assert done.exit_code == 0 and "closed" in done.stdout
    assert "nothing is known against it: calls pass" in done.output
    assert prepared.json("breakers", "show", name)["state"] == "closed"
    assert "nothing changed" in prepared.out("breakers", "resume", name, "--why", "so")
    refused = str(prepared.result("breakers", "probe", name, "--why", "so").exception)
    assert f"the breaker {name} is closed" in refused
    assert prepared.json("breakers", "list") == [], "looking leaves nothing behind"
    assert "held open" in prepared.out("breakers", "open", name, "--why", "so")


# what is forced, and what is said of it
HELD = [
    ("schedule:pulse", None),
    ("task:add", None),
    ("tsk:add", "no schedule or task that is known here asks it; did you mean 'task:add'?"),
    ("schedule:hourly", "asks it"),
]


@pytest.mark.parametrize(("name", "said"), HELD)
def test_whoever_forces_what_nobody_here_asks_is_told_so(
    prepared: Prepared, name: str, said: str | None
) -> None:
    prepared.at(pulse)
    done = prepared.result("breakers", "open", name, "--why", "they migrate")
    assert done.exit_code == 0 and "held open" in done.stdout
    assert (said or "asks it") in done.output if said else "asks it" not in done.output


def test_mistakes_are_answered_with_what_is_right(prepared: Prepared) -> None:
    prepare(prepared)
    wrong = str(prepared.result("breakers", "resume", "bnak", "--why", "typo").exception)
    assert "did you mean 'bank'?" in wrong
    assert prepared.result("breakers", "resume", "bank").exit_code == 2
    prepared.out("breakers", "resume", "bank", "--why", "mended")
    closed = str(prepared.result("breakers", "probe", "bank", "--why", "try").exception)
    assert "the breaker bank is closed" in closed
