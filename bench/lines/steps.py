"""G: durable steps, each committed before the next begins: 32 runs at once, and one run alone.

From the first start to the last end, one worker process. A peer needs durable steps to stand
here; Duly is measured on PostgreSQL beside them, and on a SQLite file alone.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from bench.fleet import Fleet
from bench.products import DULY
from bench.scene import Scene

AT_ONCE = 32


def measure(scene: Scene) -> None:
    """Measure both, on both stores, in turn in each round."""
    for runs, full, quick in ((AT_ONCE, 200, 5), (1, 1000, 20))[: scene.some(2, 1)]:
        what = f"G durable steps, {runs} run{'s at once' if runs > 1 else ' alone'}"
        rates: dict[tuple[str, str], list[float]] = {}
        counts = {one.name: scene.some(round(full * one.share), quick) for one in scene.products}
        for _ in range(scene.rounds):
            for product in scene.of_line("G"):
                with scene.sparing(product, what), scene.fleet(product) as fleet:
                    rate = _taken(fleet, runs, counts[product.name])
                    rates.setdefault((what, product.name), []).append(rate)
            rate = _on_a_file(runs, counts[DULY.name])
            rates.setdefault((f"{what}, SQLite", DULY.name), []).append(rate)
        for (line, name), rounds in rates.items():
            more = {"runs": runs, "steps": counts[name]}
            scene.results.add(line, name, rounds, unit="steps/s", **more)


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
