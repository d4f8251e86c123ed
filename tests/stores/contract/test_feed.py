"""The feed tells what happened, in one order, once, however small the looks; and nothing early."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from duly.core.feed import NAMES, Look, Point
from duly.core.fleet import Incident
from duly.core.states import BreakerVerb, RunVerb
from duly.events import EVENTS
from duly.events.table import FIELDS
from duly.stores.narrowed import narrowed
from tests.stores.world import HOUR, World, ident, instance

START = Point(World(None).now - HOUR)


async def everything(world: World, after: Point = START, limit: int = 1000) -> list[Look]:
    """Look until there is no more."""
    looks: list[Look] = []
    while not looks or looks[-1].more:
        assert len(looks) < 100, "it never ends"
        looks.append(await world.store.feed(after, limit=limit, now=world.now))
        assert after <= looks[-1].through
        after = looks[-1].through
    return looks


async def told(world: World, after: Point = START, limit: int = 1000) -> list[str]:
    looks = await everything(world, after, limit)
    return [one.name for look in looks for one in look.happenings]


async def ended(world: World, verb: RunVerb, **how: Any) -> UUID:
    boot, run = await world.held(**how)
    await world.end(boot, run, verb, error="ValueError: no", reason="so")
    return run.id


async def much(world: World) -> list[str]:
    """Let one thing of every sort happen, a second after the other; return what is to be told."""
    store, boot, names = world.store, await world.boot(), ["instance.started"]
    for verb, name in [(RunVerb.COMPLETE, "completed"), (RunVerb.FAIL, "failed")]:
        world.turn(1)
        await ended(world, verb)
        names += ["instance.started", f"run.{name}"]
    world.turn(1)
    await store.cancel(await world.enqueue(), by="bob", reason="so", now=world.now)
    expires = await world.enqueue(expires_at=world.now + timedelta(seconds=1))
    await store.expire(now=world.turn(2))
    assert await world.state(expires) == "expired"
    incident = Incident(kind="k", subject="s", severity="info", summary="so")
    await store.open_incident(incident, now=world.turn(1))
    await store.acknowledge("k", "s", by="bob", now=world.turn(1))
    await store.close_incident("k", "s", now=world.turn(1))
    for move in (BreakerVerb.FORCE_OPEN, BreakerVerb.RESUME):
        await store.breaker_move("b", move, by="bob", why="so", now=world.turn(1))
    await store.leave(boot, now=world.turn(1))
    world.turn(1)
    await world.die(await world.boot())
    world.turn(1)
    return [
        *names, "run.cancelled", "run.expired", "incident.opened", "incident.acknowledged",
        "incident.closed", "breaker.forced_open", "incident.opened", "breaker.resumed",
        "incident.closed", "instance.stopped", "instance.started", "instance.declared_dead",
    ]  # fmt: skip


@pytest.mark.parametrize("limit", [1, 3, 1000])
async def test_everything_is_told_once_and_in_order(world: World, limit: int) -> None:
    expected = await much(world)
    looks = await everything(world, limit=limit)
    assert [one.name for look in looks for one in look.happenings] == expected
    points = [one.point for look in looks for one in look.happenings]
    assert points == sorted(set(points)) and all(len(one.happenings) <= limit for one in looks)
    assert await told(world, looks[-1].through) == []
    for index, point in enumerate(points):  # whoever saw that last goes on behind it, anywhere
        assert await told(world, Point.parse(point.text()) or START) == expected[index + 1 :]


@pytest.mark.parametrize(("short", "more"), [(0, False), (1, True)])
@pytest.mark.parametrize("several", [False, True], ids=["of one sort", "of several sorts"])
async def test_a_look_says_whether_there_is_more(
    world: World, several: bool, short: int, more: bool
) -> None:
    for _ in range(2):
        await world.boot()
    there = 2 + (len(await much(world)) if several else 0)
    world.turn(HOUR)
    look = await world.store.feed(START, limit=there - short, now=world.now)
    assert (len(look.happenings), look.more) == (there - short, more)


async def test_fields_are_those_of_the_catalogue(world: World) -> None:
    await much(world)
    for look in await everything(world):
        for one in look.happenings:
            assert one.name in NAMES and one.name in EVENTS
            missing = set(one.told()) - set(FIELDS) - {"at"}
            assert not missing and one.told()["at"] == one.point.at, one
    by_name = {one.name: one.told() for look in await everything(world) for one in look.happenings}
    assert by_name["run.failed"]["error"] == "ValueError: no"
    assert by_name["run.cancelled"]["reason"].endswith("so")
    assert by_name["incident.opened"]["kind"] == "breaker.open"
    assert by_name["incident.acknowledged"]["by"] == by_name["breaker.resumed"]["by"] == "bob"
    assert by_name["instance.started"]["instance"] == "host:1"
    assert by_name["instance.declared_dead"]["proof"] == "process gone"


@pytest.mark.parametrize("limit", [1, 7, 8])
async def test_what_has_one_instant_is_told_whole(world: World, limit: int) -> None:
    boot = await world.boot()
    for _ in range(7):
        await world.enqueue()
    world.turn(1)
    await world.complete(boot, *await world.claim(boot))
    await world.store.open_incident(
        Incident(kind="k", subject="s", severity="info", summary="so"), now=world.now
    )
    world.turn(1)
    expected = ["instance.started", *["run.completed"] * 7, "incident.opened"]
    looks = await everything(world, limit=limit)
    assert [one.name for look in looks for one in look.happenings] == expected
    runs = [one.fields["run"] for look in looks for one in look.happenings if "run" in one.fields]
    assert runs == sorted(set(runs)) and len(runs) == 7


async def test_an_instant_is_told_when_it_is_over(world: World) -> None:
    begun = await world.store.feed(None, now=world.now)
    assert (begun.happenings, begun.through.at) == ((), world.now)
    await world.boot()
    assert await told(world, begun.through) == []
    world.turn(timedelta(microseconds=1000))
    assert await told(world, begun.through) == ["instance.started"]


async def test_what_a_row_no_longer_says_is_not_told(world: World) -> None:
    run = await ended(world, RunVerb.FAIL)
    await world.store.revive(run, by="bob", now=world.turn(1))
    world.turn(1)
    assert await told(world) == ["instance.started"]


async def test_a_tenant_is_told_of_its_own_runs(world: World) -> None:
    for tenant in ("", "acme", "beta"):
        await ended(world, RunVerb.FAIL, tenant=tenant)
        world.turn(1)
    seen = narrowed(world.store, "acme")
    look = await seen.feed(START, now=world.now)
    assert [(one.name, one.tenant) for one in look.happenings] == [("run.failed", "acme")]
    assert look.through == (await world.store.feed(START, now=world.now)).through


# --- what is committed late -----------------------------------------------------------------------


async def test_what_is_committed_late_is_told_before_what_is_dated_later(
    world: World,
) -> None:
    """With the store's own clock, and two connections: one is in the middle of a commit."""
    kind = type(world.store).__name__
    if kind not in ("SqliteStore", "PostgresStore"):
        return  # a verb is one step in the model: nothing is ever in the middle
    begin = (await world.store.feed(None)).through
    middle = _in_the_middle_sqlite if kind == "SqliteStore" else _in_the_middle_postgres
    first = await middle(world.store, begin)
    looks, committed = [first], await world.store.clock()
    while looks[-1].through.at <= committed:  # the clock may stand for a millisecond
        looks.append(await world.store.feed(looks[-1].through))
    told = [one.fields["boot"] for look in looks for one in look.happenings]
    assert told == [LATE, SOON], "both, in the order of their instants"


LATE, SOON = ident(91), ident(92)


async def _in_the_middle_sqlite(store: Any, begin: Point) -> Look:
    """Look while a neighbour has read its instant and not committed; others wait behind it."""
    from duly.stores.sqlite import fleet

    other = type(store)(store.path)
    wrote, go = threading.Event(), threading.Event()

    def slow(tx: Any) -> None:
        fleet.register(tx, instance(LATE), {}, None)
        wrote.set()
        assert go.wait(30)

    writing = asyncio.ensure_future(other._write(slow))
    assert await asyncio.to_thread(wrote.wait, 30)
    looking = asyncio.ensure_future(store.feed(begin))
    await asyncio.sleep(0)  # now it waits for the lock, or did not ask for it
    go.set()
    await writing
    await other.close()
    await store.register(instance(SOON), {})
    return await looking


async def _in_the_middle_postgres(store: Any, begin: Point) -> Look:
    """Look while another connection has read its instant, and a later one has committed."""
    from duly.stores.postgres.fleet import REGISTER

    other, looks = type(store)(store._address.url), list[Look]()

    async def slow(unit: Any) -> None:
        one = instance(LATE)
        await unit.fetch(
            REGISTER, one.boot, one.name, one.host, one.pid, one.pid_space, one.owner,
            one.version, list(one.tasks), one.state.value, unit.now, one.cluster,
        )  # fmt: skip
        await store.register(instance(SOON), {})
        looks.append(await store.feed(begin))
        assert looks[0].through.at <= unit.now and not looks[0].unsure

    await other._transact(slow)
    await other.close()
    return looks[0]
