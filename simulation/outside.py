"""The outside world: a callee that counts what reaches it, a broker, and a user's own table.

None of them knows anything of Duly. The callee counts physical deliveries by the key that went
along; it may refuse, lose a request, or do its work and lose the answer. The broker takes messages
at least once. The table has transactions that commit late and out of order. What each of them saw
is the truth that ledger, outbox and cursors are held against.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import TYPE_CHECKING
from uuid import UUID

from duly.core.outbox import Message
from duly.errors import NotPerformed
from duly.outbound.base import DestinationUnavailable, OutcomeUnknown

if TYPE_CHECKING:
    from duly.engine import Effect
    from simulation.world import Process, World

DEADLINE_S = 30.0


class Callee:
    """What effects act on. `got` counts deliveries by key."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._chance = random.Random(f"callee {world.seed}")
        self.got: Counter[str] = Counter()

    async def send(self, process: Process, effect: Effect) -> dict[str, int]:
        """Be sent to: all that can happen between a sender and the other side."""
        world, chance, faults = self._world, self._chance, self._world.faults
        await asyncio.sleep(self._connecting_s())
        await self._edge(process, "send")
        if chance.random() < faults.refused:
            raise NotPerformed("refused")
        effect.last_call()
        if chance.random() < faults.request_lost:
            await asyncio.sleep(2)
            raise OutcomeUnknown("the request was lost")
        self.got[effect.key] += 1
        world.ledger.delivered(process, effect)
        await self._edge(process, "sent")
        slow = chance.random() < faults.answer_slow
        await asyncio.sleep(chance.random() * (60 if slow else 1.5))
        if chance.random() < faults.answer_lost:
            raise OutcomeUnknown("the answer was lost")
        return {"count": self.got[effect.key]}

    def _connecting_s(self) -> float:
        if self._chance.random() < self._world.faults.stalled:
            return DEADLINE_S * (0.5 + self._chance.random())
        return self._chance.random()

    async def _edge(self, process: Process, site: str) -> None:
        self._world.edge(process, site)
        await asyncio.sleep(0)  # a process that was killed or stands still gets no further

    async def verify(self, effect: Effect) -> bool | None:
        """Say whether it was performed; sometimes it does not know."""
        await asyncio.sleep(self._chance.random() * 0.2)
        self._world.met("verify asked")
        return None if self._chance.random() < 0.3 else self.got[effect.key] > 0

    async def fit(self) -> bool:
        """Say whether it can be called at all."""
        return self._chance.random() >= self._world.faults.refused / 2


class Broker:
    """Where messages go. `taken` are their ids, `line` the first copies in their order by key."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._chance = random.Random(f"broker {world.seed}")
        self.taken: Counter[UUID] = Counter()
        self.line: dict[str, list[UUID]] = {}

    def take(self, message: Message) -> None:
        """Take one message for good."""
        self.taken[message.id] += 1
        if self.taken[message.id] == 1 and message.key is not None:
            self.line.setdefault(message.key, []).append(message.id)
        if self.taken[message.id] > 1:
            self._world.met("message relayed again")


class Way:
    """One process's way to the broker: a `Destination`."""

    name = "broker"

    def __init__(self, world: World, process: Process, broker: Broker) -> None:
        self._world, self._process, self._broker = world, process, broker
        self._chance = random.Random(f"way {world.seed} {process.name}")

    async def open(self) -> None:
        """There is nothing to connect to."""

    async def close(self) -> None:
        """Nothing is held."""

    async def send(self, messages: Sequence[Message]) -> list[UUID]:
        """Hand messages on, one behind the other; any prefix may arrive, confirmed or not."""
        chance, faults = self._chance, self._world.faults
        if chance.random() < faults.broker_away:
            raise DestinationUnavailable("the broker is away")
        confirmed: list[UUID] = []
        breaks_at = len(messages)
        if chance.random() < faults.confirm_lost:
            breaks_at = chance.randrange(len(messages))
        for index, message in enumerate(messages):
            await asyncio.sleep(chance.random() * 0.005)
            self._broker.take(message)
            if index == breaks_at:
                self._world.met("confirmation lost")
                raise DestinationUnavailable("the connection broke", confirmed=confirmed)
            confirmed.append(message.id)
        self._world.edge(self._process, "handed on")
        await asyncio.sleep(0.001)
        return confirmed


class Table:
    """A user's table under transactions that overlap. A row is (transaction, number).

    `between` reads as an enrolled source does: in the order of transactions, and only what nothing
    that is still open can come before. `committed` is every row that is there for good.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._chance = random.Random(f"table {world.seed}")
        self.begun: list[float] = []  # when each transaction was begun, and its row written
        self._open: set[int] = set()
        self.committed: dict[int, str] = {}  # transaction: row

    async def fill(self, until_s: float) -> None:
        """Let programs write rows; some are slow to commit, and some give up."""
        loop = self._world.loop
        while loop.time() < until_s:
            await asyncio.sleep(self._chance.expovariate(1 / 2))
            self.begun.append(loop.time())
            number, slow = len(self.begun), self._chance.random() < 0.3
            self._open.add(number)
            after_s = self._chance.random() * (15 if slow else 0.1)
            lost = self._chance.random() < 0.1
            loop.later_in(loop.world, after_s, partial(self._end, number, lost=lost))

    def _end(self, number: int, *, lost: bool) -> None:
        self._open.discard(number)
        if not lost:
            self.committed[number] = f"row {number}"
            if number < max(self.committed):
                self._world.met("row committed late")

    async def mark(self) -> int:
        """Return what comes behind every row that can be read now."""
        return min(self._open, default=len(self.begun) + 1)

    async def between(self, after: int | None, upto: int) -> AsyncIterator[tuple[int, str]]:
        """Yield (key, row) beyond `after`, before the mark."""
        await asyncio.sleep(self._chance.random() * 0.01)
        for number in sorted(self.committed):
            if (after or 0) < number < upto:
                yield number, self.committed[number]
