"""`duly instances` and `duly incidents`: who is there, and what a person should know.

Only looks. An instance that was not seen for 90 seconds is shown as absent, whatever it last
said of itself.
"""

from __future__ import annotations

import click
import msgspec

from duly.cli.display import show
from duly.cli.session import app_options, asynchronous, find_app, opened, output_option
from duly.core.fleet import PRESENT, InstanceState

_INSTANCES = {
    "NAME": "name",
    "STATE": "standing",
    "HELD": "held",
    "SEEN": "seen_at",
    "OWNER": "owner",
    "CLUSTER": "cluster",
    "VERSION": "version",
    "TASKS": "tasks",
    "BOOT": "boot",
}
_INCIDENTS = {
    "OPENED": "opened_at",
    "SEVERITY": "severity",
    "KIND": "kind",
    "SUBJECT": "subject",
    "SUMMARY": "summary",
    "CLOSED": "closed_at",
}


@click.command()
@click.option("--all", "every", is_flag=True, help="Also those that left or died.")
@app_options
@output_option
@asynchronous
async def instances(every: bool, app_spec: str | None, store: str | None, output: str) -> None:
    """List the instances of the fleet, newest first."""
    app = find_app(app_spec, store)
    async with opened(app):
        found = await app.client.instances()
        now = await app.store.clock()
    rows = []
    for one in found:
        here = one.state in (InstanceState.LIVE, InstanceState.STOPPING)
        absent = here and (one.seen_at is None or one.seen_at < now - PRESENT)
        if here or every:
            standing = "absent" if absent else one.state.value
            rows.append(msgspec.structs.asdict(one) | {"standing": standing})
    show(rows, _INSTANCES, output, empty="no instances; start one: duly worker")


@click.command()
@click.option("--all", "every", is_flag=True, help="Also those that are over.")
@app_options
@output_option
@asynchronous
async def incidents(every: bool, app_spec: str | None, store: str | None, output: str) -> None:
    """List incidents, newest first."""
    app = find_app(app_spec, store)
    async with opened(app):
        found = await app.client.incidents(only_open=not every)
    rows = [msgspec.structs.asdict(one) | {"became": one.evidence.get("closed")} for one in found]
    told = any(row["became"] for row in rows)
    columns = _INCIDENTS | ({"WHAT BECAME OF IT": "became"} if told else {})
    show(rows, columns, output, empty="no incidents")
