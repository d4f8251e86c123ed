"""Makes the tables of the shop and of Duly: `python -m examples.daily_orders.prepare`.

Run it once at every deployment, before the instances start. Safe to run again; it never drops or
changes what is there.
"""

from __future__ import annotations

import asyncio

from examples.daily_orders.orders import app
from examples.daily_orders.shop import open_shop


async def prepare() -> None:
    """Make what is missing."""
    async with open_shop() as shop:
        await shop.make_tables()
        await shop.enrol()
    await app.store.migrate()
    await app.close()


if __name__ == "__main__":
    asyncio.run(prepare())
