"""The web application: takes orders, hands out CSVs, and is an instance of the fleet as well.

Start as many as you like: `uvicorn examples.daily_orders.web:web`. The worker lives in the same
process, as the cron decorator did that mailed everything once per instance; here they agree through
the store. Orders are acknowledged when they are committed, never before.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from hmac import compare_digest
from typing import Annotated, Any

from fastapi import FastAPI, Header, HTTPException, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from examples.daily_orders.export import csv_pieces
from examples.daily_orders.links import allowed
from examples.daily_orders.orders import app, settings
from examples.daily_orders.shop import COLUMNS, Order, Shop, open_shop


class NewOrder(BaseModel):
    """The body of a POST. `reference` is the caller's own: a POST may be sent again."""

    reference: str = Field(min_length=1, max_length=100)
    customer: str = Field(min_length=1, max_length=200)
    article: str = Field(min_length=1, max_length=200)
    cents: int


@asynccontextmanager
async def living(web: FastAPI) -> AsyncIterator[None]:
    """Work while the web server serves; hand everything back before it ends."""
    async with app, open_shop() as shop:
        web.state.shop = shop
        working = asyncio.create_task(app.work())
        # An engine that gave up must not leave a web server that looks well: end the process.
        working.add_done_callback(_end_process)
        yield
        working.remove_done_callback(_end_process)
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)


def _end_process(_: asyncio.Task[int]) -> None:
    os.kill(os.getpid(), signal.SIGTERM)


web = FastAPI(title="Orders", lifespan=living)


@web.post("/orders", status_code=201)
async def post_order(order: NewOrder, request: Request) -> dict[str, str]:
    """Keep an order."""
    shop: Shop = request.app.state.shop
    await shop.place(Order(**order.model_dump()), datetime.now(UTC).isoformat())
    return {"reference": order.reference}


@web.post("/exports", status_code=202)
async def ask_for_export(authorization: Annotated[str, Header()] = "") -> dict[str, str]:
    """Ask for the newest day's mail: for the platform's cron job. Asked twice, mailed once."""
    if not compare_digest(authorization.encode(), f"Bearer {settings.secret}".encode()):
        raise HTTPException(401, "expected the secret as a bearer token")
    handle = await app.client.trigger("mail_orders", by="platform cron")
    return {"run": str(handle.id)}


@web.get("/days/{day}/orders.csv")
async def fetch_day(
    day: str, request: Request, sig: str = "", customer: str | None = None
) -> StreamingResponse:
    """Stream a day's CSV: the very rows that were mailed, or those of one customer."""
    shop: Shop = request.app.state.shop
    closed = await shop.closed_day(day) if allowed(settings.secret, day, sig) else None
    if closed is None:
        raise HTTPException(404, "no such day, or not your link")
    orders = shop.orders_of(closed)
    chosen = orders if customer is None else _of_customer(orders, customer)

    async def body() -> AsyncIterator[bytes]:
        async for _, piece in csv_pieces(chosen, COLUMNS):
            yield piece

    told = {"Content-Disposition": f'attachment; filename="orders-{closed.day}.csv"'}
    return StreamingResponse(body(), media_type="text/csv", headers=told)


async def _of_customer(
    orders: AsyncIterator[dict[str, Any]], customer: str
) -> AsyncIterator[Mapping[str, Any]]:
    async for order in orders:
        if order["customer"] == customer:
            yield order
