"""A database that was put back from a backup does nothing until a person has looked."""

from __future__ import annotations

import shutil
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from duly.core.fleet import Proof
from duly.errors import Refused
from duly.stores.sqlite import SqliteStore
from tests.stores.sqlite.places import T0, ident, instance, opened

BOOT = ident(1)


async def _restored(tmp_path: Path) -> Path:
    """A database that was copied aside, used on, and put back."""
    path, aside = tmp_path / "x.db", tmp_path / "aside.db"
    async with opened(path) as store:
        await store.register(instance(BOOT), {})
    shutil.copy(path, aside)
    async with opened(path):
        pass
    shutil.copy(aside, path)
    return path


async def test_a_restored_database_is_not_trusted(tmp_path: Path) -> None:
    async with opened(await _restored(tmp_path)) as store:
        standing = await store.open()
        assert not standing.trusted
        assert "restored from a backup" in standing.why
        assert await store.standing() == standing


VERBS: list[Callable[[SqliteStore], Awaitable[Any]]] = [
    lambda store: store.fire(new_id=lambda: ident(9)),
    lambda store: store.claim(BOOT, ident(2), queues=["default"], tasks=["t"], limit=1),
    lambda store: store.renew(BOOT, [], []),
    lambda store: store.take_over(BOOT, Proof.PROCESS),
]


@pytest.mark.parametrize("verb", VERBS, ids=["fire", "claim", "renew", "take_over"])
async def test_what_is_not_trusted_refuses_until_it_is_accepted(
    tmp_path: Path, verb: Callable[[SqliteStore], Awaitable[Any]]
) -> None:
    async with opened(await _restored(tmp_path)) as store:
        with pytest.raises(Refused, match="duly db accept"):
            await verb(store)
        standing = await store.accept("ann", "the disk broke")
        assert (standing.trusted, standing.generation) == (True, 2)
        assert await store.standing() == standing
        assert await store.accept("ann", "again") == standing
        assert await verb(store) is not None


async def test_a_lease_line_refuses_too(tmp_path: Path) -> None:
    async with opened(await _restored(tmp_path)) as store:
        line = store.lease_line()
        with pytest.raises(Refused, match="duly db accept"):
            line.renew(BOOT, [], [])
        line.close()


async def test_what_was_accepted_stays_so_for_the_next_process(tmp_path: Path) -> None:
    path = await _restored(tmp_path)
    async with opened(path) as store:
        await store.accept("ann", "the disk broke")
    async with opened(path) as store:
        assert (await store.open()).trusted


async def test_another_database_in_the_same_place_is_not_trusted(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    async with opened(path):
        pass
    path.unlink()
    async with opened(path) as store:
        standing = await store.open()
        assert not standing.trusted
        assert "another database" in standing.why


@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.write_bytes(b"{")])
async def test_without_a_witness_a_database_is_trusted_and_gets_one(
    tmp_path: Path, spoil: Callable[[Path], Any]
) -> None:
    path, witness = tmp_path / "x.db", tmp_path / "x.db.witness"
    async with opened(path):
        pass
    spoil(witness)
    async with opened(path) as store:
        assert (await store.open()).trusted
    assert witness.exists()


async def test_renewals_count_on_but_not_each_of_them(tmp_path: Path) -> None:
    now = [T0]
    store = SqliteStore(tmp_path / "x.db", clock=lambda: now[0])
    await store.migrate()
    await store.open()
    await store.register(instance(BOOT), {})

    async def counted() -> int:
        await store.renew(BOOT, [], [])
        mark = store._witness.read()
        assert mark is not None
        return mark.counter

    first = await counted()
    assert await counted() == first
    now[0] += timedelta(seconds=6)
    assert await counted() == first + 1
    await store.close()
