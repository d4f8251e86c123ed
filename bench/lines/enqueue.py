"""A1 to A3: enqueueing one by one, from 64 coroutines of one process, and many in one call.

Each call is committed when it returns. No worker runs meanwhile.
"""

from __future__ import annotations

from bench.products import Product
from bench.scene import Scene

WAYS = (
    ("A1 enqueue one by one", 6000, ()),
    ("A2 enqueue, 64 coroutines", 20_000, ("--at-once", 64)),
    ("A3 enqueue_many of 1,000", 100_000, ("--many", 1000)),
)


def measure(scene: Scene) -> None:
    """Measure every way for every product."""
    for line, full, options in WAYS[:: scene.some(1, 2)]:
        for product in scene.products:
            if "--at-once" in options and product.is_peer and not _many_at_once(product):
                continue
            rates = []
            for _ in range(scene.rounds):
                with scene.fleet(product) as fleet:
                    rates.append(fleet.put("--count", scene.some(full, 100), *options))
            scene.results.add(line, product.name, rates, unit="runs/s")


def _many_at_once(product: Product) -> bool:
    """A product whose enqueuer is one connection cannot be called by several coroutines."""
    return product.name not in {"pgqueuer"}
