"""Behind a pooler: in session mode Duly works as on the server itself, otherwise it refuses.

A real pgbouncer stands before a real server. As it comes it passes no settings at the start of a
connection; told to ignore them, it drops them in silence. Both are noticed.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from duly.core.fleet import Proof
from duly.core.runs import Ending, NewRun
from duly.core.states import RunVerb
from duly.errors import StoreRefused
from duly.stores.postgres import PostgresStore
from duly.stores.postgres.connection import SETTINGS, Address
from tests.house.rules import ROOT
from tests.servers import Server
from tests.stores.postgres.test_presence import BOOT, spawn_holder, watched
from tests.stores.world import ident, instance

FETCHED = ROOT / ".venv" / "pgbouncer"
FOUND = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin:{FETCHED}/usr/sbin")
IGNORING = "ignore_startup_parameters = " + ",".join([*SETTINGS, "search_path", "lock_timeout"])

pytestmark = [
    pytest.mark.server,
    pytest.mark.skipif(FOUND is None, reason="pgbouncer is not installed"),
]

Pooled = Callable[[str, str], str]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that the user of the pooler reaches."""
    with tempfile.TemporaryDirectory(prefix="duly-pooler-") as name:
        Path(name).chmod(0o777)
        yield Path(name)


@pytest.fixture
def pooled(server: Server, folder: Path) -> Iterator[Pooled]:
    """Put a pooler before a new database; return the address through it."""
    started: list[subprocess.Popen[bytes]] = []

    def start(mode: str, more: str = "") -> str:
        database = urlsplit(server.fresh_database()).path[1:]
        started.append(_pgbouncer(server, folder, database, mode, more))
        return f"postgresql://postgres@/{database}?host={folder}&port={_port(folder)}"

    yield start
    for one in started:
        one.terminate()
        one.wait(timeout=30)


def _port(folder: Path) -> int:
    return int(folder.joinpath("port").read_text("utf-8"))


def _pgbouncer(
    server: Server, folder: Path, database: str, mode: str, more: str
) -> subprocess.Popen[bytes]:
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder.joinpath("port").write_text(str(port), "utf-8")
    settings = folder / "pgbouncer.ini"
    settings.write_text(
        f"[databases]\n{database} = host={server.folder} dbname={database} user=postgres\n"
        f"[pgbouncer]\nlisten_port = {port}\nunix_socket_dir = {folder}\nauth_type = any\n"
        f"pool_mode = {mode}\n{more}\n",
        "utf-8",
    )
    as_user = ()
    if os.geteuid() == 0:  # it refuses to be root
        as_user = ("setpriv", "--reuid=nobody", "--clear-groups")
    libraries = {"LD_LIBRARY_PATH": ":".join(map(str, (FETCHED / "usr/lib").glob("*-linux-gnu")))}
    with folder.joinpath("pgbouncer.log").open("wb") as log:
        process = subprocess.Popen(
            [*as_user, str(FOUND), "-q", str(settings)],
            env=os.environ | (libraries if FETCHED.exists() else {}),
            stdout=log,
            stderr=log,
        )
    _wait_until_it_listens(folder / f".s.PGSQL.{port}", process)
    return process


def _wait_until_it_listens(place: Path, process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None:
        with closing(socket.socket(socket.AF_UNIX)) as line:
            if line.connect_ex(str(place)) == 0:
                return
    pytest.fail(place.parent.joinpath("pgbouncer.log").read_text("utf-8"))


@pytest.mark.parametrize("more", ["", IGNORING], ids=["as it comes", "dropping settings"])
async def test_in_session_mode_work_is_done_and_a_death_is_seen(pooled: Pooled, more: str) -> None:
    url = pooled("session", more)
    store = PostgresStore(url)
    await store.open()
    one, run = instance(BOOT), NewRun(id=ident(9), task="t")
    await store.register(one, {})
    await store.enqueue([run])
    lease = timedelta(seconds=15)
    claim = await store.claim(
        one.boot, ident(5), queues=("default",), tasks=("t",), limit=1, lease=lease
    )
    [held] = claim.runs
    await store.end(one.boot, [Ending(run=held.id, epoch=held.epoch, verb=RunVerb.COMPLETE)])
    assert await store.counts() == {"succeeded": 1}
    child = await spawn_holder(url, BOOT)
    presence = store.presence()
    assert presence is not None
    watching = asyncio.create_task(presence.watch(BOOT))
    conn = await asyncpg.connect(url, statement_cache_size=0)
    await watched(conn)
    os.kill(child.pid, signal.SIGKILL)
    assert await asyncio.wait_for(watching, 20) is Proof.SESSION
    await child.wait()
    await conn.close()
    await store.close()


async def test_every_connection_has_the_houses_settings(pooled: Pooled) -> None:
    address = Address(pooled("session", IGNORING), "jobs")
    for _ in range(2):
        conn = await address.connect(lock_timeout="2s")
        wanted = SETTINGS | {"search_path": "jobs", "lock_timeout": "2s"}
        told = {name: await conn.fetchval("select current_setting($1)", name) for name in wanted}
        assert told == wanted | {"idle_in_transaction_session_timeout": "1min", "timezone": "UTC"}
        await conn.close()


@pytest.mark.parametrize("more", ["", IGNORING], ids=["as it comes", "dropping settings"])
async def test_a_pooler_that_shares_its_sessions_is_refused(pooled: Pooled, more: str) -> None:
    store = PostgresStore(pooled("transaction", more))
    with pytest.raises(StoreRefused, match="a pool in session mode"):
        await store.open()
    await store.close()


async def test_sessions_that_are_shared_are_noticed_by_who_answers(
    pooled: Pooled, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A newer pooler keeps statements apart in transaction mode; its sessions are shared still."""
    connect = asyncpg.connect

    async def without_statements(*args: object, **how: object) -> asyncpg.Connection:
        return await connect(*args, **{**how, "statement_cache_size": 0})

    monkeypatch.setattr(asyncpg, "connect", without_statements)
    with pytest.raises(StoreRefused, match="a pool in session mode"):
        await Address(pooled("transaction", ""), "duly").connect()
