"""Celery on Redis: two tasks without results, a prefork worker with one process per core.

Acknowledgement, prefetching and polling are its defaults. It has no call for many jobs: many are
as many calls.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime

import system
from celery import Celery
from journal import mark

app = Celery("bench", broker=system.URL)
app.conf.task_ignore_result = True
app.conf.broker_connection_retry_on_startup = True


@app.task(name="noop")
def noop(key: int) -> None:
    """Leave a trace."""
    mark("S", key)


hold = app.task(name="hold")(system.hold_thread)
JOBS = {"noop": noop, "hold": hold}


class Adapter:
    """`System` for Celery."""

    async def install(self) -> None:
        """There is nothing to make."""

    async def open(self, callers: int) -> None:
        """Connections are made by the first call."""

    async def close(self) -> None:
        app.close()

    async def put(self, job: str, key: int) -> None:
        JOBS[job].apply_async((key,))

    async def put_many(self, job: str, keys: range) -> None:
        for key in keys:
            JOBS[job].apply_async((key,))

    async def put_due(self, keys: range, at: float) -> None:
        due = datetime.fromtimestamp(at, UTC)
        for key in keys:
            noop.apply_async((key,), eta=due)

    def work(self) -> None:
        app.worker_main(["worker", "--loglevel", "WARNING", "--hostname", f"w{os.getpid()}@bench"])
