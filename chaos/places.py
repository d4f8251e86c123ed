"""Where a trial's store lives: a SQLite file in a folder, or a database of a real PostgreSQL.

A place knows its address and how it is made to fail. Both are thrown away afterwards; nothing
listens on a network address.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.servers import Server

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


@asynccontextmanager
async def small_disk(folder: Path, *, mebibytes: int) -> AsyncIterator[Path | None]:
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
        yield folder if mounted else None
    finally:
        if mounted:
            off = await asyncio.create_subprocess_exec("umount", "--lazy", str(folder))
            await off.wait()
