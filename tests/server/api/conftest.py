"""An API on a real socket for each test that asks for one; a key of each role opens it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.server.api.shop import Caller, make_shop, served, with_roles


@pytest.fixture
async def api() -> AsyncIterator[Caller]:
    """A served shop on the model store."""
    async with served(make_shop()) as caller:
        yield await with_roles(caller)
