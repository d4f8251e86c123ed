"""DBOS: workflows on one queue of its system database, enqueued by its client.

The queue has no limit and its default polling, one second. Functions are coroutines, and so are
the steps. Many jobs in one call are as many enqueues in one transaction of the caller's own.
"""

from __future__ import annotations

import asyncio
import threading
import time

import sqlalchemy
import system
from dbos import DBOS, DBOSClient
from journal import mark

URL = system.URL.replace("postgresql://", "postgresql+psycopg://")
QUEUE = "bench"

noop = DBOS.workflow(name="noop")(system.noop)
hold = DBOS.workflow(name="hold")(system.hold)


@DBOS.step()
async def nothing() -> int:
    """Be over at once."""
    return 1


@DBOS.workflow(name="steps")
async def steps(key: int) -> None:
    """Take BENCH_STEPS durable steps, one after the other."""
    mark("S", key)
    for _ in range(system.STEPS):
        await nothing()
    mark("E", key)


def launch() -> None:
    """Be an application of one version, whatever the process."""
    DBOS(
        config={
            "name": "bench",
            "system_database_url": URL,
            "log_level": "WARNING",
            "application_version": "1",
        }
    )
    DBOS.launch()
    DBOS.register_queue(QUEUE)


class Adapter:
    """`System` for DBOS."""

    async def install(self) -> None:
        await asyncio.to_thread(launch)
        await asyncio.to_thread(DBOS.destroy)

    async def open(self, callers: int) -> None:
        self._engine = sqlalchemy.create_engine(URL, pool_size=8)
        self._client = DBOSClient(system_database_engine=self._engine)

    async def close(self) -> None:
        self._client.destroy()
        self._engine.dispose()

    async def put(self, job: str, key: int) -> None:
        await self._client.enqueue_async({"queue_name": QUEUE, "workflow_name": job}, key)

    async def put_many(self, job: str, keys: range) -> None:
        with self._engine.begin() as conn:
            for key in keys:
                self._client.enqueue_in_transaction(
                    conn, {"queue_name": QUEUE, "workflow_name": job}, key
                )

    async def put_due(self, keys: range, at: float) -> None:
        later = max(0.0, at - time.time())
        options = {"queue_name": QUEUE, "workflow_name": "noop", "delay_seconds": later}
        with self._engine.begin() as conn:
            for key in keys:
                self._client.enqueue_in_transaction(conn, options, key)

    def work(self) -> None:
        launch()
        threading.Event().wait()
