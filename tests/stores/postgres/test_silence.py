"""Lines that fall silent with their sockets open: found out once, and then left alone.

The server is reached through a proxy that stops passing anything on. One statement waits in vain
and says that the store is away; it must not be followed by one such wait for each idle connection
of the pool, which together outlast every deadline.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from chaos.proxy import Proxy
from duly.core.ids import uuid7
from duly.errors import InvalidValue, StoreUnavailable
from duly.stores.base import Signal, WakeUp
from duly.stores.postgres import PostgresStore, connection, waking
from duly.stores.postgres.presence import SessionPresence
from duly.stores.postgres.unit import Unit
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


async def test_nothing_more_is_asked_on_a_line_that_fell_silent_in_a_transaction(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(connection.Address.connect.__kwdefaults__, "command_s", 0.3)
    execute, asked = asyncpg.Connection.execute, []

    async def told(conn: asyncpg.Connection, query: str, *args: Any, **how: Any) -> Any:
        asked.append(query)
        return await execute(conn, query, *args, **how)

    async with Proxy(tmp_path / "way", server.folder) as way:
        store = PostgresStore(way.url(server.fresh_database()))
        await store.open()
        monkeypatch.setattr(asyncpg.Connection, "execute", told)

        async def work(unit: Unit) -> None:
            way.silence()
            await unit.fetch("select 1")

        try:
            with pytest.raises(StoreUnavailable):
                await store._transact(work)
        finally:
            await store.close()
    assert asked == ["BEGIN;"]


async def test_a_transaction_that_is_refused_leaves_its_line_at_rest(server: Server) -> None:
    store = PostgresStore(server.fresh_database(), pool_size=1)
    await store.open()
    lines: list[object] = []

    async def refused(unit: Unit) -> None:
        lines.append(unit._line)
        await unit.fetch("select 1 / 0")

    async def fine(unit: Unit) -> None:
        lines.append(unit._line)

    try:
        with pytest.raises(InvalidValue):
            await store._transact(refused)
        await store._transact(fine)
    finally:
        await store.close()
    assert lines[0] is lines[1]


async def test_a_bell_that_got_no_answer_ends_its_line_at_once(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(connection.Address.connect.__kwdefaults__, "command_s", 0.3)
    async with Proxy(tmp_path / "way", server.folder) as way:
        bell = waking.Bell(connection.Address(way.url(server.fresh_database()), "public"))
        await bell.open()
        try:
            conn = bell.conn
            assert conn is not None
            way.silence()
            await bell.say(WakeUp(Signal.FLEET))
            assert conn.is_closed()
        finally:
            await bell.close()


async def test_a_bell_that_nobody_rings_finds_out_by_itself_that_it_is_deaf(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waking, "CHECK_S", 0.1)
    monkeypatch.setattr(waking, "ANSWER_S", 0.3)
    async with Proxy(tmp_path / "way", server.folder) as way:
        bell = waking.Bell(connection.Address(way.url(server.fresh_database()), "public"))
        await bell.open()
        lost, silent = asyncio.Event(), bell.conn
        bell.listen(lambda wake: lost.set() if wake in waking.AFTER_LOSS else None)
        try:
            way.silence()
            await asyncio.wait_for(lost.wait(), 20)
            assert bell.conn is not silent
        finally:
            await bell.close()


async def test_a_store_that_met_a_silent_line_looks_whether_it_is_deaf(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(connection.Address.connect.__kwdefaults__, "command_s", 0.3)
    monkeypatch.setattr(waking, "ANSWER_S", 0.3)
    async with Proxy(tmp_path / "way", server.folder) as way:
        store = PostgresStore(way.url(server.fresh_database()))
        await store.open()
        lost = asyncio.Event()
        store.listen(lambda wake: lost.set() if wake in waking.AFTER_LOSS else None)
        try:
            await store.clock()
            way.silence()
            with pytest.raises(StoreUnavailable):
                await store.clock()
            assert await asyncio.wait_for(lost.wait(), 20)
        finally:
            await store.close()


async def test_both_sessions_of_a_boot_are_looked_after_at_once(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    presence = SessionPresence(connection.Address(server.fresh_database(), "public"))
    answers, both = presence._answers, asyncio.Barrier(2)

    async def met(place: int) -> bool:
        async with asyncio.timeout(20):
            await both.wait()
        return await answers(place)

    await presence.hold(uuid7(1, 1))
    monkeypatch.setattr(presence, "_answers", met)
    try:
        assert await presence.holding()
    finally:
        await presence.release()


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
