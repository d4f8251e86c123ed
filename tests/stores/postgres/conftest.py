"""Several stores on one database: what a fleet of processes looks like to PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from duly.stores.postgres import PostgresStore
from tests.servers import Server
from tests.stores.makers import Ground

MakeStores = Callable[[int], Awaitable[list[PostgresStore]]]


@pytest.fixture
def server(ground: Ground) -> Server:
    """The PostgreSQL of this session."""
    return ground.server()


@pytest.fixture
def database(server: Server) -> str:
    """The address of a fresh, migrated database."""
    return server.fresh_database()


@pytest.fixture
async def make_stores(database: str) -> AsyncIterator[MakeStores]:
    """Make open stores on one database; they are closed at the end."""
    made: list[PostgresStore] = []

    async def make(count: int) -> list[PostgresStore]:
        new = [PostgresStore(database) for _ in range(count)]
        made.extend(new)
        for one in new:
            await one.open()
        return new

    yield make
    for one in made:
        await one.close()
