"""What RabbitMQ's destination promises without any broker: order per key, and careful words.

The exchange is played: it answers each publication as it is told. What a real broker does is in
`test_rabbitmq.py`.
"""

from __future__ import annotations

import asyncio
from itertools import count
from typing import Any
from uuid import UUID

import aio_pika
import pytest
from aio_pika.abc import AbstractExchange
from aio_pika.exceptions import DeliveryError
from pamqp.commands import Basic

from duly.core.ids import uuid7
from duly.core.outbox import Message
from duly.errors import InvalidValue
from duly.outbound.base import DestinationUnavailable
from duly.outbound.rabbitmq import RabbitMQ
from tests.outbound.peers import HOST, closed_port

_numbers = count(1)


def a_message(topic: str, number: int, key: str | None = None) -> Message:
    body = b'{"n":%d}' % number
    return Message(id=uuid7(1_700_000_000_000, next(_numbers)), topic=topic, body=body, key=key)


class Plays:
    """An exchange that answers each publication as it is told."""

    def __init__(self, answers: dict[UUID, Exception | None]) -> None:
        self._answers = answers
        self.seen: list[str] = []

    async def publish(self, message: aio_pika.Message, *_: object, **__: object) -> None:
        self.seen.append(str(message.message_id))
        if error := self._answers.get(UUID(str(message.message_id))):
            raise error


class Slow(Plays):
    """An exchange that confirms everything, each a little later."""

    async def publish(self, message: aio_pika.Message, *_: object, **__: object) -> None:
        await super().publish(message)
        confirmed = asyncio.Event()
        asyncio.get_running_loop().call_later(0.05, confirmed.set)
        await confirmed.wait()


class Closes:
    """A connection that can be closed, and nothing else."""

    closed = False

    async def close(self) -> None:
        self.closed = True


class Driven(RabbitMQ):
    """A destination whose exchange is played."""

    played: Plays

    async def _ready(self) -> AbstractExchange:
        return self.played  # type: ignore[return-value]


class Hangs(Plays):
    """An exchange that confirms the first so many, and says nothing of the others."""

    def __init__(self, first: int) -> None:
        super().__init__({})
        self._first = first
        self.silent = asyncio.Event()

    async def publish(self, message: aio_pika.Message, *_: object, **__: object) -> None:
        await super().publish(message)
        if len(self.seen) > self._first:
            self.silent.set()
            await asyncio.Event().wait()


@pytest.mark.parametrize(
    "error", [DeliveryError(None, Basic.Nack()), asyncio.CancelledError(),
              TimeoutError(), ConnectionResetError()],
)  # fmt: skip
async def test_nothing_of_a_key_goes_out_after_a_message_that_was_not_confirmed(
    error: Exception,
) -> None:
    sent = [a_message("t", n, "ab"[n % 2]) for n in range(6)]
    exchange, target = Plays({sent[2].id: error}), Driven("amqp://h")
    target.played = exchange
    confirmed = await target.send(sent)
    key_a = [m.id for m in sent if m.key == "a"]
    assert [i for i in confirmed if i in key_a] == key_a[:1]
    assert str(sent[4].id) not in exchange.seen


async def test_what_was_confirmed_before_a_broker_fell_silent_is_answered() -> None:
    sent = [a_message("t", n, "a") for n in range(6)]
    target = Driven("amqp://h", timeout_s=0.2)
    target.played = Hangs(4)
    assert await target.send(sent) == [m.id for m in sent[:4]]
    with pytest.raises(DestinationUnavailable, match="TimeoutError"):
        await target.send(sent[4:])
    assert len(target.played.seen) == 6  # one more each time: nothing goes out behind a silence


async def test_a_slow_broker_makes_progress_with_a_long_batch() -> None:
    left = [a_message("t", n, "a") for n in range(30)]
    target = Driven("amqp://h", timeout_s=1)
    target.played = Slow({})
    calls = 0
    while left:
        confirmed = await target.send(left)
        assert confirmed and confirmed == [m.id for m in left[: len(confirmed)]]
        left, calls = left[len(confirmed) :], calls + 1
    assert calls > 1
    assert len(target.played.seen) == 30  # none of them went out twice


async def test_a_connection_that_was_given_up_is_not_used_again() -> None:
    target = Driven("amqp://h")
    target.played = exchange = Hangs(0)
    connection = Closes()
    target._connection = connection  # type: ignore[assignment]
    sending = asyncio.create_task(target.send([a_message("t", 1)]))
    await exchange.silent.wait()
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    assert target._connection is None
    await target.close()
    assert connection.closed


async def test_a_broker_that_is_away_is_told_without_its_password() -> None:
    async with closed_port() as port:
        target = RabbitMQ(f"amqp://me:s3cret@{HOST}:{port}/v")
        for verb in (target.open(), target.send([])):
            with pytest.raises(DestinationUnavailable, match=f"{HOST}:{port}/v is away") as told:
                await verb
            assert not told.value.permanent and "s3cret" not in repr(told.value) + repr(target)
        await target.close()


REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("http://h/", {}),
    ("amqp:///", {}),
    ("s3cret", {}),
    ("amqp://me:s3cret@h:99999/", {}),
    ("amqps://h/?no_verify_ssl=1", {}),
    ("amqp://h/", {"kind": "topic"}),
    ("amqp://h/", {"timeout_s": 0}),
]


@pytest.mark.parametrize(("url", "settings"), REFUSED)
def test_settings_that_cannot_be_right_are_refused(url: str, settings: dict[str, Any]) -> None:
    with pytest.raises(InvalidValue) as told:
        RabbitMQ(url, **settings)
    assert "s3cret" not in str(told.value)


async def test_a_routing_key_that_cannot_be_one_is_refused_unsent() -> None:
    target = RabbitMQ("amqp://h/", routing_key=lambda m: "x" * 256)
    with pytest.raises(InvalidValue, match="routing key"):
        await target.send([a_message("t", 1)])
