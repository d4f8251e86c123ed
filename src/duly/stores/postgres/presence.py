"""Presence: session locks that fall with their process, and watching them fall.

Theory of operation. A boot holds one advisory lock, *shared*, on two connections: losing one of
them is not a death. A watcher wants the lock exclusively. It gets it when both sessions of the
boot have ended, which the server notices within milliseconds of a `kill -9`.

    watcher:  wait for the lock, in rounds of 2 s (a waiting statement pins a snapshot)
              got it: give it back at once, so that a living holder can take it again
              sleep the grace on the server, in the same session
              still free -> SESSION; taken again -> wait on
              own session broke, or the server is not the one the boot locked on -> None

A server that restarts drops every lock at once; so the boot writes down on which start of the
server it took its locks, and a watcher that finds another start says nothing. Neither does it
for a boot that never took locks. Leases bound all of these cases.
"""

from __future__ import annotations

import asyncio
import hashlib
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg

from duly.core.fleet import Proof
from duly.errors import EnvironmentFailure
from duly.stores.base import DEFAULT_GRACE
from duly.stores.postgres.border import BROKEN, border
from duly.stores.postgres.connection import Address

ROUND = "2s"
TAKE_AGAIN = "5s"
HEAL_AGAIN_S = 0.5

LOST = (
    OSError,
    TimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    BROKEN,
    EnvironmentFailure,
)


class SessionPresence:
    """`Presence` by advisory locks. Two connections for holding, one more while watching."""

    def __init__(self, address: Address, *, grace: timedelta = DEFAULT_GRACE) -> None:
        self._address = address
        self._boot: UUID | None = None
        self._holders: list[asyncpg.Connection | None] = [None, None]
        self._taking = asyncio.Lock()
        self._healing: asyncio.Task[None] | None = None
        self._grace_s = grace.total_seconds()

    async def hold(self, boot: UUID) -> None:
        before, self._boot = self._boot, boot
        with border(self._address.name):
            async with self._taking:
                if before not in (None, boot):  # a boot that is dead; its sessions hold its lock
                    for place in range(len(self._holders)):
                        self._drop(place)
                for place in range(len(self._holders)):
                    await self._take(place, boot)

    async def holding(self) -> bool:
        if self._boot is None:
            return False
        async with self._taking:
            # Asked at once: one silence mostly strikes both, and each costs a wait. Made anew one
            # after the other, so that the lock does not fall in between.
            sound = await asyncio.gather(*map(self._answers, range(len(self._holders))))
            for place, whole in enumerate(sound):
                if not whole:
                    self._drop(place)
                    await self._try_take(place)
            return any(self._holders)

    async def _answers(self, place: int) -> bool:
        """Whether the session is there; one that broke unnoticed is found out here."""
        conn = self._holders[place]
        if conn is None or conn.is_closed():
            return False
        try:
            await conn.execute("select 1")
        except LOST:
            return False
        return True

    async def _try_take(self, place: int) -> bool:
        if self._boot is None:
            return False
        try:
            await self._take(place, self._boot)
        except LOST:
            self._drop(place)
            return False
        return True

    async def watch(self, boot: UUID) -> Proof | None:
        conn: asyncpg.Connection | None = None
        try:
            conn = await self._address.connect(lock_timeout=ROUND)
            return await self._watch_on(conn, boot)
        except LOST:
            return None
        finally:
            if conn is not None:
                conn.terminate()

    async def release(self) -> None:
        boot, self._boot = self._boot, None
        if self._healing is not None:
            self._healing.cancel()
            await asyncio.gather(self._healing, return_exceptions=True)
            self._healing = None
        async with self._taking:
            conn = next((one for one in self._holders if one and not one.is_closed()), None)
            try:
                if conn is not None and boot is not None:
                    await conn.execute("delete from duly_presence where boot = $1", boot)
            except LOST:
                pass  # the row without its locks only says on which server they were
            finally:
                for place in range(len(self._holders)):
                    self._drop(place)

    async def _take(self, place: int, boot: UUID) -> None:
        """Hold the boot's lock on one of the connections, if it does not already."""
        conn = self._holders[place]
        if conn is not None and not conn.is_closed():
            await conn.execute("select 1")
            return
        conn = await self._address.connect(lock_timeout=TAKE_AGAIN)
        try:
            await conn.execute("select pg_advisory_lock_shared($1)", self._key(boot))
            await conn.execute(NOTE, boot)
        except BaseException:
            conn.terminate()
            raise
        conn.add_termination_listener(self._lost)
        self._holders[place] = conn

    def _lost(self, conn: asyncpg.Connection) -> None:
        """A holding connection broke: take the lock again at once, within others' grace."""
        if self._boot is not None and conn in self._holders and self._healing is None:
            self._healing = asyncio.get_running_loop().create_task(self._heal())

    async def _heal(self) -> None:
        await self.holding()
        self._healing = None
        if not all(self._holders) and self._boot is not None:
            asyncio.get_running_loop().call_later(HEAL_AGAIN_S, self._heal_again)

    def _heal_again(self) -> None:
        if self._boot is not None and self._healing is None:
            self._healing = asyncio.get_running_loop().create_task(self._heal())

    def _drop(self, place: int) -> None:
        conn, self._holders[place] = self._holders[place], None
        if conn is not None:
            conn.terminate()

    async def _watch_on(self, conn: asyncpg.Connection, boot: UUID) -> Proof | None:
        while True:
            if not await self._locked_here(conn, boot):
                return None
            if not await self._fell(conn, boot):
                continue
            await conn.execute("select pg_sleep($1)", self._grace_s)
            if not await self._is_free(conn, boot):
                continue
            return Proof.SESSION if await self._locked_here(conn, boot) else None

    async def _locked_here(self, conn: asyncpg.Connection, boot: UUID) -> bool:
        """Whether the boot took its locks on this very start of the server."""
        started: datetime | None = await conn.fetchval(STARTED, boot)
        return started is not None

    async def _fell(self, conn: asyncpg.Connection, boot: UUID) -> bool:
        """One round of waiting for the lock; whether it fell."""
        try:
            await conn.execute("select pg_advisory_lock($1)", self._key(boot))
        except asyncpg.LockNotAvailableError:
            return False
        await conn.execute("select pg_advisory_unlock($1)", self._key(boot))
        return True

    async def _is_free(self, conn: asyncpg.Connection, boot: UUID) -> bool:
        key = self._key(boot)
        got: Any = await conn.fetchval("select pg_try_advisory_lock($1)", key)
        if got:
            await conn.execute("select pg_advisory_unlock($1)", key)
        return bool(got)

    def _key(self, boot: UUID) -> int:
        """The boot's lock: 64 bits that no other boot, and no other schema, is likely to share."""
        text = f"duly\0{self._address.schema}\0{boot}".encode()
        return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big", signed=True)


NOTE = """
insert into duly_presence (boot, server_started) values ($1, pg_postmaster_start_time())
on conflict (boot) do update set server_started = excluded.server_started
"""

STARTED = """
select server_started from duly_presence
where boot = $1 and server_started = pg_postmaster_start_time()
"""
