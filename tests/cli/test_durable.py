"""What outlasts attempts, as people see and change it: steps, effects, events, messages."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest

from duly.app import Duly
from duly.cli.faults import fault_of
from duly.core.effects import Address, Author, Confirm, Doubt, Intend
from duly.core.fleet import Incident, Proof
from duly.core.ids import uuid7
from duly.core.outbox import Message
from duly.core.runs import Claimed, Ending, NewRun, Origin
from duly.core.states import RunVerb
from duly.core.steps import Await, Note, Progress, Step, StepKind, approval, of_effect, of_event
from duly.stores.base import Store
from tests.cli.prepared import BOOT, Prepared

RUN, INTENT = uuid7(7, 1), uuid7(8, 1)
MAIL = Address("add", "mail", "hourly 2026-01-05T01:00:00+00:00")
WORDS = str(MAIL).split(" ")
SETTLED = ("effects", "resolve", *WORDS, "--reason", "asked the provider", "--by", "anna")
HOUR = timedelta(hours=1)


async def held(store: Store, app: Duly) -> Claimed:
    """Put the run into the hands of the prepared instance."""
    await store.enqueue([NewRun(id=RUN, task="add", args=b'{"a":1}')])
    claimed = await store.claim(
        BOOT, limit=1, queues=("default",), tasks=("add",), claim=app.clock.new_id()
    )
    return claimed.runs[0]


async def end(store: Store, run: Claimed, verb: RunVerb, *awaits: str, **how: Any) -> None:
    awaited = tuple(Await(one, one) for one in awaits)
    await store.end(BOOT, [Ending(run=run.id, epoch=run.epoch, verb=verb, awaits=awaited, **how)])


async def keep(store: Store, run: Claimed, *steps: Step, **how: Any) -> None:
    await store.keep(BOOT, [Note(run=run.id, epoch=run.epoch, steps=steps, **how)])


async def intend(store: Store, run: Claimed) -> Author:
    author = Author(run.id, BOOT, run.epoch)
    entry = Intend(address=MAIL, author=author, intent=INTENT, deadline=HOUR, keep=HOUR)
    await store.post([entry])
    return author


def step(name: str, number: int, value: object = 1, kind: StepKind = StepKind.RESULT) -> Step:
    return Step(name=name, number=number, kind=kind, value=msgspec.json.encode(value))


def prepare_doubt(store: Prepared) -> None:
    """Park a run, because nobody knows what came of its effect."""
    store.register("add")

    async def verbs(to: Store, app: Duly) -> None:
        run = await held(to, app)
        await intend(to, run)
        await to.post([Doubt(address=MAIL, intent=INTENT, why="ConnectionError: reset")])
        await end(to, run, RunVerb.PARK, of_effect(str(MAIL)), reason="uncertain")

    store.at(verbs)


def refusal(store: Prepared, *args: str) -> tuple[int, str]:
    """Run a command that must be refused; return its exit code and what it says."""
    error = store.result(*args).exception
    assert error is not None, "it was not refused"
    fault = fault_of(error)
    return fault.code, fault.sentence


# --- effects ----------------------------------------------------------------------------------


def test_what_is_uncertain_is_listed_and_shown_with_the_way_out(store: Prepared) -> None:
    assert store.json("effects", "list") == []
    prepare_doubt(store)
    for args in ((), ("--uncertain",), ("--task", "add"), ("--run", str(RUN))):
        [one] = store.json("effects", "list", *args)
        assert (one["effect"], one["state"], one["run"]) == (str(MAIL), "uncertain", str(RUN))
    assert store.json("effects", "list", "--task", "other") == []
    shown = store.out("effects", "show", *WORDS)
    assert "host:7 (live)" in shown and "doubt: ConnectionError: reset" in shown
    assert f"duly effects resolve {MAIL} --performed --reason WHY" in shown
    row = store.json("effects", "show", str(MAIL))
    assert [one["verb"] for one in row["audit"]] == ["doubt"] and len(row["helps"]) == 2


def test_the_run_and_its_effect_explain_each_other(store: Prepared) -> None:
    prepare_doubt(store)
    for thing in ((str(RUN),), tuple(WORDS), (str(MAIL),)):
        told = store.out("why", *thing)
        assert "uncertain" in told and "ConnectionError: reset" in told
        assert f"duly effects resolve {MAIL} --not-performed --reason WHY" in told


def test_performed_ends_the_doubt_and_lets_the_run_go_on(store: Prepared) -> None:
    prepare_doubt(store)
    assert f"is done; run {RUN} goes on" in store.out(*SETTLED, "--performed")
    assert store.json("runs", "show", str(RUN))["state"] == "ready"
    row = store.json("effects", "show", *WORDS)
    assert (row["state"], row["by"], row["why"]) == ("done", "anna", "asked the provider")
    assert store.json("incidents") == []
    assert "was done already" in store.out(*SETTLED, "--performed")
    assert refusal(store, *SETTLED, "--not-performed")[0] == 1


def test_not_performed_is_refused_while_its_process_may_still_send(store: Prepared) -> None:
    prepare_doubt(store)
    code, said = refusal(store, *SETTLED, "--not-performed")
    assert code == 1
    for words in ("not proven gone", "--accept-double", "host:7 (live)", str(RUN)):
        assert words in said
    assert store.json("effects", "list")[0]["state"] == "uncertain"


def test_not_performed_is_accepted_once_its_process_is_proven_gone(store: Prepared) -> None:
    prepare_doubt(store)
    store.at(lambda to, _: to.take_over(BOOT, Proof.PROCESS))
    assert "is open again" in store.out(*SETTLED, "--not-performed")
    assert store.json("effects", "list") == []
    row = store.json("effects", "show", *WORDS)
    assert row["state"] == "open"
    last = row["audit"][-1]
    assert (last["verb"], last["by"], last["accepted_double"]) == ("clear", "anna", False)
    assert "open again" in store.out("why", *WORDS)


def test_the_risk_of_a_double_is_taken_by_name(store: Prepared) -> None:
    prepare_doubt(store)
    store.out(*SETTLED, "--not-performed", "--accept-double")
    shown = store.out("effects", "show", *WORDS)
    assert "clear by anna, accepting the risk of a double: asked the provider" in shown


def test_a_death_that_was_not_proven_is_shown_as_such(store: Prepared) -> None:
    prepare_doubt(store)
    store.at(lambda to, _: to.take_over(BOOT, Proof.SESSION))
    told = store.json("effects", "show", *WORDS)["instance"]
    assert told == "host:7 (dead: session lost; not proven gone)"


def test_an_effect_that_is_done_tells_its_receipt(store: Prepared) -> None:
    store.register("add")

    async def verbs(to: Store, app: Duly) -> None:
        run = await held(to, app)
        author = await intend(to, run)
        receipt = Confirm(
            address=MAIL, author=author, intent=INTENT, receipt=b'{"id":"m-1"}', keep=HOUR
        )
        await to.post([receipt])

    store.at(verbs)
    assert store.json("effects", "show", *WORDS)["receipt"] == {"id": "m-1"}
    assert 'receipt: {"id":"m-1"}' in store.out("why", *WORDS)
    assert f"performed: {MAIL} at" in store.out("why", str(RUN))


# --- what runs remember -------------------------------------------------------------------------


def prepare_steps(store: Prepared) -> None:
    """Let a run remember steps and progress, and wait."""
    store.register("add")

    async def verbs(to: Store, app: Duly) -> None:
        run = await held(to, app)
        cursor = {"after": 42, "count": 300, "over": False}
        steps = (
            step("export", 0, {"rows": 3}),
            step("prices", 1, cursor, StepKind.CURSOR),
            step("~before add mail x", 2, [1, 1.0], StepKind.SLEEP),
        )
        await keep(to, run, *steps, progress=Progress(done=30, total=100, note="uploading"))
        await end(to, run, RunVerb.WAIT, of_event("paid"), reason="event:paid")

    store.at(verbs)


def test_a_run_shows_what_it_remembers_and_how_far_it_is(store: Prepared) -> None:
    store.at(lambda to, _: to.enqueue([NewRun(id=uuid7(6, 1), task="other")]))
    assert "PROGRESS" not in store.out("runs", "list")
    prepare_steps(store)
    listed = store.out("runs", "list").splitlines()
    assert listed[0].endswith("PROGRESS") and listed[1].endswith("30 of 100 done, uploading")
    assert listed[2].endswith("-")
    shown = store.out("runs", "show", str(RUN))
    assert "step 0: export at 20" in shown and '{"rows":3}' in shown
    assert "step 1: prices (cursor) at" in shown and "300 items, up to 42" in shown
    assert "before" not in shown and "30 of 100 done, uploading" in shown
    row = store.json("runs", "show", str(RUN))
    assert [one["name"] for one in row["steps"]] == ["export", "prices", "~before add mail x"]
    assert row["steps"][0]["value"] == {"rows": 3} and row["steps"][0]["at"].endswith("Z")
    assert row["progress"]["done"] == 30
    told = store.out("why", str(RUN))
    assert "remembered: export, prices (300 items, up to 42)" in told


def test_a_child_shows_its_parent(store: Prepared) -> None:
    child = NewRun(id=uuid7(9, 1), task="add", origin=Origin.CHILD, parent=RUN)
    store.at(lambda to, _: to.enqueue([child]))
    assert f"parent       {RUN}" in store.out("runs", "show", str(child.id))
    assert f"started by the run {RUN}" in store.out("why", str(child.id))


def test_a_fork_forgets_a_step_and_all_after_it(store: Prepared) -> None:
    prepare_steps(store)
    new = store.out("runs", "fork", str(RUN), "--from", "prices", "--by", "anna").strip()
    row = store.json("runs", "show", new)
    assert [one["name"] for one in row["steps"] if one["kind"] == "result"] == ["export"]
    assert (row["origin"], row["asked_by"], row["state"]) == ("fork", "anna", "ready")
    assert f"with the effects of the run {RUN}" in store.out("runs", "show", new)
    assert store.json("runs", "show", str(RUN))["state"] == "cancelled"


# --- events, decisions, messages ----------------------------------------------------------------


def test_an_event_is_emitted_once_and_wakes_who_waits(store: Prepared) -> None:
    prepare_steps(store)
    assert "nobody has emitted yet" in store.out("why", str(RUN))
    assert "event paid is emitted" in store.out("events", "emit", "paid", "--value", '{"n": 1}')
    assert store.json("runs", "show", str(RUN))["state"] == "ready"
    again = store.out("events", "emit", "paid", "--value", "2", "--by", "bob")
    assert "emitted before by" in again and "the first word stays" in again
    [kept] = store.at(lambda to, _: to.happened(["paid"]))
    assert kept.body == b'{"n":1}'


DECISIONS = [((), "approved", True), (("--reject", "--reason", "too big"), "rejected", False)]


@pytest.mark.parametrize(("args", "word", "approved"), DECISIONS)
def test_a_decision_wakes_the_run_and_stays(
    store: Prepared, args: tuple[str, ...], word: str, approved: bool
) -> None:
    prepare_question(store)
    assert f"duly runs approve {RUN} NAME" in store.out("why", str(RUN))
    decide = ("runs", "approve", str(RUN), "go live", "--by", "anna")
    assert f"go live is {word}" in store.out(*decide, *args)
    assert store.json("runs", "show", str(RUN))["state"] == "ready"
    assert f"was {word} before by anna; that stays" in store.out(*decide)
    [kept] = store.at(lambda to, _: to.happened([approval(RUN, "go live")]))
    assert msgspec.json.decode(kept.body)["approved"] is approved


def prepare_question(store: Prepared) -> None:
    """Park a run that asks for a decision."""
    store.register("add")

    async def verbs(to: Store, app: Duly) -> None:
        run = await held(to, app)
        awaited = of_event(approval(RUN, "go live"))
        await end(to, run, RunVerb.PARK, awaited, reason="approval")

    store.at(verbs)


def test_the_outbox_tells_how_much_waits_and_since_when(store: Prepared) -> None:
    assert store.json("outbox") == []
    store.register("add")

    async def verbs(to: Store, app: Duly) -> None:
        run = await held(to, app)
        sent = [Message(id=uuid7(n, 2), topic="orders", body=b"1") for n in range(3)]
        await keep(to, run, messages=tuple(sent))

    store.at(verbs)
    [row] = store.json("outbox")
    assert (row["topic"], row["count"]) == ("orders", 3) and row["age_s"] >= 0
    head, line = store.out("outbox").splitlines()
    assert head.split() == ["TOPIC", "WAITING", "OLDEST", "AGE"]
    assert line.split()[:2] == ["orders", "3"]


INCIDENTS = [
    ("effect.uncertain", {"run": str(RUN)}, "duly why some subject"),
    ("run.failed", {"run": str(RUN)}, f"duly why {RUN}"),
    ("run.approval", {"run": str(RUN), "what helps": "duly runs approve"}, "duly runs approve"),
    ("host.rhythm", {}, "duly incidents"),
]


@pytest.mark.parametrize(("kind", "evidence", "helps"), INCIDENTS)
def test_the_doctor_says_what_helps_with_an_incident(
    store: Prepared, kind: str, evidence: dict[str, str], helps: str
) -> None:
    one = Incident(
        kind=kind, subject="some subject", severity="warning", summary="so", evidence=evidence
    )
    store.at(lambda to, _: to.open_incident(one))
    found = json.loads(store.result("doctor", "-o", "json").stdout)
    assert [row["helps"] for row in found if row["check"] == "incident"] == [helps]


def test_what_became_of_an_incident_is_told_once_it_is_over(store: Prepared) -> None:
    async def verbs(to: Store, _: Duly) -> None:
        for subject in ("x", "y"):
            await to.open_incident(
                Incident(kind="run.failed", subject=subject, severity="critical", summary="so")
            )
        await to.close_incident("run.failed", "x", note="the run 7 succeeded")

    store.at(verbs)
    assert "BECAME" not in store.out("incidents")
    told = store.out("incidents", "--all")
    assert "WHAT BECAME OF IT" in told and "the run 7 succeeded" in told


def test_a_person_acknowledges_and_closes_an_incident(store: Prepared) -> None:
    one = Incident(kind="run.failed", subject="add", severity="critical", summary="so")
    store.at(lambda to, _: to.open_incident(one))
    said = store.out("incidents", "ack", "run.failed", "add", "--note", "on it", "--by", "ann")
    assert said.strip() == "run.failed add: acknowledged"
    again = store.out("incidents", "ack", "run.failed", "add", "--note", "me too")
    assert again.strip() == "run.failed add: somebody has it already"
    listed = store.out("incidents")
    assert "ACKNOWLEDGED BY" in listed and "ann" in listed and "on it" in listed
    closed = store.out("incidents", "close", "run.failed", "add", "--note", "done", "--by", "ann")
    assert closed.strip() == "run.failed add: closed"
    assert store.json("incidents") == []
    assert "done (ann)" in store.out("incidents", "--all")


# --- mistakes -----------------------------------------------------------------------------------

# What is typed; the exit code; words of the sentence. `RUN` waits for a decision.
MISTAKES: list[tuple[tuple[str, ...], int, str]] = [
    (("effects", "show", "add"), 2, "TASK NAME KEY, parted by spaces, got 'add'"),
    (("effects", "show", "add", "mial", "x"), 2, "no effect is called 'add mial x'"),
    (("effects", "resolve", "add", "mail", "x", "--reason", "y"), 2, "there is no default"),
    (("effects", "resolve", "a", "b", "c", "--performed", "--reason", "y"), 2, "no effect is"),
    (("effects", "list", "--run", str(UUID(int=5))), 2, "no run has the id"),
    (("events", "emit", "paid", "--value", "{x"), 2, "expected --value to be JSON"),
    (("events", "emit", "a\nb"), 2, "printable characters"),
    (("incidents", "ack", "run.failed", "ad", "--note", "x"), 2, "no open incident is called"),
    (("incidents", "close", "run.failed", "ad", "--note", "x"), 2, "no open incident is called"),
    (("runs", "approve", str(RUN), "go liv"), 1, "of another name than 'go liv'"),
    (("runs", "fork", str(RUN), "--from", "x"), 2, "no step of this run is called 'x'"),
    (("why", "add", "mail"), 2, "no schedule is called 'add mail'"),
]


@pytest.mark.parametrize(("args", "code", "words"), MISTAKES)
def test_a_mistake_is_answered_with_a_sentence(
    store: Prepared, args: tuple[str, ...], code: int, words: str
) -> None:
    prepare_question(store)
    found, said = refusal(store, *args)
    assert found == code and words in said


def test_the_nearest_effect_is_offered(store: Prepared) -> None:
    prepare_doubt(store)
    assert f"did you mean '{MAIL}'" in refusal(store, "effects", "show", "add", "mial", MAIL.key)[1]
    assert f"on record are: {MAIL}" in store.out("why", "add", "mial", MAIL.key)


def test_nothing_is_decided_for_a_run_that_has_ended(store: Prepared) -> None:
    prepare_question(store)
    store.out("runs", "cancel", str(RUN))
    code, said = refusal(store, "runs", "approve", str(RUN), "go live")
    assert code == 1 and "has ended (cancelled)" in said


def test_a_run_in_hand_is_not_forked(store: Prepared) -> None:
    store.register("add")

    async def verbs(to: Store, app: Duly) -> None:
        await keep(to, await held(to, app), step("export", 0))

    store.at(verbs)
    code, said = refusal(store, "runs", "fork", str(RUN), "--from", "export")
    assert code == 1 and f"duly runs cancel {RUN}" in said
