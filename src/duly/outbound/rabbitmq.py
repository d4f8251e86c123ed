"""Hands messages of the outbox to a RabbitMQ broker, and believes only what the broker confirms.

Every message is persistent and mandatory, and carries its own id as `message_id`: a copy sent
again is known by it. The broker confirms a message when its queues hold it. Messages of one topic
and key go one at a time, others beside each other, so that the promise of `Destination` holds
through nacks, returns, restarts and lost confirmations alike.

Guarantees: every wait is bounded; a broken connection is dropped and made anew by the next call;
certificates are verified. Never shows the URL's password, in a name, a message or a log line.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit
from uuid import UUID

from duly.core.outbox import Message
from duly.errors import InvalidValue
from duly.outbound.base import (
    DestinationRefused,
    DestinationUnavailable,
    Unroutable,
    missing_extra,
    plain,
)

try:
    import aio_pika
    from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractExchange
    from aio_pika.exceptions import (
        CONNECTION_EXCEPTIONS,
        AuthenticationError,
        ChannelPreconditionFailed,
        DeliveryError,
        InvalidFrameError,
        ProbableAuthenticationError,
        PublishError,
    )
    from aiormq.exceptions import ChannelAccessRefused, ConnectionNotAllowed
except ImportError:
    raise missing_extra("rabbitmq", "aio-pika") from None

__all__ = ["RabbitMQ"]

ExchangeKind = Literal["direct", "fanout", "topic", "headers"]
Routing = Callable[[Message], str]

IN_FLIGHT = 256
"""Messages that wait for their confirmation at the same time."""

_FAILURES = (*CONNECTION_EXCEPTIONS, TimeoutError)
_REFUSALS = (
    AuthenticationError,
    ChannelAccessRefused,
    ChannelPreconditionFailed,
    ConnectionNotAllowed,
    ProbableAuthenticationError,
)
_UNSAFE = {"no_verify_ssl"}


@dataclass
class _Pass:
    """What came of one call so far. Once there is `trouble`, nothing more is put on the wire."""

    routes: dict[UUID, str]
    begun: float
    timeout_s: float
    confirmed: set[UUID] = field(default_factory=set)
    unroutable: list[UUID] = field(default_factory=list)
    nacked: list[UUID] = field(default_factory=list)
    trouble: Exception | None = None

    @property
    def until(self) -> float:
        """When the last confirmation must be here, by the loop's clock."""
        return self.begun + self.timeout_s

    def goes_on(self) -> bool:
        """Whether another message may begin: the second half of the time is for answers."""
        now = asyncio.get_running_loop().time()
        return self.trouble is None and now < self.begun + self.timeout_s / 2


class RabbitMQ:
    """A broker as a `Destination`.

    `exchange` is published to; the default one routes to the queue named by the key. With `kind`
    it is declared, `durable` or not; without, it must be there. `routing_key` is a fixed text, or
    a function of the message; by default the message's topic. `timeout_s` bounds connecting, and
    then handing on: a call takes at most twice that. What a slow broker did not get to by then is
    not in the answer, so that a long batch makes progress however slow it is.
    """

    def __init__(
        self,
        url: str,
        *,
        exchange: str = "",
        kind: ExchangeKind | None = None,
        durable: bool = True,
        routing_key: str | Routing | None = None,
        timeout_s: float = 4.0,
        tls_context: ssl.SSLContext | None = None,
    ) -> None:
        parts = _parts(url)
        if kind is not None and not exchange:
            raise InvalidValue(
                "expected an exchange's name with its kind; the default one is there"
            )
        if timeout_s <= 0:
            raise InvalidValue.expected("timeout_s", "more than 0 seconds", timeout_s)
        self._url = url
        self._secret = unquote(parts.password or "")
        self._place = f"{parts.hostname}:{parts.port or _PORTS[parts.scheme]}{parts.path}"
        self._exchange_name = exchange
        self._kind = kind
        self._durable = durable
        self._route = _routing(routing_key)
        self._timeout_s = timeout_s
        self._context = _context(parts.scheme, tls_context)
        self._closing: set[asyncio.Task[None]] = set()
        self._turn = asyncio.Lock()  # one call at a time, or two calls could overtake each other
        self._connection: AbstractConnection | None = None
        self._channel: AbstractChannel | None = None
        self._exchange: AbstractExchange | None = None

    @property
    def name(self) -> str:
        """Such as `rabbitmq://broker:5672/vhost orders`, without user and password."""
        return f"rabbitmq://{self._place} {self._exchange_name}".rstrip()

    def __repr__(self) -> str:
        return f"<RabbitMQ {self.name}>"

    async def open(self) -> None:
        """Connect, or raise `DestinationUnavailable` (`DestinationRefused` for a no)."""
        async with self._turn:
            await self._ready()

    async def send(self, messages: Sequence[Message]) -> list[UUID]:
        """Publish messages, and return the ids that the broker confirmed, in the order given.

        Raises as `Destination.send` says; a message that no queue takes raises `Unroutable`.
        A routing key that cannot be one raises `InvalidValue` before anything is published.
        """
        routes = {message.id: self._routed(message) for message in messages}
        async with self._turn:
            exchange = await self._ready()
            done = _Pass(routes, asyncio.get_running_loop().time(), self._timeout_s)
            slots = asyncio.Semaphore(IN_FLIGHT)
            try:
                async with asyncio.TaskGroup() as group:
                    for chain in _chains(messages):
                        group.create_task(self._follow(exchange, chain, done, slots))
            except BaseException:  # who stops waiting for this connection does not trust it
                self._hang_up()
                raise
            if done.trouble is not None:
                self._hang_up()
        return self._answer(messages, done)

    async def close(self) -> None:
        """Disconnect; a later `open` or `send` connects anew."""
        async with self._turn:
            self._hang_up()
            await asyncio.gather(*self._closing)

    def _routed(self, message: Message) -> str:
        route = self._route(message)
        if len(route.encode()) > 255:  # a short string of AMQP
            raise InvalidValue.expected("a routing key", "at most 255 bytes", route)
        return route

    # --- publishing ----------------------------------------------------------------------

    async def _follow(
        self,
        exchange: AbstractExchange,
        chain: list[Message],
        done: _Pass,
        slots: asyncio.Semaphore,
    ) -> None:
        """Publish messages of one topic and key, each after the one before was confirmed."""
        for message in chain:
            async with slots:
                if not done.goes_on() or not await self._publish(exchange, message, done):
                    return

    async def _publish(self, exchange: AbstractExchange, message: Message, done: _Pass) -> bool:
        try:
            async with asyncio.timeout_at(done.until):
                await exchange.publish(_envelope(message), done.routes[message.id], mandatory=True)
        except PublishError:
            done.unroutable.append(message.id)
            return False
        except DeliveryError:
            done.nacked.append(message.id)
            return False
        except asyncio.CancelledError:
            # The driver cancels what waits on a connection that broke; then nobody cancelled us.
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            done.trouble = done.trouble or ConnectionError("the connection broke")
            return False
        except _FAILURES as error:
            done.trouble = done.trouble or error
            return False
        done.confirmed.add(message.id)
        return True

    def _answer(self, messages: Sequence[Message], done: _Pass) -> list[UUID]:
        confirmed = [m.id for m in messages if m.id in done.confirmed]
        if done.unroutable:
            first = done.routes[done.unroutable[0]]
            raise Unroutable(
                f"{self.name} has no queue for the routing key {first!r}"
                f" ({len(done.unroutable)} of {len(messages)} messages); bind one",
                ids=done.unroutable,
                confirmed=confirmed,
            )
        if done.trouble is not None and not confirmed:
            raise self._translated(done.trouble)
        if done.nacked and not confirmed:
            raise DestinationUnavailable(f"{self.name} could not keep what it was given (nack)")
        return confirmed

    # --- the connection ------------------------------------------------------------------

    async def _ready(self) -> AbstractExchange:
        if self._exchange is not None and self._is_open():
            return self._exchange
        self._hang_up()
        async with self._translating():
            self._connection = await aio_pika.connect(
                self._url, ssl_context=self._context, timeout=self._timeout_s
            )
            channel = await self._connection.channel(publisher_confirms=True, on_return_raises=True)
            if not self._exchange_name:
                self._exchange = channel.default_exchange
            elif self._kind is None:
                self._exchange = await channel.get_exchange(self._exchange_name, ensure=True)
            else:
                self._exchange = await channel.declare_exchange(
                    self._exchange_name, aio_pika.ExchangeType(self._kind), durable=self._durable
                )
        return self._exchange

    def _is_open(self) -> bool:
        connection, channel = self._connection, self._channel
        return not (
            connection is None or connection.is_closed or channel is None or channel.is_closed
        )

    @asynccontextmanager
    async def _translating(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._timeout_s):
                yield
        except _FAILURES as error:
            self._hang_up()
            # The driver's error is not chained: its text is not ours to vouch for.
            raise self._translated(error) from None

    def _translated(self, error: Exception) -> DestinationUnavailable:
        said = plain(f"{type(error).__name__} {error}")
        if isinstance(error, InvalidFrameError):
            # The driver expected the connection to open, and the broker closed it instead.
            said = "it closed the connection; is the virtual host there, and open to this user?"
        if self._secret:
            said = said.replace(self._secret, "***")
        refused = isinstance(error, _REFUSALS)
        kind = DestinationRefused if refused else DestinationUnavailable
        return kind(f"{self.name} {'said no' if refused else 'is away'}: {said}")

    def _hang_up(self) -> None:
        """Leave the connection; it is closed beside, because nobody needs to wait for that."""
        connection = self._connection
        self._connection = self._channel = self._exchange = None
        if connection is not None:
            task = asyncio.create_task(self._end(connection))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def _end(self, connection: AbstractConnection) -> None:
        with suppress(*_FAILURES):
            async with asyncio.timeout(self._timeout_s):
                await connection.close()


_PORTS = {"amqp": 5672, "amqps": 5671}


def _parts(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise InvalidValue("expected the broker's URL to have a valid host and port") from None
    if parts.scheme not in _PORTS or not parts.hostname or port == 0:
        # The URL is not shown: it may hold a password.
        raise InvalidValue("expected the broker's URL to be amqp://user@host/vhost or amqps://…")
    if _UNSAFE & {name for name, _ in parse_qsl(parts.query)}:
        raise InvalidValue("expected the broker's URL to leave certificates verified")
    return parts


def _context(scheme: str, given: ssl.SSLContext | None) -> ssl.SSLContext | None:
    if scheme != "amqps":
        return None
    context = given or ssl.create_default_context()
    if context.verify_mode is not ssl.CERT_REQUIRED or not context.check_hostname:
        raise InvalidValue("expected tls_context to verify certificates and host names")
    return context


def _routing(key: str | Routing | None) -> Routing:
    if key is None:
        return lambda message: message.topic
    return (lambda _: key) if isinstance(key, str) else key


def _chains(messages: Iterable[Message]) -> list[list[Message]]:
    """Part messages by topic and key, in order of appearance; one without a key stands alone."""
    chains: dict[object, list[Message]] = {}
    for message in messages:
        place = message.id if message.key is None else (message.topic, message.key)
        chains.setdefault(place, []).append(message)
    return list(chains.values())


def _envelope(message: Message) -> aio_pika.Message:
    headers = {"duly-topic": message.topic}
    if message.key is not None:
        headers["duly-key"] = message.key
    if message.run is not None:
        headers["duly-run"] = str(message.run)
    return aio_pika.Message(
        message.body,
        message_id=str(message.id),
        content_type="application/json",
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        timestamp=message.kept_at,
        headers=dict(headers),
    )
