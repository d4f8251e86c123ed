"""Waiting: without a slot, however long, whatever dies meanwhile; and then the run goes on."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from duly import Context, Duly, events
from duly.core.steps import Event, approval
from duly.testing import turned
from tests.engine.bench import Bench, in_time, lasts


async def happened(bench: Bench, name: str, body: bytes = b"null") -> None:
    await bench.client.emit(Event(name=name, body=body))


async def sleeps(ctx: Context) -> None:
    await ctx.sleep("nap", "1h")


async def awaits(ctx: Context) -> None:
    await ctx.wait_for("paid")


async def asks(ctx: Context) -> None:
    await ctx.approve("boss")


async def calls(ctx: Context) -> None:
    await ctx.call("child", "slow")


async def races(ctx: Context) -> None:
    """Two branches: one goes on after a sleep, the other waits for what never happens."""

    async def after_a_nap() -> None:
        await ctx.sleep("nap", "1m")
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            await asyncio.wait([group.create_task(ctx.step("woke", lambda: True))])

    nap, paid = asyncio.create_task(after_a_nap()), asyncio.create_task(ctx.wait_for("paid"))
    await asyncio.wait([nap, paid], return_when=asyncio.FIRST_COMPLETED)
    paid.cancel()


@in_time
async def test_a_sleep_that_is_over_goes_on_beside_a_wait(bench: Bench) -> None:
    app = Duly("memory://")
    app.task(name="races")(races)
    await bench.start(app)
    run = await bench.ask("races")
    assert (await bench.ended(run, 600)).state.value == "succeeded"


WAITS = {
    "a sleep": (sleeps, "waiting", "sleep:nap"),
    "an event": (awaits, "waiting", "event:paid"),
    "an approval": (asks, "parked", "approval"),
    "a child": (calls, "waiting", "run:"),
}


@pytest.mark.parametrize("case", WAITS)
def test_whoever_waits_holds_no_slot_and_says_what_for(case: str) -> None:
    fn, state, reason = WAITS[case]

    @in_time
    async def check(bench: Bench) -> None:
        app = Duly("memory://")
        app.task(name="waits")(fn)

        app.task(name="slow")(sleeps)

        @app.task
        async def other() -> int:
            return 1

        await bench.start(app, slots=1)
        run = await bench.ask("waits")
        await bench.until(lambda: run in bench.tables.later)
        view = await bench.view(run)
        assert (view.state.value, view.failures) == (state, 0)
        assert (view.reason or "").startswith(reason)
        later = await bench.ask("other")
        assert (await bench.ended(later, 60)).state.value == "succeeded"
        assert await bench.state(run) == state

    check()
    assert case


@in_time
async def test_a_cancel_ends_what_waits_at_once(bench: Bench) -> None:
    app = Duly("memory://")
    for name, (fn, _, _) in WAITS.items():
        app.task(name=name.replace(" ", "_"))(fn)
    app.task(name="slow")(sleeps)
    await bench.start(app)
    runs = [await bench.ask(name.replace(" ", "_")) for name in WAITS]
    await bench.until(lambda: all(run in bench.tables.later for run in runs))
    for run in runs:
        await bench.client.cancel(run, by="ann", reason="no more")
    assert [await bench.state(run) for run in runs] == ["cancelled"] * 4
    await happened(bench, "paid")
    await bench.past(7200)
    assert [await bench.state(run) for run in runs] == ["cancelled"] * 4
    bench.assert_sound()


# --- sleeps -------------------------------------------------------------------------------


@in_time
async def test_a_sleep_is_slept_once_and_the_run_goes_on_behind_it(bench: Bench) -> None:
    app, woke = Duly("memory://"), []

    @app.task(retries=2, backoff=1)
    async def work(ctx: Context) -> int:
        await ctx.sleep("nap", "1h")
        woke.append(bench.loop.time())
        if len(woke) < 3:
            raise OSError("again")
        return ctx.attempt

    await bench.start(app)
    view = await bench.ended(await bench.ask("work"))
    assert (view.state.value, view.result) == ("succeeded", b"4")
    assert 3599 < woke[0] < 3602
    assert woke[2] < 3610, "only the first attempt had to sleep"


@in_time
async def test_sleeps_one_behind_the_other_take_their_sum(bench: Bench) -> None:
    app = Duly("memory://")

    @app.task
    async def work(ctx: Context) -> None:
        for n in range(3):
            await ctx.sleep(f"nap {n}", timedelta(minutes=10))

    await bench.start(app)
    await bench.ended(await bench.ask("work"))
    assert 1799 < bench.loop.time() < 1805


@in_time
async def test_sleeps_side_by_side_take_as_long_as_the_longest(bench: Bench) -> None:
    app = Duly("memory://")

    @app.task
    async def work(ctx: Context) -> None:
        await asyncio.gather(*(ctx.sleep(f"nap {n}", 600 * n) for n in (3, 1, 2)))

    await bench.start(app)
    await bench.ended(await bench.ask("work"))
    assert 1799 < bench.loop.time() < 1805


@in_time
async def test_a_sleep_counts_from_its_first_begin_whatever_fails_beside_it(bench: Bench) -> None:
    app = Duly("memory://")

    @app.task(retries=1, backoff=1)
    async def work(ctx: Context) -> None:
        async def beside() -> None:
            await lasts(1800)
            if ctx.attempt == 1:
                raise OSError("half an hour, for nothing")

        await asyncio.gather(ctx.sleep("nap", "1h"), ctx.step("beside", beside))

    await bench.start(app)
    await bench.ended(await bench.ask("work"))
    assert 3599 < bench.loop.time() < 3650


# --- events -------------------------------------------------------------------------------

PLACES = ("before", "while suspending", "after")


@pytest.mark.parametrize("place", PLACES)
def test_an_event_is_met_whenever_it_happens(place: str) -> None:
    @in_time
    async def check(bench: Bench) -> None:
        app = Duly("memory://")

        @app.task
        async def work(ctx: Context) -> Any:
            return await ctx.wait_for("paid")

        engine, _ = await bench.start(app)
        if place == "before":
            await happened(bench, "paid", b'{"sum":3}')
        elif place == "while suspending":
            put = engine.settling.put

            def at_that_moment(*args: Any) -> None:
                bench.loop.create_task(happened(bench, "paid", b'{"sum":3}'))
                put(*args)

            engine.settling.put = at_that_moment  # type: ignore[method-assign]
        run = await bench.ask("work")
        if place == "after":
            await bench.until(lambda: run in bench.tables.later)
            await happened(bench, "paid", b'{"sum":3}')
        assert (await bench.ended(run, 30)).result == b'{"sum":3}'

    check()
    assert place


@in_time
async def test_the_first_word_about_an_event_stays(bench: Bench) -> None:
    app = Duly("memory://")

    @app.task
    async def work(ctx: Context) -> list[Any]:
        first = await ctx.wait_for("paid")
        await ctx.sleep("nap", 60)
        return [first, await ctx.wait_for("paid")]

    await bench.start(app)
    run = await bench.ask("work")
    await happened(bench, "paid", b"1")
    await bench.until(lambda: run in bench.tables.later)
    await happened(bench, "paid", b"2")
    assert (await bench.ended(run)).result == b"[1,1]"


LATE = {"in time": (1000, b'["paid"]'), "too late": (2000, b'["timeout"]')}


@pytest.mark.parametrize("case", LATE)
def test_a_wait_with_a_timeout_ends_one_way_or_the_other_for_good(case: str) -> None:
    after_s, result = LATE[case]

    @in_time
    async def check(bench: Bench) -> None:
        app = Duly("memory://")

        @app.task(retries=2, backoff=1)
        async def work(ctx: Context) -> list[str]:
            try:
                got = await ctx.wait_for("paid", timeout="30m")
            except TimeoutError as error:
                assert "paid did not happen within 0:30:00" in str(error)
                got = "timeout"
            await ctx.sleep("nap", 900)
            if ctx.failures == 0:
                raise OSError("looks again, later")
            return [got]

        await bench.start(app)
        run = await bench.ask("work")
        await bench.past(after_s)
        await happened(bench, "paid", b'"paid"')
        assert (await bench.ended(run)).result == result

    check()
    assert case


@in_time
async def test_several_waits_at_once_are_each_met_as_they_come(bench: Bench) -> None:
    app, tries = Duly("memory://"), []

    @app.task
    async def work(ctx: Context) -> list[Any]:
        tries.append(bench.loop.time())
        return list(
            await asyncio.gather(
                ctx.wait_for("a"), ctx.wait_for("b", timeout="1h"), ctx.sleep("nap", 1200)
            )
        )

    await bench.start(app)
    run = await bench.ask("work")
    await bench.past(100)
    await happened(bench, "b", b"2")
    await bench.past(100)
    await happened(bench, "a", b"1")
    await bench.past(100)
    assert await bench.state(run) == "waiting"
    assert (await bench.ended(run)).result == b"[1,2,null]"
    assert 1199 < bench.loop.time() < 1203
    assert len(tries) == 4


@in_time
async def test_a_wait_beside_a_working_step_does_not_cut_it_off(bench: Bench) -> None:
    app, seen = Duly("memory://"), []

    @app.task
    async def work(ctx: Context) -> list[Any]:
        async def long() -> str:
            seen.append("begun")
            await lasts(20)
            seen.append("done")
            return "long"

        return list(await asyncio.gather(ctx.wait_for("paid"), ctx.step("long", long)))

    await bench.start(app)
    run = await bench.ask("work")
    await bench.past(10)
    assert await bench.state(run) == "running"
    await bench.until(lambda: run in bench.tables.later)
    assert seen == ["begun", "done"]
    await happened(bench, "paid", b"1")
    assert (await bench.ended(run)).result == b'[1,"long"]'
    assert seen == ["begun", "done"]


@in_time
async def test_a_user_who_catches_everything_is_suspended_all_the_same(bench: Bench) -> None:
    app, seen = Duly("memory://"), []

    @app.task
    async def work(ctx: Context) -> str:
        try:
            return str(await ctx.wait_for("paid"))
        except Exception as error:
            seen.append(error)
            return "caught"

    await bench.start(app)
    run = await bench.ask("work")
    await bench.until(lambda: run in bench.tables.later)
    await happened(bench, "paid", b"1")
    assert (await bench.ended(run)).result == b'"1"'
    assert seen == []


# --- approvals ----------------------------------------------------------------------------

WORDS = {
    "approved": (b'{"approved":true,"by":"ann"}', [True, "ann", ""]),
    "rejected": (b'{"approved":false,"by":"bob","reason":"too dear"}', [False, "bob", "too dear"]),
}


@pytest.mark.parametrize("case", WORDS)
async def test_an_approval_parks_the_run_until_a_person_decides(case: str) -> None:
    body, decided = WORDS[case]
    app, got = Duly("memory://"), []

    @app.task
    async def work(ctx: Context) -> None:
        one = await ctx.approve("boss")
        got.append([one.approved, one.by, one.reason])
        await ctx.sleep("nap", 60)

    async with turned(app) as hand:
        handle = await work.enqueue()
        await hand.tick("1d")
        view = await handle.view()
        assert (view.state.value, view.reason) == ("parked", "approval")
        await hand.store.emit(Event(name=approval(handle.id, "boss"), body=body))
        await hand.tick("2m")
        assert (await handle.view()).state.value == "succeeded"
        assert got == [decided, decided]
        assert hand.events.of(events.RunParked)[0].reason == "approval"


@in_time
async def test_a_hand_back_while_something_is_awaited_loses_nothing(bench: Bench) -> None:
    app = Duly("memory://")

    @app.task
    async def work(ctx: Context) -> Any:
        async def long() -> str:
            await lasts(500)
            return "long"

        return list(await asyncio.gather(ctx.wait_for("paid"), ctx.step("long", long)))

    engine, _ = await bench.start(app)
    run = await bench.ask("work")
    await bench.past(10)
    await engine.stop(grace=timedelta(seconds=5))
    assert await bench.state(run) == "ready"
    await happened(bench, "paid", b"1")
    await bench.start(app)
    assert (await bench.ended(run)).result == b'[1,"long"]'
