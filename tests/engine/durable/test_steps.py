"""Steps: done once in a run, whatever becomes of its attempts, and read back as they returned."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

import msgspec
import pytest

from duly import Context, Duly
from duly.core.states import RunState
from duly.core.steps import Event
from duly.testing import turned
from tests.engine.durable.played import played


async def test_a_finished_step_is_not_done_again_by_any_later_attempt() -> None:
    done: list[str] = []

    async def work(ctx: Context) -> list[int]:
        async def one(n: int) -> int:
            done.append(f"one {ctx.attempt}")
            return n + 1

        async def two(n: int, *, by: int) -> int:
            done.append(f"two {ctx.attempt}")
            if ctx.attempt < 3:
                raise OSError("not yet")
            return n * by

        first = await ctx.step("one", one, 1)
        return [first, await ctx.step("two", two, first, by=5)]

    got = await played(work, retries=3, backoff=1)
    assert got.result == [2, 10]
    assert done == ["one 1", "two 1", "two 2", "two 3"]


async def test_steps_in_parallel_are_each_remembered_by_themselves() -> None:
    done: list[str] = []

    async def work(ctx: Context) -> list[str]:
        async def part(name: str) -> str:
            done.append(f"{name}{ctx.attempt}")
            if name == "b" and ctx.attempt == 1:
                raise OSError("b was not there")
            return name.upper()

        names = "abc"
        return list(await asyncio.gather(*(ctx.step(n, part, n) for n in names)))

    got = await played(work, retries=1, backoff=1)
    assert got.result == ["A", "B", "C"]
    assert sorted(done) == ["a1", "b1", "b2", "c1"]


# --- results ------------------------------------------------------------------------------


@dataclass
class Point:
    x: int
    when: datetime


class Row(msgspec.Struct):
    name: str
    tags: frozenset[str] = frozenset()


class Colour(StrEnum):
    RED = "red"


NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def a_dataclass() -> Point:
    return Point(1, NOON)


def a_struct() -> Row:
    return Row("a", frozenset({"t"}))


def structs() -> list[Row]:
    return [Row("a"), Row("b")]


def a_tuple() -> tuple[int, str]:
    return (1, "a")


def an_instant() -> datetime:
    return NOON


def a_sum() -> Decimal:
    return Decimal("1.10")


def days() -> dict[str, date]:
    return {"a": date(2026, 11, 22)}


def an_enum() -> Colour:
    return Colour.RED


def its_text() -> Colour:
    return "red"  # type: ignore[return-value]


def a_text_of_an_instant() -> datetime:
    return NOON.isoformat()  # type: ignore[return-value]


def an_int_for_a_float() -> float:
    return 1


def nothing() -> None:
    return None


def bytes_of() -> bytes:
    return b"\x00\xff"


def unannotated_tuple():  # type: ignore[no-untyped-def]
    return (1, 2)


def unannotated_dataclass():  # type: ignore[no-untyped-def]
    return Point(1, NOON)


def not_a_number():  # type: ignore[no-untyped-def]
    return float("nan")


def some_int() -> int | None:
    return 3


RESULTS: list[tuple[Callable[[], Any], type]] = [
    (a_dataclass, Point), (a_struct, Row), (structs, list), (a_tuple, tuple),
    (an_instant, datetime), (a_sum, Decimal), (days, dict), (an_enum, Colour), (its_text, Colour),
    (a_text_of_an_instant, datetime), (an_int_for_a_float, float), (nothing, type(None)),
    (bytes_of, bytes), (unannotated_tuple, list), (unannotated_dataclass, dict),
    (not_a_number, type(None)), (some_int, int),
]  # fmt: skip


@pytest.mark.parametrize(("fn", "kind"), RESULTS)
async def test_a_result_is_the_same_when_made_and_when_remembered(
    fn: Callable[[], Any], kind: type
) -> None:
    seen: list[Any] = []

    async def work(ctx: Context) -> None:
        seen.append(await ctx.step("one", fn))
        if ctx.attempt == 1:
            raise OSError("again")

    got = await played(work, retries=1, backoff=1)
    assert got.stands == ("succeeded", 1)
    made, remembered = seen
    assert made == remembered
    assert type(made) is type(remembered) is kind


def an_object() -> object:
    return object()


def itself() -> list[Any]:
    ring: list[Any] = []
    ring.append(ring)
    return ring


def half_a_letter() -> str:
    return "\ud800"


def too_much() -> str:
    return "x" * (1024 * 1024)


def a_text_for_a_number() -> int:
    return "three"  # type: ignore[return-value]


def a_list_for_a_number() -> int:
    return [3]  # type: ignore[return-value]


UNFIT: list[tuple[Callable[[], Any], str]] = [
    (an_object, "JSON can carry"), (itself, "JSON can carry"), (half_a_letter, "JSON can carry"),
    (too_much, "1,048,576 bytes"), (a_text_for_a_number, "expected int"),
    (a_list_for_a_number, "expected int"),
]  # fmt: skip


@pytest.mark.parametrize(("fn", "told"), UNFIT)
async def test_a_result_that_cannot_be_kept_fails_at_once_and_says_why(
    fn: Callable[[], Any], told: str
) -> None:
    async def work(ctx: Context) -> None:
        await ctx.step("one", fn)

    got = await played(work, retries=5)
    assert got.stands == ("failed", 1)
    assert "InvalidValue" in got.error
    assert told in got.error
    assert (await got.hand.store.remembered(got.view.id)).steps == ()


# --- mistakes -----------------------------------------------------------------------------


async def quick() -> int:
    return 1


async def none_after(after: Any) -> Any:
    for pair in ():
        yield pair


async def inner_each(ctx: Context) -> None:
    async for _ in ctx.each("rows", none_after):
        raise AssertionError("nothing is there")


async def send() -> None:
    raise AssertionError("it must not be sent")


INSIDE: dict[str, Callable[[Context], Any]] = {
    "a step": lambda ctx: ctx.step("inner", quick),
    "a sleep": lambda ctx: ctx.sleep("nap", "1s"),
    "a wait": lambda ctx: ctx.wait_for("paid"),
    "an approval": lambda ctx: ctx.approve("boss"),
    "an iteration": inner_each,
    "an effect": lambda ctx: ctx.effect("mail", send),
    "a child": lambda ctx: ctx.start("child", "work"),
    "a call": lambda ctx: ctx.call("child", "work"),
    "a map": lambda ctx: ctx.map("children", "work", []),
}


@pytest.mark.parametrize("what", INSIDE)
async def test_inside_a_step_nothing_else_that_is_remembered_can_begin(what: str) -> None:
    async def work(ctx: Context) -> None:
        async def outer() -> None:
            await INSIDE[what](ctx)

        await ctx.step("outer", outer)

    got = await played(work, retries=5)
    assert got.stands == ("failed", 1)
    assert "inside one: a step is done again as a whole" in got.error
    assert "UsageError" in got.error
    assert len(await got.hand.runs()) == 1, "no child was started"


NAMES: list[Any] = ["", "x" * 201, "a\nb", None, 7]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("verb", ["step", "sleep", "wait_for", "approve", "each"])
async def test_a_name_is_checked_wherever_one_is_given(verb: str, name: Any) -> None:
    more = {"step": (quick,), "sleep": ("1s",), "each": (none_after,)}

    async def work(ctx: Context) -> None:
        asked = getattr(ctx, verb)(name, *more.get(verb, ()))
        if verb == "each":
            await anext(asked)
        else:
            await asked

    got = await played(work, retries=5)
    assert got.stands == ("failed", 1)
    assert "1 to 200 printable characters" in got.error


async def test_one_name_is_not_for_two_kinds_of_things() -> None:
    async def work(ctx: Context) -> None:
        await ctx.sleep("one", "1s")
        await ctx.step("one", quick)

    got = await played(work, retries=5)
    assert got.stands[0] == "failed"
    assert "expected a step to have a name of its own" in got.error


async def test_a_name_that_was_another_thing_in_an_earlier_attempt_is_refused() -> None:
    async def work(ctx: Context) -> None:
        if ctx.attempt == 1:
            await ctx.sleep("one", "1s")
        await ctx.step("one", quick)

    got = await played(work, retries=5)
    assert got.stands[0] == "failed"
    assert "is the name of a sleep" in got.error


# --- plain functions ----------------------------------------------------------------------


async def test_a_plain_function_runs_on_a_thread_and_publishes_with_its_step() -> None:
    threads: list[str] = []

    async def work(ctx: Context) -> int:
        loop = asyncio.get_running_loop()

        def plain(n: int) -> int:
            threads.append(threading.current_thread().name)
            asyncio.run_coroutine_threadsafe(ctx.publish("topic", n), loop).result()
            return n * 2

        return await ctx.step("plain", plain, 4)

    got = await played(work)
    assert got.result == 8
    assert threads
    assert threads[0] != threading.current_thread().name


async def test_a_call_that_gives_back_an_awaitable_is_awaited() -> None:
    class Callable_:
        async def __call__(self, n: int) -> int:
            return n + 1

    async def work(ctx: Context) -> list[int]:
        by_object = await ctx.step("object", Callable_(), 1)
        return [by_object, await ctx.step("lambda", lambda: quick())]

    assert (await played(work)).result == [2, 1]


# --- code that changed --------------------------------------------------------------------


async def test_a_result_that_no_longer_fits_parks_the_run_and_a_fork_goes_on() -> None:
    app, done = Duly("memory://"), []
    kinds: list[type] = [int]

    @app.task
    async def work(ctx: Context) -> list[Any]:
        def first() -> int:
            done.append("first")
            return 1

        def second() -> Any:
            done.append("second")
            return 2 if kinds == [int] else {"n": 2}

        second.__annotations__["return"] = int if kinds == [int] else dict[str, int]
        one = await ctx.step("first", first)
        two = await ctx.step("second", second)
        await ctx.wait_for("go")
        return [one, two]

    async with turned(app) as hand:
        handle = await work.enqueue()
        await hand.run_due()
        kinds[:] = [dict]
        await hand.store.emit(Event(name="go"))
        await hand.run_due()
        view = await handle.view()
        assert view.state is RunState.PARKED
        assert (view.reason or "").startswith("code changed: step 'second': expected")
        assert view.failures == 0
        new = hand.clock.new_id()
        await hand.store.fork(handle.id, at="second", new=new, by="ann")
        await hand.run_due()
        forked = await hand.store.run(new)
        assert forked is not None
        assert (forked.state, forked.result) == (RunState.SUCCEEDED, b'[1,{"n":2}]')
        assert done == ["first", "second", "second"]


USED_TWICE: dict[str, Callable[[Context], Any]] = {
    "a step": lambda ctx: ctx.step("x", nothing),
    "a sleep": lambda ctx: ctx.sleep("x", 0),
    "a fan-out": lambda ctx: ctx.map("x", "work", []),
}


async def nothing() -> None: ...


@pytest.mark.parametrize("what", USED_TWICE)
@pytest.mark.parametrize("at_once", [False, True], ids=["in turn", "at once"])
async def test_a_name_that_is_used_twice_is_refused_and_not_answered_by_the_first(
    what: str, at_once: bool
) -> None:
    async def work(ctx: Context) -> None:
        first, second = USED_TWICE[what](ctx), USED_TWICE[what](ctx)
        if at_once:
            await asyncio.gather(first, second)
        else:
            await first
            await second

    seen = await played(work)
    assert seen.stands == ("failed", 1)
    assert f"expected {what} to have a name of its own, got 'x' a second time" in seen.error


async def test_a_step_that_failed_may_be_tried_again_under_its_name() -> None:
    tries: list[int] = []

    async def fails_once() -> int:
        tries.append(1)
        if len(tries) == 1:
            raise ValueError("once")
        return len(tries)

    async def work(ctx: Context) -> int:
        try:
            return await ctx.step("x", fails_once)
        except ValueError:
            return await ctx.step("x", fails_once)

    assert (await played(work)).result == 2
