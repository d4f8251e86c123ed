"""Iterations: behind the last confirmed item after a death, each item's messages once, in order."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from duly import Context, Duly
from tests.engine.bench import Bench, in_time, lasts
from tests.engine.durable.played import Played, played

Pairs = Iterator[tuple[Any, Any]]


def numbers(upto: int) -> Callable[[int | None], Pairs]:
    return lambda after: ((n, n) for n in range((after or 0) + 1, upto + 1))


def slowly(upto: int) -> Callable[[int | None], AsyncIterator[tuple[int, int]]]:
    async def source(after: int | None) -> AsyncIterator[tuple[int, int]]:
        for n in range((after or 0) + 1, upto + 1):
            yield n, n

    return source


def listed(after: int | None) -> list[tuple[int, int]]:
    return [(n, n) for n in range((after or 0) + 1, 1201)]


SOURCES = {"plain": numbers(1200), "async": slowly(1200), "a list": listed}


@pytest.mark.parametrize("failing", [1, 2, 499, 500, 501, 700, 1200])
@pytest.mark.parametrize("source", SOURCES)
async def test_after_a_failure_it_goes_on_with_the_item_that_failed(
    source: str, failing: int
) -> None:
    bodies: list[tuple[int, int]] = []

    async def work(ctx: Context) -> int:
        rows = ctx.each("rows", SOURCES[source])
        async for n in rows:
            bodies.append((ctx.attempt, n))
            await ctx.publish("rows", n, key=str(n % 3))
            if n == failing and ctx.attempt == 1:
                raise ValueError("boom")
        return rows.count

    got = await played(work, retries=1, backoff=1)
    assert got.result == 1200
    assert got.bodies("rows") == list(range(1, 1201)), "nothing of the failed item, nothing twice"
    assert bodies == [
        *((1, n) for n in range(1, failing + 1)),
        *((2, n) for n in range(failing, 1201)),
    ]
    assert got.view.progress is not None
    assert got.view.progress.published == 1200


async def test_a_finished_iteration_is_not_begun_again() -> None:
    begun: list[Any] = []

    def source(after: int | None) -> Pairs:
        begun.append(after)
        return ((n, n) for n in range((after or 0) + 1, 4))

    async def work(ctx: Context) -> list[int]:
        got = [n async for n in ctx.each("rows", source)]
        if ctx.attempt < 3:
            raise OSError("afterwards")
        return got

    got = await played(work, retries=2, backoff=1)
    assert got.result == []
    assert begun == [None]


async def test_an_empty_source_is_finished_too() -> None:
    async def work(ctx: Context) -> list[int]:
        return [n async for n in ctx.each("rows", numbers(0))]

    got = await played(work)
    assert got.result == []
    assert [one.name for one in (await _memory(got))] == ["rows"]


async def _memory(got: Played) -> Any:
    return (await got.hand.store.remembered(got.view.id)).steps


# --- leaving the loop ---------------------------------------------------------------------


async def test_what_a_body_published_before_a_break_leaves_with_the_run() -> None:
    async def work(ctx: Context) -> None:
        async for n in ctx.each("rows", numbers(10)):
            await ctx.publish("rows", n)
            if n == 4:
                break
        await ctx.publish("rows", "after")

    got = await played(work)
    assert got.bodies("rows") == [1, 2, 3, 4, "after"]


async def test_a_failure_after_a_break_leaves_the_open_item_to_be_done_again() -> None:
    async def work(ctx: Context) -> None:
        async for n in ctx.each("rows", numbers(10)):
            await ctx.publish("rows", [ctx.attempt, n])
            if n == 4:
                break
        if ctx.attempt == 1:
            raise OSError("again")

    got = await played(work, retries=1, backoff=1)
    assert got.bodies("rows") == [[1, 1], [1, 2], [1, 3], [2, 4]]


async def test_a_second_loop_over_an_iteration_that_was_left_open_is_refused() -> None:
    async def work(ctx: Context) -> None:
        for _ in range(2):
            async for n in ctx.each("rows", numbers(10)):
                await ctx.publish("rows", n)
                if n == 4:
                    break

    got = await played(work, retries=0)
    assert got.stands == ("failed", 1)
    assert "Refused" in got.error
    assert "'rows'" in got.error
    assert got.bodies("rows") == [1, 2, 3]


# --- nesting and waiting ------------------------------------------------------------------


async def test_messages_of_nested_iterations_leave_with_the_item_they_belong_to() -> None:
    async def work(ctx: Context) -> None:
        async for n in ctx.each("outer", numbers(3)):
            await ctx.publish("out", f"{n} begins")
            async for m in ctx.each(f"inner {n}", numbers(2)):
                await ctx.publish("out", f"{n}.{m}")
                if (n, m, ctx.attempt) == (2, 2, 1):
                    raise OSError("in the middle")
            await ctx.publish("out", f"{n} ends")

    got = await played(work, retries=1, backoff=1)
    said = got.bodies("out")
    assert sorted(said) == sorted(
        one for n in (1, 2, 3) for one in (f"{n} begins", f"{n}.1", f"{n}.2", f"{n} ends")
    ), "each once"
    for n in (1, 2, 3):
        assert said.index(f"{n} begins") < said.index(f"{n} ends")
        assert said.index(f"{n}.1") < said.index(f"{n}.2")
        assert said.index(f"{n}.2") < said.index(f"{n} ends"), "a part before its whole"


async def test_steps_sleeps_and_effects_may_stand_in_an_item() -> None:
    sent: list[str] = []

    async def send(what: int) -> None:
        sent.append(f"sent {what}")

    async def one(n: int) -> int:
        sent.append(f"step {n}")
        return n

    async def work(ctx: Context) -> None:
        async for n in ctx.each("rows", numbers(2)):
            await ctx.step(f"step {n}", one, n)
            await ctx.sleep(f"nap {n}", 60)
            await ctx.effect(f"mail{n}", send, n)
            await ctx.publish("rows", n)

    got = await played(work)
    assert got.stands == ("succeeded", 0)
    assert sent == ["step 1", "sent 1", "step 2", "sent 2"]
    assert got.bodies("rows") == [1, 2]


# --- chunks -------------------------------------------------------------------------------

CHUNKS = {
    "so many items": (1300, "n", 0.0, 3 + 1),
    "so many bytes": (8, "x" * 600_000, 0.0, 4 + 1),
    "so many seconds": (8, "n", 0.1, 3 + 1),
    "few": (8, "n", 0.0, 1),
}


@pytest.mark.parametrize("case", CHUNKS)
def test_a_chunk_is_confirmed_after(case: str) -> None:
    items, body, pause_s, at_most = CHUNKS[case]

    @in_time
    async def check(bench: Bench) -> None:
        app = Duly("memory://")

        @app.task
        async def work(ctx: Context) -> None:
            async for _ in ctx.each("rows", slowly(items)):
                await ctx.publish("rows", body)
                if pause_s:
                    await lasts(pause_s)

        _, store = await bench.start(app)
        view = await bench.ended(await bench.ask("work"))
        assert view.state.value == "succeeded", view.error
        assert at_most - 1 <= store.sent.count("keep") <= at_most
        assert len(bench.tables.outbox) == items

    check()
    assert items


@in_time
async def test_a_hand_back_keeps_what_was_finished(bench: Bench) -> None:
    app, seen = Duly("memory://"), []

    @app.task
    async def work(ctx: Context) -> None:
        async for n in ctx.each("rows", slowly(20)):
            seen.append(n)
            await ctx.publish("rows", n)
            await lasts(1)

    engine, _ = await bench.start(app)
    run = await bench.ask("work")
    await bench.past(10.5)
    await engine.stop(grace=timedelta(seconds=0))
    cut = seen[-1]
    assert await bench.state(run) == "ready"
    assert [int(one.body) for one in bench.tables.outbox.values()] == list(range(1, cut))
    await bench.start(app)
    assert (await bench.ended(run)).state.value == "succeeded"
    assert [int(one.body) for one in bench.tables.outbox.values()] == list(range(1, 21))
    assert seen == [*range(1, cut + 1), *range(cut, 21)]


# --- sources that are wrong ---------------------------------------------------------------


def of(*pairs: Any) -> Callable[[Any], Any]:
    return lambda after: iter(pairs)


WRONG: dict[str, tuple[Callable[[Any], Any], str]] = {
    "keys that repeat": (of((1, 1), (1, 2)), "increase strictly, got 1 after 1"),
    "keys that fall": (of((2, 1), (1, 2)), "increase strictly, got 1 after 2"),
    "keys of two types": (of((1, 1), ("b", 2)), "of one kind with 1"),
    "a key that is nothing": (of((None, 1)), "an int, a str, a float, or a list"),
    "a key that is a truth": (of((True, 1)), "an int, a str, a float, or a list"),
    "a key that is an object": (of((object(), 1)), "an int, a str, a float, or a list"),
    "items without keys": (of(1, 2), "pairs (key, item), got 1"),
    "triples": (of((1, 2, 3)), "pairs (key, item)"),
    "no iterator": (lambda after: 7, "an async iterator, or an iterator"),
}


@pytest.mark.parametrize("case", WRONG)
async def test_a_source_that_is_wrong_is_told_at_once(case: str) -> None:
    source, told = WRONG[case]

    async def work(ctx: Context) -> None:
        async for _ in ctx.each("rows", source):
            await ctx.publish("rows", 1)

    got = await played(work, retries=5)
    assert got.stands == ("failed", 1)
    assert "InvalidValue" in got.error
    assert told in got.error


GROWING = {
    "numbers": (of((1, 0), (2, 0)), 2),
    "texts": (of(("a", 0), ("b", 0)), "b"),
    "floats": (of((0.5, 0), (1.5, 0)), 1.5),
    "lists": (of(([1, "b"], 0), ([2, "a"], 0)), [2, "a"]),
    "tuples": (of((("a", 1), 0), (("a", 2), 0)), ["a", 2]),
}


@pytest.mark.parametrize("case", GROWING)
async def test_the_key_it_goes_on_behind_is_the_last_one(case: str) -> None:
    source, last = GROWING[case]
    afters: list[Any] = []

    def noted(after: Any) -> Any:
        afters.append(after)
        return source(after) if after is None else iter(())

    async def work(ctx: Context) -> None:
        async for _ in ctx.each("rows", noted):
            await ctx.publish("rows", 1)
        if ctx.attempt == 1:
            raise OSError("again")

    assert (await played(work, retries=1, backoff=1)).stands == ("succeeded", 1)
    assert afters == [None]
    afters.clear()

    def and_fails(after: Any) -> Any:
        yield from noted(after)
        if after is None:
            raise OSError("the source went away")

    async def one_by_one(ctx: Context) -> None:
        async for _ in ctx.each("rows", lambda after: _async(and_fails(after))):
            await ctx.publish("rows", 1)

    got = await played(one_by_one, retries=1, backoff=1)
    assert got.stands == ("succeeded", 1)
    assert afters == [None, last]
    assert got.bodies("rows") == [1, 1]


async def _async(pairs: Any) -> AsyncIterator[Any]:
    for pair in pairs:
        yield pair
