"""The hand: an application does by hand what it does in production, at once and always alike.

No test here waits by real time; each turns the clock and looks at what the store, the events and
the tasks themselves say happened.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from duly import Context, Duly, RunState, UsageError, Verdict, WorkFailed
from duly.events.work import RunCompleted, RunFailed, RunRetried, ScheduleFired
from duly.testing import VirtualClock, turned

START = datetime(2026, 3, 1, tzinfo=UTC)


async def test_a_schedule_fires_at_each_occurrence_in_order() -> None:
    app, seen = Duly(), []

    @app.task(every="1h")
    async def hourly(ctx: Context) -> None:
        seen.append(ctx.due)

    async with turned(app, start=START) as hand:
        assert await hand.tick("1d") == 24
        assert seen == [START + timedelta(hours=n) for n in range(1, 25)]
        assert len(hand.events.of(RunCompleted)) == len(hand.events.of(ScheduleFired)) == 24
        assert hand.now == START + timedelta(days=1)


async def test_a_failure_is_retried_by_the_virtual_clock() -> None:
    app, tries = Duly(), []

    @app.task(retries=2, backoff="1h", backoff_longest="9h")
    async def shaky(ctx: Context) -> str:
        tries.append(ctx.attempt)
        if ctx.attempt < 3:
            raise OSError("not yet")
        return "there"

    async with turned(app, start=START) as hand:
        handle = await shaky.enqueue()
        assert await hand.run_due() == 1
        assert (await handle.view()).state is RunState.RETRYING
        await hand.tick("9h")
        assert tries == [1, 2, 3]
        assert await handle.result() == "there"
        assert "not yet" in hand.events.of(RunRetried)[0].error


async def test_a_spent_budget_fails_as_in_production() -> None:
    app = Duly()

    @app.task(retries=1)
    def broken() -> None:
        raise ValueError("never")

    async with turned(app) as hand:
        handle = await broken.enqueue()
        await hand.tick("1m")
        assert [one.failures for one in hand.events.of(RunFailed)] == [2]
        with pytest.raises(WorkFailed, match="never"):
            await handle.result()


async def test_a_usage_error_is_not_retried() -> None:
    app = Duly()

    @app.task(retries=5)
    async def wrong() -> None:
        raise UsageError("no such thing")

    async with turned(app) as hand:
        handle = await wrong.enqueue()
        await hand.run_due()
        view = await handle.view()
        assert (view.state, view.failures) == (RunState.FAILED, 1)


async def test_an_outage_is_caught_up_by_policy() -> None:
    app, seen = Duly(), []

    @app.task(every="1h", catch_up="all")
    async def every_one(ctx: Context) -> None:
        seen.append(("all", ctx.due))

    @app.task(every="1h", catch_up="latest")
    async def newest(ctx: Context) -> None:
        seen.append(("latest", ctx.due))

    async with turned(app, start=START) as hand:
        await hand.pass_by("5h30m")
        await hand.run_due()
        assert [due for name, due in seen if name == "latest"] == [START + timedelta(hours=5)]
        assert sorted(due for name, due in seen if name == "all") == [
            START + timedelta(hours=n) for n in range(1, 6)
        ]
        verdicts = await hand.client.verdicts("newest")
        assert [(one.verdict, one.count) for one in verdicts] == [
            (Verdict.MISSED, 4),
            (Verdict.FIRED, 1),
        ]


async def test_a_run_that_waits_for_another_lets_it_go_first() -> None:
    app, order = Duly(), []

    @app.task
    async def child() -> int:
        order.append("child")
        return 7

    @app.task(priority=5)
    async def parent() -> int:
        handle = await child.enqueue()
        order.append("parent waits")
        return 1 + await handle.result()

    async with turned(app) as hand:
        handle = await parent.enqueue()
        assert await hand.run_due() == 2
        assert await handle.result() == 8
        assert order == ["parent waits", "child"]


async def test_time_passes_for_a_task_that_waits_on_the_clock() -> None:
    app, seen = Duly(), []

    @app.task
    async def slow(hours: int) -> None:
        await app.clock.pause(3600 * hours)
        seen.append((hours, app.clock.now()))

    @app.task(every="1h", overlap="allow")
    async def tell(ctx: Context) -> None:
        seen.append((0, app.clock.now()))

    async with turned(app, start=START) as hand:
        await slow.enqueue(3)
        await hand.tick("2h")
        assert [hours for hours, _ in seen] == [0, 0]
        await hand.tick("2h")
        assert (3, START + timedelta(hours=3)) in seen
        assert seen == sorted(seen, key=lambda one: one[1])


async def test_priority_goes_first_and_limits_hold() -> None:
    app, order, most = Duly(), [], []

    @app.task(limit=("one", 1))
    async def narrow(n: int) -> None:
        most.append(1)
        await app.clock.pause(1)
        assert len(most) == 1
        most.clear()
        order.append(n)

    async with turned(app) as hand:
        for n in range(3):
            await narrow.options(priority=n).enqueue(n)
        await hand.run_due()
        assert order[1:] == [2, 1]  # the first was admitted when it was asked for


async def test_the_same_seed_gives_the_same_ids() -> None:
    async def ids() -> list[str]:
        app = Duly()

        @app.task(every="1m")
        async def minutely() -> None:
            return None

        async with turned(app, seed=7) as hand:
            await hand.tick("5m")
            return [str(one.id) for one in await hand.runs(task="minutely")]

    first, second = await ids(), await ids()
    assert first == second
    assert first == sorted(first)


async def test_the_application_is_itself_again_afterwards() -> None:
    app = Duly(store="memory://")
    store, clock = app.store, app.clock
    async with turned(app) as hand:
        assert app.store is hand.store
        assert app.clock is hand.clock
    assert (app.store, app.clock) == (store, clock)


async def test_the_lifespan_gives_resources() -> None:
    from contextlib import asynccontextmanager

    opened: list[str] = []

    @asynccontextmanager
    async def lifespan():  # type: ignore[no-untyped-def]
        opened.append("in")
        yield {"db": 1}
        opened.append("out")

    app = Duly(lifespan=lifespan)

    @app.task
    def use(ctx: Context) -> int:
        return int(ctx.resources["db"])

    async with turned(app) as hand:
        handle = await use.enqueue()
        await hand.run_due()
        assert await handle.result() == 1
    assert opened == ["in", "out"]


async def test_who_turns_the_clock_cannot_wait_for_it() -> None:
    app = Duly()

    @app.task
    async def idle() -> None:
        return None

    async with turned(app):
        handle = await idle.enqueue()
        with pytest.raises(UsageError, match="tick"):
            await handle.result()


async def test_a_paused_waiter_goes_on_when_the_clock_is_turned() -> None:
    clock, order = VirtualClock(START), []

    async def wait(seconds: float) -> None:
        await clock.pause(seconds)
        order.append(seconds)

    tasks = [asyncio.ensure_future(wait(one)) for one in (5.0, 1.0, 3.0)]
    await clock.paused.wait()
    clock.turn("3s")
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    clock.turn(2)
    await asyncio.wait(tasks)
    assert order == [1.0, 3.0, 5.0]
    assert clock.monotonic() == 5.0
