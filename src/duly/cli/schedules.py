"""`duly schedules`: what is due when, and who holds it back.

Every change tells who and why. Names that are not known are answered with the nearest one.
Instants may be given with an offset, or without: then they are read in the schedule's zone.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import click
import msgspec

from duly.app import Duly
from duly.app.declaring import zone_of
from duly.app.explaining import Explaining, wall_instant
from duly.cli.display import show, show_fields, show_json
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
from duly.client import Backfill
from duly.client.noting import definition_told, schedule_told
from duly.core.health import Health
from duly.core.instants import trigger_of
from duly.core.runs import Answer
from duly.core.schedules import ScheduleFilter, ScheduleRow
from duly.core.spoken import instant_text
from duly.core.triggers import upcoming
from duly.core.zones import zone
from duly.errors import InvalidValue

_COLUMNS = {
    "NAME": "name",
    "STATE": "state",
    "NEXT": "next_fire",
    "TRIGGER": "describes",
    "TASK": "task",
    "REASON": "reason",
}
_BESIDE = {"state": "breaker_state"}
"""What a word of a schedule's health is called beside the words of the schedule."""


@click.group()
def schedules() -> None:
    """Look at schedules, hold them back, run them out of turn."""


@schedules.command("list")
@tenant_option
@app_options
@output_option
@asynchronous
async def list_schedules(
    tenant: str | None, app_spec: str | None, store: str | None, output: str
) -> None:
    """List schedules with their next occurrence."""
    app = find_app(app_spec, store)
    where = ScheduleFilter(tenant=whose(tenant))
    async with opened(app):
        found = await app.client.schedules(where)
        health = await app.client.health(found)
    rows = [schedule_row(one, health.get(one.name)) for one in found]
    if output == "table":
        rows = [row | {"next_fire": _local(one)} for row, one in zip(rows, found, strict=True)]
    show(rows, _COLUMNS, output, empty="no schedules; declare one with @app.task(cron=…)")


def _local(row: ScheduleRow) -> str | None:
    return None if row.next_fire is None else instant_text(row.next_fire, zone_of(row.definition))


def schedule_row(row: ScheduleRow, health: Health | None = None) -> dict[str, Any]:
    """Return a schedule as JSON carries it; how its target stands is null where nothing asks."""
    return {
        "name": row.name,
        "owner": row.owner,
        "task": row.definition.task,
        "state": row.state.value,
        "reason": row.reason,
        "by": row.by,
        "next_fire": row.next_fire,
        "fired_through": row.fired_through,
        "describes": trigger_of(row.definition).describe(),
        "trigger": row.definition.trigger,
        "args": msgspec.json.decode(row.definition.args),
        "queue": row.definition.queue,
        "priority": row.definition.priority,
        "catch_up": msgspec.to_builtins(row.definition.catch_up),
        "overlap": row.definition.overlap.value,
        "jitter_s": row.definition.jitter.total_seconds(),
        "revision": row.revision,
        "source": row.source.value,
        "last_run": row.last_run,
        "created_at": row.created_at,
        "changed_at": row.changed_at,
        "health": None if health is None else msgspec.structs.asdict(health),
    }


def shown_alone(row: dict[str, Any]) -> dict[str, Any]:
    """Return a schedule as a table shows it: what is not there is left out."""
    known: dict[str, Any] = row["health"] or {}
    health = {_BESIDE.get(key, key): value for key, value in known.items()}
    flat = {key: value for key, value in row.items() if key != "health"} | health
    return {key: value for key, value in flat.items() if value not in (None, "")}


@schedules.command("show")
@click.argument("name")
@app_options
@output_option
@asynchronous
async def show_schedule(name: str, app_spec: str | None, store: str | None, output: str) -> None:
    """Show schedule NAME."""
    app = find_app(app_spec, store)
    async with opened(app):
        row = await app.client.schedule(name)
        health = await app.client.health([row])
    shown = schedule_row(row, health.get(name))
    show_fields(shown_alone(shown) if output == "table" else shown, output)


@schedules.command("next")
@click.argument("name")
@click.option("--count", type=click.IntRange(1, 1000), default=5, show_default=True)
@app_options
@output_option
@asynchronous
async def next_occurrences(
    name: str, count: int, app_spec: str | None, store: str | None, output: str
) -> None:
    """Show the next occurrences of NAME, with offsets; turns of the clocks are flagged."""
    app = find_app(app_spec, store)
    async with opened(app):
        row = await app.client.schedule(name)
        now = await app.store.clock()
        lines = await Explaining(app.store).next(name, count)
    if output == "json":
        coming = upcoming(trigger_of(row.definition), max(now, row.fired_through), count)
        return show_json([{"at": one.at, "local": one.local, "flag": one.flag} for one in coming])
    for line in lines:
        click.echo(line)


# --- what people change ---------------------------------------------------------------------

Verb = Callable[..., Awaitable[Answer]]


def _moving(name: str, said: str, help_text: str, *, required: bool) -> None:
    """Add a command that moves a schedule; `required` says that it asks for a reason."""
    needed: dict[str, Any] = {"required": True} if required else {"default": ""}

    @schedules.command(name, help=help_text)
    @click.argument("schedule")
    @click.option("--reason", help="Why, for whoever asks later.", **needed)
    @by_options(reason=False)
    @app_options
    @asynchronous
    async def move(
        schedule: str, reason: str, by: str, app_spec: str | None, store: str | None
    ) -> None:
        app = find_app(app_spec, store)
        async with opened(app):
            verb: Verb = getattr(app.client, name)
            before = schedule_told(await app.client.schedule(schedule))
            line: dict[str, Any] = {"by": by, "why": reason, "before": before}
            async with changing(app, f"schedules.{name}", schedule, **line) as entry:
                answer = await verb(schedule, by=by, reason=reason)
                entry.outcome = answer.value
                entry.after = schedule_told(await app.client.schedule(schedule))
        again = "" if answer is Answer.DONE else " already"
        click.echo(f"schedule {schedule} is {said}{again}")


_moving("pause", "paused", "Pause SCHEDULE; what falls due is blocked, and says by whom.",
        required=False)  # fmt: skip
_moving("resume", "active", "Resume a paused SCHEDULE, from now on.", required=False)
_moving("retire", "retired", "Retire SCHEDULE, whatever code declares.", required=True)
_moving("revive", "active", "Bring a retired SCHEDULE back, from now on.", required=False)


@schedules.command("give-back")
@click.argument("schedule")
@by_options()
@app_options
@asynchronous
async def give_back(
    schedule: str, by: str, reason: str, app_spec: str | None, store: str | None
) -> None:
    """End an edit: the next declaration by code holds again."""
    app = find_app(app_spec, store)
    async with opened(app):
        before = definition_told((await app.client.schedule(schedule)).definition)
        line: dict[str, Any] = {"by": by, "why": reason, "before": before}
        async with changing(app, "schedules.give-back", schedule, **line) as entry:
            answer = await app.client.give_back(schedule, by=by)
            entry.outcome = answer.value
            entry.after = schedule_told(await app.client.schedule(schedule))
    told = "was not edited" if answer is Answer.ALREADY else "belongs to code again"
    click.echo(f"schedule {schedule} {told}")


@schedules.command()
@click.argument("schedule")
@by_options()
@app_options
@asynchronous
async def trigger(
    schedule: str, by: str, reason: str, app_spec: str | None, store: str | None
) -> None:
    """Run SCHEDULE now, out of turn, for its newest occurrence."""
    app = find_app(app_spec, store)
    async with opened(app):
        before = schedule_told(await app.client.schedule(schedule))
        line: dict[str, Any] = {"by": by, "why": reason, "before": before}
        async with changing(app, "schedules.trigger", schedule, **line) as entry:
            handle = await app.client.trigger(schedule, by=by)
            entry.after = {"run": str(handle.id)}
    click.echo(str(handle.id))


@schedules.command()
@click.argument("schedule")
@click.option("--from", "start", required=True, metavar="INSTANT", help="First instant, included.")
@click.option("--to", "end", required=True, metavar="INSTANT", help="Last instant, excluded.")
@click.option("--dry-run", is_flag=True, help="Say what would run, and run nothing.")
@by_options()
@app_options
@output_option
@asynchronous
async def backfill(
    schedule: str, start: str, end: str, app_spec: str | None, output: str, **given: Any
) -> None:
    """Run past occurrences of SCHEDULE that are not known to have fired."""
    app = find_app(app_spec, given["store"])
    async with opened(app):
        row = await app.client.schedule(schedule)
        span = read_instant(start, row, "--from"), read_instant(end, row, "--to")
        done = await _backfill(app, row, *span, given)
    if output == "json":
        refused = [{"due": due, "why": why} for due, why in done.refused]
        document = {"runs": list(done.runs), "refused": refused, "dry_run": done.dry_run}
        return show_json(document)
    place = zone_of(row.definition)
    verb = "would run" if done.dry_run else "runs"
    click.echo(f"{verb} {len(done.runs)} occurrences of {schedule}; {len(done.refused)} refused")
    for due in done.runs:
        click.echo(f"  {verb} {instant_text(due, place)}")
    for due, why in done.refused:
        click.echo(f"  refused {instant_text(due, place)}: {why}")


async def _backfill(
    app: Duly, row: ScheduleRow, start: datetime, end: datetime, given: Mapping[str, Any]
) -> Backfill:
    by, why = given["by"], given["reason"]
    if given["dry_run"]:
        return await app.client.backfill(row.name, start, end, by=by, dry_run=True)
    asked, before = {"from": start, "to": end}, schedule_told(row)
    line: dict[str, Any] = {"by": by, "why": why, "before": before, "asked": asked}
    async with changing(app, "schedules.backfill", row.name, **line) as entry:
        done = await app.client.backfill(row.name, start, end, by=by)
        entry.after = {"runs": len(done.runs), "refused": len(done.refused)}
    return done


def read_instant(text: str, row: ScheduleRow, what: str) -> datetime:
    """Return an instant; without an offset it is read on the clocks of the schedule's zone."""
    try:
        given = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidValue.expected(what, "a time such as 2026-03-01T01:00", text) from None
    if given.tzinfo is not None:
        return given.astimezone(UTC)
    name = row.definition.trigger.get("tz")
    return wall_instant(given, zone(name if isinstance(name, str) else "UTC"))
