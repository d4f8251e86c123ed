"""Children: started once, bounded in the fleet, awaited without a slot; their ends are told."""

from __future__ import annotations

from typing import Any

import pytest

from duly import Context, Duly
from duly.core.runs import RunFilter
from duly.testing import turned
from duly.testing.hand import Hand
from tests.engine.bench import Bench, in_time, lasts


async def parent_of(body: Any, **options: Any) -> tuple[Any, Hand]:
    """Play a parent whose children are squares, or fail when they are asked for 13."""
    app = Duly("memory://")

    @app.task(retries=0)
    async def square(n: int) -> int:
        if n == 13:
            raise ValueError("unlucky")
        return n * n

    @app.task(limit=("one", 1))
    async def limited(n: int) -> int:
        return n

    task = app.task(name="parent", **options)(body)
    async with turned(app) as hand:
        handle = await task.enqueue()
        await hand.tick("1h")
        return await handle.view(), hand


async def children(hand: Hand) -> list[Any]:
    return await hand.store.runs(RunFilter(task="square", limit=1000))


async def test_a_child_is_started_once_and_its_result_comes_back() -> None:
    async def body(ctx: Context) -> list[int]:
        child = await ctx.start("a", "square", 3)
        got = [await child.result(), await ctx.call("b", "square", n=4)]
        if ctx.failures < 2:
            raise OSError("again")
        return got

    view, hand = await parent_of(body, retries=2, backoff=1)
    assert view.result == b"[9,16]"
    found = await children(hand)
    assert [(one.epoch, one.parent) for one in found] == [(1, view.id)] * 2


async def test_a_child_that_nobody_waits_for_goes_on_by_itself() -> None:
    async def body(ctx: Context) -> None:
        await ctx.start("a", "square", 3)
        raise OSError("the parent fails")

    view, hand = await parent_of(body, retries=0)
    assert view.state.value == "failed"
    assert [one.result for one in await children(hand)] == [b"9"]


@pytest.mark.parametrize("count", [0, 1, 7, 60])
async def test_results_of_a_map_come_in_the_order_of_its_calls(count: int) -> None:
    async def body(ctx: Context) -> list[int]:
        got = await ctx.map("all", "square", ({"n": 100 + n} for n in range(count)), at_most=3)
        if ctx.failures == 0:
            raise OSError("again")
        return got

    view, hand = await parent_of(body, retries=1, backoff=1)
    assert view.result == str([(100 + n) ** 2 for n in range(count)]).replace(" ", "").encode()
    assert len(await hand.store.runs(RunFilter(task="square", limit=1000))) == count


@pytest.mark.parametrize("at_most", [1, 2, 5])
def test_no_more_of_a_map_run_at_once_than_was_said(at_most: int) -> None:
    @in_time
    async def check(bench: Bench) -> None:
        app, running, most = Duly("memory://"), [0], [0]

        @app.task
        async def child(n: int) -> int:
            running[0] += 1
            most[0] = max(most[0], running[0])
            await lasts(3 + n % 2)
            running[0] -= 1
            return n

        @app.task
        async def parent(ctx: Context) -> list[int]:
            return await ctx.map("all", child, [{"n": n} for n in range(12)], at_most=at_most)

        for _ in range(2):
            await bench.start(app)
        run = await bench.ask("parent")
        assert (await bench.ended(run)).result == str(list(range(12))).replace(" ", "").encode()
        assert most == [at_most]

    check()
    assert at_most


@in_time
async def test_a_parent_waits_without_a_slot_and_is_woken_when_the_last_has_ended(
    bench: Bench,
) -> None:
    app, tries = Duly("memory://"), []

    @app.task
    async def child(n: int) -> int:
        await lasts(5 * n)
        return n

    @app.task
    async def parent(ctx: Context) -> list[int]:
        tries.append(ctx.attempt)
        return await ctx.map("all", child, [{"n": n} for n in (3, 1, 2)])

    await bench.start(app, slots=1)
    assert (await bench.ended(await bench.ask("parent"))).result == b"[3,1,2]"
    assert tries == [1, 2]
    assert bench.loop.time() < 33


ENDS: dict[str, Any] = {
    "call": lambda ctx: ctx.call("a", "square", 13),
    "map": lambda ctx: ctx.map("all", "square", [{"n": n} for n in (1, 13, 2)]),
}


@pytest.mark.parametrize("verb", ENDS)
async def test_a_child_that_failed_fails_who_waits_for_it(verb: str) -> None:
    async def body(ctx: Context) -> Any:
        return await ENDS[verb](ctx)

    view, hand = await parent_of(body, retries=1, backoff=1)
    assert (view.state.value, view.failures) == ("failed", 2)
    assert "WorkFailed" in view.error
    assert "unlucky" in view.error
    assert len(await children(hand)) == (1 if verb == "call" else 3), "started once, all the same"


async def test_a_child_that_was_cancelled_is_told_as_such() -> None:
    app = Duly("memory://")

    @app.task
    async def child(ctx: Context) -> None:
        await ctx.sleep("nap", "1d")

    @app.task(retries=0)
    async def parent(ctx: Context) -> str:
        one = await ctx.start("a", child)
        try:
            await one.result()
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        return "no"

    async with turned(app) as hand:
        handle = await parent.enqueue()
        await hand.tick("1m")
        [run] = await hand.store.runs(RunFilter(task="child"))
        await hand.client.cancel(run.id, by="ann", reason="no more")
        await hand.tick("1m")
        said = await handle.result()
        assert said.startswith("WorkCancelled: child")
        assert said.endswith("is cancelled: ann: no more")


REFUSED: dict[str, tuple[Any, str]] = {
    "a task with a limit of its own": (
        lambda ctx: ctx.map("all", "limited", [{"n": 1}]), "has a limit of its own (one)"),
    "a task nobody has": (lambda ctx: ctx.call("a", "sqare"), "did you mean 'square'?"),
    "none at once": (lambda ctx: ctx.map("a", "square", [], at_most=0), "at least 1"),
    "arguments that do not fit": (lambda ctx: ctx.call("a", "square", "x"), "square"),
    "an argument too many": (lambda ctx: ctx.start("a", "square", 1, 2), "at most 1 argument"),
    "calls that do not fit": (
        lambda ctx: ctx.map("a", "square", [{"n": 1}, {"m": 1}]), "square"),
    "more than a fan-out has": (
        lambda ctx: ctx.map("a", "square", ({"n": n} for n in range(10_001))), "10,000 calls"),
    "a name without letters": (lambda ctx: ctx.start("", "square", 1), "1 to 200 printable"),
    "a map without a name": (lambda ctx: ctx.map("", "square", []), "1 to 200 printable"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
async def test_what_cannot_be_started_is_refused_before_anything_is(case: str) -> None:
    asked, told = REFUSED[case]

    async def body(ctx: Context) -> None:
        await asked(ctx)

    view, hand = await parent_of(body, retries=5)
    assert (view.state.value, view.failures) == ("failed", 1), view.error
    assert told in view.error
    assert await hand.store.runs(RunFilter(task="square")) == []


async def test_a_name_of_something_else_is_no_name_for_a_child() -> None:
    async def one() -> int:
        return 1

    async def body(ctx: Context) -> None:
        if ctx.attempt == 1:
            await ctx.step("a", one)
            raise OSError("code that changes its mind")
        await ctx.start("a", "square", 1)

    view, _ = await parent_of(body, retries=5)
    assert "is the name of another step" in view.error
