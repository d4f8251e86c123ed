"""Events as they happen, by server-sent events, from a ring of the newest.

The ring holds a bounded number of this process's events; each has a number, and `Last-Event-ID`
takes a reader on from the one it saw last. What fell out of the ring meanwhile, or belongs to an
earlier process, is told by an event `gap`: nothing is missing in silence. A reader that is slow
costs nobody anything: it is given a gap.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Annotated
from uuid import UUID

import msgspec
from fastapi import Header, Query
from fastapi.responses import StreamingResponse
from pydantic import Field
from starlette.requests import Request

from duly.events import EVENTS, Bus, Event, Level, RunCompleted, RunEnqueued
from duly.server.api.desk import AtDesk, Room
from duly.server.api.problems import Problems
from duly.server.api.shapes import Asked

room = Room("events")

KEPT = 2_000
AT_ONCE = 500
READERS = 100
BREATH_S = 15.0

SENT = {
    "type": "object",
    "required": ["event", "data"],
    "properties": {
        "id": {"type": "string", "description": "What `Last-Event-ID` takes back."},
        "event": {"type": "string", "description": "The kind, or `gap`."},
        "data": {"type": "string", "description": "The event's fields, as JSON."},
    },
}
"""What one event of the stream is, for the document."""


class Ring:
    """The newest events of a bus, numbered from 1 in a stream of its own."""

    def __init__(self, stream: UUID, *, kept: int = KEPT) -> None:
        self.stream = str(stream)
        self.readers = 0
        self._events: deque[tuple[int, Event]] = deque(maxlen=kept)
        self._number = 0
        self._lock = threading.Lock()
        self._waiting: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()

    def attach(self, bus: Bus) -> Callable[[], None]:
        """Hear what matters more than debugging, and each run's beginning and end."""
        kinds = [kind for kind in EVENTS.values() if kind.level > Level.DEBUG]
        return bus.subscribe(self.heard, [*kinds, RunEnqueued, RunCompleted])

    def heard(self, event: Event) -> None:
        """Keep an event; may be called on any thread. It is encoded when somebody reads it."""
        with self._lock:
            self._number += 1
            self._events.append((self._number, event))
            waiting = list(self._waiting)
        for loop, flag in waiting:
            with suppress(RuntimeError):  # that loop has ended
                loop.call_soon_threadsafe(flag.set)

    def newest(self) -> int:
        """Return the number of the newest event, 0 when there is none."""
        return self._number

    def since(self, number: int) -> tuple[bool, list[tuple[int, Event]]]:
        """Return whether something after `number` is gone, and what is there, some at a time."""
        with self._lock:
            found = [one for one in self._events if one[0] > number][:AT_ONCE]
            oldest = self._events[0][0] if self._events else self._number + 1
        return oldest > number + 1, found

    async def wait(self, number: int) -> None:
        """Return when there is something after `number`, or after a breath."""
        flag = asyncio.Event()
        me = (asyncio.get_running_loop(), flag)
        with self._lock:
            if self._number > number:
                return
            self._waiting.add(me)
        try:
            async with asyncio.timeout(BREATH_S):
                await flag.wait()
        except TimeoutError:
            return
        finally:
            with self._lock:
                self._waiting.discard(me)


class EventQuery(Asked):
    """Which events. Without `follow` the answer ends with what is there."""

    kinds: Annotated[str, Field(max_length=500)] | None = Field(
        default=None, description='Only these, such as "run.failed,incident.opened".'
    )
    follow: bool = True


@room.get(
    "",
    summary="Follow events",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "Events of this server's process, as they happen.",
            "content": {"text/event-stream": {"schema": SENT}},
        }
    },
)
async def follow_events(
    desk: AtDesk,
    request: Request,
    where: Annotated[EventQuery, Query()],
    last_event_id: Annotated[str | None, Header(max_length=100)] = None,
) -> StreamingResponse:
    """What happens, as it happens; `Last-Event-ID` goes on after the last one seen.

    Without it a reader begins with what happens next (with `follow=false`: with what is kept).
    """
    ring: Ring = request.app.state.ring
    if ring.readers >= READERS:
        said = f"expected at most {READERS} readers of events at once"
        raise Problems(503, "too-many-readers", said, headers={"Retry-After": "5"})
    kinds = None if where.kinds is None else frozenset(where.kinds.split(","))
    begin = _begin(ring, last_event_id, where.follow)
    body = _told(ring, begin, kinds, follow=where.follow)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(body, media_type="text/event-stream", headers=headers)


def _begin(ring: Ring, last: str | None, follow: bool) -> int | None:
    """Return the number to go on after; None when that is gone for certain."""
    if last is None:
        return ring.newest() if follow else 0
    stream, _, number = last.rpartition("/")
    if stream != ring.stream or not (number.isascii() and number.isdigit() and len(number) < 19):
        return None
    return int(number) if int(number) <= ring.newest() else None


async def _told(
    ring: Ring, begin: int | None, kinds: frozenset[str] | None, *, follow: bool
) -> AsyncIterator[bytes]:
    """Write events until the reader goes, or (without `follow`) until there are no more."""
    at = begin or 0
    ring.readers += 1
    try:
        if begin is None:
            yield _gap(ring, at)
        while True:
            gone, found = ring.since(at)
            if gone and begin is not None:
                yield _gap(ring, at)
            told = [_event(ring, number, event) for number, event in found
                    if kinds is None or event.name in kinds]  # fmt: skip
            at = begin = found[-1][0] if found else at
            if told:
                yield b"".join(told)
            if not found and not follow:
                return
            if not found:
                yield b": here\n\n"
                await ring.wait(at)
    finally:
        ring.readers -= 1


def _event(ring: Ring, number: int, event: Event) -> bytes:
    head = f"id: {ring.stream}/{number}\nevent: {event.name}\ndata: "
    return head.encode() + msgspec.json.encode(event) + b"\n\n"


def _gap(ring: Ring, after: int) -> bytes:
    """Say that events are missing: look at the state of things instead."""
    body = msgspec.json.encode({"stream": ring.stream, "after": after})
    return b"event: gap\ndata: " + body + b"\n\n"
