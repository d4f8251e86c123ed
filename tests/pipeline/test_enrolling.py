"""Enrolling a table in PostgreSQL: live, broken off, restored elsewhere, stripped, refused.

A table that lost a part of its enrolment is refused, never read with gaps.
"""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from duly.errors import DulyError, InvalidValue, StoreMismatch, StoreUnavailable, UnknownName
from duly.pipeline import Enrolled, enrol, reconcile
from duly.pipeline.postgres import enrolling
from tests.pipeline.rows import ORDERS, add, keys, values
from tests.servers import Server, start_postgres

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("postgres")]


# --- enrolling ----------------------------------------------------------------------------


async def test_enrolling_rewrites_nothing_and_takes_old_rows_first(pool: asyncpg.Pool) -> None:
    await pool.execute(ORDERS)
    await pool.execute("insert into orders(v) select n::text from generate_series(1, 3000) n")
    file = await pool.fetchval("select pg_relation_filenode('orders')")
    told = await enrol(pool, "orders")
    assert len(told.done) == 2
    assert await pool.fetchval("select pg_relation_filenode('orders')") == file
    orders = Enrolled("orders", pk="id", connect=pool)
    await add(pool, "new")
    assert await values(orders.after()) == [*map(str, range(1, 3001)), "new"]
    assert (await enrol(pool, "orders")).done == ()


async def test_an_open_transaction_from_before_the_enrolment_is_not_skipped(
    pool: asyncpg.Pool,
) -> None:
    await pool.execute(ORDERS)
    async with pool.acquire() as conn:
        tx = conn.transaction()
        await tx.start()
        await conn.execute("select pg_current_xact_id()")
        await enrol_without_index(pool)
        await add(pool, "after")
        orders = Enrolled("orders", pk="id", connect=pool)
        assert await values(orders.after()) == []
        await add(conn, "before")
        await tx.commit()
    assert await values(orders.after()) == ["before", "after"]


async def enrol_without_index(pool: asyncpg.Pool) -> None:
    """Enrol as far as a call gets that dies before its index: that one waits for open work."""
    async with pool.acquire() as conn:
        await enrolling._stamp_patiently(conn, "orders", key="id", updates=False, restored=False)


async def test_an_enrolment_that_was_broken_off_goes_on(pool: asyncpg.Pool) -> None:
    await pool.execute(ORDERS)
    await enrol_without_index(pool)
    await pool.execute("create index duly_position_orders on orders (duly_position, id)")
    await pool.execute(
        "update pg_index set indisvalid = false where indexrelid = 'duly_position_orders'::regclass"
    )
    told = await enrol(pool, "orders")
    assert told.done == ("built the index duly_position_orders",)
    plan = await pool.fetch(
        "explain select from orders where (duly_position, id) > (1, 1)"
        " order by duly_position, id limit 5"
    )
    assert "duly_position_orders" in str(plan)
    assert (await enrol(pool, "orders")).done == ()


async def test_writers_go_on_while_the_index_waits_for_an_open_transaction(
    pool: asyncpg.Pool, orders: Enrolled
) -> None:
    await pool.execute("drop index duly_position_orders")
    async with pool.acquire() as conn:
        tx = conn.transaction()
        await tx.start()
        await add(conn, "open")
        enrolment = asyncio.create_task(enrol(pool, "orders"))
        waits = "select count(*) from pg_stat_activity where wait_event_type = 'Lock'"
        while not await pool.fetchval(waits + " and datname = current_database()"):
            assert not enrolment.done()
        await pool.execute("set lock_timeout = '2s'; insert into orders(v) values ('goes on')")
        other = await enrol(pool, "orders")
        assert other.done == ("left the index to another session, which is building it",)
        await tx.commit()
    assert (await enrolment).done == ("built the index duly_position_orders",)
    assert await values(orders.after()) == ["open", "goes on"]


async def test_a_table_in_use_is_left_alone_in_bounded_time(
    pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(enrolling, "LOCK_TIMEOUT", "20ms")
    await pool.execute(ORDERS)
    async with pool.acquire() as conn, conn.transaction():
        await add(conn, "x")
        with pytest.raises(StoreUnavailable, match="nothing was changed"):
            await enrol(pool, "orders")
    assert len((await enrol(pool, "orders")).done) == 2


async def test_odd_names_are_quoted(pool: asyncpg.Pool) -> None:
    odd = 'a"; drop table x; --' + "é" * 20
    table = '"' + odd.replace('"', '""') + '"'
    await pool.execute(f'create table {table} ("K ""1" int primary key, v text)')
    await enrol(pool, odd)
    await pool.execute(f"insert into {table} values (1, 'x')")
    assert await values(Enrolled(odd, pk='K "1', connect=pool).after()) == ["x"]
    assert (await enrol(pool, odd)).done == ()


# --- restored databases -------------------------------------------------------------------


async def _pretend_other_cluster(pool: asyncpg.Pool) -> None:
    """As after a dump was loaded elsewhere: the label says another cluster, the ids went down."""
    label = '{"era":0,"cluster":"1234","duly":"x"}'
    await pool.execute("alter table orders disable trigger all")
    await pool.execute("update orders set duly_position = duly_position + 1000000")
    await pool.execute("alter table orders enable always trigger zzz_duly_insert")
    await pool.execute("alter table orders enable always trigger zzz_duly_update")
    await pool.execute(f"comment on column orders.duly_position is '{label}'")


async def test_a_table_from_another_cluster_is_refused_and_goes_on_once_enrolled_again(
    pool: asyncpg.Pool, orders: Enrolled
) -> None:
    await add(pool, "a", "b")
    await _pretend_other_cluster(pool)
    with pytest.raises(StoreMismatch, match="restored from another cluster"):
        await values(orders.after())
    told = await enrol(pool, "orders")
    assert told.done[0].startswith("began era 1")
    found = await keys(orders.after())
    assert len(found) == 2
    await add(pool, "c")
    assert await values(orders.after(found[-1])) == ["c"]
    assert await values(orders.after()) == ["a", "b", "c"]
    everything = await keys(orders.after())
    assert everything == sorted(everything)


async def test_a_cursor_from_a_future_that_was_taken_back_is_refused(
    pool: asyncpg.Pool, orders: Enrolled
) -> None:
    await add(pool, "a")
    ((position, tie),) = await keys(orders.after())
    ahead = [position + 1_000_000, tie]
    with pytest.raises(StoreMismatch, match="taken back to"):
        await values(orders.after(ahead))
    await enrol(pool, "orders", restored=True)
    await add(pool, "b")
    assert await values(orders.after(ahead)) == ["b"]


STRIPPED = {
    "a trigger": "drop trigger zzz_duly_insert on orders",
    "a trigger's force": "alter table orders disable trigger zzz_duly_update",
    "the default": "alter table orders alter duly_position drop default",
    "the comment": "comment on column orders.duly_position is null",
    "the column": "alter table orders drop column duly_position cascade",
}


@pytest.mark.parametrize("statement", STRIPPED.values(), ids=STRIPPED)
async def test_a_table_that_lost_a_part_is_refused_until_it_is_enrolled_again(
    pool: asyncpg.Pool, orders: Enrolled, statement: str
) -> None:
    await add(pool, "a")
    await pool.execute(statement)
    with pytest.raises(StoreMismatch, match=r'call `enrol\(conn, "orders"\)`'):
        await values(orders.after())
    assert (await enrol(pool, "orders")).done
    await add(pool, "b")
    assert await values(orders.after()) == ["a", "b"]


@pytest.mark.slow
async def test_a_real_dump_carries_the_enrolment_to_another_cluster(
    pool: asyncpg.Pool, orders: Enrolled, server: Server, database: str, tmp_path: Path
) -> None:
    for _ in range(300):  # the new cluster counts from a lower number than this one has come to
        await pool.execute("select pg_current_xact_id()")
    await add(pool, "a", "b")
    cursor = (await keys(orders.after()))[-1]
    other = start_postgres()
    try:
        target = other.empty_database()
        dump = str(tmp_path / "dump.sql")
        for tool, *words in (
            ["pg_dump", "-d", database, "-f", dump],
            ["psql", "-q", "-d", target, "-f", dump],
        ):
            line = [str(server._binaries / tool), *words]
            await asyncio.to_thread(subprocess.run, line, check=True)
        async with asyncpg.create_pool(target, min_size=1, max_size=2) as new:
            moved = Enrolled("orders", pk="id", connect=new)
            with pytest.raises(StoreMismatch, match="restored from another cluster"):
                await values(moved.after(cursor))
            assert (await enrol(new, "orders")).done[0].startswith("began era 1")
            await add(new, "c")
            assert await values(moved.after(cursor)) == ["c"]
            assert await values(moved.after()) == ["a", "b", "c"]
    finally:
        other.stop()


# --- what is refused ----------------------------------------------------------------------

ENROL_MISTAKES: list[tuple[str, dict[str, Any], type[DulyError], str]] = [
    ("order", {}, UnknownName, "did you mean 'orders'"),
    ("a.b.c", {}, InvalidValue, "schema.name"),
    ("", {}, InvalidValue, "a name"),
    ("x" * 64, {}, InvalidValue, "63 bytes"),
    ("a\0b", {}, InvalidValue, "a name"),
    ("a\ud800", {}, InvalidValue, "UTF-8"),
    ("orders", {"pk": "di"}, UnknownName, "known: id, v"),
    ("orders", {"pk": "v"}, InvalidValue, "unique and not null"),
    ("seen", {}, InvalidValue, "the type of at to be one of"),
    ("pairs", {}, InvalidValue, "pass pk="),
    ("looks", {}, InvalidValue, "ordinary table"),
    ("parted", {}, InvalidValue, "ordinary table"),
    ("parent", {}, InvalidValue, "ordinary table"),
]


async def test_tables_that_cannot_be_enrolled_are_refused_with_the_reason(
    pool: asyncpg.Pool,
) -> None:
    await pool.execute(
        f"{ORDERS}; create table seen (at date primary key); create view looks as select 1 as x;"
        " create table pairs (a int, b int, primary key (a, b));"
        " create table parted (id int primary key) partition by hash (id);"
        " create table parent (id int primary key); create table child () inherits (parent)"
    )
    for table, options, kind, words in ENROL_MISTAKES:
        with pytest.raises(kind, match=words):
            await enrol(pool, table, **options)


async def test_readings_that_cannot_be_right_are_refused(
    pool: asyncpg.Pool, orders: Enrolled
) -> None:
    def of(**other: Any) -> Enrolled:
        return Enrolled(**({"table": "orders", "pk": "id", "connect": pool} | other))

    await pool.execute("create table plain (id int primary key)")
    for made, cursor, kind, words in [
        (of(columns=["w"]), None, UnknownName, "column of orders"),
        (of(where="w = 1"), None, InvalidValue, "a condition or a column"),
        (of(where="true; drop table orders"), None, InvalidValue, "a condition"),
        (of(table="ordres"), None, UnknownName, "did you mean 'orders'"),
        (of(table="plain"), None, StoreMismatch, "is not enrolled"),
        (of(pk="v"), None, InvalidValue, "unique"),
        (orders, [1, "x"], InvalidValue, "a whole number"),
    ]:
        with pytest.raises(kind, match=words):
            await values(made.after(cursor))


async def test_a_connection_in_a_transaction_is_refused(
    pool: asyncpg.Pool, orders: Enrolled
) -> None:
    await add(pool, "a")
    async with pool.acquire() as conn:
        mine = Enrolled("orders", pk="id", connect=conn)
        assert await values(mine.after()) == ["a"]
        async with conn.transaction():
            with pytest.raises(InvalidValue, match="in no transaction"):
                await values(mine.after())
            with pytest.raises(InvalidValue, match="in no transaction"):
                await enrol(conn, "orders")


async def test_a_server_that_is_away_is_an_unavailable_store(
    pool: asyncpg.Pool, orders: Enrolled, server: Server, database: str
) -> None:
    lone = await asyncpg.connect(database)
    mine = Enrolled("orders", pk="id", connect=lone)
    await lone.close()
    with pytest.raises(StoreUnavailable):
        await values(mine.after())


async def test_reconciling_counts_what_was_not_seen(pool: asyncpg.Pool, orders: Enrolled) -> None:
    await add(pool, "a", "b", "c")
    await pool.execute("create table sent (order_id bigint); insert into sent values (1), (3)")
    names = {"pk": "id", "seen": "sent", "seen_pk": "order_id"}
    found = await reconcile(pool, "orders", **names)
    assert (found.missing, found.first) == (1, (2,))
    assert (await reconcile(pool, "orders", **names, where="v <> 'b'")).missing == 0
    with pytest.raises(InvalidValue):
        await reconcile(pool, "orders", pk="id", seen="sent", seen_pk="id")
