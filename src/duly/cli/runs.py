"""`duly runs`: list them, show one, cancel it, try it again.

A run is named by its id or the first 8 characters or more of it. Cancelling a run that is in
hand asks its holder, who answers in its own time.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

import click
import msgspec

from duly.app.explaining import find_run
from duly.cli.display import show, show_fields
from duly.cli.session import (
    app_options,
    asynchronous,
    by_options,
    find_app,
    opened,
    output_option,
)
from duly.core.runs import Answer, RunFilter, RunView
from duly.core.spoken import last_line
from duly.core.states import RunState

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
    """Look at runs, cancel them, try them again."""


@runs.command("list")
@click.option("--state", type=click.Choice([one.value for one in RunState]))
@click.option("--task", help="Runs of this task only.")
@click.option("--schedule", help="Runs of this schedule only.")
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
        before=given["before"],
        limit=given["limit"],
    )
    async with opened(app):
        found = await app.client.runs(where)
    rows = [run_row(one) | {"told": _told(one)} for one in found]
    if output == "json":
        rows = [run_row(one) for one in found]
    show(rows, _COLUMNS, output, empty="no runs")


def _told(view: RunView) -> str:
    return view.reason or (last_line(view.error, 80) if view.error else "")


def run_row(view: RunView) -> dict[str, Any]:
    """Return a run as JSON carries it; arguments and result are decoded."""
    row = msgspec.structs.asdict(view)
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
    """Show RUN with its attempts and its last error."""
    app = find_app(app_spec, store)
    async with opened(app):
        view = await find_run(app.store, run)
    row = run_row(view)
    if output == "json":
        return show_fields(row, output)
    attempts = row.pop("attempts")
    show_fields({name: value for name, value in row.items() if value is not None}, output)
    for one in attempts:
        click.echo(f"attempt {one['epoch']}: {one['started_at']} to {one['ended_at']}"
                   f" on boot {one['boot']}: {one['outcome']}")  # fmt: skip
        if one["detail"]:
            click.echo("  " + str(one["detail"]).rstrip().replace("\n", "\n  "))


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
        answer = await app.client.cancel(view.id, by=by, reason=reason or "no reason given")
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
@by_options(reason=False)
@app_options
@asynchronous
async def retry(run: str, by: str, app_spec: str | None, store: str | None) -> None:
    """Run a failed RUN again with a new budget, or let a parked one go on."""
    app = find_app(app_spec, store)
    async with opened(app):
        view = await find_run(app.store, run)
        answer = await app.client.retry(view.id, by=by)
    word = "goes on" if answer is Answer.DONE else "is live already"
    click.echo(f"run {view.id} {word}")
