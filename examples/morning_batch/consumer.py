"""The next service: takes prices from a queue, and writes down what came.

A line per delivery, `message id, day, row, product`, before it is acknowledged. A service of
one's own would pass over an id that it has seen; here every copy is kept, to be counted.

    python -m examples.morning_batch.consumer prices received.csv
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from contextlib import suppress
from typing import TextIO

import aio_pika
from aio_pika.abc import AbstractIncomingMessage
from aio_pika.exceptions import CONNECTION_EXCEPTIONS

BROKER = os.environ.get("BATCH_BROKER", "amqp://guest:guest@localhost/")
AHEAD = 1_000


async def consume(queue_name: str, journal: TextIO) -> None:
    """Consume until SIGTERM; a broker that goes away is waited for."""
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    connection = await aio_pika.connect_robust(BROKER, reconnect_interval=0.5)
    async with connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=AHEAD)
        queue = await channel.declare_queue(queue_name, durable=True)

        async def take(message: AbstractIncomingMessage) -> None:
            offer = json.loads(message.body)
            line = (message.message_id, offer["day"], offer["id"], offer["product"])
            journal.write(",".join(str(one) for one in line) + "\n")
            journal.flush()
            # The broker went away in between: it will bring this one again, with the same id.
            with suppress(*CONNECTION_EXCEPTIONS):
                await message.ack()

        await queue.consume(take)
        print("consuming", flush=True)
        await ended.wait()


def main() -> None:
    queue_name, path = sys.argv[1:]
    with open(path, "a", encoding="utf-8") as journal:
        asyncio.run(consume(queue_name, journal))


if __name__ == "__main__":
    main()
