"""What a run awaits is found in the store: each case brings it about for real, and asks why."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec
import pytest

from duly.app.explaining import Explaining
from duly.core.effects import Doubt
from duly.core.states import RunVerb
from duly.core.steps import Note, Step, StepKind
from duly.stores.memory import MemoryStore
from tests.stores.world import T0, World, awaits

Case = Callable[[World], Awaitable[str]]


async def awaits_an_event(w: World) -> str:
    boot, run = await w.held()
    await w.wait(boot, run, *awaits("event:paid"), reason="event:paid")
    return str(run.id)


async def missed_an_event(w: World) -> str:
    boot, run = await w.held()
    await w.emit("paid")
    await w.end(boot, run, RunVerb.WAIT, reason="event:paid")  # as if its wake were lost
    return str(run.id)


async def awaits_an_effect(w: World) -> str:
    boot, first = await w.held()
    await w.post(w.intend(boot, first))
    second = await w.enqueue()
    [claimed] = await w.claim(boot)
    await w.wait(boot, claimed, *awaits("effect:t pay k"), reason="effect:t pay k")
    return str(second)


async def awaits_a_child(w: World) -> str:
    boot, run = await w.held()
    child = await w.child(run.id)
    await w.wait(boot, run, *awaits(f"run:{child}"), reason=f"run:{child}")
    return str(run.id)


async def awaits_children(w: World) -> str:
    boot, run = await w.held()
    children = [await w.child(run.id) for _ in range(3)]
    value = msgspec.json.encode(children)
    kept = Step(name="all", number=0, kind=StepKind.CHILD, value=value)
    await w.store.keep(boot, [Note(run=run.id, epoch=run.epoch, steps=(kept,))], now=w.now)
    done = next(one for one in await w.claim(boot) if one.id == children[0])
    await w.complete(boot, done)
    named = [f"run:{child}" for child in children]
    await w.wait(boot, run, *awaits(*named, group="all"), reason="3 runs of all")
    return str(run.id)


async def in_doubt(w: World) -> str:
    boot, run = await w.held()
    sent = w.intend(boot, run)
    await w.post(sent)
    await w.post(Doubt(address=sent.address, intent=sent.intent, why="reset by peer"))
    await w.wait(boot, run, *awaits("effect:t pay k"), verb=RunVerb.PARK, reason="uncertain")
    return str(run.id)


async def in_doubt_by_another(w: World) -> str:
    await in_doubt(w)
    boot, run = await w.held()
    await w.end(boot, run, RunVerb.PARK, reason="uncertain")
    return str(run.id)


async def doubted_effect(w: World) -> str:
    await in_doubt(w)
    return "t pay k"


async def effect_on_its_way(w: World) -> str:
    await awaits_an_effect(w)
    return "t pay k"


async def effect_nobody_asked_for(w: World) -> str:
    await awaits_an_effect(w)
    return "t pay k2"


CASES: list[tuple[Case, str, str]] = [
    (awaits_an_event, "event paid, which nobody has emitted yet", "duly events emit paid"),
    (missed_an_event, "event paid, which was emitted by bob", "the next sweep"),
    (awaits_an_effect, "waits for the effect t pay k, which run", "duly why t pay k"),
    (awaits_a_child, "waits for its child run", "duly why"),
    (awaits_children, "waits for 3 runs of all", "2 running, 1 succeeded"),
    (in_doubt, "nobody knows whether t pay k was performed", "reset by peer"),
    (in_doubt_by_another, "t pay k was performed, which another run intended", "--performed"),
    (doubted_effect, "uncertain since 2026-01-05 00:00:00", "effects resolve t pay k --performed"),
    (effect_on_its_way, "believed to be on its way until 2026-01-05 00:00:35", "of t, attempt 1"),
    (effect_nobody_asked_for, "open: nothing is intended", "on record are: t pay k"),
]


@pytest.mark.parametrize(
    ("case", "headline", "more"), CASES, ids=lambda one: getattr(one, "__name__", "")
)
async def test_what_is_awaited_is_found(case: Case, headline: str, more: str) -> None:
    world: list[World] = []
    store = MemoryStore(lambda: world[0].now if world else T0)
    world.append(World(store))
    answer = await Explaining(store).explain(await case(world[0]))
    assert headline in answer.headline
    assert more in "\n".join((*answer.causes, *answer.helps))
