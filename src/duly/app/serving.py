"""Serving: an application's API as an ASGI application, alone or mounted in another one.

Served alone it opens the store when the server starts, and closes it when the server stops. A
mounted application hears of neither: then the store is opened by the first request that comes,
or by `async with app` in the lifespan of whoever mounts it, which also closes it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from duly.app.declaring import make_definition
from duly.app.explaining import Explaining
from duly.client import Client
from duly.core.effects import Address
from duly.core.schedules import Definition
from duly.core.why import Explanation
from duly.engine import draw_secret
from duly.errors import ConfigError, DulyError, UnknownName, one_line
from duly.stores.narrowed import narrowed

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from duly.app.duly import Duly
    from duly.server.api import Ground
    from duly.server.api.ports import Rendered, Wanted

_log = logging.getLogger("duly.server")


def make_ground(app: Duly) -> Ground:
    """Return what the API of an application stands on."""
    from duly import __version__
    from duly.server.api import Ground

    async def explain(thing: str) -> Explanation:
        return await Explaining(app.store, app.tasks).explain(thing)

    async def explain_effect(address: Address) -> Explanation:
        return await Explaining(app.store, app.tasks).effect(address)

    def narrow(tenant: str) -> Ground:
        def explaining() -> Explaining:
            return Explaining(narrowed(app.store, tenant, told=True), app.tasks)

        def client() -> Client:
            made = Client(narrowed(app.store, tenant), app.tasks, app.clock, app.bus)
            made.tenant = tenant
            return made

        return replace(
            ground,
            client=client,
            explain=lambda thing: explaining().explain(thing),
            explain_effect=lambda address: explaining().effect(address),
        )

    def define(wanted: Wanted) -> Definition:
        if wanted.task not in app.tasks:
            raise UnknownName.of("task", wanted.task, app.tasks)
        task = app.tasks[wanted.task]
        args = task.encode((), wanted.args)
        return make_definition(wanted.name, task, args, wanted.options)

    ground = Ground(
        client=lambda: app.client,
        books=lambda: app.store,
        explain=explain,
        explain_effect=explain_effect,
        define=define,
        clock=app.clock,
        bus=app.bus,
        tasks=app.tasks,
        draw_secret=draw_secret,
        version=__version__,
        narrow=narrow,
        rules=app.settings.calls.rules,
        token=app.settings.server.token,
        metrics=_metrics(app),
    )
    return ground


def _metrics(app: Duly) -> Callable[[], Rendered] | None:
    """Return what renders metrics, or None when the extra `metrics` is not installed."""
    from duly.server.metrics import Metrics

    try:
        metrics = Metrics()
    except ConfigError:
        return None
    metrics.attach(app.bus)
    return lambda: (metrics.content_type, metrics.render())


def make_asgi(app: Duly) -> ASGIApp:
    """Return the API; raises `ConfigError` when the extra `server` is not installed."""
    try:
        from duly.server.api import make_api
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"the API needs the package {error.name}: pip install 'duly[server]'"
        ) from None
    return Served(app, make_api(make_ground(app)))


class Served:
    """The API with the store's opening and closing around it."""

    def __init__(self, app: Duly, api: ASGIApp) -> None:
        self._app, self._api = app, api
        self._opened = False
        self._opening = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self._live(receive, send)
        if scope["type"] == "http" and not (_only_alive(scope) or await self._open()):
            return await _away(scope, receive, send)
        await self._api(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        """Open when the server starts, close when it stops; a store that is away may come."""
        await receive()
        await self._open()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        if self._opened:
            self._opened = False
            await self._app.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def _open(self) -> bool:
        """Open the store, once; where it cannot be used, the next request tries again."""
        if self._opened:
            return True
        async with self._opening:
            if not self._opened:
                try:
                    await self._app.open()
                except DulyError as error:
                    _log.warning("the store cannot be used: %s", one_line(error))
                    return False
                self._opened = True
        return True


def _only_alive(scope: Scope) -> bool:
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", "")) == "/livez"


async def _away(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer while there is no store: nobody can be known, so nothing else is told."""
    from duly.server.api.problems import Problems, answer

    said = "the store cannot be used now; the server's log says why"
    problem = Problems(503, "store-away", said, headers={"Retry-After": "2"})
    await answer(problem)(scope, receive, send)
