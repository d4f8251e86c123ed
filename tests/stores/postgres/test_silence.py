"""Lines that fall silent with their sockets open: found out once, and then left alone.

The server is reached through a proxy that stops passing anything on. One statement waits in vain
and says that the store is away; it must not be followed by one such wait for each idle connection
of the pool, which together outlast every deadline.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from chaos.proxy import Proxy
from duly.errors import StoreUnavailable
from duly.stores.base import Signal, WakeUp
from duly.stores.postgres import PostgresStore, connection
from tests.servers import Server

pytestmark = pytest.mark.server


async def test_a_silent_line_costs_one_wait_and_not_one_for_each_connection(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(connection.Address.connect.__kwdefaults__, "command_s", 0.3)
    async with Proxy(tmp_path / "way", server.folder) as way:
        store = PostgresStore(way.url(server.fresh_database()), pool_size=5)
        await store.open()
        try:
            await asyncio.gather(*(store.clock() for _ in range(5)))
            way.silence()
            with pytest.raises(StoreUnavailable):
                await store.clock()
            assert await store.clock() is not None
        finally:
            await store.close()


async def test_a_bell_that_fell_silent_is_heard_again_on_a_new_line(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(connection.Address.connect.__kwdefaults__, "command_s", 0.3)
    database, heard = server.fresh_database(), asyncio.Event()
    async with Proxy(tmp_path / "way", server.folder) as way:
        store, other = PostgresStore(way.url(database)), PostgresStore(database)
        await store.open()
        await other.open()
        try:
            store.listen(lambda wake: heard.set() if wake.signal is Signal.DUE else None)
            way.silence()
            await store.tell(WakeUp(Signal.FLEET))
            await asyncio.wait_for(heard.wait(), 20)  # after a loss, it is told to look itself
            heard.clear()
            await other.tell(WakeUp(Signal.DUE))
            assert await asyncio.wait_for(heard.wait(), 20)
        finally:
            await store.close()
            await other.close()


async def test_what_is_heard_of_a_line_that_has_just_ended_is_told_all_the_same(
    server: Server,
) -> None:
    store = PostgresStore(server.fresh_database())
    await store.open()
    heard: list[WakeUp] = []
    store.listen(heard.append)
    conn = store._bell.conn
    assert conn is not None
    conn.terminate()
    store._bell._hear(conn, 0, "duly_public", "fleet:")
    await store.close()
    assert WakeUp(Signal.FLEET) in heard


def test_an_answer_is_waited_for_less_than_a_turn_may_take() -> None:
    from duly.engine.supervising import DEADLINE_S

    assert DEADLINE_S > 2 * connection.COMMAND_S
