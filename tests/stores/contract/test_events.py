"""What is awaited wakes its runs, whichever came first: the word or the wait."""

from __future__ import annotations

from datetime import timedelta

import pytest

from duly.core.runs import Answer
from duly.core.states import RunVerb
from duly.core.steps import APPROVAL, Await, Event, of_event, of_run
from duly.stores.base import Filled, Retention
from tests.stores.world import DAY, World, awaits

A, B = of_event("a"), of_event("b")
SECOND_US = 1_000_000


async def test_the_first_word_about_a_name_stays(world: World) -> None:
    first = Event(name="paid", body=b"1", by="bob")
    answers = await world.twice(world.store.emit, first, now=world.now)
    assert answers == (Answer.DONE, Answer.ALREADY)
    later = Event(name="paid", body=b"2", by="eve")
    assert await world.store.emit(later, now=world.turn(1)) is Answer.ALREADY
    [kept] = await world.store.happened(["unheard", "paid"])
    assert (kept.name, kept.body, kept.by) == ("paid", b"1", "bob")
    assert kept.at == world.now - timedelta(seconds=1)


async def test_an_event_wakes_who_awaits_it(world: World) -> None:
    boot, run = await world.held()
    how = {"reason": A, "awaits": awaits(A)}
    answers = await world.twice(world.end, boot, run, RunVerb.WAIT, **how)
    assert answers == (Answer.DONE, Answer.ALREADY)
    assert await world.state(run.id) == "waiting"
    await world.emit("other")
    assert await world.state(run.id) == "waiting"
    assert await world.twice(world.emit, "a") == (Answer.DONE, Answer.ALREADY)
    [again] = await world.claim(boot)
    assert (again.id, again.epoch, again.failures) == (run.id, 2, 0)
    assert (await world.store.snapshot())["awaits"] == {}


async def test_an_event_that_came_first_is_not_waited_for(world: World) -> None:
    boot, run = await world.held()
    await world.emit("a")
    answers = await world.twice(world.end, boot, run, RunVerb.WAIT, awaits=awaits(A))
    assert answers == (Answer.DONE, Answer.ALREADY)
    assert await world.state(run.id) == "ready"
    assert (await world.store.snapshot())["awaits"] == {}


async def test_one_event_wakes_all_who_await_it(world: World) -> None:
    boot, one = await world.held()
    other = await world.enqueue()
    [second] = await world.claim(boot)
    for run in (one, second):
        await world.wait(boot, run, *awaits(A))
    await world.emit("a")
    assert [await world.state(run) for run in (one.id, other)] == ["ready", "ready"]


async def test_a_group_is_awaited_as_a_whole(world: World) -> None:
    boot, run = await world.held()
    await world.wait(boot, run, *awaits(A, B, group="both"))
    await world.emit("a")
    assert await world.state(run.id) == "waiting"
    await world.emit("b")
    assert await world.state(run.id) == "ready"


async def test_a_group_may_have_come_about_in_part(world: World) -> None:
    boot, run = await world.held()
    await world.emit("a")
    await world.wait(boot, run, *awaits(A, B, group="both"))
    assert await world.state(run.id) == "waiting"
    assert (await world.store.snapshot())["awaits"] == {str(run.id): [[B, "both"]]}
    await world.emit("b")
    assert await world.state(run.id) == "ready"


@pytest.mark.parametrize("first", ["a", "b"])
async def test_any_of_several_groups_is_enough(world: World, first: str) -> None:
    boot, run = await world.held()
    await world.wait(boot, run, *awaits(A, B))
    await world.emit(first)
    assert await world.state(run.id) == "ready"
    assert (await world.store.snapshot())["awaits"] == {}


async def test_an_event_in_two_groups_counts_in_both(world: World) -> None:
    boot, run = await world.held()
    await world.wait(boot, run, Await(A, "alone"), Await(A, "both"), Await(B, "both"))
    await world.emit("a")
    assert await world.state(run.id) == "ready"


async def test_a_wait_with_an_end_goes_on_when_that_comes(world: World) -> None:
    boot, run = await world.held()
    await world.wait(boot, run, *awaits(A), delay_us=SECOND_US)
    assert await world.store.promote(now=world.turn(1)) == 1
    [run] = await world.claim(boot)
    await world.emit("a")
    assert await world.state(run.id) == "running"
    assert await world.end(boot, run, RunVerb.COMPLETE) is Answer.DONE


async def test_a_new_wait_replaces_what_was_awaited(world: World) -> None:
    boot, run = await world.held()
    await world.wait(boot, run, *awaits(A), delay_us=0)
    await world.store.promote(now=world.now)
    [run] = await world.claim(boot)
    await world.wait(boot, run, *awaits(B))
    await world.emit("a")
    assert await world.state(run.id) == "waiting"
    await world.emit("b")
    assert await world.state(run.id) == "ready"


@pytest.mark.parametrize(("reason", "state"), [(APPROVAL, "ready"), ("by hand", "parked")])
async def test_a_parked_run_wakes_only_if_it_is_parked_for_that(
    world: World, reason: str, state: str
) -> None:
    boot, run = await world.held()
    await world.wait(boot, run, *awaits(A), verb=RunVerb.PARK, reason=reason)
    await world.emit("a")
    assert await world.state(run.id) == state


async def test_a_run_that_is_to_be_cancelled_awaits_nothing(world: World) -> None:
    boot, run = await world.held()
    await world.store.cancel(run.id, by="bob", reason="no", now=world.now)
    await world.wait(boot, run, *awaits(A))
    assert await world.state(run.id) == "cancelled"
    assert (await world.store.snapshot())["awaits"] == {}
    await world.emit("a")
    assert await world.state(run.id) == "cancelled"


async def test_a_cancelled_wait_is_not_woken(world: World) -> None:
    boot, run = await world.held()
    await world.wait(boot, run, *awaits(A))
    await world.store.cancel(run.id, by="bob", reason="no", now=world.now)
    assert await world.emit("a") is Answer.DONE
    assert await world.state(run.id) == "cancelled"


async def test_a_woken_run_keeps_to_its_limit(world: World) -> None:
    boot, run = await world.held(limit_key="l", limit=1)
    await world.wait(boot, run, *awaits(A), limited=True)
    other = await world.enqueue(limit_key="l", limit=1)
    await world.emit("a")
    view = await world.view(run.id)
    assert (view.state, view.reason, await world.state(other)) == ("waiting", "limit:l", "ready")


async def test_waits_for_what_nobody_tells_of_are_found(world: World) -> None:
    """The end of a run that is nobody's child wakes nobody: the sweep does."""
    boot, run = await world.held()
    other = await world.enqueue()
    [held] = await world.claim(boot)
    await world.wait(boot, run, *awaits(of_run(other)))
    assert await world.store.sweep(now=world.now) == 0
    await world.complete(boot, held)
    assert await world.state(run.id) == "waiting"
    assert await world.twice(world.store.sweep, now=world.now) == (1, 0)
    assert await world.state(run.id) == "ready"


async def test_old_events_are_pruned_a_bounded_bite_at_a_time(world: World) -> None:
    for name in "abc":
        await world.emit(name)
    assert await world.store.prune(Retention(), now=world.turn(30 * DAY)) == Filled()
    await world.emit("new")
    at = world.turn(1)
    bites = [(await world.store.prune(Retention(), limit=2, now=at)).events for _ in range(3)]
    assert bites == [2, 1, 0]
    assert [one.name for one in await world.store.happened([*"abc", "new"])] == ["new"]


async def test_what_is_awaited_goes_with_its_run(world: World) -> None:
    boot, run = await world.held()
    await world.wait(boot, run, *awaits(A))
    await world.store.cancel(run.id, by="bob", reason="no", now=world.now)
    await world.store.prune(Retention(history=timedelta(0)), now=world.turn(1))
    assert (await world.store.snapshot())["awaits"] == {}
