"""Runs that runs start: written once, with the note that started them, and awaited to the end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from uuid import UUID

import msgspec
import pytest

from duly.core.runs import Answer, Claimed, Ending, NewRun, Origin
from duly.core.states import RunVerb
from duly.core.steps import of_run
from tests.stores.world import MINUTE, World, awaits, note

Way = Callable[[World, UUID, Claimed], Awaitable[object]]


def child_of(world: World, run: Claimed, **how: object) -> NewRun:
    return msgspec.structs.replace(world.new(), parent=run.id, origin=Origin.CHILD, **how)


async def test_children_are_started_once_in_the_commit_of_the_note(world: World) -> None:
    boot, run = await world.held()
    child, keyed = child_of(world, run), child_of(world, run, key="k")
    kept = [note(run, "spawn", runs=(child, keyed))]
    assert await world.twice(world.store.keep, boot, kept, now=world.now) == (
        [Answer.DONE],
        [Answer.DONE],
    )
    view = await world.view(child.id)
    assert (view.parent, view.origin, view.state) == (run.id, Origin.CHILD, "ready")
    claimed = await world.claim(boot)
    assert [(one.id, one.parent) for one in claimed] == [(child.id, run.id), (keyed.id, run.id)]
    await world.complete(boot, claimed[0])
    await world.store.keep(boot, kept, now=world.now)
    assert await world.state(child.id) == "succeeded"


async def test_a_child_with_a_taken_key_joins_that_run(world: World) -> None:
    other = await world.enqueue(key="k")
    boot = await world.boot()
    run = await world.enqueue()
    held = next(one for one in await world.claim(boot) if one.id == run)
    child = child_of(world, held, key="k")
    await world.keep(boot, held, runs=(child,))
    assert await world.store.run(child.id) is None
    assert await world.state(other) == "running"


async def completed(world: World, boot: UUID, child: Claimed) -> None:
    [answer] = await world.store.end(
        boot,
        [Ending(run=child.id, epoch=child.epoch, verb=RunVerb.COMPLETE, parent=child.parent)],
        now=world.now,
    )
    assert answer is Answer.DONE


async def failed(world: World, boot: UUID, child: Claimed) -> None:
    assert await world.end(boot, child, RunVerb.FAIL, parent=child.parent) is Answer.DONE


async def cancelled_by_its_holder(world: World, boot: UUID, child: Claimed) -> None:
    await world.store.cancel(child.id, by="bob", reason="no", now=world.now)
    await world.end(boot, child, RunVerb.RETRY, parent=child.parent)


async def cancelled_when_its_holder_died(world: World, boot: UUID, child: Claimed) -> None:
    await world.store.cancel(child.id, by="bob", reason="no", now=world.now)
    await world.die(boot)


async def cancelled_when_its_holder_left(world: World, boot: UUID, child: Claimed) -> None:
    await world.store.cancel(child.id, by="bob", reason="no", now=world.now)
    await world.store.leave(boot, now=world.now)


async def cancelled_when_its_claim_was_lost(world: World, boot: UUID, child: Claimed) -> None:
    await world.store.cancel(child.id, by="bob", reason="no", now=world.now)
    await world.store.renew(boot, [], [], now=world.now)


async def cancelled_while_ready(world: World, boot: UUID, child: Claimed) -> None:
    await world.end(boot, child, RunVerb.RELEASE)
    await world.store.cancel(child.id, by="bob", reason="no", now=world.now)


@pytest.mark.parametrize(
    "way",
    [
        completed,
        failed,
        cancelled_by_its_holder,
        cancelled_when_its_holder_died,
        cancelled_when_its_holder_left,
        cancelled_when_its_claim_was_lost,
        cancelled_while_ready,
    ],
)
async def test_every_end_of_a_child_wakes_who_awaits_it(world: World, way: Way) -> None:
    boot, run = await world.held()
    await world.child(run.id)
    other = await world.boot()
    [child] = await world.claim(other)
    await world.wait(boot, run, *awaits(of_run(child.id)))
    assert await world.state(run.id) == "waiting"
    await way(world, other, child)
    assert await world.state(run.id) == "ready"


async def test_a_child_that_never_started_in_time_wakes_who_awaits_it(world: World) -> None:
    boot, run = await world.held()
    child = await world.child(run.id, expires_at=world.now + MINUTE)
    await world.wait(boot, run, *awaits(of_run(child)))
    assert await world.store.expire(now=world.turn(MINUTE)) == 1
    assert await world.state(run.id) == "ready"


@pytest.mark.parametrize("verb", [RunVerb.RETRY, RunVerb.WAIT, RunVerb.PARK, RunVerb.RELEASE])
async def test_a_child_that_lives_on_wakes_nobody(world: World, verb: RunVerb) -> None:
    boot, run = await world.held()
    await world.child(run.id)
    [child] = await world.claim(boot)
    await world.wait(boot, run, *awaits(of_run(child.id)))
    await world.end(boot, child, verb, parent=run.id, reason="so")
    assert await world.state(run.id) == "waiting"


async def test_a_child_that_has_ended_or_is_forgotten_is_not_waited_for(world: World) -> None:
    boot, run = await world.held()
    child = await world.child(run.id)
    await world.store.cancel(child, by="bob", reason="no", now=world.now)
    await world.wait(boot, run, *awaits(of_run(child), of_run(world.new_id()), group="all"))
    assert await world.state(run.id) == "ready"


async def test_all_children_are_awaited_as_one_group(world: World) -> None:
    boot, run = await world.held()
    ids = [await world.child(run.id) for _ in range(3)]
    children = await world.claim(boot)
    await world.wait(boot, run, *awaits(*map(of_run, ids), group="all"))
    for child in children:
        assert await world.state(run.id) == "waiting"
        await completed(world, boot, child)
    assert await world.state(run.id) == "ready"


async def test_a_child_and_its_waiting_parent_may_end_in_one_batch(world: World) -> None:
    for order in (1, -1):
        boot, run = await world.held()
        await world.child(run.id)
        [child] = await world.claim(boot)
        wait = awaits(of_run(child.id))
        endings = [
            Ending(run=run.id, epoch=run.epoch, verb=RunVerb.WAIT, awaits=wait),
            Ending(run=child.id, epoch=child.epoch, verb=RunVerb.COMPLETE, parent=run.id),
        ]
        answers = await world.store.end(boot, endings[::order], now=world.now)
        assert answers == [Answer.DONE, Answer.DONE]
        assert await world.state(run.id) == "ready"
        await world.store.cancel(run.id, by="bob", reason="done", now=world.now)
