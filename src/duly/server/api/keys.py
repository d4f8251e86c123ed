"""Keys and the audit: who may call, and who changed what.

A key's text is in one answer, once, and nowhere else. An admin makes keys of its own tenant only,
and reads the audit of that tenant only. The audit has no route that changes it.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from fastapi import Query, Response
from pydantic import BaseModel, Field, StrictStr

from duly.client.noting import key_told
from duly.core.access import (
    MOST_SCOPES,
    ApiKey,
    Change,
    ChangeFilter,
    Right,
    Role,
    check_key_name,
    check_scopes,
    check_tenant,
    digest_of,
    hint_of,
    make_secret,
    may_grant,
    owns,
)
from duly.core.runs import Answer
from duly.errors import InvalidValue, UnknownName
from duly.server.api.desk import AtDesk, Room
from duly.server.api.problems import Problems
from duly.server.api.shapes import (
    Asked,
    Because,
    Changed,
    Instant,
    Page,
    Paging,
    Said,
    Shown,
    after,
    page_of,
    run_of,
)

room = Room("keys")
audit = Room("audit")

_Scope = Annotated[StrictStr, Field(max_length=200)]


class KeyShown(BaseModel):
    """A key, without its text. `hint` is how it begins."""

    id: UUID
    hint: str
    name: str
    role: Role
    tenant: str
    scopes: list[str]
    made_at: Shown | None
    made_by: str
    expires_at: Shown | None
    used_at: Shown | None
    revoked_at: Shown | None
    revoked_by: str
    revoked_why: str


class KeyMade(KeyShown):
    """A new key. `key` is its text: it is shown here, once."""

    key: str


class KeyAsked(Asked):
    """A key that is wanted. Scopes are rooms of the API, or `tasks:NAME`, `schedules:NAME`."""

    name: Annotated[StrictStr, Field(min_length=1, max_length=100)]
    role: Literal["viewer", "operator", "editor", "admin", "auditor"]
    scopes: Annotated[list[_Scope], Field(max_length=MOST_SCOPES)] = Field(default_factory=list)
    tenant: Annotated[StrictStr, Field(max_length=63)] | None = None
    environment: Annotated[StrictStr, Field(max_length=16)] = ""
    expires_at: Instant | None = None
    reason: Said = ""


class ChangeShown(BaseModel):
    """A line of the audit. Without an outcome it is not known what came of it."""

    id: UUID
    at: Shown | None
    by: str
    key: UUID | None
    action: str
    subject: str
    why: str
    before: Any
    asked: Any
    outcome: str | None
    after: Any
    settled_at: Shown | None


class AuditQuery(Paging):
    """Which lines of the audit."""

    subject: Annotated[str, Field(max_length=1000)] | None = None
    by: Annotated[str, Field(max_length=200)] | None = None


@room.get("", Right.ADMINISTER, summary="List keys")
async def list_keys(desk: AtDesk, where: Annotated[Paging, Query()]) -> Page[KeyShown]:
    """Keys of the caller's tenant, newest first; those revoked or expired too."""
    mine = [one for one in await desk.books.keys() if owns(desk.caller, one.tenant)]
    found = after(mine, where.cursor, where.limit, place=_place)
    return page_of(found, where.limit, show=shown, place=_place)


def _place(key: ApiKey) -> str:
    return str(key.id)


@room.post("", Right.ADMINISTER, status_code=201, summary="Make a key")
async def make_key(desk: AtDesk, wanted: KeyAsked, response: Response) -> KeyMade:
    """Make a key; its text is in this answer, once. No cache may keep it."""
    tenant = desk.caller.tenant if wanted.tenant is None else check_tenant(wanted.tenant)
    if not may_grant(desk.caller, tenant=tenant):
        said = "expected a key without scopes, for its own tenant: only that may make others"
        raise Problems(403, "forbidden", said)
    if wanted.expires_at is not None and wanted.expires_at <= await desk.books.clock():
        raise InvalidValue.expected("expires_at", "in the future", wanted.expires_at.isoformat())
    text = make_secret(desk.ground.draw_secret(), environment=wanted.environment)
    key = ApiKey(
        id=desk.ground.clock.new_id(),
        digest=digest_of(text),
        hint=hint_of(text),
        name=check_key_name(wanted.name),
        role=Role(wanted.role),
        tenant=tenant,
        scopes=check_scopes(tuple(wanted.scopes)),
        made_by=desk.caller.by,
        expires_at=wanted.expires_at,
    )
    asked = {"role": key.role.value, "scopes": key.scopes, "expires_at": key.expires_at}
    subject = f"{key.name} ({key.id})"
    async with desk.changing("keys.make", subject, why=wanted.reason, asked=asked) as entry:
        await desk.books.add_key(key)
        entry.after = key_told(key)
    made = await desk.books.key_of(key.digest)
    assert made is not None, "a key that was added is there"
    response.headers["Cache-Control"] = "no-store"
    return KeyMade(**_fields(made), key=text)


@room.post("/{key}/revoke", Right.ADMINISTER, summary="Revoke a key", problems=(404,))
async def revoke_key(desk: AtDesk, key: UUID, said: Because) -> Changed:
    """Revoke a key, for ever; from now on it opens nothing, here and on every other server."""
    known = {one.id: one for one in await desk.books.keys() if owns(desk.caller, one.tenant)}
    if key not in known:
        raise UnknownName(f"no key has the id {key}")
    subject = f"{known[key].name} ({key})"
    async with desk.changing(
        "keys.revoke", subject, why=said.reason, before=key_told(known[key]), asked=None
    ) as entry:
        answer = await desk.books.revoke_key(key, by=desk.caller.by, reason=said.reason)
        after = await desk.books.key_of(known[key].digest)
        entry.outcome, entry.after = answer.value, after and key_told(after)
    return Changed(outcome=Answer(entry.outcome).value)


@audit.get("", Right.AUDIT, summary="Read the audit")
async def read_audit(desk: AtDesk, where: Annotated[AuditQuery, Query()]) -> Page[ChangeShown]:
    """Who changed what through the API, when and why, newest first."""
    lines = await desk.books.changes(
        ChangeFilter(
            tenant=desk.caller.tenant,
            subject=where.subject,
            by=where.by,
            before=run_of(where.cursor),
            limit=where.limit + 1,
        )
    )
    return page_of(lines, where.limit, show=_change, place=lambda one: str(one.id))


def _change(line: Change) -> ChangeShown:
    fields = msgspec.structs.asdict(line)
    for name in ("before", "asked", "after"):
        fields[name] = None if fields[name] is None else json.loads(fields[name])
    return ChangeShown(**{name: fields[name] for name in ChangeShown.model_fields})


def shown(key: ApiKey) -> KeyShown:
    """Return a key as a list shows it."""
    return KeyShown(**_fields(key))


def _fields(key: ApiKey) -> dict[str, Any]:
    return {name: getattr(key, name) for name in KeyShown.model_fields}
