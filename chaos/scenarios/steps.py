"""A run of fifty steps whose process dies at every boundary: before, inside and behind each.

No step that had finished is done again; the one that was in flight is done once more. The worker
ends itself with SIGKILL exactly where the harness has put a mark.
"""

from __future__ import annotations

from collections import Counter

from chaos.durable import STEPS
from chaos.places import Place
from chaos.report import Report
from chaos.scale import QUICK, Scale
from chaos.trial import Trial, trial_of
from chaos.waiting import until_it
from duly.core.states import RunState

INSTANCES = 3
PLACES = ("before", "inside", "after")


async def try_it(place: Place, scale: Scale) -> Report:
    """Let one run die at each boundary in turn."""
    report = Report(trial="steps", store=place.name)
    async with trial_of(report, place, settings=QUICK) as trial:
        every = scale.pick(10, 1)
        marks = [f"{n}-{where}" for n in range(0, STEPS, every) for where in PLACES]
        for mark in marks:
            (place.folder / f"die-{mark}").touch()
        trial.fleet.start(INSTANCES)
        await trial.joined(INSTANCES)
        run = (await trial.ask("fifty")).id
        view = await _ended(trial, run)
        lines = [one for one in trial.journal.lines if one.run == run]
        did = Counter(one.detail for one in lines if one.kind == "did")
        inside = {mark.split("-")[0] for mark in marks if mark.endswith("inside")}
        kept_at: dict[str, float] = {}
        again = 0
        for one in lines:
            if one.kind == "kept":
                kept_at.setdefault(one.detail, one.at_s)
            elif one.kind == "did" and one.detail in kept_at:
                again += 1
        died = sum(not one.living for one in trial.fleet.workers)
        report.must_be("kill -9 at boundaries", died, len(marks))
        report.must_be("marks left over", len(list(place.folder.glob("die-*"))), 0)
        report.must_be("the run", str(view.state), "succeeded")
        report.must_be("runs that did not succeed", int(view.state is not RunState.SUCCEEDED), 0)
        report.must_be("its result", (view.result or b"").decode(), str(sum(range(STEPS))))
        report.must_be("finished steps done again", again, 0)
        report.must_be("steps done", len(did), STEPS)
        wrong = sum(count != 1 + (number in inside) for number, count in did.items())
        report.must_be("steps done more often than they were cut off", wrong, 0)
        report.note("attempts", view.epoch)
        report.at_most("deaths still counted: the last had no step behind it", view.deaths, 1)
    return report


async def _ended(trial: Trial, run: object) -> object:
    """Replace every worker that died until the run has ended."""

    async def look() -> object:
        while len(trial.fleet.living) < INSTANCES:
            trial.fleet.start()
        view = await trial.client.run(run)  # type: ignore[arg-type]
        trial.journal.read()
        return (
            view if view.state in (RunState.SUCCEEDED, RunState.FAILED, RunState.PARKED) else None
        )

    return await until_it(look, within_s=600, what="the fifty steps to end", every_s=0.1)
