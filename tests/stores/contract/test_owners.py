"""An incident without an owner gets that of what it names; one that was given stays."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest

from duly.core.breakers import BreakerPolicy, Came, Report
from duly.core.effects import Doubt
from duly.core.faults import Fault
from duly.core.fleet import Incident
from duly.core.runs import Origin
from duly.core.states import BreakerVerb
from tests.stores.world import World, minutely

ONCE = BreakerPolicy(threshold=1, pause=timedelta(seconds=30), jitter=0.0)
NOBODY = str(UUID(int=7))

# What the evidence names, whether an owner is given, and whose the incident is.
CASES = [
    (("schedule",), "", "acme"),
    (("run",), "", "acme"),
    (("boot",), "", "app"),
    (("schedule", "boot"), "", "acme"),
    (("run", "boot"), "", "acme"),
    (("loose", "boot"), "", "app"),
    (("loose",), "", ""),
    (("unknown",), "", ""),
    (("unknown", "boot"), "", "app"),
    (("junk",), "", ""),
    (("junk", "boot"), "", "app"),
    ((), "", ""),
    (("schedule", "run", "boot"), "given", "given"),
]


async def scene(world: World) -> tuple[UUID, UUID, UUID]:
    """An instance of `app`, a run of acme's schedule `theirs` in its hands, and a loose run."""
    await world.store.declare(
        world.new_id(), "acme", [minutely("theirs")], new_id=world.new_id, now=world.now
    )
    boot = await world.boot()
    run = await world.enqueue(schedule="theirs", origin=Origin.TRIGGER)
    return boot, run, await world.enqueue()


@pytest.mark.parametrize(("named", "given", "owner"), CASES, ids=lambda case: "-".join(case))
async def test_what_an_incident_names_says_whose_it_is(
    world: World, named: tuple[str, ...], given: str, owner: str
) -> None:
    boot, run, loose = await scene(world)
    said = {
        "schedule": {"schedule": "theirs"},
        "run": {"run": str(run)},
        "boot": {"boot": str(boot)},
        "loose": {"run": str(loose)},
        "unknown": {"schedule": "nobody's", "run": NOBODY},
        "junk": {"run": "not a run", "schedule": ""},
    }
    evidence = {key: value for one in named for key, value in said[one].items()}
    told = Incident(
        kind="x", subject="y", severity="info", summary="so", owner=given, evidence=evidence
    )
    assert await world.twice(world.store.open_incident, told, now=world.now) == (True, False)
    [kept] = await world.store.incidents()
    assert (kept.owner, kept.evidence) == (owner, evidence)


@pytest.mark.parametrize(("of_a_schedule", "owner"), [(True, "acme"), (False, "app")])
async def test_an_uncertain_effect_is_of_whoever_asked_for_its_run(
    world: World, of_a_schedule: bool, owner: str
) -> None:
    boot, run, loose = await scene(world)
    wanted = run if of_a_schedule else loose
    [claimed] = [one for one in await world.claim(boot) if one.id == wanted]
    sent = world.intend(boot, claimed)
    await world.post(sent)
    await world.post(Doubt(address=sent.address, intent=sent.intent, why="so", swept=False))
    [kept] = await world.store.incidents()
    assert (kept.kind, kept.owner) == ("effect.uncertain", owner)


# Whose breaker it is, what the failed call came from, and whose the incident is.
BREAKERS = [
    ("schedule:theirs", {"schedule": "theirs"}, "acme"),
    ("host:bank", {"schedule": "theirs"}, "acme"),
    ("smtp", {"owner": "shop"}, "shop"),
    ("smtp", {}, ""),
    ("schedule:theirs", None, "acme"),
    ("smtp", None, ""),
]


@pytest.mark.parametrize(("name", "whose", "owner"), BREAKERS)
async def test_a_breaker_is_of_whoever_called_last(
    world: World, name: str, whose: dict[str, str] | None, owner: str
) -> None:
    await scene(world)
    if whose is None:
        how = {"by": "ann", "why": "repair", "now": world.now}
        await world.store.breaker_move(name, BreakerVerb.FORCE_OPEN, **how)
    else:
        report = Report(
            breaker=name, came=Came.BROKEN, policy=ONCE, fault=Fault.TIMED_OUT.value, **whose
        )
        await world.store.breaker_tell(world.new_id(), world.new_id(), [report], now=world.now)
    [kept] = await world.store.incidents()
    assert (kept.kind, kept.owner) == ("breaker.open", owner)
