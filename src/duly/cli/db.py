"""`duly db`: the store's schema, and trusting a store that was restored.

Migrating goes forward only, step by step under a lock, and is safe to send twice. Nothing here
starts work.
"""

from __future__ import annotations

from typing import Any

import click
import msgspec

from duly.cli.display import show_fields
from duly.cli.noting import changing
from duly.cli.session import (
    app_options,
    asynchronous,
    by_options,
    find_app,
    must_be_there,
    opened,
    output_option,
)


@click.group()
def db() -> None:
    """Make the store ready, and look at its standing."""


@db.command()
@app_options
@asynchronous
async def migrate(app_spec: str | None, store: str | None) -> None:
    """Bring the schema forward."""
    app = find_app(app_spec, store)
    try:
        steps = await app.store.migrate()
    finally:
        await app.store.close()
    shown = app.settings.store.parsed.shown
    if not steps:
        click.echo(f"{shown} is up to date")
    for step in steps:
        click.echo(f"applied {step}")


@db.command()
@app_options
@output_option
@asynchronous
async def status(app_spec: str | None, store: str | None, output: str) -> None:
    """Show the schema, the generation, and how many runs stand where."""
    app = find_app(app_spec, store)
    async with opened(app) as standing:
        counts = await app.client.counts()
        now = await app.store.clock()
    show_fields(
        {
            "store": app.settings.store.parsed.shown,
            "schema": standing.schema,
            "generation": standing.generation,
            "trusted": standing.trusted,
            "why": standing.why,
            "clock": now,
            "runs": counts,
        },
        output,
    )


@db.command()
@click.option("--reason", required=True, help="Why it may be trusted.")
@by_options(reason=False)
@app_options
@asynchronous
async def accept(reason: str, by: str, app_spec: str | None, store: str | None) -> None:
    """Trust a store that was restored or failed over: work goes on."""
    app = find_app(app_spec, store)
    must_be_there(app)
    try:
        before = await app.store.open()
        line: dict[str, Any] = {"by": by, "why": reason, "before": msgspec.to_builtins(before)}
        async with changing(app, "db.accept", "store", **line) as entry:
            after = await app.store.accept(by, reason)
            entry.outcome = "already" if before.trusted else "done"
            entry.after = msgspec.to_builtins(after)
    finally:
        await app.store.close()
    if before.trusted:
        click.echo(f"the store was trusted already (generation {after.generation})")
    else:
        click.echo(f"accepted: generation {after.generation}, by {by}")
