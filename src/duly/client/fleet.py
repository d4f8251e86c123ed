"""Verbs on the fleet: who is there, what a person should know, how much stands where.

One statement each. But for opening, acknowledging and closing an incident they only look, and
nothing here changes what an instance does.
"""

from __future__ import annotations

from duly import events
from duly.client.ground import Ground
from duly.core.feed import AT_ONCE, Look, Point
from duly.core.fleet import Incident, Instance
from duly.core.notices import SEVERITIES
from duly.core.runs import Answer
from duly.core.telling import ChannelStanding
from duly.errors import InvalidValue, UnknownName


class FleetVerbs(Ground):
    """The verbs of the fleet, as a part of `Client`."""

    async def instances(self) -> list[Instance]:
        """Return the fleet as known."""
        return await self._store.instances()

    async def feed(self, after: Point | None, *, limit: int = AT_ONCE) -> Look:
        """Return what happened in the whole fleet behind a point; None: where to begin.

        What is behind `through` comes with a later look, and nothing that is before it.
        """
        return await self._store.feed(after, limit=limit)

    async def incidents(self, *, only_open: bool = True) -> list[Incident]:
        """Return incidents, newest first."""
        return await self._store.incidents(only_open=only_open)

    async def counts(self) -> dict[str, int]:
        """Return how many runs stand in each state."""
        return await self._store.counts()

    async def open_incident(self, incident: Incident) -> bool:
        """Open an incident of a kind of one's own, such as `stock.empty`.

        False when one of its kind and subject is open: that one stays as it is. Raises
        `InvalidValue` without a kind, a subject or a summary, and `UnknownName` for a severity.
        """
        if incident.severity not in SEVERITIES:
            raise UnknownName.of("severity", incident.severity, SEVERITIES)
        if not (incident.kind and incident.subject and incident.summary):
            raise InvalidValue("expected an incident to have a kind, a subject and a summary")
        opened = await self._store.open_incident(incident)
        if opened:
            self._bus.emit(events.IncidentOpened.of(incident))
        return opened

    async def acknowledge(self, kind: str, subject: str, *, by: str, note: str = "") -> Answer:
        """Say who deals with an open incident; nobody is reminded of it any more.

        `already` when somebody did; `unknown` when none of this kind and subject is open.
        """
        answer = await self._store.acknowledge(kind, subject, by=by, note=note)
        if answer is Answer.DONE:
            self._bus.emit(events.IncidentAcknowledged(kind=kind, subject=subject, by=by))
        return answer

    async def close_incident(self, kind: str, subject: str, *, by: str, note: str = "") -> bool:
        """Close an open incident that a person has dealt with; False when none is open."""
        said = f"{note} ({by})" if note else by
        closed = await self._store.close_incident(kind, subject, note=said)
        if closed:
            self._bus.emit(events.IncidentClosed(kind=kind, subject=subject))
        return closed

    async def channels(self) -> list[ChannelStanding]:
        """Return how every channel stands by which people are told, by name."""
        return await self._store.channels()
