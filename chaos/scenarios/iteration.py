"""An iteration over many rows, killed again and again: what was published is what the source held.

Messages go through the outbox and a real relay to a file. Each has one id for ever; one that was
handed on twice, because its relay died in between, is known by it.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from chaos.journal import now_s
from chaos.places import Place
from chaos.report import Report
from chaos.scale import QUICK, Scale
from chaos.trial import Trial, trial_of
from chaos.waiting import until_it
from duly.core.runs import RunView
from duly.core.states import ENDS

INSTANCES = 3


async def try_it(place: Place, scale: Scale) -> Report:
    """Kill the holder each time it has come a stretch further."""
    report = Report(trial="iteration", store=place.name)
    count, kills = scale.pick(20_000, 200_000), scale.count(3, 30)
    async with trial_of(report, place, settings=QUICK) as trial:
        trial.fleet.start(INSTANCES)
        await trial.joined(INSTANCES)
        calm = await _measured(trial, "rows", count)
        bare = await _measured(trial, "bare", count)
        await _drained(trial)
        (place.folder / "sink").unlink()
        run = (await trial.ask("rows", count=count)).id
        view = await _killed_at_each(
            trial, run, [count * n // (kills + 1) for n in range(1, kills + 1)]
        )
        await _drained(trial)
        report.note("rows", count)
        report.note("kill -9 of the holder", trial.fleet.killed)
        report.must_be("the run", str(view.state), "succeeded")
        judge_sink(report, place.folder / "sink", count)
        report.note("rows a second, undisturbed", round(count / calm))
        report.note("share of an unprotected loop's speed", round(bare / calm, 2))
    return report


def judge_sink(report: Report, sink: Path, count: int) -> None:
    """Hold what left against the rows there are; what a kill cut short did not leave."""
    first: dict[str, tuple[str, int]] = {}
    copies = disorder = 0
    last: dict[str, int] = {}
    torn = 0
    for line in filter(None, sink.read_text().splitlines()):
        if not line.endswith(" ."):
            torn += 1
            continue
        message, key, body, _ = line.split()
        if message in first:
            copies += 1
            continue
        first[message] = key, int(body)
        disorder += int(body) <= last.get(key, 0)
        last[key] = int(body)
    bodies = Counter(body for _, body in first.values())
    report.must_be("rows published", len(bodies), count)
    report.must_be("rows that were never published", max(0, count - len(bodies)), 0)
    report.must_be("rows published under two ids", sum(n > 1 for n in bodies.values()), 0)
    report.must_be("first copies out of order within a key", disorder, 0)
    report.note("copies handed on again under the same id", copies)
    report.note("lines of the file that a kill cut short", torn)


async def _measured(trial: Trial, task: str, count: int) -> float:
    """Return how many seconds a run of a task took, from its start to its end."""
    run = (await trial.ask(task, count=count)).id
    view = await _until_ended(trial, run)
    assert view.started_at is not None and view.ended_at is not None, "it ended"
    return (view.ended_at - view.started_at).total_seconds()


async def _until_ended(trial: Trial, run: object) -> RunView:
    async def look() -> RunView | None:
        view = await trial.client.run(run)  # type: ignore[arg-type]
        return view if view.state in ENDS else None

    return await until_it(look, within_s=300, what="a run to end")


async def _killed_at_each(trial: Trial, run: object, places: list[int]) -> RunView:
    """Kill whoever holds the run when so many rows are confirmed."""
    begun_s = now_s()

    async def look() -> RunView | None:
        view = await trial.client.run(run)  # type: ignore[arg-type]
        done = view.progress.published if view.progress else 0
        if places and done >= places[0] and view.boot is not None and view.state not in ENDS:
            places.pop(0)
            await _kill(trial, view)
        return view if view.state in ENDS else None

    found = await until_it(look, within_s=600, what="the iteration to end", every_s=0.005)
    assert now_s() > begun_s
    return found


async def _kill(trial: Trial, view: RunView) -> None:
    pids = {one.boot: one.pid for one in await trial.store.instances()}
    holder = next((w for w in trial.fleet.living if w.pid == pids.get(view.boot)), None)
    if holder is not None:
        trial.fleet.kill(holder)
        trial.fleet.start()


async def _drained(trial: Trial) -> None:
    async def look() -> bool:
        return not await trial.store.outbox()

    await until_it(look, within_s=300, what="the outbox to drain", every_s=0.2)
