"""Incidents open once and close once; pruning is bounded and never takes what still counts."""

from __future__ import annotations

from datetime import timedelta

from duly.core.effects import Withdraw
from duly.core.fleet import Incident
from duly.core.states import RunVerb
from duly.stores.base import Filled, Retention
from tests.stores.world import DAY, MINUTE, World, minutely


def incident(subject: str, kind: str = "poison") -> Incident:
    return Incident(
        kind=kind, subject=subject, severity="warning", summary="so", evidence={"boot": "1"}
    )


async def test_an_incident_opens_once_and_closes_once(world: World) -> None:
    one = incident("run 1")
    assert await world.twice(world.store.open_incident, one, now=world.now) == (True, False)
    opened = world.now
    [kept] = await world.store.incidents()
    assert (kept.opened_at, kept.closed_at, kept.evidence) == (opened, None, {"boot": "1"})
    world.turn(1)
    close = world.store.close_incident
    assert await world.twice(close, "poison", "run 1", now=world.now) == (True, False)
    assert await world.store.incidents() == []
    [kept] = await world.store.incidents(only_open=False)
    assert (kept.opened_at, kept.closed_at) == (opened, world.now)


async def test_what_became_of_an_incident_is_kept_with_it(world: World) -> None:
    await world.store.open_incident(incident("a"), now=world.now)
    how = {"note": "all well", "now": world.now}
    assert await world.twice(world.store.close_incident, "poison", "a", **how) == (True, False)
    [kept] = await world.store.incidents(only_open=False)
    assert kept.evidence == {"boot": "1", "closed": "all well"}


async def test_an_incident_may_open_again_after_it_closed(world: World) -> None:
    for _ in range(2):
        assert await world.store.open_incident(incident("a"), now=world.turn(1))
        assert await world.store.close_incident("poison", "a", now=world.turn(1))
    assert await world.store.open_incident(incident("a"), now=world.turn(1))
    assert len(await world.store.incidents(only_open=False)) == 3


async def test_incidents_come_newest_first_and_are_told_apart(world: World) -> None:
    for kind, subject in (("x", "a"), ("x", "b"), ("y", "a")):
        assert await world.store.open_incident(incident(subject, kind), now=world.turn(1))
    shown = [(one.kind, one.subject) for one in await world.store.incidents()]
    assert shown == [("y", "a"), ("x", "b"), ("x", "a")]
    assert not await world.store.close_incident("y", "b", now=world.now)


async def test_old_ends_are_pruned_and_nothing_else(world: World) -> None:
    boot = await world.boot()
    old = await world.enqueue()
    await world.complete(boot, *await world.claim(boot))
    parked = await world.enqueue()
    [held] = await world.claim(boot)
    await world.end(boot, held, RunVerb.PARK, reason="uncertain")
    running = await world.enqueue()
    await world.claim(boot)
    ready = await world.enqueue()
    world.turn(30 * DAY)
    assert (await world.store.prune(Retention(), now=world.now)).runs == 0
    world.turn(1)
    recent = await world.enqueue()
    await world.store.cancel(recent, by="bob", reason="no", now=world.now)
    first, second = await world.twice(world.store.prune, Retention(), now=world.now)
    assert (first.runs, second) == (1, Filled())
    assert await world.store.run(old) is None
    for run in (parked, running, ready, recent):
        assert await world.store.run(run) is not None


async def test_the_last_runs_of_each_schedule_are_kept(world: World) -> None:
    await world.declare(minutely("a"), minutely("b"))
    boot = await world.boot()
    for _ in range(4):
        await world.fire(MINUTE)
        await world.complete(boot, *await world.claim(boot))
    marks = [(row.name, row.fired_through) for row in await world.store.schedules()]
    world.turn(31 * DAY)
    done = await world.store.prune(Retention(last=3), now=world.now)
    assert done.runs == 2
    assert [(row.name, row.fired_through) for row in await world.store.schedules()] == marks
    assert [len(await world.store.verdicts(name)) for name in "ab"] == [1, 1]


async def test_attempts_go_with_their_run(world: World) -> None:
    boot, run = await world.held()
    await world.end(boot, run, RunVerb.RETRY, delay_us=0)
    await world.store.promote(now=world.now)
    await world.complete(boot, *await world.claim(boot))
    await world.store.prune(Retention(history=timedelta(0)), now=world.turn(1))
    assert (await world.store.snapshot())["attempts"] == {}


async def test_pruning_takes_a_bounded_bite(world: World) -> None:
    boot = await world.boot()
    await world.store.enqueue([world.new() for _ in range(5)], now=world.now)
    await world.complete(boot, *await world.claim(boot))
    keep = Retention(history=timedelta(0))
    world.turn(1)
    bites = [(await world.store.prune(keep, limit=2, now=world.now)).runs for _ in range(4)]
    assert bites == [2, 2, 1, 0]


async def test_instances_that_hold_nothing_and_old_incidents_go(world: World) -> None:
    idle = await world.boot()
    busy, _ = await world.held()
    await world.store.open_incident(incident("open"), now=world.now)
    await world.store.open_incident(incident("closed"), now=world.now)
    await world.store.close_incident("poison", "closed", now=world.now)
    world.turn(31 * DAY)
    fresh = await world.boot()
    done = await world.store.prune(Retention(), now=world.now)
    assert (done.instances, done.incidents) == (1, 1)
    assert [one.boot for one in await world.store.instances()] == [fresh, busy]
    assert [one.subject for one in await world.store.incidents(only_open=False)] == ["open"]
    assert idle != busy


async def test_what_became_of_an_open_effect_is_forgotten_after_the_history(world: World) -> None:
    boot, run = await world.held()
    sent = world.intend(boot, run)
    await world.post(sent)
    await world.post(Withdraw(address=sent.address, intent=sent.intent, why="no"))
    assert (await world.store.prune(Retention(), now=world.turn(30 * DAY))).lines == 0
    assert (await world.store.prune(Retention(), now=world.turn(1))).lines == 1
    assert await world.store.audit(sent.address) == []


async def test_a_limit_is_forgotten_with_the_last_run_that_has_it(world: World) -> None:
    boot = await world.boot()
    await world.enqueue(limit_key="fan", limit=1)
    assert (await world.store.prune(Retention(), now=world.now)).limits == 0
    await world.complete(boot, *await world.claim(boot))
    gone = await world.store.prune(Retention(), now=world.turn(31 * DAY))
    assert (gone.runs, gone.limits) == (1, 1)
    assert await world.state(await world.enqueue(limit_key="fan", limit=1)) == "ready"
