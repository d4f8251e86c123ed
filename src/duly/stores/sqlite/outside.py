"""The verbs about others: targets held back, people who are told, readers, who may call the API.

They share the store's two threads: what writes goes through the writer, and is answered when it
is durable; what only looks goes through the reader.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import TypeVar
from uuid import UUID

from duly.core import feed
from duly.core.access import ApiKey, Change, ChangeFilter
from duly.core.breakers import (
    Ask,
    BreakerFilter,
    BreakerLine,
    BreakerRow,
    Heard,
    Permit,
    Report,
)
from duly.core.feed import AT_ONCE, Look, Point
from duly.core.runs import Answer
from duly.core.states import BreakerVerb
from duly.core.telling import ChannelStanding, Drawn, News, Outlook, Overdue, Summed
from duly.stores.sqlite import access, breaking, feeding, telling
from duly.stores.sqlite.tx import Tx
from duly.stores.telling import MOST_READ, TELLING_LEASE

T = TypeVar("T")


class _Threads:
    async def _write(self, work: Callable[[Tx], T]) -> T:
        raise NotImplementedError

    async def _read(self, work: Callable[[Tx], T]) -> T:
        raise NotImplementedError


class AccessVerbs(_Threads):
    """The verbs of access."""

    async def add_key(self, key: ApiKey, *, now: datetime | None = None) -> Answer:
        return await self._write(lambda tx: access.add_key(tx, key, now))

    async def key_of(self, digest: str) -> ApiKey | None:
        return await self._read(lambda tx: access.key_of(tx, digest))

    async def keys(self) -> list[ApiKey]:
        return await self._read(lambda tx: access.key_rows(tx, "order by id desc"))

    async def use_key(self, key: UUID, *, now: datetime | None = None) -> Answer:
        return await self._write(lambda tx: access.use_key(tx, key, now))

    async def revoke_key(
        self, key: UUID, *, by: str, reason: str, now: datetime | None = None
    ) -> Answer:
        return await self._write(
            lambda tx: access.revoke_key(tx, key, by=by, reason=reason, now=now)
        )

    async def note_change(self, change: Change, *, now: datetime | None = None) -> Answer:
        return await self._write(lambda tx: access.note_change(tx, change, now))

    async def settle_change(
        self, change: UUID, *, outcome: str, after: str | None, now: datetime | None = None
    ) -> Answer:
        return await self._write(
            lambda tx: access.settle_change(tx, change, outcome=outcome, after=after, now=now)
        )

    async def changes(self, where: ChangeFilter) -> list[Change]:
        return await self._read(lambda tx: access.changes(tx, where))


class TellingVerbs(_Threads):
    """The verbs of telling people."""

    async def acknowledge(
        self, kind: str, subject: str, *, by: str, note: str = "", now: datetime | None = None
    ) -> Answer:
        return await self._write(
            lambda tx: telling.acknowledge(tx, kind, subject, by=by, note=note, now=now)
        )

    async def outlook(
        self,
        boot: UUID,
        channel: str,
        *,
        lease: timedelta = TELLING_LEASE,
        limit: int = MOST_READ,
        now: datetime | None = None,
    ) -> Outlook | None:
        return await self._write(
            lambda tx: telling.outlook(tx, boot, channel, lease=lease, limit=limit, now=now)
        )

    async def untold(
        self, channel: str, *, critical: bool = False, limit: int = MOST_READ
    ) -> list[News]:
        return await self._read(
            lambda tx: telling.untold(tx, channel, critical=critical, limit=limit)
        )

    async def overdue(
        self, channel: str, until: datetime, *, critical: bool = False, limit: int = MOST_READ
    ) -> list[Overdue]:
        return await self._read(
            lambda tx: telling.overdue(tx, channel, until, critical=critical, limit=limit)
        )

    async def summed(self, channel: str, since: datetime, until: datetime) -> Summed:
        return await self._read(lambda tx: telling.summed(tx, channel, since, until))

    async def draw_up(self, boot: UUID, drawn: Drawn, *, now: datetime | None = None) -> Answer:
        return await self._write(lambda tx: telling.draw_up(tx, boot, drawn, now))

    async def arrived(self, notice: UUID, *, now: datetime | None = None) -> Answer:
        return await self._write(lambda tx: telling.arrived(tx, notice, now))

    async def channels(self) -> list[ChannelStanding]:
        return await self._read(telling.channels)


class FeedVerbs(_Threads):
    """The verb of the feed."""

    async def feed(
        self, after: Point | None, *, limit: int = AT_ONCE, now: datetime | None = None
    ) -> Look:
        # Whoever holds the write lock knows that nobody else is in the middle of writing.
        upto = feed.settled(await self._write(lambda tx: tx.now(now)), None)
        if after is None:
            return feed.nothing(upto)
        return await self._read(lambda tx: feeding.read(tx, after, upto, limit))


class OutsideVerbs(TellingVerbs, FeedVerbs, AccessVerbs):
    """The verbs of breakers, beside those of telling people, of the feed and of access."""

    async def breaker_calls(
        self, boot: UUID, asks: Sequence[Ask], *, now: datetime | None = None
    ) -> list[Permit]:
        # The write lock is taken only when a probe is due.
        known = await self._read(lambda tx: breaking.asked(tx, boot, asks, now))
        if known is not None:
            return known
        return await self._write(lambda tx: breaking.calls(tx, boot, asks, now))

    async def breaker_tell(
        self, boot: UUID, telling: UUID, reports: Sequence[Report], *, now: datetime | None = None
    ) -> Heard:
        return await self._write(lambda tx: breaking.tell(tx, boot, telling, reports, now))

    async def breaker_move(
        self, name: str, verb: BreakerVerb, *, by: str, why: str, now: datetime | None = None
    ) -> Answer:
        return await self._write(lambda tx: breaking.move(tx, name, verb, by=by, why=why, now=now))

    async def breaker(self, name: str) -> BreakerRow | None:
        return await self._read(lambda tx: breaking.breaker(tx, name))

    async def breakers(self, where: BreakerFilter) -> list[BreakerRow]:
        return await self._read(lambda tx: breaking.breakers(tx, where))

    async def breaker_lines(self, name: str, limit: int = 50) -> list[BreakerLine]:
        return await self._read(lambda tx: breaking.lines(tx, name, limit))
