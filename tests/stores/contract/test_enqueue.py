"""Enqueueing: one identity per id, one run per key, and what a taken key answers."""

from __future__ import annotations

import pytest

from duly.core.runs import SUSPECT_QUEUE, Enqueued, Reuse, RunFilter
from duly.core.states import RunState, RunVerb
from duly.stores.base import Retention
from tests.stores.world import DAY, World


async def test_a_known_id_is_not_written_twice(world: World) -> None:
    runs = [world.new(), world.new(priority=3)]
    first, second = await world.twice(world.store.enqueue, runs, now=world.now)
    assert first == second == [Enqueued(one.id, Reuse.NEW) for one in runs]
    assert await world.store.counts() == {"ready": 2}


@pytest.mark.parametrize("by_store", [False, True], ids=["by the test's clock", "by the store's"])
async def test_a_resent_enqueue_does_not_bring_back_a_run_that_moved_on(
    world: World, by_store: bool
) -> None:
    # A store may write a run that is asked for alone, and now, by a statement of its own.
    for moved in ("claimed", "ended"):
        run, boot = world.new(), await world.boot()
        await world.store.enqueue([run], now=None if by_store else world.now)
        claimed = await world.claim(boot)
        if moved == "ended":
            await world.complete(boot, *claimed)
        before = await world.store.snapshot()
        again = await world.store.enqueue([run], now=None if by_store else world.turn(1))
        assert again == [Enqueued(run.id, Reuse.NEW)]
        assert await world.store.snapshot() == before


async def test_a_run_keeps_all_it_was_asked_with(world: World) -> None:
    run = world.new(
        args=b'{"n": 1}', queue="slow", priority=-7, key="k", limit_key="l", limit=2,
        run_at=world.now + DAY, expires_at=world.now + 2 * DAY, parent=world.new_id(),
        asked_by="ann",
    )  # fmt: skip
    await world.store.enqueue([run], now=world.now)
    kept = (await world.store.snapshot())["run"][str(run.id)]
    assert kept["asked"]["args"] == "eyJuIjogMX0="
    view = await world.view(run.id)
    assert (view.queue, view.priority, view.key, view.limit_key) == ("slow", -7, "k", "l")
    assert (view.state, view.wake_at) == (RunState.SCHEDULED, world.now + DAY)
    assert (view.enqueued_at, view.args) == (world.now, b'{"n": 1}')
    assert view.asked_by == "ann"


async def test_an_instant_that_has_passed_is_at_once(world: World) -> None:
    run = await world.enqueue(run_at=world.now)
    assert await world.state(run) == "ready"


async def test_a_key_joins_the_live_run(world: World) -> None:
    run = await world.enqueue(key="k")
    second = world.new(key="k")
    first, again = await world.twice(world.store.enqueue, [second], now=world.now)
    assert first == again == [Enqueued(run, Reuse.JOINED)]
    assert await world.store.run(second.id) is None


async def test_two_of_one_key_in_one_batch_are_one_run(world: World) -> None:
    one, two, other = world.new(key="k"), world.new(key="k"), world.new(task="u", key="k")
    answers = await world.store.enqueue([one, two, other], now=world.now)
    assert answers == [
        Enqueued(one.id, Reuse.NEW),
        Enqueued(one.id, Reuse.JOINED),
        Enqueued(other.id, Reuse.NEW),
    ]


@pytest.mark.parametrize(
    ("verb", "reuse", "state"),
    [
        (RunVerb.COMPLETE, Reuse.RETURNED, "succeeded"),
        (RunVerb.FAIL, Reuse.REVIVED, "ready"),
        (RunVerb.PARK, Reuse.REFUSED, "parked"),
        (RunVerb.RETRY, Reuse.JOINED, "retrying"),
        (RunVerb.WAIT, Reuse.JOINED, "waiting"),
        (RunVerb.RELEASE, Reuse.JOINED, "ready"),
    ],
)
async def test_a_key_answers_by_the_state_of_its_run(
    world: World, verb: RunVerb, reuse: Reuse, state: str
) -> None:
    boot, run = await world.held(key="k")
    delay = 1_000_000 if verb is RunVerb.RETRY else None
    await world.end(boot, run, verb, reason="the mail is uncertain", delay_us=delay)
    [answer] = await world.store.enqueue([world.new(key="k")], now=world.now)
    assert (answer.run, answer.reuse) == (run.id, reuse)
    assert answer.why == ("the mail is uncertain" if reuse is Reuse.REFUSED else "")
    assert await world.state(run.id) == state


async def test_the_key_of_a_cancelled_run_is_free(world: World) -> None:
    run = await world.enqueue(key="k")
    await world.store.cancel(run, by="bob", reason="no", now=world.now)
    fresh = world.new(key="k")
    assert await world.store.enqueue([fresh], now=world.now) == [Enqueued(fresh.id, Reuse.NEW)]
    assert await world.enqueue(key="k") == fresh.id


async def test_a_failed_run_is_revived_by_its_key_with_a_new_budget(world: World) -> None:
    boot, run = await world.held(key="k")
    await world.end(boot, run, RunVerb.FAIL, error="boom")
    await world.enqueue(key="k")
    view = await world.view(run.id)
    assert (view.failures, view.epoch, view.error) == (0, 1, None)
    assert [(one.epoch, one.outcome, one.detail) for one in view.attempts] == [
        (1, RunVerb.FAIL, "boom")
    ]


async def test_a_key_outlives_its_pruned_run_only_if_that_succeeded(world: World) -> None:
    ends = {"good": RunVerb.COMPLETE, "bad": RunVerb.FAIL, "gone": RunVerb.CANCEL}
    runs = {}
    for key, verb in ends.items():
        boot, run = await world.held(key=key)
        await world.end(boot, run, verb)
        runs[key] = run.id
    world.turn(31 * DAY)
    assert (await world.store.prune(Retention(), now=world.now)).runs == 3
    answers = await world.store.enqueue([world.new(key=key) for key in ends], now=world.now)
    assert [one.reuse for one in answers] == [Reuse.RETURNED, Reuse.NEW, Reuse.NEW]
    assert answers[0].run == runs["good"]
    world.turn(400 * DAY)
    assert (await world.store.prune(Retention(), now=world.now)).keys == 1
    [answer] = await world.store.enqueue([world.new(key="good")], now=world.now)
    assert answer.reuse is Reuse.NEW


async def test_listing_is_newest_first_and_filtered(world: World) -> None:
    asked = (("t", "default"), ("u", "default"), ("t", "q"), ("t", "default"))
    runs = [await world.enqueue(task=task, queue=queue) for task, queue in asked]
    cases = [
        (RunFilter(), runs[::-1]),
        (RunFilter(limit=2), runs[:1:-1]),
        (RunFilter(before=runs[2]), [runs[1], runs[0]]),
        (RunFilter(task="u"), [runs[1]]),
        (RunFilter(state=RunState.RUNNING), []),
        (RunFilter(schedule="s"), []),
        (RunFilter(queue="q"), [runs[2]]),
        (RunFilter(queue="default", task="t"), [runs[3], runs[0]]),
        (RunFilter(state=RunState.READY, task="t", limit=1), [runs[3]]),
    ]
    for where, expected in cases:
        assert [one.id for one in await world.store.runs(where)] == expected


async def test_a_large_batch_is_answered_in_order(world: World) -> None:
    runs = [world.new(task="tu"[n % 2], priority=n % 5) for n in range(300)]
    answers = await world.store.enqueue(runs, now=world.now)
    assert [one.run for one in answers] == [one.id for one in runs]
    boot = await world.boot()
    claimed = [one.id for one in await world.claim(boot, limit=300)]
    assert claimed == [r.id for r in sorted(runs, key=lambda r: (-r.priority, r.id))]


async def test_an_empty_batch_is_nothing(world: World) -> None:
    boot = await world.boot()
    assert await world.store.enqueue([], now=world.now) == []
    assert await world.store.end(boot, [], now=world.now) == []
    assert await world.claim(boot, queues=(SUSPECT_QUEUE,)) == []


async def test_an_unknown_run_is_none(world: World) -> None:
    assert await world.store.run(world.new_id()) is None
    assert await world.store.enqueue([world.new()], now=world.now)
