"""Kill -9 at every named point of every verb, again and again, under work of every kind.

Points are found, not listed: a worker tells of each that it visits. A few marks are open at a
time, and whoever comes to one first dies there. Afterwards everything is compared by key:
occurrences, runs, deliveries with what the target saw, messages with what they should have been.
Runs that died so often that they were set aside as poison are let go on by the harness.
"""

from __future__ import annotations

import asyncio
import random
import signal
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

from chaos.checks import judge_flow
from chaos.declared import Every
from chaos.durable import Target
from chaos.journal import now_s
from chaos.places import Place
from chaos.report import Report
from chaos.scale import QUICK, Scale
from chaos.scenarios.iteration import judge_sink
from chaos.trial import Trial, trial_of
from chaos.waiting import pause, until_it
from duly.core.effects import EffectFilter
from duly.core.states import EffectState, RunState

INSTANCES = 4
ENOUGH = 2
PATIENCE_S = 15.0
ROWS = 120
DONE_OFTEN = ("claim.", "end.", "fire.", "keep.", "post.", "renew.")


class Marks:
    """Which points there are, how often each was died at, and which marks are open."""

    def __init__(self, trial: Trial, *, times: int, at_a_time: int, all_of_them: bool) -> None:
        self._trial, self._folder = trial, trial.place.folder
        self._times, self._at_a_time, self._all = times, at_a_time, all_of_them
        self._chance = random.Random(11)
        self._open: dict[str, float] = {}
        self._late: set[str] = set()
        self._joined: set[str] = set()
        self._read = 0
        self.known: set[str] = set()
        self.died: Counter[str] = Counter()

    def turn(self) -> bool:
        """Read what happened, and lay further marks; whether every point had its deaths."""
        self._learn()
        for name, since_s in list(self._open.items()):
            if not self._file(name).exists():
                del self._open[name]
            elif now_s() - since_s > PATIENCE_S and len(self._open) > 1:
                self._file(name).unlink(missing_ok=True)
                del self._open[name]
                self._late.add(name)
        left = [one for one in self.known if self.died[one] < self._times and one not in self._open]
        fresh = [one for one in left if one not in self._late]
        if not fresh and not self._open:
            self._late.clear()
        while len(self._open) < self._at_a_time and fresh and self._enough_are_there():
            chosen = fresh.pop(self._chance.randrange(len(fresh)))
            self._open[chosen] = now_s()
            self._file(chosen).touch()
        return not left and not self._open

    def withdraw(self) -> None:
        """Take every mark away."""
        for path in self._folder.glob("die-*"):
            path.unlink(missing_ok=True)
        self._learn()

    def _enough_are_there(self) -> bool:
        """Whether some have joined the fleet who will see the others die."""
        living = {one.name for one in self._trial.fleet.living}
        return len(living & self._joined) >= ENOUGH

    def _file(self, name: str) -> Path:
        return self._folder / f"die-{name}"

    def _learn(self) -> None:
        self._trial.journal.read()
        lines = self._trial.journal.lines
        for one in lines[self._read :]:
            if one.kind == "instance.started":
                self._joined.add(one.worker)
            elif one.kind == "died":
                self.died[one.detail] += 1
            elif one.kind == "point" and (self._all or one.detail.startswith(DONE_OFTEN)):
                self.known.add(one.detail)
        self._read = len(lines)


async def try_it(place: Place, scale: Scale) -> Report:
    """Die at each point so many times, or as often as the minutes allow; the report says which."""
    report = Report(trial="points", store=place.name)
    blow_s = scale.pick(10, int(scale.minutes * 60))
    end = datetime.now(UTC) + timedelta(seconds=blow_s)
    made = tuple(Every(name=f"s{n:02}", every_s=1 + n % 4, end=end) for n in range(12))
    settings = QUICK | {"engine.history": "1d"}
    async with (
        trial_of(report, place, settings=settings, schedules=made) as trial,
        Target() as target,
    ):
        marks = Marks(
            trial,
            times=scale.count(1, 20),
            at_a_time=scale.pick(2, 6),
            all_of_them=scale.full,
        )
        load = Load(trial, target.port)
        trial.fleet.start(INSTANCES, env={"CHAOS_POINTS": "1"})
        await trial.joined(INSTANCES)
        stop = asyncio.Event()
        work = [asyncio.ensure_future(one) for one in (load.go(stop), _disturb(trial, stop))]
        try:
            await _die(trial, marks, end, worst_s=scale.pick(25, blow_s))
        finally:
            stop.set()
            await asyncio.gather(*work)
        marks.withdraw()
        _refill(trial)
        await _settled(trial)
        _tell(report, marks, times=scale.count(1, 20), full=scale.full)
        await _judge(report, trial, target, load=load, end=end)
    return report


async def _die(trial: Trial, marks: Marks, end: datetime, *, worst_s: float) -> None:
    begun_s = now_s()
    while now_s() - begun_s < worst_s:
        done = marks.turn()
        _refill(trial)
        if done and datetime.now(UTC) > end:
            return
        await pause(0.05)


def _refill(trial: Trial) -> None:
    missing = INSTANCES - len(trial.fleet.living)
    if missing > 0:
        trial.fleet.start(missing, env={"CHAOS_POINTS": "1"})


async def _disturb(trial: Trial, stop: asyncio.Event) -> None:
    """Freeze one beyond its lease now and then, and ask one to stop: verbs that are rare else."""
    chance, number = random.Random(5), 0
    while not stop.is_set():
        await pause(2.5)
        victim, number = chance.choice(trial.fleet.living or trial.fleet.workers), number + 1
        try:
            if number % 2:
                victim.signal(signal.SIGTERM)
                continue
            victim.signal(signal.SIGSTOP)
            if await trial.place.is_writable():
                await pause(2.6)
            victim.signal(signal.SIGCONT)
        except ProcessLookupError:
            continue


class Load:
    """Work of every kind, asked for until told to stop. What was asked for is remembered by key."""

    def __init__(self, trial: Trial, port: int) -> None:
        self._trial, self._port = trial, port
        self.asked: set[UUID] = set()
        self.acknowledged: set[UUID] = set()
        self.deliveries = 0
        self.iterations = 0
        self.cancelled: set[UUID] = set()

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
            await pause(0.04)

    async def _backed_up(self) -> bool:
        counts = await self._trial.store.counts()
        return counts.get("ready", 0) + counts.get("running", 0) > 60

    def _next(self, number: int):  # type: ignore[no-untyped-def]
        trial = self._trial
        if number % 3 == 0:
            self.deliveries += 1
            return trial.new_run("deliver", port=self._port, number=self.deliveries)
        if number % 20 == 1 and not self.iterations:
            self.iterations += 1
            return trial.new_run("rows", count=ROWS)
        if number % 25 == 2:
            return trial.new_run("fifty")
        key = f"load {number}" if number % 2 else None
        return trial.new_run("work", key=key, ms=1500 if number % 8 == 0 else 20)


async def _settled(trial: Trial) -> None:
    """Let poison go on until nothing is left of it; keep the fleet at its size."""

    async def look() -> bool:
        _refill(trial)
        poison = await trial.let_poison_go()
        counts = await trial.store.counts()
        live = sum(n for state, n in counts.items() if RunState(state) in LIVE)
        rows = await trial.store.schedules()
        waiting = any(row.next_fire is not None for row in rows)
        return not (poison or live or waiting or await trial.store.outbox())

    await until_it(look, within_s=300, what="everything to end", every_s=0.4)


LIVE = (
    RunState.SCHEDULED, RunState.READY, RunState.RUNNING, RunState.RETRYING, RunState.WAITING,
)  # fmt: skip


def _tell(report: Report, marks: Marks, *, times: int, full: bool) -> None:
    died = [marks.died[one] for one in marks.known]
    never = sorted(one for one in marks.known if not marks.died[one])
    report.note("points", len(marks.known))
    report.note("kill -9 at points", sum(died))
    report.note(f"points died at {times} times or more", sum(one >= times for one in died))
    report.note("points seen, and never again", ", ".join(never) or "none")
    report.must_be("points died at, at least", len(died) >= (60 if full else 8), True)


async def _judge(
    report: Report, trial: Trial, target: Target, *, load: Load, end: datetime
) -> None:
    runs = await trial.every_run()
    seen = await trial.judge_occurrences(end, runs)
    told = trial.judge_attempts([one for one in runs if one.task == "work"])
    there = {one.id for one in runs if one.schedule is None}
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
    await _judge_effects(report, trial, target, load)
    unended = [
        one for one in runs if one.state is not RunState.SUCCEEDED and one.reason != "uncertain"
    ]
    report.must_be("runs that did not succeed", len(unended), 0)
    if load.iterations:
        judge_sink(report, trial.place.folder / "sink", ROWS)


async def _judge_effects(report: Report, trial: Trial, target: Target, load: Load) -> None:
    rows = await trial.store.effects(EffectFilter(limit=100_000))
    by_number = {one.address.key.rpartition(" ")[2]: one for one in rows}
    done = {key for key, one in by_number.items() if one.state is EffectState.DONE}
    doubted = set(by_number) - done
    all_of_them = {str(one) for one in range(1, load.deliveries + 1)}
    gone = {one.boot for one in await trial.store.instances() if one.state != "live"}
    guessed = [key for key in doubted if by_number[key].author.boot not in gone]
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
