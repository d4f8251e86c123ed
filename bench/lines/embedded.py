"""I: the embedded store, one SQLite file in a temporary folder with synchronous=FULL.

One run enqueued after another, many in one call, and a worker process that drains no-op runs to
their ended rows (a peer that keeps nothing of them: to the last start). Beside them stands the raw
commit of one row through the same driver, with the same `synchronous`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw

from bench import limits
from bench.fleet import Fleet
from bench.lines.drain import drain
from bench.products import DULY, Product
from bench.scene import Scene


def measure(scene: Scene) -> None:
    """Measure enqueueing and draining."""
    _enqueue(scene, "I SQLite, enqueue one by one", 5000, scene.of_line("I"), ())
    _enqueue(scene, "I SQLite, 64 coroutines", 20_000, (DULY,), ("--at-once", 64))
    _enqueue(scene, "I SQLite, enqueue_many of 1,000", 50_000, (DULY,), ("--many", 1000))
    for product in scene.of_line("I"):
        for slots in product.slots[: scene.some(9, 1)]:
            count = scene.part(product, 30_000, 300)
            rounds: list[float] = []
            for _ in range(scene.rounds):
                with scene.sparing(product, "I drain"), _on_a_file(product, slots) as (fleet, path):
                    rounds.append(_drain(fleet, path, count))
            more = {} if product.ended else {"to": "the last start"}
            scene.results.add(
                "I SQLite, drain to ended row", product.name, rounds, unit="runs/s",
                slots=slots or "default", count=count, **more,
            )  # fmt: skip


def _enqueue(
    scene: Scene, line: str, full: int, products: tuple[Product, ...], options: tuple[object, ...]
) -> None:
    """Measure one way in turn in each round, and the limit where rows are committed one by one."""
    rates: dict[str, list[float]] = {}
    for _ in range(scene.rounds):
        for product in products:
            asked = ("--count", scene.part(product, full, 100), *options)
            with scene.sparing(product, line), _on_a_file(product, 0) as (fleet, _):
                rates.setdefault(product.name, []).append(fleet.put(*asked))
        if not options:
            with tempfile.TemporaryDirectory(prefix="duly-bench-") as folder:
                rate = limits.embedded_a_second(Path(folder), scene.some(full, 100))
            rates.setdefault("limit", []).append(rate)
    for name, rounds in rates.items():
        scene.results.add(line, name, rounds, unit="runs/s")


@contextmanager
def _on_a_file(product: Product, slots: int) -> Iterator[tuple[Fleet, Path]]:
    with tempfile.TemporaryDirectory(prefix="duly-bench-") as folder:
        path = Path(folder) / "bench.db"
        url = str(path) if product.is_peer else f"sqlite:///{path}"
        with Fleet(product, url, slots=slots) as fleet:
            yield fleet, path


def _drain(fleet: Fleet, path: Path, count: int) -> float:
    fleet.put("--count", count, "--many", 1000)
    if not fleet.product.ended:
        return drain(fleet, count, None).rate
    conn = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        return drain(fleet, count, lambda: conn.execute(DULY.ended).get >= count).rate
    finally:
        conn.close()
