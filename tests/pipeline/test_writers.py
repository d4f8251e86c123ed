"""Eight writers at once, and a reader that loops: every committed row, exactly once, in order.

Transactions write several rows, stay open over a random number of turns, hold a savepoint, and
one in ten is taken back. One writer keeps its transactions open while the others finish many.
The interleavings differ from run to run; what must hold does not.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import asyncpg
import pytest

from duly.errors import StoreMismatch
from duly.pipeline import Enrolled, Key, enrol
from tests.pipeline.rows import ORDERS

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.xdist_group("postgres")]

WRITERS, TRANSACTIONS = 8, 40


class TakenBack(Exception):
    """Raised inside a transaction to roll it back."""


async def write(conn: asyncpg.Connection, number: int, committed: set[str]) -> None:
    """One writer; adds what it committed to `committed`."""
    draw = random.Random(number)
    patience = 60 if number == 0 else 6
    for turn in range(TRANSACTIONS // (4 if number == 0 else 1)):
        texts = [f"{number}-{turn}-{row}" for row in range(draw.randint(1, 4))]
        try:
            async with conn.transaction():
                for text in texts:
                    await conn.execute("insert into orders(v) values ($1)", text)
                    for _ in range(draw.randrange(patience)):
                        await conn.execute("select 1")
                async with conn.transaction():
                    await conn.execute("insert into orders(v) values ($1)", texts[0] + "s")
                if draw.random() < 0.1:
                    raise TakenBack
            committed.update([*texts, texts[0] + "s"])
        except TakenBack:
            continue


async def write_all(database: str, committed: set[str]) -> None:
    """All writers, each on a connection of its own."""
    conns = [await asyncpg.connect(database) for _ in range(WRITERS)]
    await asyncio.gather(*(write(conn, n, committed) for n, conn in enumerate(conns)))
    for conn in conns:
        await conn.close()


async def read_along(
    orders: Enrolled, writing: asyncio.Task[None]
) -> tuple[list[Key], Counter[str]]:
    """Read in passes, and once more after the writers are done."""
    keys: list[Key] = []
    seen: Counter[str] = Counter()
    last = False
    while not last:
        last = writing.done()
        try:
            async for key, row in orders.after(keys[-1] if keys else None):
                keys.append(key)
                seen[row["v"]] += 1
        except StoreMismatch:
            assert not keys, "only a table that is not enrolled yet may be refused"
            await asyncio.sleep(0)
    await writing
    return keys, seen


def check(keys: list[Key], seen: Counter[str], committed: set[str]) -> None:
    assert keys == sorted(keys) and len({tuple(key) for key in keys}) == len(keys)
    assert set(seen) == committed, "missed, or read what was taken back"
    assert max(seen.values()) == 1
    assert len(committed) > WRITERS * TRANSACTIONS


async def test_eight_writers_and_one_reader(pool: asyncpg.Pool, database: str) -> None:
    await pool.execute(ORDERS)
    await enrol(pool, "orders")
    committed: set[str] = set()
    writing = asyncio.create_task(write_all(database, committed))
    keys, seen = await read_along(Enrolled("orders", pk="id", connect=pool), writing)
    check(keys, seen, committed)


async def test_a_live_table_is_enrolled_under_its_writers(
    pool: asyncpg.Pool, database: str
) -> None:
    await pool.execute(ORDERS)
    committed: set[str] = set()
    writing = asyncio.create_task(write_all(database, committed))
    reading = asyncio.create_task(read_along(Enrolled("orders", pk="id", connect=pool), writing))
    while len(committed) < 50:
        await pool.execute("select 1")
    assert not writing.done()
    told = await asyncio.gather(*(enrol(pool, "orders") for _ in range(3)))
    assert any("added the column" in one for done in told for one in done.done)
    check(*await reading, committed)
    assert (await enrol(pool, "orders")).done == ()


async def test_exports_between_marks_partition_what_is_written_meanwhile(
    pool: asyncpg.Pool, database: str
) -> None:
    await pool.execute(ORDERS)
    await enrol(pool, "orders")
    orders = Enrolled("orders", pk="id", connect=pool)
    committed: set[str] = set()
    writing = asyncio.create_task(write_all(database, committed))
    keys: list[Key] = []
    seen: Counter[str] = Counter()
    mark: Key | None = None
    last = False
    while not last:
        last = writing.done()
        after, mark = mark, await orders.mark()
        first = [(key, row["v"]) async for key, row in orders.between(after, mark)]
        again = [(key, row["v"]) async for key, row in orders.between(after, mark)]
        assert first == again, "an export that is made again is the same"
        keys += [key for key, _ in first]
        seen.update(text for _, text in first)
    check(keys, seen, committed)


async def test_every_row_is_seen_as_it_stands_at_last(pool: asyncpg.Pool, database: str) -> None:
    await pool.execute("create table orders (id int primary key, v int)")
    await enrol(pool, "orders", updates=True)
    await pool.execute("insert into orders select n, 0 from generate_series(0, 19) n")

    async def change(number: int) -> None:
        draw = random.Random(number)
        async with pool.acquire() as conn:
            for _ in range(60):
                ids = sorted(draw.sample(range(20), 2))  # in one order: no deadlocks
                async with conn.transaction():
                    for one in ids:
                        await conn.execute("update orders set v = v + 1 where id = $1", one)

    orders = Enrolled("orders", pk="id", connect=pool)
    changing = asyncio.gather(*(change(n) for n in range(6)))
    stands: dict[int, int] = {}
    cursor: Key | None = None
    last = False
    while not last:
        last = changing.done()
        async for key, row in orders.after(cursor):
            assert cursor is None or key > cursor
            cursor = key
            assert row["v"] > stands.get(row["id"], -1), "a version is read once"
            stands[row["id"]] = row["v"]
    await changing
    truth = await pool.fetch("select id, v from orders")
    assert stands == {row["id"]: row["v"] for row in truth}
    assert sum(stands.values()) == 6 * 60 * 2
