"""Tasks: what there is to ask for, and asking for it.

Only tasks of the application that this server was started with can be asked for: it knows their
arguments, queues and limits. `Idempotency-Key` is the run's key: the same task and key is the
same run, whoever asks and however often.
"""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Annotated, Any
from uuid import UUID

import msgspec
from fastapi import Header, Query, Response
from pydantic import BaseModel, Field, StrictStr

from duly.client import Options
from duly.core.access import Right
from duly.core.durations import parse_duration
from duly.core.fleet import InstanceState
from duly.core.tasks import Task
from duly.errors import UnknownName
from duly.server.api.desk import AtDesk, Desk, Room
from duly.server.api.problems import Problems
from duly.server.api.shapes import (
    Asked,
    Count,
    Instant,
    Named,
    Page,
    Paging,
    Said,
    Segment,
    Tenant,
    after,
    page_of,
)

room = Room("tasks", named="task")


class TaskShown(BaseModel):
    """A task. `known`: this server has its code, so that runs of it can be asked for here."""

    name: str
    known: bool
    instances: int = Field(description="Live instances that carry it.")
    queue: str | None = None
    priority: int | None = None
    retries: int | None = None
    timeout_s: float | None = None
    limit_key: str | None = None
    limit: int | None = None
    parameters: dict[str, Any] | None = Field(
        default=None, description="JSON Schema of its arguments."
    )


class RunAsked(Asked):
    """A run that is wanted."""

    args: dict[str, Any] = Field(default_factory=dict, description="Arguments by name.")
    run_at: Instant | None = Field(default=None, description="Not before this instant.")
    delay: StrictStr | None = Field(
        default=None, max_length=40, description='Not before, such as "10m".'
    )
    queue: Named | None = None
    priority: Annotated[Count, Field(ge=-32768, le=32767)] | None = None
    expires_after: StrictStr | None = Field(
        default=None, max_length=40, description="Not started within this time, it never runs."
    )
    tenant: Tenant | None = Field(default=None, description="Whose it is: by default the caller's.")
    reason: Said = ""


class RunRef(BaseModel):
    """The run that stands for the work. `reuse` says whether it is new, or had its key."""

    id: UUID
    reuse: str


@room.get("", summary="List tasks")
async def list_tasks(desk: AtDesk, where: Annotated[Paging, Query()]) -> Page[TaskShown]:
    """Tasks of this server's application, and those that live instances carry."""
    shown = await _all(desk)
    found = after(shown, where.cursor, where.limit, place=_name)
    return page_of(found, where.limit, show=lambda one: one, place=_name)


@room.get("/{task}", summary="Show a task", problems=(404,))
async def show_task(desk: AtDesk, task: Segment) -> TaskShown:
    """One task."""
    shown = {one.name: one for one in await _all(desk)}
    if task not in shown:
        raise UnknownName.of("task", task, shown)
    return shown[task]


async def _all(desk: AtDesk) -> list[TaskShown]:
    live = [one for one in await desk.client.instances() if one.state is InstanceState.LIVE]
    carried = Counter(name for one in live for name in one.tasks)
    names = sorted({*carried, *desk.ground.tasks})
    return [_shown(name, desk.ground.tasks.get(name), carried[name]) for name in names]


def _name(one: TaskShown) -> str:
    return one.name


def _shown(name: str, task: Task | None, instances: int) -> TaskShown:
    if task is None:
        return TaskShown(name=name, known=False, instances=instances)
    return TaskShown(
        name=name,
        known=True,
        instances=instances,
        queue=task.queue,
        priority=task.priority,
        retries=task.retry.retries,
        timeout_s=None if task.timeout is None else task.timeout.total_seconds(),
        limit_key=task.limit_key,
        limit=task.limit if task.limit_key else None,
        parameters=_schema(task),
    )


def _schema(task: Task) -> dict[str, Any] | None:
    try:
        return msgspec.json.schema(task.params)
    except TypeError:  # a type of the user's own, which has no schema
        return None


@room.post(
    "/{task}/runs",
    Right.OPERATE,
    status_code=202,
    summary="Ask for a run",
    problems=(404, 409),
)
async def ask_for_run(
    desk: AtDesk,
    task: Segment,
    wanted: RunAsked,
    response: Response,
    *,
    idempotency_key: Annotated[
        str | None,
        Header(
            description="The run's key: the same task and key is the same run, for ever.",
            min_length=1,
            max_length=500,
        ),
    ] = None,
) -> RunRef:
    """Ask for a run; what was acknowledged survives any crash.

    With a key: a live run of it is joined, a succeeded one returned, a failed one retried; a
    parked one is refused with the reason.
    """
    client = desk.client
    await must_be_here(desk, task)
    spec = client.task(task)
    options = Options(
        key=idempotency_key,
        run_at=wanted.run_at,
        delay=_length(wanted.delay, "delay"),
        queue=wanted.queue,
        priority=wanted.priority,
        expires_after=_length(wanted.expires_after, "expires_after"),
        asked_by=desk.caller.by,
        tenant=desk.tenant_for(wanted.tenant),
    )
    run = client.new_run(spec, spec.encode((), wanted.args), options)
    # Arguments stay with the run, which is pruned: the audit is kept for ever.
    options_given = wanted.model_dump(mode="json", exclude_unset=True, exclude={"args", "reason"})
    asked = {"key": idempotency_key, **options_given}
    async with desk.changing("tasks.run", task, why=wanted.reason, asked=asked) as entry:
        [handle] = await client.enqueue([run])
        entry.outcome = handle.reuse.value
        entry.after = {"run": str(handle.id)}
    response.headers["Location"] = desk.path_of(f"runs/{handle.id}")
    return RunRef(id=handle.id, reuse=handle.reuse.value)


async def must_be_here(desk: Desk, task: str) -> None:
    """Refuse a task that live instances carry and this server has no code of.

    Its arguments, queue and limits are in the code. One that nobody carries is left to be told as
    not known.
    """
    if task in desk.ground.tasks:
        return
    known = await desk.client.instances()
    there = [one for one in known if one.state is InstanceState.LIVE and task in one.tasks]
    if not there:
        return
    count = f"{len(there)} live instance{'' if len(there) == 1 else 's'}"
    expected = "a server that was started with the application: duly server shop.py"
    said = f"{count} carry {task}, but this server has no code of it; expected {expected}"
    raise Problems(409, "refused", said, told={"expected": expected, "got": "a server without it"})


def _length(text: str | None, what: str) -> timedelta | None:
    return None if text is None else parse_duration(text, what=what)
