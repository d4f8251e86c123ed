"""Breakers: one row for the fleet, one probe at a time, one incident from opening to closing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest

from duly.core.breakers import (
    OPEN,
    Ask,
    BreakerFilter,
    BreakerPolicy,
    BreakerRow,
    Came,
    Permission,
    Permit,
    Report,
)
from duly.core.faults import Fault
from duly.core.runs import Answer
from duly.core.states import BreakerState, BreakerVerb, RunVerb
from duly.stores.base import Retention, Signal, WakeUp
from tests.stores.world import DAY, HOUR, World

PAUSE = timedelta(seconds=30)
POLICY = BreakerPolicy(threshold=3, pause=PAUSE, jitter=0.0)


def broken(name: str = "smtp", **how: Any) -> Report:
    how = {"policy": POLICY, "fault": Fault.TIMED_OUT.value, "error": "no answer"} | how
    return Report(breaker=name, came=how.pop("came", Came.BROKEN), **how)


async def tell(world: World, *reports: Report, boot: UUID | None = None) -> Any:
    telling = boot or world.new_id(), world.new_id(), reports
    return await world.store.breaker_tell(*telling, now=world.now)


async def ask(world: World, *names: str, lease: UUID | None = None) -> list[Permit]:
    asks = [Ask(name, lease or world.new_id(), PAUSE) for name in names or ("smtp",)]
    permits: list[Permit] = await world.store.breaker_calls(world.new_id(), asks, now=world.now)
    return permits


async def opened(world: World, name: str = "smtp") -> None:
    await tell(world, *[broken(name)] * POLICY.threshold)


async def row(world: World, name: str = "smtp") -> BreakerRow:
    found: BreakerRow | None = await world.store.breaker(name)
    assert found is not None
    return found


async def verbs(world: World, name: str = "smtp") -> list[str]:
    return [one.verb.value for one in reversed(await world.store.breaker_lines(name))]


async def test_what_nothing_is_known_against_passes_and_is_not_kept(world: World) -> None:
    [permit] = await ask(world)
    assert (permit.permission, permit.row) == (Permission.PASS, None)
    await tell(world, broken(came=Came.GOOD))
    assert await world.store.breakers(BreakerFilter()) == []


async def test_failures_of_the_whole_fleet_are_counted_together(world: World) -> None:
    for _ in range(2):
        heard = await tell(world, broken())
        assert heard.lines == ()
    heard = await tell(world, broken())
    assert [(one.verb, one.at) for one in heard.lines] == [(BreakerVerb.TRIP, world.now)]
    [permit] = await ask(world)
    assert (permit.permission, permit.rest) == (Permission.REFUSED, PAUSE)
    assert (await row(world)).probe_at == world.now + PAUSE


async def test_a_telling_that_is_sent_again_counts_once(world: World) -> None:
    boot, telling = world.new_id(), world.new_id()
    first, second = await world.twice(
        world.store.breaker_tell, boot, telling, [broken(), broken()], now=world.now
    )
    assert first == second
    assert (await row(world)).failures == 2
    await world.store.breaker_tell(boot, world.new_id(), [broken()], now=world.now)
    assert (await row(world)).state is BreakerState.OPEN


async def test_a_success_begins_the_count_anew(world: World) -> None:
    await tell(world, broken(), broken(), broken(came=Came.GOOD), broken(), broken())
    assert ((await row(world)).state, (await row(world)).failures) == (BreakerState.CLOSED, 2)


async def test_breakers_do_not_touch_each_other(world: World) -> None:
    await tell(world, *[broken("smtp")] * 3, broken("bank"))
    found = await ask(world, "smtp", "bank", "unheard")
    assert [one.permission for one in found] == ["refused", "pass", "pass"]
    listed = await world.store.breakers(BreakerFilter())
    assert [one.name for one in listed] == ["bank", "smtp"]
    [listed] = await world.store.breakers(BreakerFilter(broken=True))
    assert listed.name == "smtp"
    named = BreakerFilter(names=("bank", "unheard"))
    assert [one.name for one in await world.store.breakers(named)] == ["bank"]
    both = msgspec.structs.replace(named, names=("bank", "smtp"), broken=True)
    assert [one.name for one in await world.store.breakers(both)] == ["smtp"]
    assert await world.store.breakers(BreakerFilter(names=())) == []


async def test_one_of_all_who_ask_becomes_the_probe(world: World) -> None:
    await opened(world)
    world.turn(PAUSE)
    found = [one for [one] in await asyncio.gather(*(ask(world) for _ in range(12)))]
    assert sorted(one.permission for one in found) == ["probe"] + ["refused"] * 11
    assert {one.rest for one in found if one.permission is Permission.REFUSED} == {PAUSE}


async def test_a_resent_ask_is_the_same_probe(world: World) -> None:
    await opened(world)
    world.turn(PAUSE)
    boot, asks = world.new_id(), [Ask("smtp", world.new_id(), PAUSE)]
    [first], [second] = await world.twice(world.store.breaker_calls, boot, asks, now=world.now)
    assert (first.permission, second.permission) == (Permission.PROBE, Permission.PROBE)
    assert (first.line is not None, second.line) == (True, None)


async def test_only_the_leased_probe_closes_it(world: World) -> None:
    await opened(world)
    world.turn(PAUSE)
    lease = world.new_id()
    await ask(world, lease=lease)
    await tell(world, broken(came=Came.GOOD), broken(came=Came.GOOD, lease=world.new_id()))
    assert (await row(world)).state is BreakerState.HALF_OPEN
    await tell(world, broken(came=Came.GOOD, lease=lease))
    assert (await row(world)).state is BreakerState.CLOSED
    assert await verbs(world) == ["trip", "probe", "close"]


async def test_a_probe_that_fails_reopens_it_for_longer(world: World) -> None:
    await opened(world)
    world.turn(PAUSE)
    lease = world.new_id()
    await ask(world, lease=lease)
    await tell(world, broken(lease=lease))
    [permit] = await ask(world)
    assert (permit.permission, permit.rest) == (Permission.REFUSED, 2 * PAUSE)


async def test_the_lease_of_a_probe_that_died_ends(world: World) -> None:
    await opened(world)
    world.turn(PAUSE)
    await ask(world)
    world.turn(PAUSE)
    [permit] = await ask(world)
    assert permit.permission is Permission.PROBE


async def test_a_slow_probe_is_heard_although_its_lease_ended(world: World) -> None:
    await opened(world)
    world.turn(PAUSE)
    slow, after = world.new_id(), world.new_id()
    await ask(world, lease=slow)
    world.turn(PAUSE)
    await ask(world, lease=after)
    await tell(world, broken(came=Came.GOOD, lease=slow))
    assert (await row(world)).state is BreakerState.CLOSED
    await tell(world, broken(lease=after))
    assert (await row(world)).failures == 1
    assert await verbs(world) == ["trip", "probe", "probe", "close"]


async def test_an_incident_lasts_from_the_opening_to_the_closing(world: World) -> None:
    await opened(world)
    for _ in range(3):
        world.turn(HOUR)
        lease = world.new_id()
        await ask(world, lease=lease)
        await tell(world, broken(lease=lease))
    found = await world.store.incidents()
    assert [(one.kind, one.subject, one.severity) for one in found] == [(OPEN, "smtp", "critical")]
    incident = found[0]
    assert "3 failures in a row, the last: timed out: no answer" in incident.summary
    world.turn(HOUR)
    lease = world.new_id()
    await ask(world, lease=lease)
    await tell(world, broken(came=Came.GOOD, lease=lease))
    [incident] = await world.store.incidents(only_open=False)
    assert incident.closed_at == world.now
    assert incident.evidence["closed"] == "its probe succeeded"


WORDS: Sequence[tuple[BreakerVerb, BreakerState, str]] = [
    (BreakerVerb.FORCE_OPEN, BreakerState.OPEN, "refused"),
    (BreakerVerb.FORCE_CLOSE, BreakerState.CLOSED, "pass"),
    (BreakerVerb.RESUME, BreakerState.CLOSED, "pass"),
    (BreakerVerb.PROBE, BreakerState.HALF_OPEN, "probe"),
]


@pytest.mark.parametrize(("verb", "state", "then"), WORDS)
async def test_a_persons_word_is_done_and_kept(
    world: World, verb: BreakerVerb, state: BreakerState, then: str
) -> None:
    await opened(world)
    world.turn(1)
    said = {"by": "ann", "why": "they mended it"}
    answers = await world.twice(world.store.breaker_move, "smtp", verb, **said, now=world.now)
    assert answers == (Answer.DONE, Answer.ALREADY)
    assert (await row(world)).state is state
    [line, _] = await world.store.breaker_lines("smtp")
    assert (line.verb, line.by, line.why, line.at) == (verb, "ann", "they mended it", world.now)
    assert [one.permission for one in await ask(world)] == [then]


async def test_a_word_about_what_nobody_knows(world: World) -> None:
    said = {"by": "ann", "why": "typo", "now": world.now}
    assert await world.store.breaker_move("x", BreakerVerb.RESUME, **said) is Answer.UNKNOWN
    assert await world.store.breaker("x") is None
    assert await world.store.breaker_move("x", BreakerVerb.FORCE_OPEN, **said) is Answer.DONE
    [incident] = await world.store.incidents()
    assert (incident.subject, incident.severity) == ("x", "warning")


# --- who waits ----------------------------------------------------------------------------------


async def waiting(world: World, name: str = "smtp") -> UUID:
    boot, run = await world.held()
    day = DAY // timedelta(microseconds=1)
    ending = {"reason": f"breaker:{name}", "delay_us": day}
    assert await world.end(boot, run, RunVerb.WAIT, **ending) is Answer.DONE
    return run.id


async def test_whoever_waits_goes_on_when_it_closes(world: World) -> None:
    await opened(world)
    run, other = await waiting(world), await waiting(world, "bank")
    world.turn(1)
    await world.store.breaker_move(
        "smtp", BreakerVerb.RESUME, by="ann", why="mended", now=world.now
    )
    assert (await world.view(run)).wake_at == world.now
    assert await world.store.promote(now=world.now) == 1
    assert await world.state(run) == "ready"
    assert await world.state(other) == "waiting"


async def test_whoever_began_to_wait_too_late_is_found_by_the_sweep(world: World) -> None:
    await opened(world, "bank")
    run, other = await waiting(world), await waiting(world, "bank")
    assert await world.store.sweep(now=world.now) == 1
    assert await world.store.promote(now=world.now) == 1
    assert (await world.state(run), await world.state(other)) == ("ready", "waiting")


# --- telling and forgetting ---------------------------------------------------------------------


async def test_others_hear_of_what_may_pass_and_of_what_counts(world: World) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()

    def hear(wake: WakeUp) -> None:
        if wake.signal is Signal.BREAKER:
            heard.put_nowait(wake.detail)

    stop = world.store.listen(hear)
    # The first failure and the last are told; what changes nothing for a caller is not.
    for name, count in (("smtp", 3), ("bank", 1)):
        for _ in range(count):
            await tell(world, broken(name))
    async with asyncio.timeout(10):
        told = [await heard.get() for _ in range(3)]
    stop()
    assert sorted(told) == ["bank", "smtp", "smtp"], "hints may overtake each other"


async def test_what_is_over_for_long_is_forgotten(world: World) -> None:
    await opened(world)
    await opened(world, "bank")
    await world.store.breaker_move(
        "smtp", BreakerVerb.RESUME, by="ann", why="mended", now=world.now
    )
    assert (await world.store.prune(Retention(), now=world.turn(30 * DAY))).breakers == 0
    filled = await world.store.prune(Retention(), now=world.turn(1))
    assert filled.breakers == 6, "three changes, two tellers, and the target that is well"
    assert [one.name for one in await world.store.breakers(BreakerFilter())] == ["bank"]
    assert (await world.store.prune(Retention(), now=world.now)).breakers == 0


async def test_tellings_at_once_are_all_counted(world: World) -> None:
    policy = BreakerPolicy(threshold=1000)
    await asyncio.gather(*(tell(world, broken(policy=policy)) for _ in range(20)))
    assert (await row(world)).failures == 20
