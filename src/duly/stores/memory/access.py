"""Keys of the API and the audit of changes, in the model.

Two dictionaries, written with the core's records and nothing clever. No verb here removes a row.
"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import msgspec

from duly.core.access import ApiKey, Change, ChangeFilter, due_for_use
from duly.core.runs import Answer
from duly.stores.memory.tables import Tables


class AccessVerbs:
    """What `Store` says of access, on `Tables`."""

    t: Tables

    def _now(self, now: datetime | None) -> datetime:
        raise NotImplementedError

    async def add_key(self, key: ApiKey, *, now: datetime | None = None) -> Answer:
        if key.id in self.t.api_keys:
            return Answer.ALREADY
        self.t.api_keys[key.id] = msgspec.structs.replace(key, made_at=self._now(now))
        return Answer.DONE

    async def key_of(self, digest: str) -> ApiKey | None:
        return next((one for one in self.t.api_keys.values() if one.digest == digest), None)

    async def keys(self) -> list[ApiKey]:
        return [self.t.api_keys[one] for one in sorted(self.t.api_keys, reverse=True)]

    async def use_key(self, key: UUID, *, now: datetime | None = None) -> Answer:
        at, row = self._now(now), self.t.api_keys.get(key)
        if row is None:
            return Answer.UNKNOWN
        if not due_for_use(row, at):
            return Answer.ALREADY
        self.t.api_keys[key] = msgspec.structs.replace(row, used_at=at)
        return Answer.DONE

    async def revoke_key(
        self, key: UUID, *, by: str, reason: str, now: datetime | None = None
    ) -> Answer:
        row = self.t.api_keys.get(key)
        if row is None:
            return Answer.UNKNOWN
        if row.revoked_at is not None:
            return Answer.ALREADY
        self.t.api_keys[key] = msgspec.structs.replace(
            row, revoked_at=self._now(now), revoked_by=by, revoked_why=reason
        )
        return Answer.DONE

    async def note_change(self, change: Change, *, now: datetime | None = None) -> Answer:
        if change.id in self.t.changes:
            return Answer.ALREADY
        self.t.changes[change.id] = msgspec.structs.replace(
            change, at=self._now(now), outcome=None, after=None, settled_at=None
        )
        return Answer.DONE

    async def settle_change(
        self, change: UUID, *, outcome: str, after: str | None, now: datetime | None = None
    ) -> Answer:
        row = self.t.changes.get(change)
        if row is None:
            return Answer.UNKNOWN
        if row.outcome is not None:
            return Answer.ALREADY
        self.t.changes[change] = msgspec.structs.replace(
            row, outcome=outcome, after=after, settled_at=self._now(now)
        )
        return Answer.DONE

    async def changes(self, where: ChangeFilter) -> list[Change]:
        found = [
            row
            for one in sorted(self.t.changes, reverse=True)
            if (where.before is None or one < where.before)
            and (row := self.t.changes[one]).tenant == where.tenant
            and where.subject in (None, row.subject)
            and where.by in (None, row.by)
        ]
        return found[: where.limit]
