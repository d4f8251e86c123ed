"""Presence: real processes are killed, real connections cut, a real server restarted."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from datetime import timedelta
from uuid import UUID

import asyncpg
import pytest

from duly.core.fleet import Horizon, Proof
from duly.errors import StoreUnavailable
from duly.stores.postgres import PostgresStore
from tests.servers import Server, start_postgres
from tests.stores.postgres.conftest import MakeStores
from tests.stores.world import ident, instance

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.xdist_group("postgres")]

BOOT = ident(1)

HOLDER = """
import asyncio, sys
from uuid import UUID
from duly.stores.postgres import PostgresStore

async def main():
    presence = PostgresStore(sys.argv[1]).presence()
    await presence.hold(UUID(sys.argv[2]))
    print("held", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def spawn_holder(database: str, boot: UUID) -> asyncio.subprocess.Process:
    """A process that holds a boot's presence."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOLDER, database, str(boot), stdout=asyncio.subprocess.PIPE
    )
    assert child.stdout is not None
    assert await child.stdout.readline() == b"held\n"
    return child


async def watched(conn: asyncpg.Connection) -> None:
    """Return when a watcher waits for an advisory lock."""
    for _ in range(50_000):
        if await conn.fetchval("select count(*) from pg_locks where not granted"):
            return
        await asyncio.sleep(0)
    raise AssertionError("nobody watches")


async def sessions(conn: asyncpg.Connection, granted: bool = True) -> list[int]:
    """The sessions that hold advisory locks in this database."""
    rows = await conn.fetch(
        "select pid from pg_locks l join pg_database d on d.oid = l.database where granted = $1"
        " and locktype = 'advisory' and d.datname = current_database() order by pid",
        granted,
    )
    return [row["pid"] for row in rows]


async def test_a_killed_process_is_noticed(make_stores: MakeStores, database: str) -> None:
    [store] = await make_stores(1)
    presence, conn = store.presence(), await asyncpg.connect(database)
    assert presence is not None
    child = await spawn_holder(database, BOOT)
    watching = asyncio.create_task(presence.watch(BOOT))
    await watched(conn)
    os.kill(child.pid, signal.SIGKILL)
    assert await asyncio.wait_for(watching, 20) is Proof.SESSION
    await child.wait()
    await conn.close()


async def test_one_lost_connection_is_not_a_death(make_stores: MakeStores, database: str) -> None:
    stores = await make_stores(2)
    holder, watcher = stores[0].presence(), stores[1].presence()
    assert holder is not None and watcher is not None
    conn = await asyncpg.connect(database)
    await holder.hold(BOOT)
    watching = asyncio.create_task(watcher.watch(BOOT))
    await watched(conn)
    [first, _] = await sessions(conn)
    await conn.execute("select pg_terminate_backend($1, 5000)", first)
    assert await holder.holding()
    assert len(await sessions(conn)) == 2
    assert not watching.done()
    await holder.release()
    assert await asyncio.wait_for(watching, 20) in (Proof.SESSION, None)
    await conn.close()


async def test_a_holder_takes_its_locks_again_by_itself_and_is_alive(
    make_stores: MakeStores, database: str
) -> None:
    stores = await make_stores(2)
    holder, watcher = stores[0].presence(), stores[1].presence(timedelta(seconds=5))
    assert holder is not None and watcher is not None
    conn = await asyncpg.connect(database)
    await holder.hold(BOOT)
    watching = asyncio.create_task(watcher.watch(BOOT))
    await watched(conn)
    both = await sessions(conn)
    await conn.execute("select pg_terminate_backend(p, 0) from unnest($1::int[]) p", both)
    while len(fresh := set(await sessions(conn)) - set(both)) < 2:
        await asyncio.wait([watching], timeout=0.01)
    assert len(fresh) == 2
    assert not watching.done()
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    await holder.release()
    await conn.close()


async def test_a_process_under_a_new_boot_holds_the_locks_of_that_one(
    make_stores: MakeStores, database: str
) -> None:
    stores = await make_stores(2)
    holder, watcher = stores[0].presence(), stores[1].presence()
    assert holder is not None and watcher is not None
    conn = await asyncpg.connect(database)
    await holder.hold(ident(98))
    await holder.hold(BOOT)  # the other was declared dead, and its process lives
    watching = asyncio.create_task(watcher.watch(BOOT))
    await watched(conn)
    assert len(await sessions(conn)) == 2
    assert not watching.done()
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    await holder.release()
    await conn.close()


async def test_nothing_is_said_of_a_boot_that_never_held(make_stores: MakeStores) -> None:
    [store] = await make_stores(1)
    presence = store.presence()
    assert presence is not None
    assert await presence.watch(ident(99)) is None


@pytest.fixture
def own_server() -> Iterator[Server]:
    """A server that this test may restart."""
    one = start_postgres()
    yield one
    one.stop()


async def test_a_restarted_server_proves_nothing_and_the_store_heals(own_server: Server) -> None:
    url = own_server.fresh_database()
    store, other = PostgresStore(url), PostgresStore(url)
    await store.open()
    await other.open()
    holder, watcher = store.presence(), other.presence()
    assert holder is not None and watcher is not None
    await store.register(instance(BOOT), {})
    await holder.hold(BOOT)
    heard: asyncio.Queue[str] = asyncio.Queue()
    store.listen(lambda wake: heard.put_nowait(wake.signal.value))
    conn = await asyncpg.connect(url)
    watching = asyncio.create_task(watcher.watch(BOOT))
    await watched(conn)
    await asyncio.to_thread(own_server.restart, "immediate")
    assert await asyncio.wait_for(watching, 20) is None
    assert await watcher.watch(BOOT) is None, "its locks were on another start of the server"
    assert {await asyncio.wait_for(heard.get(), 20) for _ in range(2)} == {"ready", "due"}
    assert (await healed(store)).alive
    assert await holder.holding()
    await holder.release()
    await asyncio.gather(store.close(), other.close())


async def healed(store: PostgresStore) -> Horizon:
    """The first answer after a restart; what was sent on broken lines may be sent again."""
    for _ in range(10):
        try:
            return await store.beat(BOOT, queues=(), tasks=())
        except StoreUnavailable:
            continue
    raise AssertionError("the store never healed")
