"""What really happened is a walk through the tables: recorded histories are replayed, and hold.

A fleet of real processes works on a SQLite file, is killed and told otherwise by people meanwhile;
what the store then remembers of it must be made of moves that the tables of the core allow. A
replay that never bites would call any history good, so each kind of corruption is put before it.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from msgspec.structs import replace

from chaos.declared import Every
from chaos.durable import Target
from chaos.places import place_for
from chaos.report import Report
from chaos.scale import QUICK
from chaos.trial import Trial, trial_of
from chaos.waiting import until, until_it
from duly.core.effects import (
    CONTRADICTED,
    KEEP,
    UNCERTAIN,
    Address,
    Author,
    Confirm,
    Doubt,
    Effect,
    EffectFilter,
    Entry,
    Intend,
    Line,
    Resolve,
    Withdraw,
)
from duly.core.fleet import Incident, Instance, InstanceState
from duly.core.runs import Attempt, NewRun, Origin, RunView
from duly.core.schedules import Definition, ScheduleRow, Source
from duly.core.states import EffectState, EffectVerb, RunState, RunVerb, ScheduleState
from duly.core.verdicts import Verdict, VerdictRange
from duly.stores.memory.store import MemoryStore
from models.histories import EffectHistory, Histories, ScheduleHistory, record
from models.replaying import wrong

DAY = datetime(2026, 11, 1, tzinfo=UTC)
RUN, A, B = UUID(int=7), UUID(int=1), UUID(int=2)
ADDRESS = Address("mail", "send", "k")
ONE, TWO = UUID(int=11), UUID(int=12)


def at(second: float) -> datetime:
    return DAY + timedelta(seconds=second)


def attempt(epoch: int, outcome: RunVerb, boot: UUID = A) -> Attempt:
    return Attempt(epoch, boot, at(10 * epoch), at(10 * epoch + 5), outcome)


def run(
    state: RunState, *attempts: Attempt, epoch: int, boot: UUID | None = B, **more: int
) -> RunView:
    held = boot is not None
    return RunView(
        id=RUN, task="work", queue="default", priority=0, args=b"{}", origin=Origin.CALL,
        key=None, schedule=None, due=None, window_start=None, enqueued_at=DAY, state=state,
        epoch=epoch, failures=more.get("failures", 0), deaths=more.get("deaths", 0), boot=boot,
        started_at=at(10 * epoch) if held else None, attempts=attempts,
    )  # fmt: skip


def died(boot: UUID, state: InstanceState = InstanceState.DEAD) -> Instance:
    return Instance(
        boot=boot, name="x", host="x", pid=1, pid_space="", owner="x", version="1", state=state
    )


S, RV = RunState, RunVerb
GOOD_RUNS = [
    ("done at once", run(S.SUCCEEDED, epoch=1)),
    ("waits for its time", run(S.SCHEDULED, epoch=0, boot=None)),
    ("skipped before it began", run(S.SKIPPED, epoch=0, boot=None)),
    (
        "tried again and done",
        run(S.SUCCEEDED, attempt(1, RV.RETRY), attempt(2, RV.WAIT), epoch=3, failures=1),
    ),
    ("survived its holder", run(S.SUCCEEDED, attempt(1, RV.TAKE_OVER), epoch=2)),
    (
        "convicted as poison",
        run(S.PARKED, attempt(1, RV.TAKE_OVER), epoch=1, boot=None, deaths=1),
    ),
    ("revived", run(S.RUNNING, attempt(1, RV.RETRY), attempt(2, RV.FAIL), epoch=3)),
    ("parked and given up", run(S.FAILED, attempt(1, RV.PARK), epoch=1, boot=None)),
]
BAD_RUNS = [
    ("an attempt is gone", run(S.SUCCEEDED, attempt(1, RV.RETRY), epoch=3, failures=1), "epochs"),
    ("an epoch twice", run(S.SUCCEEDED, attempt(1, RV.WAIT), epoch=1), "epochs are [1, 1]"),
    (
        "claimed after its end",
        run(S.SUCCEEDED, attempt(1, RV.COMPLETE), epoch=2),
        "began from succeeded",
    ),
    (
        "claimed again after a cancelling",
        run(S.READY, attempt(1, RV.CANCEL), attempt(2, RV.RELEASE), epoch=2, boot=None),
        "attempt 2 began from cancelled",
    ),
    ("ended by no ending", run(S.READY, attempt(1, RV.CLAIM), epoch=1, boot=None), "no attempt"),
    ("succeeded in nobody's hands", run(S.SUCCEEDED, epoch=0, boot=None), "it is succeeded"),
    ("skipped while held", run(S.SKIPPED, epoch=1), "it is skipped"),
    ("a failure not counted", run(S.SUCCEEDED, attempt(1, RV.RETRY), epoch=2), "0 failures"),
    ("a death invented", run(S.SUCCEEDED, epoch=1, deaths=1), "1 deaths"),
    (
        "two attempts at once",
        run(
            S.SUCCEEDED,
            Attempt(1, A, at(1), at(30), RV.RELEASE),
            Attempt(2, B, at(20), at(40), RV.RELEASE),
            epoch=3,
        ),
        "began before attempt 1 had ended",
    ),
    (
        "taken from a living hand",
        run(S.SUCCEEDED, attempt(1, RV.TAKE_OVER, boot=B), epoch=2),
        "not dead",
    ),
    ("held by the dead", run(S.RUNNING, epoch=1, boot=A), "which is dead"),
]  # fmt: skip


def past_of(one: RunView) -> Histories:
    return Histories(runs=(one,), instances=(died(A), died(B, InstanceState.LIVE)))


@pytest.mark.parametrize("one", [c[1] for c in GOOD_RUNS], ids=[c[0] for c in GOOD_RUNS])
def test_a_run_that_moved_by_the_table_is_believed(one: RunView) -> None:
    assert wrong(past_of(one)) == []


@pytest.mark.parametrize(("one", "words"), [c[1:] for c in BAD_RUNS], ids=[c[0] for c in BAD_RUNS])
def test_a_run_that_no_table_allows_is_refused(one: RunView, words: str) -> None:
    assert [said for said in wrong(past_of(one)) if words in said], wrong(past_of(one))


# --- effects ----------------------------------------------------------------------------------

AUTHOR = Author(run=RUN, boot=B, epoch=1)


def intend(intent: UUID) -> Intend:
    return Intend(address=ADDRESS, author=AUTHOR, intent=intent, deadline=timedelta(0), keep=KEEP)


def confirm(intent: UUID) -> Confirm:
    return Confirm(address=ADDRESS, author=AUTHOR, intent=intent, receipt=b"1", keep=KEEP)


def doubt(intent: UUID) -> Doubt:
    return Doubt(address=ADDRESS, intent=intent, why="?")


def said(performed: bool) -> Resolve:
    return Resolve(
        address=ADDRESS, performed=performed, by="ann", reason="saw it", accept_double=True
    )


STORIES: list[tuple[str, tuple[Entry, ...]]] = [
    ("plain", (intend(ONE), confirm(ONE))),
    ("on its way", (intend(ONE),)),
    ("withdrawn, sent again", (intend(ONE), Withdraw(address=ADDRESS, intent=ONE), intend(TWO))),
    ("doubted", (intend(ONE), doubt(ONE))),
    ("a late receipt", (intend(ONE), doubt(ONE), confirm(ONE))),
    ("a person's word, and the receipt", (intend(ONE), doubt(ONE), said(True), confirm(ONE))),
    ("cleared and sent again", (intend(ONE), doubt(ONE), said(False), intend(TWO), confirm(TWO))),
    ("cleared, and done after all", (intend(ONE), doubt(ONE), said(False), confirm(ONE))),
    (
        "cleared, sent again, and the first receipt",
        (intend(ONE), doubt(ONE), said(False), intend(TWO), confirm(ONE), confirm(TWO)),
    ),
]  # fmt: skip


async def ledger_after(entries: tuple[Entry, ...]) -> Histories:
    """Let the model store take these entries, and read its past back."""
    store = MemoryStore(lambda: DAY)
    await store.open()
    await store.register(died(B, InstanceState.LIVE), {}, now=at(0))
    await store.enqueue([NewRun(id=RUN, task="mail")], now=at(0))
    await store.claim(B, UUID(int=5), queues=["default"], tasks=["mail"], limit=1, now=at(1))
    for second, entry in enumerate(entries):
        await store.post([entry], now=at(100 * second + 2))
    return await record(store, addresses=[ADDRESS])


@pytest.mark.parametrize("entries", [c[1] for c in STORIES], ids=[c[0] for c in STORIES])
async def test_what_the_ledger_took_is_replayed(entries: tuple[Entry, ...]) -> None:
    past = await ledger_after(entries)
    assert len(past.effects) == 1
    assert wrong(past) == []


def effect(state: EffectState, intent: UUID = ONE, by: str = "") -> Effect:
    return Effect(
        address=ADDRESS, state=state, intent=intent, author=AUTHOR, intended_at=DAY, deadline=DAY,
        keep_until=DAY, by=by,
    )  # fmt: skip


def line(verb: EffectVerb, intent: UUID = ONE, by: str = "", *, double: bool = False) -> Line:
    return Line(
        address=ADDRESS, intent=intent, verb=verb, by=by, why="", at=DAY, accepted_double=double
    )


DOUBTED = line(EffectVerb.DOUBT)
CLEARED = line(EffectVerb.CLEAR, by="ann")
BAD_EFFECTS = [
    ("done becomes doubted", effect(EffectState.DONE, by="ann"),
     (DOUBTED, line(EffectVerb.CONFIRM, by="ann"), DOUBTED), "doubt of"),
    ("doubted without a line", effect(EffectState.UNCERTAIN), (), "its row says uncertain"),
    ("cleared by nobody's doubt", None, (CLEARED,), "clear of"),
    ("cleared twice", None, (DOUBTED, CLEARED, CLEARED), "clear of"),
    ("another's doubt", effect(EffectState.UNCERTAIN), (DOUBTED, line(EffectVerb.DOUBT, TWO)),
     "doubt of"),
    ("the row of an uncertain effect is gone", None, (DOUBTED,), "it has no row"),
    ("a row of an intent that was cleared over", effect(EffectState.DONE, TWO), (DOUBTED,),
     "its row says done"),
    ("a word that nobody gave", effect(EffectState.DONE, by="ann"), (), "its row says done"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("row", "lines", "words"), [c[1:] for c in BAD_EFFECTS], ids=[c[0] for c in BAD_EFFECTS]
)
def test_an_audit_that_the_ledger_never_wrote_is_refused(
    row: Effect | None, lines: tuple[Line, ...], words: str
) -> None:
    past = Histories(effects=(EffectHistory(address=ADDRESS, row=row, lines=lines),))
    assert [said for said in wrong(past) if words in said], wrong(past)


def test_what_is_uncertain_without_an_incident_is_refused() -> None:
    history = EffectHistory(address=ADDRESS, row=effect(EffectState.UNCERTAIN), lines=(DOUBTED,))
    silent = Histories(effects=(history,))
    assert [one for one in wrong(silent) if "no incident" in one]
    told = Incident(kind=UNCERTAIN, subject=str(ADDRESS), severity="critical", summary="?")
    assert wrong(replace(silent, incidents=(told,))) == []


def test_an_effect_of_an_attempt_that_never_was_is_refused() -> None:
    history = EffectHistory(address=ADDRESS, row=effect(EffectState.DONE), lines=())
    late = run(S.SUCCEEDED, attempt(1, RV.RELEASE), epoch=2)
    assert [
        one for one in wrong(Histories(runs=(late,), effects=(history,))) if "not its own" in one
    ]
    never = run(S.SCHEDULED, epoch=0, boot=None)
    assert [
        one for one in wrong(Histories(runs=(never,), effects=(history,))) if "never was" in one
    ]


# --- schedules --------------------------------------------------------------------------------


def verdict(
    first: int, last: int, what: Verdict = Verdict.FIRED, revision: int = 1
) -> VerdictRange:
    count = last - first + 1
    return VerdictRange(
        first=at(first), last=at(last), count=count, verdict=what, revision=revision
    )


def schedule(*verdicts: VerdictRange, **more: object) -> Histories:
    definition = Definition(name="s", task="work", trigger={})
    row = ScheduleRow(
        name="s", owner="o", definition=definition, digest="", revision=1, source=Source.CODE,
        state=ScheduleState.ACTIVE, fired_through=at(9), next_fire=at(10), changed_at=at(3),
    )  # fmt: skip
    history = ScheduleHistory(row=replace(row, **more), verdicts=verdicts)
    runs = [
        replace(
            run(S.SUCCEEDED, epoch=1), id=UUID(int=n), origin=Origin.CLOCK, schedule="s", due=at(n)
        )
        for n in range(2)
    ]
    return Histories(schedules=(history,), runs=tuple(runs))


PAUSED = {"state": ScheduleState.PAUSED, "next_fire": None}
FIRED = verdict(0, 1)
BAD_SCHEDULES = [
    ("overlapping", schedule(verdict(0, 2), verdict(2, 3)), "overlaps"),
    ("the past re-read", schedule(verdict(0, 1, revision=2), verdict(3, 4)), "is of revision 1"),
    ("behind the mark", schedule(FIRED, verdict(9, 11)), "behind the mark"),
    ("fired while paused", schedule(FIRED, verdict(5, 6), **PAUSED), "fired while it was paused"),
    ("paused and due", schedule(FIRED, state=ScheduleState.PAUSED), "is to fire"),
    ("a count that lies", schedule(FIRED, replace(verdict(3, 4), count=1)), "counts 1"),
    ("a run without a verdict", schedule(verdict(1, 2)), "no verdict"),
]


def test_verdicts_in_their_order_are_believed() -> None:
    assert wrong(schedule(FIRED, verdict(2, 3, Verdict.BLOCKED), verdict(4, 9, revision=2))) == []
    assert wrong(schedule(FIRED, verdict(2, 3, Verdict.SKIPPED), **PAUSED)) == []


@pytest.mark.parametrize(
    ("past", "words"), [c[1:] for c in BAD_SCHEDULES], ids=[c[0] for c in BAD_SCHEDULES]
)
def test_verdicts_that_nobody_gave_are_refused(past: Histories, words: str) -> None:
    assert [one for one in wrong(past) if words in one], wrong(past)


def test_an_occurrence_with_two_runs_is_refused() -> None:
    past = schedule(FIRED)
    twin = replace(past.runs[0], id=UUID(int=99))
    assert [one for one in wrong(replace(past, runs=(*past.runs, twin))) if "2 runs" in one]


# --- what really happened ---------------------------------------------------------------------

WORKS, DELIVERIES, KILLS = 40, 60, 3
LIVE = frozenset(RunState) - {S.SUCCEEDED, S.FAILED, S.CANCELLED, S.SKIPPED, S.EXPIRED, S.PARKED}


async def storm(trial: Trial, target: Target) -> None:
    """Work, deliver, and fire by the clock, while holders are killed and a person meddles."""
    trial.fleet.start(2)
    await trial.joined(2)
    works = [trial.new_run("work", ms=50) for _ in range(WORKS)]
    sent = [trial.new_run("deliver", port=target.port, number=n) for n in range(DELIVERIES)]
    await trial.client.enqueue([*works, *sent])
    await trial.client.pause("held", by="ann", reason="a try")
    paused = await trial.store.clock()
    for _ in range(KILLS):
        busy = await until(trial.journal.at_work, within_s=60, what="somebody at work")
        victims = [one for one in trial.fleet.living if one.name in busy]
        if victims:
            trial.fleet.kill(victims[0])
        trial.fleet.start()
        await trial.all_joined()
    await until_it(lambda: _is_past(trial, paused), within_s=30, what="held to be due")
    await trial.client.resume("held", by="ann")
    long = await trial.ask("work", ms=20_000)
    await trial.client.cancel(long.id, by="ann", reason="enough")


async def _is_past(trial: Trial, then: datetime) -> bool:
    """Whether a schedule of each second was due since."""
    return await trial.store.clock() > then + timedelta(seconds=2)


async def settled(trial: Trial) -> None:
    """Wait until every run has ended or is parked, and nothing is on its way."""

    async def look() -> bool:
        await trial.store.sweep()
        counts = await trial.store.counts()
        intended = await trial.store.effects(EffectFilter(state=EffectState.INTENDED, limit=1))
        return not intended and not any(n for one, n in counts.items() if RunState(one) in LIVE)

    await until_it(look, within_s=120, what="everything to be settled", every_s=0.3)


async def resolved(trial: Trial) -> None:
    """Let a person say what the target shows of some of what is uncertain."""
    doubts = await trial.store.effects(EffectFilter(state=EffectState.UNCERTAIN, limit=2))
    for one in doubts:
        await trial.client.resolve(one.address, performed=True, by="ann", reason="it is there")


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_the_history_of_a_fleet_that_was_killed_is_a_walk_through_the_tables() -> None:
    report = Report(trial="history", store="sqlite", figures=[])
    losing = Target(loses=lambda what: int(what) % 10 == 3)
    end = datetime.now(UTC) + timedelta(seconds=15)
    clocked = tuple(Every(name=name, every_s=1, end=end) for name in ("free", "held"))
    async with (
        place_for(None) as place,
        trial_of(report, place, settings=QUICK, schedules=clocked) as trial,
        losing as target,
    ):
        await storm(trial, target)
        await trial.quiet()
        await settled(trial)
        await resolved(trial)
        await settled(trial)
        past = await record(trial.store)
    assert report.wrong == []
    assert wrong(past) == []
    outcomes = {one.outcome for view in past.runs for one in view.attempts}
    assert {RV.TAKE_OVER, RV.PARK} <= outcomes
    assert {line.verb for one in past.effects for line in one.lines} >= {
        EffectVerb.DOUBT,
        EffectVerb.CONFIRM,
    }
    verdicts = {one.verdict for one in past.schedules for one in one.verdicts}
    assert {Verdict.FIRED, Verdict.BLOCKED} <= verdicts
    assert len([one for one in past.incidents if one.kind == CONTRADICTED]) == 0
    bitten = next(view for view in past.runs if view.attempts)
    torn = replace(bitten, attempts=bitten.attempts[1:])
    assert wrong(replace(past, runs=(torn,)))
