"""The shop's own tables: `orders`, and `closed_days`, which says which orders a day's CSV holds.

A day is closed by writing one row: from where the last closed day ended, up to a mark that is
taken now. The mark follows the order of *commits* (`duly.pipeline`), so an order that is stamped
00:59:59 and committed at 01:00:01 lies behind the mark and is in the next day's file. Bounds never
change once written: whoever reads a day, today or in a year, reads the same rows.

Guarantees: each committed order lies in exactly one closed day, or behind the last one. Never
changes an order: no flag, no update of a million rows.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from duly.pipeline import Enrolled, enrol
from examples.daily_orders.database import Database, open_database
from examples.daily_orders.settings import read_settings

COLUMNS = ("id", "reference", "customer", "article", "cents", "placed_at")

TABLES = (
    "create table if not exists orders (id {identity}, reference text not null unique,"
    " customer text not null, article text not null, cents bigint not null,"
    " placed_at text not null)",
    "create table if not exists closed_days (number bigint primary key, day text not null unique,"
    " begins bigint, ends bigint not null)",
)
IDENTITY = {
    "sqlite": "integer primary key autoincrement",
    "postgres": "bigint generated always as identity primary key",
}


@dataclass(frozen=True)
class ClosedDay:
    """One day that is closed: its orders are those from `begins` up to `ends`, for ever."""

    day: str
    begins: int | None
    ends: int


@dataclass(frozen=True)
class Order:
    """An order as it was posted. `reference` is the customer's: sent twice, it is one order."""

    reference: str
    customer: str
    article: str
    cents: int


class Shop:
    """The verbs of the shop on its database."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._orders = Enrolled("orders", pk="id", connect=database.connect, columns=COLUMNS)

    async def make_tables(self) -> None:
        """Make what a shop has anyway, and one small table of closed days."""
        for table in TABLES:
            await self.database.rows(table.format(identity=IDENTITY[self.database.kind]))

    async def enrol(self) -> None:
        """Enrol `orders`, full or empty, so that it can be read in the order of commits."""
        await enrol(self.database.connect, "orders")

    async def place(self, order: Order, placed_at: str) -> None:
        """Keep an order; one with a reference that is known is kept already."""
        await self.database.rows(
            "insert into orders (reference, customer, article, cents, placed_at)"
            " values ($1, $2, $3, $4, $5) on conflict do nothing",
            order.reference, order.customer, order.article, order.cents, placed_at,
        )  # fmt: skip

    async def close_day(self, day: str) -> ClosedDay:
        """Close a day, unless somebody did, and return its bounds."""
        while (closed := await self.closed_day(day)) is None:
            last = await self.database.rows(
                "select number, ends from closed_days order by number desc limit 1"
            )
            number, begins = last[0] if last else (0, None)
            [ends] = await self._orders.mark()
            # Days form a chain by their numbers. Who loses the race for a number looks again: it
            # may have been for the same day, or for another one that has its end where this begins.
            await self.database.rows(
                "insert into closed_days (number, day, begins, ends) values ($1, $2, $3, $4)"
                " on conflict do nothing",
                number + 1, day, begins, ends,
            )  # fmt: skip
        return closed

    async def closed_day(self, day: str) -> ClosedDay | None:
        """Return the bounds of a day, or None while it is open."""
        found = await self.database.rows(
            "select day, begins, ends from closed_days where day = $1", day
        )
        return ClosedDay(*found[0]) if found else None

    async def orders_of(self, day: ClosedDay) -> AsyncIterator[dict[str, Any]]:
        """Iterate over a day's orders, a thousand at a time: memory is flat."""
        begins = None if day.begins is None else [day.begins]
        async for _, order in self._orders.between(begins, [day.ends]):
            yield order


@asynccontextmanager
async def open_shop() -> AsyncIterator[Shop]:
    """Open the shop that `ORDERS_DB` names; `Duly(lifespan=open_shop)` hands it to tasks."""
    database = await open_database(read_settings().database)
    try:
        yield Shop(database)
    finally:
        await database.close()
