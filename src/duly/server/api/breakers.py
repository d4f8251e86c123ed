"""Breakers: what the fleet knows of targets, and a person's word on one.

A breaker is named as its task or code names it, or by its schedule (`schedule:nightly`). Whoever
forces, resumes or probes says why; who and why are kept for ever. A target that nothing is known
against is not listed, and calls to it pass; it can be shown, and held open, all the same.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import Query
from pydantic import BaseModel, Field

from duly.client.noting import breaker_told
from duly.core.access import Right
from duly.core.breakers import BreakerFilter, BreakerLine, BreakerRow, check_breaker
from duly.core.states import BreakerState, BreakerVerb
from duly.errors import UnknownName
from duly.server.api.desk import AtDesk, Room
from duly.server.api.shapes import (
    Because,
    Changed,
    Page,
    Paging,
    Segment,
    Shown,
    after,
    page_of,
)

room = Room("breakers")

MOST_LISTED = 5_000
CHANGES = 50


class BreakerShown(BaseModel):
    """What is known of a target. `failures` are those that count now, or that opened it."""

    name: str
    state: BreakerState
    forced: bool = Field(description="It stays so by a person's word.")
    failures: int
    fault: str = Field(description="Of the last failure, a word such as `timed out`.")
    error: str
    who: str
    endpoint: str = Field(description="Of the call that failed last, where it was a timer's.")
    answer: str = Field(description="The status that this call was answered with, if it was.")
    ran_by: str = Field(description="The instance that made it, and its application.")
    failed_at: Shown | None
    opened_at: Shown | None = Field(description="Since when it is not closed.")
    closed_at: Shown | None
    openings: int
    probes: int
    pause_s: float
    probe_at: Shown | None = Field(description="It is not probed before.")
    by: str
    why: str
    changed_at: Shown


class BreakerChange(BaseModel):
    """One change of a breaker."""

    at: Shown
    verb: str
    state: BreakerState
    by: str
    why: str


class BreakerInFull(BreakerShown):
    """A breaker with its latest changes, newest first."""

    changes: list[BreakerChange]


class BreakerMoved(Changed):
    """What a person's word came to; `note` says so where nothing known here asks the breaker."""

    note: str = ""


class BreakerQuery(Paging):
    """Which breakers; with `broken` those only that hold calls back."""

    broken: bool = False


@room.get("", summary="List breakers")
async def list_breakers(
    desk: AtDesk, where: Annotated[BreakerQuery, Query()]
) -> Page[BreakerShown]:
    """Targets that anything is known against, by name; the first 5,000 can be paged through."""
    rows = await desk.client.breakers(BreakerFilter(broken=where.broken, limit=MOST_LISTED))
    found = after(rows, where.cursor, where.limit, place=_name)
    return page_of(found, where.limit, show=shown, place=_name)


def _name(row: BreakerRow) -> str:
    return row.name


@room.get("/{breaker}", summary="Show a breaker", problems=(404,))
async def show_breaker(desk: AtDesk, breaker: Segment) -> BreakerInFull:
    """One breaker, and its latest changes."""
    row, lines = await desk.client.breaker(check_breaker(breaker), CHANGES)
    changes = [_change(one) for one in lines]
    return BreakerInFull(**shown(row).model_dump(), changes=changes)


def _change(line: BreakerLine) -> BreakerChange:
    return BreakerChange(
        at=line.at, verb=line.verb.value, state=line.state, by=line.by, why=line.why
    )


@room.post("/{breaker}/force-open", Right.OPERATE, summary="Hold calls back", problems=(404, 409))
async def force_open(desk: AtDesk, breaker: Segment, said: Because) -> BreakerMoved:
    """Hold calls to a target back, until somebody says otherwise; it need not be known yet."""
    return await _move(desk, breaker, BreakerVerb.FORCE_OPEN, said.reason)


@room.post("/{breaker}/force-close", Right.OPERATE, summary="Let calls pass", problems=(404, 409))
async def force_close(desk: AtDesk, breaker: Segment, said: Because) -> BreakerMoved:
    """Let calls to a target pass, whatever fails, until somebody says otherwise."""
    return await _move(desk, breaker, BreakerVerb.FORCE_CLOSE, said.reason)


@room.post("/{breaker}/resume", Right.OPERATE, summary="Close a breaker", problems=(404, 409))
async def resume(desk: AtDesk, breaker: Segment, said: Because) -> BreakerMoved:
    """Close a breaker with nothing counted; its rules hold again, and runs that waited go on."""
    return await _move(desk, breaker, BreakerVerb.RESUME, said.reason)


@room.post("/{breaker}/probe", Right.OPERATE, summary="Probe now", problems=(404, 409))
async def probe(desk: AtDesk, breaker: Segment, said: Because) -> BreakerMoved:
    """Let the next call probe, before the pause is over; 409 while it is closed."""
    return await _move(desk, breaker, BreakerVerb.PROBE, said.reason)


async def _move(desk: AtDesk, name: str, verb: BreakerVerb, reason: str) -> BreakerMoved:
    before = await _known(desk, check_breaker(name))
    note = await desk.client.unasked(name)
    async with desk.changing(
        f"breakers.{verb.value}", name, why=reason, before=before, asked=None
    ) as entry:
        answer = await desk.client.move_breaker(name, verb, by=desk.caller.by, why=reason)
        entry.outcome, entry.after = answer.value, await _known(desk, name)
    return BreakerMoved(outcome=answer.value, note=note)


async def _known(desk: AtDesk, name: str) -> dict[str, object] | None:
    """Return how a breaker stands, as the audit keeps it; None when nothing is known."""
    try:
        row, _ = await desk.client.breaker(name, 1)
    except UnknownName:
        return None
    return breaker_told(row)


def shown(row: BreakerRow) -> BreakerShown:
    """Return a breaker as a list shows it."""
    fields = msgspec.structs.asdict(row)
    same = {name: fields[name] for name in BreakerShown.model_fields if name in fields}
    return BreakerShown(**same, pause_s=row.pause.total_seconds())
