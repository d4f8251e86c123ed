"""The line of the renewing thread: a connection and an event loop that nobody else touches.

Blocking by design: it is called from a thread of its own, so that a blocked main loop does not
lose its lease. A broken connection is made anew at the next renewal. It never uses the pool.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Sequence
from datetime import timedelta
from typing import Any, TypeVar
from uuid import UUID

import asyncpg

from duly.core.fleet import Renewal
from duly.errors import StoreUnavailable
from duly.stores.base import DEFAULT_LEASE
from duly.stores.postgres.border import border
from duly.stores.postgres.connection import Address, transaction
from duly.stores.postgres.fleet import RENEW, after_release, compared, hand_back
from duly.stores.postgres.unit import Unit
from duly.stores.postgres.waking import message

T = TypeVar("T")


class Line:
    """`LeaseLine` on PostgreSQL. Its loop has a thread of its own, so any thread may call it."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._conn: asyncpg.Connection | None = None
        self._closed = False

    def renew(
        self,
        boot: UUID,
        held: Sequence[tuple[UUID, int]],
        pending: Sequence[UUID],
        *,
        lease: timedelta = DEFAULT_LEASE,
    ) -> Renewal:
        patience = max(lease.total_seconds() / 3, 1.0)
        with border(self._address.name):
            return self._run(self._within(patience, boot, held, pending, lease=lease))

    def close(self) -> None:
        self._closed = True
        loop, thread = self._loop, self._thread
        self._loop = self._thread = None
        if loop is None or thread is None:
            return
        asyncio.run_coroutine_threadsafe(self._drop(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the line's own loop, and wait for it."""
        if self._closed:
            work.close()
            raise StoreUnavailable(f"the lease line to {self._address.name} is closed")
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(
                target=self._loop.run_forever, name="duly-lease-line", daemon=True
            )
            self._thread.start()
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _drop(self) -> None:
        """A line that failed in the middle of something is not used again."""
        conn, self._conn = self._conn, None
        if conn is not None:
            conn.terminate()
        await asyncio.sleep(0)  # noqa: TID251 - the transport closes in the next turn

    async def _within(
        self,
        patience_s: float,
        boot: UUID,
        held: Sequence[tuple[UUID, int]],
        pending: Sequence[UUID],
        *,
        lease: timedelta,
    ) -> Renewal:
        try:
            async with asyncio.timeout(patience_s):
                return await self._renew(boot, held, pending, lease)
        except BaseException:
            await self._drop()
            raise

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
        async with transaction(conn):
            at: Any = await conn.fetchval("select clock_timestamp()")
            unit = Unit(conn, at)
            released = await hand_back(unit, boot, strays)
            if unit.wakes:
                told = message(unit.wakes)[0]
                await conn.fetch("select pg_notify($1, $2)", self._address.channel, told)
        return after_release(renewal, strays, released)
