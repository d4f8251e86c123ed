"""Gathering what a run remembers and awaits, and what is on record about an effect.

Only reads, and a bounded number of them: of a fan-out at most `LOOKED_AT` children are looked
at, and of a run's effects the newest `EFFECTS`.
"""

from __future__ import annotations

from difflib import get_close_matches
from uuid import UUID

import msgspec

from duly.core.breakers import BreakerRow
from duly.core.effects import Address, Effect, EffectFilter
from duly.core.runs import RunView
from duly.core.states import EffectState, RunState
from duly.core.steps import (
    APPROVAL,
    UNCERTAIN,
    Event,
    Memory,
    StepKind,
    of_effect,
    of_event,
    parted,
)
from duly.core.tripping import WAITS
from duly.core.why import EffectKnown, Known
from duly.stores.base import Store

LOOKED_AT = 200
EFFECTS = 50
NEAR, SHOWN = 1000, 5


class Recalling:
    """Reads what outlasts attempts."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def known(self, view: RunView) -> Known:
        """Return what a run remembers, and what of it that it awaits is on record."""
        memory = await self._store.remembered(view.id)
        return Known(
            memory=memory,
            effects=await self._effects(view),
            events=tuple(await self._events(view)),
            children=await self._children(view, memory),
            breaker=await self._breaker(view),
            asked=await self._asked(view),
        )

    async def effect(self, address: Address) -> EffectKnown:
        """Return what is on record about an effect."""
        row = await self._store.effect(address)
        if row is not None:
            return await self._about(row)
        lines = tuple(await self._store.audit(address))
        near = () if lines else await self._near(address)
        return EffectKnown(address=address, lines=lines, near=near)

    async def _about(self, row: Effect) -> EffectKnown:
        return EffectKnown(
            address=row.address,
            row=row,
            lines=tuple(await self._store.audit(row.address)),
            author=await self._store.run(row.author.run),
        )

    async def _near(self, address: Address) -> tuple[str, ...]:
        """Return the nearest effects on record: of the task, or of any where it has none."""
        of_task = await self._store.effects(EffectFilter(task=address.task, limit=NEAR))
        listed = of_task or await self._store.effects(EffectFilter(limit=NEAR))
        known = [str(one.address) for one in listed]
        return tuple(get_close_matches(str(address), known, n=SHOWN))

    async def _effects(self, view: RunView) -> tuple[EffectKnown, ...]:
        rows = await self._store.effects(EffectFilter(run=view.id, limit=EFFECTS))
        for awaited in _after(of_effect(""), view):
            row = await self._store.effect(Address.of(awaited))
            rows = [*rows, *([] if row is None else [row])]
        if view.state is RunState.PARKED and view.reason == UNCERTAIN:
            doubt = EffectFilter(task=view.task, state=EffectState.UNCERTAIN, limit=EFFECTS)
            rows = [*rows, *await self._store.effects(doubt)]
        by_address = {row.address: row for row in rows}
        return tuple([await self._in_short(row) for row in by_address.values()])

    async def _in_short(self, row: Effect) -> EffectKnown:
        """Return an effect; the audit only of what is in doubt, where it is told."""
        if row.state is not EffectState.UNCERTAIN:
            return EffectKnown(address=row.address, row=row)
        return await self._about(row)

    async def _events(self, view: RunView) -> list[Event]:
        names = _after(of_event(""), view)
        return await self._store.happened(names) if names else []

    async def _breaker(self, view: RunView) -> BreakerRow | None:
        names = _after(WAITS, view)
        return await self._store.breaker(names[0]) if names else None

    async def _asked(self, view: RunView) -> str | None:
        """Return the name of the approval that a parked run waits for, as its incident has it."""
        if view.state is not RunState.PARKED or view.reason != APPROVAL:
            return None
        for one in await self._store.incidents():
            if one.evidence.get("run") == str(view.id) and "approval" in one.evidence:
                return one.evidence["approval"]
        return None

    async def _children(self, view: RunView, memory: Memory) -> tuple[RunView, ...]:
        """Return the children that a run waits for, as far as they are looked at."""
        wanted = [UUID(one) for one in _after("run:", view)]
        for reason in parted(view.reason or "") if view.state is RunState.WAITING else ():
            _, many, name = reason.partition(" runs of ")
            wanted += _started(memory, name)[-LOOKED_AT:] if many else []
        found = [await self._store.run(run) for run in wanted]
        return tuple(one for one in found if one is not None)


def _after(beginning: str, view: RunView) -> list[str]:
    """Return what the reasons of a waiting run say behind their first word."""
    reasons = parted(view.reason or "") if view.state is RunState.WAITING else []
    return [one.removeprefix(beginning) for one in reasons if one.startswith(beginning)]


def _started(memory: Memory, name: str) -> list[UUID]:
    for step in memory.steps:
        if step.kind is StepKind.CHILD and step.name == name:
            return msgspec.json.decode(step.value, type=list[UUID])
    return []
