"""Stops that were asked for: a rolling deployment, and user code that holds the event loop.

SIGTERM to one instance after the other while work goes on: what is in hand ends or is handed
back, and no death is counted. Half of the workers are process 1 of one host name, where PID
namespaces can be made. A task that blocks its event loop for longer than the lease keeps it.
"""

from __future__ import annotations

from chaos.fleet import can_be_apart
from chaos.places import Place
from chaos.report import Report
from chaos.scale import QUICK, Scale
from chaos.trial import Trial, trial_of
from chaos.waiting import pause, until, until_it
from duly.core.runs import RunView
from duly.core.states import RunState, RunVerb

INSTANCES = 3


async def try_restarts(place: Place, scale: Scale) -> Report:
    """Restart every instance, one after the other, some rounds."""
    report = Report(trial="rolling", store=place.name)
    settings = {"engine.stop_grace": "500ms"}
    apart = await can_be_apart()
    async with trial_of(report, place, settings=settings) as trial:
        trial.fleet.start(1)
        trial.fleet.start(INSTANCES - 1, apart=apart)
        await trial.joined(INSTANCES)
        codes = []
        for _ in range(scale.count(1, 20)):
            for worker in trial.fleet.living:
                for number in range(20):
                    await trial.ask("work", ms=2500 if number % 4 == 0 else 30)
                    await trial.ask("thread", ms=150 if number % 4 == 0 else 5)
                await pause(0.3)
                trial.struck(worker.name)
                codes += await trial.fleet.stop(worker)
                trial.fleet.start(apart=apart and len(trial.fleet.workers) % 3 > 0)
                await trial.joined(len(trial.fleet.workers))
        await trial.quiet()
        await _judge(trial, codes)
        if apart:
            names = [one.name for one in await trial.store.instances()]
            report.note("instances of the same name", len(names) - len(set(names)))
    return report


async def _judge(trial: Trial, codes: list[int]) -> None:
    report = trial.report
    runs = await trial.every_run()
    told = trial.judge_attempts(runs)
    again = [await trial.client.run(one.id) for one in runs if one.epoch > 1]
    outcomes = [one.outcome for view in again for one in view.attempts]
    kinds = trial.journal.count()
    dead = [one for one in await trial.store.instances() if one.state == "dead"]
    report.note("instances stopped by SIGTERM", len(codes))
    report.must_be("exit codes that are not 0", sum(code != 0 for code in codes), 0)
    report.note("runs", told.runs)
    report.note("handed back and run by another", len(again))
    report.must_be("not handed back but taken", len(outcomes) - outcomes.count(RunVerb.RELEASE), 0)
    report.must_be("deaths counted", sum(one.deaths for one in runs), 0)
    report.must_be("boots declared dead", len(dead), 0)
    report.must_be("runs that did not succeed", told.unended, 0)
    report.must_be("attempts begun twice", told.started_twice, 0)
    report.must_be("two attempts at work at once", told.at_once, 0)
    report.must_be("stale writes", kinds["run.stale"], 0)
    report.must_be("loops that failed", kinds["loop.failed"], 0)


async def try_blocked_loop(place: Place, scale: Scale) -> Report:
    """Let user code hold the event loop for twice the lease."""
    report = Report(trial="blocked-loop", store=place.name)
    async with trial_of(report, place, settings=QUICK) as trial:
        trial.fleet.start(2)
        await trial.joined(2)
        views = [await _block(trial) for _ in range(scale.count(1, 10))]
        kinds = trial.journal.count()
        report.note("times the loop was held for two leases", len(views))
        kept = sum(view.epoch == 1 and view.state is RunState.SUCCEEDED for view in views)
        told = trial.judge_attempts(views)
        report.must_be("ended by the first attempt", kept, len(views))
        report.must_be("runs that did not succeed", told.unended, 0)
        report.must_be("attempts begun twice", told.started_twice, 0)
        report.must_be("succeeded without its work", told.unworked, 0)
        report.must_be("boots declared dead", kinds["instance.declared_dead"], 0)
        report.must_be("stale writes", kinds["run.stale"], 0)
    return report


async def _block(trial: Trial) -> RunView:
    """Hold one worker's event loop for two leases; return the run after its end was answered."""
    run = (await trial.ask("block", ms=4500)).id
    trial.struck()
    await until(lambda: trial.journal.find("end", run), within_s=60, what="its end")

    async def settled() -> RunView | None:
        view = await trial.client.run(run)
        return view if view.state is not RunState.RUNNING else None

    return await until_it(settled, within_s=60, what="the answer to its end")
