"""Resumable iteration: after a death it goes on behind the last confirmed item.

`source(after)` yields pairs (key, item) with strictly increasing keys, beginning behind `after`.
An item is finished when the next one is asked for. Finished items are confirmed in chunks: one
commit holds the cursor and whatever their bodies published. While one chunk is on its way the
next is worked on, so that the commit costs an iteration almost nothing.

An item whose body fails, or never ends, leaves nothing behind; the finished ones before it do.
What a body does to the outside world directly may happen again for the items of an unconfirmed
chunk; `ctx.effect` is for what must not.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar

import msgspec

from duly.core.outbox import Message
from duly.core.runs import Answer
from duly.core.steps import Step, StepKind
from duly.engine.durable.journal import Journal, Scope, current
from duly.engine.durable.services import Services
from duly.errors import InvalidValue, Refused

T = TypeVar("T")

CHUNK = 500
CHUNK_BYTES = 1024 * 1024
CHUNK_S = 0.25
"""A chunk is confirmed after so many items, bytes of messages, or seconds."""

Source = Callable[[Any], "AsyncIterable[tuple[Any, T]] | Iterable[tuple[Any, T]]"]
Key = int | str | float | list[Any]


class Cursor(msgspec.Struct):
    """How far an iteration is confirmed."""

    after: Any = None
    count: int = 0
    over: bool = False


class Each(Generic[T]):
    """One iteration of an attempt: `async for item in ctx.each(...)`."""

    def __init__(
        self, name: str, source: Source[T], *, journal: Journal, services: Services
    ) -> None:
        self._name, self._source = name, source
        self._journal, self._services = journal, services
        self._items: AsyncIterator[tuple[Any, T]] | None = None
        self._cursor = Cursor()
        self._key: Any = None  # of the item whose body runs
        self._scope: Scope | None = None
        self._outer: Scope | None = None
        self._chunk: list[Message] = []
        self._bytes = self._finished = 0
        self._since = 0.0
        self._on_its_way: asyncio.Future[Answer] | None = None

    def __aiter__(self) -> Each[T]:
        return self

    @property
    def name(self) -> str:
        """The iteration's name within its run."""
        return self._name

    @property
    def count(self) -> int:
        """How many items were finished so far, those of earlier attempts included."""
        return self._cursor.count

    async def __anext__(self) -> T:
        if self._items is None:
            await self._begin()
        self._finish_item()
        if self._full():
            await self._confirm()
        assert self._items is not None, "just begun"
        try:
            key, item = self._pair(await anext(self._items))
        except StopAsyncIteration:
            await self._end()
            raise
        self._open_item(_checked(self._name, key, self._cursor.after))
        return item

    def _pair(self, got: Any) -> tuple[Any, T]:
        if isinstance(got, tuple) and len(got) == 2:
            return got
        raise InvalidValue.expected(
            f"the source of {self._name!r}", "yielding pairs (key, item)", got
        )

    async def _begin(self) -> None:
        """Find the cursor, and open the source behind it."""
        if any(one.name == self._name for one in self._journal.iterations):
            # Its finished items are not confirmed yet: they would come again, and be kept twice.
            raise Refused(f"{self._name!r} was left open in this attempt; it goes on in the next")
        step = await self._journal.recall(self._name)
        if step is not None:
            if step.kind is not StepKind.CURSOR:
                raise Refused(f"{self._name!r} is the name of a step already; give it another")
            self._cursor = msgspec.json.decode(step.value, type=Cursor)
        self._items = (
            _Nothing() if self._cursor.over else _iterate(self._source(self._cursor.after))
        )
        self._journal.iterations.append(self)
        self._outer = current.get()
        self._since = self._services.clock.monotonic()

    @property
    def scope(self) -> Scope | None:
        """What the body of the open item publishes into."""
        return self._scope

    def _open_item(self, key: Any) -> None:
        self._key = key
        self._scope = Scope("an item")
        current.set(self._scope)

    def _finish_item(self) -> None:
        if self._scope is None:
            return
        self._chunk += self._scope.messages
        self._bytes += self._scope.bytes
        self._cursor = Cursor(self._key, self._cursor.count + 1)
        self._finished += 1
        self._scope = None

    def _full(self) -> bool:
        if self._finished == 0:
            return False
        if self._finished >= CHUNK or self._bytes >= CHUNK_BYTES:
            return True
        return self._services.clock.monotonic() - self._since >= CHUNK_S

    async def _confirm(self) -> None:
        """Send a chunk off, once the one before it is durable."""
        await self._arrived()
        steps, messages = self._take()
        self._on_its_way = self._journal.begin(steps, messages)
        self._since = self._services.clock.monotonic()

    async def _arrived(self) -> None:
        if self._on_its_way is not None:
            await self._journal.answered(self._on_its_way)
            self._on_its_way = None

    def _take(self) -> tuple[list[Step], list[Message]]:
        steps = [self._journal.step(self._name, StepKind.CURSOR, self._cursor)]
        messages, self._chunk = self._chunk, []
        self._bytes = self._finished = 0
        return steps, messages

    async def _end(self) -> None:
        """Confirm the last chunk, and that there is nothing behind it."""
        current.set(self._outer)
        self._journal.iterations.remove(self)
        if self._cursor.over:
            return
        await self._arrived()
        self._cursor.over = True
        steps, messages = self._take()
        await self._journal.keep(steps, messages)

    def finished(self, *, ended: bool) -> tuple[Sequence[Step], Sequence[Message]]:
        """Return the cursor and the messages of finished items; all of it leaves with the run."""
        if ended:
            self._finish_item()  # the body left the loop, and the run completed
        return ((), ()) if self._finished == 0 else self._take()


class _Nothing(AsyncIterator[Any]):
    """An iteration that was over in an earlier attempt."""

    async def __anext__(self) -> Any:
        raise StopAsyncIteration


class _Plain(AsyncIterator[T]):
    """A plain iterator, drawn from on a thread in pages, because it may block."""

    def __init__(self, items: Iterator[T]) -> None:
        self._items = items
        self._page: list[T] = []
        self._place = 0

    async def __anext__(self) -> T:
        if self._place >= len(self._page):
            self._page, self._place = await asyncio.to_thread(self._draw), 0
            if not self._page:
                raise StopAsyncIteration
        self._place += 1
        return self._page[self._place - 1]

    def _draw(self) -> list[T]:
        return [item for _, item in zip(range(CHUNK), self._items, strict=False)]


def _iterate(source: AsyncIterable[T] | Iterable[T]) -> AsyncIterator[T]:
    if isinstance(source, AsyncIterable):
        return aiter(source)
    if isinstance(source, Iterable):
        return _Plain(iter(source))
    raise InvalidValue.expected(
        "source(after)", "an async iterator, or an iterator, of (key, item)", source
    )


def _checked(name: str, key: Any, after: Any) -> Key:
    """Return a key that follows `after`, as JSON will keep it."""
    plain = list(key) if isinstance(key, tuple) else key
    if not isinstance(plain, int | str | float | list) or isinstance(plain, bool):
        raise InvalidValue.expected(
            f"a key of {name!r}", "an int, a str, a float, or a list of those", key
        )
    try:
        follows = after is None or plain > after
    except TypeError:
        raise InvalidValue.expected(
            f"a key of {name!r}", f"of one kind with {after!r}", key
        ) from None
    if not follows:
        raise InvalidValue(
            f"expected the keys of {name!r} to increase strictly, got {key!r} after {after!r};"
            " order the source by its key"
        )
    return plain
