"""From a kill -9 to the first line of the next attempt, on another instance.

Proven: the watcher sees the process itself end. Apart: every worker lives in a PID namespace of
its own, as containers do; then only the fallen locks tell, after a grace. Times are told and
never judged; judged is that a takeover came by proof, and none by waiting for the lease.
"""

from __future__ import annotations

from chaos.fleet import can_be_apart
from chaos.journal import now_s
from chaos.places import Place
from chaos.report import Report, percentile
from chaos.scale import Scale
from chaos.trial import Trial, trial_of
from chaos.waiting import until
from duly.core.fleet import Proof
from duly.core.states import RunState

INSTANCES = 3
WITHIN_S = 60.0


async def try_proven(place: Place, scale: Scale) -> Report:
    """Kill holders whose processes the others can see."""
    return await _try(place, scale, apart=False)


async def try_apart(place: Place, scale: Scale) -> Report:
    """Kill holders that live in PID namespaces of their own."""
    return await _try(place, scale, apart=True)


async def _try(place: Place, scale: Scale, *, apart: bool) -> Report:
    report = Report(trial="takeover-apart" if apart else "takeover", store=place.name)
    if apart and not await can_be_apart():
        report.skipped = "PID namespaces cannot be made here (unshare --pid --fork)"
        return report
    async with trial_of(report, place) as trial:
        trial.fleet.start(INSTANCES, apart=apart)
        await trial.joined(INSTANCES)
        times, details = [], []
        for _ in range(scale.count(3 if apart else 5, 30)):
            took_s, detail = await _kill_the_holder(trial)
            times.append(took_s * 1000)
            report.times_s.append(took_s)
            details.append(detail)
            trial.fleet.start(apart=apart)
            await trial.joined(len(trial.fleet.workers))
        wanted = Proof.SESSION if apart else Proof.PROCESS
        report.note("kills -9", trial.fleet.killed)
        report.must_be(f"taken over by: {wanted}", details.count(wanted.value), len(details))
        report.must_be(f"taken over by: {Proof.LEASE}", details.count(Proof.LEASE.value), 0)
        told = trial.judge_attempts(await trial.every_run())
        report.must_be("runs that did not succeed", told.unended, 0)
        report.must_be("attempts begun twice", told.started_twice, 0)
        report.must_be("attempts ended twice", told.ended_twice, 0)
        report.must_be("succeeded without its work", told.unworked, 0)
        report.note("kill to next attempt, ms: p50", round(percentile(times, 0.5), 1))
        report.note("kill to next attempt, ms: p99", round(percentile(times, 0.99), 1))
    return report


async def _kill_the_holder(trial: Trial) -> tuple[float, str]:
    """Kill whoever runs a fresh run; return how long the next attempt took, and by what proof."""
    run = (await trial.ask("work", first_ms=600_000)).id
    began = await until(
        lambda: trial.journal.find("start", run, 1), within_s=WITHIN_S, what="a run to start"
    )
    moment = now_s()
    trial.fleet.kill(trial.fleet.by_name(began.worker))
    again = await until(
        lambda: trial.journal.find("start", run, 2),
        within_s=WITHIN_S,
        what="the next attempt",
        every_s=0.005,
    )
    view = await trial.client.run(run)
    assert again.worker != began.worker, "a dead worker began an attempt"
    while view.state is not RunState.SUCCEEDED:
        await trial.quiet(within_s=WITHIN_S)
        view = await trial.client.run(run)
    return again.at_s - moment, view.attempts[0].detail or ""
