"""The ledger of effects: facts are looked up under locks, `core.ledger` decides, one write each.

Theory of operation. A batch locks the rows of its addresses in order, then whoever awaits them,
then limits, then the held rows of those who intend, so that a takeover waits until an intent is
written. Entries are decided one after the other in memory, and each table is written once. An
address without a row cannot be locked: whoever writes the first row for it wins, and the others
begin again with a fresh look, in which they find it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import groupby
from typing import Any
from uuid import UUID

import msgspec

from duly.core.effects import (
    UNCERTAIN,
    Address,
    Author,
    Confirm,
    Doubt,
    Effect,
    EffectFilter,
    Entry,
    Intend,
    Line,
    Posted,
    Withdraw,
)
from duly.core.fleet import Incident, Instance, InstanceState, proven_gone
from duly.core.ledger import Decided, Facts, decide
from duly.core.states import EffectState
from duly.core.steps import of_effect
from duly.stores.base import Signal
from duly.stores.postgres.entries import (
    AUDIT,
    EFFECT,
    FACTS,
    LOCK_EFFECTS,
    OLD_INTENTS,
    address_columns,
    drop_effects,
    effect_of,
    insert_effects,
    line_of,
    put_lines,
    replace_effects,
    where_clause,
)
from duly.stores.postgres.ground import Ground
from duly.stores.postgres.housekeeping import CLOSE, OPEN, incident_columns
from duly.stores.postgres.unit import BeginAgain, Unit
from duly.stores.postgres.waiting import lock_awaited, wake

SWEPT = "its sender died, or lost its run, before it said what came of it"
HERE = (InstanceState.LIVE, InstanceState.STOPPING)


class LedgerVerbs(Ground):
    """`post`, `effect`, `effects` and `audit`."""

    async def post(self, entries: Sequence[Entry], *, now: datetime | None = None) -> list[Posted]:
        if not entries:
            return []
        return await self._transact(lambda unit: post_in(unit, entries), now)

    async def effect(self, address: Address) -> Effect | None:
        rows = await self._fetch(EFFECT, address.task, address.name, address.key)
        return effect_of(rows[0]) if rows else None

    async def effects(self, where: EffectFilter) -> list[Effect]:
        return [effect_of(row) for row in await self._fetch(*where_clause(where))]

    async def audit(self, address: Address) -> list[Line]:
        rows = await self._fetch(AUDIT, address.task, address.name, address.key)
        return [line_of(row) for row in rows]


async def doubt_old(unit: Unit, limit: int) -> int:
    """Doubt intents whose deadline is over and that are not live; return how many."""
    rows = [effect_of(row) for row in await unit.fetch(OLD_INTENTS, unit.now, limit)]
    if not rows:
        return 0
    doubts = [Doubt(address=r.address, intent=r.intent, why=SWEPT, swept=True) for r in rows]
    book = await _enter(unit, doubts)
    return sum(row is not None and row.state is EffectState.UNCERTAIN for row in book.now())


async def post_in(unit: Unit, entries: Sequence[Entry]) -> list[Posted]:
    """Enter into the ledger in a unit, one after the other; answers in the order given."""
    return (await _enter(unit, entries)).answers if entries else []


async def _enter(unit: Unit, entries: Sequence[Entry]) -> _Book:
    addresses = sorted({one.address for one in entries})
    found = map(effect_of, await unit.fetch(LOCK_EFFECTS, *address_columns(addresses)))
    rows: dict[Address, Effect | None] = dict.fromkeys(addresses)
    rows |= {one.address: one for one in found}
    await _lock_waiters(unit, entries, rows)
    book = _Book(unit.now, rows, await _facts(unit, entries, rows))
    for one in entries:
        book.enter(one)
    await book.write(unit)
    return book


async def _lock_waiters(
    unit: Unit, entries: Sequence[Entry], rows: dict[Address, Effect | None]
) -> None:
    """Lock who awaits these effects. Nobody awaits one without a row, so the first intent of an
    effect, the common case, looks for nobody."""
    names = [
        of_effect(str(one.address))
        for one in entries
        if rows[one.address] is not None or not isinstance(one, Intend)
    ]
    await lock_awaited(unit, names, rows_locked=True)
    unit.awaited.named.update(of_effect(str(one)) for one in rows)
    await unit.lock_limits(unit.awaited.limits)


class _Standing(msgspec.Struct, frozen=True):
    """What is known of an author."""

    holds: bool
    state: InstanceState | None
    lease_until: datetime | None
    reason: str | None
    tenant: str  # of the run of one who asks


async def _facts(
    unit: Unit, entries: Sequence[Entry], rows: dict[Address, Effect | None]
) -> dict[Author, _Standing]:
    """Look up all authors that a decision may ask about; those who intend are locked."""
    if all(isinstance(one, Confirm | Withdraw) for one in entries):
        return {}  # evidence is never fenced
    asking = {one.author for one in entries if isinstance(one, Intend)}
    others = {one.author for one in entries if isinstance(one, Confirm)}
    others |= {row.author for row in rows.values() if row is not None}
    authors = sorted(asking | others, key=lambda one: (one.run, one.boot, one.epoch))
    found = await unit.fetch(
        FACTS,
        [one.run for one in authors],
        [one.boot for one in authors],
        [one.epoch for one in authors],
        [one in asking for one in authors],
    )
    return {
        authors[n - 1]: _Standing(
            holds, None if state is None else InstanceState(state), lease_until, reason, tenant
        )
        for n, holds, state, lease_until, reason, tenant in found
    }


class _Book:
    """The rows of a batch as they change, entry by entry, and what is to be written of it."""

    def __init__(
        self,
        now: datetime,
        rows: dict[Address, Effect | None],
        standing: dict[Author, _Standing],
    ) -> None:
        self.answers: list[Posted] = []
        self._now = now
        self._before = rows
        self._rows = dict(rows)
        self._standing = standing
        self._lines: list[Line] = []
        self._incidents: list[tuple[bool, Address, Incident | None]] = []
        self._wakes: list[str] = []

    def now(self) -> list[Effect | None]:
        """The rows as they are now."""
        return list(self._rows.values())

    def enter(self, entry: Entry) -> None:
        """Decide one entry."""
        row = self._rows[entry.address]
        decided = decide(row, entry, self._facts(row, entry))
        self.answers.append(decided.answer)
        self._note(entry.address, decided)

    def _facts(self, row: Effect | None, entry: Entry) -> Facts:
        asks = self._standing[entry.author] if isinstance(entry, Intend) else None
        fenced, tenant = (True, "") if asks is None else (asks.holds, asks.tenant)
        known = self._standing.get(row.author) if row is not None else None
        if row is None or known is None:
            return Facts(self._now, fenced, tenant=tenant)
        good = (
            known.state in HERE and known.lease_until is not None and known.lease_until > self._now
        )
        holds, gone = good and known.holds, _gone(row.author.boot, known)
        return Facts(self._now, fenced, holds, gone, tenant=tenant)

    def _note(self, address: Address, decided: Decided) -> None:
        if decided.write:
            self._rows[address] = decided.row
        if decided.line is not None:
            self._lines.append(decided.line)
        if decided.opened is not None:
            self._incidents.append((True, address, decided.opened))
        if decided.closed:
            self._incidents.append((False, address, None))
        if decided.wake:
            self._wakes.append(of_effect(str(address)))

    async def write(self, unit: Unit) -> None:
        """Write each table once. Raises `BeginAgain` when an effect has its first row meanwhile."""
        new: list[Effect] = []
        changed: list[Effect] = []
        gone: list[Address] = []
        for address, row in self._rows.items():
            before = self._before[address]
            if row is before:
                continue
            if row is None:
                gone.append(address)
            else:
                (new if before is None else changed).append(row)
        if new and await insert_effects(unit, new) < len(new):
            raise BeginAgain(new[0].address)
        await replace_effects(unit, changed)
        await drop_effects(unit, gone)
        await put_lines(unit, self._lines)
        await self._write_incidents(unit)
        if self._wakes:
            await wake(unit, self._wakes)

    async def _write_incidents(self, unit: Unit) -> None:
        """Open and close in the order decided, as many at once as are alike."""
        if self._incidents:
            unit.tell(Signal.INCIDENT)
        for opens, group in groupby(self._incidents, key=lambda one: one[0]):
            rows = list(group)
            if opens:
                opened = [one for _, _, one in rows if one is not None]
                await unit.fetch(OPEN, unit.now, *incident_columns(opened))
            else:
                subjects = [str(address) for _, address, _ in rows]
                await unit.fetch(CLOSE, unit.now, [UNCERTAIN] * len(rows), subjects, "")


def _gone(boot: UUID, known: _Standing) -> bool:
    """Whether a boot is proven gone, by what its row says."""
    if known.state is None:
        return False
    blank: dict[str, Any] = dict.fromkeys(("name", "host", "pid_space", "owner", "version"), "")
    return proven_gone(Instance(boot=boot, pid=0, state=known.state, reason=known.reason, **blank))
