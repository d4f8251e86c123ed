"""The API put together: rooms, problems, the document, and the gate before all of it.

What `make_api` returns is an ASGI application without a lifespan of its own: whoever composes it
opens and closes the store. Its routes share nothing but the ground they were given.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from starlette.types import ASGIApp

from duly.server.api import (
    breakers,
    calls,
    effects,
    fleet,
    following,
    health,
    keys,
    problems,
    runs,
    schedules,
    stream,
    targets,
    tasks,
    timers,
    why,
)
from duly.server.api.allowance import Allowance
from duly.server.api.gate import Gate
from duly.server.api.ports import Ground

PREFIX = "/api/v1"

ROOMS = (
    tasks.room,
    runs.room,
    schedules.room,
    timers.room,
    effects.room,
    breakers.room,
    fleet.incidents,
    fleet.instances,
    fleet.queues,
    why.room,
    *why.BESIDES,
    stream.room,
    keys.room,
    keys.audit,
)


def make_api(ground: Ground) -> ASGIApp:
    """Return the API behind its gate."""
    app = make_routes(ground)
    return Gate(app, ground=ground)


def make_routes(ground: Ground) -> FastAPI:
    """Return the routes alone; nothing of them may be reached but through the gate."""
    app = FastAPI(
        title="Duly", version=ground.version, openapi_url=None, docs_url=None, redoc_url=None,
        redirect_slashes=False,
    )  # fmt: skip
    app.state.ground = ground
    app.state.allowance = Allowance(at_once=60, per_minute=60)
    app.state.ring = stream.Ring(ground.clock.new_id())
    app.state.ring.attach(ground.bus)
    app.state.watch = following.Watch(ground)
    problems.install(app)
    for room in ROOMS:
        app.include_router(room.router, prefix=PREFIX)
    app.include_router(calls.router, prefix=PREFIX)
    app.include_router(health.metrics.router)
    app.include_router(health.open_routes)
    describe = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _finished(describe())
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
    return app


def _finished(document: dict[str, Any]) -> dict[str, Any]:
    """Add what FastAPI cannot know: who may call, and that every refusal is a problem."""
    parts = document.setdefault("components", {})
    shapes = parts.setdefault("schemas", {})
    shapes["Problem"] = problems.Problem.model_json_schema(
        ref_template="#/components/schemas/{model}"
    )
    shapes["Trouble"] = shapes["Problem"].pop("$defs")["Trouble"]
    for unused in ("HTTPValidationError", "ValidationError"):
        shapes.pop(unused, None)
    parts["securitySchemes"] = {
        "key": {"type": "http", "scheme": "bearer"},
        "call": {"type": "apiKey", "in": "header", "name": targets.HEADER},
    }
    document["security"] = [{"key": []}]
    return document
