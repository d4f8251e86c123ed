"""PgQueuer: two entry points on one asyncpg connection, on uvloop as its own command line does.

BENCH_SLOTS sets `batch_size`; 0 leaves the default of the product. Many callers at once enqueue
through a pool of asyncpg's default size.
"""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta

import asyncpg
import system
import uvloop
from pgqueuer import PgQueuer
from pgqueuer.models import Job
from pgqueuer.queries import Queries


class Adapter:
    """`System` for PgQueuer."""

    async def install(self) -> None:
        await self.open(1)
        await self._queries.install()
        await self.close()

    async def open(self, callers: int) -> None:
        if callers > 1:
            pool = await asyncpg.create_pool(system.URL)
            self._queries, self.close = Queries.from_asyncpg_pool(pool), pool.close
        else:
            conn = await asyncpg.connect(system.URL)
            self._queries, self.close = Queries.from_asyncpg_connection(conn), conn.close

    async def put(self, job: str, key: int) -> None:
        await self._queries.enqueue(job, b"%d" % key)

    async def put_many(self, job: str, keys: range) -> None:
        payloads = [b"%d" % key for key in keys]
        await self._queries.enqueue([job] * len(keys), payloads, [0] * len(keys))

    async def put_due(self, keys: range, at: float) -> None:
        payloads, later = [b"%d" % key for key in keys], timedelta(seconds=at - time.time())
        many = len(keys)
        await self._queries.enqueue(["noop"] * many, payloads, [0] * many, [later] * many)

    def work(self) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._work())

    async def _work(self) -> None:
        app = PgQueuer.from_asyncpg_connection(await asyncpg.connect(system.URL))

        @app.entrypoint("noop")
        async def noop(job: Job) -> None:
            await system.noop(int(job.payload or b"0"))

        @app.entrypoint("hold")
        async def hold(job: Job) -> None:
            await system.hold(int(job.payload or b"0"))

        await (app.run(batch_size=system.SLOTS) if system.SLOTS else app.run())
