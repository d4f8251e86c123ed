"""The ledger of effects, in the model: facts are looked up, `core.ledger` decides.

Every entry is written whole: the row, the audit's line, the incident, and the waking of whoever
awaits the effect. Nothing here decides, and no row is made here.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from duly.core.effects import (
    UNCERTAIN,
    Address,
    Author,
    Doubt,
    Effect,
    EffectFilter,
    Entry,
    Intend,
    Line,
    Posted,
)
from duly.core.fleet import proven_gone
from duly.core.ledger import Decided, Facts, decide
from duly.core.states import EffectState
from duly.core.steps import of_effect
from duly.stores.memory.fleet import HERE
from duly.stores.memory.tables import Tables

SWEPT = "its sender died, or lost its run, before it said what came of it"


class LedgerVerbs:
    """What `Store` says of effects, on `Tables`."""

    t: Tables

    def _now(self, now: datetime | None) -> datetime:
        raise NotImplementedError

    def _wake_missed(self, now: datetime) -> int:
        raise NotImplementedError

    def _rouse_missed(self, now: datetime) -> int:
        raise NotImplementedError

    async def post(self, entries: Sequence[Entry], *, now: datetime | None = None) -> list[Posted]:
        at = self._now(now)
        return [self._post_one(entry, at) for entry in entries]

    def _post_one(self, entry: Entry, now: datetime) -> Posted:
        row = self.t.effects.get(entry.address)
        decided = decide(row, entry, self._facts(row, entry, now))
        self._write(entry.address, decided, now)
        return decided.answer

    def _facts(self, row: Effect | None, entry: Entry, now: datetime) -> Facts:
        fenced = not isinstance(entry, Intend) or self._holds(entry.author)
        run = self.t.run.get(entry.author.run) if isinstance(entry, Intend) else None
        tenant = "" if run is None else run.asked.tenant
        if row is None:
            return Facts(now, fenced, tenant=tenant)
        instance = self.t.instances.get(row.author.boot)
        good = (
            instance is not None
            and instance.state in HERE
            and instance.lease_until is not None
            and instance.lease_until > now
        )
        holds, gone = good and self._holds(row.author), proven_gone(instance)
        return Facts(now, fenced, holds, gone, tenant=tenant)

    def _holds(self, author: Author) -> bool:
        held = self.t.held.get(author.run)
        return held is not None and (held.boot, held.epoch) == (author.boot, author.epoch)

    def _write(self, address: Address, decided: Decided, now: datetime) -> None:
        if decided.write and decided.row is not None:
            self.t.effects[address] = decided.row
        elif decided.write:
            self.t.effects.pop(address, None)
        if decided.line is not None:
            self.t.audit.append(decided.line)
        if decided.opened is not None:
            self.t.open_incident(decided.opened, now)
        if decided.closed:
            self.t.close_incident(UNCERTAIN, str(address), "", now)
        if decided.wake:
            self.t.wake(of_effect(str(address)), now)

    async def effect(self, address: Address) -> Effect | None:
        return self.t.effects.get(address)

    async def effects(self, where: EffectFilter) -> list[Effect]:
        found = [
            row
            for row in self.t.effects.values()
            if where.state in (None, row.state)
            and where.task in (None, row.address.task)
            and where.run in (None, row.author.run)
            and where.tenant in (None, row.tenant)
        ]
        found.sort(key=lambda row: (row.intended_at, row.intent), reverse=True)
        return found[: where.limit]

    async def audit(self, address: Address) -> list[Line]:
        return [one for one in self.t.audit if one.address == address]

    async def sweep(self, limit: int = 1000, *, now: datetime | None = None) -> int:
        at = self._now(now)
        old = [
            row
            for row in self.t.effects.values()
            if row.state is EffectState.INTENDED and row.deadline <= at
        ]
        old.sort(key=lambda row: (row.deadline, row.intent))
        doubted = 0
        for row in old[:limit]:
            entry = Doubt(address=row.address, intent=row.intent, why=SWEPT, swept=True)
            self._post_one(entry, at)
            doubted += self.t.effects[row.address].state is EffectState.UNCERTAIN
        return doubted + self._wake_missed(at) + self._rouse_missed(at)
