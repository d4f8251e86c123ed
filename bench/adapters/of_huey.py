"""Huey on a SQLite file with `fsync=True`, so that what it acknowledged survives the machine.

Its default does not flush. BENCH_SLOTS sets the consumer's worker threads. Results are not kept,
so a job leaves nothing behind. The address is the file's.
"""

from __future__ import annotations

import os
import sys
from datetime import datetime

import system
from huey import SqliteHuey
from journal import mark

huey = SqliteHuey("bench", filename=system.URL, results=False, fsync=True)


@huey.task(name="noop")
def noop(key: int) -> None:
    """Leave a trace."""
    mark("S", key)


hold = huey.task(name="hold")(system.hold_thread)
JOBS = {"noop": noop, "hold": hold}


class Adapter:
    """`System` for Huey."""

    async def install(self) -> None:
        huey.flush()

    async def open(self, callers: int) -> None:
        """The file is opened by the first call."""

    async def close(self) -> None:
        huey.storage.close()

    async def put(self, job: str, key: int) -> None:
        JOBS[job](key)

    async def put_many(self, job: str, keys: range) -> None:
        for key in keys:
            JOBS[job](key)

    async def put_due(self, keys: range, at: float) -> None:
        for key in keys:
            noop.schedule((key,), eta=datetime.fromtimestamp(at))  # noqa: DTZ006 - as it wants it

    def work(self) -> None:
        """Become its consumer, as its command line would."""
        here = os.path.dirname(os.path.abspath(__file__))
        command = [sys.executable, "-m", "huey.bin.huey_consumer", "of_huey.huey", "-q"]
        command += ["-w", str(system.SLOTS or 1), "-k", "thread"]
        os.execve(sys.executable, command, {**os.environ, "PYTHONPATH": here})
