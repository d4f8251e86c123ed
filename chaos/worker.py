"""One worker process of a trial: `python -m chaos.worker`, told by `CHAOS_SPEC` what to be.

It is an instance like a user's own: an application that works until SIGTERM, and the exit code
of that. What the engine tells on its bus goes to the journal. It never outlives its harness.
`CHAOS_STORE` is another way to the same store, `CHAOS_BOOT` a boot id that somebody else has too,
and `CHAOS_POINTS` lays failpoints, and hastens chores. With `CHAOS_ALONE` it is no instance: a
program that only makes calls of its own, behind the fleet's breaker.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import os
import resource
import signal
import sys
from pathlib import Path
from uuid import UUID

import msgspec

from chaos.calling import ALONE, CALLER
from chaos.declared import Spec, build
from chaos.failpoints import Points, lay
from chaos.journal import Pen
from duly import Duly, events
from duly.cli.working import end_process
from duly.engine import SystemClock, reporting
from duly.events import Event

TOLD = (
    events.InstanceStarted,
    events.InstanceStopped,
    events.InstanceDeclaredDead,
    events.InstanceLostLease,
    events.InstanceReturned,
    events.LoopFailed,
    events.LoopGaveUp,
    events.LoopLingered,
    events.LoopMissedDeadline,
    events.RunLost,
    events.RunStale,
    events.RunParked,
    events.StoreAway,
    events.StoreBack,
    events.IncidentOpened,
)
PR_SET_PDEATHSIG = 1
SLOW_S, HASTE = 50.0, 150.0
"""With failpoints, pauses of about a minute last less than half a second."""


def main(*, child_of: int | None = None) -> int:
    """Work until told to stop; return the exit code. `child_of` is the pid it was forked by."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if child_of not in (None, os.getppid()):
        return 1  # who would have taken it along is gone already
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    spec = msgspec.json.decode(Path(os.environ["CHAOS_SPEC"]).read_bytes(), type=Spec)
    pen = Pen(Path(spec.journal), os.environ["CHAOS_WORKER"])
    spec = msgspec.structs.replace(spec, store=os.environ.get("CHAOS_STORE", spec.store))
    app = build(spec, pen)
    if copied := os.environ.get("CHAOS_BOOT"):
        _ = app.gate  # it draws an id of its own, before the instance draws its boot
        app.clock = Copied(UUID(copied))
    if os.environ.get("CHAOS_POINTS"):
        app.use(lay(Points(Path(spec.journal).parent, pen), app.store))
        app.clock, reporting.EVERY_S = Hasty(), reporting.EVERY_S / HASTE
    app.bus.subscribe(lambda event: tell(pen, event), TOLD)

    async def work() -> None:
        life = call_alone(app, pen) if os.environ.get("CHAOS_ALONE") else app.work()
        task = asyncio.ensure_future(life)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        code = await task
        pen.write("exit", detail=str(code))
        end_process(code)  # as `duly worker` does: what clings to life keeps no process

    asyncio.run(work())
    return 1


async def call_alone(app: Duly, pen: Pen) -> int:
    """Make calls of its own until cancelled."""
    caller = app.supervised[CALLER]
    with contextlib.suppress(asyncio.CancelledError):
        async with app:
            pen.write(ALONE)
            while True:
                await caller.fn()
                await asyncio.sleep(caller.every.total_seconds())
    return 0


class Copied(SystemClock):
    """The clock of a process whose memory was copied: the first id it gives is not its own.

    An instance made with it has that id for its boot, if nobody asked before; the trial looks.
    """

    def __init__(self, first: UUID) -> None:
        super().__init__()
        self._first: UUID | None = first

    def new_id(self) -> UUID:
        first, self._first = self._first, None
        return first or super().new_id()


class Hasty(SystemClock):
    """The clock of a process that will not live for a minute, and is to come to its chores."""

    async def pause(self, seconds: float) -> None:
        await super().pause(seconds if seconds < SLOW_S else seconds / HASTE)


def tell(pen: Pen, event: Event) -> None:
    """Write an event down."""
    run = getattr(event, "run", None)
    pen.write(event.name, run=run, attempt=getattr(event, "epoch", 0), detail=str(event))


if __name__ == "__main__":
    sys.exit(main())
