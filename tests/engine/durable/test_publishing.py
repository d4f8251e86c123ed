"""Publishing: a message leaves with what it belongs to, or not at all; what cannot is refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from duly import Context, Duly
from duly.app.binding import checks
from duly.testing import VirtualClock
from tests.engine.bench import Bench, in_time
from tests.engine.durable.played import played


async def test_what_is_published_outside_of_steps_leaves_only_when_the_run_completes() -> None:
    async def work(ctx: Context) -> None:
        await ctx.publish("topic", ["before", ctx.attempt])
        await ctx.sleep("nap", "1s")
        await ctx.publish("topic", ["behind", ctx.attempt])
        if ctx.failures == 0:
            raise OSError("again")

    got = await played(work, retries=1, backoff=1)
    assert got.bodies("topic") == [["before", 3], ["behind", 3]]


ENDINGS = ("fails", "is cancelled", "fails for good")


@pytest.mark.parametrize("how", ENDINGS)
async def test_a_run_that_does_not_complete_publishes_nothing_outside_of_steps(how: str) -> None:
    async def work(ctx: Context) -> None:
        await ctx.publish("topic", 1)
        if how == "is cancelled":
            await ctx.sleep("nap", "10d")
        raise OSError(how)

    got = await played(work, retries=0)
    assert got.bodies("topic") == []


async def test_a_step_that_fails_leaves_nothing_that_it_published() -> None:
    async def work(ctx: Context) -> None:
        async def one() -> None:
            await ctx.publish("topic", ctx.attempt)
            if ctx.attempt == 1:
                raise OSError("after publishing")
            await ctx.publish("topic", "done")

        await ctx.step("one", one)
        if ctx.attempt == 2:
            raise OSError("behind the step")

    got = await played(work, retries=2, backoff=1)
    assert got.bodies("topic") == [2, "done"]


async def test_a_message_has_the_id_that_was_returned_and_its_key_and_run() -> None:
    async def work(ctx: Context) -> str:
        return str(await ctx.publish("topic", {"n": 1}, key="k"))

    got = await played(work)
    [message] = got.published
    assert str(message.id) == got.result
    assert (message.key, message.run, message.body) == ("k", got.view.id, b'{"n":1}')


class Order(msgspec.Struct):
    id: int


UNFIT: dict[str, tuple[Any, str]] = {
    "an object": (lambda ctx: ctx.publish("topic", object()), "JSON can carry"),
    "too much": (lambda ctx: ctx.publish("topic", "x" * 1024 * 1024), "1,048,576 bytes"),
    "a topic that is no name": (lambda ctx: ctx.publish("a topic", 1), "a topic"),
}


@pytest.mark.parametrize("case", UNFIT)
async def test_a_message_that_cannot_travel_is_refused_at_once(case: str) -> None:
    publish, told = UNFIT[case]

    async def work(ctx: Context) -> None:
        await publish(ctx)

    got = await played(work, retries=5)
    assert got.stands == ("failed", 1)
    assert told in got.error


BOUNDS = {
    "messages": (10_000, "x", ("succeeded", 0)),
    "one message more": (10_001, "x", ("failed", 1)),
    "bytes": (16, "x" * (1024 * 1024 - 2), ("succeeded", 0)),
    "a message more": (17, "x" * (1024 * 1024 - 2), ("failed", 1)),
}


@pytest.mark.parametrize("case", BOUNDS)
async def test_a_step_publishes_no_more_than_one_commit_can_hold(case: str) -> None:
    count, body, stands = BOUNDS[case]

    async def work(ctx: Context) -> None:
        async def many() -> None:
            for _ in range(count):
                await ctx.publish("topic", body)

        await ctx.step("many", many)

    got = await played(work, retries=5)
    assert got.stands == stands
    assert ("ctx.each" in got.error) == (stands[0] == "failed")
    assert len(got.published) == (count if stands[0] == "succeeded" else 0)


async def test_an_iteration_publishes_more_than_any_step_may() -> None:
    def source(after: int | None) -> Iterator[tuple[int, int]]:
        return ((n, n) for n in range((after or 0) + 1, 12_001))

    async def work(ctx: Context) -> None:
        async for n in ctx.each("rows", source):
            await ctx.publish("topic", n)

    got = await played(work)
    assert len(got.published) == 12_000


BOUND: dict[str, tuple[Any, str, str]] = {
    "a topic that is not bound": (lambda ctx: ctx.publish("oders", {"id": 1}),
                                  "UnknownName", "did you mean 'orders'?"),
    "a body that does not fit": (lambda ctx: ctx.publish("orders", {"id": "x"}),
                                 "InvalidValue", "expected arguments of take"),
    "a body that is no object": (lambda ctx: ctx.publish("orders", [1]),
                                 "InvalidValue", "a parameter called message; got [1]"),
    "a whole that does not fit": (lambda ctx: ctx.publish("whole", "x"),
                                  "InvalidValue", "expected arguments of swallow"),
    "what fits": (lambda ctx: ctx.publish("orders", Order(id=1)), "", ""),
    "a whole that fits": (lambda ctx: ctx.publish("whole", {"a": 1}), "", ""),
}  # fmt: skip


@pytest.mark.parametrize("case", BOUND)
def test_what_is_published_fits_where_its_topic_goes(case: str) -> None:
    publish, kind, told = BOUND[case]

    @in_time
    async def check(bench: Bench) -> None:
        app = Duly("memory://", clock=VirtualClock())

        @app.task
        async def take(id: int) -> None: ...

        @app.task
        async def swallow(message: dict[str, int]) -> None: ...

        app.bind("orders", to=take)
        app.bind("whole", to=swallow)

        @app.task(retries=5)
        async def work(ctx: Context) -> None:
            await publish(ctx)

        await bench.start(app, topics=checks(app))
        view = await bench.ended(await bench.ask("work"))
        assert kind in (view.error or "")
        assert told in (view.error or "")
        assert view.failures == (1 if kind else 0), "no retry mends it"
        assert len(bench.tables.outbox) == (0 if kind else 1)

    check()
    assert case
