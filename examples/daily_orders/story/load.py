"""People who order: POSTs to any instance that answers, and orders that are committed late.

A POST whose answer did not come is sent again with the same reference, elsewhere, until it is
acknowledged. A late order is stamped now and committed after the day was closed, by a transaction
that stays open that long (on SQLite, which has one writer, it begins that late).
"""

from __future__ import annotations

import asyncio
import itertools
import random
from datetime import UTC, datetime

import aiohttp
import asyncpg

from examples.daily_orders.shop import Order, Shop

CUSTOMERS = ("Jansen", "De Vries", '=HYPERLINK("http://example.com")', "@Bakker", "+31 20 555")
PAUSE_S = 0.02


class Load:
    """Orders, until told to stop. What `acknowledged` and `late` refer to must be kept."""

    def __init__(self, ports: list[int], session: aiohttp.ClientSession, database: str) -> None:
        self.acknowledged: set[str] = set()
        self.late: set[str] = set()
        self.sent_again = 0
        self._ports, self._session, self._database = ports, session, database
        self._numbers = itertools.count(1)
        self._random = random.Random(2)
        self._stop = asyncio.Event()

    def stop(self) -> None:
        """Send no further order."""
        self._stop.set()

    async def post_orders(self) -> None:
        """Post one order after the other."""
        while not self._stop.is_set():
            await self._post(self._order("web"))
            await asyncio.sleep(PAUSE_S)

    async def commit_late(self, shop: Shop, every_s: float) -> None:
        """Stamp an order now and commit it most of a day later, again and again."""
        while not self._stop.is_set():
            order, stamp = self._order("late"), datetime.now(UTC).isoformat()
            if self._database.startswith("postgresql://"):
                await self._hold_open(order, stamp, every_s)
            else:
                await asyncio.sleep(every_s)
                await shop.place(order, stamp)
            self.late.add(order.reference)

    def _order(self, kind: str) -> Order:
        customer = self._random.choice(CUSTOMERS)
        cents = self._random.randrange(-500, 100_000)
        return Order(f"{kind}-{next(self._numbers)}", customer, "a chair, blue", cents)

    async def _post(self, order: Order) -> None:
        body = {
            "reference": order.reference, "customer": order.customer,
            "article": order.article, "cents": order.cents,
        }  # fmt: skip
        while True:
            port = self._random.choice(self._ports)
            try:
                async with self._session.post(
                    f"http://127.0.0.1:{port}/orders", json=body
                ) as answer:
                    if answer.status == 201:
                        self.acknowledged.add(order.reference)
                        return
            except (aiohttp.ClientError, TimeoutError):
                pass
            self.sent_again += 1
            await asyncio.sleep(PAUSE_S)

    async def _hold_open(self, order: Order, stamp: str, seconds: float) -> None:
        """Insert at once and commit late: the row's number is older than its commit."""
        conn = await asyncpg.connect(self._database)
        try:
            async with conn.transaction():
                await conn.execute(
                    "insert into orders (reference, customer, article, cents, placed_at)"
                    " values ($1, $2, $3, $4, $5)",
                    order.reference, order.customer, order.article, order.cents, stamp,
                )  # fmt: skip
                await asyncio.sleep(seconds)
        finally:
            await conn.close()
