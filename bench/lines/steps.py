"""G: durable steps, each committed before the next begins: 32 runs at once, and one run alone.

From the first start to the last end, one worker process. A peer needs durable steps to stand
here; until one does, Duly stands alone, on PostgreSQL and on a SQLite file.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from bench.fleet import Fleet
from bench.products import DULY
from bench.scene import Scene

AT_ONCE = 32


def measure(scene: Scene) -> None:
    """Measure both, on both stores."""
    for runs, steps in ((AT_ONCE, scene.some(200, 5)), (1, scene.some(1000, 20))):
        what = f"G durable steps, {runs} run{'s at once' if runs > 1 else ' alone'}"
        rates, files = [], []
        for _ in range(scene.rounds):
            with scene.fleet(DULY) as fleet:
                rates.append(_taken(fleet, runs, steps))
            files.append(_on_a_file(runs, steps))
        scene.results.add(what, "duly", rates, unit="steps/s", runs=runs, steps=steps)
        line = f"{what}, SQLite"
        scene.results.add(line, "duly", files, unit="steps/s", runs=runs, steps=steps)


def _taken(fleet: Fleet, runs: int, steps: int) -> float:
    fleet.put("--count", runs, "--many", runs, "--job", "steps")
    fleet.start(BENCH_STEPS=steps)
    fleet.until(lambda: sum(one.key >= 0 for one in fleet.lines("E")) >= runs, every=0.02)
    began = min(one.at for one in fleet.lines("S") if one.key >= 0)
    ended = max(one.at for one in fleet.lines("E"))
    return runs * steps / (ended - began)


def _on_a_file(runs: int, steps: int) -> float:
    with (
        tempfile.TemporaryDirectory(prefix="duly-bench-") as folder,
        Fleet(DULY, f"sqlite:///{Path(folder) / 'bench.db'}") as fleet,
    ):
        return _taken(fleet, runs, steps)
