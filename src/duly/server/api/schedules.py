"""Schedules: what is due when; making, changing, holding back and running them.

A definition has a revision, and its `ETag` names it. Who changes or retires one says which one was
seen (`If-Match`): without that the answer is 428, and 412 when somebody else was first. Deleting
retires: what fired stays on record, and a person may revive it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated, Any

import msgspec
from fastapi import Header, Query, Response

from duly.client import Backfill
from duly.client.noting import Entry, definition_told, schedule_told
from duly.core.access import Right
from duly.core.instants import trigger_of
from duly.core.runs import Answer
from duly.core.schedules import Definition, ScheduleRow
from duly.core.states import ScheduleState
from duly.core.timers import owned_by
from duly.core.triggers import upcoming
from duly.errors import InvalidValue, Refused
from duly.server.api.desk import AtDesk, Room
from duly.server.api.ports import Wanted
from duly.server.api.problems import Problems
from duly.server.api.schedule_shapes import (
    BackfillAsked,
    BackfillDone,
    HistoryQuery,
    NextQuery,
    Refusal,
    ScheduleAsked,
    ScheduleQuery,
    ScheduleShown,
    ScheduleWanted,
    Upcoming,
    VerdictShown,
    shown,
)
from duly.server.api.shapes import (
    Because,
    Changed,
    Explained,
    Page,
    Segment,
    Why,
    after,
    page_of,
    place_of,
)
from duly.server.api.tasks import RunRef, must_be_here

room = Room("schedules", named="schedule")

IfMatch = Annotated[str | None, Header(description="The ETag that was seen.", max_length=200)]
ETAG = {
    200: {"headers": {"ETag": {"schema": {"type": "string"}, "description": "The revision."}}},
}


@room.get("", summary="List schedules")
async def list_schedules(
    desk: AtDesk, where: Annotated[ScheduleQuery, Query()]
) -> Page[ScheduleShown]:
    """Schedules, by name."""
    rows = [one for one in await desk.client.schedules() if where.shows(one, caller=desk.tenant)]
    found = after(rows, where.cursor, where.limit, place=_name)
    health = await desk.client.health(found[: where.limit])
    return page_of(
        found, where.limit, show=lambda row: shown(row, health.get(row.name)), place=_name
    )


def _name(row: ScheduleRow) -> str:
    return row.name


@room.post("", Right.EDIT, status_code=201, summary="Make a schedule", problems=(404, 409))
async def make_schedule(desk: AtDesk, wanted: ScheduleWanted, response: Response) -> ScheduleShown:
    """Make a schedule that no code declares; asked for twice, it is made once.

    A key of the house makes one for any tenant; that of a tenant its own.
    """
    await must_be_here(desk, wanted.task)
    definition = _definition(desk, wanted.name, wanted, desk.tenant_for(wanted.tenant))
    async with desk.changing(
        "schedules.make", wanted.name, why=wanted.reason, asked=definition_told(definition)
    ) as entry:
        try:
            answer = await desk.client.edit(
                definition, by=desk.caller.by, reason=wanted.reason, revision=0
            )
        except Refused:
            raise Refused(
                f"there is a schedule {wanted.name} already; PUT it, with If-Match"
            ) from None
        return await _after(desk, wanted.name, entry, answer, response)


@room.get("/{schedule}", summary="Show a schedule", problems=(404,), responses=ETAG)
async def show_schedule(desk: AtDesk, schedule: Segment, response: Response) -> ScheduleShown:
    """One schedule, with the ETag that changes ask for."""
    row = await desk.client.schedule(schedule)
    response.headers["ETag"] = etag(row)
    return shown(row, (await desk.client.health([row])).get(row.name))


@room.put(
    "/{schedule}",
    Right.EDIT,
    summary="Change a schedule",
    problems=(404, 409, 412, 428),
    responses=ETAG,
)
async def change_schedule(
    desk: AtDesk,
    schedule: Segment,
    wanted: ScheduleAsked,
    response: Response,
    if_match: IfMatch = None,
) -> ScheduleShown:
    """Replace the definition. It holds against code until it is given back."""
    row = seen(await desk.client.schedule(schedule), if_match)
    await must_be_here(desk, wanted.task)
    definition = _definition(desk, schedule, wanted, row.definition.tenant)
    async with desk.changing(
        "schedules.edit",
        schedule,
        why=wanted.reason,
        before=definition_told(row.definition),
        asked=definition_told(definition),
    ) as entry:
        try:
            answer = await desk.client.edit(
                definition, by=desk.caller.by, reason=wanted.reason, revision=row.revision
            )
        except Refused:
            raise stale(schedule) from None
        return await _after(desk, schedule, entry, answer, response)


@room.delete("/{schedule}", Right.EDIT, summary="Retire a schedule", problems=(404, 409, 412, 428))
async def retire_schedule(
    desk: AtDesk, schedule: Segment, said: Because, if_match: IfMatch = None
) -> Changed:
    """Retire a schedule: it stays so, whatever code declares, until it is revived.

    Only the revision that `If-Match` names is retired, whoever edits it in the same moment.
    """
    row = seen(await desk.client.schedule(schedule), if_match)

    async def retire(name: str, *, by: str, reason: str) -> Answer:
        try:
            return await desk.client.retire(name, by=by, reason=reason, revision=row.revision)
        except Refused:
            raise stale(name) from None

    return await _move(desk, schedule, "retire", retire, said.reason)


def seen(row: ScheduleRow, if_match: str | None) -> ScheduleRow:
    """Return the schedule, if it is the one that the caller saw; else raise `Problems`."""
    if if_match is None:
        told = {"expected": f"If-Match: {etag(row)}"}
        said = "expected If-Match with the ETag that you saw; GET the schedule first"
        raise Problems(428, "condition-required", said, told=told)
    if if_match.strip() not in ("*", etag(row)):
        raise stale(row.name)
    return row


def etag(row: ScheduleRow) -> str:
    """Return what names this revision of a schedule."""
    return f'"{row.revision}-{row.digest}"'


def stale(name: str) -> Problems:
    """Return the answer to somebody who saw another revision."""
    return Problems(412, "changed-meanwhile", f"schedule {name} was changed meanwhile; look again")


def _definition(desk: AtDesk, name: str, wanted: ScheduleAsked, tenant: str) -> Definition:
    """Return what is asked for, of a tenant: it stays that of whom it was made for."""
    beside = {"name", "task", "args", "reason", "tenant"}
    options = wanted.model_dump(exclude=beside, exclude_unset=True)
    made = desk.ground.define(
        Wanted(name=name, task=wanted.task, args=wanted.args, options=options)
    )
    return owned_by(made, tenant) if tenant else made


async def _after(
    desk: AtDesk, name: str, entry: Entry, answer: Answer, response: Response
) -> ScheduleShown:
    row = await desk.client.schedule(name)
    entry.outcome, entry.after = answer.value, {"revision": row.revision}
    response.headers["ETag"] = etag(row)
    return shown(row, (await desk.client.health([row])).get(row.name))


# --- moving -------------------------------------------------------------------------------------

Verb = Callable[..., Awaitable[Answer]]


async def _move(desk: AtDesk, name: str, action: str, verb: Verb, reason: str) -> Changed:
    row = await desk.client.schedule(name)
    before = schedule_told(row)
    async with desk.changing(
        f"schedules.{action}", name, why=reason, before=before, asked=None
    ) as entry:
        answer = await verb(name, by=desk.caller.by, reason=reason)
        entry.outcome = answer.value
        entry.after = schedule_told(await desk.client.schedule(name))
    return Changed(outcome=answer.value)


@room.post("/{schedule}/pause", Right.OPERATE, summary="Pause a schedule", problems=(404, 409))
async def pause_schedule(desk: AtDesk, schedule: Segment, said: Because) -> Changed:
    """Pause a schedule; what falls due meanwhile is *blocked*, and says by whom."""
    return await _move(desk, schedule, "pause", desk.client.pause, said.reason)


@room.post("/{schedule}/resume", Right.OPERATE, summary="Resume a schedule", problems=(404, 409))
async def resume_schedule(desk: AtDesk, schedule: Segment, said: Why) -> Changed:
    """Resume a paused schedule, from now on."""
    return await _move(desk, schedule, "resume", desk.client.resume, said.reason)


@room.post("/{schedule}/revive", Right.EDIT, summary="Revive a schedule", problems=(404, 409))
async def revive_schedule(desk: AtDesk, schedule: Segment, said: Why) -> Changed:
    """Bring a retired schedule back, from now on."""
    return await _move(desk, schedule, "revive", desk.client.revive, said.reason)


@room.post("/{schedule}/give-back", Right.EDIT, summary="End an edit", problems=(404,))
async def give_back_schedule(desk: AtDesk, schedule: Segment, said: Why) -> Changed:
    """End a person's edit: the next declaration by code holds again."""

    async def give_back(name: str, *, by: str, reason: str) -> Answer:
        return await desk.client.give_back(name, by=by)

    return await _move(desk, schedule, "give-back", give_back, said.reason)


@room.post(
    "/{schedule}/trigger",
    Right.OPERATE,
    status_code=202,
    summary="Run a schedule now",
    problems=(404,),
)
async def trigger_schedule(desk: AtDesk, schedule: Segment, said: Why) -> RunRef:
    """Run the schedule's task now, out of turn, for its newest occurrence."""
    before = schedule_told(await desk.client.schedule(schedule))
    async with desk.changing(
        "schedules.trigger", schedule, why=said.reason, before=before, asked=None
    ) as entry:
        handle = await desk.client.trigger(schedule, by=desk.caller.by)
        entry.after = {"run": str(handle.id)}
    return RunRef(id=handle.id, reuse=handle.reuse.value)


@room.post("/{schedule}/backfill", Right.OPERATE, summary="Run past occurrences", problems=(404,))
async def backfill_schedule(desk: AtDesk, schedule: Segment, wanted: BackfillAsked) -> BackfillDone:
    """Run occurrences in [from, to) that are not known to have fired, each once."""
    if wanted.until <= wanted.start:
        raise InvalidValue.expected("to", "after from", wanted.until.isoformat())
    how: dict[str, Any] = {"by": desk.caller.by, "dry_run": wanted.dry_run}
    if wanted.dry_run:
        return _filled(await desk.client.backfill(schedule, wanted.start, wanted.until, **how))
    asked = wanted.model_dump(mode="json", by_alias=True)
    before = schedule_told(await desk.client.schedule(schedule))
    async with desk.changing(
        "schedules.backfill", schedule, why=wanted.reason, before=before, asked=asked
    ) as entry:
        done = await desk.client.backfill(schedule, wanted.start, wanted.until, **how)
        entry.after = {"runs": len(done.runs), "refused": len(done.refused)}
    return _filled(done)


def _filled(done: Backfill) -> BackfillDone:
    refused = [Refusal(due=due, why=why) for due, why in done.refused]
    return BackfillDone(dry_run=done.dry_run, runs=list(done.runs), refused=refused)


# --- looking ------------------------------------------------------------------------------------


@room.get("/{schedule}/next", summary="Show what comes next", problems=(404,))
async def next_occurrences(
    desk: AtDesk, schedule: Segment, where: Annotated[NextQuery, Query()]
) -> Page[Upcoming]:
    """The next occurrences with offsets; turns of the clocks are flagged."""
    row = await desk.client.schedule(schedule)
    if row.state is not ScheduleState.ACTIVE:
        return Page(items=[])
    start = max(await desk.books.clock(), row.fired_through)
    coming = upcoming(trigger_of(row.definition), start, where.count)
    return Page(items=[Upcoming(at=one.at, local=one.local, flag=one.flag) for one in coming])


@room.get("/{schedule}/verdicts", summary="Show what became of occurrences", problems=(404,))
async def history(
    desk: AtDesk, schedule: Segment, where: Annotated[HistoryQuery, Query()]
) -> Page[VerdictShown]:
    """Verdicts in ranges, oldest first; each says why and by whom."""
    here = place_of(where.cursor)
    start = where.start if here is None else _instant(here)
    ranges = await desk.client.verdicts(schedule, after=start, until=where.until)
    if here is not None:
        ranges = [one for one in ranges if one.first > _instant(here)]
    return page_of(
        ranges[: where.limit + 1],
        where.limit,
        show=lambda one: VerdictShown(**msgspec.structs.asdict(one)),
        place=lambda one: one.first.isoformat(),
    )


def _instant(place: str) -> datetime:
    try:
        at = datetime.fromisoformat(place)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise InvalidValue.expected("cursor", "the `next` of an earlier page", place)
    return at


@room.get("/{schedule}/why", summary="Say why a schedule is as it is", problems=(404,))
async def why_schedule(desk: AtDesk, schedule: Segment) -> Explained:
    """The chain of causes, in words."""
    await desk.client.schedule(schedule)
    return Explained(**msgspec.to_builtins(await desk.ground.explain(schedule)))


@room.get(
    "/{schedule}/occurrences/{at}/why",
    summary="Say what became of an occurrence",
    problems=(404,),
)
async def why_occurrence(
    desk: AtDesk,
    schedule: Segment,
    at: Segment,
) -> Explained:
    """Why an occurrence fired, was skipped, missed or blocked.

    `at` is its nominal instant; without an offset, on the clocks of the schedule's zone.
    """
    await desk.client.schedule(schedule)
    return Explained(**msgspec.to_builtins(await desk.ground.explain(f"{schedule}@{at}")))
