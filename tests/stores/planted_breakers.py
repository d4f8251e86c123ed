"""Planted bugs of breakers: each a small subclass of the model that breaks one promise.

What must notice it is named in `test_contract_planted.py`; nothing here is ever used otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from duly.core.breaker_book import Book
from duly.core.breakers import Heard, Report
from duly.stores.memory import MemoryStore


class LetsTwoProbe(MemoryStore):
    """Forgets, for whoever asks, that a probe is under way."""

    async def breaker_calls(self, boot: UUID, asks: Any, **how: Any) -> Any:
        for name, row in self.t.breakers.items():
            if row.probe not in (None, *(one.lease for one in asks)):
                self.t.breakers[name] = msgspec.structs.replace(row, probe=None)
        return await super().breaker_calls(boot, asks, **how)


class CountsResends(MemoryStore):
    """Counts a telling as often as it comes."""

    async def breaker_tell(
        self, boot: UUID, telling: UUID, reports: Sequence[Report], *, now: datetime | None = None
    ) -> Heard:
        self.t.tellers.pop(boot, None)
        return await super().breaker_tell(boot, telling, reports, now=now)


class BelievesAnyProbe(MemoryStore):
    """Lets any success close it, whoever holds the lease."""

    async def breaker_tell(
        self, boot: UUID, telling: UUID, reports: Sequence[Report], *, now: datetime | None = None
    ) -> Heard:
        known = self.t.breakers
        reports = [
            msgspec.structs.replace(one, lease=known[one.breaker].probe)
            if one.breaker in known
            else one
            for one in reports
        ]
        return await super().breaker_tell(boot, telling, reports, now=now)


class ClosesInSilence(MemoryStore):
    """Leaves those waiting who wait for a breaker that closed."""

    def _rouse(self, name: str, now: datetime) -> int:
        return 0


class TellsNobody(MemoryStore):
    """Opens and closes no incident."""

    def _write_book(self, book: Book, now: datetime) -> None:
        book.incidents.clear()
        super()._write_book(book, now)
