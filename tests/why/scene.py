"""Where causes are brought about: one real store, one clock, and an application turned by hand.

A row of the table is a coroutine on a `Scene`; its docstring says how the cause comes about, and
what it returns says what is asked, and which evidence the answer must hold.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import datetime
from typing import Any, NamedTuple

from duly import Duly
from duly.app.explaining import Explaining
from duly.core.tasks import Task, task_from
from duly.core.why import Cause, Explanation
from duly.stores.base import Standing
from duly.testing.clock import VirtualClock
from duly.testing.hand import Hand
from tests.stores.world import T0, World


def work() -> None:
    """The task `t`, of which most rows have runs: three retries, a limit of two."""


TASKS = {"t": task_from(work, name="t", limit_key="smtp", limit=2)}


class Doubted:
    """A store that was restored: each database shows that in its own way, and all say this."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def __getattr__(self, verb: str) -> Any:
        return getattr(self._store, verb)

    async def standing(self) -> Standing:
        """Say that nobody accepted it."""
        return Standing(schema=1, generation=1, trusted=False, why="restored")


class Asked(NamedTuple):
    """What is asked, and what must be in the answer: words among all of it, things to see."""

    thing: str
    evidence: tuple[str, ...] = ()
    see: tuple[str, ...] = ()


class Scene(World):
    """A world whose clock is also the store's, and the hand's."""

    def __init__(self, store: Any, clock: VirtualClock, stack: AsyncExitStack) -> None:
        self.clock, self.stack = clock, stack
        self.tasks: dict[str, Task] = dict(TASKS)
        self.trusted = True
        super().__init__(store)

    @property
    def now(self) -> datetime:  # type: ignore[override]
        """What the clock shows."""
        return self.clock.now()

    @now.setter
    def now(self, instant: datetime) -> None:
        self.clock.turn_to(instant)

    async def hand(self, app: Duly) -> Hand:
        """Let an application work on this store, turned by hand."""
        app.clock = self.clock
        app.use(self.store)
        hand = Hand(app, self.store, self.clock, None)
        self.stack.push_async_callback(hand.stop)
        await hand.start()
        self.clock.turned_by = asyncio.current_task()
        self.tasks = app.tasks
        return hand

    async def explain(self, thing: str) -> Explanation:
        """Ask why."""
        store = self.store if self.trusted else Doubted(self.store)
        return await Explaining(store, self.tasks).explain(thing)


Case = Callable[[Scene], Awaitable[Asked]]


class Row(NamedTuple):
    """One cause: how it is brought about, and what the answer must say."""

    case: Case
    cause: Cause
    also: tuple[Cause, ...]
    words: tuple[str, ...]

    @property
    def name(self) -> str:
        """What the row is called."""
        return self.case.__name__

    @property
    def comes_about(self) -> str:
        """How it comes about, in one sentence."""
        return " ".join((self.case.__doc__ or "").split())


def check(row: Row, asked: Asked, answer: Explanation) -> None:
    """Hold an answer against its row."""
    assert answer.cause is row.cause, answer
    assert answer.also == row.also, answer
    assert [word for word in row.words if word not in answer.headline] == [], answer
    told = "\n".join((answer.headline, *answer.causes, *answer.helps))
    assert [one for one in asked.evidence if one not in told] == [], answer
    assert [one for one in asked.see if one not in answer.see] == [], answer


class Table:
    """Rows, in the order in which they are written down."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def __call__(self, cause: Cause, *words: str, also: tuple[Cause, ...] = ()) -> Any:
        """Add a row: `words` must be in the headline, `also` are all further causes."""

        def add(case: Case) -> Case:
            self.rows.append(Row(case, cause, also, words))
            return case

        return add


def make_clock() -> VirtualClock:
    """A clock that begins where every world does."""
    return VirtualClock(T0)
