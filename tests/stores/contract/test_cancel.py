"""Cancelling: at once where nobody works, asked for where somebody does, for ever either way."""

from __future__ import annotations

import pytest

from duly.core.runs import Answer
from duly.core.states import RunVerb
from tests.stores.world import MINUTE, World


async def test_a_live_run_that_nobody_holds_ends_at_once(world: World) -> None:
    ready = await world.enqueue()
    scheduled = await world.enqueue(run_at=world.now + MINUTE)
    await world.enqueue(limit_key="l", limit=1)
    waiting = await world.enqueue(limit_key="l", limit=1)
    for run in (ready, scheduled, waiting):
        assert await world.twice(world.store.cancel, run, by="bob", reason="no", now=world.now) == (
            Answer.DONE,
            Answer.ALREADY,
        )
        view = await world.view(run)
        assert (view.state, view.reason, view.ended_at) == ("cancelled", "bob: no", world.now)
        assert (view.boot, view.epoch) == (None, 0)


@pytest.mark.parametrize("verb", [RunVerb.RETRY, RunVerb.WAIT, RunVerb.PARK])
async def test_a_run_between_attempts_ends_at_once(world: World, verb: RunVerb) -> None:
    boot, run = await world.held()
    await world.end(boot, run, verb, delay_us=1_000_000 if verb is not RunVerb.PARK else None)
    answer = await world.store.cancel(run.id, by="bob", reason="no", now=world.now)
    assert (answer, await world.state(run.id)) == (Answer.DONE, "cancelled")
    assert len((await world.view(run.id)).attempts) == 1


async def test_the_holder_is_asked(world: World) -> None:
    boot, run = await world.held()
    assert await world.twice(world.store.cancel, run.id, by="bob", reason="no", now=world.now) == (
        Answer.REQUESTED,
        Answer.ALREADY,
    )
    assert (await world.view(run.id)).cancel_requested == "bob: no"
    renewed = await world.store.renew(boot, [(run.id, run.epoch)], [], now=world.now)
    assert renewed.cancels == ((run.id, "bob: no"),)


@pytest.mark.parametrize("verb", [RunVerb.RETRY, RunVerb.WAIT, RunVerb.RELEASE, RunVerb.PARK])
async def test_an_ending_that_would_live_on_ends_as_cancelled(world: World, verb: RunVerb) -> None:
    boot, run = await world.held()
    await world.store.cancel(run.id, by="bob", reason="no", now=world.now)
    assert await world.twice(world.end, boot, run, verb, delay_us=0, error="boom") == (
        Answer.DONE,
        Answer.ALREADY,
    )
    view = await world.view(run.id)
    assert (view.state, view.reason, view.error) == ("cancelled", "bob: no", None)


async def test_work_that_finished_in_spite_of_it_counts(world: World) -> None:
    for verb, state in ((RunVerb.COMPLETE, "succeeded"), (RunVerb.FAIL, "failed")):
        boot, run = await world.held()
        await world.store.cancel(run.id, by="bob", reason="no", now=world.now)
        assert await world.end(boot, run, verb) is Answer.DONE
        assert await world.state(run.id) == state


@pytest.mark.parametrize("how", ["take over", "leave", "renew"])
async def test_a_cancelled_run_does_not_survive_its_holder(world: World, how: str) -> None:
    boot, run = await world.held()
    await world.store.cancel(run.id, by="bob", reason="no", now=world.now)
    if how == "take over":
        assert (await world.die(boot)).cancelled == (run.id,)
    elif how == "leave":
        assert await world.store.leave(boot, now=world.now) == 1
    else:
        assert (await world.store.renew(boot, [], [], now=world.now)).released == 1
    view = await world.view(run.id)
    assert (view.state, view.reason, view.boot) == ("cancelled", "bob: no", boot)


async def test_what_has_ended_cannot_be_cancelled(world: World) -> None:
    for verb in (RunVerb.COMPLETE, RunVerb.FAIL):
        boot, run = await world.held()
        await world.end(boot, run, verb)
        answer = await world.store.cancel(run.id, by="bob", reason="no", now=world.now)
        assert answer is Answer.IMPOSSIBLE
    unknown = await world.store.cancel(world.new_id(), by="bob", reason="no", now=world.now)
    assert unknown is Answer.UNKNOWN
