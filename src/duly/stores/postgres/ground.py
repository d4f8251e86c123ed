"""The ground the verbs stand on: a pool, units of work that are run again when they may be, and
the refusal to work in a store that is not trusted.

A unit is rolled back and begun again after a deadlock, a serialisation conflict, or when it met
something that it had not locked; nothing of the first try is left then. A lost connection is never
tried again here: its outcome is unknown, and resending is the caller's, with the same ids.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, TypeVar

import asyncpg

from duly.errors import Refused, StoreUnavailable
from duly.stores.base import Signal, Standing, WakeUp
from duly.stores.postgres.border import border
from duly.stores.postgres.connection import Address, Pool, transaction
from duly.stores.postgres.unit import BeginAgain, Unit
from duly.stores.postgres.waking import Bell

T = TypeVar("T")

TRIES = 8


class Ground:
    """What every group of verbs shares."""

    _address: Address
    _pool: Pool
    _bell: Bell
    _standing: Standing | None

    async def _fetch(self, sql: str, *args: Any) -> list[Any]:
        return await self._pool.fetch(sql, *args)

    def _tell(self, signal: Signal, detail: str = "") -> None:
        self._bell.ring({WakeUp(signal, detail)})

    async def _transact(
        self, work: Callable[[Unit], Awaitable[T]], now: datetime | None = None
    ) -> T:
        """Run `work` in a unit, commit, and tell what it has to tell."""
        with border(self._address.name):
            for _ in range(TRIES):
                try:
                    unit, answer = await self._once(work, now)
                except (BeginAgain, asyncpg.DeadlockDetectedError, asyncpg.SerializationError):
                    continue
                self._bell.ring(unit.wakes)
                return answer
        raise StoreUnavailable(
            f"the store {self._address.name} rolled a transaction back {TRIES} times: "
            "too many others write the same rows"
        )

    async def _once(
        self, work: Callable[[Unit], Awaitable[T]], now: datetime | None
    ) -> tuple[Unit, T]:
        async with self._pool.line() as conn, transaction(conn):
            at: Any = now if now is not None else await conn.fetchval("select clock_timestamp()")
            unit = Unit(conn, at)
            answer = await work(unit)
            self._pool.sent += unit.sent
            return unit, answer

    async def _must_be_trusted(self) -> None:
        """Refuse to fire, claim, renew or take over in a store that lost writes."""
        if self._standing is not None and self._standing.trusted:
            return
        self._standing = await self._read_standing()
        if not self._standing.trusted:
            raise Refused(
                f"the store {self._address.name} is not trusted: {self._standing.why}; nothing "
                "fires or is claimed there until a person runs `duly db accept`"
            )

    async def _read_standing(self) -> Standing:
        raise NotImplementedError
