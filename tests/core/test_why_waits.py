"""What a run waits for has its sentence, and its way out is a command that can be typed.

Pure cases: a run in some state with a reason, what is known of it, and the words that the answer
must have in its headline, and among the causes or the helps.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest

from duly.core.effects import Address, Author, Effect, Line
from duly.core.fleet import Instance, InstanceState, Proof
from duly.core.ids import uuid7
from duly.core.runs import Attempt, Origin, RunView
from duly.core.states import EffectState, EffectVerb, RunState, RunVerb
from duly.core.steps import FORKED, Event, Memory, Progress, Step, StepKind
from duly.core.why import (
    EffectKnown,
    Explanation,
    Fleet,
    Known,
    explain_effect,
    explain_run,
    value_text,
)

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
RUN, OTHER, BOOT, DEAD = (uuid7(n, 0) for n in range(1, 5))
MAIL = Address("t", "mail", "2026-01-05")
AUTHOR = Author(RUN, BOOT, 1)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
RESOLVE = "duly effects resolve t mail 2026-01-05"


def instance(boot: UUID, state: InstanceState, reason: str | None = None) -> Instance:
    return Instance(boot=boot, name=f"host:{state.value}", host="host", pid=1, pid_space="x",
                    owner="app", version="1", tasks=("t",), state=state, seen_at=NOW,
                    reason=reason)  # fmt: skip


LIVE = instance(BOOT, InstanceState.LIVE)
PROVEN = instance(DEAD, InstanceState.DEAD, Proof.PROCESS.value)
FLEET = Fleet(now=NOW, instances=(LIVE, PROVEN))
DESERTED = Fleet(now=NOW)


def run(state: RunState, reason: str | None = None, **how: Any) -> RunView:
    told: dict[str, Any] = {
        "id": RUN, "task": "t", "queue": "default", "priority": 0, "args": b"{}",
        "origin": Origin.CALL, "key": None, "schedule": None, "due": None, "window_start": None,
        "enqueued_at": NOW - HOUR, "state": state, "epoch": 1, "failures": 0, "deaths": 0,
        "reason": reason, "wake_at": None,
    }  # fmt: skip
    return RunView(**told | how)


def waiting(reason: str, **how: Any) -> RunView:
    return run(RunState.WAITING, reason, **how)


def parked(reason: str, **how: Any) -> RunView:
    return run(RunState.PARKED, reason, **how)


def effect(state: EffectState, author: Author = AUTHOR, **how: Any) -> Effect:
    told: dict[str, Any] = {
        "address": MAIL, "state": state, "intent": uuid7(9, 0), "author": author,
        "intended_at": NOW - MINUTE, "deadline": NOW, "keep_until": NOW + 400 * 24 * HOUR,
    }  # fmt: skip
    return Effect(**told | how)


def line(verb: EffectVerb, ago: timedelta = MINUTE, **how: Any) -> Line:
    told: dict[str, Any] = {"by": "", "why": ""} | how
    return Line(address=MAIL, intent=uuid7(9, 0), verb=verb, at=NOW - ago, **told)


def about(row: Effect | None, *lines: Line, **how: Any) -> EffectKnown:
    return EffectKnown(address=MAIL, row=row, lines=lines, **how)


def step(name: str, kind: StepKind = StepKind.RESULT, value: object = 1, number: int = 0) -> Step:
    return Step(name=name, number=number, kind=kind, value=msgspec.json.encode(value))


def steps(*names: str) -> Known:
    return Known(memory=Memory(tuple(step(name, number=i) for i, name in enumerate(names))))


DOUBT = line(EffectVerb.DOUBT, why="ConnectionError: reset")
UNSURE = effect(EffectState.UNCERTAIN, why="ConnectionError: reset")
ELSEWHERE = effect(EffectState.UNCERTAIN, Author(OTHER, DEAD, 2))
IN_FLIGHT = effect(EffectState.INTENDED, Author(OTHER, BOOT, 2))
CHILD = run(RunState.WAITING, "sleep:nap", id=OTHER, task="u")
DONE_CHILD = run(RunState.SUCCEEDED, id=OTHER, task="u")
CHANGED = "code changed: step 'rows of it': expected dict, got [1]"
LATE = {"wake_at": NOW - HOUR}
SOON = {"wake_at": NOW + HOUR}

# The run; what is known of it; words of the headline; words among causes and helps.
WAITS: list[tuple[RunView, Known, str, str]] = [
    (waiting("sleep:nap", **SOON), Known(), "sleeps (nap) until 2026-01-05 13:00:00", "cancel"),
    (waiting("sleep:nap", **LATE), Known(), "sleeps (nap)", "due since 2026-01-05 11:00:00"),
    (waiting("event:paid"), Known(), "event paid, which nobody has emitted", "events emit paid"),
    (waiting("event:a b", **SOON), Known(), "; until 2026-01-05 13:00:00", "emit 'a b'"),
    (
        waiting("event:paid"),
        Known(events=(Event(name="paid", by="anna", at=NOW),)),
        "event paid, which was emitted by anna at 2026-01-05 12:00:00",
        "the next sweep of a live worker wakes",
    ),
    (
        waiting(f"effect:{MAIL}"),
        Known(effects=(about(IN_FLIGHT),)),
        f"waits for the effect {MAIL}, which run {OTHER} on host:live performs since",
        "until 2026-01-05 12:00:05 +00:00 (in 5 s)",
    ),
    (waiting(f"effect:{MAIL}"), Known(), "which is open again", "wakes the run"),
    (waiting(f"effect:{MAIL}"), Known(effects=(about(UNSURE),)), "is uncertain", "wakes the run"),
    (waiting(f"run:{OTHER}"), Known(children=(CHILD,)), "of u: waiting (sleep:nap)", "duly why"),
    (waiting(f"run:{OTHER}"), Known(children=(DONE_CHILD,)), "succeeded", "wakes the run"),
    (waiting(f"run:{OTHER}"), Known(), "of which nothing is on record", "cancel"),
    (waiting("2 runs of all"), Known(children=(CHILD, DONE_CHILD)), "2 runs of all",
     "1 succeeded, 1 waiting"),
    (waiting("1 runs of all"), Known(children=(DONE_CHILD,)), "which have ended", "wakes the run"),
    (
        waiting(f"before {MAIL}: OSError: smtp is away", **SOON),
        Known(),
        f"can be begun: {MAIL}: OSError: smtp is away; it is asked again at 2026-01-05 13:00:00",
        "no retry is spent",
    ),
    (
        parked("uncertain"),
        Known(effects=(about(UNSURE, DOUBT),)),
        f"parked: uncertain: nobody knows whether {MAIL} was performed",
        "in doubt since 2026-01-05 11:59:00 +00:00 (1 min ago): ConnectionError: reset",
    ),
    (
        parked("uncertain"),
        Known(effects=(about(UNSURE),)),
        "uncertain",
        f"if it was performed: {RESOLVE} --performed --reason WHY",
    ),
    (parked("uncertain"), Known(effects=(about(UNSURE),)), "uncertain", "--accept-double"),
    (
        parked("uncertain"),
        Known(effects=(about(ELSEWHERE),)),
        "was performed, which another run intended",
        f"if it was not: {RESOLVE} --not-performed --reason WHY",
    ),
    (parked("uncertain"), Known(), "nobody knew", f"duly runs retry {RUN}"),
    (parked("approval"), Known(), "a person's decision", f"duly runs approve {RUN} NAME --reject"),
    (
        parked(CHANGED),
        steps("head", "rows of it", "tail"),
        f"parked: {CHANGED}",
        f"duly runs fork {RUN} --from 'rows of it'",
    ),
    (parked(CHANGED), steps("rows of it"), "code changed", "a fork does every step again"),
    (parked(CHANGED), Known(), "code changed", f"duly runs fork {RUN} --from STEP"),
    (parked("poison", deaths=4), Known(), "4 processes died", "mend its task"),
    (waiting("an answer"), Known(), "waits: an answer", "cancel"),
]  # fmt: skip


@pytest.mark.parametrize(("view", "known", "headline", "more"), WAITS)
def test_a_wait_says_for_what_and_how_to_end_it(
    view: RunView, known: Known, headline: str, more: str
) -> None:
    check(explain_run(view, FLEET, known), headline, more)


def test_nobody_sends_again_what_was_intended_by_a_process_that_is_proven_gone() -> None:
    answer = explain_run(parked("uncertain"), FLEET, Known(effects=(about(ELSEWHERE),)))
    assert "accept-double" not in words(answer)


def test_of_several_doubts_the_runs_own_is_what_it_waits_for_and_is_told_once() -> None:
    theirs = msgspec.structs.replace(ELSEWHERE, address=Address("t", "mail", "of-another"))
    known = Known(effects=(EffectKnown(address=theirs.address, row=theirs), about(UNSURE)))
    answer = explain_run(parked("uncertain"), FLEET, known)
    assert answer.headline.endswith(f"whether {MAIL} was performed")
    assert "of-another" not in words(answer) and "in doubt still" not in words(answer)


def test_a_wake_that_was_lost_needs_a_worker() -> None:
    known = Known(events=(Event(name="paid"),))
    answer = explain_run(waiting("event:paid"), DESERTED, known)
    assert "no live worker" in words(answer) and "start a worker: duly worker" in answer.helps


# --- what is done already ---------------------------------------------------------------------

CURSOR = step("prices", StepKind.CURSOR, {"after": 42, "count": 300, "over": False})
TIMED_OUT = step("event paid", StepKind.EVENT, {"happened": False, "body": None})
PERFORMED = effect(EffectState.DONE, settled_at=NOW)
FORK = step(FORKED, StepKind.FORK, str(OTHER))
PROGRESS = Progress(done=3000, total=10_000, note="sending", published=1, effects=2)

BEHIND: list[tuple[RunView, Known, str]] = [
    (waiting("x"), steps("export", "upload"), "remembered: export, upload; not done again"),
    (run(RunState.SUCCEEDED), steps("export"), "remembered: export"),
    (waiting("x"), Known(memory=Memory((CURSOR,))), "prices (300 items, up to 42)"),
    (waiting("x"), Known(memory=Memory((TIMED_OUT,))), "event paid (timed out)"),
    (waiting("x"), Known(memory=Memory((FORK,))), f"with the effects of the run {OTHER}"),
    (waiting("x"), steps(*map(str, range(13))), "remembered: 3 more, then 3, 4, 5"),
    (
        waiting("x"),
        Known(memory=Memory(progress=PROGRESS)),
        "progress: 3,000 of 10,000 done, sending, 1 message published, 2 effects",
    ),
    (run(RunState.FAILED, progress=Progress(total=7)), Known(), "progress: 7 in all"),
    (waiting("x"), Known(effects=(about(PERFORMED),)), f"performed: {MAIL} at 2026-01-05 12:00"),
    (
        run(RunState.RUNNING),
        Known(effects=(about(effect(EffectState.INTENDED)),)),
        f"in flight: {MAIL}, intended at",
    ),
    (
        run(RunState.CANCELLED),
        Known(effects=(about(UNSURE),)),
        f"in doubt still: {MAIL}; duly why t mail 2026-01-05",
    ),
    (parked("approval"), Known(effects=(about(UNSURE),)), f"in doubt still: {MAIL}"),
]


@pytest.mark.parametrize(("view", "known", "more"), BEHIND)
def test_what_is_done_already_is_told(view: RunView, known: Known, more: str) -> None:
    check(explain_run(view, FLEET, known), "", more)


def test_sleeps_and_the_notes_of_the_engine_are_not_told_as_done() -> None:
    kept = (step("nap", StepKind.SLEEP), step("~before t mail x", StepKind.SLEEP, [1, 1.0]))
    answer = explain_run(waiting("x"), FLEET, Known(memory=Memory(kept)))
    assert "remembered" not in words(answer)


VALUES = [
    (step("s", value={"rows": 3}), '{"rows":3}'),
    (step("s", value="x" * 200), '"' + "x" * 78 + "…"),
    (step("s", StepKind.SLEEP, 3_600_000_000), "1 h were left"),
    (step("s", StepKind.CURSOR, {"after": "k", "count": 1, "over": True}), "1 item, all of them"),
    (step("s", StepKind.EVENT, {"happened": True, "body": [1]}), "[1]"),
    (
        step("s", StepKind.EVENT, {"approved": False, "by": "anna", "reason": "too big"}),
        "rejected by anna: too big",
    ),
    (step("s", StepKind.CHILD, [str(OTHER)]), f"run {OTHER}"),
    (step("s", StepKind.CHILD, [str(OTHER), str(RUN)]), "2 runs"),
    (Step(name="s", number=0, value=b"no json"), '"no json"'),
]


@pytest.mark.parametrize(("one", "text"), VALUES)
def test_a_remembered_value_is_told_in_a_line(one: Step, text: str) -> None:
    assert value_text(one) == text


# --- interruptions ----------------------------------------------------------------------------


def attempt(outcome: RunVerb, detail: str | None, epoch: int = 1) -> Attempt:
    return Attempt(epoch, BOOT, NOW - HOUR, NOW - MINUTE, outcome, detail)


OUT_OF_MEMORY = "process gone: its host ended a process for want of memory just then"
CUTS = [
    (attempt(RunVerb.TAKE_OVER, "process gone"), "(process gone)", "in the middle of it"),
    (attempt(RunVerb.TAKE_OVER, OUT_OF_MEMORY), "for want of memory just then)", "interrupted"),
    (attempt(RunVerb.TAKE_OVER, "session lost"), "(session lost)", "lost its locks in the store"),
    (attempt(RunVerb.TAKE_OVER, "lease expired"), "(lease expired)", "froze, or was cut off"),
    (attempt(RunVerb.RELEASE, "handed back at a stop"), "handed back after 59 min", "at a stop"),
    (attempt(RunVerb.WAIT, "before t mail d: " + "x" * 200), "gave up its slot", "xxx…"),
]


@pytest.mark.parametrize(("one", "first", "second"), CUTS)
def test_every_interruption_says_what_it_was(one: Attempt, first: str, second: str) -> None:
    answer = explain_run(run(RunState.READY, attempts=(one,)), FLEET)
    assert first in answer.causes[1] and second in answer.causes[1]


def test_of_very_many_attempts_the_first_and_the_last_are_told() -> None:
    many = tuple(attempt(RunVerb.WAIT, "sleep:nap", epoch) for epoch in range(1, 41))
    causes = explain_run(waiting("sleep:nap", attempts=many), FLEET).causes
    assert len(causes) == 17 and causes[6] == "25 more attempts"
    assert causes[-1].startswith("attempt 40 ")


# --- effects ----------------------------------------------------------------------------------

BY_ANNA = {"by": "anna", "why": "asked the provider"}
HOLDER = run(RunState.RUNNING, id=OTHER, boot=BOOT, epoch=2)
SENT_LONG_AGO = msgspec.structs.replace(IN_FLIGHT, deadline=NOW - HOUR)

EFFECTS: list[tuple[EffectKnown, str, str]] = [
    (
        about(PERFORMED),
        f"done at 2026-01-05 12:00:00 +00:00 (now) by the run {RUN}",
        "on host:live",
    ),
    (about(effect(EffectState.DONE, settled_at=NOW, receipt=b'"ok"')), "done", 'receipt: "ok"'),
    (
        about(effect(EffectState.DONE, settled_at=NOW, **BY_ANNA)),
        "by the word of anna: asked the provider",
        "until 2027-02-09",
    ),
    (about(IN_FLIGHT), "in flight, believed to be on its way until 2026-01-05 12:00:05", "waits"),
    (about(SENT_LONG_AGO, author=HOLDER), "late, but its run is in hand", f"duly why {OTHER}"),
    (about(SENT_LONG_AGO), "given up since 2026-01-05 11:00:05", f"duly why {OTHER}"),
    (about(UNSURE, DOUBT), "uncertain since 2026-01-05 11:59:00", f"{RESOLVE} --not-performed"),
    (about(UNSURE), "uncertain: ConnectionError: reset", "host:live) is not known to be gone"),
    (about(None), "open: nothing is intended, done or uncertain", "forgotten 400 days"),
    (about(None, near=("t mail 2026-01-04",)), "open: ", "on record are: t mail 2026-01-04"),
    (
        about(None, line(EffectVerb.CLEAR, **BY_ANNA, accepted_double=True)),
        "open again",
        "by anna at 2026-01-05 11:59:00 +00:00 (1 min ago): asked the provider (the risk",
    ),
    (about(PERFORMED, line(EffectVerb.CONFIRM, receipt=b"1")), "done", "a receipt came at"),
    (about(None, line(EffectVerb.WITHDRAW, why="refused")), "open again", "by its sender"),
]


@pytest.mark.parametrize(("one", "headline", "more"), EFFECTS)
def test_every_standing_of_an_effect_has_its_sentence(
    one: EffectKnown, headline: str, more: str
) -> None:
    check(explain_effect(one, FLEET), headline, more)


def test_the_story_of_an_effect_is_told_in_the_order_in_which_it_happened() -> None:
    before = line(EffectVerb.CLEAR, HOUR, **BY_ANNA)
    causes = explain_effect(about(UNSURE, before, DOUBT), FLEET).causes
    firsts = [one.split(" at ")[0] for one in causes[:3]]
    assert firsts == ["said not to be performed by anna", "intended", "became uncertain"]


def test_a_key_that_words_cannot_carry_is_quoted() -> None:
    address = Address("t", "mail", "day  it's")
    row = msgspec.structs.replace(UNSURE, address=address)
    helps = explain_effect(EffectKnown(address=address, row=row), FLEET).helps
    assert """resolve t mail 'day  it'"'"'s' --performed""" in helps[0]


def check(answer: Explanation, headline: str, more: str) -> None:
    assert headline in answer.headline
    assert more in words(answer)


def words(answer: Explanation) -> str:
    return "\n".join((*answer.causes, *answer.helps))
