"""`duly runs`: list them, show one, cancel it, try it again, fork it, decide for it.

A run is named by its id or the first 8 characters or more of it. Cancelling a run that is in
hand asks its holder, who answers in its own time. A decision is kept for ever: the first one
stays.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

import click
import msgspec

from duly.app.explaining import find_run
from duly.cli.display import say, show, show_fields, show_json
from duly.cli.noting import changing
from duly.cli.session import (
    app_options,
    asynchronous,
    by_options,
    find_app,
    opened,
    output_option,
    tenant_option,
    whose,
)
from duly.client.noting import run_told
from duly.core.access import unscoped
from duly.core.runs import Answer, RunFilter, RunView
from duly.core.spoken import last_line, rfc3339
from duly.core.states import RunState
from duly.core.steps import APPROVAL, Event, Memory, Step, StepKind, approval
from duly.core.why import hidden, progress_text, value_text
from duly.errors import Refused

_COLUMNS = {
    "ID": "id",
    "TASK": "task",
    "STATE": "state",
    "DUE": "due",
    "ENQUEUED": "enqueued_at",
    "REASON": "told",
}


@click.group()
def runs() -> None:
    """Look at runs, cancel them, try them again, decide for them."""


@runs.command("list")
@click.option("--state", type=click.Choice([one.value for one in RunState]))
@click.option("--task", help="Runs of this task only.")
@click.option("--schedule", help="Runs of this schedule only.")
@click.option("--queue", help="Runs of this queue only.")
@tenant_option
@click.option("--before", type=click.UUID, help="Older than this run: the last id of a page.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@app_options
@output_option
@asynchronous
async def list_runs(
    state: str | None, task: str | None, app_spec: str | None, output: str, **given: Any
) -> None:
    """List runs, newest first."""
    app = find_app(app_spec, given["store"])
    where = RunFilter(
        state=RunState(state) if state else None,
        task=task,
        schedule=given["schedule"],
        queue=given["queue"],
        tenant=whose(given["tenant"]),
        before=given["before"],
        limit=given["limit"],
    )
    async with opened(app):
        found = await app.client.runs(where)
    rows = [run_row(one) | {"told": _told(one)} for one in found]
    if output == "json":
        rows = [run_row(one) for one in found]
    columns = dict(_COLUMNS)
    if any(one.progress for one in found) and output == "table":
        columns["PROGRESS"] = "progress"
        rows = [row | {"progress": _progress(one)} for row, one in zip(rows, found, strict=True)]
    show(rows, columns, output, empty="no runs")


def _progress(view: RunView) -> str | None:
    return None if view.progress is None else progress_text(view.progress)


def _told(view: RunView) -> str:
    return view.reason or (last_line(view.error, 80) if view.error else "")


def run_row(view: RunView) -> dict[str, Any]:
    """Return a run as JSON carries it; arguments and result are decoded."""
    row = msgspec.structs.asdict(view) | {"key": unscoped(view.key, view.tenant)}
    row["args"] = _decoded(view.args)
    row["result"] = _decoded(view.result)
    row["attempts"] = [msgspec.to_builtins(one) for one in view.attempts]
    return row


def _decoded(data: bytes | None) -> Any:
    return None if data is None else msgspec.json.decode(data)


@runs.command("show")
@click.argument("run")
@app_options
@output_option
@asynchronous
async def show_run(run: str, app_spec: str | None, store: str | None, output: str) -> None:
    """Show RUN with what it remembers, its attempts and its last error."""
    app = find_app(app_spec, store)
    async with opened(app):
        view = await find_run(app.store, run)
        memory = await app.client.remembered(view.id)
    row = run_row(view)
    if output == "json":
        return show_fields(row | {"steps": [step_row(one) for one in memory.steps]}, output)
    attempts = row.pop("attempts")
    row["progress"] = _progress(view)
    show_fields({name: value for name, value in row.items() if value is not None}, output)
    for line in told_steps(memory):
        say(line)
    for one in attempts:
        click.echo(f"attempt {one['epoch']}: {one['started_at']} to {one['ended_at']}"
                   f" on boot {one['boot']}: {one['outcome']}")  # fmt: skip
        if one["detail"]:
            say("  " + str(one["detail"]).rstrip().replace("\n", "\n  "))


@runs.command()
@click.argument("run")
@click.option("--attempt", type=click.IntRange(min=1), help="Of this attempt only.")
@app_options
@output_option
@asynchronous
async def logs(
    run: str, attempt: int | None, app_spec: str | None, store: str | None, output: str
) -> None:
    """Show what the code of RUN logged: the last lines of each attempt, or why none are kept."""
    app = find_app(app_spec, store)
    async with opened(app):
        view = await find_run(app.store, run)
        attempts = await app.client.logs(view.id)
    chosen = [one for one in attempts if attempt in (None, one.attempt)]
    if output == "json":
        return show_json([msgspec.to_builtins(one) for one in chosen])
    if not chosen:
        known = ", ".join(str(one.attempt) for one in attempts) or "none was begun"
        return click.echo(f"no such attempt of run {view.id}: {known}", err=True)
    for one in chosen:
        click.echo(f"attempt {one.attempt} ({one.outcome})")
        if one.unkept:
            click.echo(f"  ({one.unkept})")
        for line in one.lines:
            said = line.text.rstrip().replace("\n", "\n  | ")
            say(f"  {rfc3339(line.at)} {line.level:<8} {line.logger}: {said}")
    return None


def step_row(step: Step) -> dict[str, Any]:
    """Return a remembered step as JSON carries it."""
    row = msgspec.structs.asdict(step)
    return row | {"kind": step.kind.value, "value": _decoded(step.value)}


def told_steps(memory: Memory) -> list[str]:
    """Return steps as lines, in their order; those the engine keeps for itself are left out."""
    lines = []
    for one in memory.steps:
        if one.kind is StepKind.FORK:
            lines.append(f"step: it goes on with the effects of the run {_decoded(one.value)}")
        elif not hidden(one):
            at = "" if one.at is None else f" at {rfc3339(one.at.replace(microsecond=0))}"
            kind = "" if one.kind is StepKind.RESULT else f" ({one.kind.value})"
            lines.append(f"step {one.number}: {one.name}{kind}{at}: {value_text(one)}")
    return lines


@runs.command()
@click.argument("run")
@by_options()
@app_options
@asynchronous
async def cancel(run: str, by: str, reason: str, app_spec: str | None, store: str | None) -> None:
    """Cancel RUN; one that is running is asked to stop."""
    app = find_app(app_spec, store)
    async with opened(app):
        view = await find_run(app.store, run)
        why = reason or "no reason given"
        line: dict[str, Any] = {"by": by, "why": why, "before": run_told(view)}
        async with changing(app, "runs.cancel", view.id, **line) as entry:
            answer = await app.client.cancel(view.id, by=by, reason=why)
            entry.outcome = answer.value
            entry.after = run_told(await app.client.run(view.id))
    click.echo(_said(view.id, answer))


def _said(run: UUID, answer: Answer) -> str:
    words = {
        Answer.DONE: "is cancelled",
        Answer.REQUESTED: "is asked to stop; duly why tells when its holder answered",
        Answer.ALREADY: "was cancelled, or asked to stop, before",
    }
    return f"run {run} {words.get(answer, answer.value)}"


@runs.command()
@click.argument("run")
@by_options()
@app_options
@asynchronous
async def retry(run: str, by: str, reason: str, app_spec: str | None, store: str | None) -> None:
    """Run a failed RUN again with a new budget, or let a parked one go on."""
    app = find_app(app_spec, store)
    async with opened(app):
        view = await find_run(app.store, run)
        line: dict[str, Any] = {"by": by, "why": reason, "before": run_told(view)}
        async with changing(app, "runs.retry", view.id, **line) as entry:
            answer = await app.client.retry(view.id, by=by)
            entry.outcome = answer.value
            entry.after = run_told(await app.client.run(view.id))
    word = "goes on" if answer is Answer.DONE else "is live already"
    click.echo(f"run {view.id} {word}")


@runs.command()
@click.argument("run")
@click.option("--from", "step", required=True, metavar="STEP", help="The first step to forget.")
@by_options()
@app_options
@asynchronous
async def fork(
    run: str, step: str, *, by: str, reason: str, app_spec: str | None, store: str | None
) -> None:
    """Let RUN go on as a new run that forgets STEP and all after it.

    RUN is cancelled unless it has ended. Effects that are done are not done again. The id of the
    new run is printed.
    """
    app = find_app(app_spec, store)
    async with opened(app):
        view = await find_run(app.store, run)
        line: dict[str, Any] = {"by": by, "why": reason, "before": run_told(view)}
        async with changing(app, "runs.fork", view.id, asked={"step": step}, **line) as entry:
            new = await app.client.fork(view.id, at=step, by=by)
            entry.after = {"run": str(new)}
        click.echo(str(new))


@runs.command()
@click.argument("run")
@click.argument("name")
@click.option("--reject", is_flag=True, help="Decide against it.")
@by_options()
@app_options
@asynchronous
async def approve(run: str, name: str, reject: bool, app_spec: str | None, **given: Any) -> None:
    """Decide what RUN asked for with ctx.approve(NAME)."""
    app = find_app(app_spec, given["store"])
    async with opened(app):
        view = await find_run(app.store, run)
        by, reason = given["by"], given["reason"]
        asked = {"name": name, "approved": not reject}
        line: dict[str, Any] = {"by": by, "why": reason, "before": run_told(view), "asked": asked}
        async with changing(app, "runs.approve", view.id, **line) as entry:
            answer = await app.client.approve(
                view.id, name, approved=not reject, by=by, reason=reason
            )
            entry.outcome = answer.value
            entry.after = {**run_told(await app.client.run(view.id)), "decided": name}
        decided = await app.store.happened([approval(view.id, name)])
        after = await app.client.run(view.id)
    if after.state is RunState.PARKED and after.reason == APPROVAL:
        raise Refused(
            f"run {view.id} still waits: it asks for a decision of another name than {name!r}"
        )
    click.echo(f"run {view.id}: {_decision(name, answer, decided)}")


def _decision(name: str, answer: Answer, decided: list[Event]) -> str:
    body = _decoded(decided[0].body) if decided else {}
    word = "approved" if body.get("approved") else "rejected"
    if answer is Answer.ALREADY:
        return f"{name} was {word} before by {body.get('by')}; that stays"
    return f"{name} is {word}"
