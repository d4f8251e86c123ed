"""`duly incidents`: what a person should know, and a person's word on it.

Without a further word it lists. Whoever acknowledges an incident deals with it, and nobody is
reminded of it any more; whoever closes one says that it was dealt with: what is still wrong opens
another.
"""

from __future__ import annotations

from typing import Any

import click
import msgspec

from duly.cli.display import show
from duly.cli.noting import changing
from duly.cli.session import (
    app_options,
    asynchronous,
    by_options,
    find_app,
    opened,
    output_option,
)
from duly.client import Client
from duly.client.noting import incident_told
from duly.core.runs import Answer
from duly.errors import UnknownName

_COLUMNS = {
    "OPENED": "opened_at",
    "SEVERITY": "severity",
    "KIND": "kind",
    "SUBJECT": "subject",
    "SUMMARY": "summary",
    "CLOSED": "closed_at",
}
_SOMETIMES = {
    "ACKNOWLEDGED BY": "acknowledged_by",
    "NOTE": "acknowledged_note",
    "WHAT BECAME OF IT": "became",
}


@click.group(invoke_without_command=True)
@click.option("--all", "every", is_flag=True, help="Also those that are over.")
@app_options
@output_option
@click.pass_context
def incidents(
    context: click.Context, every: bool, app_spec: str | None, store: str | None, output: str
) -> None:
    """List incidents, newest first; or acknowledge or close one."""
    if context.invoked_subcommand is None:
        _list(every, app_spec, store, output)


@asynchronous
async def _list(every: bool, app_spec: str | None, store: str | None, output: str) -> None:
    app = find_app(app_spec, store)
    async with opened(app):
        found = await app.client.incidents(only_open=not every)
    rows = [msgspec.structs.asdict(one) | {"became": one.evidence.get("closed")} for one in found]
    told = {name: key for name, key in _SOMETIMES.items() if any(row[key] for row in rows)}
    show(rows, _COLUMNS | told, output, empty="no incidents")


@incidents.command("ack")
@click.argument("kind")
@click.argument("subject")
@click.option("--note", required=True, help="What is being done about it; kept with it.")
@by_options(reason=False)
@app_options
@asynchronous
async def acknowledge(
    kind: str, subject: str, *, note: str, by: str, app_spec: str | None, store: str | None
) -> None:
    """Say that you deal with an open incident; nobody is reminded of it any more."""
    app = find_app(app_spec, store)
    async with opened(app):
        before = await _open_one(app.client, kind, subject)
        line: dict[str, Any] = {"by": by, "why": note, "before": before}
        async with changing(app, "incidents.acknowledge", f"{kind} {subject}", **line) as entry:
            answer = await app.client.acknowledge(kind, subject, by=by, note=note)
            if answer is Answer.UNKNOWN:
                raise await _unknown(app.client, kind, subject)
            entry.outcome, entry.after = answer.value, await _told(app.client, kind, subject)
    told = "somebody has it already" if answer is Answer.ALREADY else "acknowledged"
    click.echo(f"{kind} {subject}: {told}")


@incidents.command("close")
@click.argument("kind")
@click.argument("subject")
@click.option("--note", required=True, help="What was done about it; kept with it.")
@by_options(reason=False)
@app_options
@asynchronous
async def close(
    kind: str, subject: str, *, note: str, by: str, app_spec: str | None, store: str | None
) -> None:
    """Close an incident that was dealt with; what is still wrong opens another."""
    app = find_app(app_spec, store)
    async with opened(app):
        before = await _open_one(app.client, kind, subject)
        line: dict[str, Any] = {"by": by, "why": note, "before": before}
        async with changing(app, "incidents.close", f"{kind} {subject}", **line) as entry:
            if not await app.client.close_incident(kind, subject, by=by, note=note):
                raise await _unknown(app.client, kind, subject)
            entry.after = await _told(app.client, kind, subject)
    click.echo(f"{kind} {subject}: closed")


async def _open_one(client: Client, kind: str, subject: str) -> dict[str, Any]:
    """Return how an open incident stands, as the audit keeps it; raises `UnknownName`."""
    told = await _told(client, kind, subject)
    if told is None or not told["open"]:
        raise await _unknown(client, kind, subject)
    return told


async def _told(client: Client, kind: str, subject: str) -> dict[str, Any] | None:
    known = await client.incidents(only_open=False)  # the newest first
    mine = (one for one in known if (one.kind, one.subject) == (kind, subject))
    return next(map(incident_told, mine), None)


async def _unknown(client: Client, kind: str, subject: str) -> UnknownName:
    known = [f"{one.kind} {one.subject}" for one in await client.incidents()]
    return UnknownName.of("open incident", f"{kind} {subject}", known)
