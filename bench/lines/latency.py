"""C: from the acknowledgement of an enqueue to the start of its function in another process.

The worker is idle and has run a job before. Intervals are uneven, so that no poll is met in step.
"""

from __future__ import annotations

from functools import partial

from bench.fleet import Fleet, Line
from bench.results import percentile
from bench.scene import Scene


def measure(scene: Scene) -> None:
    """Measure every product."""
    count = scene.some(300, 10)
    for product in scene.of_line("C"):
        rounds = []
        for _ in range(scene.rounds):
            with scene.sparing(product, "C"), scene.fleet(product) as fleet:
                fleet.start_idle()
                fleet.put("--count", count, "--gap", 0.04)
                fleet.until(partial(_have_started, fleet, count))
                starts = {one.key: one.at for one in fleet.lines("S")}
                waits = [(starts[one.key] - one.at) * 1e3 for one in _real(fleet.lines("C"))]
                calls = [(starts[one.key] - one.at) * 1e3 for one in _real(fleet.lines("B"))]
                rounds.append(
                    (percentile(waits, 0.5), percentile(waits, 0.99), percentile(calls, 0.5))
                )
        if not rounds:
            continue
        half, most, called = zip(*rounds, strict=True)
        name, line = product.name, "C enqueued to started"
        scene.results.add(f"{line}, p50", name, half, unit="ms", count=count)
        scene.results.add(f"{line}, p99", name, most, unit="ms", count=count)
        scene.results.add("C enqueue called to started, p50", name, called, unit="ms")


def _real(lines: list[Line]) -> list[Line]:
    return [one for one in lines if one.key >= 0]


def _have_started(fleet: Fleet, count: int) -> bool:
    return len({one.key for one in _real(fleet.lines("S"))}) >= count
