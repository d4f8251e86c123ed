"""`duly run` asks for work, `duly why` asks why something is as it is.

Arguments of a task come as `--arg name=value`, where a value that is JSON is read as JSON and
anything else is text, or as one JSON object. What `--wait` prints is the result, as JSON.
"""

from __future__ import annotations

import json
from typing import Any

import click
import msgspec

from duly.app.explaining import Explaining
from duly.cli.display import say, show_json
from duly.cli.faults import FAILED, USAGE, Fault
from duly.cli.noting import changing
from duly.cli.session import app_options, asynchronous, find_app, opened, output_option, person
from duly.client import Options
from duly.core.durations import parse_duration
from duly.core.fleet import InstanceState
from duly.core.runs import Reuse
from duly.core.spoken import last_line
from duly.core.why import Explanation
from duly.errors import InvalidValue, UnknownName, WorkFailed, brief, one_line


@click.command()
@click.argument("task")
@click.option("--arg", "pairs", multiple=True, metavar="NAME=VALUE", help="One argument.")
@click.option("--args", "document", metavar="JSON", help="All arguments, as a JSON object.")
@click.option("--key", help="One run per key, ever: a live one is joined, a done one returned.")
@click.option("--tenant", default="", help="Whose run it is; its key is scoped by it.")
@click.option("--delay", metavar="DURATION", help='Not before, such as "10m".')
@click.option("--reason", default="", help="Why, for whoever asks later.")
@click.option("--wait", is_flag=True, help="Wait for the end and print the result.")
@click.option("--timeout", metavar="DURATION", help="How long to wait; the run goes on after that.")
@app_options
@asynchronous
async def run(
    task: str, pairs: tuple[str, ...], document: str | None, app_spec: str | None, **given: Any
) -> None:
    """Ask for a run of TASK."""
    app = find_app(app_spec, given["store"], needed_for="duly run")
    if task not in app.tasks:
        raise UnknownName.of("task", task, app.tasks)
    spec = app.tasks[task]
    encoded = spec.encode((), read_arguments(pairs, document))
    delay = None if given["delay"] is None else parse_duration(given["delay"], what="--delay")
    limit = None if given["timeout"] is None else parse_duration(given["timeout"], what="--timeout")
    options = Options(key=given["key"], delay=delay, asked_by=person(), tenant=given["tenant"])
    async with opened(app, create=True):
        client, by = app.client, person()
        asked = {one: given[one] for one in ("key", "delay", "tenant") if given[one]}
        new = client.new_run(spec, encoded, options)
        async with changing(
            app, "tasks.run", task, by=by, why=given["reason"], asked=asked
        ) as entry:
            [handle] = await client.enqueue([new])
            entry.outcome, entry.after = handle.reuse.value, {"run": str(handle.id)}
        if not given["wait"]:
            told = "" if handle.reuse is Reuse.NEW else f"  ({handle.reuse.value})"
            return click.echo(f"{handle.id}{told}")
        click.echo(f"run {handle.id}", err=True)
        if not any(one.state is InstanceState.LIVE for one in await client.instances()):
            click.echo("no live worker is there yet: it waits for one (duly worker)", err=True)
        try:
            show_json(await handle.result(limit))
        except WorkFailed as error:
            said = last_line((await handle.view()).error)
            told = f"run {handle.id} of {task} failed: {said}; duly runs show {handle.id}"
            raise Fault(told, FAILED) from error


def read_arguments(pairs: tuple[str, ...], document: str | None) -> dict[str, Any]:
    """Return arguments by name; raise `Fault` for text that cannot be read."""
    given: dict[str, Any] = {}
    if document is not None:
        try:
            given = msgspec.json.decode(document.encode(), type=dict[str, Any])
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            told = f"expected --args to be a JSON object: {one_line(error)}"
            raise Fault(told, USAGE) from error
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise Fault(f"expected --arg to be name=value, got {brief(pair)}", USAGE)
        if name in given:
            raise Fault(f"the argument {brief(name)} was given twice", USAGE)
        given[name] = _value(value)
    return given


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


@click.command()
@click.argument("thing", nargs=-1, required=True)
@click.option(
    "--explain-next",
    "count",
    type=click.IntRange(1, 1000),
    metavar="N",
    help="Show a schedule's next N occurrences too.",
)
@app_options
@output_option
@asynchronous
async def why(
    thing: tuple[str, ...], count: int | None, app_spec: str | None, store: str | None, output: str
) -> None:
    """Say why THING is as it is.

    THING is a run's id (or its first 8 characters or more), a schedule,
    schedule@occurrence, such as mail_orders@2026-03-01T01:00, an effect as
    TASK NAME KEY, such as mail_orders mail 2026-11-22, or has its kind before
    it: breaker:NAME, instance:NAME, "incident:KIND SUBJECT", queue:NAME,
    limit:KEY, "key:TASK KEY", timer:NAME. In JSON each cause has an identifier.
    """
    named = " ".join(thing)
    app = find_app(app_spec, store)
    async with opened(app):
        explaining = Explaining(app.store, app.tasks)
        answer = await explaining.explain(named)
        coming: tuple[str, ...] = ()
        if count is not None:
            schedule = named.partition("@")[0]
            if await app.store.schedule(schedule) is None:
                raise InvalidValue(f"expected --explain-next with a schedule, got {named}")
            coming = await explaining.next(schedule, count)
    if output == "json":
        return show_json({**msgspec.to_builtins(answer), "next": list(coming)})
    for line in told(answer, coming):
        say(line)


def told(answer: Explanation, coming: tuple[str, ...] = ()) -> list[str]:
    """Return an explanation as lines for people."""
    lines = [f"{answer.subject}: {answer.headline}"]
    lines += [f"  - {one}" for one in answer.causes]
    if answer.see:
        lines.append(f"see also: {', '.join(answer.see)}")
    if answer.helps:
        lines += ["what helps:", *(f"  {one}" for one in answer.helps)]
    if coming:
        lines += ["next:", *(f"  {one}" for one in coming)]
    return lines
