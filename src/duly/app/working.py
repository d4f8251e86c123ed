"""Working: an application becomes an instance of the fleet, for as long as it is wanted.

The store may be away when a process starts: it waits, and tries again. What cannot mend
itself (a wrong password, a schema too new) is raised at once, with the sentence that helps.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import CancelledError
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING
from uuid import UUID

from duly import events
from duly.app.binding import checks, make_relays
from duly.app.notifying import make_notifiers
from duly.app.supervising import attach, part
from duly.app.wiring import make_ports
from duly.core.fleet import Health, Incident
from duly.core.logs import Keeping
from duly.core.telling import ChannelStanding
from duly.engine import Engine, Plan
from duly.errors import ConfigError, EnvironmentFailure, Refused
from duly.stores.base import Retention, Standing

if TYPE_CHECKING:
    from duly.app.duly import Duly

STANDING_S = 3.0
"""How long a probe waits to hear how the channels stand."""


def make_plan(app: Duly, queues: tuple[str, ...] | None, resources: object) -> Plan:
    """Return what an instance of this application does."""
    chosen = app.settings.engine
    return Plan(
        owner=app.name,
        version=app.version,
        cluster=chosen.cluster,
        tasks=app.tasks,
        definitions=tuple(app.definitions.values()),
        zones=app.zones,
        queues=queues or chosen.queues,
        slots=chosen.slots,
        threads=chosen.threads,
        lease=chosen.lease,
        renewal=chosen.renewal,
        margin=chosen.margin,
        grace=chosen.takeover_grace,
        presence=chosen.presence,
        stop_grace=chosen.stop_grace,
        loop_failures=chosen.loop_failures,
        logs=Keeping(chosen.logs),
        resources=resources,
        gate=app.gate,
        topics=checks(app),
        keep=Retention(chosen.history, chosen.history_last, chosen.key_retention),
    )


async def work(app: Duly, *, queues: tuple[str, ...] | None = None) -> int:
    """Be an instance until cancelled (stop gracefully, return 0) or the engine gives up (70)."""
    async with AsyncExitStack() as stack:
        await open_patiently(app)
        stack.push_async_callback(app.close)
        resources = None
        if app.lifespan is not None:
            resources = await stack.enter_async_context(app.lifespan())
        engine = Engine(
            app.store, make_plan(app, queues, resources), ports=make_ports(app.clock), bus=app.bus
        )
        stack.callback(serve_probes(app, engine))

        def boot() -> UUID:
            return engine.boot

        for relay in make_relays(app, boot):
            engine.beside.append(relay)
            stack.push_async_callback(relay.stop)
        for notifier in make_notifiers(app, boot):
            engine.beside.append(notifier)
            stack.push_async_callback(notifier.stop)
        tripping, app.health = attach(app, engine), lambda: health(engine)
        code = await _run(engine)
        await part(app, tripping, code)
        return code


def serve_probes(app: Duly, engine: Engine) -> Callable[[], None]:
    """Serve probes if the settings ask for them; return what ends that."""
    port, host = app.settings.engine.probes, app.settings.engine.probes_host
    if not port:
        return lambda: None
    from duly.server.probes import Probes

    metrics = _metrics(app, engine)
    probes = Probes(
        lambda: health(engine), metrics, channels=channels_of(app), host=host, port=port
    )
    probes.start()
    return probes.stop


def channels_of(app: Duly) -> Callable[[], list[ChannelStanding]]:
    """Return what asks, from a thread, how the channels stand.

    It raises what the store does, and `TimeoutError` where the event loop does not come to it.
    """
    loop = asyncio.get_running_loop()

    def ask() -> list[ChannelStanding]:
        asked = asyncio.run_coroutine_threadsafe(app.client.channels(), loop)
        try:
            return asked.result(STANDING_S)
        except (TimeoutError, CancelledError):
            asked.cancel()
            raise TimeoutError(f"no answer within {STANDING_S:g} s") from None

    return ask


def health(engine: Engine) -> Health:
    """Say how an instance fares, for people and for whoever restarts processes."""
    supervisor = engine.supervisor
    if supervisor.gave_up.is_set():
        return Health(live=False, ready=False, why="a loop failed too often and gave up")
    if not engine.ready:
        why = "stopping" if engine.stopping else "starting"
        return Health(live=True, ready=False, why=why)
    if supervisor.stalled:
        names = ", ".join(sorted(supervisor.stalled))
        return Health(live=True, ready=False, why=f"no store, or failing: {names}")
    return Health(live=supervisor.sound, ready=supervisor.sound)


def _metrics(app: Duly, engine: Engine) -> Callable[[], tuple[str, bytes]] | None:
    """Return what renders metrics, or None when the extra `metrics` is not installed."""
    from duly.server.metrics import Metrics, Vitals

    def vitals() -> Vitals:
        left = engine.lease.remaining_s if engine.hands.busy else None
        up = not engine.supervisor.stalled
        return Vitals(len(engine.hands), app.settings.engine.slots, up, left)

    try:
        metrics = Metrics(vitals=vitals)
    except ConfigError:
        return None
    metrics.attach(app.bus)
    return lambda: (metrics.content_type, metrics.render())


async def open_patiently(app: Duly) -> Standing:
    """Open the store, waiting for one that is away; say so where it is not trusted.

    Raises what cannot mend itself, such as a wrong password.
    """
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
                await _report_untrusted(app, standing)
            return standing


async def _report_untrusted(app: Duly, standing: Standing) -> None:
    """Say that this store has forgotten things; nothing works on it until a person accepts it."""
    app.bus.emit(events.StoreUntrusted(generation=standing.generation, reason=standing.why))
    with suppress(EnvironmentFailure, Refused):
        await app.store.open_incident(
            Incident(
                kind="store.untrusted",
                subject=f"generation {standing.generation}",
                severity="critical",
                summary=standing.why,
                owner=app.name,
                evidence={"what helps": "duly db accept"},
            )
        )


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
