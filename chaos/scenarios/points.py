"""Kill -9 at every named point of every verb, again and again, under work of every kind.

Points are found, not listed: a worker tells of each that it visits. Marks are open at some of
them (`chaos/marks.py`), and whoever comes to one first dies there; what brings rare verbs about is
done while their points are marked (`chaos/provoking.py`). It ends as soon as every known point had
its deaths, in the gate as soon as a few points had one, or when none came for minutes: a slow
machine takes longer, and dies as often. The two parts of the campaign answer for all verbs between
them, and each of their points must have had its deaths. Afterwards everything is compared by key:
occurrences, runs, families, deliveries with what the target saw, messages with what they should
have been. Runs that died so often that they were set aside as poison are let go on by the harness.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import UUID

import msgspec

from chaos.checks import judge_flow
from chaos.declared import Every
from chaos.durable import CHILDREN, Target
from chaos.forgetting import forget_the_dead
from chaos.journal import now_s
from chaos.marks import Marks, verb_of
from chaos.places import Place
from chaos.provoking import BROUGHT, NOBODYS, WORK_FOR, Provoker, take_back
from chaos.report import Report
from chaos.scale import QUICK, Scale
from chaos.scenarios.iteration import judge_sink
from chaos.trial import Trial, trial_of
from chaos.waiting import pause, until_it
from duly.core.effects import EffectFilter
from duly.core.runs import SUSPECT_QUEUE, NewRun, RunView
from duly.core.states import EffectState, RunState
from duly.engine.reporting import INTERRUPTED, POISON
from duly.errors import EnvironmentFailure, Refused

INSTANCES, SETTLERS = 4, 8
ROWS, FEW_ROWS = 120, 7
MOST_WAITING, MOST_SUSPECTS = 60, 600
LONG_MS = 700
FEW_SLOTS = 4
"""Who dies has so few runs in hand: the neighbours of a death become suspects, and are rerun
alone, one after the other."""

URGENT = 5
"""The priority of what is asked for: ahead of what the schedules heaped up."""

SCHEDULED_S = 600
"""How long schedules fire at most; points of firing have their deaths by then."""

BARREN_S, MOST_S = 300.0, 3600.0
"""How long no point is died at until the trial gives the rest up, and how long it lasts at most."""

GATE_MOST_S = 150.0
OFTEN_ENOUGH = 20

TIDY_S = 5.0
FORGOTTEN = timedelta(seconds=15)


class Part(msgspec.Struct, frozen=True):
    """Which points a trial is about: those of `verbs`, or of all verbs if there are none.

    It answers for all of them but those of `others`, which the other part answers for.
    """

    trial: str
    verbs: frozenset[str]
    scheduled_s: int  # how long schedules fire
    least: int  # points that must have been died at
    others: frozenset[str] = frozenset()

    def answers_for(self, points: Iterable[str]) -> set[str]:
        """Return those of these points that must have their deaths here."""
        return {one for one in points if verb_of(one) not in self.others}


OFTEN = Part("points", frozenset({"claim", "end", "fire", "keep", "post", "renew"}), 10, 5)
"""What is done all the time: the gate's share."""

SELDOM = Part(
    "points-seldom",
    frozenset({"expire", "prune", "register", "renew", "schedules", "shelve", "sweep"}),
    60,
    20,
)
"""Chores, joining and renewing, alone: among all others their turn comes too seldom."""

EVERY = Part("points", frozenset(), SCHEDULED_S, 60, others=SELDOM.verbs)


async def try_it(place: Place, scale: Scale) -> Report:
    """Die at each point so many times; the report says how often at which."""
    return await _try(place, scale, EVERY if scale.full else OFTEN)


async def try_seldom(place: Place, scale: Scale) -> Report:
    """As `try_it`, at the points alone that come by seldom."""
    return await _try(place, scale, SELDOM)


async def _try(place: Place, scale: Scale, part: Part) -> Report:
    report = Report(trial=part.trial, store=place.name)
    end = datetime.now(UTC) + timedelta(seconds=part.scheduled_s)
    made = tuple(
        Every(name=f"s{n:02}", every_s=1 + n % 4, end=end) for n in range(scale.pick(12, 4))
    )
    settings = QUICK | {"engine.history": "1d", "engine.slots": str(FEW_SLOTS)}
    async with (
        trial_of(report, place, settings=settings, schedules=made) as trial,
        Target() as target,
    ):
        times = scale.count(1, OFTEN_ENOUGH)
        marks = Marks(
            trial,
            times=times,
            at_a_time=scale.pick(2, 4),
            verbs=part.verbs,
            brought=BROUGHT if scale.full else frozenset(),
        )
        load, provoker = Load(trial, target.port, marks), Provoker(trial, marks)
        _refill(trial)
        await trial.joined(INSTANCES)
        stop = asyncio.Event()
        work = [
            asyncio.ensure_future(one)
            for one in (load.go(stop), provoker.go(stop), _tidy(trial, stop))
        ]
        try:
            await _die(trial, marks, part, end=end, gate=not scale.full)
        finally:
            stop.set()
            await asyncio.gather(*work)
        marks.withdraw()
        _refill(trial)
        await _settled(trial)
        _tell(report, marks, times=times, least=part.least)
        if scale.full and scale.times is None:
            short = part.answers_for(marks.left)
            report.must_be(f"{FEWER} {times} times", _listed(marks, short), "none")
        _tell_provoked(report, provoker)
        await _judge(report, trial, target, load=load, end=end)
    return report


async def _die(trial: Trial, marks: Marks, part: Part, *, end: datetime, gate: bool) -> None:
    """Let workers die until it is enough, which no number of seconds is."""
    begun_s = now_s()
    while now_s() - begun_s < (GATE_MOST_S if gate else MOST_S):
        marks.turn()
        _refill(trial)
        done = not part.answers_for(marks.left) or now_s() - marks.died_at_s > BARREN_S
        done |= gate and len(+marks.died) >= part.least
        if done and marks.known and datetime.now(UTC) > end:
            return
        await pause(0.05)


def _refill(trial: Trial, count: int = INSTANCES) -> None:
    missing = count - len(trial.fleet.living)
    if missing > 0:
        trial.fleet.start(missing, env={"CHAOS_POINTS": "1"})


async def _tidy(trial: Trial, stop: asyncio.Event) -> None:
    """Do what a fleet does for itself whose instances live for longer than a minute.

    Incidents of work that was cut off are closed, poison is let go on, and processes that are long
    dead are forgotten.
    """
    while not stop.is_set():
        await pause(TIDY_S)
        with suppress(EnvironmentFailure, Refused):
            await trial.let_poison_go()
            await forget_the_dead(trial.place, FORGOTTEN)
            for one in await trial.store.incidents():
                if one.kind in (INTERRUPTED, POISON):
                    await trial.store.close_incident(one.kind, one.subject)


class Load:
    """Work of every kind, asked for until told to stop. What was asked for is remembered by key.

    Every second piece of it is what brings about the verbs that have their marks.
    """

    def __init__(self, trial: Trial, port: int, marks: Marks) -> None:
        self._trial, self._port, self._marks = trial, port, marks
        self.asked: set[UUID] = set()
        self.acknowledged: set[UUID] = set()
        self.deliveries = 0
        self.rows = 0

    async def go(self, stop: asyncio.Event) -> None:
        number = 0
        while not stop.is_set():
            number += 1
            if await self._backed_up():
                await pause(0.3)
                continue
            run = self._next(number)
            self.asked.add(run.id)
            self.acknowledged.add((await self._trial.ask_until_told(run)).id)
            await pause(0.07)

    async def _backed_up(self) -> bool:
        queues = await self._trial.store.queues()
        ready = {name: one["ready"] for name, one in queues.items()}
        suspects = ready.pop(SUSPECT_QUEUE, 0)
        return sum(ready.values()) > MOST_WAITING or suspects > MOST_SUSPECTS

    def _next(self, number: int) -> NewRun:
        verbs = sorted(WORK_FOR.keys() & self._marks.verbs)
        if verbs and number % 2:
            tasks = WORK_FOR[verbs[number // 2 % len(verbs)]]
            return self._make(tasks[number // 4 % len(tasks)], number)
        if number % 20 == 1 and not self.rows:
            return self._iterate(ROWS)
        if number % 25 == 2:
            return self._make("fifty", number)
        kind = ("deliver", "work", "work", "deliver", "long", "again", "work", "family")
        return self._make(kind[number // 2 % len(kind)], number)

    def _make(self, task: str, number: int) -> NewRun:
        make = partial(self._trial.new_run, priority=URGENT)
        if task == "deliver":
            self.deliveries += 1
            return make("deliver", port=self._port, number=self.deliveries)
        if task == "rows":
            return self._iterate(FEW_ROWS)
        if task in ("work", "long"):
            key = f"load {number}" if number % 4 < 2 else None
            return make("work", key=key, ms=LONG_MS if task == "long" else 20)
        return make(task)

    def _iterate(self, count: int) -> NewRun:
        first, self.rows = self.rows + 1, self.rows + count
        return self._trial.new_run("rows", priority=URGENT, count=count, first=first)


async def _settled(trial: Trial) -> None:
    """Let poison go on until nothing is left of it, with as many as it takes.

    Runs that died three times are rerun alone, and each instance reruns one at a time.
    """

    async def look() -> bool:
        _refill(trial, SETTLERS)
        await take_back(trial.store, RunState.WAITING, RunState.READY)
        poison = await trial.let_poison_go()
        counts = await trial.store.counts()
        live = sum(n for state, n in counts.items() if RunState(state) in LIVE)
        rows = await trial.store.schedules()
        waiting = any(row.next_fire is not None for row in rows)
        return not (poison or live or waiting or await trial.store.outbox())

    await until_it(look, within_s=600, what="everything to end", every_s=0.4)


LIVE = (
    RunState.SCHEDULED, RunState.READY, RunState.RUNNING, RunState.RETRYING, RunState.WAITING,
)  # fmt: skip


FEWER = "points died at fewer than"


def _tell(report: Report, marks: Marks, *, times: int, least: int) -> None:
    report.deaths = {one: marks.died[one] for one in sorted(marks.known)}
    died = list(report.deaths.values())
    never = sorted(one for one, count in report.deaths.items() if not count)
    report.note("points", len(died))
    report.note("kill -9 at points", sum(died))
    report.note(f"points died at {times} times or more", sum(one >= times for one in died))
    report.note("points seen, and never again", ", ".join(never) or "none")
    enough = sum(one > 0 for one in died) >= least
    report.must_be("points died at, at least", enough, True)


def _listed(marks: Marks, points: Iterable[str]) -> str:
    """Name points, each with its deaths."""
    return ", ".join(f"{one} {marks.died[one]}" for one in sorted(points)) or "none"


def _tell_provoked(report: Report, provoker: Provoker) -> None:
    for name, times in sorted(provoker.done.items()):
        report.note(f"provoked: {name}", times)


async def _judge(
    report: Report, trial: Trial, target: Target, *, load: Load, end: datetime
) -> None:
    everything = await trial.every_run()
    runs = [one for one in everything if one.task != NOBODYS]
    done = [one for one in everything if one.task == NOBODYS and one.epoch]
    report.must_be("runs that somebody began without their code", len(done), 0)
    seen = await trial.judge_occurrences(end, runs)
    told = trial.judge_attempts([one for one in runs if one.task == "work"])
    there = {one.id for one in runs if one.schedule is None and one.parent is None}
    flow = judge_flow(load.asked, load.acknowledged, there)
    kinds = trial.journal.count()
    report.note("runs acknowledged", flow.acknowledged)
    report.must_be("acknowledged and lost", flow.lost, 0)
    report.must_be("never asked for", flow.invented, 0)
    report.note("occurrences due / fired", f"{seen.due}/{seen.fired}")
    report.must_be("occurrences lost", seen.lost, 0)
    report.must_be("occurrences doubled or invented", seen.doubled + seen.invented, 0)
    report.must_be("attempts begun twice", told.started_twice, 0)
    report.must_be("attempts ended twice", told.ended_twice, 0)
    report.must_be("succeeded without its work", told.unworked, 0)
    report.note("stale writes refused", kinds["run.stale"])
    report.must_be("loops that failed", kinds["loop.failed"], 0)
    await trial.judge_moves()
    await _judge_effects(report, trial, target, load)
    unended = [
        one for one in runs if one.state is not RunState.SUCCEEDED and one.reason != "uncertain"
    ]
    report.must_be("runs that did not succeed", len(unended), 0)
    report.must_be("families without exactly their children", _broken_families(runs), 0)
    if load.rows:
        judge_sink(report, trial.place.folder / "sink", load.rows)


def _broken_families(runs: Sequence[RunView]) -> int:
    """Count families that have more children than they asked for, or fewer."""
    born = Counter(one.parent for one in runs)
    return sum(born[one.id] != CHILDREN for one in runs if one.task == "family")


async def _judge_effects(report: Report, trial: Trial, target: Target, load: Load) -> None:
    rows = await trial.store.effects(EffectFilter(limit=100_000))
    by_number = {one.address.key.rpartition(" ")[2]: one for one in rows}
    done = {key for key, one in by_number.items() if one.state is EffectState.DONE}
    doubted = set(by_number) - done
    all_of_them = {str(one) for one in range(1, load.deliveries + 1)}
    live = {one.boot for one in await trial.store.instances() if one.state == "live"}
    guessed = [key for key in doubted if by_number[key].author.boot in live]
    twice = sum(n > 1 for n in target.performed.values())
    report.note("deliveries asked for", load.deliveries)
    report.must_be("performed twice", twice, 0)
    report.must_be("done, but never performed", len(done - set(target.performed)), 0)
    silent = set(target.performed) - set(by_number)
    report.must_be("performed, and the ledger knows nothing", len(silent), 0)
    missing = all_of_them - set(target.performed) - doubted
    report.must_be("deliveries that are neither performed nor uncertain", len(missing), 0)
    report.note("uncertain: sender died or slept", len(doubted))
    report.must_be("uncertain without a reason", len(guessed), 0)
