"""One store at a time, for every test that asks for `store` or `world`.

A test that takes one of them runs once per store that can be made here. When it ends, the store
is closed, and no thread, task, file or socket may be left of it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.stores.makers import Ground, opened, store_params
from tests.stores.world import World


@pytest.fixture(scope="session")
def ground() -> Iterator[Ground]:
    """Where stores are made; a server that was needed is stopped at the end."""
    one = Ground()
    yield one
    one.clear()


@pytest.fixture(params=store_params())
async def store(
    request: pytest.FixtureRequest, ground: Ground, tmp_path: Path
) -> AsyncIterator[Any]:
    """An open, empty store."""
    async with opened(ground.make(request.param, tmp_path)) as one:
        yield one


@pytest.fixture
def world(store: Any) -> World:
    """An open, empty store, with a clock and ids of its own."""
    return World(store)
