"""The fleet as others see it: instances, queues, incidents.

Only looks, but for two things said of an incident. Acknowledging says that a person deals with it:
nobody is reminded of it any more. Closing by hand says that it was dealt with; what is still wrong
opens another.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from fastapi import Query
from pydantic import BaseModel, Field, StrictStr

from duly.client.noting import incident_told
from duly.core.access import Right
from duly.core.fleet import PRESENT, Incident, Instance, InstanceState
from duly.errors import UnknownName
from duly.server.api.desk import AtDesk, Room
from duly.server.api.shapes import (
    Asked,
    Changed,
    Page,
    Paging,
    Reason,
    Shown,
    after,
    page_of,
)

instances = Room("instances")
queues = Room("queues")
incidents = Room("incidents")


class InstanceShown(BaseModel):
    """One process of the fleet. `standing` is `absent` when it has not been seen for 90 s."""

    boot: UUID
    name: str
    host: str
    pid: int
    owner: str
    cluster: str
    version: str
    tasks: list[str]
    state: InstanceState
    standing: str
    started_at: Shown | None
    seen_at: Shown | None
    lease_until: Shown | None
    held: int
    reason: str | None


class InstanceQuery(Paging):
    """Which instances; without `every` those that are there."""

    every: bool = False


class QueueShown(BaseModel):
    """A queue with live runs: how many can be claimed, run now, or wait for something."""

    name: str
    ready: int
    running: int
    later: int


class IncidentShown(BaseModel):
    """Something a person should know."""

    kind: str
    subject: str
    severity: str
    summary: str
    opened_at: Shown | None
    closed_at: Shown | None
    evidence: dict[str, str]
    owner: str
    acknowledged_at: Shown | None
    acknowledged_by: str | None
    acknowledged_note: str | None


class IncidentQuery(Paging):
    """Which incidents; without `every` those that are open."""

    every: bool = False


class Closing(Asked):
    """Which incident is dealt with, and how."""

    kind: Annotated[StrictStr, Field(min_length=1, max_length=200)]
    subject: Annotated[StrictStr, Field(min_length=1, max_length=1000)]
    reason: Reason


class Acknowledging(Asked):
    """Which incident somebody deals with, and what they say of it."""

    kind: Annotated[StrictStr, Field(min_length=1, max_length=200)]
    subject: Annotated[StrictStr, Field(min_length=1, max_length=1000)]
    reason: Reason


@instances.get("", summary="List instances")
async def list_instances(
    desk: AtDesk, where: Annotated[InstanceQuery, Query()]
) -> Page[InstanceShown]:
    """Instances, newest first."""
    rows = await desk.client.instances()
    here = (InstanceState.LIVE, InstanceState.STOPPING)
    rows = [one for one in rows if where.every or one.state in here]
    found = after(rows, where.cursor, where.limit, place=_boot)
    now = await desk.books.clock()
    return page_of(found, where.limit, show=lambda one: _instance(one, now), place=_boot)


def _boot(one: Instance) -> str:
    return str(one.boot)


def _instance(one: Instance, now: datetime) -> InstanceShown:
    here = one.state in (InstanceState.LIVE, InstanceState.STOPPING)
    absent = here and (one.seen_at is None or one.seen_at < now - PRESENT)
    standing = "absent" if absent else one.state.value
    return InstanceShown(**msgspec.structs.asdict(one), standing=standing)


@instances.get("/{boot}", summary="Show an instance", problems=(404,))
async def show_instance(desk: AtDesk, boot: UUID) -> InstanceShown:
    """One instance, also one that has gone, as long as anything is known of it."""
    found = [one for one in await desk.client.instances() if one.boot == boot]
    if not found:
        raise UnknownName(f"no instance has the boot {boot}; it may have been pruned")
    return _instance(found[0], await desk.books.clock())


@queues.get("", summary="List queues")
async def list_queues(desk: AtDesk, where: Annotated[Paging, Query()]) -> Page[QueueShown]:
    """Queues with live runs, by name, and how many stand where."""
    counted = await desk.books.queues()
    shown = [QueueShown(name=name, **counted[name]) for name in sorted(counted)]
    found = after(shown, where.cursor, where.limit, place=_queue)
    return page_of(found, where.limit, show=lambda one: one, place=_queue)


def _queue(one: QueueShown) -> str:
    return one.name


@incidents.get("", summary="List incidents")
async def list_incidents(
    desk: AtDesk, where: Annotated[IncidentQuery, Query()]
) -> Page[IncidentShown]:
    """Incidents, newest first; the newest 1,000 can be paged through."""
    rows = await desk.client.incidents(only_open=not where.every)
    found = after(rows, where.cursor, where.limit, place=_incident)
    return page_of(
        found,
        where.limit,
        show=lambda one: IncidentShown(**msgspec.structs.asdict(one)),
        place=_incident,
    )


def _incident(one: Incident) -> str:
    opened = one.opened_at.isoformat() if one.opened_at else ""
    return f"{opened} {one.kind} {one.subject}"[:250]


@incidents.post("/close", Right.OPERATE, summary="Close an incident", problems=(404,))
async def close_incident(desk: AtDesk, said: Closing) -> Changed:
    """Close the open incident of a kind and subject; the reason stays with it."""
    subject, mine = await _open_incident(desk, said.kind, said.subject)
    async with desk.changing(
        "incidents.close", subject, why=said.reason, before=incident_told(mine), asked=None
    ) as entry:
        note = f"{said.reason} ({desk.caller.by})"
        closed = await desk.books.close_incident(said.kind, said.subject, note=note)
        entry.outcome = "done" if closed else "already"
        entry.after = await _newest(desk, mine)
    return Changed(outcome=entry.outcome)


@incidents.post("/acknowledge", Right.OPERATE, summary="Acknowledge an incident", problems=(404,))
async def acknowledge_incident(desk: AtDesk, said: Acknowledging) -> Changed:
    """Say that the caller deals with an open incident; who did so first, and why, stays with it."""
    subject, mine = await _open_incident(desk, said.kind, said.subject)
    async with desk.changing(
        "incidents.acknowledge", subject, why=said.reason, before=incident_told(mine), asked=None
    ) as entry:
        answer = await desk.client.acknowledge(
            said.kind, said.subject, by=desk.caller.by, note=said.reason
        )
        entry.outcome, entry.after = answer.value, await _newest(desk, mine)
    return Changed(outcome=entry.outcome)


async def _newest(desk: AtDesk, known: Incident) -> dict[str, Any] | None:
    """Return how the newest incident of a kind and subject stands, as the audit keeps it."""
    named = (known.kind, known.subject)
    rows = await desk.client.incidents(only_open=False)
    mine = next((one for one in rows if (one.kind, one.subject) == named), None)
    return None if mine is None else incident_told(mine)


async def _open_incident(desk: AtDesk, kind: str, subject: str) -> tuple[str, Incident]:
    """Return how an open incident is called, and itself; raises `UnknownName`."""
    called = f"{kind} {subject}"
    rows = await desk.client.incidents()
    mine = next((one for one in rows if (one.kind, one.subject) == (kind, subject)), None)
    if mine is None:
        raise UnknownName.of("open incident", called, [f"{one.kind} {one.subject}" for one in rows])
    return called, mine
