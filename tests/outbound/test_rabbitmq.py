"""Messages reach a real broker at least once, in order, and only what it confirmed is believed.

The broker is stopped, started and killed under way; a sender that keeps what was not confirmed and
hands it on again, as the outbox does, loses nothing. Unroutable messages and wrong passwords
are told in plain words, without the password.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import aio_pika
import pytest
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage

from duly.core.ids import uuid7
from duly.core.outbox import Message
from duly.outbound.base import DestinationRefused, DestinationUnavailable, Unroutable
from duly.outbound.rabbitmq import RabbitMQ
from tests.outbound.rabbit_server import RabbitServer

pytestmark = [pytest.mark.server, pytest.mark.slow]

_numbers = count(1)


def a_message(topic: str, number: int, key: str | None = None) -> Message:
    body = b'{"n":%d}' % number
    return Message(id=uuid7(1_700_000_000_000, next(_numbers)), topic=topic, body=body, key=key)


@asynccontextmanager
async def channel_of(rabbit: RabbitServer) -> AsyncIterator[AbstractChannel]:
    connection = await aio_pika.connect(rabbit.url)
    async with connection:
        yield await connection.channel()


async def a_queue(rabbit: RabbitServer, **options: Any) -> str:
    """Declare a durable queue of its own for one test."""
    name = f"queue.{next(_numbers)}"
    async with channel_of(rabbit) as channel:
        await channel.declare_queue(name, durable=True, **options)
    return name


async def drained(rabbit: RabbitServer, queue: str) -> list[AbstractIncomingMessage]:
    """Take everything that a queue holds."""
    found = []
    async with channel_of(rabbit) as channel:
        source = await channel.get_queue(queue)
        while (message := await source.get(no_ack=True, fail=False)) is not None:
            found.append(message)
    return found


def first_seen(messages: Sequence[AbstractIncomingMessage]) -> list[str]:
    return list(dict.fromkeys(str(m.message_id) for m in messages))


async def relay(
    target: RabbitMQ, make: Callable[[], list[Message]], mend: Callable[[], Awaitable[None]]
) -> list[Message]:
    """Hand messages on, keeping the rest as the outbox does, until it broke and all is through."""
    sent: list[Message] = []
    left: list[Message] = []
    broke = False
    while left or not broke:
        if not left:
            left = make()
            sent += left
        try:
            done = set(await target.send(left))
        except Unroutable:
            raise  # the broker is back without its queue: nothing here would make one
        except DestinationUnavailable as error:
            done, broke = set(error.confirmed), True
            await mend()
        left = [m for m in left if m.id not in done]
    return sent


# --- a broker that works ------------------------------------------------------------------


async def test_what_is_confirmed_is_in_the_queue_whole_and_in_order(rabbit: RabbitServer) -> None:
    # Time enough for a broker on a busy machine: what it did not get to would not be answered.
    queue, target = await a_queue(rabbit), RabbitMQ(rabbit.url, timeout_s=40)
    run = uuid7(1, 1)
    sent = [a_message(queue, n, key=None if n % 3 else "a") for n in range(300)]
    sent[0] = Message(id=sent[0].id, topic=queue, body=b"{}", key="a", run=run)
    try:
        assert await target.send(sent) == [m.id for m in sent]
        assert await target.send([]) == []
    finally:
        await target.close()
    got = await drained(rabbit, queue)
    assert sorted(str(m.message_id) for m in got) == sorted(str(m.id) for m in sent)
    keyed = [str(m.id) for m in sent if m.key == "a"]
    assert [str(m.message_id) for m in got if m.headers.get("duly-key") == "a"] == keyed
    (first,) = (m for m in got if m.message_id == str(sent[0].id))
    assert first.body == b"{}" and first.content_type == "application/json"
    assert first.delivery_mode is aio_pika.DeliveryMode.PERSISTENT
    assert first.headers == {"duly-topic": queue, "duly-key": "a", "duly-run": str(run)}


async def test_an_exchange_is_declared_and_routed_by_key(rabbit: RabbitServer) -> None:
    queue, name = await a_queue(rabbit), f"exchange.{next(_numbers)}"
    target = RabbitMQ(
        rabbit.url, exchange=name, kind="topic", routing_key=lambda m: f"orders.{m.key}"
    )
    try:
        await target.open()
        async with channel_of(rabbit) as channel:
            exchange = await channel.get_exchange(name)
            await (await channel.get_queue(queue)).bind(exchange, "orders.*")
        assert len(await target.send([a_message("orders", 1, "nl")])) == 1
    finally:
        await target.close()
    assert [m.routing_key for m in await drained(rabbit, queue)] == ["orders.nl"]


# --- a broker that dies -------------------------------------------------------------------


@pytest.mark.parametrize("how", ["stop", "kill"])
async def test_a_broker_that_dies_under_way_loses_nothing_and_no_order(
    rabbit: RabbitServer, how: str
) -> None:
    queue = await a_queue(rabbit)
    await asyncio.to_thread(rabbit.write_down)
    target = RabbitMQ(rabbit.url, timeout_s=5)

    def make() -> list[Message]:
        return [a_message(queue, n, key=f"k{n % 7}") for n in range(200)]

    async def mend() -> None:
        await death
        if rabbit.stopped:
            await asyncio.to_thread(rabbit.start)

    first = make()
    assert await target.send(first) == [m.id for m in first]
    death = asyncio.create_task(asyncio.to_thread(getattr(rabbit, how)))
    try:
        sent = first + await relay(target, make, mend)
    finally:
        await target.close()
        await mend()
    got = await drained(rabbit, queue)
    assert {str(m.id) for m in sent} == {m.message_id for m in got}
    for key in {m.key for m in sent}:
        mine = [str(m.id) for m in sent if m.key == key]
        assert first_seen([m for m in got if m.headers["duly-key"] == key]) == mine


# --- a broker that says no ----------------------------------------------------------------


async def test_a_message_that_no_queue_takes_is_told_and_stops_its_key_alone(
    rabbit: RabbitServer,
) -> None:
    queue, target = await a_queue(rabbit), RabbitMQ(rabbit.url)
    lost = [a_message("no.such.queue", n, "a") for n in range(2)]
    fine = [a_message(queue, n, "a") for n in range(2)]
    try:
        with pytest.raises(
            Unroutable, match=r"no queue for the routing key 'no\.such\.queue'"
        ) as e:
            await target.send([lost[0], fine[0], lost[1], fine[1]])
        assert e.value.ids == [lost[0].id] and e.value.confirmed == [m.id for m in fine]
        assert await target.send(fine[:1]) == [fine[0].id]  # the connection is still good
    finally:
        await target.close()


async def test_a_full_queue_confirms_a_prefix_of_each_key(rabbit: RabbitServer) -> None:
    limit = {"x-max-length": 5, "x-overflow": "reject-publish"}
    queue, target = await a_queue(rabbit, arguments=limit), RabbitMQ(rabbit.url)
    sent = [a_message(queue, n, "ab"[n % 2]) for n in range(20)]
    try:
        confirmed = await target.send(sent)
        for key in "ab":
            mine = [m.id for m in sent if m.key == key]
            taken = [i for i in confirmed if i in mine]
            assert taken == mine[: len(taken)]
        left = [m for m in sent if m.id not in confirmed]
        assert left
        with pytest.raises(DestinationUnavailable, match="nack"):
            await target.send(left)
    finally:
        await target.close()
    assert first_seen(await drained(rabbit, queue)) == [str(i) for i in confirmed]


async def test_a_refusal_says_why_and_never_the_password(
    rabbit: RabbitServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    cases: list[tuple[RabbitMQ, type[DestinationUnavailable]]] = [
        (RabbitMQ(rabbit.url_as("guest", "s3cret-pw")), DestinationRefused),
        (RabbitMQ(rabbit.url + "no-such-vhost"), DestinationUnavailable),
        (RabbitMQ(rabbit.url, exchange="no.such.exchange"), DestinationUnavailable),
        (RabbitMQ(rabbit.url, exchange="amq.topic", kind="direct"), DestinationRefused),
    ]
    for target, kind in cases:
        for batch in ([], [a_message("t", 1)]):
            with pytest.raises(DestinationUnavailable) as told:
                await target.send(batch)
            assert type(told.value) is kind and target.name in str(told.value)
            assert told.value.permanent is (kind is DestinationRefused)
            shown = f"{told.value!r} {told.value.__cause__!r} {target!r}"
            assert "s3cret-pw" not in shown
        await target.close()
    assert "s3cret-pw" not in caplog.text
