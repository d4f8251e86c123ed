"""A real PostgreSQL, and a user's own database in it: nothing of Duly's schema is there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest

from duly.pipeline import Enrolled, enrol
from tests.pipeline.rows import ORDERS
from tests.servers import Server, start_postgres


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """The PostgreSQL of these tests, stopped at the end."""
    one = start_postgres({"max_prepared_transactions": "4"})
    yield one
    one.stop()


@pytest.fixture
def database(server: Server) -> str:
    """The address of a fresh database of a user."""
    return server.empty_database()


@pytest.fixture
async def pool(database: str) -> AsyncIterator[asyncpg.Pool]:
    """A pool on it; it closes in bounded time even when a test left a connection out."""
    one = await asyncpg.create_pool(database, min_size=1, max_size=16)
    yield one
    await asyncio.wait_for(one.close(), 20)


@pytest.fixture
async def orders(pool: asyncpg.Pool) -> Enrolled:
    """An empty, enrolled table."""
    await pool.execute(ORDERS)
    await enrol(pool, "orders")
    return Enrolled("orders", pk="id", connect=pool)
