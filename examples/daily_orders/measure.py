"""Measures one export: `python -m examples.daily_orders.run --rows 1000000`.

Fills the shop, enrols the full table, closes the day, and writes its CSV in a process of its own,
whose memory is read after a tenth and at the end: what grows with the rows would show. Fails when
it grew by more than `GROWTH_MB`, or when a row is missing.
"""

from __future__ import annotations

import asyncio
import os
import resource
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

GROWTH_MB = 16
CHUNK = 50_000

# One statement that both databases understand, so that filling takes seconds.
FILL = (
    "with recursive n(i) as (select {first} union all select i + 1 from n where i < {last})"
    " insert into orders (reference, customer, article, cents, placed_at)"
    " select 'web-' || i, 'Jansen & Zn., Haarlem', 'a chair, blue', i % 100000,"
    " '2026-11-22T00:59:59+01:00' from n"
)


async def measure(folder: Path, database: str | None, rows: int) -> int:
    """Fill a shop and have it exported; returns the exit code."""
    os.environ["ORDERS_DB"] = database or f"{folder}/shop.db"
    os.environ["ORDERS_SECRET"] = "only for this measurement"
    from examples.daily_orders.shop import open_shop

    async with open_shop() as shop:
        await shop.make_tables()
        for first in range(1, rows + 1, CHUNK):
            last = min(first + CHUNK - 1, rows)
            await shop.database.rows(FILL.format(first=first, last=last))
        await shop.enrol()
        await shop.close_day("2026-11-22")
    command = [sys.executable, "-m", "examples.daily_orders.measure", str(folder), str(rows)]
    return await asyncio.to_thread(lambda: subprocess.run(command, check=False).returncode)


async def export(folder: Path, rows: int) -> int:
    """Write the CSV of the closed day and say what it took."""
    from examples.daily_orders.export import write_csv
    from examples.daily_orders.shop import COLUMNS, open_shop

    early_mb = 0.0

    async def watched(orders: AsyncIterator[dict[str, Any]]) -> AsyncIterator[dict[str, Any]]:
        nonlocal early_mb
        place = 0
        async for order in orders:
            place += 1
            if place == max(rows // 10, 1):
                early_mb = peak_mb()
            yield order

    async with open_shop() as shop:
        day = await shop.closed_day("2026-11-22")
        assert day is not None, "the parent closed it"
        began = time.monotonic()
        written = await write_csv(watched(shop.orders_of(day)), COLUMNS, folder / "orders.csv")
        took_s = time.monotonic() - began
    grown_mb = peak_mb() - early_mb
    print(f"{written.orders:,} orders, {written.size / 2**20:.1f} MiB, in {took_s:.1f} s")
    print(f"peak memory after a tenth {early_mb:.1f} MiB, at the end {peak_mb():.1f} MiB")
    return int(written.orders != rows or grown_mb > GROWTH_MB)


def peak_mb() -> float:
    """Return the largest resident size of this process so far."""
    kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kib / 1024 if sys.platform != "darwin" else kib / 2**20


if __name__ == "__main__":
    sys.exit(asyncio.run(export(Path(sys.argv[1]), int(sys.argv[2]))))
