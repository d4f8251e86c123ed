"""`duly events` says that something happened; `duly outbox` shows what waits to leave.

An event happens once: the first word about a name stays, and runs that wait for it go on.
"""

from __future__ import annotations

import click
import msgspec

from duly.cli.display import show
from duly.cli.faults import USAGE, Fault
from duly.cli.session import (
    app_options,
    asynchronous,
    by_options,
    find_app,
    opened,
    output_option,
)
from duly.core.runs import Answer
from duly.core.spoken import distance_text
from duly.errors import brief, one_line

_OUTBOX = {"TOPIC": "topic", "WAITING": "count", "OLDEST": "oldest", "AGE": "age"}


@click.group()
def events() -> None:
    """Say that something happened, to the runs that wait for it."""


@events.command()
@click.argument("name")
@click.option("--value", metavar="JSON", default="null", help="What the event brings along.")
@by_options(reason=False)
@app_options
@asynchronous
async def emit(name: str, value: str, by: str, app_spec: str | None, store: str | None) -> None:
    """Emit the event NAME, once; runs that wait for it go on."""
    try:
        brought = msgspec.json.decode(value.encode())
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        told = f"expected --value to be JSON, got {brief(value)}: {one_line(error)}"
        raise Fault(told, USAGE) from error
    app = find_app(app_spec, store)
    async with opened(app):
        answer = await app.client.emit(name, brought, by=by)
        before = await app.store.happened([name]) if answer is Answer.ALREADY else []
        now = await app.store.clock()
    if answer is not Answer.ALREADY:
        return click.echo(f"event {name} is emitted")
    told = "".join(
        (f" by {one.by}" if one.by else "") + (f", {distance_text(one.at, now)}" if one.at else "")
        for one in before
    )
    click.echo(f"event {name} was emitted before{told}; the first word stays")


@click.command()
@app_options
@output_option
@asynchronous
async def outbox(app_spec: str | None, store: str | None, output: str) -> None:
    """Show how many messages wait to be relayed, by topic."""
    app = find_app(app_spec, store)
    async with opened(app):
        found = await app.client.outbox()
        now = await app.store.clock()
    rows = [
        msgspec.structs.asdict(one)
        | {"age_s": now - one.oldest, "age": distance_text(one.oldest, now)}
        for one in found
    ]
    show(rows, _OUTBOX, output, empty="no message waits to be relayed")
