"""What every worker of a trial declares: a handful of tasks, and the schedules of its spec.

The same application is built in the workers, which run it, and in the harness, which only asks
for runs and reads the store. Each task writes a line when its code begins and one when it ends.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from chaos import durable, looping
from chaos.calling import Calls
from chaos.journal import Pen
from duly import Context, Duly

OWNER = "chaos"


class Every(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule of a trial: the task `work` every so many seconds until `end`."""

    name: str
    every_s: int
    end: datetime
    catch_up: str = "all"
    overlap: str = "allow"
    ms: int = 0


class Spec(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker is started with: a JSON file whose path is in `CHAOS_SPEC`."""

    store: str
    journal: str
    settings: dict[str, str] = {}
    schedules: tuple[Every, ...] = ()
    calls: Calls | None = None


def build(spec: Spec, pen: Pen | None) -> Duly:
    """Build the application; without a pen it may ask for runs, and never runs one."""
    app = Duly(spec.store, name=OWNER, settings=spec.settings)
    write: Callable[..., None] = pen.write if pen is not None else _nobody

    def mark(kind: str, ctx: Context) -> None:
        write(kind, run=ctx.run_id, attempt=ctx.attempt, detail=ctx.schedule or "")

    @app.task
    async def work(ctx: Context, ms: int = 0, first_ms: int = 0) -> None:
        """Take `ms` milliseconds, the first attempt `first_ms` if that is given."""
        mark("start", ctx)
        await asyncio.sleep((first_ms if first_ms and ctx.attempt == 1 else ms) / 1000)
        mark("end", ctx)

    @app.task
    async def block(ctx: Context, ms: int) -> None:
        """Hold the event loop, as nobody should."""
        mark("start", ctx)
        time.sleep(ms / 1000)  # noqa: ASYNC251 - the very mistake that is on trial
        mark("end", ctx)

    @app.task
    def thread(ctx: Context, ms: int = 0, first_ms: int = 0) -> None:
        """Take some time on a thread."""
        mark("start", ctx)
        time.sleep((first_ms if first_ms and ctx.attempt == 1 else ms) / 1000)
        mark("end", ctx)

    @app.task
    async def crash(ctx: Context) -> None:
        """End the process, each time."""
        mark("start", ctx)
        os.abort()

    durable.declare(app, write, Path(spec.journal).parent)
    looping.declare(app, Path(spec.journal).parent)
    if spec.calls is not None:
        spec.calls.carry(app, write, Path(spec.journal).parent)
    for one in spec.schedules:
        options: dict[str, Any] = {"catch_up": one.catch_up, "overlap": one.overlap}
        app.schedule(one.name, work, args={"ms": one.ms}, every=one.every_s, end=one.end, **options)
    return app


def _nobody(kind: str, **facts: Any) -> None:
    raise AssertionError("the harness was asked to run a task")
