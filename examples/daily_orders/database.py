"""The two databases of the example behind one verb: `rows(statement, *values)`.

Both take the same statements with `$1`, `$2`. A real service has a single database and a driver of
its choice, and does not need this module. SQLite is opened through apsw, as Duly does it, because
one file must never be opened through two copies of SQLite in one process.
"""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

import apsw

Values = tuple[Any, ...]


class Database(Protocol):
    """Somewhere to run statements. `connect` is what `duly.pipeline` reads rows through."""

    kind: str
    connect: Any

    async def rows(self, statement: str, *values: Any) -> list[Values]:
        """Run one statement in a transaction of its own; return its rows."""
        ...

    async def close(self) -> None:
        """Let go of every connection."""
        ...


async def open_database(where: str) -> Database:
    """Open what a path or a postgresql:// URL names."""
    if where.startswith("postgresql://"):
        import asyncpg

        return Postgres(await asyncpg.create_pool(where, min_size=1, max_size=5))
    return Sqlite(where)


class Sqlite:
    """An SQLite file, used from threads, one statement at a time."""

    kind = "sqlite"

    def __init__(self, path: str) -> None:
        self.connect: Any = path
        self._conn = apsw.Connection(path)
        self._conn.set_busy_timeout(10_000)
        for pragma in ("journal_mode = wal", "synchronous = full"):
            list(self._conn.execute(f"pragma {pragma}"))
        self._free = asyncio.Lock()

    async def rows(self, statement: str, *values: Any) -> list[Values]:
        """Run one statement."""
        named = {str(place): value for place, value in enumerate(values, 1)}
        async with self._free:
            return await asyncio.to_thread(lambda: self._conn.execute(statement, named).fetchall())

    async def close(self) -> None:
        """Close the file."""
        self._conn.close()


class Postgres:
    """A pool of connections to PostgreSQL."""

    kind = "postgres"

    def __init__(self, pool: Any) -> None:
        self.connect: Any = pool

    async def rows(self, statement: str, *values: Any) -> list[Values]:
        """Run one statement."""
        return [tuple(row) for row in await self.connect.fetch(statement, *values)]

    async def close(self) -> None:
        """Close the pool."""
        await self.connect.close()
