"""`duly keys`: who may call the API.

A key's text is printed once, by itself on standard output, when it is made; the store keeps its
hash. Revoking keeps the row: who called in the past stays known.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import click
import msgspec

from duly.cli.display import show, show_json
from duly.cli.noting import changing
from duly.cli.session import (
    app_options,
    asynchronous,
    by_options,
    find_app,
    opened,
    output_option,
    person,
)
from duly.client.noting import key_told
from duly.core.access import (
    HOUSE,
    ApiKey,
    check_key_name,
    check_role,
    check_scopes,
    check_tenant,
    digest_of,
    hint_of,
    make_secret,
    standing,
)
from duly.core.durations import parse_duration
from duly.core.runs import Answer
from duly.engine import draw_secret
from duly.errors import InvalidValue, UnknownName

_COLUMNS = {
    "KEY": "hint",
    "NAME": "name",
    "ROLE": "role",
    "SCOPES": "scopes",
    "TENANT": "tenant",
    "STANDING": "standing",
    "USED": "used_at",
    "EXPIRES": "expires_at",
    "ID": "id",
}


@click.group()
def keys() -> None:
    """Make, list and revoke keys of the API."""


@keys.command()
@click.argument("name")
@click.option(
    "--role", required=True, metavar="ROLE", help="viewer, operator, editor, admin or auditor."
)
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    metavar="ROOM[:NAME]",
    help="Only this room of the API, or one thing in it, such as tasks:mail_orders.",
)
@click.option("--tenant", default=HOUSE, show_default=True, help="Whose rows it sees.")
@click.option(
    "--expires",
    metavar="DURATION|INSTANT",
    help='How long it opens anything, such as "90d", or until when: a date (UTC) or an instant.',
)
@click.option("--reason", default="", help="Why, for whoever asks later.")
@click.option("--env", "environment", default="", help='A word in the key, such as "prod".')
@app_options
@asynchronous
async def create(
    name: str, role: str, scopes: tuple[str, ...], app_spec: str | None, **given: Any
) -> None:
    """Make a key called NAME and print it, once."""
    text = make_secret(draw_secret(), environment=given["environment"])
    app = find_app(app_spec, given["store"])
    key = ApiKey(
        id=app.clock.new_id(),
        digest=digest_of(text),
        hint=hint_of(text),
        name=check_key_name(name),
        role=check_role(role),
        tenant=check_tenant(given["tenant"]),
        scopes=check_scopes(scopes),
        made_by=person(),
    )
    end = None if given["expires"] is None else read_end(given["expires"])
    async with opened(app, create=True):
        now = await app.store.clock()
        if end is not None:
            key = msgspec.structs.replace(key, expires_at=_ahead(end, now))
        same = [one for one in good_keys(await app.store.keys(), now) if one.name == key.name]
        told, subject = key_told(key), f"{key.name} ({key.id})"
        line: dict[str, Any] = {"by": key.made_by, "why": given["reason"], "asked": told}
        async with changing(app, "keys.make", subject, **line) as entry:
            await app.store.add_key(key)
            entry.after = told
    click.echo(text)
    click.echo("this is the only time it is shown; keep it where secrets are kept", err=True)
    if same:
        others = ", ".join(str(one.id) for one in same[:5])
        warning = f"other good keys are called {key.name} too: {others}; revoke one by its id"
        click.echo(f"warning: {warning}", err=True)


def read_end(text: str) -> timedelta | datetime:
    """Return how long a key opens anything, or until when; raises `InvalidValue`.

    A date is its first moment in UTC.
    """
    try:
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
            return datetime.fromisoformat(text).replace(tzinfo=UTC)
        if (at := datetime.fromisoformat(text)).tzinfo is not None:
            return at.astimezone(UTC)
    except ValueError:
        return parse_duration(text, what="--expires")
    raise InvalidValue.expected("--expires", "an instant with an offset, or a date", text)


def _ahead(end: timedelta | datetime, now: datetime) -> datetime:
    at = now + end if isinstance(end, timedelta) else end
    if at <= now:
        raise InvalidValue.expected("--expires", "an instant that is to come", at.isoformat())
    return at


@keys.command("list")
@app_options
@output_option
@asynchronous
async def list_keys(app_spec: str | None, store: str | None, output: str) -> None:
    """List keys, newest first, with their standing."""
    app = find_app(app_spec, store)
    async with opened(app):
        found = await app.store.keys()
        now = await app.store.clock()
    rows = [_row(one) | {"standing": (standing(one, now) or "good")} for one in found]
    if output == "json":
        return show_json(rows)
    show(rows, _COLUMNS, output, empty="no keys; make one: duly keys create NAME --role ROLE")
    return None


def _row(key: ApiKey) -> dict[str, Any]:
    fields = msgspec.structs.asdict(key) | {"role": key.role.value}
    del fields["digest"]
    return fields


@keys.command()
@click.argument("key")
@click.option("--reason", required=True, help="Why; kept for ever.")
@by_options(reason=False)
@app_options
@asynchronous
async def revoke(key: str, reason: str, by: str, app_spec: str | None, store: str | None) -> None:
    """Revoke KEY, named by its id or by its name if only one good key bears it."""
    app = find_app(app_spec, store)
    async with opened(app):
        found = _find(await app.store.keys(), key)
        line: dict[str, Any] = {"by": by, "why": reason, "before": key_told(found)}
        async with changing(app, "keys.revoke", f"{found.name} ({found.id})", **line) as entry:
            answer = await app.store.revoke_key(found.id, by=by, reason=reason)
            after = await app.store.key_of(found.digest)
            entry.outcome, entry.after = answer.value, after and key_told(after)
    again = " already" if answer is Answer.ALREADY else ""
    click.echo(f"key {found.name} ({found.id}) is revoked{again}")


def _find(known: list[ApiKey], text: str) -> ApiKey:
    by_id = [one for one in known if str(one.id) == text.lower() or one.hint == text]
    named = [one for one in known if one.name == text and one.revoked_at is None]
    found = by_id or named
    if len(found) > 1:
        ids = ", ".join(str(one.id) for one in found[:5])
        raise InvalidValue(f"several keys are called {text!r}: {ids}; name one by its id")
    if not found:
        raise UnknownName.of("key", text, [one.name for one in known])
    return found[0]


def good_keys(known: list[ApiKey], now: datetime) -> list[ApiKey]:
    """Return the keys that open something now."""
    return [one for one in known if standing(one, now) is None]
