"""Timers: HTTP calls on a schedule, made and changed at run time with no code deployed.

A timer is saved whole: every fault is told at once, with its key, and nothing is changed. Where
calls may go is judged by this server's settings, and by those of the instance that calls again.
Who changes or removes one says which was seen (`If-Match`). Pausing, resuming and history are
those of its schedule.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from fastapi import Query, Response

from duly.client import Saved
from duly.client.noting import timer_told, timers_told
from duly.core.access import Right
from duly.core.runs import Answer, RunFilter, RunView
from duly.core.schedules import ScheduleRow
from duly.core.states import ScheduleState
from duly.core.timers import Timer, TimerFile, owned_by, read_timer, read_timers
from duly.errors import Refused, UnknownName
from duly.server.api.desk import AtDesk, Room
from duly.server.api.problems import Problems
from duly.server.api.schedule_shapes import ScheduleQuery
from duly.server.api.schedules import ETAG, IfMatch, etag, seen, stale
from duly.server.api.shapes import Because, Changed, Page, Segment, Why, after, page_of
from duly.server.api.tasks import RunRef
from duly.server.api.timer_shapes import (
    TimerAsked,
    TimersApplied,
    TimerSaved,
    TimersFile,
    TimerShown,
    shown,
)

room = Room("timers", named="timer")

Told = tuple[str, str]
"""Where a fault is, and what it says."""


@room.get("", summary="List timers")
async def list_timers(desk: AtDesk, where: Annotated[ScheduleQuery, Query()]) -> Page[TimerShown]:
    """Timers by name, removed ones too, each with what its newest call came to."""
    rows = [one for one in await desk.client.timers() if where.shows(one, caller=desk.tenant)]
    found = after(rows, where.cursor, where.limit, place=_name)
    chosen = found[: where.limit]
    latest = {row.name: await _latest(desk, row) for row in chosen}
    health = await desk.client.health(chosen)
    return page_of(
        found,
        where.limit,
        show=lambda row: shown(row, health.get(row.name), latest[row.name]),
        place=_name,
    )


def _name(row: ScheduleRow) -> str:
    return row.name


async def _latest(desk: AtDesk, row: ScheduleRow) -> RunView | None:
    """Return the newest run of a timer, whoever asked for it."""
    found = await desk.client.runs(RunFilter(schedule=row.name, limit=1))
    return found[0] if found else None


@room.post("/apply", Right.EDIT, summary="Apply a file of timers", problems=(409,))
async def apply_timers(desk: AtDesk, wanted: TimersFile) -> TimersApplied:
    """Make the timers of a file be as it says. A file with a fault is refused whole."""
    file, faults = read_timers(wanted.file, desk.ground.rules)
    if file is None:
        raise _all_wrong([(f"line {one.line}", one.message) for one in faults])
    file = _of_tenant(desk, file)
    how: dict[str, Any] = {"prune": wanted.prune}
    planned = await desk.client.apply_timers(file, by=desk.caller.by, dry_run=True, **how)
    if not wanted.dry_run:
        asked, before = {**how, **planned.counts()}, await timers_told(desk.client, planned)
        async with desk.changing(
            "timers.apply", file.owner, why=wanted.reason, before=before, asked=asked
        ) as entry:
            planned = await desk.client.apply_timers(file, by=desk.caller.by, **how)
            entry.after = {**planned.counts(), "timers": await timers_told(desk.client, planned)}
    return TimersApplied(
        owner=planned.owner,
        dry_run=planned.dry_run,
        counts=planned.counts(),
        timers={name: one.value for name, one in planned.outcomes.items()},
        removed=list(planned.removed),
    )


@room.get("/{timer}", summary="Show a timer", problems=(404,), responses=ETAG)
async def show_timer(desk: AtDesk, timer: Segment, response: Response) -> TimerShown:
    """One timer, with the ETag that changes ask for."""
    row = await desk.client.timer(timer)
    response.headers["ETag"] = etag(row)
    return await _shown(desk, row)


async def _shown(desk: AtDesk, row: ScheduleRow) -> TimerShown:
    health = await desk.client.health([row])
    return shown(row, health.get(row.name), await _latest(desk, row))


@room.put(
    "/{timer}", Right.EDIT, summary="Save a timer", problems=(404, 409, 412, 428), responses=ETAG
)
async def save_timer(
    desk: AtDesk,
    timer: Segment,
    wanted: TimerAsked,
    response: Response,
    if_match: IfMatch = None,
) -> TimerSaved:
    """Make or change a timer. One that is there needs `If-Match`; one that was removed comes back.

    Without `If-Match` only a timer that is not there, or was removed, is saved.
    """
    made = _read(desk, timer, wanted)
    row = await _seen(desk, timer, if_match)
    how: dict[str, Any] = {"owner": wanted.owner, "by": desk.caller.by, "reason": wanted.reason}
    how["revision"] = 0 if row is None else row.revision
    if wanted.dry_run:
        saved = await desk.client.save_timer(made.definition, **how, dry_run=True)
        return TimerSaved(outcome=saved.value, dry_run=True, timer=None)
    before = None if row is None else timer_told(row)
    asked = {"owner": wanted.owner, "call": msgspec.to_builtins(made.call)}
    async with desk.changing(
        "timers.save", timer, why=wanted.reason, before=before, asked=asked
    ) as entry:
        saved = await _saved(desk, made, how)
        row = await desk.client.timer(timer)
        entry.outcome, entry.after = saved.value, timer_told(row)
    response.headers["ETag"] = etag(row)
    return TimerSaved(outcome=saved.value, dry_run=False, timer=await _shown(desk, row))


async def _saved(desk: AtDesk, made: Timer, how: dict[str, Any]) -> Saved:
    """Save a timer; whoever was not the first to change it is told so."""
    name = made.definition.name
    try:
        return await desk.client.save_timer(made.definition, **how)
    except Refused:
        known = {row.name: row.revision for row in await desk.client.timers()}
        if known.get(name, how["revision"]) != how["revision"]:
            raise stale(name) from None
        raise


async def _seen(desk: AtDesk, name: str, if_match: str | None) -> ScheduleRow | None:
    """Return the timer as the caller saw it; None when there is none to be seen."""
    try:
        row = await desk.client.timer(name)
    except UnknownName:
        if if_match is not None:
            raise
        return None
    if row.state is ScheduleState.RETIRED and if_match is None:
        return row
    return seen(row, if_match)


def _read(desk: AtDesk, name: str, wanted: TimerAsked) -> Timer:
    keys = wanted.keys()
    if desk.tenant:
        keys.setdefault("tenant", desk.tenant)
    timer, faults = read_timer(name, keys, desk.ground.rules)
    if timer is None:
        raise _all_wrong([(one.key or "name", one.message) for one in faults])
    _check_tenant(desk, timer)
    return timer


def _of_tenant(desk: AtDesk, file: TimerFile) -> TimerFile:
    """Return a file whose timers are the caller's; raises `Problems` for those of others."""
    for one in file.timers:
        _check_tenant(desk, one)
    if not desk.tenant:
        return file
    return file._replace(timers=tuple(_owned(one, desk.tenant) for one in file.timers))


def _owned(timer: Timer, tenant: str) -> Timer:
    call = msgspec.structs.replace(timer.call, tenant=tenant)
    return Timer(owned_by(timer.definition, tenant), call)


def _check_tenant(desk: AtDesk, timer: Timer) -> None:
    """Refuse a timer of another tenant, and one that would carry a secret of the house away."""
    if not desk.tenant:
        return
    wrong: list[Told] = []
    if timer.definition.tenant not in ("", desk.tenant):
        wrong.append(("tenant", f"expected it to be {desk.tenant}, which this key is of"))
    if timer.call.secrets:
        wrong.append(("headers", "expected a tenant's call to name no secret of the house"))
    if wrong:
        raise _all_wrong(wrong)


def _all_wrong(told: Sequence[Told]) -> Problems:
    """Return a problem that names every fault, as far as anybody would read."""
    where, first = told[0]
    more = "" if len(told) == 1 else f" (and {len(told) - 1} more)"
    errors = [{"where": where, "expected": said, "got": ""} for where, said in told[:100]]
    return Problems(422, "invalid", f"{where}: {first}{more}", errors=errors)


@room.delete("/{timer}", Right.EDIT, summary="Remove a timer", problems=(404, 409, 412, 428))
async def remove_timer(
    desk: AtDesk, timer: Segment, said: Because, if_match: IfMatch = None
) -> Changed:
    """Retire a timer: it fires no more until it is saved again."""
    row = seen(await desk.client.timer(timer), if_match)
    async with desk.changing(
        "timers.remove", timer, why=said.reason, before=timer_told(row), asked=None
    ) as entry:
        try:
            answer: Answer = await desk.client.remove_timer(
                timer, by=desk.caller.by, reason=said.reason, revision=row.revision
            )
        except Refused:
            raise stale(timer) from None
        entry.outcome, entry.after = answer.value, timer_told(await desk.client.timer(timer))
    return Changed(outcome=answer.value)


@room.post(
    "/{timer}/test", Right.OPERATE, status_code=202, summary="Make a call now", problems=(404,)
)
async def test_timer(desk: AtDesk, timer: Segment, said: Why, response: Response) -> RunRef:
    """Make the call of a timer once, now and really; the run says what came of it."""
    before = timer_told(await desk.client.timer(timer))
    async with desk.changing(
        "timers.test", timer, why=said.reason, before=before, asked=None
    ) as entry:
        run = await desk.client.test_timer(timer, by=desk.caller.by)
        entry.after = {"run": str(run)}
    response.headers["Location"] = desk.path_of(f"runs/{run}")
    return RunRef(id=run, reuse="new")
