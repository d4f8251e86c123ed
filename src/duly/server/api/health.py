"""Health, metrics, and the document that describes the API.

`/livez` says that this process answers, `/readyz` that the store does; both are open, in plain
text, and tell nothing else. `/readyz?verbose`, metrics and the document need a key that may look.
"""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse

from duly.core.access import Right
from duly.errors import DulyError
from duly.server.api.desk import AtDesk, Room, authorise
from duly.server.api.problems import Problems
from duly.server.standing import channel_line

LONGEST_S = 3.0

open_routes = APIRouter(tags=["health"])
metrics = Room("metrics", prefix="")

_WELL: dict[int | str, dict[str, Any]] = {
    503: {"description": "Not now", "content": {"text/plain": {"schema": {"type": "string"}}}}
}


@open_routes.get(
    "/livez",
    summary="Whether this process answers",
    openapi_extra={"security": []},
    response_class=PlainTextResponse,
)
async def livez() -> PlainTextResponse:
    """It answers, so it does."""
    return PlainTextResponse("ok\n")


@open_routes.get(
    "/readyz",
    summary="Whether the store answers",
    responses=_WELL,
    openapi_extra={"security": []},
    response_class=PlainTextResponse,
)
async def readyz(request: Request) -> PlainTextResponse:
    """Asks the store for its time, and waits three seconds at most.

    With a key that may look, `?verbose` also says how each channel stands by which people are told.
    """
    known = getattr(request.state, "caller", None) is not None  # the gate asked for a key
    verbose = known and "verbose" in request.query_params
    if verbose:
        authorise(request, Right.READ, room="incidents", name=None, own=False)
    try:
        async with asyncio.timeout(LONGEST_S):
            ground = request.app.state.ground
            await ground.books().clock()
            channels = await ground.client().channels() if verbose else []
    except (DulyError, TimeoutError):  # why, is told to nobody who is not known
        return PlainTextResponse("the store does not answer\n", 503)
    return PlainTextResponse("".join(["ok\n", *map(channel_line, channels)]))


@metrics.get(
    "/metrics", Right.READ, summary="Metrics", problems=(404,), response_class=PlainTextResponse
)
async def read_metrics(desk: AtDesk) -> Response:
    """What this process counted, as Prometheus reads it."""
    if desk.ground.metrics is None:
        raise Problems(404, "unknown", "metrics need the extra: pip install 'duly[metrics]'")
    kind, body = desk.ground.metrics()
    return Response(body, media_type=kind)


@metrics.get("/openapi.json", Right.READ, summary="This document", own=True)
async def read_document(desk: AtDesk, request: Request) -> dict[str, Any]:
    """The API, described for programs."""
    document: dict[str, Any] = request.app.openapi()
    return document
