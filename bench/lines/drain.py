"""B1: ready no-op runs, one worker process, from the first start to the last ended row.

Work counts when its end is in the store, not when it started. That each ran exactly once is
checked by the journal, and a run that shows otherwise is an error, whatever its speed. Every
product is measured at each of its settings; the default of Duly is among them.
"""

from __future__ import annotations

import time

from bench.fleet import Fleet
from bench.scene import Scene


def journal_bytes(count: int) -> int:
    """How long the journal is when keys from 0 have all started: cheaper to ask than its lines.

    A line is a letter, the key, 19 digits of time and the name of the first worker.
    """
    return sum(len(f"S {key} {'9' * 19} w0\n") for key in range(count))


def measure(scene: Scene) -> None:
    """Measure every product at every setting, in turn in each round."""
    count = scene.some(30_000, 300)
    settings = [(one, slots) for one in scene.products for slots in one.slots[: scene.some(9, 1)]]
    seen: dict[tuple[str, int], list[tuple[float, float, float]]] = {}
    for _ in range(scene.rounds):
        for product, slots in settings:
            with scene.fleet(product, slots=slots) as fleet:
                fleet.put("--count", count, "--many", 1000)
                scene.server.ask("vacuum analyze", database=scene.database(product))
                seen.setdefault((product.name, slots), []).append(drain(scene, fleet, count))
    for (name, slots), rounds in seen.items():
        rates, from_start, cpu = zip(*rounds, strict=True)
        scene.results.add(
            "B1 drain, start to ended row", name, rates, unit="runs/s",
            slots=slots or "default", count=count,
            from_process_start=round(sorted(from_start)[len(from_start) // 2]),
            worker_cpu_us=round(sorted(cpu)[len(cpu) // 2]),
        )  # fmt: skip


def drain(scene: Scene, fleet: Fleet, count: int) -> tuple[float, float, float]:
    """Drain; return runs/s from the first start, from the process's start, and CPU us a run."""
    began = time.time()
    worker = fleet.start()
    all_started = journal_bytes(count)
    fleet.until(lambda: fleet.marks() >= all_started, every=0.02)
    database = scene.database(fleet.product)
    fleet.until(lambda: scene.server.ask(fleet.product.ended, database=database)[0][0] >= count)
    ended, cpu = time.time(), worker.cpu_s()
    starts = fleet.lines("S")
    assert len(starts) == count, f"expected {count} starts, got {len(starts)}"
    assert len({one.key for one in starts}) == count, "a job ran twice"
    first = min(one.at for one in starts)
    return count / (ended - first), count / (ended - began), cpu / count * 1e6
