"""Keys of the API are kept by their hash and never leave; the audit is written once, for ever."""

from __future__ import annotations

from datetime import timedelta

import msgspec

from duly.core.access import ChangeFilter
from duly.core.runs import Answer
from duly.core.schedules import PEOPLE, Declared, Source
from duly.stores.base import Retention
from tests.stores.world import HOUR, World, api_key, change, minutely


async def test_a_key_is_found_by_its_hash_alone(world: World) -> None:
    one = api_key(world.new_id())
    assert await world.twice(world.store.add_key, one, now=world.now) == (
        Answer.DONE,
        Answer.ALREADY,
    )
    kept = msgspec.structs.replace(one, made_at=world.now)
    assert await world.store.key_of(one.digest) == kept
    assert await world.store.key_of("0" * 64) is None
    newer = api_key(world.new_id(), expires_at=world.now + HOUR, scopes=("tasks:t",))
    await world.store.add_key(newer, now=world.now)
    assert [key.id for key in await world.store.keys()] == [newer.id, one.id]
    assert (await world.store.keys())[0].scopes == ("tasks:t",)


async def test_a_use_is_written_once_a_minute(world: World) -> None:
    one = api_key(world.new_id())
    await world.store.add_key(one, now=world.now)
    steps = [(0, Answer.DONE), (59, Answer.ALREADY), (1, Answer.DONE), (-30, Answer.ALREADY)]
    for seconds, answer in steps:
        world.turn(seconds)
        assert await world.store.use_key(one.id, now=world.now) is answer
    assert await world.store.use_key(world.new_id(), now=world.now) is Answer.UNKNOWN


async def test_a_revoked_key_stays_with_its_first_reason(world: World) -> None:
    one = api_key(world.new_id())
    await world.store.add_key(one, now=world.now)
    revoke = world.store.revoke_key
    await world.twice(revoke, one.id, by="ann", reason="lost", now=world.now)
    assert await revoke(one.id, by="bob", reason="again", now=world.turn(1)) is Answer.ALREADY
    assert await revoke(world.new_id(), by="bob", reason="?", now=world.now) is Answer.UNKNOWN
    kept = await world.store.key_of(one.digest)
    assert (kept.revoked_by, kept.revoked_why) == ("ann", "lost")
    assert kept.revoked_at == world.now - timedelta(seconds=1)


async def test_a_change_is_noted_before_and_settled_once(world: World) -> None:
    line = change(world.new_id())
    await world.twice(world.store.note_change, line, now=world.now)
    [noted] = await world.store.changes(ChangeFilter())
    assert (noted.at, noted.outcome, noted.after) == (world.now, None, None)
    world.turn(1)
    settle = world.store.settle_change
    await world.twice(settle, line.id, outcome="done", after='{"n":1}', now=world.now)
    assert await settle(line.id, outcome="else", after=None, now=world.now) is Answer.ALREADY
    assert await settle(world.new_id(), outcome="?", after=None, now=world.now) is Answer.UNKNOWN
    [settled] = await world.store.changes(ChangeFilter())
    assert (settled.outcome, settled.after, settled.settled_at) == ("done", '{"n":1}', world.now)
    assert settled.asked == line.asked


async def test_the_audit_is_read_by_tenant_newest_first(world: World) -> None:
    lines = [change(world.new_id(), subject=f"s{n % 2}", by=f"b{n % 3}") for n in range(6)]
    foreign = change(world.new_id(), tenant="other")
    for line in [*lines, foreign]:
        await world.store.note_change(line, now=world.now)
    ids = [line.id for line in reversed(lines)]
    cases = [
        (ChangeFilter(), ids),
        (ChangeFilter(limit=2), ids[:2]),
        (ChangeFilter(before=ids[1]), ids[2:]),
        (ChangeFilter(subject="s0"), [lines[4].id, lines[2].id, lines[0].id]),
        (ChangeFilter(by="b2"), [lines[5].id, lines[2].id]),
        (ChangeFilter(tenant="other"), [foreign.id]),
        (ChangeFilter(tenant="nobody"), []),
    ]
    for where, expected in cases:
        assert [one.id for one in await world.store.changes(where)] == expected, where


async def test_pruning_passes_keys_and_audit_by(world: World) -> None:
    one = api_key(world.new_id(), expires_at=world.now)
    await world.store.add_key(one, now=world.now)
    await world.store.revoke_key(one.id, by="ann", reason="lost", now=world.now)
    await world.store.note_change(change(world.new_id()), now=world.now)
    world.turn(timedelta(days=4000))
    await world.store.prune(Retention(), now=world.now)
    assert len(await world.store.keys()) == len(await world.store.changes(ChangeFilter())) == 1


async def test_a_person_makes_a_schedule_that_no_code_carries(world: World) -> None:
    made = minutely("mine")
    answers = await world.twice(world.edit, made, revision=0)
    assert answers == (Answer.DONE, Answer.ALREADY)
    row = await world.store.schedule("mine")
    assert (row.owner, row.source, row.revision, row.by) == (PEOPLE, Source.PERSON, 1, "alice")
    assert row.next_fire is not None
    assert await world.edit(minutely("mine", every="1h"), revision=0) is Answer.STALE
    world.turn(timedelta(days=1))
    assert await world.store.orphan(timedelta(minutes=10), now=world.now) == []
    assert await world.declare(minutely("mine", every="2h")) == [Declared.EDITED]


async def test_queues_are_counted_by_place(world: World) -> None:
    assert await world.store.queues() == {}
    await world.held()
    await world.enqueue(queue="mail")
    await world.enqueue(queue="mail", run_at=world.now + HOUR)
    assert await world.store.queues() == {
        "default": {"ready": 0, "running": 1, "later": 0},
        "mail": {"ready": 1, "running": 0, "later": 1},
    }


async def test_the_oldest_that_waits_is_known_of_each_queue(world: World) -> None:
    assert await world.store.fronts() == []
    await world.held()
    mails = [await world.enqueue(queue="mail", priority=n) for n in (0, 5, 0, -5)]
    await world.enqueue(queue="default")
    late = await world.enqueue(queue="dead", run_at=world.now + HOUR)
    fronts = await world.store.fronts()
    assert [(one.queue, one.running) for one in fronts] == [("default", True), ("mail", False)]
    assert fronts[1].run == mails[0], "whatever its priority is"
    world.turn(HOUR)
    await world.store.promote(now=world.now)
    assert (await world.store.fronts())[0].run == late
