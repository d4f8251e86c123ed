"""D: what an idle worker costs the database, alone and as one of four.

Counted by the database itself (`pg_stat_statements`), never by the product. A server without that
extension counts transactions, and the unit says so. What a worker does in its first minute (its
start, and chores that are due at once) is told apart from the steady state, which begins 5 minutes
after the last of them was ready and is watched for four. All products idle at the same time,
each in a database of its own: next to nothing happens, and a full run stays within bounds.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import Any

from bench.fleet import Fleet
from bench.scene import Scene

FIRST_S, SETTLED_S, WATCHED_S = 60, 300, 240


def measure(scene: Scene) -> None:
    """Measure all products with one worker, then with four."""
    for workers in (1, 4)[: scene.some(2, 1)]:
        with ExitStack() as stack:
            fleets: list[Fleet] = []
            for product in scene.of_line("D"):
                with scene.sparing(product, f"D {workers}"):
                    if workers == 1 or product.hears_others:
                        fleet = stack.enter_context(scene.fleet(product))
                        for _ in range(workers):
                            fleet.start_idle()
                        fleets.append(fleet)
            _watch(scene, fleets, "first minute", scene.some(FIRST_S, 1))
            time.sleep(scene.some(SETTLED_S - FIRST_S, 0))
            _watch(scene, fleets, "steady", scene.some(WATCHED_S, 1))


def _watch(scene: Scene, fleets: list[Fleet], when: str, watched_s: int) -> None:
    scene.server.forget()
    before = [_counted(scene, fleet) for fleet in fleets]
    time.sleep(watched_s)
    after = [_counted(scene, fleet) for fleet in fleets]
    for fleet, first, last in zip(fleets, before, after, strict=True):
        _add(scene, fleet, when, _per_second(first, last, watched_s))


def _counted(scene: Scene, fleet: Fleet) -> tuple[int | None, int, float]:
    """Statements, transactions, and the first worker's processor time so far."""
    counted = scene.server.counted(scene.database(fleet.product))
    return (*counted, fleet.workers[0].cpu_s())


def _per_second(
    first: tuple[int | None, int, float], last: tuple[int | None, int, float], watched_s: int
) -> dict[str, Any]:
    told: dict[str, Any] = {
        "transactions": (last[1] - first[1]) / watched_s,
        "cpu_percent": round((last[2] - first[2]) / watched_s * 100, 2),
        "watched_s": watched_s,
    }
    if first[0] is not None and last[0] is not None:
        told["statements"] = (last[0] - first[0]) / watched_s
    return told


def _add(scene: Scene, fleet: Fleet, when: str, told: dict[str, Any]) -> None:
    many = len(fleet.workers)
    what = "statements" if "statements" in told else "transactions"
    scene.results.add(
        f"D {when}, {many} worker{'s'[: many - 1]}: {what} a worker",
        fleet.product.name, [told[what] / many], unit="per s", watched_s=told["watched_s"],
        transactions_s=round(told["transactions"], 3), cpu_percent=told["cpu_percent"],
        busiest=scene.server.busiest(scene.database(fleet.product), 4),
    )  # fmt: skip
