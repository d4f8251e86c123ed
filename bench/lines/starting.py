"""H: from the start of a worker's process to the start of its first function, and its memory.

One run is ready before the process starts. Memory, of the worker and its children, is read when
it has been idle for two seconds; the proportional figure shares library pages among the processes
that map them.
"""

from __future__ import annotations

import time

from bench.scene import Scene


def measure(scene: Scene) -> None:
    """Measure every product."""
    for product in scene.of_line("H"):
        rounds = []
        for _ in range(scene.some(5, 1)):
            with scene.sparing(product, "H"), scene.fleet(product) as fleet:
                fleet.put("--base", 7, "--gap", 0.001)
                began = time.time()
                worker = fleet.start()
                ready = fleet.await_start(7)[0].at - began
                time.sleep(scene.some(2, 0))
                rounds.append((ready * 1e3, *worker.memory_mb()))
        if not rounds:
            continue
        ready_ms, rss, pss = zip(*rounds, strict=True)
        scene.results.add("H process start to first run", product.name, ready_ms, unit="ms")
        scene.results.add("H memory of an idle worker, RSS", product.name, rss, unit="MB")
        scene.results.add("H memory of an idle worker, PSS", product.name, pss, unit="MB")
