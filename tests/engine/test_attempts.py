"""Attempts: whatever user code does, it ends as data, and as the truth about what happened."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta
from typing import Any

import pytest

from duly import Context, Duly, InvalidValue, UsageError, events
from duly.core.rules import MAX_PAYLOAD
from duly.engine import Engine
from tests.engine.bench import Bench, in_time, lasts


def one_task(fn: Any, **options: Any) -> Duly:
    app = Duly()
    app.task(name="work", **options)(fn)
    return app


async def ended(bench: Bench, app: Duly, **how: Any) -> Any:
    await bench.start(app, **how)
    run = await bench.ask("work")
    await bench.until(lambda: run in bench.tables.ended, within_s=3600)
    bench.assert_sound()
    return await bench.view(run)


async def too_large() -> str:
    return "x" * MAX_PAYLOAD


async def not_json() -> object:
    return object()


async def broken() -> None:
    raise OSError("disk")


async def misused() -> None:
    raise UsageError("no such thing")


async def exits() -> None:
    raise SystemExit(3)


async def fine() -> dict[str, int]:
    return {"n": 1}


async def lingers() -> None:
    await lasts(500)


ENDS = {
    "a result": (fine, {}, ("succeeded", 0, "")),
    "a result that is too large": (too_large, {}, ("failed", 1, "1,048,576 bytes")),
    "a result that is no JSON": (not_json, {}, ("failed", 1, "kept as JSON")),
    "a failure with a budget": (broken, {"retries": 2}, ("failed", 3, "disk")),
    "a mistake, which no retry mends": (misused, {"retries": 5}, ("failed", 1, "no such")),
    "an exit, which ends the task only": (exits, {"retries": 0}, ("failed", 1, "SystemExit")),
    "a timeout": (lingers, {"retries": 1, "timeout": "5s"}, ("failed", 2, "timeout of 0:00:05")),
}


@pytest.mark.parametrize("case", ENDS)
def test_an_attempt_ends_as(case: str) -> None:
    fn, options, (state, failures, error) = ENDS[case]

    @in_time
    async def check(bench: Bench) -> None:
        view = await ended(bench, one_task(fn, **options))
        assert (view.state.value, view.failures) == (state, failures)
        assert error in (view.error or "")

    check()
    assert state


@in_time
async def test_arguments_that_do_not_fit_are_not_retried(bench: Bench) -> None:
    async def work(n: int) -> int:
        return n

    await bench.start(one_task(work, retries=5))
    run = await bench.ask("work", args=b'{"n": "three"}')
    await bench.until(lambda: run in bench.tables.ended)
    view = await bench.view(run)
    assert (view.state.value, view.failures) == ("failed", 1)
    assert InvalidValue.__name__ in (view.error or "")


@in_time
async def test_work_that_is_stopped_before_its_first_step_still_ends(bench: Bench) -> None:
    engine, _ = await bench.start(one_task(lingers), slots=1)

    def stop_at_once(holding: Any) -> None:
        asyncio.get_running_loop().call_soon(engine.attempts.stop, holding, "x: changed my mind")

    engine.attempts.started = stop_at_once
    run = await bench.ask("work")
    await bench.until(lambda: run in bench.tables.ended, within_s=20)
    assert await bench.state(run) == "cancelled"
    engine.attempts.started = lambda holding: None
    other = await bench.ask("work")
    await bench.until(lambda: other in bench.tables.held)
    assert engine.attempts.coroutines == 1, "the slot is free again"


@in_time
async def test_a_run_that_was_claimed_ahead_begins_in_its_time(bench: Bench) -> None:
    began: list[float] = []

    async def work() -> None:
        began.append(asyncio.get_running_loop().time())

    engine, _ = await bench.start(one_task(work))
    now = asyncio.get_running_loop().time()
    run = await bench.ask("work", run_at=bench.clock.now() + timedelta(seconds=5))
    await bench.until(lambda: run in bench.tables.held)
    early = asyncio.get_running_loop().time()
    assert not began and [one.claimed.id for one in engine.attempts.unstarted] == [run]
    await bench.until(lambda: run in bench.tables.ended)
    assert early < now + 5 <= began[0] < now + 5.01


@in_time
async def test_runs_that_are_due_later_cost_no_look_and_few_statements(bench: Bench) -> None:
    _, store = await bench.start(one_task(fine))
    await bench.ask("work")
    before = list(store.sent)
    now = bench.clock.now()
    for tenth in range(20):
        last = await bench.ask("work", run_at=now + timedelta(seconds=5 + tenth / 100))
    assert store.sent == before, "each was heard of, with its time"
    await bench.until(lambda: last in bench.tables.ended)
    spent = store.sent[len(before) :]
    assert spent.count("promote") <= 5, "those that are due soon after another go with it"


@in_time
async def test_a_run_that_was_claimed_ahead_is_handed_back_at_a_stop(bench: Bench) -> None:
    engine, _ = await bench.start(one_task(broken))
    run = await bench.ask("work", run_at=bench.clock.now() + timedelta(seconds=5))
    await bench.until(lambda: run in bench.tables.held)
    await engine.stop()
    assert await bench.state(run) == "ready"
    assert [one.outcome for one in (await bench.view(run)).attempts] == ["release"]


@in_time
async def test_work_that_somebody_else_cancels_before_its_first_step_is_given_back(
    bench: Bench,
) -> None:
    engine, _ = await bench.start(one_task(fine), slots=1)

    def cancel_at_once(holding: Any) -> None:
        asyncio.get_running_loop().call_soon(lambda: holding.handle.cancel())

    engine.attempts.started = cancel_at_once
    run = await bench.ask("work")
    await bench.until(lambda: run in bench.tables.held)
    engine.attempts.started = lambda holding: None
    await bench.until(lambda: run in bench.tables.ended, within_s=120)
    assert await bench.state(run) == "succeeded"


@in_time
async def test_a_cancel_reaches_a_coroutine_at_once(bench: Bench) -> None:
    engine, _ = await bench.start(one_task(lingers))
    run = await bench.ask("work")
    await bench.until(lambda: run in bench.tables.held)
    began = bench.loop.time()
    await bench.client.cancel(run, by="ann", reason="wrong day")
    await bench.until(lambda: run in bench.tables.ended)
    assert bench.loop.time() - began < 0.5
    view = await bench.view(run)
    assert (view.state.value, view.reason) == ("cancelled", "ann: wrong day")
    assert bench.keepers[0].hurried == 1
    assert len(engine.hands) == 0


# --- stopping -----------------------------------------------------------------------------


@in_time
async def test_a_stop_hands_back_what_waits_and_lets_work_end(bench: Bench) -> None:
    async def work() -> None:
        await lasts(8)

    engine, _ = await bench.start(one_task(work), slots=3)
    engine.attempts._slots = 1  # as if two had been claimed ahead
    runs = [await bench.ask("work") for _ in range(3)]
    await bench.until(lambda: all(run in bench.tables.held for run in runs))
    stopping = asyncio.ensure_future(engine.stop(grace=timedelta(seconds=30)))
    await bench.past(0.5)
    assert [await bench.state(run) for run in runs] == ["running", "ready", "ready"]
    await stopping
    assert [await bench.state(run) for run in runs] == ["succeeded", "ready", "ready"]
    assert bench.loop.time() < 12
    assert (await bench.view(runs[1])).deaths == 0


@in_time
async def test_a_stop_cancels_and_hands_back_what_outlasts_the_grace(bench: Bench) -> None:
    engine, _ = await bench.start(one_task(lingers))
    run = await bench.ask("work")
    await bench.until(lambda: run in bench.tables.held)
    await engine.stop(grace=timedelta(seconds=5))
    view = await bench.view(run)
    assert (view.state.value, view.failures, view.deaths) == ("ready", 0, 0)
    assert 5 <= bench.loop.time() < 8
    assert await bench.client.instances() != []
    assert bench.told(events.InstanceStopped)[0].released == 0


@in_time
async def test_a_stop_does_not_wait_for_a_claim_that_nobody_answers(bench: Bench) -> None:
    engine, store = await bench.start(one_task(fine))
    store.after["claim"] = 1_000
    run = await bench.ask("work")
    await bench.until(lambda: run in bench.tables.held)
    began = bench.loop.time()
    await engine.stop(grace=timedelta(seconds=30))
    assert bench.loop.time() - began < 2
    assert await bench.state(run) == "ready"


# --- endings ------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["before", "after"])
def test_an_ending_is_sent_until_it_is_answered(where: str) -> None:
    @in_time
    async def check(bench: Bench) -> None:
        _, store = await bench.start(one_task(fine))
        getattr(store, where)["end"] = 4
        run = await bench.ask("work")
        await bench.until(lambda: bool(bench.told(events.RunCompleted)), within_s=60)
        view = await bench.view(run)
        assert (view.state.value, view.epoch) == ("succeeded", 1)
        bench.assert_sound()

    check()
    assert where


@in_time
async def test_a_run_claimed_again_before_its_ending_was_answered_is_kept(bench: Bench) -> None:
    tries: list[int] = []

    async def work(ctx: Context) -> int:
        tries.append(ctx.attempt)
        if ctx.attempt == 1:
            raise OSError
        await lasts(3)
        return ctx.attempt

    _, store = await bench.start(one_task(work, backoff="0s"))
    store.after["end"] = 4  # about a second, in which the retry is due and claimed here again
    run = await bench.ask("work")
    await bench.until(lambda: run in bench.tables.ended, within_s=30)
    view = await bench.view(run)
    assert (view.state.value, view.epoch) == ("succeeded", 2)
    assert tries == [1, 2]


# --- threads (in real time, which they need; each waits for events only) --------------------


class Threaded:
    """An engine's attempts on the real loop, with endings kept instead of written."""

    def __init__(self, app: Duly, slots: int = 2) -> None:
        import random

        from duly.engine.attempts import Attempts
        from duly.engine.hands import Hands
        from duly.engine.threads import Threads
        from duly.testing import VirtualClock

        self.clock = VirtualClock()
        self.hands, self.threads = Hands(), Threads(slots)
        self.attempts = Attempts(app.tasks, self.clock, self.threads, slots=9, zones={})
        self.endings: asyncio.Queue[Any] = asyncio.Queue()
        self.attempts.ended = lambda holding, ending: self.endings.put_nowait(ending)
        self.chance = random.Random(1)

    def start(self) -> Any:
        from duly.core.runs import Claimed, Origin

        run = Claimed(
            self.clock.new_id(), 1, "work", b"{}", "default", 0, 0, None, None, None, None,
            Origin.CALL, self.clock.now(),
        )  # fmt: skip
        [holding] = self.hands.take(self.clock.new_id(), (run,))
        self.attempts.start(holding)
        return holding


async def test_a_thread_over_its_time_keeps_its_slot_and_is_retried_only_then() -> None:
    may_end = threading.Event()

    def work(ctx: Context) -> None:
        may_end.wait(30)
        ctx.check()

    bench = Threaded(one_task(work, timeout="10ms", retries=3))
    holding = bench.start()
    while holding.cancel is None:  # noqa: ASYNC110 - a timer of ten milliseconds
        await asyncio.sleep(0)
    assert "longer than its timeout" in holding.cancel
    assert bench.endings.empty(), "not retried while the thread might still be doing it"
    assert bench.attempts.threads_taken([]) == 1, "the slot stays taken, even when let go of"
    may_end.set()
    ending = await bench.endings.get()
    assert (ending.verb, "TimeoutError" in ending.error) == ("retry", True)
    assert bench.attempts.threads_taken([]) == 0
    bench.threads.stop()


async def test_a_cancel_reaches_a_thread_at_its_next_check() -> None:
    began, may_check = threading.Event(), threading.Event()

    def work(ctx: Context) -> None:
        began.set()
        may_check.wait(30)
        ctx.check()

    bench = Threaded(one_task(work))
    holding = bench.start()
    await asyncio.to_thread(began.wait, 30)
    bench.attempts.stop(holding, "ann: wrong day")
    may_check.set()
    ending = await bench.endings.get()
    assert (ending.verb, ending.reason) == ("cancel", "ann: wrong day")
    bench.threads.stop()


async def test_a_thread_that_ends_although_it_was_asked_to_stop_has_ended() -> None:
    def work() -> int:
        return 3

    bench = Threaded(one_task(work))
    holding = bench.start()
    bench.attempts.stop(holding, "ann: wrong day")
    ending = await bench.endings.get()
    assert (ending.verb, ending.result) == ("complete", b"3")
    bench.threads.stop()


def test_coroutines_and_threads_have_rooms_of_their_own() -> None:
    app = Duly()

    @app.task
    async def quick() -> None: ...

    @app.task
    def slow() -> None: ...

    @in_time
    async def check(bench: Bench) -> None:
        engine: Engine
        engine, _ = bench.make(app, slots=5, threads=2)
        rooms = {room.tasks: room.free() for room in engine.claiming.rooms}
        assert rooms == {("quick",): 5, ("slow",): 2}

    check()
    assert len(app.tasks) == 2
