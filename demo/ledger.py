"""The order database of the demo: the user's own tables, on SQLite or PostgreSQL."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Any, Protocol

TABLE = (
    "create table if not exists shop_orders ("
    "id integer primary key, placed_at text not null, amount real not null, file text)"
)
Row = tuple[int, str, float]


class OrderBook(Protocol):
    """What the demo needs of an order database."""

    async def place(self, rows: list[Row], *, hold_s: float) -> None:
        """Insert orders in one transaction that stays open for `hold_s` before its commit."""
        ...

    async def claim_for(self, file: str) -> list[Row]:
        """Give all orders without a file to this one; return all of this file, by number."""
        ...

    async def all_ids(self) -> list[int]:
        """Return the numbers of all committed orders."""
        ...

    async def close(self) -> None:
        """Close the connection."""
        ...


async def open_book() -> OrderBook:
    """Open the order database that `DEMO_BOOK` names: a path, or a postgresql:// URL."""
    where = os.environ["DEMO_BOOK"]
    if where.startswith("postgresql://"):
        import asyncpg

        connection = await asyncpg.connect(where)
        await connection.execute(TABLE.replace("integer", "bigint"))
        return PostgresBook(connection)
    return SqliteBook(Path(where))


class SqliteBook:
    """Orders in a SQLite file that is not the store's."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, timeout=10, isolation_level=None)
        self._db.execute("pragma journal_mode=wal")
        self._db.execute(TABLE)

    async def place(self, rows: list[Row], *, hold_s: float) -> None:
        import asyncio

        await asyncio.sleep(hold_s)  # SQLite has one writer: the wait is before its transaction
        self._db.execute("begin immediate")
        self._db.executemany(
            "insert into shop_orders (id, placed_at, amount) values (?, ?, ?)", rows
        )
        self._db.execute("commit")

    async def claim_for(self, file: str) -> list[Row]:
        self._db.execute("begin immediate")
        self._db.execute("update shop_orders set file = ? where file is null", (file,))
        self._db.execute("commit")
        found = self._db.execute(
            "select id, placed_at, amount from shop_orders where file = ? order by id", (file,)
        )
        return found.fetchall()

    async def all_ids(self) -> list[int]:
        return [row[0] for row in self._db.execute("select id from shop_orders order by id")]

    async def close(self) -> None:
        self._db.close()


class PostgresBook:
    """Orders in a PostgreSQL database; here transactions really stay open."""

    def __init__(self, connection: Any) -> None:
        self._db = connection

    async def place(self, rows: list[Row], *, hold_s: float) -> None:
        async with self._db.transaction():
            await self._db.executemany(
                "insert into shop_orders (id, placed_at, amount) values ($1, $2, $3)", rows
            )
            await self._db.execute("select pg_sleep($1)", hold_s)

    async def claim_for(self, file: str) -> list[Row]:
        await self._db.execute("update shop_orders set file = $1 where file is null", file)
        found = await self._db.fetch(
            "select id, placed_at, amount from shop_orders where file = $1 order by id", file
        )
        return [(row["id"], row["placed_at"], row["amount"]) for row in found]

    async def all_ids(self) -> list[int]:
        return [row["id"] for row in await self._db.fetch("select id from shop_orders order by id")]

    async def close(self) -> None:
        await self._db.close()
