"""The ledger of effects: facts are looked up under the write lock, `core.ledger` decides.

Row, line of the audit, incident and waking are of one transaction. Nothing here knows what an
entry comes to, and no row is written that the core did not make.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

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
from duly.core.fleet import InstanceState, proven_gone
from duly.core.ledger import Decided, Facts, decide
from duly.core.states import EffectState, EffectVerb
from duly.core.steps import of_effect
from duly.stores.sqlite.breaking import rouse_missed
from duly.stores.sqlite.enqueue import tenant_of
from duly.stores.sqlite.fleet import instance
from duly.stores.sqlite.housekeeping import close_incident, open_incident
from duly.stores.sqlite.moves import wake
from duly.stores.sqlite.rows import (
    instant,
    instant_or_none,
    marks,
    micros,
    micros_or_none,
    uuid_of,
)
from duly.stores.sqlite.tx import Row, Tx
from duly.stores.sqlite.waits import wake_missed

SWEPT = "its sender died, or lost its run, before it said what came of it"
RESTORED = "the store was restored: writes may be missing"

_EFFECT = """task, name, key, state, intent, run, boot, epoch, intended_at, deadline, keep_until,
    settled_at, receipt, by, why, tenant"""
_LINE = "task, name, key, intent, verb, by, why, at, receipt, accepted_double"
_AT = "where task = ? and name = ? and key = ?"


def post(tx: Tx, entries: Sequence[Entry], now: datetime | None) -> list[Posted]:
    """Enter into the ledger, one after the other; see `Store.post`."""
    at = tx.now(now)
    return [_post_one(tx, entry, at) for entry in entries]


def _post_one(tx: Tx, entry: Entry, now: datetime) -> Posted:
    row = effect(tx, entry.address)
    decided = decide(row, entry, _facts(tx, row, entry, now))
    if decided.write:
        _put(tx, entry.address, row, decided.row)
    _tell(tx, entry.address, decided, now)
    return decided.answer


def _facts(tx: Tx, row: Effect | None, entry: Entry, now: datetime) -> Facts:
    fenced = not isinstance(entry, Intend) or _holds(tx, entry.author)
    tenant = (tenant_of(tx, entry.author.run.bytes) if isinstance(entry, Intend) else None) or ""
    if row is None:
        return Facts(now, fenced, tenant=tenant)
    author = instance(tx, row.author.boot.bytes)
    good = (
        author is not None
        and author.state in (InstanceState.LIVE, InstanceState.STOPPING)
        and author.lease_until is not None
        and author.lease_until > now
    )
    holds, gone = good and _holds(tx, row.author), proven_gone(author)
    return Facts(now, fenced, holds, gone, tenant=tenant)


def _holds(tx: Tx, author: Author) -> bool:
    held = tx.value(
        "select 1 from duly_held where id = ? and boot = ? and epoch = ?",
        author.run.bytes,
        author.boot.bytes,
        author.epoch,
    )
    return held is not None


def _put(tx: Tx, address: Address, before: Effect | None, after: Effect | None) -> None:
    """Write the row that the core made in the place of the one before; None removes it."""
    if after is None:
        tx.do(f"delete from duly_effect {_AT}", *_place(address))
    elif before is not None and before.intent == after.intent:
        # What settles an intent leaves the rest of its row as it is, and most indexes too.
        tx.do(
            f"update duly_effect set state = ?, settled_at = ?, receipt = ?, by = ?, why = ? {_AT}",
            after.state.value,
            micros_or_none(after.settled_at),
            after.receipt,
            after.by,
            after.why,
            *_place(address),
        )
    else:
        _insert(tx, after)


def _insert(tx: Tx, row: Effect) -> None:
    tx.do(
        f"insert or replace into duly_effect ({_EFFECT}) values ({marks(16)})",
        *_place(row.address),
        row.state.value,
        row.intent.bytes,
        row.author.run.bytes,
        row.author.boot.bytes,
        row.author.epoch,
        micros(row.intended_at),
        micros(row.deadline),
        micros(row.keep_until),
        micros_or_none(row.settled_at),
        row.receipt,
        row.by,
        row.why,
        row.tenant,
    )


def _tell(tx: Tx, address: Address, decided: Decided, now: datetime) -> None:
    """Write the audit's line and the incident, and wake who awaits the effect."""
    if decided.line is not None:
        _put_line(tx, decided.line)
    if decided.opened is not None:
        open_incident(tx, decided.opened, now)
    if decided.closed:
        close_incident(tx, UNCERTAIN, str(address), "", now=now)
    if decided.wake:
        wake(tx, of_effect(str(address)), micros(now))


def _put_line(tx: Tx, line: Line) -> None:
    tx.do(
        f"insert into duly_effect_line ({_LINE}) values (?,?,?,?,?,?,?,?,?,?)",
        *_place(line.address),
        line.intent.bytes,
        line.verb.value,
        line.by,
        line.why,
        micros(line.at),
        line.receipt,
        line.accepted_double,
    )


# --- sweeping -----------------------------------------------------------------------------


def sweep(tx: Tx, limit: int, now: datetime | None) -> int:
    """Doubt intents that are not live, and wake who was missed; see `Store.sweep`."""
    at = tx.now(now)
    old = effect_rows(
        tx,
        "where state = 'intended' and deadline <= ? order by deadline, intent limit ?",
        micros(at),
        limit,
    )
    doubted = sum(_doubt(tx, row, at, why=SWEPT, swept=True) for row in old)
    return doubted + wake_missed(tx, micros(at)) + rouse_missed(tx, micros(at))


def doubt_all(tx: Tx, now: datetime | None) -> int:
    """Doubt every intent of a store that was restored; return how many there were."""
    at = tx.now(now)
    rows = effect_rows(tx, "where state = 'intended' order by deadline, intent")
    return sum(_doubt(tx, row, at, why=RESTORED, swept=False) for row in rows)


def _doubt(tx: Tx, row: Effect, now: datetime, *, why: str, swept: bool) -> bool:
    entry = Doubt(address=row.address, intent=row.intent, why=why, swept=swept)
    _post_one(tx, entry, now)
    after = effect(tx, row.address)
    return after is not None and after.state is EffectState.UNCERTAIN


# --- looking ------------------------------------------------------------------------------


def effect(tx: Tx, address: Address) -> Effect | None:
    """Return the row of an effect; see `Store.effect`."""
    rows = effect_rows(tx, _AT, *_place(address))
    return rows[0] if rows else None


def effects(tx: Tx, where: EffectFilter) -> list[Effect]:
    """Return rows, newest intents first; see `Store.effects`."""
    wanted = {
        "task": where.task,
        "run": where.run and where.run.bytes,
        "tenant": where.tenant,
    }
    tests = [f"{column} = ?" for column, value in wanted.items() if value is not None]
    values = [value for value in wanted.values() if value is not None]
    if where.state is not None:  # by its name, which the small indexes of rare states go by
        tests.append(f"state = '{where.state.value}'")
    if where.tenant:  # so that the index of those rows that have one can serve
        tests.append("tenant <> ''")
    which = f"where {' and '.join(tests)}" if tests else ""
    newest = "order by intended_at desc, intent desc limit ?"
    return effect_rows(tx, f"{which} {newest}", *values, where.limit)


def audit(tx: Tx, address: Address) -> list[Line]:
    """Return what became of an effect, oldest first; see `Store.audit`."""
    return line_rows(tx, f"{_AT} order by number", *_place(address))


def effect_rows(tx: Tx, which: str, *values: Any) -> list[Effect]:
    """Return the effects that a clause selects, in its order."""
    return [_effect(row) for row in tx.all(f"select {_EFFECT} from duly_effect {which}", *values)]


def line_rows(tx: Tx, which: str, *values: Any) -> list[Line]:
    """Return the lines of the audit that a clause selects, in its order."""
    rows = tx.all(f"select {_LINE} from duly_effect_line {which}", *values)
    return [
        Line(
            address=Address(*row[:3]),
            intent=uuid_of(row[3]),
            verb=EffectVerb(row[4]),
            by=row[5],
            why=row[6],
            at=instant(row[7]),
            receipt=row[8],
            accepted_double=bool(row[9]),
        )
        for row in rows
    ]


def _effect(row: Row) -> Effect:
    return Effect(
        address=Address(*row[:3]),
        state=EffectState(row[3]),
        intent=uuid_of(row[4]),
        author=Author(uuid_of(row[5]), uuid_of(row[6]), row[7]),
        intended_at=instant(row[8]),
        deadline=instant(row[9]),
        keep_until=instant(row[10]),
        settled_at=instant_or_none(row[11]),
        receipt=row[12],
        by=row[13],
        why=row[14],
        tenant=row[15],
    )


def _place(address: Address) -> tuple[str, str, str]:
    return address.task, address.name, address.key
