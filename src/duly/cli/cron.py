"""`duly cron explain`: what a cron text means, and when it is due.

Needs no store and no application. Occurrences are shown on the clocks of the zone with their
offsets; where the clocks turn, the line says so.
"""

from __future__ import annotations

from typing import Any, Literal

import click

from duly.cli.display import show_json
from duly.core.spoken import distance_text
from duly.core.triggers import Cron, upcoming
from duly.engine import SystemClock


@click.group()
def cron() -> None:
    """Understand cron expressions."""


@cron.command()
@click.argument("expression")
@click.option("--tz", default="UTC", show_default=True, help="Time zone, such as Europe/Amsterdam.")
@click.option("--seconds", type=click.Choice(["first", "last"]), help="Where a sixth field stands.")
@click.option("--count", type=click.IntRange(1, 1000), default=5, show_default=True)
@click.option("--gap", type=click.Choice(["after", "skip"]), default="after", show_default=True)
@click.option("--fold", type=click.Choice(["first", "second", "both"]), default="first",
              show_default=True)  # fmt: skip
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table")
def explain(
    expression: str, tz: str, seconds: Literal["first", "last"] | None, count: int, **given: Any
) -> None:
    """Explain EXPRESSION and show its next occurrences."""
    trigger = Cron(expression, tz=tz, seconds=seconds, gap=given["gap"], fold=given["fold"])
    now = SystemClock().now()
    coming = upcoming(trigger, now, count)
    if given["output"] == "json":
        rows = [{"at": one.at, "local": one.local, "flag": one.flag} for one in coming]
        return show_json({"describes": trigger.describe(), "next": rows})
    click.echo(trigger.describe())
    for one in coming:
        flag = f"  [{one.flag}]" if one.flag else ""
        click.echo(f"  {one.local}  {distance_text(one.at, now)}{flag}")
