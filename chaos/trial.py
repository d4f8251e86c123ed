"""One trial: a place, a fleet on it, the journal of its workers, and a client that looks on.

Leaving a trial ends every process it started. What a trial sees goes into its report; an
`Overdue` that ends it early carries the workers' own words.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from math import inf
from pathlib import Path
from uuid import UUID

from chaos.calling import ALONE, Calls
from chaos.checks import (
    Attempts,
    Occurrences,
    judge_attempts,
    judge_recovery,
    judge_schedule,
)
from chaos.declared import Every, Spec, build
from chaos.fleet import Fleet
from chaos.journal import Journal, now_s
from chaos.places import Place
from chaos.report import Moment, Report
from chaos.waiting import Overdue, until, until_it
from duly.app import DeclaredTask, Duly
from duly.client import Client, Options, RunHandle
from duly.core.runs import NewRun, Origin, RunFilter, RunView
from duly.core.states import ENDS, RunState
from duly.core.triggers import occurrences_between, trigger_from_spec
from duly.errors import EnvironmentFailure, Refused
from duly.stores.base import Store
from models.histories import record
from models.replaying import wrong

PAGE = 1000
MOST_DUE = 100_000
AGAIN_S = 0.2
JOINED = ("instance.started", ALONE)
CLOCKS = (Origin.CLOCK, Origin.CATCH_UP)


class Trial:
    """What a scenario works with."""

    def __init__(self, place: Place, report: Report, app: Duly, *, fleet: Fleet) -> None:
        self.place, self.report, self.app, self.fleet = place, report, app, fleet
        self.woken_at_once = 0  # workers that slept inside a write of a file that all share
        self.at_rest: set[UUID] = set()  # runs that have ended, or are parked with their reason
        self.resent: dict[UUID, float] = {}  # runs that were asked for again, and when, at last
        self.journal = Journal(place.folder / "journal")

    @property
    def client(self) -> Client:
        return self.app.client

    @property
    def store(self) -> Store:
        return self.app.store

    async def ask(self, task: str, /, **args: object) -> RunHandle:
        """Ask for a run of one of the trial's tasks."""
        spec = self.app.tasks[task]
        return await DeclaredTask(self.app, spec).enqueue(**args)

    def new_run(
        self, task: str, key: str | None = None, priority: int | None = None, **args: object
    ) -> NewRun:
        """Make a run that may be sent, and sent again, by `ask_until_told`."""
        spec = self.app.tasks[task]
        options = Options(key=key, priority=priority)
        return self.client.new_run(spec, spec.encode((), args), options)

    async def ask_until_told(self, run: NewRun, *, within_s: float = 120) -> RunHandle:
        """Send a run until the store acknowledges it; the same id each time."""

        async def send() -> RunHandle | None:
            try:
                return (await self.client.enqueue([run]))[0]
            except (EnvironmentFailure, Refused):
                self.resent[run.id] = now_s() + AGAIN_S
                return None

        return await until_it(send, within_s=within_s, what="an acknowledgement", every_s=AGAIN_S)

    def struck(self, worker: str = "") -> None:
        """Note that a fault was done, to one worker or to all."""
        self.report.moments.append(Moment(now_s(), worker))

    def settle(self) -> None:
        """Count the faults, and see from the journal what came after each."""
        lines = Journal(self.journal.path).read()
        died = [Moment(one.at_s, one.worker) for one in lines if one.kind == "died"]
        moments = sorted(
            [*self.report.moments, *self.fleet.moments, *died], key=lambda one: one.at_s
        )
        seen = judge_recovery(moments, lines, self.at_rest)
        self.report.settle(seen.injected, seen.survived, seen.times_s)

    async def joined(self, count: int) -> None:
        """Wait until so many workers have joined the fleet, in all."""
        await until(
            lambda: self.journal.count()["instance.started"] >= count,
            within_s=60,
            what=f"{count} workers to join",
        )

    async def all_joined(self) -> None:
        """Wait until every living worker has joined the fleet at some time."""

        await until(
            lambda: {one.name for one in self.fleet.living} <= self.journal.who(*JOINED),
            within_s=60,
            what="the living workers to join",
        )

    async def end_well(self) -> None:
        """Stop the workers; nobody who was not killed has ended otherwise than well, ever.

        One that is still starting dies of SIGTERM as any process does: all have joined before.
        """
        await self.all_joined()
        await self.fleet.stop()
        if ended := self.fleet.ended_badly:
            self.report.note("ended badly", ", ".join(ended))
        self.report.must_be("workers that ended badly", len(ended), 0)

    async def let_poison_go(self) -> int:
        """Let runs go on that died so often that they were set aside; return how many there were.

        A trial that kills every few seconds strikes a long run four times by chance, and parking
        it is what Duly promises then; a person decides that it may go on, and here that is us.
        """
        parked = await self.store.runs(RunFilter(state=PARKED, limit=10_000))
        poison = [one for one in parked if one.reason == "poison"]
        for one in poison:
            await self.store.unpark(one.id, by="the harness")
        return len(poison)

    async def quiet(self, *, within_s: float = 120) -> None:
        """Wait until nothing is under way any more, and no schedule has anything to come (P7)."""

        async def look() -> bool:
            counts = await self.store.counts()
            if any(n for state, n in counts.items() if RunState(state) not in ENDS | {PARKED}):
                return False
            rows = await self.store.schedules()
            return all(row.next_fire is None for row in rows) and not [
                one for row in rows for one in await self.store.backlogs(row.name)
            ]

        await until_it(look, within_s=within_s, what="everything to end", every_s=0.3)

    async def every_run(self, schedule: str | None = None) -> list[RunView]:
        """Return all runs, or all of a schedule."""
        found: list[RunView] = []
        before: UUID | None = None
        while True:
            page = await self.store.runs(RunFilter(schedule=schedule, before=before, limit=PAGE))
            found += page
            if len(page) < PAGE:
                return found
            before = page[-1].id

    async def judge_occurrences(self, until_: datetime, runs: Iterable[RunView]) -> Occurrences:
        """Check every schedule of the trial against what its trigger says was due."""
        dues: dict[str, list[datetime | None]] = {}
        for run in runs:
            if run.schedule is not None and run.origin in CLOCKS:
                dues.setdefault(run.schedule, []).append(run.due)
        tally = Occurrences()
        for row in await self.store.schedules():
            assert row.created_at is not None, "a stored schedule knows since when"
            trigger = trigger_from_spec(row.definition.trigger)
            due = occurrences_between(trigger, row.created_at, until_, limit=MOST_DUE)
            ranges = await self.store.verdicts(row.name)
            tally.add(judge_schedule(due, ranges, dues.get(row.name, [])))
        return tally

    def resent_late(self) -> int:
        """Count the runs that were asked for again when their work had already begun."""
        self.journal.read()
        begun = {one.run: one.at_s for one in reversed(self.journal.lines) if one.kind == "start"}
        return sum(begun.get(run, inf) < at_s for run, at_s in self.resent.items())

    def judge_attempts(self, runs: Sequence[RunView]) -> Attempts:
        """Check runs against what their tasks wrote."""
        self.journal.read()
        return judge_attempts(runs, self.journal.lines)

    async def judge_moves(self) -> None:
        """Replay what the store remembers of everything against the tables of the core.

        The fleet is quiet by now: a history is not taken while it moves on.
        """
        found = wrong(await record(self.store))
        self.report.must_be("moves that no table allows", len(found), 0)
        for number, words in enumerate(found[:MOST_TOLD], 1):
            self.report.note(f"move {number}", words)


PARKED = RunState.PARKED
MOST_TOLD = 5
LAST_WORDS = 40


def _last_words(path: Path) -> str:
    """Return the end of the journal, for a report of what went wrong."""
    lines = Journal(path).read()[-LAST_WORDS:]
    return "\n".join(
        f"{one.at_s:12.3f} {one.worker:<4} {one.kind:<24} {one.run or ''} {one.attempt}"
        f" {one.detail}"
        for one in lines
    )


@asynccontextmanager
async def trial_of(
    report: Report,
    place: Place,
    *,
    settings: dict[str, str] | None = None,
    schedules: tuple[Every, ...] = (),
    calls: Calls | None = None,
    first: Callable[[Fleet], Awaitable[None]] | None = None,
) -> AsyncIterator[Trial]:
    """Set a trial up, and end it with all its processes; `first` is done before it looks on."""
    spec = Spec(
        store=place.url,
        journal=str(place.folder / "journal"),
        settings=settings or {},
        schedules=schedules,
        calls=calls,
    )
    fleet = Fleet(spec, place.folder)
    app = build(spec, None)
    trial = Trial(place, report, app, fleet=fleet)
    try:
        if first is not None:
            await first(fleet)
        async with app:
            yield trial
            runs = await trial.every_run()
            trial.at_rest = {one.id for one in runs if one.state in ENDS | {PARKED}}
    except Overdue as overdue:
        report.must_be(f"waited in vain: {overdue}", 1, 0)
    finally:
        fleet.end()
        trial.settle()
        report.evidence = fleet.logs() + "\n" + _last_words(Path(spec.journal))
