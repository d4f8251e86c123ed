"""The outbox: a message exists if its commit does, leaves in order, and by one relayer a time."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import UUID

import msgspec
import pytest

from duly.core.outbox import Message, Outgoing
from duly.core.runs import Answer
from duly.stores.base import Signal, WakeUp
from tests.stores.world import World

LEASE = timedelta(seconds=15)


async def published(world: World, *messages: Message) -> UUID:
    """Publish messages, each in a note of its own; return the boot that did."""
    boot, run = await world.held()
    for one in messages:
        assert await world.keep(boot, run, messages=(one,)) is Answer.DONE
    return boot


async def taken(world: World, boot: UUID, topic: str = "m", limit: int = 10) -> list[UUID] | None:
    found = await world.store.outgoing(boot, topic, limit=limit, lease=LEASE, now=world.now)
    return None if found is None else [one.id for one in found]


async def test_messages_leave_in_the_order_of_their_commits(world: World) -> None:
    late, early = world.message(), world.message(key="k", body=b'{"x":1}')
    run = world.new_id()
    messages = [msgspec.structs.replace(one, run=run) for one in (early, late)]
    boot = await published(world, *messages)
    found = await world.store.outgoing(boot, "m", limit=10, now=world.now)
    assert found == [msgspec.structs.replace(one, kept_at=world.now) for one in messages]
    assert await taken(world, boot, limit=1) == [early.id]


async def test_a_message_that_is_sent_again_is_not_doubled(world: World) -> None:
    boot, run = await world.held()
    one = world.message()
    await world.keep(boot, run, messages=(one,))
    world.turn(1)
    answer = await world.keep(boot, run, messages=(msgspec.structs.replace(one, body=b"2"), one))
    assert answer is Answer.DONE
    [kept] = await world.store.outgoing(boot, "m", limit=10, now=world.now)
    assert (kept.body, kept.kept_at) == (b"1", world.now - timedelta(seconds=1))


async def test_each_topic_is_relayed_by_itself(world: World) -> None:
    one, other = world.message("m"), world.message("n")
    boot = await published(world, one, other)
    second = await world.boot()
    assert await taken(world, boot, "m") == [one.id]
    assert await taken(world, second, "n") == [other.id]
    assert await taken(world, second, "unheard") == []


async def test_what_was_confirmed_is_taken_out(world: World) -> None:
    messages = [world.message() for _ in range(3)]
    boot = await published(world, *messages)
    ids = await taken(world, boot)
    assert ids == [one.id for one in messages]
    first = [one.id for one in messages[:2]]
    answers = await world.twice(world.store.relayed, boot, "m", first, now=world.now)
    assert answers == (Answer.DONE, Answer.DONE)
    assert await taken(world, boot) == [messages[2].id]


async def test_one_boot_relays_a_topic_until_its_lease_ends(world: World) -> None:
    one = world.message()
    boot = await published(world, one)
    other = await world.boot()
    assert await taken(world, boot) == [one.id]
    assert await taken(world, other) is None
    world.turn(10)
    assert await taken(world, boot) == [one.id]
    world.turn(LEASE - timedelta(microseconds=1))
    assert await taken(world, other) is None
    world.turn(timedelta(microseconds=1))
    assert await taken(world, other) == [one.id]
    assert await taken(world, boot) is None


@pytest.mark.parametrize("way", ["dies", "leaves"])
async def test_who_is_not_there_relays_nothing(world: World, way: str) -> None:
    one = world.message()
    publisher = await published(world, one)
    boot = await world.boot()
    assert await taken(world, boot) == [one.id]
    if way == "dies":
        await world.die(boot)
    elif way == "leaves":
        await world.store.leave(boot, now=world.now)
    assert await taken(world, publisher) == [one.id]


async def test_a_late_confirmation_counts_although_another_relays_now(world: World) -> None:
    one = world.message()
    boot = await published(world, one)
    await taken(world, boot)
    other = await world.boot()
    world.turn(LEASE)
    assert await taken(world, other) == [one.id]
    assert await world.store.relayed(boot, "m", [one.id], now=world.now) is Answer.STALE
    assert await taken(world, other) == []


async def test_a_topic_that_nobody_relays_is_nobodys(world: World) -> None:
    boot = await world.boot()
    assert await world.store.relayed(boot, "m", [], now=world.now) is Answer.STALE


async def test_what_waits_is_counted_by_topic(world: World) -> None:
    assert await world.store.outbox() == []
    await published(world, world.message("n"), world.message("m"))
    first = world.turn(1) - timedelta(seconds=1)
    await published(world, world.message("m"))
    assert await world.store.outbox() == [Outgoing("m", 2, first), Outgoing("n", 1, first)]


async def test_whoever_listens_hears_that_messages_wait(world: World) -> None:
    heard: list[WakeUp] = []
    out = asyncio.Event()

    def hear(wake: WakeUp) -> None:
        heard.append(wake)
        if wake.signal is Signal.OUT:
            out.set()

    stop = world.store.listen(hear)
    await published(world, world.message("m"))
    async with asyncio.timeout(10):
        await out.wait()
    stop()
    assert WakeUp(Signal.OUT, "m") in heard
