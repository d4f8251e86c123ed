"""A storm: ten thousand failures in a minute are one notice at once, one gathered, and a digest."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

from duly.core.fleet import Incident
from duly.core.notices import MOST_TOLD, ChannelPlan, Notice, NotifyPlan, Told
from duly.events import Bus, Event
from duly.outbound.notifier import Notifier
from tests.stores.world import HOUR, World

FAILURES = 10_000
AT_ONCE = 500


class Counting:
    """A store at the world's time, whose verbs are counted."""

    def __init__(self, world: World) -> None:
        self.world, self.sent = world, Counter[str]()

    def __getattr__(self, verb: str) -> Any:
        found = getattr(self.world.store, verb)
        if verb == "listen":
            return found

        async def sent(*args: Any, **how: Any) -> Any:
            self.sent[verb] += 1
            timed = verb in ("outlook", "draw_up", "arrived")
            return await found(*args, **how, **({"now": self.world.now} if timed else {}))

        return sent


class Post:
    name = "mail"

    def __init__(self) -> None:
        self.took: list[Notice] = []

    async def send(self, notice: Notice) -> None:
        self.took.append(notice)


@pytest.mark.parametrize("targets", [1, FAILURES])
async def test_ten_thousand_failures_in_a_minute_are_two_notices_and_a_digest(
    world: World, targets: int
) -> None:
    many = FAILURES if targets == 1 or "sqlite" in world.store.name else 1_500
    store, post, lines = Counting(world), Post(), list[Event]()
    bus, boot = Bus(), await world.boot()
    bus.subscribe(lines.append)
    digest_at = (world.now + HOUR).time()
    agreed = ChannelPlan(name="mail", digest_at=digest_at)
    clock: Any = Hands(world)
    notifier = Notifier(
        post, agreed, NotifyPlan(), application="app", store=store,  # type: ignore[arg-type]
        clock=clock, bus=bus, boot=lambda: boot,
    )  # fmt: skip

    async def turns(count: int) -> None:
        for _ in range(count):
            await notifier.turn()

    await turns(1)
    await fail(world, 0, 1, targets)
    await turns(2)
    for start in range(1, many, AT_ONCE):
        world.turn(timedelta(seconds=50) * AT_ONCE / many)
        await fail(world, start, min(start + AT_ONCE, many), targets)
        await turns(1)
    for _ in range(30):
        world.turn(timedelta(seconds=4))
        await turns(1)
    world.turn(HOUR)
    await turns(4)
    different = min(targets, many)
    kinds = ["news", "news", "digest"] if different > 1 else ["news", "digest"]
    assert [one.kind.value for one in post.took] == kinds
    assert sum(one.counts.get(Told.OPENED, 0) for one in post.took[:-1]) == different
    assert post.took[-1].counts == {Told.OPENED: different}
    assert max(len(one.items) for one in post.took) <= MOST_TOLD
    assert len(lines) == len(kinds), "one line for each notice, none for an incident"
    pages = many // 1000 + 3
    assert store.sent["draw_up"] <= pages + 3
    assert store.sent["untold"] <= pages + 3


async def fail(world: World, start: int, end: int, targets: int) -> None:
    """Report failures, of one task or of as many."""
    made = [
        Incident(kind="run.failed", subject=f"t{n % targets}", severity="critical", summary="so")
        for n in range(start, end)
    ]
    if targets == 1:
        made = made[:3]  # of one task only the first is written; more would measure nothing
    await asyncio.gather(*(world.store.open_incident(one, now=world.now) for one in made))


class Hands:
    """A clock that stands still, for a loop that is turned by hand."""

    def __init__(self, world: World) -> None:
        self._world = world

    def new_id(self) -> Any:
        return self._world.new_id()

    def monotonic(self) -> float:
        return 0.0

    def draw(self) -> float:
        return 0.5
