"""A trial forgets processes that ended, and no other row: what it judges by is all still there."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest

from chaos.declared import Spec, build
from chaos.forgetting import forget_the_dead
from chaos.places import Place
from duly.core.fleet import Proof
from duly.stores.base import Store
from tests.stores.world import instance

LIVING, LEFT, DEAD = UUID(int=1), UUID(int=2), UUID(int=3)


@pytest.fixture
def place(store: str, tmp_path: Path, request: pytest.FixtureRequest) -> Place:
    server = request.getfixturevalue("server") if store == "postgres" else None
    return Place(server, tmp_path)


async def known(store: Store) -> set[UUID]:
    return {one.boot for one in await store.instances()}


@pytest.mark.slow
@pytest.mark.server
@pytest.mark.parametrize("store", ["sqlite", "postgres"])
async def test_who_ended_a_while_ago_is_forgotten_and_nobody_else(place: Place) -> None:
    app = build(Spec(store=place.url, journal=str(place.folder / "journal")), None)
    async with app:
        for boot in (LIVING, LEFT, DEAD):
            await app.store.register(instance(boot), {})
        await app.store.leave(LEFT)
        await app.store.take_over(DEAD, Proof.PROCESS)
        assert await forget_the_dead(place, timedelta(minutes=1)) == 0
        assert await known(app.store) == {LIVING, LEFT, DEAD}
        assert await forget_the_dead(place, -timedelta(minutes=1)) == 2
        assert await known(app.store) == {LIVING}
