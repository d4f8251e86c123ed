"""Group commit: many small writes of many coroutines become one statement.

While one batch is on its way the next gathers; an idle instance adds no delay. A batch whose
outcome is unknown is sent again as it was, because every verb it is sent through is idempotent.
An error that is not the store's absence is searched for by halves, until it meets the one item
that has it: that one's waiter is told, and nobody else's.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, Protocol, TypeVar

from duly.errors import EnvironmentFailure, Refused

T = TypeVar("T")
A = TypeVar("A")
T_contra = TypeVar("T_contra", contravariant=True)
A_co = TypeVar("A_co", covariant=True)

BATCH = 500


class Putting(Protocol[T_contra, A_co]):
    """What takes an item, and answers once it is written."""

    def put(self, item: T_contra) -> Awaitable[A_co]:
        """Begin to write an item; it is written whether or not the answer is awaited."""
        ...


class Gathering(Generic[T, A]):
    """Writes items in batches. A supervised loop: `ready` waits for some, `turn` writes one."""

    def __init__(self, name: str, write: Callable[[Sequence[T]], Awaitable[Sequence[A]]]) -> None:
        self.name, self._write = name, write
        self._queue: deque[tuple[T, asyncio.Future[A]]] = deque()
        self._batch: list[tuple[T, asyncio.Future[A]]] = []
        self._some = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def put(self, item: T) -> asyncio.Future[A]:
        """Queue an item; the future has its answer, or the error that is its own."""
        answer: asyncio.Future[A] = asyncio.get_running_loop().create_future()
        self._queue.append((item, answer))
        self._some.set()
        self._idle.clear()
        return answer

    def drop(self) -> None:
        """Forget what is queued: the boot in whose name it would be written is dead."""
        for _, answer in (*self._batch, *self._queue):
            answer.cancel()
        self._batch = []  # anew: a batch on its way is compared with it when its answer comes
        self._queue.clear()
        self._idle.set()

    async def idle(self) -> None:
        """Wait until nothing is queued or on its way."""
        await self._idle.wait()

    async def ready(self) -> None:
        """Wait until there is something to write."""
        if not self._batch:
            await self._some.wait()

    async def turn(self) -> None:
        """Write one batch; raises `EnvironmentFailure` and keeps it when the store is away."""
        if not self._batch:
            self._fill()
        batch = self._batch
        if batch:
            try:
                answers = await self._write([item for item, _ in batch])
            except (EnvironmentFailure, Refused):
                raise
            except Exception as error:
                self._narrow(batch, error)
                return
            if batch is self._batch:
                self._batch = []
                self._tell(batch, answers)
        if not self._batch and not self._queue:
            self._idle.set()

    def _fill(self) -> None:
        batch = [self._queue.popleft() for _ in range(min(BATCH, len(self._queue)))]
        self._batch = batch
        if not self._queue:
            self._some.clear()

    def _tell(self, batch: Sequence[tuple[T, asyncio.Future[A]]], answers: Sequence[A]) -> None:
        for (_, waiter), answer in zip(batch, answers, strict=True):
            if not waiter.done():
                waiter.set_result(answer)

    def _narrow(self, batch: list[tuple[T, asyncio.Future[A]]], error: Exception) -> None:
        """Put the second half back, or tell the one item that an error is about."""
        if batch is not self._batch:
            return
        half = len(batch) // 2
        if half == 0:
            self._batch = []
            if not batch[0][1].done():
                batch[0][1].set_exception(error)
            return
        self._queue.extendleft(reversed(batch[half:]))
        self._some.set()
        self._batch = batch[:half]


class AtOnce(Generic[T, A]):
    """Writes each item by itself, at once: for an application that is turned by hand."""

    def __init__(self, write: Callable[[Sequence[T]], Awaitable[Sequence[A]]]) -> None:
        self._write = write

    async def put(self, item: T) -> A:
        """Write an item and return its answer."""
        return (await self._write([item]))[0]
