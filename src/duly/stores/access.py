"""The part of the store's protocol about access: keys of the API, and the audit of changes.

What `base.py` says of all verbs holds here too: one transaction each, and sending twice equals
sending once. Keys are never deleted: a revoked one is a row that opens nothing. Lines of the audit
are written once and settled once; no verb changes or removes one, and pruning passes them by.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

from duly.core.access import ApiKey, Change, ChangeFilter
from duly.core.runs import Answer


class Access(Protocol):
    """Who may call, and what was changed by calling."""

    async def add_key(self, key: ApiKey, *, now: datetime | None = None) -> Answer:
        """Keep a key, with its hash and never its text. The same id again: `already`."""
        ...

    async def key_of(self, digest: str) -> ApiKey | None:
        """Return the key with this hash, whatever its standing, or None."""
        ...

    async def keys(self) -> list[ApiKey]:
        """Return all keys, newest first."""
        ...

    async def use_key(self, key: UUID, *, now: datetime | None = None) -> Answer:
        """Write down that a key was used, unless that was done within the last minute.

        `already` then; `unknown` without such a key.
        """
        ...

    async def revoke_key(
        self, key: UUID, *, by: str, reason: str, now: datetime | None = None
    ) -> Answer:
        """Revoke a key, for ever. Again: `already`, and the first reason stays."""
        ...

    async def note_change(self, change: Change, *, now: datetime | None = None) -> Answer:
        """Write a line of the audit before what it tells is tried. Again: `already`."""
        ...

    async def settle_change(
        self, change: UUID, *, outcome: str, after: str | None, now: datetime | None = None
    ) -> Answer:
        """Add what came of a change, once. Again: `already`, and the first word stays."""
        ...

    async def changes(self, where: ChangeFilter) -> Sequence[Change]:
        """Return lines of the audit, newest first: in the order of their ids."""
        ...
