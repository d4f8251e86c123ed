"""`duly schedules edit`: a person's word on when a schedule is due, and by which policies.

What is not given stays as it is; what is given holds against code until it is given back. Nothing
is saved when somebody else changed the schedule since it was read. Arguments are checked against
the task's own parameters where the application is named, and need be no more than a JSON object
where it is not. The call of a timer is changed by `duly timers add --replace`, which can judge it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import click
import msgspec

from duly.app import Duly
from duly.app.explaining import wall_instant
from duly.cli.asking import read_arguments
from duly.cli.display import show_json
from duly.cli.noting import changing
from duly.cli.schedules import schedule_row
from duly.cli.session import app_options, asynchronous, by_options, find_app, opened, output_option
from duly.client.noting import definition_told, schedule_told
from duly.core.calls import TASK
from duly.core.durations import parse_duration
from duly.core.firing import check_definition
from duly.core.instants import trigger_of
from duly.core.runs import Answer
from duly.core.schedules import CatchUpMode, Definition, Overlap, ScheduleRow
from duly.core.triggers import Cron, Every, Once, trigger_from_spec
from duly.core.zones import zone
from duly.errors import InvalidValue, Refused, UnknownName, UsageError

_WHEN = ("cron", "every", "at", "tz")
_POLICIES = ("catch_up", "max_age", "overlap", "jitter")


@click.command()
@click.argument("schedule")
@click.option("--cron", help="When, as a cron expression.")
@click.option("--every", help='How often, such as "5m".')
@click.option("--at", help="Once, at an instant.")
@click.option("--tz", help="The zone of the cron expression, or of an instant without an offset.")
@click.option(
    "--catch-up",
    type=click.Choice([one.value for one in CatchUpMode]),
    help="What becomes of missed occurrences.",
)
@click.option("--max-age", help="How old a missed occurrence may be that is caught up.")
@click.option(
    "--overlap",
    type=click.Choice([one.value for one in Overlap]),
    help="What happens while an earlier run is live.",
)
@click.option("--jitter", help="Spread occurrences over so long.")
@click.option("--args", "document", metavar="JSON", help="All arguments, as a JSON object.")
@click.option("--reason", required=True, help="Why, for whoever asks later.")
@click.option("--revision", type=click.IntRange(1), help="Only if it is this one that you saw.")
@click.option("--dry-run", is_flag=True, help="Say what it would be, and change nothing.")
@by_options(reason=False)
@app_options
@output_option
@asynchronous
async def edit(schedule: str, app_spec: str | None, output: str, **given: Any) -> None:
    """Change when SCHEDULE is due, or how; holds against code until it is given back."""
    app = find_app(app_spec, given["store"])
    async with opened(app):
        row = await app.client.schedule(schedule)
        if given["revision"] not in (None, row.revision):
            raise Refused(f"schedule {schedule} was changed meanwhile; look again")
        wanted = edited(app, row, given)
        answer = Answer.DONE
        if not given["dry_run"]:
            by, reason = given["by"], given["reason"]
            told = {"before": definition_told(row.definition), "asked": definition_told(wanted)}
            async with changing(
                app, "schedules.edit", schedule, by=by, why=reason, **told
            ) as entry:
                answer = await app.client.edit(wanted, by=by, reason=reason, revision=row.revision)
                row = await app.client.schedule(schedule)
                entry.outcome, entry.after = answer.value, schedule_told(row)
    if output == "json":
        return show_json(schedule_row(msgspec.structs.replace(row, definition=wanted)))
    would = "would be" if given["dry_run"] else "is"
    again = " already" if answer is Answer.ALREADY else ""
    click.echo(f"schedule {schedule} {would} due {trigger_of(wanted).describe()}{again}")


def edited(app: Duly, row: ScheduleRow, given: Mapping[str, Any]) -> Definition:
    """Return the definition with what was given in its place; raises when it cannot be right."""
    if all(given[key] is None for key in (*_WHEN, *_POLICIES, "document")):
        raise UsageError("expected something to change: --cron, --overlap, --args or the like")
    before = row.definition
    changed = msgspec.structs.replace(
        before,
        trigger=_trigger(before.trigger, given),
        args=before.args if given["document"] is None else _args(app, before, given["document"]),
        catch_up=_catch_up(before, given),
    )
    if given["overlap"] is not None:
        changed = msgspec.structs.replace(changed, overlap=Overlap(given["overlap"]))
    if given["jitter"] is not None:
        jitter = parse_duration(given["jitter"], what="--jitter")
        changed = msgspec.structs.replace(changed, jitter=jitter)
    return check_definition(changed)


def _trigger(spec: dict[str, object], given: Mapping[str, Any]) -> dict[str, object]:
    """Return the trigger's spec: of the same kind with its other keys, or another one."""
    asked = [f"--{key}" for key in ("cron", "every", "at") if given[key] is not None]
    if len(asked) > 1:
        raise UsageError(f"expected one of --cron, --every, --at; got {' and '.join(asked)}")
    if given["at"] is not None:
        return Once(
            _instant(given["at"], spec.get("tz") if given["tz"] is None else given["tz"])
        ).spec()
    zoned = given["cron"] is not None or (given["every"] is None and spec["kind"] == "cron")
    if given["tz"] is not None and not zoned:
        raise UsageError("expected --tz with --cron or --at: nothing else has a zone")
    if given["every"] is not None:
        interval = parse_duration(given["every"], what="--every")
        return _put(spec, Every(interval).spec(), "interval")
    if given["cron"] is None and given["tz"] is None:
        return spec
    expression = given["cron"] if given["cron"] is not None else str(spec["expression"])
    tz = given["tz"] if given["tz"] is not None else str(spec.get("tz") or "UTC")
    return _put(spec, Cron(expression, tz=tz).spec(), "expression", "tz")


def _instant(text: str, tz: object) -> datetime:
    """Return an instant; one without an offset is read on the clocks of a zone, if there is one."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidValue.expected("--at", "a time such as 2026-03-01T01:00", text) from None
    if at.tzinfo is not None:
        return at.astimezone(UTC)
    if not isinstance(tz, str):
        raise InvalidValue.expected("--at", "an instant with an offset, or --tz beside it", text)
    return wall_instant(at, zone(tz))


def _put(spec: dict[str, object], made: dict[str, object], *keys: str) -> dict[str, object]:
    """Put keys of a new spec into an old one of the same kind; else the new one is all."""
    if spec["kind"] != made["kind"]:
        return made
    return trigger_from_spec(spec | {key: made[key] for key in keys}).spec()


def _catch_up(before: Definition, given: Mapping[str, Any]) -> Any:
    policy = before.catch_up
    if given["catch_up"] is not None:
        policy = msgspec.structs.replace(policy, mode=CatchUpMode(given["catch_up"]))
    if given["max_age"] is not None:
        age = parse_duration(given["max_age"], what="--max-age")
        policy = msgspec.structs.replace(policy, max_age=age)
    return policy


def _args(app: Duly, before: Definition, document: str) -> bytes:
    """Return arguments as the store has them."""
    if before.task == TASK:
        raise InvalidValue("expected a timer's call to be changed by duly timers add --replace")
    arguments = read_arguments((), document)
    if before.task in app.tasks:
        return app.tasks[before.task].encode((), arguments)
    if app.tasks:
        raise UnknownName.of("task", before.task, app.tasks)
    return msgspec.json.encode(arguments)
