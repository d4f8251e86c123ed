"""Keys of the API and the audit of changes, as rows of two tables.

A key's text never comes here, only its hash. Rows are written once; what may be added later (a
use, a revocation, an outcome) is added where it is missing and nowhere else.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from duly.core.access import USED_EVERY_S, ApiKey, Change, ChangeFilter, Role
from duly.core.runs import Answer
from duly.stores.sqlite.rows import (
    instant,
    instant_or_none,
    json_text,
    marks,
    micros,
    micros_or_none,
    uuid_of,
    uuid_or_none,
)
from duly.stores.sqlite.tx import Row, Tx

_KEY = """id, digest, hint, name, role, tenant, scopes, made_at, made_by, expires_at, used_at,
    revoked_at, revoked_by, revoked_why"""
_CHANGE = """id, tenant, by, key, action, subject, why, before, asked, at, outcome, after,
    settled_at"""


def add_key(tx: Tx, key: ApiKey, now: datetime | None) -> Answer:
    """Keep a key; see `Store.add_key`."""
    added = tx.do(
        f"insert into duly_api_key ({_KEY}) values ({marks(14)}) on conflict (id) do nothing",
        key.id.bytes,
        key.digest,
        key.hint,
        key.name,
        key.role.value,
        key.tenant,
        json_text(key.scopes),
        micros(tx.now(now)),
        key.made_by,
        micros_or_none(key.expires_at),
        micros_or_none(key.used_at),
        micros_or_none(key.revoked_at),
        key.revoked_by,
        key.revoked_why,
    )
    return Answer.DONE if added else Answer.ALREADY


def key_rows(tx: Tx, which: str, *values: Any) -> list[ApiKey]:
    """Return the keys that a clause selects, in its order."""
    return [_key(row) for row in tx.all(f"select {_KEY} from duly_api_key {which}", *values)]


def _key(row: Row) -> ApiKey:
    one, digest, hint, name, role, tenant, scopes, made_at, made_by, *rest = row
    expires_at, used_at, revoked_at, revoked_by, revoked_why = rest
    return ApiKey(
        id=uuid_of(one),
        digest=digest,
        hint=hint,
        name=name,
        role=Role(role),
        tenant=tenant,
        scopes=msgspec.json.decode(scopes, type=tuple[str, ...]),
        made_at=instant(made_at),
        made_by=made_by,
        expires_at=instant_or_none(expires_at),
        used_at=instant_or_none(used_at),
        revoked_at=instant_or_none(revoked_at),
        revoked_by=revoked_by,
        revoked_why=revoked_why,
    )


def key_of(tx: Tx, digest: str) -> ApiKey | None:
    """Return the key with this hash; see `Store.key_of`."""
    found = key_rows(tx, "where digest = ?", digest)
    return found[0] if found else None


def use_key(tx: Tx, key: UUID, now: datetime | None) -> Answer:
    """Write a use down; see `Store.use_key`."""
    at = tx.now(now)
    used = tx.do(
        "update duly_api_key set used_at = ?1 where id = ?2 and (used_at is null or used_at <= ?3)",
        micros(at),
        key.bytes,
        micros(at - timedelta(seconds=USED_EVERY_S)),
    )
    return Answer.DONE if used else _known(tx, "duly_api_key", key)


def revoke_key(tx: Tx, key: UUID, *, by: str, reason: str, now: datetime | None) -> Answer:
    """Revoke a key; see `Store.revoke_key`."""
    revoked = tx.do(
        "update duly_api_key set revoked_at = ?, revoked_by = ?, revoked_why = ?"
        " where id = ? and revoked_at is null",
        micros(tx.now(now)),
        by,
        reason,
        key.bytes,
    )
    return Answer.DONE if revoked else _known(tx, "duly_api_key", key)


def note_change(tx: Tx, change: Change, now: datetime | None) -> Answer:
    """Write a line of the audit; see `Store.note_change`."""
    noted = tx.do(
        f"insert into duly_change ({_CHANGE}) values ({marks(10)},null,null,null)"
        " on conflict (id) do nothing",
        change.id.bytes,
        change.tenant,
        change.by,
        change.key.bytes if change.key else None,
        change.action,
        change.subject,
        change.why,
        change.before,
        change.asked,
        micros(tx.now(now)),
    )
    return Answer.DONE if noted else Answer.ALREADY


def settle_change(
    tx: Tx, change: UUID, *, outcome: str, after: str | None, now: datetime | None
) -> Answer:
    """Add what came of a change; see `Store.settle_change`."""
    settled = tx.do(
        "update duly_change set outcome = ?, after = ?, settled_at = ?"
        " where id = ? and outcome is null",
        outcome,
        after,
        micros(tx.now(now)),
        change.bytes,
    )
    return Answer.DONE if settled else _known(tx, "duly_change", change)


def change_rows(tx: Tx, which: str, *values: Any) -> list[Change]:
    """Return the lines that a clause selects, in its order."""
    rows = tx.all(f"select {_CHANGE} from duly_change {which}", *values)
    return [_change(row) for row in rows]


def _change(row: Row) -> Change:
    one, tenant, by, key, action, subject, why, before, asked, at, outcome, after, settled_at = row
    return Change(
        id=uuid_of(one),
        tenant=tenant,
        by=by,
        key=uuid_or_none(key),
        action=action,
        subject=subject,
        why=why,
        before=before,
        asked=asked,
        at=instant(at),
        outcome=outcome,
        after=after,
        settled_at=instant_or_none(settled_at),
    )


def changes(tx: Tx, where: ChangeFilter) -> list[Change]:
    """Return lines of the audit; see `Store.changes`."""
    return change_rows(
        tx,
        "where tenant = ?1 and (?2 is null or id < ?2) and (?3 is null or subject = ?3)"
        " and (?4 is null or by = ?4) order by id desc limit ?5",
        where.tenant,
        where.before.bytes if where.before else None,
        where.subject,
        where.by,
        where.limit,
    )


def _known(tx: Tx, table: str, one: UUID) -> Answer:
    there = tx.value(f"select 1 from {table} where id = ?", one.bytes)
    return Answer.UNKNOWN if there is None else Answer.ALREADY
