"""The line of the renewing thread: a connection and an event loop that nobody else touches.

Blocking by design: it is called from a thread of its own, so that a blocked main loop does not
lose its lease. A broken connection is made anew at the next renewal. It never uses the pool.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from datetime import timedelta
from typing import Any, TypeVar
from uuid import UUID

import asyncpg

from duly.core.fleet import Renewal
from duly.errors import StoreUnavailable
from duly.stores.base import DEFAULT_LEASE
from duly.stores.postgres.border import border
from duly.stores.postgres.connection import Address
from duly.stores.postgres.fleet import RENEW, after_release, compared, hand_back
from duly.stores.postgres.unit import Unit
from duly.stores.postgres.waking import message

T = TypeVar("T")


class Line:
    """`LeaseLine` on PostgreSQL. One thread at a time."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._loop: asyncio.AbstractEventLoop | None = asyncio.new_event_loop()
        self._conn: asyncpg.Connection | None = None

    def renew(
        self,
        boot: UUID,
        held: Sequence[tuple[UUID, int]],
        pending: Sequence[UUID],
        *,
        lease: timedelta = DEFAULT_LEASE,
    ) -> Renewal:
        patience = max(lease.total_seconds() / 3, 1.0)
        return self._run(self._renew(boot, held, pending, lease), patience)

    def close(self) -> None:
        loop, self._loop = self._loop, None
        if loop is None:
            return
        if self._conn is not None:
            self._conn.terminate()
        loop.run_until_complete(asyncio.sleep(0))  # noqa: TID251 - lets the transport close
        loop.close()

    def _run(self, work: Coroutine[Any, Any, T], patience_s: float) -> T:
        if self._loop is None:
            work.close()
            raise StoreUnavailable(f"the lease line to {self._address.name} is closed")
        with border(self._address.name):
            try:
                return self._loop.run_until_complete(_within(work, patience_s))
            except BaseException:
                self._drop()
                raise

    def _drop(self) -> None:
        """A line that failed in the middle of something is not used again."""
        if self._conn is not None:
            self._conn.terminate()
            self._conn = None

    async def _renew(
        self,
        boot: UUID,
        held: Sequence[tuple[UUID, int]],
        pending: Sequence[UUID],
        lease: timedelta,
    ) -> Renewal:
        if self._conn is None or self._conn.is_closed():
            self._conn = await self._address.connect()
        conn = self._conn
        renewal, strays = compared(await conn.fetch(RENEW, boot, lease, None), held, pending)
        if not strays:
            return renewal
        async with conn.transaction():
            unit = Unit(conn, await conn.fetchval("select clock_timestamp()"))
            released = await hand_back(unit, boot, strays)
            if unit.wakes:
                told = message(unit.wakes)[0]
                await conn.fetch("select pg_notify($1, $2)", self._address.channel, told)
        return after_release(renewal, strays, released)


async def _within(work: Coroutine[Any, Any, T], patience_s: float) -> T:
    async with asyncio.timeout(patience_s):
        return await work
