"""The morning batch: every price of the shop, published to a queue, once a day.

Runs as long as it takes, wherever it is, however often its process ends: each row's message and
the place behind that row are one commit. Whoever asks for a day, and however often, gets the one
run of that day.
"""

from __future__ import annotations

import os
from datetime import date

from duly import Context, Duly, Expect, RunHandle
from duly.outbound.rabbitmq import RabbitMQ
from examples.morning_batch.shop import offer_of, open_prices

# At six, and three pessimistic times more: those join, or find it done, so they may stay.
CRON = os.environ.get("BATCH_CRON", "0 0,15,30,45 6 * * *")  # the second comes first
BROKER = os.environ.get("BATCH_BROKER", "amqp://guest:guest@localhost/")

app = Duly(name="morning-batch", lifespan=open_prices)
app.bind("prices", to=RabbitMQ(BROKER), per_second=20_000)  # to the queue of the same name


# Half of what it usually publishes is too little, and somebody is told.
@app.task(expect=Expect(usual=0.5))
async def publish_prices(ctx: Context, day: date) -> int:
    """Publish every price as of now; returns how many. A product's prices stay in order."""
    prices = ctx.resources
    # Fixed once per run: the third attempt still works on the rows of the first.
    until = await ctx.step("until", prices.mark)
    rows = ctx.each("prices", lambda after: prices.between(after, until))
    async for row in rows:
        await ctx.publish("prices", await offer_of(row, day), key=str(row["product"]))
    return rows.count


@app.task(cron=CRON, seconds="first", tz="Europe/London")
async def morning(ctx: Context) -> str:
    """Ask for today's batch, as anybody may."""
    assert ctx.due is not None, "a schedule's run has an occurrence"
    return str((await ask_for(ctx.due.date())).id)


async def ask_for(day: date, edition: int = 1) -> RunHandle:
    """Ask for the batch of a day: one run per day, whoever asks, the clock or a person.

    While it lives it is joined; done, it is returned; failed, it goes on where it stopped. Who
    really wants the whole day once more asks for another edition of it.
    """
    key = str(day) if edition == 1 else f"{day} edition {edition}"
    return await publish_prices.options(key=key).enqueue(day)
