"""The machine's own limit: what a bare client does with the same database, disk and rows.

For enqueueing, the very rows that Duly writes (a run's identity and its place among the ready, with
their indexes) are inserted and committed by a bare driver, all but the id copied from a run that
Duly enqueued: nothing that keeps these rows can be faster. For draining, a queue of one table
claims and completes 500 rows a time, without identity, fence, lease or history: what a careless
queue would reach, not one that keeps its promises. Each is measured in the rounds of the line it
stands in, next to the products.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from uuid import UUID

import apsw
import asyncpg
from asyncpg.prepared_stmt import PreparedStatement

from bench.scene import Scene
from duly.core.ids import uuid7
from duly.core.runs import NewRun
from duly.stores.postgres import PostgresStore

DATABASE = "bench_limit"
ARGUMENTS = b'{"key":12345}'

LITERALS = """
select a.attname, quote_literal(j.value) || '::' || format_type(a.atttypid, a.atttypmod)
from {table} t cross join lateral jsonb_each_text(to_jsonb(t)) j
join pg_attribute a on a.attrelid = '{table}'::regclass and a.attname = j.key
where j.value is not null
"""

CARELESS = """
create table job (id bigint generated always as identity primary key, state smallint not null
  default 0, due timestamptz not null default now(), attempts int not null default 0,
  payload bytea not null);
create index job_ready on job (id) where state = 0
"""
FILL = "insert into job (payload) select $1 from generate_series(1, $2)"
CLAIM = """
update job set state = 1, attempts = attempts + 1 where id = any(array(
  select id from job where state = 0 order by id limit 500 for update skip locked)) returning id
"""
COMPLETE = "update job set state = 2 where id = any($1::bigint[])"

EMBEDDED = "insert into job values (?, ?)"


def rows_a_second(scene: Scene, count: int, *, callers: int = 1, many: int = 1) -> float:
    """Insert the rows of so many runs, `many` a commit, on so many connections; runs a second."""
    url = scene.server.fresh(DATABASE)
    return asyncio.run(_insert(url, count, callers=callers, many=many))


async def _insert(url: str, count: int, *, callers: int, many: int) -> float:
    ids = [uuid7(time.time_ns() // 1_000_000, number << 40) for number in range(count)]
    parts = [ids[number::callers] for number in range(callers)]
    statement = await _statement(url, many=many)
    conns = [await asyncpg.connect(url) for _ in parts]
    prepared = [await conn.prepare(statement) for conn in conns]
    at = time.perf_counter()
    await asyncio.gather(
        *(_commit(insert, part, many) for insert, part in zip(prepared, parts, strict=True))
    )
    took = time.perf_counter() - at
    for conn in conns:
        await conn.close()
    return count / took


async def _commit(insert: PreparedStatement, ids: list[UUID], many: int) -> None:
    if many == 1:
        for one in ids:
            await insert.fetch(one)
        return
    for first in range(0, len(ids), many):
        await insert.fetch(ids[first : first + many])


async def _statement(url: str, *, many: int) -> str:
    """One statement that inserts what Duly itself wrote for a run, once for each new id."""
    store = PostgresStore(url)
    await store.migrate()
    await store.open()
    await store.enqueue([NewRun(id=uuid7(0, 0), task="noop", args=ARGUMENTS)])
    await store.close()
    conn = await asyncpg.connect(url)
    parts = []
    for table in ("duly_run", "duly_ready"):
        row = dict(await conn.fetch(LITERALS.format(table=table)))
        row["id"] = "$1" if many == 1 else "d.id"
        source = "" if many == 1 else " from unnest($1::uuid[]) d (id)"
        parts.append(
            f"insert into {table} ({', '.join(row)}) select {', '.join(row.values())}{source}"
        )
    await conn.execute("truncate duly_run, duly_ready")
    await conn.close()
    return f"with made as ({parts[0]}) {parts[1]}"


def drained_a_second(scene: Scene, count: int) -> float:
    """Claim and complete the jobs of the careless queue; jobs a second."""
    return asyncio.run(_drain(scene.server.fresh(DATABASE), count))


async def _drain(url: str, count: int) -> float:
    conn = await asyncpg.connect(url)
    await conn.execute(CARELESS)
    await conn.execute(FILL, ARGUMENTS, count)
    await conn.execute("vacuum analyze job")
    at = time.perf_counter()
    while rows := await conn.fetch(CLAIM):
        await conn.execute(COMPLETE, [row[0] for row in rows])
    took = time.perf_counter() - at
    await conn.close()
    return count / took


def embedded_a_second(folder: Path, count: int) -> float:
    """Insert and commit rows one by one through apsw, in WAL with synchronous=FULL."""
    conn = apsw.Connection(str(folder / "limit.db"))
    conn.execute("pragma journal_mode=wal; pragma synchronous=full")
    conn.execute("create table job (id blob primary key, payload blob) without rowid")
    at = time.perf_counter()
    for number in range(count):
        conn.execute(EMBEDDED, (b"%016d" % number, ARGUMENTS))
    took = time.perf_counter() - at
    conn.close()
    return count / took
