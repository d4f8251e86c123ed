"""Enrolled tables in PostgreSQL: exact interleavings, one transaction against another.

Each twin shows that the cursor everyone writes first, by id, misses the row of the same story.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from duly.errors import StoreMismatch
from duly.pipeline import Enrolled, Key, enrol
from tests.pipeline.rows import add, keys, values

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("postgres")]


# --- late rows ----------------------------------------------------------------------------


async def _late_row(pool: asyncpg.Pool, read: Callable[[], Awaitable[list[str]]]) -> list[str]:
    """The lower id commits later: read between the two commits, and again after both."""
    async with pool.acquire() as early, pool.acquire() as late:
        first = early.transaction()
        await first.start()
        await add(early, "low id, late commit")
        await add(late, "high id, early commit")
        seen = await read()
        await first.commit()
        return seen + await read()


async def test_a_lower_number_that_commits_later_is_not_skipped(
    pool: asyncpg.Pool, orders: Enrolled
) -> None:
    cursor: Key | None = None

    async def read() -> list[str]:
        nonlocal cursor
        seen = []
        async for key, row in orders.after(cursor):
            seen.append(row["v"])
            cursor = key
        return seen

    assert await _late_row(pool, read) == ["low id, late commit", "high id, early commit"]


async def test_the_cursor_by_id_skips_it(pool: asyncpg.Pool, orders: Enrolled) -> None:
    highest = 0

    async def read() -> list[str]:
        nonlocal highest
        found = await pool.fetch("select id, v from orders where id > $1 order by id", highest)
        highest = found[-1]["id"] if found else highest
        return [row["v"] for row in found]

    assert await _late_row(pool, read) == ["high id, early commit"]


@pytest.mark.parametrize("isolation", ["read_committed", "repeatable_read", "serializable"])
async def test_a_transaction_that_began_long_before_it_wrote_is_not_skipped(
    pool: asyncpg.Pool, orders: Enrolled, isolation: Any
) -> None:
    async with pool.acquire() as conn:
        async with conn.transaction(isolation=isolation):
            await conn.execute("select pg_current_xact_id()")
            await add(pool, "others")
            assert await values(orders.after()) == []
            async with conn.transaction():  # a savepoint has a number of its own, never used
                await add(conn, "late")
        assert await values(orders.after()) == ["late", "others"]


async def test_a_transaction_that_is_rolled_back_holds_nothing_back(
    pool: asyncpg.Pool, orders: Enrolled
) -> None:
    async with pool.acquire() as conn:
        undone = conn.transaction()
        await undone.start()
        await add(conn, "never")
        await add(pool, "kept")
        await undone.rollback()
    assert await values(orders.after()) == ["kept"]


async def test_a_prepared_transaction_is_waited_for(pool: asyncpg.Pool, orders: Enrolled) -> None:
    async with pool.acquire() as conn:
        await conn.execute("begin")
        await add(conn, "two-phase")
        await conn.execute("prepare transaction 'tx'")
    await add(pool, "later")
    assert await values(orders.after()) == []
    assert (await orders.lag()).holder == "prepared transaction 'tx'"
    await pool.execute("commit prepared 'tx'")
    assert await values(orders.after()) == ["two-phase", "later"]


async def test_lag_names_the_oldest_open_transaction_and_counts_what_waits(
    pool: asyncpg.Pool, orders: Enrolled
) -> None:
    assert await orders.lag() == type(await orders.lag())(rows=0, seconds=0.0, holder=None)
    async with pool.acquire() as conn, conn.transaction():
        await add(conn, "open")
        pid = conn.get_server_pid()
        await add(pool, "a", "b")
        lag = await orders.lag()
        assert lag.rows == 2
        assert lag.seconds is not None and lag.seconds >= 0
        assert lag.holder is not None and f"pid {pid} " in lag.holder
        assert "idle in transaction" in lag.holder


# --- cursors ------------------------------------------------------------------------------


async def test_pages_go_on_across_ties_of_one_transaction(
    pool: asyncpg.Pool, orders: Enrolled
) -> None:
    await pool.execute("insert into orders(v) select n::text from generate_series(1, 2500) n")
    found = await keys(orders.after())
    assert found == sorted(found) and len(found) == 2500
    assert len({position for position, _ in found}) == 1
    for start in (0, 998, 999, 1000, 2499):
        went_on = json.loads(json.dumps(found[start]))
        assert await keys(orders.after(went_on)) == found[start + 1 :]


async def test_nothing_stays_open_between_two_pages(
    pool: asyncpg.Pool, orders: Enrolled, database: str
) -> None:
    await pool.execute("insert into orders(v) select n::text from generate_series(1, 1001) n")
    rows = orders.after()
    first = await anext(rows)
    held = "select count(*) from pg_stat_activity where datname = current_database()"
    held += " and (backend_xmin is not null or xact_start is not null) and pid <> pg_backend_pid()"
    watcher = await asyncpg.connect(database)
    assert await watcher.fetchval(held) == 0
    await watcher.close()
    assert len([first] + [item async for item in rows]) == 1001


async def test_marks_cut_what_is_written_into_exports_without_gap_or_overlap(
    pool: asyncpg.Pool, orders: Enrolled
) -> None:
    marks: list[Key | None] = [None]
    async with pool.acquire() as conn:
        slow = conn.transaction()
        await slow.start()
        await add(conn, "slow")
        for n in range(5):
            await add(pool, f"a{n}")
            marks.append(await orders.mark())
        await slow.commit()
    for n in range(5):
        await add(pool, f"b{n}")
        marks.append(json.loads(json.dumps(await orders.mark())))
    await add(pool, "not yet")
    pairs = pairwise(marks)
    exports = [await values(orders.between(a, b)) for a, b in pairs if b is not None]
    assert exports[:6] == [[], [], [], [], [], ["slow", "a0", "a1", "a2", "a3", "a4", "b0"]]
    assert exports[6:] == [["b1"], ["b2"], ["b3"], ["b4"]]
    assert await values(orders.after(marks[-1])) == ["not yet"]
    again = [await values(orders.between(marks[5], marks[6] or [])) for _ in range(2)]
    assert again[0] == again[1] == exports[5]


async def test_a_mark_that_was_not_given_out_yet_is_refused(
    pool: asyncpg.Pool, orders: Enrolled
) -> None:
    (position,) = await orders.mark()
    with pytest.raises(StoreMismatch, match="ahead of the table orders"):
        await values(orders.between(None, [position + 1000]))


KEYS = [
    ("integer", [3, 4, 20]),
    ("text", ["Z", "a", "ä", "𝄞"]),
    ("varchar(9)", ["B", "a", "a b", "ab"]),
    ("uuid", [str(UUID(int=n)) for n in (1, 2, 2**127)]),
]


@pytest.mark.parametrize(("type_", "ties"), KEYS, ids=[case[0] for case in KEYS])
async def test_keys_have_the_order_of_python(
    pool: asyncpg.Pool, type_: str, ties: list[Any]
) -> None:
    await pool.execute(f"create table t (k {type_} primary key, v text)")
    rows = ", ".join(f"('{tie}', '{tie}')" for tie in reversed(ties))
    await pool.execute(f"insert into t values {rows}")
    await enrol(pool, "t")
    table = Enrolled("t", pk="k", connect=pool)
    found = await keys(table.after())
    assert [tie for _, tie in found] == ties
    assert found == sorted(found)
    assert await keys(table.after(json.loads(json.dumps(found[0])))) == found[1:]
    # The order must not depend on the locale of the database, of which tests have one only.
    index = await pool.fetchval("select pg_get_indexdef('duly_position_t'::regclass)")
    assert ('COLLATE "C"' in index) == (type_ in ("text", "varchar(9)"))


async def test_columns_and_a_condition_choose(pool: asyncpg.Pool, orders: Enrolled) -> None:
    await add(pool, "a", "b", "c")
    some = Enrolled("public.orders", pk="id", connect=pool, columns=["v"], where="v <> 'b' -- no b")
    assert [row async for _, row in some.after()] == [{"v": "a"}, {"v": "c"}]
    whole = [row async for _, row in orders.after()]
    assert whole[0] == {"id": 1, "v": "a"}


# --- writers that meddle ------------------------------------------------------------------

MEDDLING = {
    "an insert that brings a position": "insert into orders(v, duly_position) values ('x', 1)",
    "an insert without one": "insert into orders(v, duly_position) values ('x', null)",
    "a copy of a row": "insert into orders select 77, 'x', duly_position from orders where id = 1",
    "an update of the position": "update orders set duly_position = 1 where v = 'b'",
    "an update of the key": "update orders set id = 0 where v = 'b'",
    "as a replica": "set session_replication_role = replica;"
    " insert into orders(v, duly_position) values ('x', 1); reset session_replication_role",
}


@pytest.mark.parametrize("statement", MEDDLING.values(), ids=MEDDLING)
async def test_a_row_cannot_be_put_behind_a_cursor(
    pool: asyncpg.Pool, orders: Enrolled, statement: str
) -> None:
    await add(pool, "a", "b")
    cursor = (await keys(orders.after()))[-1]
    await pool.execute(statement)
    assert len(await keys(orders.after(cursor))) == 1


async def test_updates_are_seen_only_where_they_were_asked_for(
    pool: asyncpg.Pool, orders: Enrolled
) -> None:
    await add(pool, "a", "b")
    cursor = (await keys(orders.after()))[-1]
    await pool.execute("update orders set v = 'A' where v = 'a'")
    assert await values(orders.after(cursor)) == []
    told = await enrol(pool, "orders", updates=True)
    assert told.done and "begin" not in str(told.done)
    assert (await enrol(pool, "orders")).done == (), "who does not ask takes nothing from others"
    await pool.execute("update orders set v = 'B' where v = 'b'")
    assert await values(orders.after(cursor)) == ["B"]
    upsert = "insert into orders(id, v) values (1, 'x') on conflict (id) do update set v = 'AA'"
    await pool.execute(upsert)
    assert await values(orders.after(cursor)) == ["B", "AA"]
