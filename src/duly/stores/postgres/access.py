"""Keys of the API and the audit of changes, as rows of two tables.

A key's text never comes here, only its hash. Each verb is one statement. Rows are written once;
what may be added later (a use, a revocation, an outcome) is added where it is missing.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from duly.core.access import USED_EVERY_S, ApiKey, Change, ChangeFilter, Role
from duly.core.runs import Answer
from duly.stores.postgres.ground import Ground


class AccessVerbs(Ground):
    """What `Store` says of access."""

    async def add_key(self, key: ApiKey, *, now: datetime | None = None) -> Answer:
        rows = await self._fetch(
            ADD_KEY,
            key.id,
            key.digest,
            key.hint,
            key.name,
            key.role.value,
            key.tenant,
            msgspec.json.encode(key.scopes).decode(),
            now,
            key.made_by,
            key.expires_at,
            key.used_at,
            key.revoked_at,
            key.revoked_by,
            key.revoked_why,
        )
        return Answer.DONE if rows else Answer.ALREADY

    async def key_of(self, digest: str) -> ApiKey | None:
        rows = await self._fetch(f"select {KEY} from duly_api_key where digest = $1", digest)
        return api_key_of(rows[0]) if rows else None

    async def keys(self) -> list[ApiKey]:
        rows = await self._fetch(f"select {KEY} from duly_api_key order by id desc")
        return [api_key_of(row) for row in rows]

    async def use_key(self, key: UUID, *, now: datetime | None = None) -> Answer:
        rows = await self._fetch(USE_KEY, key, timedelta(seconds=USED_EVERY_S), now)
        return Answer(rows[0][0])

    async def revoke_key(
        self, key: UUID, *, by: str, reason: str, now: datetime | None = None
    ) -> Answer:
        rows = await self._fetch(REVOKE_KEY, key, by, reason, now)
        return Answer(rows[0][0])

    async def note_change(self, change: Change, *, now: datetime | None = None) -> Answer:
        rows = await self._fetch(
            NOTE_CHANGE,
            change.id,
            change.tenant,
            change.by,
            change.key,
            change.action,
            change.subject,
            change.why,
            change.before,
            change.asked,
            now,
        )
        return Answer.DONE if rows else Answer.ALREADY

    async def settle_change(
        self, change: UUID, *, outcome: str, after: str | None, now: datetime | None = None
    ) -> Answer:
        rows = await self._fetch(SETTLE_CHANGE, change, outcome, after, now)
        return Answer(rows[0][0])

    async def changes(self, where: ChangeFilter) -> list[Change]:
        rows = await self._fetch(
            CHANGES, where.tenant, where.before, where.subject, where.by, where.limit
        )
        return [change_of(row) for row in rows]


def api_key_of(row: Any) -> ApiKey:
    """Build a key from a row of `KEY`."""
    fields: dict[str, Any] = {**dict(row), "role": Role(row["role"])}
    fields["scopes"] = msgspec.json.decode(row["scopes"], type=tuple[str, ...])
    return ApiKey(**fields)


def change_of(row: Any) -> Change:
    """Build a line of the audit from a row of `CHANGE`."""
    return Change(**dict(row))


KEY = """
id, digest, hint, name, role, tenant, scopes, made_at, made_by, expires_at, used_at, revoked_at,
revoked_by, revoked_why
"""

CHANGE = """
id, tenant, by, key, action, subject, why, before, asked, at, outcome, after, settled_at
"""

ADD_KEY = f"""
insert into duly_api_key ({KEY}) values ($1, $2, $3, $4, $5, $6, $7,
  coalesce($8::timestamptz, clock_timestamp()), $9, $10, $11, $12, $13, $14)
on conflict (id) do nothing returning id
"""

USE_KEY = """
with t as materialized (select coalesce($3::timestamptz, clock_timestamp()) as now),
used as (update duly_api_key set used_at = t.now from t
  where id = $1 and (used_at is null or used_at <= t.now - $2::interval) returning id)
select case when exists (select from used) then 'done'
  when exists (select from duly_api_key where id = $1) then 'already' else 'unknown' end
"""

REVOKE_KEY = """
with revoked as (update duly_api_key
  set revoked_at = coalesce($4::timestamptz, clock_timestamp()), revoked_by = $2, revoked_why = $3
  where id = $1 and revoked_at is null returning id)
select case when exists (select from revoked) then 'done'
  when exists (select from duly_api_key where id = $1) then 'already' else 'unknown' end
"""

NOTE_CHANGE = f"""
insert into duly_change ({CHANGE}) values ($1, $2, $3, $4, $5, $6, $7, $8, $9,
  coalesce($10::timestamptz, clock_timestamp()), null, null, null)
on conflict (id) do nothing returning id
"""

SETTLE_CHANGE = """
with settled as (update duly_change
  set outcome = $2, after = $3, settled_at = coalesce($4::timestamptz, clock_timestamp())
  where id = $1 and outcome is null returning id)
select case when exists (select from settled) then 'done'
  when exists (select from duly_change where id = $1) then 'already' else 'unknown' end
"""

CHANGES = f"""
select {CHANGE} from duly_change
where tenant = $1 and ($2::uuid is null or id < $2) and ($3::text is null or subject = $3)
  and ($4::text is null or by = $4)
order by id desc limit $5
"""
