"""B1 and B2: ready no-op runs, one and two worker processes, first start to the last ended row.

Work counts when its end is in the store, not when it started; a product that keeps nothing of a
job at its end is measured to the last start, and the figure says so. That each ran exactly once is
checked by the journal: of Duly anything else is an error, whatever its speed; of a peer it is told
with the figure. Every product is measured at each of its settings; B2 at the one that was best.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from bench import limits
from bench.fleet import Fleet
from bench.products import Product
from bench.scene import Scene

Setting = tuple[Product, int]


class Drained(NamedTuple):
    """What one drain came to: runs a second, processor time a run, jobs that ran again."""

    rate: float
    from_process_start: float
    worker_cpu_us: float
    again: int


def measure(scene: Scene) -> None:
    """Measure every product at every setting, in turn in each round."""
    most = scene.some(9, 1)
    settings = [(one, slots) for one in scene.of_line("B1") for slots in one.slots[:most]]
    best = _measure(scene, "B1 drain, start to ended row", settings, workers=1)
    chosen = [(one, best[one.name]) for one in scene.of_line("B2") if one.name in best]
    _measure(scene, "B2 drain, two workers", chosen, workers=2)


def _measure(scene: Scene, line: str, settings: list[Setting], *, workers: int) -> dict[str, int]:
    """Measure one line; return each product's best setting."""
    seen: dict[Setting, list[Drained]] = {setting: [] for setting in settings}
    limit: list[float] = []
    for _ in range(scene.rounds):
        for setting in settings:
            with scene.sparing(setting[0], line):
                seen[setting].append(_drain_one(scene, setting, workers=workers))
        if workers == 1:
            limit.append(limits.drained_a_second(scene, scene.some(30_000, 500)))
    best: dict[str, tuple[float, int]] = {}
    for (product, slots), rounds in seen.items():
        if not rounds:
            continue
        figure = _add(scene, line, (product, slots), rounds)
        best[product.name] = max(best.get(product.name, (0.0, slots)), (figure, slots))
    if limit:
        scene.results.add(line, "limit", limit, unit="runs/s", what="a careless queue")
    return {name: slots for name, (_, slots) in best.items()}


def _count(scene: Scene, product: Product) -> int:
    return scene.part(product, 30_000, 300)


def _add(scene: Scene, line: str, setting: Setting, rounds: list[Drained]) -> float:
    product, slots = setting
    middle = sorted(rounds)[len(rounds) // 2]
    more: dict[str, object] = {} if product.ended else {"to": "the last start"}
    if again := sum(one.again for one in rounds):
        more["ran_again"] = again
    return scene.results.add(
        line, product.name, [one.rate for one in rounds], unit="runs/s",
        slots=slots or "default", count=_count(scene, product),
        from_process_start=round(middle.from_process_start),
        worker_cpu_us=round(middle.worker_cpu_us), **more,
    )  # fmt: skip


def _drain_one(scene: Scene, setting: Setting, *, workers: int) -> Drained:
    product, slots = setting
    count = _count(scene, product)
    with scene.fleet(product, slots=slots) as fleet:
        fleet.put("--count", count, "--many", 1000)
        scene.settle(product)
        is_over = None
        if product.ended:
            is_over = lambda: (scene.ended(product) or 0) >= count  # noqa: E731 - one of two
        return drain(fleet, count, is_over, workers=workers)


def drain(
    fleet: Fleet, count: int, is_over: Callable[[], bool] | None, *, workers: int = 1
) -> Drained:
    """Start workers and drain keys from 0; `is_over` asks the store, None takes the last start."""
    began = time.time()
    started = [fleet.start() for _ in range(workers)]
    all_started = journal_bytes(count)
    fleet.until(lambda: fleet.marks() >= all_started, every=0.02)
    if is_over is not None:
        fleet.until(is_over)
    ended, cpu = time.time(), sum(worker.cpu_s() for worker in started)
    starts = fleet.lines("S")
    again = len(starts) - len({one.key for one in starts})
    assert not again or fleet.product.is_peer, f"{again} of {count} runs ran twice"
    assert len(starts) - again == count or fleet.product.is_peer, "a run did not start"
    first = min(one.at for one in starts)
    if is_over is None:
        ended = max(one.at for one in starts)
    return Drained(count / (ended - first), count / (ended - began), cpu / count * 1e6, again)


def journal_bytes(count: int) -> int:
    """How long the journal is when keys from 0 have all started: cheaper to ask than its lines.

    A line is a letter, the key, 19 digits of time and the name of a worker.
    """
    return sum(len(f"S {key} {'9' * 19} w0\n") for key in range(count))
