"""A1 to A3: enqueueing one by one, from 64 coroutines of one process, and many in one call.

Each call is committed when it returns. No worker runs meanwhile. The limit inserts and commits
the rows of as many runs in the same rounds: on one connection, for A2 on eight, which is about
where two cores end.
"""

from __future__ import annotations

from bench import limits
from bench.scene import Scene

MANY, AT_ONCE = 1000, 64
WAYS: tuple[tuple[str, int, tuple[object, ...], dict[str, int]], ...] = (
    ("A1 enqueue one by one", 6000, (), {}),
    ("A2 enqueue, 64 coroutines", 20_000, ("--at-once", AT_ONCE), {"callers": 8}),
    ("A3 enqueue_many of 1,000", 100_000, ("--many", MANY), {"many": MANY}),
)


def measure(scene: Scene) -> None:
    """Measure every way for every product, in turn in each round."""
    for line, full, options, of_limit in WAYS:
        counts = {one.name: scene.part(one, full, 100) for one in scene.of_line(line.split()[0])}
        rates: dict[str, list[float]] = {name: [] for name in (*counts, "limit")}
        for _ in range(scene.rounds):
            for product in scene.of_line(line.split()[0]):
                with scene.sparing(product, line), scene.fleet(product) as fleet:
                    rates[product.name].append(fleet.put("--count", counts[product.name], *options))
            rates["limit"].append(limits.rows_a_second(scene, scene.some(full, 100), **of_limit))
        for name, rounds in rates.items():
            count = counts.get(name, scene.some(full, 100))
            scene.results.add(line, name, rounds, unit="runs/s", count=count)
