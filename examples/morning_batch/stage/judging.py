"""The figures of the story, each with what it has to be, and the verdict."""

from __future__ import annotations

from typing import Any

from duly.core.runs import RunFilter
from examples.morning_batch.stage.scene import Scene, published

Figures = dict[str, tuple[Any, Any]]
"""Name to (value, what it has to be); None there: it is only told."""


async def figures(scene: Scene) -> Figures:
    """Read everything back, from the store and from what the next service wrote down."""
    return await _promises(scene) | _told(scene)


async def _promises(scene: Scene) -> Figures:
    rows, hits, fleet = scene.scale.rows, len(scene.scale.hits), scene.fleet
    got, runs = scene.got("prices", scene.today), await scene.runs_of(scene.today)
    run = await scene.app.client.run(runs[0].id)
    cut = await scene.told("run.interrupted")
    alarms = await scene.told("expect.output")
    firings = await scene.app.client.runs(RunFilter(task="morning", limit=1000))
    return {
        "rows": (rows, None),
        "messages committed": (published(run), rows),
        "messages confirmed by the broker": (published(run) - await scene.waiting(), rows),
        "received, by message id": (got.ids, rows),
        "received, by row": (got.rows, rows),
        "rows under two ids (published twice)": (got.doubled, 0),
        "copies under one id (passed over)": (got.copies, None),
        "order violations per product": (got.disorder, 0),
        "kill -9 in the middle": (fleet.killed, scene.scale.kills),
        "polite recycles in the middle": (fleet.recycled, hits - scene.scale.kills),
        "attempts of the run": (run.epoch, hits + 1),
        "messages that waited for the broker": (scene.waited, None),
        "times the day was asked for": (len(scene.asked) + len(firings), None),
        "runs of the day": (len(runs), 1),
        "callers given another run": (sum(a["run"] != str(run.id) for a in scene.asked), 0),
        "interruptions told": (sum(str(run.id) in one.evidence["runs"] for one in cut), hits),
        "alarms over a third of the output": (len(alarms), 1),
    }


def _told(scene: Scene) -> Figures:
    if not scene.scale.compared:
        return {}
    cut_off, again = scene.got("unprotected", "killed"), scene.got("unprotected", "again")
    return {
        "unprotected, killed: rows received": (cut_off.rows, None),
        "unprotected, invoked again: rows twice": (
            cut_off.rows + again.rows - scene.scale.rows,
            None,
        ),
        **{f"seconds, {what}": (round(s, 1), None) for what, s in scene.seconds.items()},
    }


def wrong(found: Figures) -> list[str]:
    """Return the names of figures that are not what they have to be."""
    return [name for name, (value, wanted) in found.items() if wanted not in (None, value)]


def show(found: Figures) -> None:
    """Print the figures and the verdict."""
    print()
    for name, (value, wanted) in found.items():
        off = "" if wanted in (None, value) else f"   expected {wanted:,}"
        print(f"  {name:<42}{value:>10,}{off}")
    broken = wrong(found)
    print("\nNOT as promised: " + "; ".join(broken) if broken else "\nas promised")
