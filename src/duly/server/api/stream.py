"""Events as they happen, by server-sent events: of the whole fleet, or of this process alone.

Those of the fleet come out of the store (`following.py`), those of the process from a ring of the
newest, which has kinds that leave nothing in the store. Each event has an id, and `Last-Event-ID`
takes a reader on from the one it saw last: one of the fleet on any server, one of the process as
long as this lives. What fell out meanwhile is told by an event `gap`: nothing is missing in
silence. A reader that is slow costs nobody anything: it is given a gap.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, suppress
from datetime import timedelta
from enum import StrEnum
from typing import Annotated
from uuid import UUID

import msgspec
from fastapi import Header, Query
from fastapi.responses import StreamingResponse
from pydantic import AwareDatetime, Field
from starlette.requests import Request

from duly.core.access import on_rows, reach
from duly.core.feed import REACH, Happening, Point, resumed
from duly.errors import DulyError
from duly.events import EVENTS, Bus, Event, Level, RunCompleted, RunEnqueued
from duly.server.api.desk import AtDesk, Desk, Room
from duly.server.api.following import Reader, Watch
from duly.server.api.problems import Problems
from duly.server.api.shapes import Asked, Tenant

room = Room("events")

KEPT = 2_000
AT_ONCE = 500
READERS = 100
BREATH_S = 15.0
RECENT = timedelta(minutes=10)

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


class Of(StrEnum):
    """Whose events."""

    FLEET = "fleet"
    PROCESS = "process"


class EventQuery(Asked):
    """Which events. Without `follow` the answer ends with what is there."""

    of: Of = Field(default=Of.FLEET, description="The whole fleet, or this server's process.")
    kinds: Annotated[str, Field(max_length=500)] | None = Field(
        default=None, description='Only these, such as "run.failed,incident.opened".'
    )
    follow: bool = True
    since: AwareDatetime | None = Field(
        default=None, description="Begin with what the fleet did then, 50 minutes ago at most."
    )
    tenant: Tenant | None = None


@room.get(
    "",
    summary="Follow events",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "Events of the whole fleet, or of this server's process.",
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

    Without it a reader begins with what happens next (with `follow=false`: with the last ten
    minutes). Of the fleet is told what the store keeps with an instant: runs that completed,
    failed, were cancelled, skipped or expired; incidents opened, acknowledged and closed; breakers
    that moved; instances that started, stopped or were declared dead. Each event has that instant
    as `at`, and comes a second or so later, in the order of the instants, once. What leaves no
    instant there (claims, retries, runs that are parked or taken over, schedules that are paused or
    edited) is told by `of=process` alone, by the server in whose process it happens. An event `gap`
    says that something may be missing: the id was older than 50 minutes or not of this store, too
    much was missed, the reader is slow, or the store's clock was set back. A tenant's key is told
    of the tenant's runs.
    """
    ring: Ring = request.app.state.ring
    watch: Watch = request.app.state.watch
    if ring.readers + watch.readers >= READERS:
        said = f"expected at most {READERS} readers of events at once"
        raise Problems(503, "too-many-readers", said, headers={"Retry-After": "5"})
    kinds = None if where.kinds is None else frozenset(where.kinds.split(","))
    if where.of is Of.PROCESS:
        if reach(desk.caller) is not None:
            raise Problems(403, "forbidden", "expected of=fleet: a process is the house's")
        begin = _begin(ring, last_event_id, where.follow)
        body = _told(ring, begin, kinds, follow=where.follow)
    else:
        body = await _of_fleet(desk, watch, where, last_event_id, kinds)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(body, media_type="text/event-stream", headers=headers)


async def _of_fleet(
    desk: Desk, watch: Watch, where: EventQuery, last: str | None, kinds: frozenset[str] | None
) -> AsyncIterator[bytes]:
    """Return the events of the fleet; asks the store where to begin before anything is answered."""
    tenant = reach(desk.caller)
    if tenant is None and where.tenant is not None:
        tenant = on_rows(where.tenant)

    def wanted(one: Happening) -> bool:
        mine = tenant is None or (one.tenant == tenant and one.name.startswith("run."))
        return mine and (kinds is None or one.name in kinds)

    reader = Reader(desk.ground, watch, wanted)
    gap, after = await _begin_of_fleet(desk, where, last)
    return _sent(reader, b"" if not gap else reader.gap(last), after, follow=where.follow)


async def _begin_of_fleet(
    desk: Desk, where: EventQuery, last: str | None
) -> tuple[bool, Point | None]:
    """Return whether something is missing for certain, and the point to go on from."""
    now = (await desk.client.feed(None)).now
    recent = None if where.follow else Point(now - RECENT)
    if last is not None:
        point = resumed(last, now)
        return point is None, point or recent
    if where.since is None:
        return False, recent
    if where.since > now:
        return False, None if where.follow else Point(now)
    return where.since < now - REACH, Point(max(where.since, now - REACH))


async def _sent(
    reader: Reader, first: bytes, after: Point | None, *, follow: bool
) -> AsyncGenerator[bytes]:
    """Write events until the reader goes, or there are no more, or the store went away."""
    if first:
        yield first
    told = reader.follow(after) if follow or after is None else reader.missed(after)
    with suppress(DulyError):  # whoever wants more comes back with the last id
        async with aclosing(told):  # so that who goes has left the watch at once
            async for part in told:
                yield part


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
