"""One store at a time, for every test that asks for `store` or `world`.

A test that takes one of them runs once per store that can be made here. When it ends, the store
is closed, and no thread, task, file or socket may be left of it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.stores.makers import made, store_params
from tests.stores.world import World


@pytest.fixture(params=store_params())
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Any]:
    """An open, empty store."""
    async with made(request.param, tmp_path) as one:
        yield one


@pytest.fixture
def world(store: Any) -> World:
    """An open, empty store, with a clock and ids of its own."""
    return World(store)
