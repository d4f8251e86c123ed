"""A holder that sleeps through its lease: stopped, taken over from, and woken again.

Another instance finishes its run meanwhile. What the sleeper still has to say is refused by the
fence, it comes back as a new boot, and the death that was counted for it is taken back (P6).
"""

from __future__ import annotations

import signal
from uuid import UUID

from chaos.journal import Line, now_s
from chaos.places import Place
from chaos.report import Report
from chaos.scale import QUICK, Scale
from chaos.trial import Trial, trial_of
from chaos.waiting import pause, until, until_it
from duly.core.runs import Answer, Ending, RunView
from duly.core.states import RunState, RunVerb

INSTANCES = 3
FIRST_MS = 3000
SETTLED_S = 0.15


async def try_it(place: Place, scale: Scale) -> Report:
    """Stop holders, each longer than its lease."""
    report = Report(trial="zombie", store=place.name)
    async with trial_of(report, place, settings=QUICK) as trial:
        trial.fleet.start(INSTANCES)
        await trial.joined(INSTANCES)
        cycles = scale.count(2, 40)
        views, refused = [], 0
        for number in range(cycles):
            view, answer = await _stop_the_holder(trial, "thread" if number % 2 else "work")
            views.append(view)
            refused += answer is Answer.STALE
        kinds = trial.journal.count()
        runs = await trial.every_run()
        told = trial.judge_attempts(runs)
        dead = {one.boot for one in await trial.store.instances() if one.state == "dead"}
        zombies = {view.attempts[0].boot for view in views}
        returned = trial.journal.details("instance.returned")
        came_back = sum(any(str(boot) in one for one in returned) for boot in zombies)
        report.note("holders stopped and woken", cycles)
        report.note("stopped inside a write of the shared file", trial.woken_at_once)
        report.must_be("boots declared dead", len(dead & zombies), cycles)
        report.must_be("words in a dead boot's name refused", refused, cycles)
        report.note("stale endings the sleepers sent", kinds["run.stale"])
        report.note("runs the sleepers let go unsaid", kinds["run.lost"])
        report.must_be("returned under a new boot", came_back, cycles)
        report.note("others that were slow, buried, and returned", len(returned) - came_back)
        report.must_be("deaths still counted", sum(view.deaths for view in views), 0)
        wrong = sum(view.boot in zombies and view.epoch == 1 for view in views)
        report.must_be("ended by a sleeper's word", wrong, 0)
        taken_back = sum(view.attempts[0].outcome is RunVerb.RELEASE for view in views)
        report.must_be("takeovers taken back", taken_back, cycles)
        report.must_be("runs that did not succeed", told.unended, 0)
        report.must_be("attempts begun twice", told.started_twice, 0)
        report.must_be("loops that failed", kinds["loop.failed"], 0)
    return report


async def _freeze_a_holder(trial: Trial, task: str) -> tuple[UUID, Line]:
    """Stop whoever runs a fresh run; return the run and the line of its start.

    SQLite cannot take its lock from a writer that sleeps: all others wait until it wakes. Then
    nothing is taken over, and there is no zombie; so such a one is woken, and another tried.
    """
    while True:
        run = (await trial.ask(task, first_ms=FIRST_MS, ms=1500)).id
        began = await until(
            lambda run=run: trial.journal.find("start", run, 1),  # type: ignore[misc]
            within_s=60,
            what="a run to start",
        )
        await pause(SETTLED_S)
        sleeper = trial.fleet.by_name(began.worker)
        sleeper.signal(signal.SIGSTOP)
        if await trial.place.is_writable():
            trial.struck(sleeper.name)
            return run, began
        sleeper.signal(signal.SIGCONT)
        trial.woken_at_once += 1
        await until(
            lambda run=run: trial.journal.find("end", run),  # type: ignore[misc]
            within_s=60,
            what="its end",
        )


async def _stop_the_holder(trial: Trial, task: str) -> tuple[RunView, Answer]:
    """Let a holder sleep through its lease; return the run, and what a word of its name got."""
    run, began = await _freeze_a_holder(trial, task)
    sleeper = trial.fleet.by_name(began.worker)
    boot = (await trial.client.run(run)).boot
    assert boot is not None, "a running run has a holder"
    try:
        await until(
            lambda: trial.journal.find("start", run, 2), within_s=60, what="the next attempt"
        )
        word = Ending(run=run, epoch=1, verb=RunVerb.COMPLETE)
        [answer] = await trial.store.end(boot, [word])
        ripe_s = began.at_s + FIRST_MS / 1000
        await until(lambda: now_s() > ripe_s, within_s=60, what="the sleeper's work to be over")
        returned = trial.journal.count()["instance.returned"]
    finally:
        sleeper.signal(signal.SIGCONT)
    await until(
        lambda: trial.journal.count()["instance.returned"] > returned,
        within_s=60,
        what="the sleeper to come back",
    )

    async def ended() -> RunView | None:
        view = await trial.client.run(run)
        return view if view.state is RunState.SUCCEEDED else None

    return await until_it(ended, within_s=60, what="the run to end"), answer
