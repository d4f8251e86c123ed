"""Endings: the fence, the resend, and where each verb leaves a run."""

from __future__ import annotations

from datetime import timedelta

import pytest

from duly.core.runs import Answer, Ending
from duly.core.states import ENDS, RunState, RunVerb
from tests.stores.world import World

SECOND_US = 1_000_000


@pytest.mark.parametrize(
    ("verb", "state", "failures"),
    [
        (RunVerb.COMPLETE, "succeeded", 0),
        (RunVerb.FAIL, "failed", 1),
        (RunVerb.CANCEL, "cancelled", 0),
        (RunVerb.RETRY, "retrying", 1),
        (RunVerb.WAIT, "waiting", 0),
        (RunVerb.PARK, "parked", 0),
        (RunVerb.RELEASE, "ready", 0),
    ],
)
async def test_a_verb_leaves_the_run_where_the_table_says(
    world: World, verb: RunVerb, state: str, failures: int
) -> None:
    boot, run = await world.held()
    delay = SECOND_US if verb in (RunVerb.RETRY, RunVerb.WAIT) else None
    how = {"result": b"1", "error": "boom", "reason": "so", "delay_us": delay}
    first, second = await world.twice(world.end, boot, run, verb, **how)
    assert (first, second) == (Answer.DONE, Answer.ALREADY)
    view = await world.view(run.id)
    assert (view.state.value, view.failures, view.epoch) == (state, failures, 1)
    if RunState(state) in ENDS:
        assert (view.result, view.error, view.reason) == (b"1", "boom", "so")
        assert (view.boot, view.ended_at) == (boot, world.now)
        assert view.attempts == ()
    else:
        [past] = view.attempts
        detail = "boom" if verb is RunVerb.RETRY else "so"
        assert (past.epoch, past.boot, past.outcome, past.detail) == (1, boot, verb, detail)
        wake = world.now + timedelta(seconds=1) if delay else None
        assert view.wake_at == wake


@pytest.mark.parametrize("verb", [RunVerb.COMPLETE, RunVerb.FAIL, RunVerb.RETRY, RunVerb.RELEASE])
async def test_a_stale_fence_writes_nothing(world: World, verb: RunVerb) -> None:
    old, first = await world.held()
    await world.store.leave(old, now=world.now)
    new = await world.boot()
    [second] = await world.claim(new)
    before = await world.store.snapshot()
    cases = [(old, first.epoch), (old, second.epoch), (new, first.epoch), (new, 99)]
    for boot, epoch in cases:
        ending = Ending(run=first.id, epoch=epoch, verb=verb, delay_us=0)
        [answer] = await world.store.end(boot, [ending], now=world.now)
        released = (boot, epoch, verb) == (old, 1, RunVerb.RELEASE)
        assert answer is (Answer.ALREADY if released else Answer.STALE)
    [unknown] = await world.store.end(
        new, [Ending(run=world.new_id(), epoch=1, verb=verb)], now=world.now
    )
    assert unknown is Answer.STALE
    assert await world.store.snapshot() == before


async def test_another_ending_of_an_ended_attempt_is_stale(world: World) -> None:
    boot, run = await world.held()
    await world.complete(boot, run)
    for verb in (RunVerb.FAIL, RunVerb.RETRY, RunVerb.CANCEL, RunVerb.PARK):
        assert await world.end(boot, run, verb, delay_us=0) is Answer.STALE
    assert await world.state(run.id) == "succeeded"


async def test_a_completion_after_the_run_was_cancelled_away_is_stale(world: World) -> None:
    boot, run = await world.held()
    await world.store.cancel(run.id, by="bob", reason="no", now=world.now)
    await world.die(boot)
    assert await world.end(boot, run, RunVerb.COMPLETE, result=b"1") is Answer.STALE
    assert (await world.view(run.id)).result is None


async def test_a_batch_answers_each_in_order(world: World) -> None:
    for _ in range(3):
        await world.enqueue()
    boot = await world.boot()
    a, b, c = await world.claim(boot)
    endings = [
        Ending(run=b.id, epoch=b.epoch, verb=RunVerb.FAIL),
        Ending(run=a.id, epoch=7, verb=RunVerb.COMPLETE),
        Ending(run=c.id, epoch=c.epoch, verb=RunVerb.RETRY, delay_us=SECOND_US),
        Ending(run=a.id, epoch=a.epoch, verb=RunVerb.COMPLETE, result=b"2"),
    ]
    first = await world.store.end(boot, endings, now=world.now)
    assert first == [Answer.DONE, Answer.STALE, Answer.DONE, Answer.DONE]
    again = await world.store.end(boot, endings, now=world.now)
    assert again == [Answer.ALREADY, Answer.STALE, Answer.ALREADY, Answer.ALREADY]
    assert await world.store.counts() == {"failed": 1, "retrying": 1, "succeeded": 1}


async def test_a_large_batch_of_ends(world: World) -> None:
    await world.store.enqueue([world.new() for _ in range(250)], now=world.now)
    boot = await world.boot()
    runs = await world.claim(boot, limit=250)
    assert await world.complete(boot, *runs) == [Answer.DONE] * 250
    assert await world.complete(boot, *runs) == [Answer.ALREADY] * 250
    assert await world.store.counts() == {"succeeded": 250}


async def test_a_retry_waits_for_its_delay_by_the_stores_clock(world: World) -> None:
    boot, run = await world.held()
    await world.end(boot, run, RunVerb.RETRY, error="boom", delay_us=10 * SECOND_US)
    world.turn(9.999999)
    assert await world.store.promote(now=world.now) == 0
    world.turn(0.000001)
    first, second = await world.twice(world.store.promote, now=world.now)
    assert (first, second) == (1, 0)
    [again] = await world.claim(boot)
    assert (again.id, again.epoch, again.failures) == (run.id, 2, 1)


async def test_a_retry_without_delay_is_due_at_once(world: World) -> None:
    boot, run = await world.held()
    await world.end(boot, run, RunVerb.RETRY, error="boom")
    assert await world.store.promote(now=world.now) == 1
    assert await world.state(run.id) == "ready"


async def test_a_parked_run_never_wakes_by_itself(world: World) -> None:
    boot, run = await world.held()
    await world.end(boot, run, RunVerb.PARK, reason="uncertain", delay_us=1)
    world.turn(100)
    assert await world.store.promote(now=world.now) == 0
    assert await world.state(run.id) == "parked"


async def test_a_parked_run_goes_on_when_someone_says_so(world: World) -> None:
    boot, run = await world.held()
    await world.end(boot, run, RunVerb.PARK, reason="uncertain")
    assert await world.twice(world.store.unpark, run.id, by="bob", now=world.now) == (
        Answer.DONE,
        Answer.ALREADY,
    )
    assert await world.state(run.id) == "ready"


async def test_a_failed_run_is_revived_with_a_new_budget(world: World) -> None:
    boot, run = await world.held()
    await world.end(boot, run, RunVerb.RETRY, error="one", delay_us=0)
    await world.store.promote(now=world.now)
    [run] = await world.claim(boot)
    await world.end(boot, run, RunVerb.FAIL, error="two")
    assert await world.twice(world.store.revive, run.id, by="bob", now=world.now) == (
        Answer.DONE,
        Answer.ALREADY,
    )
    view = await world.view(run.id)
    assert (view.state, view.failures, view.epoch) == ("ready", 0, 2)
    assert [one.detail for one in view.attempts] == ["one", "two"]
    assert await world.end(boot, run, RunVerb.FAIL, error="two") is Answer.ALREADY
    assert await world.end(boot, run, RunVerb.COMPLETE) is Answer.STALE


async def test_unpark_and_revive_say_what_is_impossible(world: World) -> None:
    boot, run = await world.held()
    await world.complete(boot, run)
    for verb in (world.store.unpark, world.store.revive):
        assert await verb(run.id, by="bob", now=world.now) is Answer.IMPOSSIBLE
        assert await verb(world.new_id(), by="bob", now=world.now) is Answer.UNKNOWN


async def test_released_runs_cost_no_retry(world: World) -> None:
    boot, run = await world.held()
    for _ in range(3):
        await world.end(boot, run, RunVerb.RELEASE, reason="stopping")
        [run] = await world.claim(boot)
    assert (run.failures, run.deaths, run.epoch) == (0, 0, 4)
