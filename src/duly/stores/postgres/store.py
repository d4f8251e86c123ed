"""The store on PostgreSQL: opening and closing it, and all its verbs in one class.

Connections of one process: a pool of at most five, one that listens and tells, two that hold
presence, one that watches, and one of the lease line. A verb that fails because the store is
away may be sent again; connections are made anew when they are needed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from duly.errors import InvalidValue
from duly.stores.base import DEFAULT_GRACE, LeaseLine, Presence, Standing, WakeUp
from duly.stores.postgres import migrate, standing
from duly.stores.postgres.access import AccessVerbs
from duly.stores.postgres.border import border
from duly.stores.postgres.breaking import BreakerVerbs
from duly.stores.postgres.claim import ClaimVerbs
from duly.stores.postgres.connection import Address, Pool
from duly.stores.postgres.ending import EndVerbs
from duly.stores.postgres.enqueue import EnqueueVerbs
from duly.stores.postgres.feeding import FeedVerbs
from duly.stores.postgres.firing import FireVerbs
from duly.stores.postgres.fleet import FleetVerbs
from duly.stores.postgres.floors import Floors
from duly.stores.postgres.housekeeping import HousekeepingVerbs
from duly.stores.postgres.lease import Line
from duly.stores.postgres.ledger import LedgerVerbs
from duly.stores.postgres.logs import LogVerbs
from duly.stores.postgres.moving import MoveVerbs
from duly.stores.postgres.outbox import OutboxVerbs
from duly.stores.postgres.presence import SessionPresence
from duly.stores.postgres.promoting import PromoteVerbs
from duly.stores.postgres.reading import ReadVerbs
from duly.stores.postgres.remembering import RememberVerbs
from duly.stores.postgres.schedules import ScheduleVerbs
from duly.stores.postgres.snapshot import snapshot
from duly.stores.postgres.sweeping import SweepVerbs
from duly.stores.postgres.takeover import TakeoverVerbs
from duly.stores.postgres.telling import TellingVerbs
from duly.stores.postgres.together import Together
from duly.stores.postgres.waking import Bell

MIGRATE_S = 3600
"""A step of a migration may rewrite a large table."""


class PostgresStore(
    EnqueueVerbs,
    ClaimVerbs,
    EndVerbs,
    MoveVerbs,
    PromoteVerbs,
    ReadVerbs,
    FleetVerbs,
    TakeoverVerbs,
    FireVerbs,
    ScheduleVerbs,
    HousekeepingVerbs,
    RememberVerbs,
    LogVerbs,
    OutboxVerbs,
    LedgerVerbs,
    SweepVerbs,
    AccessVerbs,
    BreakerVerbs,
    TellingVerbs,
    FeedVerbs,
):
    """`Store` on PostgreSQL. `url` as asyncpg takes it; tables live in `schema`.

    Raises `InvalidValue` for a URL or schema name that cannot be right. Nothing is connected
    before the first verb.
    """

    def __init__(self, url: str, *, schema: str = "public", pool_size: int = 5) -> None:
        if not 1 <= pool_size <= 100:
            raise InvalidValue.expected("pool_size", "from 1 to 100", pool_size)
        self._address = Address(url, schema)
        self._pool = Pool(self._address, pool_size)
        self._bell = Bell(self._address)
        self._pool.broke = self._bell.doubt
        self._warming: asyncio.Future[None] | None = None
        self._floors: dict[tuple[str, ...], Floors] = {}
        self._together = Together(self._put_plain)
        self._standing: Standing | None = None
        self.name = self._address.name

    async def open(self) -> Standing:
        self._standing = await self._read_standing()
        self._bell.recheck = self._recheck
        await self._bell.open()
        return self._standing

    async def close(self) -> None:
        await self._bell.close()
        if self._warming is not None:
            self._warming.cancel()
            await asyncio.gather(self._warming, return_exceptions=True)
        await self._pool.close()

    async def migrate(self) -> tuple[str, ...]:
        with border(self.name):
            conn = await self._address.connect(command_s=MIGRATE_S)
            try:
                return await migrate.migrate(conn, self._address)
            finally:
                await conn.close()

    async def accept(self, by: str, reason: str) -> Standing:
        with border(self.name):
            async with self._pool.line() as conn:
                here = await standing.origin(conn)
        self._standing = await self._transact(lambda unit: standing.accept(unit, by, reason, here))
        return self._standing

    async def standing(self) -> Standing:
        return standing.of_row((await self._fetch(standing.META))[0])

    async def clock(self) -> datetime:
        rows = await self._fetch("select clock_timestamp()")
        at: datetime = rows[0][0]
        return at

    def lease_line(self) -> LeaseLine:
        return Line(self._address)

    def presence(self, grace: timedelta = DEFAULT_GRACE) -> Presence | None:
        return SessionPresence(self._address, grace=grace)

    def listen(self, heard: Callable[[WakeUp], None]) -> Callable[[], None]:
        return self._bell.listen(heard)

    async def tell(self, wake: WakeUp) -> None:
        await self._bell.say(wake)

    async def snapshot(self) -> dict[str, Any]:
        """Return all rows in the shape the agreement test compares."""
        with border(self.name):
            async with self._pool.line() as conn:
                return await snapshot(conn)

    async def _read_standing(self) -> Standing:
        with border(self.name):
            async with self._pool.line() as conn:
                await migrate.check(conn, self.name)
                return await standing.look(conn, self.name)

    async def _recheck(self) -> None:
        """After a lost connection: whether the store that came back is the one that went."""
        self._standing = await self._read_standing()
        beats = self._beats
        if beats is not None and self._standing.trusted:
            with border(self.name):
                async with self._pool.line() as conn:
                    self._standing = await standing.went_back(conn, beats) or self._standing
