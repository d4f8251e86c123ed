"""Notes on their way to the store: fenced, resent, never doubled, never overtaken."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from duly import Context, Duly, events
from tests.engine.bench import Bench, in_time, lasts


def bodies(bench: Bench) -> list[int]:
    return [int(one.body) for one in bench.tables.outbox.values()]


async def numbers(after: int | None) -> AsyncIterator[tuple[int, int]]:
    for n in range((after or 0) + 1, 1301):
        yield n, n


async def by_steps(ctx: Context) -> list[int]:
    async def one(n: int) -> int:
        await ctx.publish("out", n)
        return n

    return [await ctx.step(f"one {n}", one, n) for n in range(4)]


async def by_items(ctx: Context) -> None:
    async for n in ctx.each("rows", numbers):
        await ctx.publish("out", n)


async def at_the_end(ctx: Context) -> None:
    await ctx.publish("out", 1)
    await ctx.publish("out", 2)


async def by_children(ctx: Context) -> list[int]:
    return await ctx.map("squares", "square", [{"n": n} for n in range(4)])


async def asleep(ctx: Context) -> None:
    await ctx.sleep("nap", 60)


WORK = {
    "steps": (by_steps, list(range(4))), "items": (by_items, list(range(1, 1301))),
    "an end": (at_the_end, [1, 2]), "children": (by_children, []), "a sleep": (asleep, []),
}  # fmt: skip
VERBS = ("keep", "remembered", "end", "clock", "run", "happened")


@pytest.mark.parametrize("where", ["before", "after"])
@pytest.mark.parametrize("case", WORK)
def test_whatever_was_lost_on_its_way_is_sent_again_and_nothing_is_doubled(
    case: str, where: str
) -> None:
    fn, published = WORK[case]

    @in_time
    async def check(bench: Bench) -> None:
        app = Duly("memory://")
        app.task(name="work", retries=0)(fn)

        @app.task
        async def square(n: int) -> int:
            return n * n

        _, store = await bench.start(app)
        getattr(store, where).update(dict.fromkeys(VERBS, 3))
        view = await bench.ended(await bench.ask("work"), 300)
        assert (view.state.value, view.failures) == ("succeeded", 0), view.error
        assert bodies(bench) == published
        made = [one for one in bench.tables.run.values() if one.asked.task == "square"]
        assert len(made) == (4 if case == "children" else 0)

    check()
    assert published is not None


@in_time
async def test_a_store_that_is_away_costs_no_retry(bench: Bench) -> None:
    app = Duly("memory://")

    @app.task(retries=0)
    async def work(ctx: Context) -> Any:
        await lasts(5)
        return await ctx.wait_for("paid", timeout=60)

    _, store = await bench.start(app, lease=_long())
    run = await bench.ask("work")
    await bench.past(2)
    store.away = True
    await bench.past(8)
    store.away = False
    view = await bench.ended(run, 300)
    assert "TimeoutError" in (view.error or "")
    assert bench.told(events.RunLost) == []


def _long() -> Any:
    from datetime import timedelta

    return timedelta(minutes=5)


@in_time
async def test_a_note_that_comes_too_late_stops_the_attempt_and_nothing_more_of_it_is_written(
    bench: Bench,
) -> None:
    app, seen = Duly("memory://"), []

    @app.task(retries=0)
    async def work(ctx: Context) -> int:
        async def one() -> int:
            await ctx.publish("out", ctx.attempt)
            seen.append(f"one {ctx.attempt}")
            if ctx.attempt == 1:
                held = bench.tables.held.pop(ctx.run_id)  # as a takeover leaves it
                bench.tables.put_ready(ctx.run_id, bench.now(), before=held)
            return 1

        try:
            got = await ctx.step("one", one)
        except Exception:
            seen.append("caught")
            await ctx.publish("out", 99)
            got = await ctx.step("after", _forty_two)
        seen.append(f"end {ctx.attempt}")
        return got

    await bench.start(app, slots=1)
    run = await bench.ask("work")
    view = await bench.ended(run, 60)
    assert (view.state.value, view.result, view.epoch) == ("succeeded", b"1", 2)
    assert bodies(bench) == [2]
    assert sorted(bench.tables.steps[run]) == ["one"]
    assert "end 1" not in seen
    lost = bench.told(events.RunLost)
    assert [(one.run, one.epoch) for one in lost] == [(run, 1)]


async def _forty_two() -> int:
    return 42


@in_time
async def test_an_ending_waits_for_the_chunk_that_is_in_flight(bench: Bench) -> None:
    app = Duly("memory://")

    @app.task(retries=1, backoff=1)
    async def work(ctx: Context) -> None:
        async for n in ctx.each("rows", numbers):
            await ctx.publish("out", n)
            if n == 510 and ctx.attempt == 1:
                raise OSError("while the first chunk is on its way")

    engine, store = await bench.start(app)
    store.before["keep"] = 4
    run = await bench.ask("work")
    await bench.until(lambda: bool(bench.tables.attempts.get(run)))
    assert bodies(bench) == list(range(1, 510)), "the chunk first, then the ending"
    assert len(engine.hands) == 0
    assert (await bench.ended(run)).state.value == "succeeded"
    assert bodies(bench) == list(range(1, 1301))


@in_time
async def test_counts_of_earlier_attempts_are_kept_whatever_is_told_first(bench: Bench) -> None:
    app = Duly("memory://")

    @app.task(retries=1, backoff=1)
    async def work(ctx: Context) -> None:
        ctx.progress(note=f"attempt {ctx.attempt}")
        await lasts(5)
        async for n in ctx.each("rows", numbers):
            await ctx.publish("out", n)
            if n == 700 and ctx.attempt == 1:
                raise OSError("in the middle")

    await bench.start(app)
    view = await bench.ended(await bench.ask("work"))
    assert view.progress is not None
    assert (view.progress.published, view.progress.note) == (1300, "attempt 2")


@in_time
async def test_counts_are_kept_by_an_attempt_that_only_publishes_at_its_end(bench: Bench) -> None:
    app = Duly("memory://")

    @app.task(retries=1, backoff=1)
    async def work(ctx: Context) -> None:
        if ctx.attempt == 1:
            await by_items(ctx)
            ctx.progress(7, 9)
            raise OSError("again")
        await ctx.publish("out", 0)

    _, store = await bench.start(app)
    run = await bench.ask("work")
    await bench.until(lambda: run in bench.tables.later)
    store.before["remembered"] = 3
    view = await bench.ended(run)
    assert view.progress is not None
    assert (view.progress.published, view.progress.done, view.progress.total) == (1301, 7, 9)


@in_time
async def test_progress_is_written_within_a_second_and_no_more_often(bench: Bench) -> None:
    app = Duly("memory://")

    @app.task
    async def work(ctx: Context) -> None:
        for n in range(100):
            ctx.progress(n, 100)
            await lasts(0.1)

    _, store = await bench.start(app)
    run = await bench.ask("work")
    await bench.past(5)
    shown = (await bench.view(run)).progress
    assert shown is not None
    assert shown.done is not None
    assert 30 <= shown.done <= 50
    view = await bench.ended(run)
    assert view.progress is not None
    assert (view.progress.done, view.progress.total) == (99, 100)
    assert store.sent.count("keep") <= 12
