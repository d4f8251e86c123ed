"""Loops that misbehave under supervision, in real processes; and a store away that ends nobody.

One loop raises, one hangs in a wait, one swallows its cancellation, one hangs on a thread; each in
a process of its own with runs in hand. Each is counted five times and told, each process hands its
work back and ends with 70, and another process does the work. What hangs is told with its stack.
Then the store is away, in the campaign for ten minutes, before processes whose loops speak to it
several times a second: none of them fails, and none ends.
"""

from __future__ import annotations

from collections import Counter

from chaos.journal import now_s
from chaos.looping import GO, LOOPS
from chaos.places import Place
from chaos.report import Moment, Report
from chaos.scale import Scale
from chaos.scenarios.outage import halted
from chaos.trial import Trial, trial_of
from chaos.waiting import pause, until
from duly.core.states import RunState, RunVerb
from duly.engine.trips import TRIPPED

SOUND = "asks"
BAD = tuple(name for name in LOOPS if name != SOUND)
HANGING = ("hangs", "clings", "stuck")
IN_HAND = 2
HEALTHY = 2
FAILURES = 5
AWAY_S = 4, 600
"""How long the store is away: in the gate, and in the campaign."""

SETTINGS = {"engine.slots": str(IN_HAND), "engine.stop_grace": "200ms"}


async def try_it(place: Place, scale: Scale) -> Report:
    """Let each loop misbehave, then take the store away, and compare."""
    report = Report(trial="supervised", store=place.name)
    async with trial_of(report, place, settings=SETTINGS) as trial:
        await _misbehave(trial)
        await _away(trial, scale.pick(*AWAY_S))
    return report


async def _misbehave(trial: Trial) -> None:
    bad = {name: trial.fleet.start(env={"CHAOS_LOOP": name})[0] for name in BAD}
    await trial.joined(len(bad))
    asked = [await trial.ask("work", ms=20, first_ms=600_000) for _ in range(IN_HAND * len(bad))]
    await until(
        lambda: trial.journal.count()["start"] >= len(asked),
        within_s=60,
        what="each of them to have runs in hand",
    )
    trial.fleet.start(HEALTHY, env={"CHAOS_LOOP": SOUND})
    await trial.joined(len(bad) + HEALTHY)
    for one in bad.values():
        trial.report.moments.append(Moment(now_s(), one.name))
    (trial.place.folder / GO).touch()
    await until(
        lambda: not any(one.living for one in bad.values()), within_s=120, what="them to end"
    )
    codes = {name: one.process.returncode for name, one in bad.items()}
    await trial.quiet()
    runs = [await trial.client.run(one.id) for one in asked]
    again = Counter(one.attempts[0].outcome for one in runs if one.attempts)
    trial.report.must_be("processes that ended otherwise than with 70", _other(codes), "none")
    trial.report.must_be(
        "runs that did not succeed", sum(one.state is not RunState.SUCCEEDED for one in runs), 0
    )
    told = trial.judge_attempts(runs)
    trial.report.must_be("attempts begun twice", told.started_twice, 0)
    trial.report.must_be("succeeded without its work", told.unworked, 0)
    trial.report.must_be("runs handed back by who tripped", again[RunVerb.RELEASE], len(runs))
    await _told(trial, {name: one.name for name, one in bad.items()})


def _other(codes: dict[str, int]) -> str:
    return ", ".join(f"{name}: {code}" for name, code in codes.items() if code != 70) or "none"


async def _told(trial: Trial, workers: dict[str, str]) -> None:
    """Every failure was counted, a hang told with where it stood, and a trip with an incident."""
    trial.journal.read()
    report, lines = trial.report, trial.journal.lines
    failed = Counter(one.worker for one in lines if one.kind == "loop.failed")
    missed = Counter(one.worker for one in lines if one.kind == "loop.missed_deadline")
    wrong = sum(failed[one] != FAILURES for one in workers.values())
    report.must_be("loops that did not fail five times", wrong, 0)
    for name in HANGING:
        text = (trial.place.folder / f"{workers[name]}.log").read_text("utf-8", "replace")
        report.must_be(f"deadlines that {name} missed", missed[workers[name]], FAILURES)
        stood = "no sign of life for" in text and "looping.py" in text
        report.must_be(f"where {name} stood is in its log", stood, True)
    known = await trial.store.incidents()
    tripped = {one.subject for one in known if one.kind == TRIPPED}
    report.must_be("trips told", len(tripped & {f"chaos/{name}" for name in workers}), len(BAD))
    report.must_be("processes told dead", trial.journal.count()["instance.declared_dead"], 0)


async def _away(trial: Trial, seconds: float) -> None:
    report = trial.report
    before = trial.journal.count()
    place = trial.place
    fault = place.locked if place.server is None else halted(place, "immediate")
    async with fault():
        await pause(seconds)
    trial.struck()
    again = await trial.ask("work", ms=20)
    await until(
        lambda: trial.journal.find("end", again.id) is not None,
        within_s=120,
        what="work to go on",
    )
    after = trial.journal.count()
    report.note("seconds the store was away", seconds)
    report.note("instances that saw it away", after["store.away"] - before["store.away"])
    report.must_be("loops that failed for it", after["loop.failed"] - before["loop.failed"], 0)
    report.must_be("processes that ended for it", HEALTHY - len(trial.fleet.living), 0)
    await trial.all_joined()
    codes = await trial.fleet.stop()
    report.must_be("workers that ended badly", sum(code != 0 for code in codes), 0)
