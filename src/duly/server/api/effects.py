"""Effects: the ledger as it stands, and a person's word on what is uncertain.

That word is kept for ever with its reason. *Not performed* is refused while the process that
intended the effect could still perform it, unless the caller accepts the risk by name.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated, Any
from uuid import UUID

import msgspec
from fastapi import Query
from pydantic import BaseModel, Field

from duly.client.noting import effect_told
from duly.core.access import Right, on_rows
from duly.core.effects import Address, Effect, EffectFilter
from duly.core.states import EffectState
from duly.errors import UnknownName
from duly.server.api.desk import AtDesk, Room
from duly.server.api.shapes import (
    Asked,
    Explained,
    Flag,
    Named,
    Page,
    Paging,
    Reason,
    Segment,
    Shown,
    Tenant,
    after,
    decoded,
    page_of,
)

room = Room("effects")

MOST_LISTED = 5_000
"""Of a ledger's newest entries so many can be paged through; filters reach the others."""


class EffectShown(BaseModel):
    """An entry of the ledger."""

    task: str
    name: str
    key: str
    state: EffectState
    run: UUID
    attempt: int
    boot: UUID
    intent: UUID
    intended_at: Shown
    deadline: Shown
    settled_at: Shown | None
    keep_until: Shown
    by: str
    why: str
    tenant: str


class LineShown(BaseModel):
    """One line of an effect's audit."""

    at: Shown
    verb: str
    by: str
    why: str
    accepted_double: bool


class EffectInFull(EffectShown):
    """An entry with its receipt, and what was said about it."""

    receipt: Any
    lines: list[LineShown]


class EffectQuery(Paging):
    """Which effects."""

    state: EffectState | None = None
    task: Named | None = None
    run: UUID | None = None
    tenant: Tenant | None = None


class Resolution(Asked):
    """A person's word. `performed` has no default."""

    performed: Flag
    reason: Reason
    accept_double: Flag = Field(
        default=False, description="Take the risk that the process that intended it still sends it."
    )


class Resolved(BaseModel):
    """What the word came to: `done`, `cleared`, or `already`."""

    outcome: str


@room.get("", summary="List effects")
async def list_effects(desk: AtDesk, where: Annotated[EffectQuery, Query()]) -> Page[EffectShown]:
    """Entries of the ledger, newest intents first."""
    tenant = None if where.tenant is None else on_rows(where.tenant)
    rows = await desk.client.effects(
        EffectFilter(
            state=where.state, task=where.task, run=where.run, tenant=tenant, limit=MOST_LISTED
        )
    )
    found = after(rows, where.cursor, where.limit, place=_place)
    return page_of(found, where.limit, show=shown, place=_place)


def _place(row: Effect) -> str:
    return str(row.intent)


@room.get("/{task}/{name}/{key}", summary="Show an effect", problems=(404,))
async def show_effect(desk: AtDesk, task: Segment, name: Segment, key: Segment) -> EffectInFull:
    """One entry, and what was said about it."""
    address = Address(task, name, key)
    row = await desk.client.effect(address)
    lines = await desk.client.audit(address)
    return EffectInFull(
        **_fields(row),
        receipt=decoded(row.receipt),
        lines=[
            LineShown(
                at=one.at,
                verb=one.verb.value,
                by=one.by,
                why=one.why,
                accepted_double=one.accepted_double,
            )
            for one in lines
        ],
    )


@room.get("/{task}/{name}/{key}/why", summary="Say why an effect is as it is", problems=(404,))
async def why_effect(desk: AtDesk, task: Segment, name: Segment, key: Segment) -> Explained:
    """The chain of causes, in words; an effect that is not on record is open."""
    told = await desk.ground.explain_effect(Address(task, name, key))
    return Explained(**msgspec.to_builtins(told))


@room.post(
    "/{task}/{name}/{key}/resolve",
    Right.OPERATE,
    summary="Settle an uncertain effect",
    problems=(404, 409),
)
async def resolve_effect(
    desk: AtDesk, task: Segment, name: Segment, key: Segment, said: Resolution
) -> Resolved:
    """Say what became of an uncertain effect; the runs that wait for it go on."""
    address = Address(task, name, key)
    row = await desk.client.effect(address)
    async with desk.changing(
        "effects.resolve",
        str(address),
        why=said.reason,
        before=effect_told(row),
        asked={"performed": said.performed, "accept_double": said.accept_double},
    ) as entry:
        posted = await desk.client.resolve(
            address,
            performed=said.performed,
            by=desk.caller.by,
            reason=said.reason,
            accept_double=said.accept_double,
        )
        entry.outcome = posted.outcome.value
        entry.after = {"outcome": posted.outcome.value}
        with suppress(UnknownName):  # who says that it was not performed takes it off the ledger
            entry.after = effect_told(await desk.client.effect(address))
    return Resolved(outcome=posted.outcome.value)


def shown(row: Effect) -> EffectShown:
    """Return an entry as a list shows it."""
    return EffectShown(**_fields(row))


def _fields(row: Effect) -> dict[str, Any]:
    return {
        **msgspec.structs.asdict(row.address),
        "state": row.state,
        "run": row.author.run,
        "attempt": row.author.epoch,
        "boot": row.author.boot,
        "intent": row.intent,
        "intended_at": row.intended_at,
        "deadline": row.deadline,
        "settled_at": row.settled_at,
        "keep_until": row.keep_until,
        "by": row.by,
        "why": row.why,
        "tenant": row.tenant,
    }
