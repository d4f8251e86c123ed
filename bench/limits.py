"""The machine's own limit: what a bare client does with the same database and disk.

No queue can do better than these on this machine: a row inserted and committed, rows inserted in
bulk, and a queue of one table that claims and completes 500 rows a time, without identity, fence,
lease or history. The last is what a careless queue would reach, not one that keeps its promises.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import apsw
import asyncpg

from bench.scene import Scene

TABLE = """
create table job (id bigint generated always as identity primary key, state smallint not null
  default 0, due timestamptz not null default now(), attempts int not null default 0,
  payload bytea not null);
create index job_ready on job (id) where state = 0
"""
INSERT = "insert into job (payload) values ($1)"
INSERT_MANY = "insert into job (payload) select unnest($1::bytea[])"
CLAIM = """
update job set state = 1, attempts = attempts + 1 where id = any(array(
  select id from job where state = 0 order by id limit 500 for update skip locked)) returning id
"""
COMPLETE = "update job set state = 2 where id = any($1::bigint[])"
PAYLOAD = b'{"key":12345}'

Measured = Callable[[str, int], Awaitable[float]]


def measure(scene: Scene) -> None:
    """Measure the limits that the lines are held against."""
    url = scene.server.url(_fresh(scene))
    for line, work, count in (
        ("A1 enqueue one by one", _one_by_one, scene.some(6000, 100)),
        ("A2 enqueue, 64 coroutines", _at_once, scene.some(20_000, 100)),
        ("A3 enqueue_many of 1,000", _many, scene.some(100_000, 1000)),
        ("B1 drain, start to ended row", _drain, scene.some(30_000, 500)),
    ):
        rates = [asyncio.run(_timed(work, url, count)) for _ in range(scene.rounds)]
        scene.results.add(line, "limit", rates, unit="runs/s", count=count)
    scene.results.add("I SQLite, enqueue one by one", "limit", _commits(scene), unit="runs/s")


def _fresh(scene: Scene) -> str:
    scene.server.fresh("bench_limit")
    return "bench_limit"


async def _timed(work: Measured, url: str, count: int) -> float:
    conn = await asyncpg.connect(url)
    await conn.execute("drop table if exists job")
    await conn.execute(TABLE)
    await conn.close()
    return count / await work(url, count)


async def _one_by_one(url: str, count: int) -> float:
    conn = await asyncpg.connect(url)
    at = time.perf_counter()
    for _ in range(count):
        await conn.execute(INSERT, PAYLOAD)
    took = time.perf_counter() - at
    await conn.close()
    return took


async def _at_once(url: str, count: int) -> float:
    """One row a commit on eight connections, which is about where two cores end."""
    conns = [await asyncpg.connect(url) for _ in range(8)]

    async def insert(conn: asyncpg.Connection) -> None:
        for _ in range(count // 8):
            await conn.execute(INSERT, PAYLOAD)

    at = time.perf_counter()
    await asyncio.gather(*map(insert, conns))
    took = time.perf_counter() - at
    for conn in conns:
        await conn.close()
    return took


async def _many(url: str, count: int) -> float:
    conn = await asyncpg.connect(url)
    at = time.perf_counter()
    for _ in range(count // 1000):
        await conn.execute(INSERT_MANY, [PAYLOAD] * 1000)
    took = time.perf_counter() - at
    await conn.close()
    return took


async def _drain(url: str, count: int) -> float:
    conn = await asyncpg.connect(url)
    await conn.execute(INSERT_MANY, [PAYLOAD] * count)
    await conn.execute("vacuum analyze job")
    at = time.perf_counter()
    while rows := await conn.fetch(CLAIM):
        await conn.execute(COMPLETE, [row[0] for row in rows])
    took = time.perf_counter() - at
    await conn.close()
    return took


def _commits(scene: Scene) -> list[float]:
    """Rows inserted and committed one by one through apsw, in WAL with synchronous=FULL."""
    count, rates = scene.some(5000, 100), []
    for _ in range(scene.rounds):
        with tempfile.TemporaryDirectory(prefix="duly-bench-") as folder:
            conn = apsw.Connection(str(Path(folder) / "limit.db"))
            conn.execute("pragma journal_mode=wal; pragma synchronous=full")
            conn.execute("create table job (id blob primary key, payload blob) without rowid")
            at = time.perf_counter()
            for number in range(count):
                conn.execute("insert into job values (?, ?)", (b"%016d" % number, PAYLOAD))
            rates.append(count / (time.perf_counter() - at))
            conn.close()
    return rates
