"""Points inside the transactions of PostgreSQL: a connection class for the driver.

Statements that a verb sends are counted from the BEGIN on. The commit, and a statement that is a
transaction by itself, can be died at while it is on its way: it is sent, and its answer is not
awaited, so that the server may or may not have done it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeVar

import asyncpg

from chaos.failpoints import VERB, Points

T = TypeVar("T")


class Marked(asyncpg.Connection):
    """A connection that knows which verb sends its statements."""

    points: Points
    statements = 0

    async def execute(self, query: str, *args: Any, **how: Any) -> Any:
        return await self._sent(query, partial(super().execute, query, *args, **how))

    async def fetch(self, query: str, *args: Any, **how: Any) -> Any:
        return await self._sent(query, partial(super().fetch, query, *args, **how))

    async def fetchval(self, query: str, *args: Any, **how: Any) -> Any:
        return await self._sent(query, partial(super().fetchval, query, *args, **how))

    async def _sent(self, query: str, send: Callable[[], Awaitable[T]]) -> T:
        verb, word = VERB.get(), query.lstrip()[:6].upper()
        if not verb or word in ("BEGIN;", "ROLLBA"):
            self.statements = 0
            return await send()
        if word == "COMMIT":
            self.points.hit(f"{verb}.uncommitted")
        elif self.is_in_transaction():
            if self.statements:
                self.points.between(verb, self.statements)
            self.statements += 1
            return await send()
        return await self._in_flight(f"{verb}.flight", send)

    async def _in_flight(self, name: str, send: Callable[[], Awaitable[T]]) -> T:
        if not self.points.chosen(name):
            return await send()
        sending = asyncio.ensure_future(send())
        for _ in range(3):
            await asyncio.sleep(0)
        self.points.die(name)
        return await sending


def lay(points: Points) -> None:
    """Let every connection of this process be a marked one from now on."""
    Marked.points = points
    asyncpg.connect = partial(asyncpg.connect, connection_class=Marked)
