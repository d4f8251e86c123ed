"""The table of prices, made for the story; and what a failed import leaves of it.

Run by itself it fills the shop named by `BATCH_SHOP`, by default `shop.db` in this folder.
"""

from __future__ import annotations

import asyncio
import os

MARKETS = ("at", "be", "ch", "de", "es", "fr", "gb", "it", "nl", "pl")


async def fill(shop: str, rows: int) -> None:
    """Make the table, with so many rows, market by market: each product has one in each."""
    products = -(-rows // len(MARKETS))
    values = [
        (number, number % products, MARKETS[number // products], 100 + number % 9900)
        for number in range(rows)
    ]
    table = "create table prices (id integer primary key, product integer, market text, cents int)"
    if shop.startswith("postgres"):
        import asyncpg

        conn = await asyncpg.connect(shop)
        await conn.execute(table)
        await conn.copy_records_to_table("prices", records=values)
        await conn.close()
        return
    import apsw

    db = apsw.Connection(shop)
    db.pragma("journal_mode", "wal")
    db.execute(table.replace("primary key", "primary key autoincrement"))
    with db:
        db.executemany("insert into prices values (?, ?, ?, ?)", values)
    db.close()


async def lose_two_thirds(shop: str) -> None:
    """What a failed import leaves behind: the batch of that day will succeed, on what is there."""
    statement = "delete from prices where id % 3 > 0"
    if shop.startswith("postgres"):
        import asyncpg

        conn = await asyncpg.connect(shop)
        await conn.execute(statement)
        await conn.close()
        return
    import apsw

    db = apsw.Connection(shop)
    db.set_busy_timeout(5_000)
    db.execute(statement)
    db.close()


if __name__ == "__main__":
    asyncio.run(fill(os.environ.get("BATCH_SHOP", "shop.db"), 20_000))
