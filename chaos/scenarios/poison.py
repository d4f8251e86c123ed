"""A run that kills its process, each time: it is set aside, and its neighbours go on.

Workers are replaced as an orchestrator would. The run is suspected after three deaths, tried
alone, and parked as poison at the fourth; those that died with it are not blamed.
"""

from __future__ import annotations

from chaos.places import Place
from chaos.report import Report
from chaos.scale import Scale
from chaos.trial import trial_of
from chaos.waiting import until_it
from duly.core.rules import DEATHS_TO_PARK
from duly.core.runs import RunFilter
from duly.core.states import RunState

INSTANCES = 3


async def try_it(place: Place, scale: Scale) -> Report:
    """Ask for poison among honest work, and keep the fleet at its size."""
    report = Report(trial="poison", store=place.name)
    async with trial_of(report, place) as trial:
        trial.fleet.start(INSTANCES)
        await trial.joined(INSTANCES)
        poisons = {(await trial.ask("crash")).id for _ in range(scale.count(1, 5))}
        for _ in range(scale.pick(40, 300)):
            await trial.ask("work", ms=400)

        async def parked() -> bool:
            missing = INSTANCES - len(trial.fleet.living)
            for _ in range(missing):
                trial.struck()
                trial.fleet.start()
            found = await trial.store.runs(RunFilter(state=RunState.PARKED, limit=100))
            return {one.id for one in found} >= poisons

        await until_it(parked, within_s=240, what="the poison to be set aside")
        await trial.quiet()
        runs = await trial.every_run()
        honest = [one for one in runs if one.id not in poisons]
        bad = [await trial.client.run(one) for one in poisons]
        reasons = {one.reason for one in bad}
        report.note("processes that died of it", len(trial.fleet.workers) - INSTANCES)
        report.must_be(
            "poison set aside", sum(one.state is RunState.PARKED for one in bad), len(poisons)
        )
        report.must_be("reasons that are not poison", len(reasons - {"poison"}), 0)
        report.must_be("deaths until then, most", max(one.deaths for one in bad), DEATHS_TO_PARK)
        told = trial.judge_attempts(honest)
        report.note("neighbours", told.runs)
        report.note("neighbours attempted again", told.again)
        report.must_be("neighbours that did not succeed", told.unended, 0)
        report.must_be("attempts begun twice", told.started_twice, 0)
        report.must_be("succeeded without its work", told.unworked, 0)
        report.must_be("loops that failed", trial.journal.count()["loop.failed"], 0)
    return report
