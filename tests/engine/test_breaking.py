"""The gate before a target: runs wait while it is broken, and nothing else is counted.

Applications are turned by hand, on a virtual clock; the store may be taken away.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from duly import Breaker, BreakerOpen, BreakerState, Duly, RunState, StoreUnavailable
from duly.core.breakers import BreakerFilter
from duly.core.faults import Fault, blamed
from duly.core.states import BreakerVerb
from duly.engine import Context
from duly.engine.breaking import AWAY_S, FRESH_S, Gate
from duly.errors import NotPerformed
from duly.events import BreakerClosed, BreakerTripped, RunWaited
from duly.stores.memory import MemoryStore
from duly.testing import VirtualClock, turned

TWO = Breaker("bank", threshold=2, pause="30s", jitter=0.0)


class Target:
    """A target that is well, or not, and counts who calls."""

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self.calls = 0

    def call(self) -> None:
        self.calls += 1
        if self.error is not None:
            raise self.error


def calling(target: Target, *, thread: bool = False, **options: Any) -> tuple[Duly, Any]:
    app = Duly("memory://")
    how: dict[str, Any] = {"breaker": TWO, "retries": 9, "backoff": "1s", **options}

    async def pay() -> None:
        target.call()

    def pay_slowly() -> None:
        target.call()

    return app, app.task(name="pay", **how)(pay_slowly if thread else pay)


@pytest.mark.parametrize("thread", [False, True])
async def test_a_run_waits_while_its_target_is_broken_and_spends_no_retry(thread: bool) -> None:
    target = Target()
    app, pay = calling(target, thread=thread)
    target.error = ConnectionRefusedError("nobody there")
    async with turned(app) as hand:
        run = await pay.enqueue()
        await hand.tick("10s")
        view = await run.view()
        assert (view.state, view.reason, view.failures) == (RunState.WAITING, "breaker:bank", 2)
        [row] = await hand.store.breakers(BreakerFilter())
        assert (row.state, row.fault, row.who) == (BreakerState.OPEN, "connection_refused", "pay")
        assert view.wake_at is not None and row.probe_at is not None
        assert view.wake_at == row.probe_at
        assert target.calls == 2
        target.error = None
        await hand.tick("1m")
        view = await run.view()
        assert (view.state, view.failures, target.calls) == (RunState.SUCCEEDED, 2, 3)
        assert len(hand.events.of(BreakerTripped)) == len(hand.events.of(BreakerClosed)) == 1
        assert hand.events.of(RunWaited)


COUNTED: list[tuple[BaseException, bool]] = [
    (ConnectionResetError("gone"), True),
    (TimeoutError("slow"), True),
    (blamed(NotPerformed("503"), Fault.SERVER_ERROR), True),
    (blamed(NotPerformed("422"), Fault.CONTRACT_CHANGED), False),
    (KeyError("our bug"), False),
    (FileNotFoundError(2, "our file"), False),
]


@pytest.mark.parametrize(("error", "counted"), COUNTED, ids=repr)
async def test_only_what_says_that_the_target_is_broken_is_counted(
    error: BaseException, counted: bool
) -> None:
    target = Target()
    app, pay = calling(target)
    target.error = error
    async with turned(app) as hand:
        await pay.enqueue()
        await hand.tick("10s")
        assert bool(await hand.store.breakers(BreakerFilter())) is counted


async def test_a_fixed_request_trips_when_its_contract_changed() -> None:
    target = Target()
    app, pay = calling(target, breaker=Breaker(threshold=1, fixed=True))
    target.error = blamed(NotPerformed("422"), Fault.CONTRACT_CHANGED)
    async with turned(app) as hand:
        await pay.enqueue()
        await hand.tick("2s")
        [row] = await hand.store.breakers(BreakerFilter())
        assert (row.name, row.fault) == ("task:pay", "contract_changed")


async def test_a_task_that_ran_out_of_time_counts_against_its_target() -> None:
    app = Duly("memory://")

    @app.task(breaker="bank", timeout="50ms", retries=0)
    async def hang() -> None:
        await asyncio.Event().wait()

    async with turned(app) as hand:
        await hang.enqueue()
        working = asyncio.ensure_future(hand.run_due(until=hand.now + timedelta(seconds=5)))
        await asyncio.wait_for(working, 10)
        [row] = await hand.store.breakers(BreakerFilter())
        assert (row.failures, row.fault) == (1, "timed_out")


@pytest.mark.parametrize(("timeout", "lease_s"), [(None, 30), ("5m", 310)])
async def test_a_probe_may_take_as_long_as_its_task(timeout: str | None, lease_s: int) -> None:
    target = Target()
    app, pay = calling(target, timeout=timeout, retries=0)
    target.error = TimeoutError("slow")
    async with turned(app) as hand:
        for _ in range(2):
            await pay.enqueue()
        await hand.tick("1s")
        leases: list[timedelta] = []

        def called() -> None:
            row = hand.store.t.breakers["bank"]  # type: ignore[attr-defined]
            leases.append(row.probe_until - hand.now)

        target.call = called  # type: ignore[method-assign]
        await pay.enqueue()
        await hand.tick("1m")
        assert leases == [timedelta(seconds=lease_s)]


async def test_an_effect_of_which_nobody_knows_counts_against_its_target() -> None:
    app = Duly("memory://")

    @app.task(breaker="bank")
    async def pay(ctx: Context) -> None:
        await ctx.effect("transfer", _lost)

    async with turned(app) as hand:
        run = await pay.enqueue()
        await hand.tick("1s")
        assert (await run.view()).state is RunState.PARKED
        [row] = await hand.store.breakers(BreakerFilter())
        assert (row.failures, row.fault) == (1, "timed_out")


async def _lost() -> None:
    raise TimeoutError("no answer")


# --- calls of the user's own --------------------------------------------------------------------


class Watched(MemoryStore):
    """A store that counts its verbs about breakers, and can be away."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        super().__init__(clock)
        self.asked = self.told = 0
        self.away = False
        self.behind_tell: Callable[[], Awaitable[None]] | None = None

    async def breaker_calls(self, *given: Any, **how: Any) -> Any:
        self.asked += 1
        self._be_there()
        return await super().breaker_calls(*given, **how)

    async def breaker_tell(self, *given: Any, **how: Any) -> Any:
        self.told += 1
        self._be_there()
        heard = await super().breaker_tell(*given, **how)
        behind, self.behind_tell = self.behind_tell, None
        if behind is not None:
            await behind()
        return heard

    def _be_there(self) -> None:
        if self.away:
            raise StoreUnavailable("away")


class Hasty(VirtualClock):
    """A clock that is turned by whoever pauses."""

    async def pause(self, seconds: float) -> None:
        self.turn(seconds)


class Own:
    """An application whose own code guards its calls."""

    def __init__(self) -> None:
        self.clock = Hasty(datetime(2026, 3, 1, tzinfo=UTC))
        self.store, self.app = Watched(self.clock.now), Duly("memory://", clock=self.clock)
        self.app.use(self.store)

    async def call(self, error: BaseException | None = None) -> bool:
        """Return whether the call passed."""
        try:
            async with self.app.breaker(TWO):
                if error is not None:
                    raise error
        except BreakerOpen:
            return False
        except Exception as raised:
            assert raised is error, "what was raised comes through"
        return True

    async def turn(self, seconds: float) -> None:
        self.clock.turn(seconds)


@pytest.fixture
async def own() -> AsyncIterator[Own]:
    one = Own()
    async with one.app:
        yield one


async def test_while_all_is_well_a_call_costs_no_statement(own: Own) -> None:
    for _ in range(1000):
        assert await own.call()
    assert (own.store.asked, own.store.told) == (1, 0)


async def test_what_is_raised_says_since_when_and_for_how_long(own: Own) -> None:
    opened = own.clock.now()
    for _ in range(2):
        await own.call(TimeoutError("slow"))
    with pytest.raises(BreakerOpen, match=r"bank is open since .*2 failures in a row") as refused:
        async with own.app.breaker("bank"):
            raise AssertionError("it passed")
    assert refused.value.breaker == "bank"
    assert (refused.value.since, refused.value.rest) == (opened, timedelta(seconds=30))


async def test_many_refusals_cost_one_statement(own: Own) -> None:
    for _ in range(2):
        await own.call(TimeoutError("slow"))
    before = own.store.asked
    assert [await own.call() for _ in range(200)] == [False] * 200
    assert own.store.asked == before + 1


async def test_a_person_is_heard_at_once(own: Own) -> None:
    for _ in range(2):
        await own.call(TimeoutError("slow"))
    assert not await own.call()
    await own.store.breaker_move("bank", BreakerVerb.RESUME, by="ann", why="mended")
    assert await own.call()


async def test_an_answer_takes_back_nothing_that_was_heard_after_its_question(own: Own) -> None:
    """Another process trips it while the answer to this one's telling is on its way back."""
    other = Gate(own.store, own.clock, emit=lambda event: None)

    async def another_fails() -> None:
        passage = await other.enter(TWO)
        await other.leave(passage, TimeoutError("slow"))

    own.store.behind_tell = another_fails
    assert await own.call(TimeoutError("slow"))
    assert not await own.call(), "the answer said closed, and was older than the hint"


async def test_while_the_store_is_away_calls_pass_and_are_counted_here(own: Own) -> None:
    assert await own.call()
    own.store.away = True
    await own.turn(FRESH_S)
    assert await own.call(), "a store that is away holds no call back"
    for _ in range(2):
        assert await own.call(TimeoutError("slow"))
    assert not await own.call(), "what this process saw fail it does not hammer"
    await own.turn(30)
    assert await own.call(), "one tries"
    assert await own.call()
    own.store.away = False
    await own.turn(FRESH_S)
    assert await own.call()
    assert await own.store.breakers(BreakerFilter()) == []


async def test_a_store_that_is_away_is_not_asked_for_each_call(own: Own) -> None:
    own.store.away = True
    assert await own.call()
    before = own.store.asked + own.store.told
    for _ in range(100):
        assert await own.call(KeyError("our bug"))
    await own.call(TimeoutError("slow"))
    assert own.store.asked + own.store.told == before
    await own.turn(AWAY_S)
    own.store.away = False
    assert await own.call() and await own.call(TimeoutError("slow"))
    [row] = await own.store.breakers(BreakerFilter())
    assert row.failures == 1, "what was counted here is forgotten when the store answers"
