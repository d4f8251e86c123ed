"""A storm of kills: instances fire and run many schedules while one after another is killed.

Kill -9 every two seconds at random, mostly of one that is at work, with a replacement at once.
Schedules end at an instant that is fixed beforehand, so that what was due is known without asking
the store: afterwards every occurrence must have one verdict, every fired one exactly one run,
every run one end (P1, P2, P7).
"""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

from chaos.declared import Every
from chaos.journal import now_s
from chaos.places import Place
from chaos.report import PACE, Report
from chaos.scale import Scale
from chaos.trial import Trial, trial_of
from chaos.waiting import pause

KILL_EVERY_S = 2.0
STARTING_S = 4.0
BUSY_SHARE = 0.7


def schedules_until(end: datetime, count: int) -> tuple[Every, ...]:
    """Make `count` schedules: a few every second, most every five seconds to a minute."""
    made = []
    for number in range(count):
        share = number / count
        every_s = 1 if share < 0.05 else 2 if share < 0.15 else 5 + number % 56
        policy = ("all", "allow") if number % 3 else ("latest", "skip")
        made.append(
            Every(
                name=f"s{number:04}",
                every_s=every_s,
                end=end,
                catch_up=policy[0],
                overlap=policy[1],
                ms=(0, 30, 700)[number % 3],
            )
        )
    return tuple(made)


async def try_it(place: Place, scale: Scale) -> Report:
    """Blow the storm, let everything settle, and compare by keys."""
    report = Report(trial="storm", store=place.name)
    blow_s = scale.minutes * 60 if scale.full else 12.0
    end = datetime.now(UTC) + timedelta(seconds=blow_s + STARTING_S)
    made = schedules_until(end, scale.pick(100, 1000))
    async with trial_of(report, place, schedules=made) as trial:
        instances = scale.pick(4, 10)
        trial.fleet.start(instances)
        await trial.joined(instances)
        await _blow(trial, end)
        await trial.quiet(within_s=300)
        await _judge(trial, end, count=len(made))
    return report


async def _blow(trial: Trial, end: datetime) -> None:
    chance = random.Random(20261122)
    begun_s = now_s()
    while datetime.now(UTC) < end:
        due_s = begun_s + (trial.fleet.killed + 1) * KILL_EVERY_S
        await pause(max(0.0, due_s - now_s()))
        living, at_work = trial.fleet.living, trial.journal.at_work()
        busy = [one for one in living if one.name in at_work]
        chosen = busy if busy and chance.random() < BUSY_SHARE else living
        trial.fleet.kill(chance.choice(chosen))
        trial.fleet.start()
    trial.report.note(PACE, round((now_s() - begun_s) / trial.fleet.killed, 1))


async def _judge(trial: Trial, end: datetime, *, count: int) -> None:
    report = trial.report
    runs = await trial.every_run()
    seen = await trial.judge_occurrences(end, runs)
    told = trial.judge_attempts(runs)
    await trial.judge_moves()
    await trial.all_joined()
    kinds = trial.journal.count()
    codes = await trial.fleet.stop()
    report.note("instances started / killed -9", f"{len(trial.fleet.workers)}/{trial.fleet.killed}")
    report.must_be("schedules", len(await trial.store.schedules()), count)
    report.note("occurrences due", seen.due)
    report.note("fired", seen.fired)
    report.note("judged otherwise", seen.other)
    report.must_be("lost", seen.lost, 0)
    report.must_be("doubled", seen.doubled, 0)
    report.must_be("invented", seen.invented, 0)
    report.note("runs attempted again", told.again)
    report.must_be("runs that did not succeed", told.unended, 0)
    report.must_be("attempts begun twice", told.started_twice, 0)
    report.must_be("attempts ended twice", told.ended_twice, 0)
    report.must_be("succeeded without its work", told.unworked, 0)
    report.must_be("two attempts at work at once", told.at_once, 0)
    report.note("stale writes refused", kinds["run.stale"])
    report.note("boots declared dead", kinds["instance.declared_dead"])
    report.must_be("loops that failed", kinds["loop.failed"], 0)
    report.must_be("workers that ended by themselves", sum(code != 0 for code in codes), 0)
