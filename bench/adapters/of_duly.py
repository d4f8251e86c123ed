"""Duly: an application with two tasks, enqueued and worked through its public face.

BENCH_SLOTS sets `slots`; 0 leaves the default. BENCH_EVERY adds a schedule of that interval, and
BENCH_INSTANCES makes so many instances in this process, each with a store of its own. A worker is
`duly worker`, the command that the documentation recommends, with its default settings.
"""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime

import system
from journal import mark

from duly import Context, Duly
from duly.app import DeclaredTask
from duly.cli import main

FURTHER = int(os.environ.get("BENCH_INSTANCES", "1")) - 1


def make_app() -> tuple[Duly, dict[str, DeclaredTask]]:
    """Return an application like a user's file would declare it, and its tasks."""
    settings = {"slots": system.SLOTS} if system.SLOTS else {}
    app = Duly(system.URL, name="bench", settings=settings)
    jobs = {"noop": app.task(system.noop), "hold": app.task(system.hold), "steps": app.task(steps)}
    if every := os.environ.get("BENCH_EVERY"):
        app.schedule("beat", jobs["noop"], args={"key": 0}, every=every)
    return app, jobs


async def steps(ctx: Context, key: int) -> None:
    """Take BENCH_STEPS durable steps, one after the other."""
    mark("S", key)
    for number in range(system.STEPS):
        await ctx.step(f"step {number}", nothing)
    mark("E", key)


async def nothing() -> int:
    """Be over at once."""
    return 1


app, _jobs = make_app()  # what `duly worker` is pointed at


class Adapter:
    """`System` for Duly."""

    def __init__(self) -> None:
        self._app, self._jobs = app, _jobs

    async def install(self) -> None:
        await self._app.store.migrate()

    async def open(self, callers: int) -> None:
        await self._app.open()

    async def close(self) -> None:
        await self._app.close()

    async def put(self, job: str, key: int) -> None:
        await self._jobs[job].enqueue(key=key)

    async def put_many(self, job: str, keys: range) -> None:
        await self._jobs[job].enqueue_many([{"key": key} for key in keys])

    async def put_due(self, keys: range, at: float) -> None:
        due = self._jobs["noop"].options(run_at=datetime.fromtimestamp(at, UTC))
        await due.enqueue_many([{"key": key} for key in keys])

    def work(self) -> None:
        if FURTHER:
            asyncio.run(self._work())
        else:
            main(["worker", "--app", "of_duly:app"])

    async def _work(self) -> None:
        apps = [self._app, *(make_app()[0] for _ in range(FURTHER))]
        await asyncio.gather(*(app.work() for app in apps))
