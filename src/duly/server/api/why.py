"""Why anything is as it is: one route that takes any thing by name, and one beside each listing.

All give the answer of `duly why`. The routes beside listings belong to the rooms of those, so that
a key whose scope covers the listing may also ask why. Only looks.
"""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import msgspec
from fastapi import Query
from pydantic import Field

from duly.server.api.desk import AtDesk, Desk, Room
from duly.server.api.shapes import Asked, Explained, Segment

room = Room("why")
_instances, _incidents, _queues = Room("instances"), Room("incidents"), Room("queues")
_breakers, _timers = Room("breakers"), Room("timers", named="timer")
BESIDES = (_instances, _incidents, _queues, _breakers, _timers)
"""The routes that stand beside listings."""


class WhyQuery(Asked):
    """The thing that is asked about."""

    thing: Annotated[str, Field(min_length=1, max_length=1000)]


@room.get("", summary="Say why a thing is as it is", problems=(404,))
async def explain(desk: AtDesk, where: Annotated[WhyQuery, Query()]) -> Explained:
    """Why: of a run's id or the beginning of it, a schedule, `schedule@occurrence`, or an effect.

    An effect is named `TASK NAME KEY`, parted by spaces. Anything else has its kind before it:
    `breaker:NAME`, `instance:NAME`, `incident:KIND SUBJECT`, `queue:NAME`, `limit:KEY`,
    `key:TASK KEY`, `timer:NAME`.
    """
    return await _told(desk, where.thing)


@_instances.get("/{boot}/why", summary="Say why an instance does or does not work", problems=(404,))
async def why_instance(desk: AtDesk, boot: UUID) -> Explained:
    """Whether it is there, what it holds, and how it is known to be dead where it is."""
    return await _told(desk, f"instance:{boot}")


@_incidents.get("/{kind}/{subject}/why", summary="Say why an incident is open", problems=(404,))
async def why_incident(desk: AtDesk, kind: Segment, subject: Segment) -> Explained:
    """What was noticed, since when, with its evidence; of several the open or the newest one."""
    return await _told(desk, f"incident:{kind} {subject}")


@_queues.get("/{queue}/why", summary="Say why a queue does or does not move", problems=(404,))
async def why_queue(desk: AtDesk, queue: Segment) -> Explained:
    """Who waits in it, and who is there to claim."""
    return await _told(desk, f"queue:{queue}")


@_breakers.get("/{breaker}/why", summary="Say why calls to a target pass or not", problems=(404,))
async def why_breaker(desk: AtDesk, breaker: Segment) -> Explained:
    """Since when, after how many of what, when one may try, and by whose word."""
    return await _told(desk, f"breaker:{breaker}")


@_timers.get("/{timer}/why", summary="Say why a timer is as it is", problems=(404,))
async def why_timer(desk: AtDesk, timer: Segment) -> Explained:
    """As for a schedule, with its breaker and the last word about its calls."""
    return await _told(desk, f"timer:{timer}")


async def _told(desk: Desk, thing: str) -> Explained:
    return Explained(**msgspec.to_builtins(await desk.ground.explain(thing)))
