"""APScheduler 3: a background scheduler with a SQLAlchemy store; a job is a date trigger.

BENCH_SLOTS sets the threads of its pool, 10 by default. A job that is late is run however late it
is (`misfire_grace_time=None`): its default, one second, would drop jobs of a backlog. The side that
enqueues is a scheduler that is paused.
"""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime

import system
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.jobstores.sqlalchemy import SQLAlchemyJobStore
from apscheduler.schedulers.background import BackgroundScheduler
from journal import mark


def noop(key: int) -> None:
    """Leave a trace."""
    mark("S", key)


FUNCTIONS = {"noop": "of_aps3:noop", "hold": "system:hold_thread"}


def make_scheduler() -> BackgroundScheduler:
    """Return a scheduler on the store."""
    url = system.URL.replace("postgresql://", "postgresql+psycopg://")
    return BackgroundScheduler(
        timezone=UTC,
        executors={"default": ThreadPoolExecutor(system.SLOTS or 10)},
        jobstores={"default": SQLAlchemyJobStore(url=url)},
        job_defaults={"misfire_grace_time": None},
    )


class Adapter:
    """`System` for APScheduler 3."""

    async def install(self) -> None:
        await self.open(1)
        await self.close()

    async def open(self, callers: int) -> None:
        self._scheduler = make_scheduler()
        self._scheduler.start(paused=True)

    async def close(self) -> None:
        self._scheduler.shutdown(wait=False)

    async def put(self, job: str, key: int) -> None:
        self._add(job, key, time.time())

    async def put_many(self, job: str, keys: range) -> None:
        for key in keys:
            self._add(job, key, time.time())

    async def put_due(self, keys: range, at: float) -> None:
        for key in keys:
            self._add("noop", key, at)

    def _add(self, job: str, key: int, at: float) -> None:
        due = datetime.fromtimestamp(at, UTC)
        self._scheduler.add_job(FUNCTIONS[job], "date", run_date=due, args=[key])

    def work(self) -> None:
        make_scheduler().start()
        threading.Event().wait()
