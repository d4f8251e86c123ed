"""`duly breakers`: targets that are held back, and a person's word on one.

A breaker is named as its task or code names it (`smtp`), or by its schedule (`schedule:nightly`).
Whoever forces, resumes or probes says why; both are kept, and shown to whoever asks later.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click
import msgspec

from duly.app import Duly
from duly.app.explaining import Explaining
from duly.cli.display import say, show, show_fields
from duly.cli.noting import changing
from duly.cli.session import (
    app_options,
    asynchronous,
    by_options,
    find_app,
    opened,
    output_option,
)
from duly.client.noting import breaker_told
from duly.core.breakers import BreakerFilter, BreakerLine, BreakerRow
from duly.core.runs import Answer
from duly.core.spoken import rfc3339
from duly.core.states import BreakerVerb
from duly.errors import UnknownName

_COLUMNS = {
    "BREAKER": "breaker",
    "STATE": "state",
    "FAILURES": "failures",
    "FAULT": "fault",
    "SINCE": "opened_at",
    "NEXT PROBE": "probe_at",
    "BY": "by",
    "WHY": "why",
}
_INNER = ("name", "marks", "probe", "probe_boot", "unanswered", "successes")


@click.group()
def breakers() -> None:
    """Look at breakers, and force, resume or probe them."""


@breakers.command("list")
@click.option("--open", "broken", is_flag=True, help="Those only that hold calls back.")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True)
@app_options
@output_option
@asynchronous
async def list_breakers(
    broken: bool, limit: int, app_spec: str | None, store: str | None, output: str
) -> None:
    """List breakers against which anything is known, by name."""
    app = find_app(app_spec, store)
    async with opened(app):
        found = await app.client.breakers(BreakerFilter(broken=broken, limit=limit))
    empty = "no breaker is open" if broken else "nothing is known against any target"
    show([breaker_row(one) for one in found], _COLUMNS, output, empty=empty)


def breaker_row(row: BreakerRow) -> dict[str, Any]:
    """Return a breaker as JSON carries it."""
    kept = msgspec.structs.asdict(row)
    shown = {"breaker": row.name} | {key: kept[key] for key in kept if key not in _INNER}
    return shown | {"state": row.state.value}


def line_row(line: BreakerLine) -> dict[str, Any]:
    """Return a change as JSON carries it."""
    kept = msgspec.structs.asdict(line)
    return kept | {"verb": line.verb.value, "state": line.state.value}


@breakers.command("show")
@click.argument("name")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True)
@app_options
@output_option
@asynchronous
async def show_breaker(
    name: str, limit: int, app_spec: str | None, store: str | None, output: str
) -> None:
    """Show a breaker, the latest changes, and what helps."""
    app = find_app(app_spec, store)
    async with opened(app):
        row, lines = await app.client.breaker(name, limit)
        told = await Explaining(app.store).breaker(name)
        unasked = await app.client.unasked(name)
    shown = breaker_row(row)
    if output == "json":
        changes = [line_row(one) for one in lines]
        return show_fields(shown | {"changes": changes, "helps": list(told.helps)}, output)
    show_fields({key: one for key, one in shown.items() if one not in (None, "", 0)}, output)
    if row.clean and not row.forced:
        say("nothing is known against it: calls pass")
    if unasked:
        say(unasked)
    for one in reversed(lines):
        why = f": {one.why}" if one.why else ""
        at = rfc3339(one.at.replace(microsecond=0))
        say(f"{at} {one.verb.value} by {one.by}{why}")
    for helps in told.helps:
        say(f"what helps: {helps}")


async def _known(app: Duly, name: str) -> dict[str, Any] | None:
    """Return how a breaker stands, as the audit keeps it; None when nothing is known."""
    try:
        return breaker_told((await app.client.breaker(name, 1))[0])
    except UnknownName:
        return None


def _move(name: str, verb: BreakerVerb, done: str, meaning: str) -> None:
    """Add the command of one word that a person may say."""

    @click.argument("breaker")
    @click.option("--why", required=True, help="Why; kept for ever.")
    @by_options(reason=False)
    @app_options
    @asynchronous
    async def move(
        breaker: str, why: str, by: str, app_spec: str | None, store: str | None
    ) -> None:
        app = find_app(app_spec, store)
        async with opened(app):
            unasked = await app.client.unasked(breaker)
            line: dict[str, Any] = {"by": by, "why": why, "before": await _known(app, breaker)}
            async with changing(app, f"breakers.{verb.value}", breaker, **line) as entry:
                answer = await app.client.move_breaker(breaker, verb, by=by, why=why)
                entry.outcome, entry.after = answer.value, await _known(app, breaker)
        told = "it was so before; nothing changed" if answer is Answer.ALREADY else done
        click.echo(f"breaker {breaker}: {told}")
        if unasked:
            say(f"but {unasked}")

    command: Callable[..., Any] = move
    command.__doc__ = meaning
    breakers.command(name)(command)


_move(
    "open",
    BreakerVerb.FORCE_OPEN,
    "held open; runs wait until somebody resumes it",
    "Hold calls to a target back, until somebody says otherwise.",
)
_move(
    "close",
    BreakerVerb.FORCE_CLOSE,
    "held closed; calls pass, whatever fails",
    "Let calls to a target pass, whatever fails.",
)
_move(
    "resume",
    BreakerVerb.RESUME,
    "closed; the rules hold again, and runs that waited go on",
    "Close a breaker with nothing counted; its rules hold again.",
)
_move(
    "probe",
    BreakerVerb.PROBE,
    "the next call probes",
    "Let the next call probe now, before the pause is over.",
)
