"""The proxy cuts exactly what it says: a commit that never happened, or one that nobody heard of.

What a trial concludes from cut commits rests on this: the request that was cut left nothing behind,
the answer that was cut left everything.
"""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import asyncpg
import pytest

from chaos.proxy import Cut, Proxy
from tests.servers import Server

pytestmark = [pytest.mark.server, pytest.mark.timeout(60)]


async def alone(conn: asyncpg.Connection) -> None:
    await conn.fetch("insert into kept values ($1) returning n", 1)


async def in_a_transaction(conn: asyncpg.Connection) -> None:
    async with conn.transaction():
        await conn.fetch("insert into kept values ($1) returning n", 1)
        await conn.fetch("select n from kept")


@pytest.mark.parametrize("cut", get_args(Cut))
@pytest.mark.parametrize("work", [alone, in_a_transaction])
async def test_a_commit_is_cut_before_or_after_it_happened(
    server: Server, tmp_path: Path, work: object, cut: Cut
) -> None:
    url = server.empty_database()
    direct = await asyncpg.connect(url)
    await direct.execute("create table kept (n int)")
    async with Proxy(tmp_path / "way", server.folder) as way:
        conn = await asyncpg.connect(way.url(url))
        way.cut_next = lambda: cut
        with pytest.raises((asyncpg.PostgresConnectionError, asyncpg.InterfaceError, OSError)):
            await work(conn)  # type: ignore[operator]
        conn.terminate()
    assert way.done[cut] == 1
    assert await direct.fetchval("select count(*) from kept") == (cut == "answer")
    await direct.close()


async def test_reading_is_never_cut(server: Server, tmp_path: Path) -> None:
    url = server.empty_database()
    async with Proxy(tmp_path / "way", server.folder) as way:
        way.cut_next = lambda: "request"
        conn = await asyncpg.connect(way.url(url))
        assert await conn.fetchval("select 1") == 1
        async with conn.transaction(readonly=True):
            assert await conn.fetch("select $1::int", 2) == [(2,)]
            way.cut_next = lambda: None
        await conn.close()
    assert not way.done
