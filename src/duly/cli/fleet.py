"""`duly instances`: who is there.

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
