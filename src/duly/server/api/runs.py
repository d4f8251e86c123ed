"""Runs: what was asked for, where it stands, and what people do about it.

A list is read newest first by cursor, so that what is added meanwhile moves nothing. Of many runs
at once the dry run counts what the other would change, and both walk the same runs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from fastapi import Query, Response
from pydantic import BaseModel, Field

from duly.client.noting import run_told
from duly.core.access import Right, on_rows, unscoped
from duly.core.runs import Attempt, RunFilter, RunView
from duly.core.states import RunState
from duly.core.steps import MAX_NAME
from duly.errors import InvalidValue, Refused
from duly.server.api.desk import AtDesk, Room
from duly.server.api.problems import Problems
from duly.server.api.shapes import (
    Asked,
    Because,
    Changed,
    Count,
    Explained,
    Flag,
    Named,
    Page,
    Paging,
    Reason,
    Said,
    Shown,
    Tenant,
    Why,
    decoded,
    page_of,
    run_of,
)
from duly.server.api.tasks import RunRef

room = Room("runs")

WALK = 500
MOST_AT_ONCE = 10_000
FILTERS = ("state", "task", "schedule", "queue", "tenant")
"""By which runs are chosen of which many are changed at once."""


class AttemptShown(BaseModel):
    """One past try."""

    epoch: int
    boot: UUID
    started_at: Shown
    ended_at: Shown
    outcome: str
    detail: str | None = None


class ProgressShown(BaseModel):
    """How far a run is."""

    done: int | None = None
    total: int | None = None
    note: str | None = None
    published: int = 0
    effects: int = 0
    at: Shown | None = None


class Decision(Asked):
    """What is decided of a thing that a run asked for with `ctx.approve(name)`."""

    name: Annotated[Said, Field(min_length=1, max_length=MAX_NAME)]
    approved: Flag
    reason: Said = ""


class LineShown(BaseModel):
    """One line that the code of a run logged."""

    at: Shown = Field(description="By the clock of the process that logged it.")
    level: str
    logger: str
    text: str


class AttemptLogged(BaseModel):
    """The last lines of one attempt."""

    attempt: int
    outcome: str = Field(description="How it ended; of the newest: the state of the run.")
    told: int = Field(description="How many lines it logged, as far as is known.")
    lines: list[LineShown]
    unkept: str = Field(description="Why lines are not here that may have been logged; else empty.")


class LogsShown(BaseModel):
    """What the code of a run logged, by attempt, oldest first."""

    attempts: list[AttemptLogged]


class LogQuery(Asked):
    """Of which attempt; all by default."""

    attempt: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None


class RunShown(BaseModel):
    """A run, and where it stands."""

    id: UUID
    task: str
    queue: str
    priority: int
    state: RunState
    reason: str | None
    origin: str
    key: str | None
    schedule: str | None
    due: Shown | None
    window_start: Shown | None
    parent: UUID | None
    asked_by: str | None
    enqueued_at: Shown
    wake_at: Shown | None
    started_at: Shown | None
    ended_at: Shown | None
    boot: UUID | None
    epoch: int
    failures: int
    deaths: int
    limit_key: str | None
    cancel_requested: str | None
    tenant: str = Field(description="Whose it is; empty: the house's.")


class RunInFull(RunShown):
    """A run with what went in, what came out, and its past attempts."""

    args: Any
    result: Any
    error: str | None
    progress: ProgressShown | None
    attempts: list[AttemptShown]


class RunQuery(Paging):
    """Which runs."""

    state: RunState | None = None
    task: Named | None = None
    schedule: Named | None = None
    queue: Named | None = None
    tenant: Tenant | None = None


class Bulk(Asked):
    """What is to be done with many runs at once, and with which. One of the filters is needed."""

    action: Literal["cancel", "retry"]
    dry_run: Flag
    reason: Reason
    state: RunState | None = None
    task: Named | None = None
    schedule: Named | None = None
    queue: Named | None = None
    tenant: Tenant | None = None
    expected: Annotated[Count, Field(ge=0)] | None = Field(
        default=None, description="Do nothing when another number of runs matches."
    )


class BulkDone(BaseModel):
    """Exact counts: of the runs that matched, and of what became of each."""

    dry_run: bool
    matched: int
    outcomes: dict[str, int]


class Fork(Asked):
    """The step from which a run is to go on anew."""

    step: Annotated[Said, Field(min_length=1, max_length=MAX_NAME)]
    reason: Said = ""


@room.get("", summary="List runs")
async def list_runs(desk: AtDesk, where: Annotated[RunQuery, Query()]) -> Page[RunShown]:
    """Runs, newest first."""
    found = await desk.client.runs(
        RunFilter(
            state=where.state,
            task=where.task,
            schedule=where.schedule,
            queue=where.queue,
            tenant=None if where.tenant is None else on_rows(where.tenant),
            before=run_of(where.cursor),
            limit=where.limit + 1,
        )
    )
    return page_of(found, where.limit, show=shown, place=lambda one: str(one.id))


@room.post("/bulk", Right.OPERATE, summary="Cancel or retry many runs", problems=(409,))
async def change_many(desk: AtDesk, wanted: Bulk) -> BulkDone:
    """Cancel or retry every run that matches now; the dry run says how many that are."""
    if all(getattr(wanted, name) is None for name in FILTERS):
        raise InvalidValue(f"expected at least one of {', '.join(FILTERS)}")
    found = [one async for one in _matching(desk, wanted)]
    if wanted.expected is not None and len(found) != wanted.expected:
        told = {"expected": f"{wanted.expected} runs", "got": f"{len(found)}"}
        said = f"expected {wanted.expected} runs to match, got {len(found)}; nothing was changed"
        raise Problems(409, "refused", said, told=told)
    if wanted.dry_run:
        outcomes = Counter("would" if _can(wanted, one) else "impossible" for one in found)
        return BulkDone(dry_run=True, matched=len(found), outcomes=dict(outcomes))
    asked = wanted.model_dump(mode="json", exclude_none=True)
    subject, before = f"{len(found)} runs", Counter(one.state.value for one in found)
    async with desk.changing(
        f"runs.{wanted.action}.many", subject, why=wanted.reason, before=before, asked=asked
    ) as entry:
        outcomes = Counter([await _change(desk, wanted, one) for one in found])
        entry.after = dict(outcomes)
    return BulkDone(dry_run=False, matched=len(found), outcomes=dict(outcomes))


async def _matching(desk: AtDesk, wanted: Bulk) -> AsyncIterator[RunView]:
    """Walk all runs that match, newest first; raises `InvalidValue` beyond 10,000."""
    before: UUID | None = None
    count = 0
    while True:
        where = RunFilter(
            state=wanted.state,
            task=wanted.task,
            schedule=wanted.schedule,
            queue=wanted.queue,
            tenant=None if wanted.tenant is None else on_rows(wanted.tenant),
            before=before,
            limit=WALK,
        )
        page = await desk.client.runs(where)
        for one in page:
            count += 1
            if count > MOST_AT_ONCE:
                raise InvalidValue(f"expected at most {MOST_AT_ONCE:,} runs at once; narrow it")
            yield one
        if len(page) < WALK:
            return
        before = page[-1].id


_RETRIED = (RunState.FAILED, RunState.PARKED)
_OVER = (RunState.SUCCEEDED, RunState.FAILED, RunState.SKIPPED, RunState.EXPIRED)


def _can(wanted: Bulk, one: RunView) -> bool:
    if wanted.action == "retry":
        return one.state in _RETRIED
    return one.state not in _OVER and one.state is not RunState.CANCELLED


async def _change(desk: AtDesk, wanted: Bulk, one: RunView) -> str:
    """Change one run; return what that came to."""
    if not _can(wanted, one):
        return "impossible"
    try:
        if wanted.action == "retry":
            return (await desk.client.retry(one.id, by=desk.caller.by)).value
        answer = await desk.client.cancel(one.id, by=desk.caller.by, reason=wanted.reason)
    except Refused:  # it moved meanwhile
        return "impossible"
    return answer.value


@room.get("/{run}", summary="Show a run", problems=(404,))
async def show_run(desk: AtDesk, run: UUID) -> RunInFull:
    """One run with its attempts."""
    return in_full(await desk.client.run(run))


@room.get("/{run}/why", summary="Say why a run is as it is", problems=(404,))
async def why_run(desk: AtDesk, run: UUID) -> Explained:
    """The chain of causes, in words."""
    return Explained(**msgspec.to_builtins(await desk.ground.explain(str(run))))


@room.get("/{run}/logs", summary="Show what a run logged", problems=(404,))
async def run_logs(desk: AtDesk, run: UUID, where: Annotated[LogQuery, Query()]) -> LogsShown:
    """The last lines that the code of each attempt logged, or why they are not kept."""
    attempts = await desk.client.logs(run)
    return LogsShown(
        attempts=[
            AttemptLogged(**msgspec.to_builtins(one, builtin_types=(datetime,)))
            for one in attempts
            if where.attempt in (None, one.attempt)
        ]
    )


@room.post("/{run}/cancel", Right.OPERATE, summary="Cancel a run", problems=(404, 409))
async def cancel_run(desk: AtDesk, run: UUID, said: Because) -> Changed:
    """Cancel a run; `requested` when its holder was asked, and answers in its own time."""
    before = await _state(desk, run)
    async with desk.changing(
        "runs.cancel", str(run), why=said.reason, before=before, asked=None
    ) as entry:
        answer = await desk.client.cancel(run, by=desk.caller.by, reason=said.reason)
        entry.outcome, entry.after = answer.value, await _state(desk, run)
    return Changed(outcome=answer.value)


@room.post("/{run}/retry", Right.OPERATE, summary="Retry a run", problems=(404, 409))
async def retry_run(desk: AtDesk, run: UUID, said: Why) -> Changed:
    """Run a failed run again with a new budget, or let a parked one go on."""
    before = await _state(desk, run)
    async with desk.changing(
        "runs.retry", str(run), why=said.reason, before=before, asked=None
    ) as entry:
        answer = await desk.client.retry(run, by=desk.caller.by)
        entry.outcome, entry.after = answer.value, await _state(desk, run)
    return Changed(outcome=answer.value)


@room.post("/{run}/fork", Right.OPERATE, status_code=202, summary="Fork a run", problems=(404, 409))
async def fork_run(desk: AtDesk, run: UUID, wanted: Fork, response: Response) -> RunRef:
    """Let a run go on as another one that forgets a step and all after it."""
    before = await _state(desk, run)
    async with desk.changing(
        "runs.fork", str(run), why=wanted.reason, before=before, asked={"step": wanted.step}
    ) as entry:
        new = await desk.client.fork(run, at=wanted.step, by=desk.caller.by)
        entry.after = {"run": str(new)}
    response.headers["Location"] = desk.path_of(f"runs/{new}")
    return RunRef(id=new, reuse="new")


@room.post("/{run}/approve", Right.OPERATE, summary="Decide for a run", problems=(404, 409))
async def decide(desk: AtDesk, run: UUID, said: Decision) -> Changed:
    """Decide what a run asks for, or will; the first decision stays: `already`."""
    before = await _state(desk, run)
    asked = {"name": said.name, "approved": said.approved}
    async with desk.changing(
        "runs.approve", str(run), why=said.reason, before=before, asked=asked
    ) as entry:
        answer = await desk.client.approve(
            run, said.name, approved=said.approved, by=desk.caller.by, reason=said.reason
        )
        entry.outcome = answer.value
        entry.after = {**await _state(desk, run), "decided": said.name}
    return Changed(outcome=answer.value)


async def _state(desk: AtDesk, run: UUID) -> dict[str, Any]:
    return run_told(await desk.client.run(run))


def shown(view: RunView) -> RunShown:
    """Return a run as a list shows it."""
    return RunShown(**_fields(view, RunShown))


def in_full(view: RunView) -> RunInFull:
    """Return a run with everything that is known of it."""
    fields = _fields(view, RunInFull) | {
        "args": decoded(view.args),
        "result": decoded(view.result),
        "progress": view.progress and ProgressShown(**msgspec.structs.asdict(view.progress)),
        "attempts": [_attempt(one) for one in view.attempts],
    }
    return RunInFull(**fields)


def _attempt(one: Attempt) -> AttemptShown:
    fields: dict[str, Any] = {**msgspec.structs.asdict(one), "outcome": one.outcome.value}
    return AttemptShown(**fields)


def _fields(view: RunView, shape: type[BaseModel]) -> dict[str, Any]:
    same = {name: getattr(view, name) for name in shape.model_fields}
    return same | {"key": unscoped(view.key, view.tenant)}
