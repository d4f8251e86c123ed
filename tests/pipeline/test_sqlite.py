"""Enrolled tables in SQLite files: ids that are reused or chosen, text keys, several processes."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import apsw
import pytest

from duly.errors import DulyError, InvalidValue, StoreMismatch, StoreUnavailable, UnknownName
from duly.pipeline import Enrolled, Key, Lag, enrol, reconcile
from tests.pipeline.rows import keys, values

TABLE = "create table orders (id integer primary key, v text)"


def _standard(path: Path) -> Any:
    return sqlite3.connect(path, isolation_level=None)


def _apsw(path: Path) -> Any:
    return apsw.Connection(str(path))


@pytest.fixture(params=[_apsw, _standard], ids=["apsw", "sqlite3"])
def conn(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """A user's connection, of either module, to a file of its own."""
    with closing(request.param(tmp_path / "user.db")) as one:
        yield one


@pytest.fixture
async def orders(conn: Any) -> Enrolled:
    """An empty, enrolled table."""
    conn.execute(TABLE)
    await enrol(conn, "orders")
    return Enrolled("orders", pk="id", connect=conn)


def add(conn: Any, *texts: str) -> None:
    for text in texts:
        conn.execute("insert into orders(v) values (?)", (text,))


# --- ids that go back ---------------------------------------------------------------------

GO_BACK = {
    "a freed id is given again": "delete from orders where id = 3; "
    "insert into orders(v) values ('x')",
    "a lower id is chosen": "insert into orders values (-5, 'x')",
    "a row is replaced": "insert or replace into orders values (2, 'x')",
    "a key is changed": "insert into orders values (9, 'x'); update orders set id = 0 where id = 9",
    "an upsert": "insert into orders values (-1, 'x') on conflict do update set v = 1",
}


@pytest.mark.parametrize("statements", GO_BACK.values(), ids=GO_BACK)
async def test_a_row_whose_id_goes_back_is_not_skipped(
    conn: Any, orders: Enrolled, statements: str
) -> None:
    add(conn, "a", "b", "c")
    cursor = (await keys(orders.after()))[-1]
    for statement in statements.split("; "):
        conn.execute(statement)
    assert await values(orders.after(cursor)) == ["x"]
    naive = conn.execute("select v from orders where id > 3").fetchall()
    assert naive == [], "the cursor by id misses it"


async def test_a_row_that_another_one_replaced_leaves_its_key_free(conn: Any) -> None:
    conn.execute("create table orders (id integer primary key, v text unique)")
    await enrol(conn, "orders")
    orders = Enrolled("orders", pk="id", connect=conn)
    add(conn, "a")
    conn.execute("insert or replace into orders values (2, 'a')")  # fires no trigger of deletes
    cursor = (await keys(orders.after()))[-1]
    conn.execute("insert into orders values (1, 'b')")
    assert await values(orders.after(cursor)) == ["b"]
    assert await values(orders.after()) == ["a", "b"]


async def test_a_row_that_is_rolled_back_leaves_nothing(conn: Any, orders: Enrolled) -> None:
    conn.execute("begin")
    add(conn, "never")
    conn.execute("rollback")
    add(conn, "kept")
    assert await values(orders.after()) == ["kept"]


async def test_what_another_connection_has_not_committed_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "user.db"
    with closing(_apsw(path)) as writer:
        writer.pragma("journal_mode", "wal")
        writer.execute(TABLE)
        await enrol(path, "orders")
        orders = Enrolled("orders", pk="id", connect=path)
        writer.execute("begin")
        add(writer, "a")
        assert await values(orders.after()) == []
        writer.execute("commit")
        assert await values(orders.after()) == ["a"]
        assert await orders.lag() == Lag(rows=0, seconds=0.0, holder=None)


# --- cursors ------------------------------------------------------------------------------


async def test_pages_and_marks_partition(conn: Any, orders: Enrolled) -> None:
    marks: list[Key | None] = [None]
    for size in (1, 2500, 0, 3):
        conn.execute("begin")
        add(conn, *(f"{size}-{n}" for n in range(size)))
        conn.execute("commit")
        marks.append(json.loads(json.dumps(await orders.mark())))
    exports = [await keys(orders.between(a, b)) for a, b in pairwise(marks) if b is not None]
    assert [len(one) for one in exports] == [1, 2500, 0, 3]
    everything = await keys(orders.after())
    assert [key for one in exports for key in one] == everything == sorted(everything)
    for start in (0, 999, 1000, 2502):
        assert await keys(orders.after(everything[start])) == everything[start + 1 :]


async def test_deleted_rows_are_gone_and_updates_are_seen_where_asked_for(
    conn: Any, orders: Enrolled
) -> None:
    add(conn, "a", "b", "c")
    cursor = (await keys(orders.after()))[-1]
    conn.execute("update orders set v = 'A' where v = 'a'")
    assert await values(orders.after(cursor)) == []
    assert (await enrol(conn, "orders", updates=True)).done
    assert (await enrol(conn, "orders")).done == (), "who does not ask takes nothing from others"
    conn.execute("update orders set v = 'B' where v = 'b'")
    conn.execute("delete from orders where v = 'c'")
    assert await values(orders.after(cursor)) == ["B"]
    assert await values(orders.after()) == ["A", "B"]
    assert conn.execute("select count(*) from duly_orders_log").fetchall() == [(2,)]


KEYED = {
    "text": "create table t (k text primary key, v text)",
    "without rowid": "create table t (k text primary key, v text) without rowid",
    "unique": "create table t (id integer primary key, k text unique, v text)",
    "folded case": "create table t (k text primary key collate nocase, v text)",
}


@pytest.mark.parametrize("table", KEYED.values(), ids=KEYED)
async def test_text_keys_are_covered(conn: Any, table: str) -> None:
    conn.execute(table)
    conn.execute("insert into t(k, v) values ('b', '1'), ('a', '2')")
    await enrol(conn, "t", pk="k")
    conn.execute("insert into t(k, v) values ('B2', '3'), ('0', '4')")
    t = Enrolled("t", pk="k", connect=conn, columns=["v"], where="v <> '3'")
    assert await values(t.after()) == ["2", "1", "4"]
    insert = "insert or ignore into t(k, v) values (null, 'x')"
    if "without" not in table:
        with pytest.raises((sqlite3.Error, apsw.Error), match="cannot be null"):
            conn.execute(insert)


async def test_odd_names_are_quoted(conn: Any) -> None:
    odd = "a\"; drop table x; -- 'é"
    table = '"' + odd.replace('"', '""') + '"'
    conn.execute(f'create table {table} ("K ""1" int primary key, v text)')
    await enrol(conn, odd)
    conn.execute(f"insert into {table} values (1, 'x')")
    assert await values(Enrolled(odd, pk='K "1', connect=conn).after()) == ["x"]
    assert (await enrol(conn, odd)).done == ()


# --- enrolling ----------------------------------------------------------------------------


async def test_enrolling_takes_old_rows_first_and_again_does_nothing(conn: Any) -> None:
    conn.execute(TABLE)
    add(conn, "a", "b")
    told = await enrol(conn, "orders")
    assert told.done == (
        "made the log duly_orders_log",
        "put its triggers in place; entered 2 rows that were there",
    )
    add(conn, "c")
    assert await values(Enrolled("orders", pk="id", connect=conn).after()) == ["a", "b", "c"]
    assert (await enrol(conn, "orders")).done == ()


async def test_a_table_that_was_rebuilt_is_refused_until_enrolled_again(
    conn: Any, orders: Enrolled
) -> None:
    add(conn, "a")
    cursor = (await keys(orders.after()))[-1]
    conn.execute("create table orders_new (id integer primary key, v text, w text)")
    conn.execute("insert into orders_new(id, v) select id, v from orders")
    conn.execute("drop table orders")
    conn.execute("alter table orders_new rename to orders")
    add(conn, "unlogged")
    with pytest.raises(StoreMismatch, match="lost the triggers"):
        await values(orders.after(cursor))
    await enrol(conn, "orders")
    add(conn, "b")
    assert await values(orders.after(cursor)) == ["unlogged", "b"]


async def test_a_cursor_ahead_of_a_restored_file_is_refused(conn: Any, orders: Enrolled) -> None:
    add(conn, "a")
    for bound in ([7, 0], [7]):
        with pytest.raises(StoreMismatch, match="ahead of the table"):
            await values(orders.after(bound))
        with pytest.raises(StoreMismatch, match="ahead of the table"):
            await values(orders.between(None, [7]))
    told = await enrol(conn, "orders", restored=True)
    assert told.done[0].startswith("began era 1")
    add(conn, "b")
    assert await values(orders.after([7, 0])) == ["b"]
    assert await values(orders.after()) == ["a", "b"]


# --- what is refused ----------------------------------------------------------------------


async def test_a_connection_in_a_transaction_is_refused(conn: Any, orders: Enrolled) -> None:
    conn.execute("begin")
    add(conn, "mine")
    with pytest.raises(InvalidValue, match="in no transaction"):
        await values(orders.after())
    with pytest.raises(InvalidValue, match="in no transaction"):
        await enrol(conn, "orders")
    conn.execute("rollback")
    assert await values(orders.after()) == []


MISTAKES: list[tuple[dict[str, Any], Any, type[DulyError], str]] = [
    ({"table": "order"}, None, UnknownName, "did you mean 'orders'"),
    ({"table": "plain"}, None, StoreMismatch, "is not enrolled"),
    ({"pk": "ident"}, None, UnknownName, "column of orders"),
    ({"pk": "v"}, None, InvalidValue, "unique"),
    ({"columns": ["w"]}, None, UnknownName, "column of orders"),
    ({"columns": "v"}, None, InvalidValue, "a list of names"),
    ({"columns": []}, None, InvalidValue, "a list of names"),
    ({"where": "w = 1"}, None, InvalidValue, "a condition"),
    ({"where": "v = = 1"}, None, InvalidValue, "a condition"),
    ({}, "7", InvalidValue, "a key"),
    ({}, [], InvalidValue, "a key"),
    ({}, [1, 2, 3], InvalidValue, "a key"),
    ({}, [-1, 2], InvalidValue, "a whole number from 0"),
    ({}, [True, 2], InvalidValue, "a whole number from 0"),
    ({}, [2**64, 2], InvalidValue, "a whole number from 0"),
    ({}, [1, None], InvalidValue, "a whole number or a text"),
    ({"table": ""}, None, InvalidValue, "a name"),
    ({"connect": object()}, None, InvalidValue, "the path of a file"),
    ({"connect": "postgresql://x/y"}, None, InvalidValue, "the path of a file"),
]


async def test_readings_that_cannot_be_right_are_refused(conn: Any, orders: Enrolled) -> None:
    conn.execute("create table plain (id integer primary key)")
    for other, cursor, kind, words in MISTAKES:
        with pytest.raises(kind, match=words):
            made = Enrolled(**({"table": "orders", "pk": "id", "connect": conn} | other))
            await values(made.after(cursor))
    with pytest.raises(InvalidValue, match="a mark"):
        orders.between(None, [1, 0])


async def test_tables_that_cannot_be_enrolled_are_refused(conn: Any) -> None:
    conn.execute("create table pairs (a, b, primary key (a, b))")
    conn.execute("create table bare (v)")
    conn.execute("create table nulls (k text primary key)")
    conn.execute("insert into nulls values (null)")
    conn.execute("create view looks as select 1")
    for table, kind, words in [
        ("pairs", InvalidValue, "pass pk="),
        ("bare", InvalidValue, "pass pk="),
        ("nulls", InvalidValue, "cannot be enrolled"),
        ("looks", UnknownName, "no table"),
    ]:
        with pytest.raises(kind, match=words):
            await enrol(conn, table)
    left = conn.execute("select count(*) from sqlite_master where name like 'duly_%'").fetchall()
    assert left == [(0,)], "a refusal leaves nothing"


async def test_a_missing_file_is_not_made(tmp_path: Path) -> None:
    path = tmp_path / "none.db"
    with pytest.raises(StoreUnavailable):
        await enrol(path, "orders")
    assert not path.exists()


async def test_reconciling_counts_what_was_not_seen(conn: Any, orders: Enrolled) -> None:
    add(conn, "a", "b", "c")
    conn.execute("create table sent (order_id int)")
    conn.execute("insert into sent values (1), (3)")
    found = await reconcile(conn, "orders", pk="id", seen="sent", seen_pk="order_id")
    assert (found.missing, found.first) == (1, (2,))
    with pytest.raises(InvalidValue):
        await reconcile(conn, "orders", pk="id", seen="sent", seen_pk="id")


# --- processes ----------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("journal", ["wal", "delete"])
async def test_every_row_of_several_processes_is_read_once(tmp_path: Path, journal: str) -> None:
    path = tmp_path / "user.db"
    with closing(_apsw(path)) as conn:
        conn.pragma("journal_mode", journal)
        conn.execute("create table orders (id integer primary key, v text)")
    await enrol(path, "orders")
    program = str(Path(__file__).with_name("scribe.py"))
    pipe = asyncio.subprocess.PIPE
    start: Callable[..., Any] = asyncio.create_subprocess_exec
    scribes = [
        await start(sys.executable, program, str(path), str(n), stdout=pipe) for n in range(4)
    ]
    written = asyncio.gather(*(one.communicate() for one in scribes))
    orders = Enrolled("orders", pk="id", connect=path)
    found: list[Key] = []
    seen: Counter[str] = Counter()
    last = False
    while not last:
        last = written.done()
        async for key, row in orders.after(found[-1] if found else None):
            found.append(key)
            seen[row["v"]] += 1
    committed = {text for out, _ in await written for text in out.decode().split()}
    assert [one.returncode for one in scribes] == [0] * 4
    assert found == sorted(found)
    assert set(seen) == committed and max(seen.values()) == 1
    assert len(committed) > 4 * 100


async def test_an_insert_costs_the_same_however_long_the_log_is(tmp_path: Path) -> None:
    conn = apsw.Connection(str(tmp_path / "work.db"))
    conn.execute("create table orders (id integer primary key, text)")
    await enrol(conn, "orders")
    conn.execute(MANY, (1, 3000))
    steps = 0

    def count() -> bool:
        nonlocal steps
        steps += 1
        return False

    conn.set_progress_handler(count, 1000)
    conn.execute(MANY, (3001, 3100))
    conn.set_progress_handler(None)
    # About a hundred steps of SQLite's machine a row; past the index it would be 10,000.
    assert steps < 100


MANY = (
    "insert into orders with recursive n(i) as (select ? union all select i + 1 from n where i < ?)"
    " select i, 'x' from n"
)
