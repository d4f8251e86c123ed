"""`duly timers`: HTTP calls on a schedule, made at run time with no code: one by one, or by file.

What is saved is checked whole first, and every fault is told at once, with its key (and its line,
in a file) and the nearest right one. Where calls may go is read from the settings of `calls` of
whoever types the command; the instances that make them (`duly serve`) judge by their own again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click
import msgspec

from duly.app import Duly
from duly.cli.display import say, show, show_fields, show_json
from duly.cli.faults import FAILED, USAGE, Fault
from duly.cli.noting import changing
from duly.cli.schedules import schedule_row, shown_alone
from duly.cli.session import (
    app_options,
    asynchronous,
    by_options,
    find_app,
    opened,
    output_option,
)
from duly.client import Applied, Saved
from duly.client.noting import timer_told, timers_told
from duly.core.calls import TASK
from duly.core.durations import parse_duration
from duly.core.health import Health
from duly.core.runs import Answer, RunFilter, RunView
from duly.core.schedules import ScheduleRow
from duly.core.spoken import last_line
from duly.core.states import RunState, ScheduleState
from duly.core.targets import shown_url
from duly.core.timers import KEYS, OWNER, Timer, TimerFile, call_of, read_timer, read_timers
from duly.core.why.schedules import last_answer
from duly.errors import Refused, WorkFailed

_COLUMNS = {
    "NAME": "name",
    "STATE": "state",
    "NEXT": "next_fire",
    "TRIGGER": "describes",
    "CALL": "calls",
    "LAST": "last_answer",
}
LARGEST_FILE = 8 * 1024 * 1024


@click.group()
def timers() -> None:
    """HTTP calls on a schedule, without any code. `duly serve` makes them."""


@timers.command("list")
@app_options
@output_option
@asynchronous
async def list_timers(app_spec: str | None, store: str | None, output: str) -> None:
    """List timers, with what their last call came to."""
    app = find_app(app_spec, store)
    async with opened(app):
        found = await app.client.timers()
        health = await app.client.health(found)
        rows = [timer_row(one, health.get(one.name), await _last(app, one)) for one in found]
    for row in rows:
        if row["call"] is not None:
            row["call"]["url"] = shown_url(row["call"]["url"])
    show(rows, _COLUMNS, output, empty="no timers; make one with duly timers add")


async def _last(app: Duly, row: ScheduleRow) -> RunView | None:
    """Return the newest run of a timer, whoever asked for it."""
    found = await app.client.runs(RunFilter(schedule=row.name, limit=1))
    return await app.store.run(found[0].id) if found else None


def timer_row(row: ScheduleRow, health: Health | None, last: RunView | None) -> dict[str, Any]:
    """Return a timer as JSON carries it; secrets are names only, as they are stored.

    Its URL is whole in `call` alone.
    """
    call = call_of(row.definition)
    told = schedule_row(row, health)
    del told["args"]
    return told | {
        "calls": None if call is None else call.endpoint,
        "call": None if call is None else msgspec.to_builtins(call),
        "last_run": None if last is None else last.id,
        "last_answer": None if last is None else last_answer(last) or last.state.value,
    }


@timers.command("show")
@click.argument("name")
@app_options
@output_option
@asynchronous
async def show_timer(name: str, app_spec: str | None, store: str | None, output: str) -> None:
    """Show timer NAME."""
    app = find_app(app_spec, store)
    async with opened(app):
        row = await app.client.timer(name)
        health = await app.client.health([row])
        shown = timer_row(row, health.get(name), await _last(app, row))
    if output == "table":
        shown = {key: one for key, one in shown_alone(shown).items() if key != "call"} | _told(row)
    show_fields(shown, output)


def _told(row: ScheduleRow) -> dict[str, Any]:
    """Return what is left of a call for people: all of it but the query of its URL."""
    call = call_of(row.definition)
    if call is None:
        return {}
    return {"call": msgspec.to_builtins(call) | {"url": shown_url(call.url)}}


# --- making and removing --------------------------------------------------------------------

_TEXTS = {
    "cron": "When, as a cron expression.",
    "every": 'How often, such as "5m".',
    "at": "Once, at an instant with an offset.",
    "tz": "The zone of the cron expression, and of what a template says.",
    "url": "Where to, whole; its path may hold {due} and its kind.",
    "base": "Where to, in two parts: scheme and host, with --path.",
    "path": "The path below --base; it may hold {due} and its kind.",
    "method": "GET (the default), HEAD, POST, PUT, PATCH, DELETE or OPTIONS.",
    "text": "A body, as it is.",
    "template": "A body with {due}, {window_start}, {window_end}, {schedule}, {run}.",
    "deadline": "How long the whole call may take; 30s, if not said.",
    "completion": "Wait so long for the target to say that what it started (202) is done.",
    "heartbeat": "How often it must show life until then.",
    "max_age": "How old a missed occurrence may be that is caught up.",
    "catch_up": "skip, latest or all: what becomes of missed occurrences.",
    "overlap": "skip, queue_one, queue_all, cancel_running or allow.",
    "jitter": "Spread occurrences over so long.",
    "breaker": "Whose breaker it has: timer, host, tenant, or a name that timers share.",
    "tenant": "Whose it is.",
    "kind": "user or system.",
}


def _text_options(fn: Any) -> Any:
    for key, meaning in reversed(_TEXTS.items()):
        assert key in KEYS, f"{key} is a key of timers"
        fn = click.option(f"--{key.replace('_', '-')}", key, help=meaning)(fn)
    return fn


@timers.command("add")
@click.argument("name")
@_text_options
@click.option(
    "--header",
    "headers",
    multiple=True,
    metavar="NAME: VALUE",
    help="A header; secret:NAME in it is looked up when it is sent.",
)
@click.option("--json", "document", metavar="JSON", help="A body of JSON.")
@click.option(
    "--expect", multiple=True, metavar="STATUS", help="What means success: 200, 2xx or 200-204."
)
@click.option(
    "--threshold", type=click.IntRange(1, 1000), help="After how many failures in a row it opens."
)
@click.option("--kept-bytes", type=int, help="How much of an answer is kept.")
@click.option(
    "--idempotent/--not-idempotent",
    default=None,
    help="Whether the call may be made again when nobody knows what became of it.",
)
@click.option("--sign", multiple=True, metavar="secret:NAME", help="Sign it as a webhook.")
@click.option("--owner", default=OWNER, show_default=True, help="Whose timer it is.")
@click.option("--replace", is_flag=True, help="Change it, if it is there already.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@by_options()
@app_options
@asynchronous
async def add(name: str, app_spec: str | None, store: str | None, **given: Any) -> None:
    """Make timer NAME."""
    app = find_app(app_spec, store)
    timer = _described(name, given, app)
    async with opened(app, create=not given["dry_run"]):
        known = {one.name: one for one in await app.client.timers()}
        there = name in known and known[name].state is not ScheduleState.RETIRED
        if there and not given["replace"]:
            raise Refused(f"timer {name} is there already; --replace changes it")
        saved = await _save(app, timer, known.get(name), given)
    would = "would be " if given["dry_run"] else ""
    click.echo(f"timer {name}: {would}{saved}")


async def _save(
    app: Duly, timer: Timer, known: ScheduleRow | None, given: Mapping[str, Any]
) -> Saved:
    how = {one: given[one] for one in ("owner", "by", "reason")}
    if given["dry_run"]:
        return await app.client.save_timer(timer.definition, **how, dry_run=True)
    name, before = timer.definition.name, None if known is None else timer_told(known)
    asked = {"owner": given["owner"], "call": msgspec.to_builtins(timer.call)}
    line: dict[str, Any] = {"by": how["by"], "why": how["reason"], "before": before}
    async with changing(app, "timers.save", name, asked=asked, **line) as entry:
        saved = await app.client.save_timer(timer.definition, **how)
        entry.outcome, entry.after = saved.value, timer_told(await app.client.timer(name))
    return saved


def _described(name: str, given: Mapping[str, Any], app: Duly) -> Timer:
    """Return the timer that options describe; raises `Fault` with all that is wrong."""
    fields: dict[str, object] = {key: given[key] for key in _TEXTS if given[key] is not None}
    wrong: list[str] = []
    headers: dict[str, str] = {}
    for text in given["headers"]:
        key, colon, value = text.partition(":")
        if not colon:
            wrong.append("header: expected it to be written as NAME: VALUE")
        headers[key.strip()] = value.strip()
    if headers:
        fields["headers"] = headers
    if given["document"] is not None:
        try:
            fields["json"] = msgspec.json.decode(given["document"].encode())
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            wrong.append(f"json: expected JSON: {error}")
    fields |= {key: list(given[key]) for key in ("expect", "sign") if given[key]}
    numbers = ("threshold", "kept_bytes", "idempotent")
    fields |= {key: given[key] for key in numbers if given[key] is not None}
    timer, faults = read_timer(name, fields, app.settings.calls.rules)
    wrong += [f"{key}: {told}" if key else told for key, told in faults]
    if timer is None or wrong:
        raise _all_wrong(f"timer {name}", wrong)
    return timer


def _all_wrong(what: str, told: Iterable[str]) -> Fault:
    lines = [f"  {one}" for one in told]
    count = f"{len(lines)} fault{'s' if len(lines) != 1 else ''}"
    return Fault("\n".join([f"{what} has {count}; nothing was changed:", *lines]), USAGE)


@timers.command("remove")
@click.argument("name")
@click.option("--reason", required=True, help="Why, for whoever asks later.")
@by_options(reason=False)
@app_options
@asynchronous
async def remove(name: str, reason: str, by: str, app_spec: str | None, store: str | None) -> None:
    """Retire timer NAME: it fires no more until it is saved again."""
    app = find_app(app_spec, store)
    async with opened(app):
        before = timer_told(await app.client.timer(name))
        line: dict[str, Any] = {"by": by, "why": reason, "before": before}
        async with changing(app, "timers.remove", name, **line) as entry:
            answer = await app.client.remove_timer(name, by=by, reason=reason)
            entry.outcome, entry.after = answer.value, timer_told(await app.client.timer(name))
    click.echo(f"timer {name} is removed{'' if answer is Answer.DONE else ' already'}")


@timers.command("test")
@click.argument("name")
@click.option("--timeout", default="1m", show_default=True, help="How long to wait for its end.")
@by_options()
@app_options
@output_option
@asynchronous
async def test(name: str, timeout: str, app_spec: str | None, output: str, **given: Any) -> None:
    """Make the call of timer NAME once, now and really, and show what came of it."""
    app = find_app(app_spec, given["store"])
    limit = parse_duration(timeout, what="--timeout")
    async with opened(app):
        client = app.client
        by, before = given["by"], timer_told(await client.timer(name))
        line: dict[str, Any] = {"by": by, "why": given["reason"], "before": before}
        async with changing(app, "timers.test", name, **line) as entry:
            run = await client.test_timer(name, by=by)
            entry.after = {"run": str(run)}
        click.echo(f"run {run}", err=True)
        if not any(TASK in one.tasks and one.state.value == "live"
                   for one in await client.instances()):  # fmt: skip
            click.echo("nobody makes calls yet: it waits for duly serve", err=True)
        try:
            result = await client.result(run, limit)
        except WorkFailed as error:
            said = last_line((await client.run(run)).error)
            raise Fault(f"timer {name} failed: {said}; duly why {run}", FAILED) from error
        except TimeoutError:
            view = await client.run(run)
            parked = view.state is RunState.PARKED
            told = f"is {view.state}" + (f": {view.reason}" if parked else f" after {timeout}")
            raise Fault(f"timer {name}: its run {told}; duly why {run}", FAILED) from None
    if output == "json":
        return show_json(result)
    click.echo(f"timer {name} answered {result['status']}")
    if result.get("body"):
        say(result["body"])


# --- files ----------------------------------------------------------------------------------


@timers.command("apply")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--prune", is_flag=True, help="Remove the owner's timers that FILE does not name.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@by_options()
@app_options
@output_option
@asynchronous
async def apply(file: Path, prune: bool, dry_run: bool, app_spec: str | None, **given: Any) -> None:
    """Make the timers of FILE (TOML) be as it says."""
    app = find_app(app_spec, given["store"])
    declared, faults = read_timers(_read(file), app.settings.calls.rules)
    if declared is None:
        told = [f"{file.name}:{line}: {said}" if line else f"{file.name}: {said}"
                for line, said in faults]  # fmt: skip
        raise _all_wrong(str(file), told)
    async with opened(app, create=not dry_run):
        done = await _apply(app, declared, given, prune=prune, dry_run=dry_run)
    _show_applied(done, given["output"])


async def _apply(
    app: Duly, file: TimerFile, given: Mapping[str, Any], *, prune: bool, dry_run: bool
) -> Applied:
    by, why = given["by"], given["reason"] or "applied from a file"
    planned = await app.client.apply_timers(file, by=by, prune=prune, dry_run=True)
    if dry_run:
        return planned
    before = await timers_told(app.client, planned)
    asked = {"prune": prune, **planned.counts()}
    async with changing(
        app, "timers.apply", file.owner, by=by, why=why, before=before, asked=asked
    ) as entry:
        done = await app.client.apply_timers(file, by=by, prune=prune)
        entry.after = {**done.counts(), "timers": await timers_told(app.client, done)}
    return done


def _show_applied(done: Applied, output: str) -> None:
    if output == "json":
        document = {"owner": done.owner, "dry_run": done.dry_run, "counts": done.counts(),
                    "timers": done.outcomes, "removed": done.removed}  # fmt: skip
        return show_json(msgspec.to_builtins(document))
    for name, outcome in done.outcomes.items():
        if outcome != "same":
            click.echo(f"{outcome:8}  {name}")
    for name in done.removed:
        click.echo(f"removed   {name}")
    counts = ", ".join(f"{count} {what}" for what, count in done.counts().items())
    click.echo(f"{'would be ' if done.dry_run else ''}{counts}")


def _read(file: Path) -> str:
    try:
        with file.open("rb") as opened_file:
            data = opened_file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise Fault(f"{file} cannot be read: {error.strerror}", USAGE) from None
    if len(data) > LARGEST_FILE:
        raise Fault(f"expected {file} to have at most {LARGEST_FILE:,} bytes", USAGE)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise Fault(f"expected {file} to be UTF-8", USAGE) from None
