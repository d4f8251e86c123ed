"""Tasks that are plain functions have the same verbs as coroutines, and the same promises."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import pytest

from duly import Context, Duly, RunState
from duly.sync import Context as SyncContext
from duly.testing import turned


def _verbs(kind: type[Any]) -> dict[str, list[tuple[str, Any]]]:
    return {
        name: [(one.name, one.kind) for one in inspect.signature(value).parameters.values()]
        for name, value in vars(kind).items()
        if inspect.isfunction(value) and not name.startswith("_")
    }


def test_both_faces_have_the_same_verbs_with_the_same_parameters() -> None:
    assert _verbs(Context) == _verbs(SyncContext)
    assert set(_verbs(Context)) >= {"step", "each", "publish", "effect", "sleep", "map", "call"}


def numbers(after: int | None) -> Iterator[tuple[int, int]]:
    for number in range((after or 0) + 1, 1201):
        yield number, number


@pytest.fixture
def app() -> Duly:
    return Duly("memory://", name="plain")


async def test_a_plain_function_remembers_waits_publishes_and_performs(app: Duly) -> None:
    done: list[str] = []

    def act(what: str) -> str:
        done.append(what)
        return what

    @app.task
    def square(n: int) -> int:
        return n * n

    @app.task
    def work(ctx: SyncContext) -> list[Any]:
        first = ctx.step("first", act, "first")
        ctx.sleep("nap", "1h")
        for number in ctx.each("numbers", numbers):
            ctx.publish("numbers", number)
        receipt = ctx.effect("act", act, "effect")
        return [first, ctx.map("squares", square, [{"n": 2}, {"n": 3}]), receipt.value]

    async with turned(app) as hand:
        handle = await work.enqueue()
        await hand.tick("1s")
        assert (await handle.view()).reason == "sleep:nap"
        await hand.tick("2h")
        view = await handle.view()
        assert view.state is RunState.SUCCEEDED, view.error
        assert await handle.result() == ["first", [4, 9], "effect"]
        assert done == ["first", "effect"]
        [out] = await hand.store.outbox()
        assert out.count == 1200
        assert view.progress is not None
        assert (view.progress.published, view.progress.effects) == (1200, 1)


async def test_an_item_that_fails_in_a_thread_leaves_nothing_and_those_before_it_do(
    app: Duly,
) -> None:
    @app.task(retries=1, backoff=0)
    def work(ctx: SyncContext) -> None:
        for number in ctx.each("numbers", numbers):
            ctx.publish("numbers", number)
            if number == 700 and ctx.attempt == 1:
                raise ValueError("the seven hundredth")

    async with turned(app) as hand:
        handle = await work.enqueue()
        await hand.run_due()
        view = await handle.view()
        assert view.progress is not None
        await hand.tick("1m")
        assert (await handle.view()).state is RunState.SUCCEEDED
        [out] = await hand.store.outbox()
        assert out.count == 1200


async def test_inside_a_step_nothing_else_that_is_remembered_may_begin(app: Duly) -> None:
    @app.task(retries=0)
    def work(ctx: SyncContext) -> None:
        ctx.step("outer", lambda: ctx.step("inner", lambda: 1))

    async with turned(app) as hand:
        handle = await work.enqueue()
        await hand.run_due()
        view = await handle.view()
        assert view.state is RunState.FAILED
        assert "expected a step outside of any other step" in (view.error or "")
