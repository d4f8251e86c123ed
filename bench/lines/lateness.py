"""E: how late 1,000 one-off runs start that are due over ten seconds, and what the store pays.

Alone, then among 100,000 and a million others that are not due for hours. All are enqueued before
the worker starts; the store's processor time is read while they fall due. A product meets a million
only where it enqueues them in minutes. A lateness below nought is a run that started early. The
limit is a bare event loop with timers for the same instants.
"""

from __future__ import annotations

import asyncio
import time

from bench.fleet import Fleet
from bench.products import Product
from bench.results import percentile
from bench.scene import Scene

NEAR, SPAN_S, FAR_FROM_S = 1000, 10.0, 6 * 3600
READY, FAR_BASE = -10, 10_000_000
START_S = 10.0
WORDS = {0: "alone", 100_000: "among 100,000", 1_000_000: "among 1,000,000"}


def measure(scene: Scene) -> None:
    """Measure the machine's timers, then every product with as many later runs as it can take."""
    _measure_timers(scene)
    for far, word in ((300, "among few"),) if scene.quick else tuple(WORDS.items()):
        for product in scene.of_line("E"):
            if far <= product.far:
                with scene.sparing(product, f"E {word}"):
                    _measure(scene, product, far, word)


def _measure_timers(scene: Scene) -> None:
    """How late a bare event loop is that has nothing to do but the same thousand instants."""
    near = scene.some(NEAR, 20)
    late = asyncio.run(_timers(near, SPAN_S / NEAR))
    for part, name in ((0.5, "p50"), (0.99, "p99"), (1.0, "longest")):
        scene.results.add(f"E late alone, {name}", "limit", [percentile(late, part)], unit="ms")


async def _timers(count: int, every: float) -> list[float]:
    loop = asyncio.get_running_loop()
    late: list[float] = []
    over = loop.create_future()
    first = loop.time() + 0.5
    for number in range(count):
        at = first + number * every
        loop.call_at(at, lambda at=at: late.append((loop.time() - at) * 1e3))
    loop.call_at(first + count * every, over.set_result, None)
    await over
    return late


def _measure(scene: Scene, product: Product, far: int, word: str) -> None:
    near = scene.some(NEAR, 20)
    every = SPAN_S / NEAR
    with scene.fleet(product) as fleet:
        if far:
            _put_far(fleet, far)
        scene.settle(product)
        fleet.put("--base", READY, "--gap", 0.001)
        due = time.time() + (_lead_s(fleet, near) if not scene.quick else 2)
        fleet.put("--count", near, "--due", due, "--every", every)
        worker = fleet.start()
        ready = fleet.await_start(READY)[0].at
        time.sleep(max(0.0, due - time.time()))
        began, cpu = time.time(), scene.store_cpu_s(product)
        time.sleep(max(0.0, due + near * every - time.time()))
        busy = (scene.store_cpu_s(product) - cpu) / (time.time() - began) * 100
        fleet.until(lambda: len(_late(fleet, due, every)) >= near, every=0.1)
        late, memory = _late(fleet, due, every), worker.memory_mb()[0]
    more = {"count": near, "ready_before_s": round(due - ready, 1), "worker_mb": round(memory)}
    for part, name in ((0.5, "p50"), (0.99, "p99"), (1.0, "longest")):
        figure = percentile(late, part)
        scene.results.add(f"E late {word}, {name}", product.name, [figure], unit="ms", **more)
    scene.results.add(f"E store {word}", product.name, [busy], unit="% core")


def _put_far(fleet: Fleet, far: int) -> None:
    """A thousand of them at each instant, ten seconds apart; each call of bounded length."""
    due = time.time() + FAR_FROM_S
    for first in range(0, far, 100_000):
        options = ("--count", min(far - first, 100_000), "--base", FAR_BASE + first)
        fleet.put(*options, "--due", due + first / 100, "--every", SPAN_S, "--many", 1000)


def _lead_s(fleet: Fleet, near: int) -> float:
    """How long before the first instant to begin: they are enqueued, and then a worker starts."""
    rate = fleet.put(
        *("--count", 100, "--base", 2 * FAR_BASE),
        *("--due", time.time() + FAR_FROM_S, "--every", 1),
    )
    return 1.5 * near / rate + START_S


def _late(fleet: Fleet, due: float, every: float) -> list[float]:
    """How many milliseconds after its instant each near run started first."""
    first: dict[int, float] = {}
    for one in fleet.lines("S"):
        if 0 <= one.key < FAR_BASE:
            first.setdefault(one.key, (one.at - due - one.key * every) * 1e3)
    return list(first.values())
