"""What durable work needs of its instance: one record, made by whoever runs attempts.

The engine makes one for its attempts, an application that is turned by hand another. It holds
functions and doors, and no state of its own; it never changes while attempts run.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar
from uuid import UUID

import msgspec

from duly.core.clock import Clock
from duly.core.effects import Entry, Posted
from duly.core.runs import Answer
from duly.core.steps import Note
from duly.core.tasks import Task
from duly.engine.durable.gathering import Putting
from duly.engine.hands import Holding
from duly.errors import EnvironmentFailure
from duly.events import Event
from duly.stores.base import Store

T = TypeVar("T")

SLOWEST_S = 5.0


class Services(msgspec.Struct, frozen=True, kw_only=True):
    """The instance, as its attempts see it."""

    store: Store
    clock: Clock
    keeping: Putting[tuple[UUID, Note], Answer]
    posting: Putting[Entry, Posted]
    tasks: Mapping[str, Task]
    boot: Callable[[], UUID]
    trusted: Callable[[], bool] = lambda: True  # whether the lease allows to begin an effect
    lost: Callable[[Holding, str], None] = lambda holding, why: None
    emit: Callable[[Event], None] = lambda event: None
    topics: Mapping[str, Callable[[bytes], object]] | None = None
    """What checks a message to each topic that is bound; None allows any topic."""

    async def asked(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Read from the store; while it is away this waits, as what is written does."""
        pause_s = 0.1
        while True:
            try:
                return await ask()
            except EnvironmentFailure as error:
                if error.permanent:
                    raise
            await self.clock.pause(pause_s * (0.5 + self.clock.draw() / 2))
            pause_s = min(SLOWEST_S, pause_s * 2)
