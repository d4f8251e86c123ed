"""Trips that outlive their process: counted by the day, told to people, and over when it is quiet.

    loop.failing        a supervised loop fails, if its policy says to tell (`notify`)
    supervisor.tripped  a loop failed too often in a row, and its process ended for it

With a store, a trip is something that happened: its number of the day is part of its name, the
first word about a name stays, and so a fleet counts together without a lock. The incident opens
at the first trip, is opened anew at the 2nd, 4th, 8th … of a day (a crash loop must not become a
storm), and closes when no trip came for a quarter of an hour. Without a store the count is a small
file, replaced atomically; of several processes that share it, the last one's word stays.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections import deque
from datetime import date, timedelta
from pathlib import Path

import msgspec

from duly import events
from duly.core.clock import Clock
from duly.core.fleet import Incident, InstanceState
from duly.core.restarts import Trips, reminds, times
from duly.core.runs import Answer
from duly.core.steps import MAX_NAME, Event
from duly.engine.caretaking import open_incident
from duly.engine.supervising import Notice
from duly.engine.telling import Telling
from duly.errors import EnvironmentFailure, Refused
from duly.stores.base import Store

FAILING, TRIPPED = "loop.failing", "supervisor.tripped"

QUIET = timedelta(minutes=15)
"""A loop of which no trip was heard for so long is well again."""

ASKED_AT_ONCE = 64
_log = logging.getLogger("duly.supervising")


class Tripping:
    """A supervised loop: writes what people should know of the other ones."""

    name = "tripping"

    def __init__(
        self, store: Store, telling: Telling, clock: Clock, *, owner: str, instance: str
    ) -> None:
        self._store, self._telling, self._clock = store, telling, clock
        self._owner, self._instance = owner, instance
        self._token = str(clock.new_id())  # of this process, which trips once for each loop
        self._notices: deque[Notice] = deque()
        self._some = asyncio.Event()
        self.trips = 0  # the highest count of the day that this process's trips came to

    def note(self, notice: Notice) -> None:
        """Take down what a person should know; it is written as soon as the store takes it."""
        self._notices.append(notice)
        self._some.set()

    async def ready(self) -> None:
        """Wait for a notice."""
        await self._some.wait()

    async def turn(self) -> None:
        """Write the notices, oldest first."""
        while self._notices:
            await self._write(self._notices[0])
            self._notices.popleft()
        self._some.clear()

    async def flush(self, within_s: float) -> None:
        """Write what is left, unless the store does not answer in time."""
        with contextlib.suppress(EnvironmentFailure, Refused, TimeoutError):
            async with asyncio.timeout(within_s):
                await self.turn()

    async def _write(self, notice: Notice) -> None:
        subject = f"{self._owner}/{notice.loop}"
        if notice.tripped:
            await self._write_trip(notice, subject)
        elif notice.failures == 0:
            await self._close(FAILING, subject, "a turn went well")
        else:
            await self._close(FAILING, subject, "it failed again")
            summary = f"{subject} failed on {self._instance}: {notice.error}"
            incident = self._incident(FAILING, notice, summary)
            await open_incident(self._store, self._telling, incident)

    async def _write_trip(self, notice: Notice, subject: str) -> None:
        day = (await self._store.clock()).date()
        count = await count_trip(self._store, subject, day, by=self._token)
        self.trips = max(self.trips, count)
        summary = (
            f"{subject} failed {notice.failures} times in a row on {self._instance} and tripped"
            f" {times(count)}: {notice.error}"
        )
        _log.error("%s; work is handed back and the process ends with 70", summary)
        await self._close(FAILING, subject, "it tripped")
        if reminds(count):
            await self._close(TRIPPED, subject, f"tripped again, {times(count)}")
        incident = self._incident(TRIPPED, notice, summary)
        incident.evidence["trips"] = str(count)
        await open_incident(self._store, self._telling, incident)

    def _incident(self, kind: str, notice: Notice, summary: str) -> Incident:
        return Incident(
            kind=kind,
            subject=f"{self._owner}/{notice.loop}",
            severity="critical" if kind == TRIPPED else "warning",
            summary=summary,
            owner=self._owner,
            evidence={
                "loop": notice.loop,
                "instance": self._instance,
                "failures": str(notice.failures),
                "error": notice.error,
            },
        )

    async def _close(self, kind: str, subject: str, note: str) -> None:
        if await self._store.close_incident(kind, subject, note=note):
            self._telling.emit(events.IncidentClosed(kind=kind, subject=subject))


# --- trips as things that happened --------------------------------------------------------------


def _name(subject: str, day: date, number: int) -> str:
    head = f"duly/tripped/{day.isoformat()}/{subject}"
    return f"{head[: MAX_NAME - 10]}/{number}"  # the number is never cut off


async def _trips(store: Store, subject: str, day: date) -> list[Event]:
    """Return the trips of a day, in no order."""
    found: list[Event] = []
    while True:
        first = len(found) + 1
        names = [_name(subject, day, first + n) for n in range(ASKED_AT_ONCE)]
        some = await store.happened(names)
        found += some
        if len(some) < ASKED_AT_ONCE:
            return found


async def count_trip(store: Store, subject: str, day: date, *, by: str) -> int:
    """Count one more trip of the day, and return its number. By the same once more: no other."""
    known = await _trips(store, subject, day)
    for one in known:
        if one.by == by:
            return int(one.name.rpartition("/")[2])
    number = len(known) + 1
    while await store.emit(Event(name=_name(subject, day, number), by=by)) is not Answer.DONE:
        number += 1  # another instance's trip came between
    return number


async def quiet_since(store: Store, incident: Incident) -> str | None:
    """Say that an incident of a trip is over, or None while it is not."""
    now = await store.clock()
    days = {now.date(), (now - QUIET).date()}
    latest = incident.opened_at or now
    for day in days:
        for one in await _trips(store, incident.subject, day):
            latest = max(latest, one.at or latest)
    return f"no trip since {latest:%H:%M} UTC" if now - latest >= QUIET else None


async def left_behind(store: Store, incident: Incident) -> str | None:
    """Say that a failing loop's instance has gone, or None while it is there."""
    name = incident.evidence.get("instance", "")
    live = (InstanceState.LIVE, InstanceState.STOPPING)
    here = {one.name for one in await store.instances() if one.state in live}
    return None if name in here else f"{name} has ended"


# --- trips in a file ----------------------------------------------------------------------------


class TripFile:
    """The counts of a supervisor without a store: one JSON file, by loop."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def count(self, loop: str, today: date) -> int:
        """Count one more trip, and return the day's number; a file that fails is told of."""
        known = self._read()
        known[loop] = known.get(loop, Trips(today)).after(today)
        try:
            self._write(msgspec.json.encode(known))
        except OSError as error:
            _log.error("the count of trips cannot be kept in %s: %s", self._path, error)
        return known[loop].count

    def _read(self) -> dict[str, Trips]:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=dict[str, Trips])
        except FileNotFoundError:
            return {}
        except (OSError, msgspec.MsgspecError) as error:
            _log.warning("%s tells nothing of earlier trips: %s", self._path, error)
            return {}

    def _write(self, body: bytes) -> None:
        """Replace the file whole, so that a death in between leaves the old one."""
        beside = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        with beside.open("wb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self._path)
