"""`with app.breaker(...)` on threads keeps what `async with` promises on the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest

from duly import Breaker, BreakerOpen, BreakerState, Duly, UsageError
from duly.core.breakers import BreakerFilter
from duly.core.states import BreakerVerb
from duly.engine import guarding
from duly.events import BreakerClosed, BreakerTripped
from duly.testing import turned

TWO = Breaker("bank", threshold=2, pause="30s", jitter=0.0)


@pytest.fixture
async def app() -> AsyncIterator[Duly]:
    async with Duly("memory://", name="shop") as app:
        yield app


def call(app: Duly, error: Exception | None = None) -> str:
    """Call the bank, on whatever thread this is."""
    with app.breaker(TWO):
        if error is not None:
            raise error
    return "called"


async def test_a_task_in_a_thread_is_held_back_counts_and_probes() -> None:
    app, asked, calls = Duly("memory://", name="shop"), list[str](), list[Exception | None]()
    gone = ConnectionRefusedError("nobody there")
    errors: list[Exception | None] = [gone, gone, None]

    @app.task(every="1m")
    def pay() -> None:
        try:
            with app.breaker(TWO):
                calls.append(errors[len(calls)])
                if calls[-1] is not None:
                    raise calls[-1]
            asked.append("called")
        except BreakerOpen as held:
            asked.append(f"held {held.breaker}")
        except ConnectionError:
            asked.append("failed")

    async with turned(app) as hand:
        await hand.tick("121s")
        assert asked == ["failed", "failed"]
        [row] = await hand.store.breakers(BreakerFilter())
        assert (row.state, row.fault, row.who, row.owner) == (
            BreakerState.OPEN, "connection_refused", "shop", "shop",
        )  # fmt: skip
        await hand.store.breaker_move("bank", BreakerVerb.FORCE_OPEN, by="ann", why="so")
        await hand.tick("1m")
        assert (asked[2:], len(calls)) == (["held bank"], 2)
        await hand.store.breaker_move("bank", BreakerVerb.PROBE, by="ann", why="try")
        await hand.tick("1m")
        assert (asked[3:], len(calls)) == (["called"], 3), "that call was the probe"
        assert len(hand.events.of(BreakerTripped)) == len(hand.events.of(BreakerClosed)) == 1


async def test_threads_and_coroutines_count_together(app: Duly) -> None:
    with pytest.raises(ConnectionResetError):
        await asyncio.to_thread(call, app, ConnectionResetError("gone"))
    with pytest.raises(ConnectionResetError):
        async with app.breaker(TWO):
            raise ConnectionResetError("gone")
    with pytest.raises(BreakerOpen, match="the breaker bank is open"):
        await asyncio.to_thread(call, app)
    with pytest.raises(BreakerOpen):
        async with app.breaker(TWO):
            raise AssertionError("it is not called")


async def test_ones_own_bug_on_a_thread_counts_for_nothing(app: Duly) -> None:
    for _ in range(4):
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(call, app, ZeroDivisionError())
    assert await app.store.breakers(BreakerFilter()) == []
    assert await asyncio.to_thread(call, app) == "called"


async def test_of_many_threads_one_probes(app: Duly) -> None:
    for _ in range(2):
        with pytest.raises(TimeoutError):
            await asyncio.to_thread(call, app, TimeoutError())
    await app.store.breaker_move("bank", BreakerVerb.PROBE, by="ann", why="try")
    app.gate._copies.clear()
    inside, over = threading.Event(), threading.Event()

    def slow() -> str:
        try:
            with app.breaker(TWO):
                inside.set()
                over.wait(10)
        except BreakerOpen:
            return "held"
        return "called"

    first = asyncio.ensure_future(asyncio.to_thread(slow))
    await asyncio.to_thread(inside.wait, 10)
    assert [await asyncio.to_thread(slow) for _ in range(4)] == ["held"] * 4
    over.set()
    assert await first == "called"
    [row] = await app.store.breakers(BreakerFilter())
    assert row.state is BreakerState.CLOSED


async def test_where_a_thread_cannot_be_served_is_said_before_the_call(app: Duly) -> None:
    with pytest.raises(UsageError, match="`with` is for threads"), app.breaker("bank"):
        raise AssertionError("it would wait for ever")
    guard = app.breaker("bank")
    async with guard:
        pass
    with pytest.raises(UsageError, match="anew for each call"):
        await asyncio.to_thread(guard.__enter__)
    closed = Duly("memory://")
    with pytest.raises(UsageError, match="while the application is open"):
        await asyncio.to_thread(call, closed)


async def test_a_loop_that_does_not_come_to_it_holds_nobody_back(
    app: Duly, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As while the store is away: the call passes, and its end is not waited for either."""
    monkeypatch.setattr(guarding, "LONGEST_S", 0.01)
    never = asyncio.Event()

    async def hangs(*_: Any, **__: Any) -> Any:
        await never.wait()

    entered, app.gate.enter = app.gate.enter, hangs  # type: ignore[method-assign]
    assert await asyncio.to_thread(call, app) == "called"
    app.gate.enter, app.gate.leave = entered, hangs  # type: ignore[method-assign]
    with pytest.raises(ConnectionError):
        await asyncio.to_thread(call, app, ConnectionError("gone"))
