"""The shop's own database: a table of prices, several rows per product, one per market.

`BATCH_SHOP` is a path of an SQLite file or the URL of a PostgreSQL; it needs not be where Duly
keeps its own tables. The batch reads the table through `Enrolled`, in pages, in the order in
which rows became certain: a row that is committed late gets a place behind, never one before the
cursor of a batch that already went past.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from duly.pipeline import Enrolled, enrol

SHOP = os.environ.get("BATCH_SHOP", "shop.db")
COLUMNS = ("id", "product", "market", "cents")

# What the work on one row takes: a look at the stock, a currency, a discount.
WORK_S = float(os.environ.get("BATCH_WORK_MS", "0")) / 1000


@asynccontextmanager
async def open_prices() -> AsyncIterator[Enrolled]:
    """Open the table for reading; enrolling it again at every start changes nothing."""
    if SHOP.startswith("postgres"):
        import asyncpg

        async with asyncpg.create_pool(SHOP, min_size=1, max_size=2) as pool:
            await enrol(pool, "prices")
            yield Enrolled("prices", pk="id", connect=pool, columns=COLUMNS)
    else:
        await enrol(SHOP, "prices")
        yield Enrolled("prices", pk="id", connect=SHOP, columns=COLUMNS)


async def offer_of(row: dict[str, Any], day: object) -> dict[str, Any]:
    """Work out what is offered for one row today: the message that the next service gets."""
    if WORK_S:
        await asyncio.sleep(WORK_S)
    return row | {"day": str(day)}
