"""I: the embedded store, one SQLite file in a temporary folder with synchronous=FULL.

One run enqueued after another, many in one call, and a worker process that drains no-op runs to
their ended rows. Beside it stands the raw commit of one row through the same driver.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import apsw

from bench.fleet import Fleet
from bench.lines.drain import journal_bytes
from bench.products import DULY
from bench.results import Results
from bench.scene import Scene


def measure(scene: Scene) -> None:
    """Measure enqueueing and draining."""
    one, many = scene.some(5000, 100), scene.some(50_000, 1000)
    ways = (
        ("I SQLite, enqueue one by one", ("--count", one)),
        ("I SQLite, 64 coroutines", ("--count", 4 * one, "--at-once", 64)),
        ("I SQLite, enqueue_many of 1,000", ("--count", many, "--many", 1000)),
    )
    for line, options in ways[: scene.some(3, 1)]:
        rates = [_put(options) for _ in _turns(scene)]
        scene.results.add(line, "duly", rates, unit="runs/s")
    count = scene.some(30_000, 300)
    for slots in DULY.slots[: scene.some(9, 1)]:
        rates = [
            _on_a_file(slots, lambda fleet, path: _drain(fleet, path, count)) for _ in _turns(scene)
        ]
        _add_drain(scene.results, rates, slots=slots, count=count)


def _turns(scene: Scene) -> range:
    return range(scene.rounds)


def _add_drain(results: Results, rates: list[float], *, slots: int, count: int) -> None:
    line = "I SQLite, drain to ended row"
    results.add(line, "duly", rates, unit="runs/s", slots=slots or "default", count=count)


def _put(options: tuple[object, ...]) -> float:
    return _on_a_file(0, lambda fleet, path: fleet.put(*options))


def _on_a_file(slots: int, work: Callable[[Fleet, Path], float]) -> float:
    with tempfile.TemporaryDirectory(prefix="duly-bench-") as folder:
        path = Path(folder) / "bench.db"
        with Fleet(DULY, f"sqlite:///{path}", slots=slots) as fleet:
            return work(fleet, path)


def _drain(fleet: Fleet, path: Path, count: int) -> float:
    fleet.put("--count", count, "--many", 1000)
    fleet.start()
    all_started = journal_bytes(count)
    fleet.until(lambda: fleet.marks() >= all_started, every=0.02)
    conn = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    fleet.until(lambda: conn.execute(DULY.ended).get >= count)
    ended = time.time()
    conn.close()
    starts = fleet.lines("S")
    assert len(starts) == len({one.key for one in starts}) == count, "each runs exactly once"
    return count / (ended - min(one.at for one in starts))
