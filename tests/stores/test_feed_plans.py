"""No look at the feed reads through a table: each of its statements goes along an index."""

from __future__ import annotations

from typing import Any

import pytest

from duly.core.feed import Point, settled
from tests.stores.world import T0

LARGE = ("duly_run", "duly_ended", "duly_instance", "duly_incident", "duly_breaker_line")


@pytest.fixture
def plans(store: Any) -> Any:
    """Return what gives the plans of all statements of a look; None where there is no plan."""
    return {"SqliteStore": _sqlite, "PostgresStore": _postgres}.get(type(store).__name__)


async def _sqlite(store: Any) -> list[str]:
    from duly.stores.sqlite import feeding

    statements = [feeding._ENDED.format(state="failed")]
    statements += [sql for sql, _ in feeding._SORTS.values()]

    def explained(tx: Any) -> list[str]:
        rows = [tx.all(f"explain query plan {sql}", 1, 0, 2, 3) for sql in statements]
        return [row[3] for plan in rows for row in plan]

    plan: list[str] = await store._read(explained)
    return plan


async def _postgres(store: Any) -> list[str]:
    from duly.stores.postgres import feeding

    upto, lines = settled(T0, None), list[str]()
    for sort, (sql, _) in feeding._SORTS.items():
        how = feeding._range(Point(T0), sort, upto)
        lines += [row[0] for row in await store._fetch(f"explain {sql}", *how, 3)]
    return lines


async def test_every_statement_goes_along_an_index(store: Any, plans: Any) -> None:
    if plans is None:
        assert type(store).__name__ == "MemoryStore"
        return
    lines = await plans(store)
    reads = [line for line in lines if any(f"{table}_" in line for table in LARGE)]
    assert len(reads) >= 7, lines
    through = [line for line in lines if "Seq Scan" in line or line.startswith("SCAN duly_")]
    assert through == []
