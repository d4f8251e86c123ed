"""`duly effects`: the ledger of acts that cannot be taken back, and a person's word on a doubt.

An effect is named by its task, name and key; a key may have several words. What is uncertain is
never guessed: a person says what they found out, and who said it and why is kept. A refusal
says what stands in its way, and how it can be cleared.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from uuid import UUID

import click
import msgspec

from duly.app import Duly
from duly.app.explaining import Explaining, find_run
from duly.app.recalling import Recalling
from duly.cli.display import say, show, show_fields
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
from duly.client import Client
from duly.client.noting import effect_told
from duly.core.effects import Address, Effect, EffectFilter, Line, Outcome, Posted
from duly.core.fleet import InstanceState, proven_gone
from duly.core.spoken import rfc3339
from duly.core.states import EffectState
from duly.core.why import Explanation
from duly.errors import InvalidValue, Refused, UnknownName

_COLUMNS = {
    "EFFECT": "effect",
    "STATE": "state",
    "INTENDED": "intended_at",
    "SETTLED": "settled_at",
    "RUN": "run",
    "WHY": "why",
}


@click.group()
def effects() -> None:
    """Look at effects, and settle those that are uncertain."""


@effects.command("list")
@click.option("--uncertain", is_flag=True, help="Those of which nobody knows what came.")
@click.option("--task", help="Effects of this task only.")
@click.option("--run", help="Effects that this run intended.")
@tenant_option
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@app_options
@output_option
@asynchronous
async def list_effects(
    uncertain: bool, task: str | None, app_spec: str | None, output: str, **given: Any
) -> None:
    """List effects, newest first."""
    app = find_app(app_spec, given["store"])
    async with opened(app):
        run = None if given["run"] is None else (await find_run(app.store, given["run"])).id
        state = EffectState.UNCERTAIN if uncertain else None
        where = EffectFilter(
            state=state, task=task, run=run, tenant=whose(given["tenant"]), limit=given["limit"]
        )
        found = await app.client.effects(where)
    empty = "no effect is uncertain" if uncertain else "no effects"
    show([effect_row(one) for one in found], _COLUMNS, output, empty=empty)


def effect_row(row: Effect) -> dict[str, Any]:
    """Return an effect as JSON carries it; the receipt is decoded."""
    return {
        "effect": str(row.address),
        "task": row.address.task,
        "name": row.address.name,
        "key": row.address.key,
        "state": row.state.value,
        "intent": row.intent,
        "run": row.author.run,
        "attempt": row.author.epoch,
        "boot": row.author.boot,
        "intended_at": row.intended_at,
        "deadline": row.deadline,
        "settled_at": row.settled_at,
        "keep_until": row.keep_until,
        "receipt": None if row.receipt is None else msgspec.json.decode(row.receipt),
        "by": row.by,
        "why": row.why,
    }


@effects.command("show")
@click.argument("effect", nargs=-1, required=True, metavar="TASK NAME KEY")
@app_options
@output_option
@asynchronous
async def show_effect(
    effect: tuple[str, ...], app_spec: str | None, store: str | None, output: str
) -> None:
    """Show an effect, what was said about it, and what helps."""
    address = Address.of(" ".join(effect))
    app = find_app(app_spec, store)
    async with opened(app):
        known = await Recalling(app.store).effect(address)
        if known.row is None and not known.lines:
            await app.client.effect(address)  # raises, with the nearest one
        shown = {"effect": str(address), "state": "open"}
        if known.row is not None:
            shown = effect_row(known.row) | {"instance": await _author(app.client, known.row)}
        told = await Explaining(app.store).effect(address)
    _show(shown, known.lines, told, output)


def _show(shown: dict[str, Any], lines: tuple[Line, ...], told: Explanation, output: str) -> None:
    if output == "json":
        audit = [line_row(one) for one in lines]
        return show_fields(shown | {"audit": audit, "helps": list(told.helps)}, output)
    show_fields({key: one for key, one in shown.items() if one not in (None, "")}, output)
    for one in lines:
        by = f" by {one.by}" if one.by else ""
        risk = ", accepting the risk of a double" if one.accepted_double else ""
        why = f": {one.why}" if one.why else ""
        say(f"{rfc3339(one.at.replace(microsecond=0))} {one.verb.value}{by}{risk}{why}")
    for helps in told.helps:
        say(f"what helps: {helps}")


def line_row(line: Line) -> dict[str, Any]:
    """Return a line of the audit as JSON carries it."""
    row = msgspec.structs.asdict(line) | {"verb": line.verb.value}
    row["receipt"] = None if line.receipt is None else msgspec.json.decode(line.receipt)
    row.pop("address")
    return row


async def _author(client: Client, row: Effect) -> str:
    """Return who intended it: name, and whether its process is gone."""
    known = {one.boot: one for one in await client.instances()}.get(row.author.boot)
    if known is None:
        return f"boot {row.author.boot}, which is not on record any more"
    standing = known.state.value + (f": {known.reason}" if known.reason else "")
    ended = known.state not in (InstanceState.LIVE, InstanceState.STOPPING)
    doubt = "; not proven gone" if ended and not proven_gone(known) else ""
    return f"{known.name} ({standing}{doubt})"


@effects.command()
@click.argument("effect", nargs=-1, required=True, metavar="TASK NAME KEY")
@click.option("--performed/--not-performed", default=None, help="What you found out.")
@click.option("--reason", required=True, help="How you know; kept for ever.")
@click.option(
    "--accept-double",
    is_flag=True,
    help="Take the risk that the process that intended it still sends it.",
)
@by_options(reason=False)
@app_options
@asynchronous
async def resolve(
    effect: tuple[str, ...], performed: bool | None, app_spec: str | None, **given: Any
) -> None:
    """Say what became of an uncertain effect; the runs that wait for it go on."""
    address = Address.of(" ".join(effect))
    if performed is None:
        raise InvalidValue("expected --performed or --not-performed: there is no default")
    app = find_app(app_spec, given["store"])
    async with opened(app):
        row = await app.client.effect(address)
        try:
            posted = await _resolve(app, row, performed, given)
        except Refused as error:
            who = await _author(app.client, row)
            raise Refused(f"{error}; it was intended by {who}, run {row.author.run}") from None
    click.echo(_said(address, posted, row.author.run))


async def _resolve(app: Duly, row: Effect, performed: bool, given: Mapping[str, Any]) -> Posted:
    by, why, address = given["by"], given["reason"], row.address
    asked = {"performed": performed, "accept_double": given["accept_double"]}
    line: dict[str, Any] = {"by": by, "why": why, "before": effect_told(row), "asked": asked}
    async with changing(app, "effects.resolve", address, **line) as entry:
        posted = await app.client.resolve(address, by=by, reason=why, **asked)
        entry.outcome = posted.outcome.value
        entry.after = {"outcome": posted.outcome.value}
        with suppress(UnknownName):  # who says that it was not performed takes it off the ledger
            entry.after = effect_told(await app.client.effect(address))
    return posted


def _said(address: Address, posted: Posted, run: UUID) -> str:
    if posted.outcome is Outcome.ALREADY:
        return f"{address} was done already; nothing changed"
    if posted.outcome is Outcome.CLEARED:
        return f"{address} is open again: whoever asks next performs it; run {run} goes on"
    return f"{address} is done; run {run} goes on"
