"""Procrastinate: two tasks on its psycopg connector, a pool of connections.

BENCH_SLOTS sets `concurrency`, which is 1 by default. Jobs of one call to `put_due` are deferred
in one batch: its schedule belongs to the batch.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import procrastinate
import system

app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=system.URL))
JOBS = {
    "noop": app.task(name="noop")(system.noop),
    "hold": app.task(name="hold")(system.hold),
}


class Adapter:
    """`System` for Procrastinate."""

    async def install(self) -> None:
        async with app.open_async():
            await app.schema_manager.apply_schema_async()

    async def open(self, callers: int) -> None:
        await app.open_async()

    async def close(self) -> None:
        await app.close_async()

    async def put(self, job: str, key: int) -> None:
        await JOBS[job].defer_async(key=key)

    async def put_many(self, job: str, keys: range) -> None:
        await JOBS[job].batch_defer_async(*({"key": key} for key in keys))

    async def put_due(self, keys: range, at: float) -> None:
        due = JOBS["noop"].configure(schedule_at=datetime.fromtimestamp(at, UTC))
        await due.batch_defer_async(*({"key": key} for key in keys))

    def work(self) -> None:
        asyncio.run(self._work())

    async def _work(self) -> None:
        async with app.open_async():
            await app.run_worker_async(concurrency=system.SLOTS or 1)
