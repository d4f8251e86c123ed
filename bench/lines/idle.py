"""D: what an idle worker costs the database, alone and as one of four.

Counted by the database itself (`pg_stat_statements`), never by the product. A server without that
extension counts transactions, and the unit says so. Also the worker's processor time and memory.
"""

from __future__ import annotations

import time

from bench.scene import Scene


def measure(scene: Scene) -> None:
    """Measure every product with one and four workers."""
    watched_s = scene.some(75, 1)
    for workers in (1, 4)[: scene.some(2, 1)]:
        for product in scene.products:
            with scene.fleet(product) as fleet:
                for _ in range(workers):
                    fleet.start_idle()
                time.sleep(scene.some(10, 0))
                database = scene.database(product)
                scene.server.forget()
                before, cpu = scene.server.counted(database), fleet.workers[0].cpu_s()
                time.sleep(watched_s)
                after, used = scene.server.counted(database), fleet.workers[0].cpu_s() - cpu
            statements = after[0] is not None and before[0] is not None
            counted = (after[0] or 0) - (before[0] or 0) if statements else after[1] - before[1]
            what = "statements" if statements else "transactions"
            scene.results.add(
                f"D idle, {workers} worker{'s'[: workers - 1]}: {what} a worker",
                product.name, [counted / watched_s / workers], unit="per s",
                watched_s=watched_s, transactions_s=round((after[1] - before[1]) / watched_s, 3),
                cpu_percent=round(used / watched_s * 100, 2),
                busiest=scene.server.busiest(database, 4),
            )  # fmt: skip
