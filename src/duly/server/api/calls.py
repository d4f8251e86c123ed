"""What a target says of a call that it has started: that it is at work, and that it is done.

These two routes are for whoever was called, who has no key: the token that went along with the
call opens them, for its own run and for nothing else. The gate has looked at it before anything
here runs (`targets.py`). The first last word stays; what is said again is `already`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Request
from pydantic import Field, StrictStr

from duly.core.runs import Answer
from duly.server.api.ports import Ground
from duly.server.api.problems import documented
from duly.server.api.shapes import Asked, Changed
from duly.server.api.targets import HEADER

router = APIRouter(prefix="/calls", tags=["calls"])

LONGEST_MESSAGE = 1000
_HOW: dict[str, Any] = {
    "responses": documented(409),
    "openapi_extra": {"security": [{"call": []}]},
}


class Completion(Asked):
    """How a call ended, as its target says."""

    outcome: Literal["succeeded", "failed"] = "succeeded"
    message: Annotated[StrictStr, Field(max_length=LONGEST_MESSAGE)] = ""


class Beat(Asked):
    """A sign of life; there is nothing more to say."""


@router.post("/{run}/complete", summary="Say that a started call is over", **_HOW)
async def complete_call(request: Request, run: UUID, said: Completion) -> Changed:
    """Say how a call ended that had only started (202); 409 when its run has ended meanwhile."""
    ground, token = _shown(request)
    answer = await ground.client().complete_call(run, token, said.outcome, message=said.message)
    return _told(answer)


@router.post("/{run}/beat", summary="Say that a started call is at work", **_HOW)
async def beat_call(request: Request, run: UUID, said: Beat) -> Changed:
    """Show a sign of life, as a timer with `heartbeat` expects it."""
    ground, token = _shown(request)
    return _told(await ground.client().beat_call(run, token))


def _shown(request: Request) -> tuple[Ground, str]:
    ground: Ground = request.app.state.ground
    return ground, request.headers[HEADER]


def _told(answer: Answer) -> Changed:
    return Changed(outcome=answer.value)
