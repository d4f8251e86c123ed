"""Working: an application becomes an instance of the fleet, for as long as it is wanted.

The store may be away when a process starts: it waits, and tries again. What cannot mend
itself (a wrong password, a schema too new) is raised at once, with the sentence that helps.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from duly import events
from duly.app.wiring import make_ports
from duly.engine import Engine, Plan
from duly.errors import EnvironmentFailure
from duly.stores.base import Retention, Standing

if TYPE_CHECKING:
    from duly.app.duly import Duly


def make_plan(app: Duly, queues: tuple[str, ...] | None, resources: object) -> Plan:
    """Return what an instance of this application does."""
    chosen = app.settings.engine
    return Plan(
        owner=app.name,
        version=app.version,
        tasks=app.tasks,
        definitions=tuple(app.definitions.values()),
        zones=app.zones,
        queues=queues or chosen.queues,
        slots=chosen.slots,
        threads=chosen.threads,
        lease=chosen.lease,
        renewal=chosen.renewal,
        margin=chosen.margin,
        presence=chosen.presence,
        stop_grace=chosen.stop_grace,
        loop_failures=chosen.loop_failures,
        resources=resources,
        keep=Retention(chosen.history, chosen.history_last, chosen.key_retention),
    )


async def work(app: Duly, *, queues: tuple[str, ...] | None = None) -> int:
    """Be an instance until cancelled (stop gracefully, return 0) or the engine gives up (70)."""
    async with AsyncExitStack() as stack:
        await _open_patiently(app)
        stack.push_async_callback(app.close)
        resources = None
        if app.lifespan is not None:
            resources = await stack.enter_async_context(app.lifespan())
        engine = Engine(
            app.store, make_plan(app, queues, resources), ports=make_ports(app.clock), bus=app.bus
        )
        return await _run(engine)


async def _open_patiently(app: Duly) -> Standing:
    pause_s, told = 0.2, False
    while True:
        try:
            standing = await app.open()
        except EnvironmentFailure as error:
            if error.permanent:
                raise
            if not told:
                app.bus.emit(events.StoreAway(reason=str(error)))
                told = True
            await app.clock.pause(pause_s)
            pause_s = min(5.0, pause_s * 2)
        else:
            if not standing.trusted:
                app.bus.emit(
                    events.StoreUntrusted(generation=standing.generation, reason=standing.why)
                )
            return standing


async def _run(engine: Engine) -> int:
    starting = asyncio.ensure_future(engine.start())
    try:
        await starting
        return await engine.ended()
    except asyncio.CancelledError:
        return 0
    finally:
        if starting.done() and not starting.cancelled() and starting.exception() is None:
            await asyncio.shield(asyncio.ensure_future(engine.stop()))
