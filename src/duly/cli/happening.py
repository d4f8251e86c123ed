"""`duly events` shows what happens in the fleet, and says that something happened; `duly outbox`
shows what waits to leave.

What is emitted happens once: the first word about a name stays, and runs that wait for it go on.
What the fleet does is read from the store, in the order of its instants; nothing is written for it.
"""

from __future__ import annotations

import click
import msgspec

from duly.cli.display import show
from duly.cli.faults import USAGE, Fault
from duly.cli.following import happenings, line_of
from duly.cli.noting import changing
from duly.cli.session import (
    app_options,
    asynchronous,
    by_options,
    find_app,
    opened,
    output_option,
)
from duly.core.durations import parse_duration
from duly.core.feed import NAMES, REACH, Happening, Point
from duly.core.runs import Answer
from duly.core.spoken import distance_text
from duly.errors import InvalidValue, UnknownName, brief, one_line

_OUTBOX = {"TOPIC": "topic", "WAITING": "count", "OLDEST": "oldest", "AGE": "age"}


@click.group()
def events() -> None:
    """Show what happens in the fleet; say that something happened, to the runs that wait for it."""


@events.command("list")
@click.option("--since", metavar="LENGTH", default="10m", show_default=True, help="Up to 50m ago.")
@click.option("--follow", is_flag=True, help="Go on with what happens, until Ctrl-C.")
@click.option("--kinds", metavar="KIND,…", help="Only these, such as run.failed,incident.opened.")
@app_options
@output_option
@asynchronous
async def list_events(
    since: str,
    kinds: str | None,
    output: str,
    *,
    app_spec: str | None,
    follow: bool,
    store: str | None,
) -> None:
    """Show what happened in the fleet, a line each: ended runs, incidents, breakers, instances."""
    wanted = _kinds(kinds)
    length = parse_duration(since, what="--since")
    if length > REACH:
        raise InvalidValue.expected("--since", "a length of at most 50m", since)
    app = find_app(app_spec, store)
    async with opened(app):
        begin = Point((await app.client.feed(None)).now - length)
        async for one in happenings(app.client, app.clock, begin, follow=follow):
            if one is None:
                click.echo("the store cannot be sure: something may be missing here", err=True)
            elif one.name in wanted:
                click.echo(line_of(one) if output == "table" else _json_line(one))


def _kinds(text: str | None) -> frozenset[str]:
    """Return the kinds that are wanted; raises `UnknownName` for one that is never told."""
    if text is None:
        return NAMES
    asked = [one.strip() for one in text.split(",")]
    for one in asked:
        if one not in NAMES:
            raise UnknownName.of("kind", one, NAMES)
    return frozenset(asked)


def _json_line(one: Happening) -> str:
    told = {"id": one.point.text(), "event": one.name, **one.told()}
    return msgspec.json.encode(told).decode()


@events.command()
@click.argument("name")
@click.option("--value", metavar="JSON", default="null", help="What the event brings along.")
@by_options()
@app_options
@asynchronous
async def emit(
    name: str, value: str, *, by: str, reason: str, app_spec: str | None, store: str | None
) -> None:
    """Emit the event NAME, once; runs that wait for it go on."""
    try:
        brought = msgspec.json.decode(value.encode())
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        told = f"expected --value to be JSON, got {brief(value)}: {one_line(error)}"
        raise Fault(told, USAGE) from error
    app = find_app(app_spec, store)
    async with opened(app):
        async with changing(app, "events.emit", name, by=by, why=reason) as entry:
            answer = await app.client.emit(name, brought, by=by)
            entry.outcome, entry.after = answer.value, {"event": name}
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
