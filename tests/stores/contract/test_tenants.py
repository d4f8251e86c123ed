"""Whose a thing is goes with it: from schedules to their runs, from runs to children, effects."""

from __future__ import annotations

import msgspec

from duly.core.effects import EffectFilter, Outcome
from duly.core.runs import Origin, RunFilter
from duly.core.schedules import ScheduleFilter
from duly.stores.base import Retention
from tests.stores.world import DAY, MINUTE, World, minutely, note


async def owners(world: World, tenant: str | None) -> list[str]:
    """The tenants of the runs that a filter shows, newest first."""
    return [one.tenant for one in await world.store.runs(RunFilter(tenant=tenant))]


async def test_a_filter_shows_runs_of_one_tenant_of_the_house_or_of_all(world: World) -> None:
    for tenant in ("", "acme", "beta", "acme"):
        run = await world.enqueue(tenant=tenant, key=f"k{tenant}" if tenant == "beta" else None)
        assert (await world.view(run)).tenant == tenant
    cases = {
        None: ["acme", "beta", "acme", ""],
        "acme": ["acme", "acme"],
        "beta": ["beta"],
        "": [""],
        "nobody": [],
    }
    for tenant, expected in cases.items():
        assert await owners(world, tenant) == expected, tenant
    both = RunFilter(tenant="acme", task="t", limit=1)
    assert len(await world.store.runs(both)) == 1


async def test_many_runs_at_once_keep_their_tenants(world: World) -> None:
    wanted = ["", "acme", "", "beta", "acme"] * 20
    runs = [world.new(tenant=tenant, priority=n % 3) for n, tenant in enumerate(wanted)]
    await world.twice(world.store.enqueue, runs, now=world.now)
    found = await world.store.runs(RunFilter(limit=100))
    assert [one.tenant for one in reversed(found)] == wanted


async def test_a_schedule_gives_its_runs_its_tenant(world: World) -> None:
    await world.declare(minutely("ours"), minutely("theirs", tenant="acme"))
    await world.fire(MINUTE)
    found = await world.store.runs(RunFilter(schedule="theirs"))
    assert [one.tenant for one in found] == ["acme"]
    listed = {
        tenant: [row.name for row in await world.store.schedules(ScheduleFilter(tenant=tenant))]
        for tenant in (None, "", "acme", "beta")
    }
    assert listed == {None: ["ours", "theirs"], "": ["ours"], "acme": ["theirs"], "beta": []}


async def test_a_child_and_a_fork_are_of_the_tenant_they_come_from(world: World) -> None:
    boot, run = await world.held(tenant="acme")
    child = msgspec.structs.replace(world.new(), parent=run.id, origin=Origin.CHILD)
    keyed = msgspec.structs.replace(world.new(key="k", tenant="beta"), parent=run.id)
    await world.keep(boot, run, runs=(child,))
    await world.store.enqueue([keyed], now=world.now)
    plain = msgspec.structs.replace(world.new(), parent=run.id)
    await world.store.enqueue([plain], now=world.now)
    for one in (child, keyed, plain):
        assert (await world.view(one.id)).tenant == "acme"
    await world.store.keep(boot, [note(run, "a", "b")], now=world.now)
    await world.complete(boot, run)
    fork = world.new_id()
    await world.store.fork(run.id, at="b", new=fork, by="ann", now=world.now)
    assert (await world.view(fork)).tenant == "acme"


async def test_an_effect_is_of_its_authors_tenant_and_outlives_the_run(world: World) -> None:
    for tenant in ("", "acme", "beta"):
        boot, run = await world.held(tenant=tenant)
        assert (await world.post(world.intend(boot, run, f"k{tenant}"))).outcome is Outcome.GO
        await world.complete(boot, run)
    await world.store.prune(Retention(history=DAY, last=0), now=world.turn(2 * DAY))
    shown = {
        tenant: [one.tenant for one in await world.store.effects(EffectFilter(tenant=tenant))]
        for tenant in (None, "", "acme")
    }
    assert sorted(shown[None]) == ["", "acme", "beta"]
    assert (shown[""], shown["acme"]) == ([""], ["acme"])
