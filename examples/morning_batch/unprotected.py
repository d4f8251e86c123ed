"""The batch as it was: a loop in a process, and nothing that remembers where it was.

It is here to be compared with. It does the same work on the same rows, publishes with the
broker's confirmations, many at a time, and is fast. Killed, it knows nothing; invoked again, it
publishes everything again, under new ids.

    python -m examples.morning_batch.unprotected 2026-11-22
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from uuid import uuid4

import aio_pika

from examples.morning_batch.shop import offer_of, open_prices

BROKER = os.environ.get("BATCH_BROKER", "amqp://guest:guest@localhost/")
QUEUE = "unprotected"
AT_ONCE = 256


async def publish_prices(day: str) -> int:
    """Publish every price; returns how many."""
    connection = await aio_pika.connect(BROKER)
    async with connection, open_prices() as prices:
        exchange = (await connection.channel()).default_exchange
        waiting: list[asyncio.Task[object]] = []
        count = 0
        async for _, row in prices.after():
            body = json.dumps(await offer_of(row, day)).encode()
            message = aio_pika.Message(
                body, message_id=str(uuid4()), delivery_mode=aio_pika.DeliveryMode.PERSISTENT
            )
            waiting.append(asyncio.create_task(exchange.publish(message, QUEUE)))
            count += 1
            if len(waiting) >= AT_ONCE:
                await asyncio.gather(*waiting)
                waiting.clear()
        await asyncio.gather(*waiting)
    return count


if __name__ == "__main__":
    print(asyncio.run(publish_prices(sys.argv[1])))
