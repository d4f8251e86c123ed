"""`duly notify`: which channels there are, who would hear of what, and whether a channel works.

Neither command opens the store: a channel can be tried while the database is away. `test` sends a
notice that says it is a test, to one channel or to each in turn, and tells what came of it; its
exit code is 0 when all took it, 75 when another try may help, 78 when something must be changed
first. Secrets are looked up as a worker does it, and never shown.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import time, timedelta
from pathlib import Path
from typing import Any

import click

from duly.app import Duly
from duly.cli.display import show, show_json
from duly.cli.faults import MISCONFIGURED, TEMPORARY, Fault
from duly.cli.session import app_options, asynchronous, find_app, output_option
from duly.config import ConfiguredChannel
from duly.core.durations import format_duration
from duly.core.hearing import heard_by
from duly.core.notices import SEVERITIES, Notice, NoticeKind, Rule
from duly.errors import UnknownName, UsageError
from duly.outbound.base import DestinationUnavailable
from duly.outbound.channels import Channel, make_channel
from duly.outbound.secrets import Secrets

_CHANNELS = {
    "CHANNEL": "channel",
    "KIND": "kind",
    "LEADS TO": "leads_to",
    "ZONE": "zone",
    "QUIET": "quiet",
    "DIGEST": "digest_at",
    "REMINDERS": "remind",
    "GATHERS": "gather",
}
_RULES = {
    "CHANNELS": "channels",
    "KINDS": "kinds",
    "SEVERITY": "severity",
    "OWNERS": "owners",
    "SUBJECTS": "subjects",
}
_ABSENT = "no channels; docs/how-to/notifications.md shows how to write [notify] in duly.toml"


@click.group()
def notify() -> None:
    """Look at the channels that tell people of incidents, and try them."""


@notify.command("test")
@click.argument("channel", required=False)
@app_options
@output_option
@asynchronous
async def test_channels(
    channel: str | None, app_spec: str | None, store: str | None, output: str
) -> int:
    """Send a test notice to CHANNEL, or to every channel."""
    app = find_app(app_spec, store)
    rows = [await _tried(app, one) for one in _chosen(app, channel)]
    columns = {"CHANNEL": "channel", "OUTCOME": "outcome", "WHY": "why"}
    show(rows, columns, output, empty=_ABSENT)
    return max((row["exit_code"] for row in rows), default=0)


def _chosen(app: Duly, name: str | None) -> Sequence[ConfiguredChannel]:
    channels = app.settings.notify.channels
    if not channels:
        raise Fault(_ABSENT, MISCONFIGURED)
    if name is None:
        return channels
    found = [one for one in channels if one.plan.name == name]
    if not found:
        raise UnknownName.of("channel", name, [one.plan.name for one in channels])
    return found


async def _tried(app: Duly, one: ConfiguredChannel) -> dict[str, Any]:
    """Send a test to one channel, and return what came of it."""
    notice = Notice(
        id=app.clock.new_id(),
        kind=NoticeKind.TEST,
        channel=one.plan.name,
        at=app.clock.now(),
        zone=one.plan.zone,
        application=app.name,
    )
    told = {"channel": one.plan.name, "notice": notice.id}
    try:
        await _made(app, one).send(notice)
    except (DestinationUnavailable, UsageError) as error:
        code = MISCONFIGURED if error.permanent else TEMPORARY
        outcome = "refused" if error.permanent else "failed"
        return told | {"outcome": outcome, "why": str(error), "exit_code": code}
    return told | {"outcome": "sent", "why": "", "exit_code": 0}


def _made(app: Duly, one: ConfiguredChannel) -> Channel:
    folder = app.settings.calls.secrets
    secrets = Secrets(os.environ, Path(folder) if folder else None)
    return make_channel(one, app.settings, secrets=secrets, now=app.clock.now)


@notify.command("show")
@click.option("--kind", metavar="KIND", help="Who would hear of an incident of this kind?")
@click.option(
    "--severity",
    type=click.Choice(SEVERITIES),
    default=SEVERITIES[-1],
    show_default=True,
    help="How bad it is.",
)
@click.option("--subject", default="", help="What it is about.")
@click.option("--owner", default="", help="Whose it is.")
@app_options
@output_option
def show_notify(app_spec: str | None, store: str | None, output: str, **asked: str) -> None:
    """Show channels and rules; with --kind, who would hear of such an incident."""
    app = find_app(app_spec, store)
    channels, rules = app.settings.notify.channels, app.settings.notify.rules
    rows = [_channel_row(one) for one in channels]
    if asked["kind"]:
        hearing = heard_by(app.settings.notify.plan, **asked)
        rows = [
            row | {"hears": _when(row, asked["severity"])}
            for row in rows
            if row["channel"] in hearing
        ]
        columns = {"CHANNEL": "channel", "LEADS TO": "leads_to", "WHEN": "hears"}
        empty = "nobody would hear of it" if channels else _ABSENT
        return show(rows, columns, output, empty=empty)
    if output == "json":
        return show_json({"channels": rows, "rules": [_rule_row(one) for one in rules]})
    show(rows, _CHANNELS, output, empty=_ABSENT)
    if rules:
        click.echo()
        show([_rule_row(one) for one in rules], _RULES, output, empty="")
    return None


def _channel_row(one: ConfiguredChannel) -> dict[str, Any]:
    plan = one.plan
    quiet = None
    if plan.quiet_from is not None and plan.quiet_until is not None:
        quiet = f"{_clock(plan.quiet_from)}-{_clock(plan.quiet_until)}"
    return {
        "channel": plan.name,
        "kind": one.kind,
        "leads_to": one.leads_to,
        "zone": plan.zone,
        "quiet": quiet,
        "digest_at": None if plan.digest_at is None else _clock(plan.digest_at),
        "remind": [format_duration(gap) for gap in plan.remind],
        "gather": format_duration(plan.gather),
    }


def _rule_row(rule: Rule) -> dict[str, Any]:
    return {
        "channels": list(rule.channels),
        "kinds": list(rule.kinds),
        "severity": rule.severity,
        "owners": list(rule.owners),
        "subjects": list(rule.subjects),
    }


def _when(row: Mapping[str, Any], severity: str) -> str:
    """Say when the channel hears, in words."""
    told = "at once"
    if row["gather"] != format_duration(timedelta(0)):
        told += f", then together with what comes within {row['gather']}"
    if row["quiet"] is not None and severity != SEVERITIES[-1]:
        told += f"; in {row['quiet']} {row['zone']} when that is over"
    return told


def _clock(at: time) -> str:
    return f"{at:%H:%M}"
