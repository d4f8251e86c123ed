"""`duly notify`: which channels there are, who would hear of what, and whether a channel works.

Channels of the settings, and those that an application declares (`app.notify`) where one is named.
Neither command opens the store: a channel can be tried while the database is away. `test` sends a
notice that says it is a test, to one channel or to each in turn, and tells what came of it; its
exit code is 0 when all took it, 75 when another try may help, 78 when something must be changed
first. Secrets are looked up as a worker does it, and never shown.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from datetime import time, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import click

from duly.app import Duly
from duly.app.notifying import doubts_of, plan_of, rules_of
from duly.cli.display import show, show_json
from duly.cli.faults import MISCONFIGURED, TEMPORARY, Fault
from duly.cli.session import app_options, asynchronous, find_app, output_option
from duly.config import ConfiguredChannel
from duly.core.durations import format_duration
from duly.core.hearing import heard_by
from duly.core.notices import SEVERITIES, ChannelPlan, Notice, NoticeKind, Rule
from duly.errors import UnknownName, UsageError, one_line
from duly.outbound.base import DestinationUnavailable
from duly.outbound.channels import Channel, make_channel
from duly.outbound.notifier import SEND_S
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
    rows = [await _tried(app, name, made) for name, made in _chosen(app, channel).items()]
    columns = {"CHANNEL": "channel", "OUTCOME": "outcome", "WHY": "why"}
    show(rows, columns, output, empty=_ABSENT)
    return max((row["exit_code"] for row in rows), default=0)


Make = Callable[[], Channel]


def _chosen(app: Duly, name: str | None) -> dict[str, Make]:
    """Return what makes each channel that is to be tried, by name: the app's own come last."""
    known: dict[str, Make] = {
        one.plan.name: partial(_made, app, one) for one in app.settings.notify.channels
    }
    known |= {told.agreed.name: partial(_itself, told.channel) for told in app.channels.values()}
    plan_of(app)  # refuses a name that two of them have
    if not known:
        raise Fault(_ABSENT, MISCONFIGURED)
    if name is None:
        return known
    if name not in known:
        raise UnknownName.of("channel", name, list(known))
    return {name: known[name]}


def _itself(channel: Channel) -> Channel:
    return channel


async def _tried(app: Duly, name: str, make: Make) -> dict[str, Any]:
    """Send a test to one channel, and return what came of it."""
    [plan] = [one for one in plan_of(app).channels if one.name == name]
    notice = Notice(
        id=app.clock.new_id(),
        kind=NoticeKind.TEST,
        channel=name,
        at=app.clock.now(),
        zone=plan.zone,
        application=app.name,
    )
    told = {"channel": name, "notice": notice.id}
    permanent, why = await _came_of(make, notice)
    if permanent is None:
        return told | {"outcome": "sent", "why": "", "exit_code": 0}
    code, outcome = (MISCONFIGURED, "refused") if permanent else (TEMPORARY, "failed")
    return told | {"outcome": outcome, "why": why, "exit_code": code}


async def _came_of(make: Make, notice: Notice) -> tuple[bool | None, str]:
    """Return None when it was taken; else whether it will never be, as a worker judges, and why."""
    try:
        async with asyncio.timeout(SEND_S):
            await make().send(notice)
    except (DestinationUnavailable, UsageError) as error:
        return error.permanent, str(error)
    except TimeoutError:
        return False, f"no answer within {SEND_S:g} s"
    except Exception as error:  # a channel of the user's own, with a mistake in it
        return True, one_line(f"{type(error).__name__}: {error}")
    return None, ""


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
    plan, rules = plan_of(app), rules_of(app)
    for doubt in doubts_of(app, *filter(None, [asked["kind"]])):
        click.echo(f"warning: {doubt}", err=True)
    rows = [_channel_row(one.plan, one.kind, one.leads_to) for one in app.settings.notify.channels]
    rows += [
        _channel_row(told.agreed, "code", type(told.channel).__qualname__)
        for told in app.channels.values()
    ]
    if asked["kind"]:
        hearing = heard_by(plan, **asked)
        empty = "nobody would hear of it" if rows else _ABSENT
        rows = [
            row | {"hears": _when(row, asked["severity"])}
            for row in rows
            if row["channel"] in hearing
        ]
        columns = {"CHANNEL": "channel", "LEADS TO": "leads_to", "WHEN": "hears"}
        return show(rows, columns, output, empty=empty)
    if output == "json":
        return show_json({"channels": rows, "rules": [_rule_row(one) for one in rules]})
    show(rows, _CHANNELS, output, empty=_ABSENT)
    if rules:
        click.echo()
        show([_rule_row(one) for one in rules], _RULES, output, empty="")
    return None


def _channel_row(plan: ChannelPlan, kind: str, leads_to: str) -> dict[str, Any]:
    quiet = None
    if plan.quiet_from is not None and plan.quiet_until is not None:
        quiet = f"{_clock(plan.quiet_from)}-{_clock(plan.quiet_until)}"
    return {
        "channel": plan.name,
        "kind": kind,
        "leads_to": leads_to,
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
