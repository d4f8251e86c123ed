"""A call of users' own behind a breaker: `async with` on the event loop, `with` on any thread.

Both ask the same gate, so both keep the same promises: `BreakerOpen` is raised before the call,
what comes of it is told for the whole fleet before the block is left, and a failure of the store is
never raised. A thread has the gate asked on the event loop that the store lives on, and waits for
the answer; where that loop does not come to it for half a minute, the call passes, as it does while
the store is away. On that loop itself `with` would wait for ever, and is refused.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Callable, Coroutine
from contextlib import suppress
from types import TracebackType
from typing import Any, TypeVar

from duly.core.breakers import Breaker
from duly.engine.breaking import Gate, Passage
from duly.engine.threads import home
from duly.errors import UsageError

LONGEST_S = 30.0
"""How long a thread waits for the event loop."""

T = TypeVar("T")


class Guard:
    """One call behind one breaker; for each further call another one is made.

    `loop` names the event loop that the store was opened on, if it was; a thread of a task knows
    its own. Raises `BreakerOpen` when it is entered, and `UsageError` when that cannot be.
    """

    def __init__(
        self,
        gate: Callable[[], Gate],
        breaker: Breaker,
        who: str,
        *,
        loop: Callable[[], asyncio.AbstractEventLoop | None],
    ) -> None:
        self._make, self._breaker, self._who, self._loop = gate, breaker, who, loop
        self._gate: Gate | None = None  # once it was entered
        self._passage: Passage | None = None

    async def __aenter__(self) -> None:
        """Let the call pass, or raise `BreakerOpen`."""
        self._passage = await self._begin().enter(self._breaker)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Tell what came of it."""
        if self._gate is not None and self._passage is not None:
            await self._gate.leave(self._passage, error, self._who)

    def __enter__(self) -> None:
        """As `__aenter__`, on a thread that may wait."""
        loop = self._home()
        gate = self._begin()
        with suppress(TimeoutError, concurrent.futures.CancelledError):
            self._passage = _asked(gate.enter(self._breaker), loop)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Tell what came of it, as far as anybody is left to be told."""
        loop = home() or self._loop()
        if self._gate is None or self._passage is None or loop is None:
            return  # nobody was asked, or nobody is left
        with suppress(TimeoutError, concurrent.futures.CancelledError):
            _asked(self._gate.leave(self._passage, error, self._who), loop)

    def _begin(self) -> Gate:
        if self._gate is not None:
            raise UsageError("expected app.breaker(...) to be called anew for each call")
        self._gate = self._make()
        return self._gate

    def _home(self) -> asyncio.AbstractEventLoop:
        """Return the loop to ask; raises `UsageError` where there is none, or it is this one."""
        loop = home() or self._loop()
        if loop is None:
            raise UsageError(
                "expected `with app.breaker(...)` in a task's thread, or while the application is"
                " open (`async with app`) on an event loop of another thread"
            )
        with suppress(RuntimeError):
            if asyncio.get_running_loop() is loop:
                raise UsageError(
                    "expected `async with app.breaker(...)` on the event loop:"
                    " `with` is for threads"
                )
        return loop


def _asked(asked: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop) -> T:
    """Have something done on a loop; what it does not come to in time is called off."""
    try:
        answer = asyncio.run_coroutine_threadsafe(asked, loop)
    except RuntimeError:  # it was closed meanwhile
        asked.close()
        raise TimeoutError from None
    try:
        return answer.result(LONGEST_S)
    except TimeoutError:
        answer.cancel()
        raise
