"""Schedules: declared by code, edited by people, moved between states; the past is settled."""

from __future__ import annotations

from datetime import timedelta

import pytest

from duly.core.runs import Answer
from duly.core.schedules import Declared, Source
from duly.core.states import ScheduleState, ScheduleVerb
from duly.core.verdicts import Verdict
from tests.stores.world import HOUR, MINUTE, T0, World, minutely

RECENT = timedelta(minutes=10)


async def test_a_new_schedule_begins_now(world: World) -> None:
    world.turn(30)
    first, second = await world.declare(minutely()), await world.declare(minutely())
    assert (first, second) == ([Declared.NEW], [Declared.SAME])
    row = await world.row()
    assert (row.state, row.revision, row.source) == (ScheduleState.ACTIVE, 1, Source.CODE)
    assert (row.fired_through, row.next_fire) == (world.now, T0 + MINUTE)
    assert (row.owner, row.created_at) == ("app", world.now)
    assert [one.name for one in await world.store.schedules()] == ["s"]
    assert await world.store.schedule("nobody") is None


async def test_answers_come_in_the_order_given(world: World) -> None:
    await world.declare(minutely("b"))
    answers = await world.declare(minutely("c"), minutely("b"), minutely("a"))
    assert answers == [Declared.NEW, Declared.SAME, Declared.NEW]
    assert [one.name for one in await world.store.schedules()] == ["a", "b", "c"]


async def test_a_revision_settles_the_old_one_first(world: World) -> None:
    await world.declare(minutely())
    world.turn(5 * MINUTE + timedelta(seconds=10))
    assert await world.declare(minutely(every="1h")) == [Declared.REVISED]
    row = await world.row()
    assert (row.revision, row.fired_through, row.next_fire) == (2, world.now, T0 + HOUR)
    assert await world.said() == [(Verdict.MISSED, 4), (Verdict.FIRED, 1)]
    assert {one.revision for one in await world.store.verdicts("s")} == {1}
    before = await world.store.snapshot()
    assert await world.declare(minutely(every="1h")) == [Declared.SAME]
    assert await world.store.snapshot() == before


async def test_an_old_process_that_restarts_does_not_revert_a_newer_revision(world: World) -> None:
    old, new = minutely(every="1m"), minutely(every="2m")
    await world.carry(old)
    await world.carry(new)
    _, answers = await world.carry(old)
    assert answers == [Declared.OLDER]
    assert (await world.row()).definition == new


async def test_a_rollback_of_the_whole_fleet_reverts(world: World) -> None:
    old, new = minutely(every="1m"), minutely(every="2m")
    await world.carry(old)
    boot, _ = await world.carry(new)
    await world.store.leave(boot, now=world.now)
    world.turn(RECENT + MINUTE)
    _, answers = await world.carry(old)
    assert answers == [Declared.REVISED]
    assert (await world.row()).definition == old


async def test_an_edit_wins_until_it_is_given_back(world: World) -> None:
    code, edit = minutely(), minutely(every="1h")
    await world.declare(code)
    assert await world.edit(edit, revision=1) is Answer.DONE
    assert await world.declare(code) == [Declared.EDITED]
    row = await world.row()
    assert (row.definition, row.source, row.revision) == (edit, Source.PERSON, 2)
    first, second = await world.twice(world.store.give_back, "s", by="bob", now=world.now)
    assert (first, second) == (Answer.DONE, Answer.ALREADY)
    assert (await world.row()).definition == edit
    assert await world.declare(code) == [Declared.REVISED]
    assert ((await world.row()).definition, (await world.row()).revision) == (code, 3)


async def test_the_second_of_two_edits_is_stale(world: World) -> None:
    await world.declare(minutely())
    first, second = await world.twice(world.edit, minutely(every="2m"), revision=1)
    assert (first, second) == (Answer.DONE, Answer.ALREADY)
    assert await world.edit(minutely(every="3m"), revision=1) is Answer.STALE
    assert await world.edit(minutely("nobody"), revision=1) is Answer.UNKNOWN
    assert await world.store.give_back("nobody", by="bob", now=world.now) is Answer.UNKNOWN


@pytest.mark.parametrize(
    ("away", "back", "state"),
    [
        (ScheduleVerb.PAUSE, ScheduleVerb.RESUME, "paused"),
        (ScheduleVerb.TRIP, ScheduleVerb.RESET, "tripped"),
        (ScheduleVerb.DISABLE, ScheduleVerb.ENABLE, "disabled"),
        (ScheduleVerb.RETIRE, ScheduleVerb.REVIVE, "retired"),
    ],
)
async def test_what_was_due_while_away_is_blocked(
    world: World, away: ScheduleVerb, back: ScheduleVerb, state: str
) -> None:
    await world.declare(minutely())
    world.turn(MINUTE)
    first, second = await world.twice(world.move, away)
    assert (first, second) == (Answer.DONE, Answer.ALREADY)
    row = await world.row()
    assert (row.state.value, row.next_fire, row.reason, row.by) == (state, None, "why", "alice")
    assert await world.said() == [(Verdict.FIRED, 1)]
    assert (await world.fire(3 * MINUTE)).fired == ()
    first, second = await world.twice(world.move, back)
    assert (first, second) == (Answer.DONE, Answer.ALREADY)
    blocked = (await world.store.verdicts("s"))[-1]
    assert (blocked.verdict, blocked.count) == (Verdict.BLOCKED, 3)
    assert (blocked.reason, blocked.by) == (f"{state}: why", "alice")
    [(_, due, _run)] = (await world.fire(MINUTE)).fired
    assert due == world.now


async def test_a_move_that_no_row_allows_is_impossible(world: World) -> None:
    await world.declare(minutely())
    await world.move(ScheduleVerb.PAUSE)
    for verb in (ScheduleVerb.RESET, ScheduleVerb.TRIP, ScheduleVerb.ADOPT):
        assert await world.move(verb) is Answer.IMPOSSIBLE
    assert await world.move(ScheduleVerb.PAUSE, "nobody") is Answer.UNKNOWN


async def test_a_move_of_a_revision_moves_no_other(world: World) -> None:
    await world.declare(minutely())
    seen = (await world.row()).revision
    await world.edit(minutely(every="1h"), seen)
    retire = ScheduleVerb.RETIRE
    answers = await world.twice(world.move, retire, revision=seen)
    assert answers == (Answer.STALE, Answer.STALE)
    assert (await world.row()).state.value == "active"
    answers = await world.twice(world.move, retire, revision=seen + 1)
    assert answers == (Answer.DONE, Answer.ALREADY)
    assert await world.move(retire, "nobody", revision=1) is Answer.UNKNOWN


async def test_what_a_person_retired_stays_retired(world: World) -> None:
    await world.declare(minutely())
    await world.move(ScheduleVerb.RETIRE)
    assert await world.declare(minutely(), minutely("x")) == [Declared.RETIRED, Declared.NEW]
    assert await world.declare(minutely(every="2m")) == [Declared.RETIRED]
    assert (await world.row()).state is ScheduleState.RETIRED


async def test_an_edit_of_a_paused_schedule_does_not_wake_it(world: World) -> None:
    await world.declare(minutely())
    await world.move(ScheduleVerb.PAUSE)
    world.turn(2 * MINUTE)
    await world.edit(minutely(every="2m"), revision=1)
    row = await world.row()
    assert (row.state, row.next_fire, row.reason) == (ScheduleState.PAUSED, None, "why")
    assert await world.said() == [(Verdict.BLOCKED, 2)]
    world.turn(4 * MINUTE)
    await world.move(ScheduleVerb.RESUME)
    assert await world.said() == [(Verdict.BLOCKED, 2), (Verdict.BLOCKED, 2)]


async def test_a_schedule_that_nobody_carries_retires_and_revives_by_itself(world: World) -> None:
    boot, _ = await world.carry(minutely())
    await world.store.leave(boot, now=world.now)
    world.turn(RECENT)
    assert await world.store.orphan(RECENT, now=world.now) == []
    world.turn(30)
    first, second = await world.twice(world.store.orphan, RECENT, now=world.now)
    assert (first, second) == (["s"], [])
    row = await world.row()
    assert (row.state, row.next_fire, row.by) == (ScheduleState.ORPHANED, None, "duly")
    [blocked] = await world.store.verdicts("s")
    assert (blocked.verdict, blocked.count, blocked.by) == (Verdict.BLOCKED, 10, "duly")
    assert blocked.reason == "orphaned: no live or recent instance declares it"
    world.turn(5 * MINUTE)
    assert await world.declare(minutely()) == [Declared.ADOPTED]
    assert (await world.row()).state is ScheduleState.ACTIVE
    assert await world.said() == [(Verdict.BLOCKED, 15)]


async def test_a_carried_or_edited_schedule_is_not_orphaned(world: World) -> None:
    boot, _ = await world.carry(minutely("a"))
    await world.carry(minutely("b"))
    await world.edit(minutely("b", every="2m"), revision=1)
    world.turn(HOUR)
    await world.store.beat(boot, queues=(), tasks=(), now=world.now)
    assert await world.store.orphan(RECENT, now=world.now) == []


async def test_an_edited_orphan_is_adopted_with_its_edit(world: World) -> None:
    code, edit = minutely(), minutely(every="2m")
    await world.declare(code)
    world.turn(HOUR)
    await world.store.orphan(RECENT, now=world.now)
    await world.edit(edit, revision=1)
    assert await world.declare(code) == [Declared.ADOPTED]
    row = await world.row()
    assert (row.state, row.definition, row.source) == (ScheduleState.ACTIVE, edit, Source.PERSON)
    assert await world.declare(code) == [Declared.EDITED]


async def test_a_tripped_schedule_keeps_its_reason_when_it_is_orphaned(world: World) -> None:
    await world.declare(minutely())
    await world.move(ScheduleVerb.TRIP)
    world.turn(HOUR)
    assert await world.store.orphan(RECENT, now=world.now) == ["s"]
    [blocked] = await world.store.verdicts("s")
    assert (blocked.count, blocked.reason, blocked.by) == (60, "tripped: why", "alice")


async def test_new_code_revives_an_orphan(world: World) -> None:
    await world.declare(minutely())
    world.turn(HOUR)
    await world.store.orphan(RECENT, now=world.now)
    assert await world.declare(minutely(every="2m")) == [Declared.REVISED]
    row = await world.row()
    assert (row.state, row.next_fire) == (ScheduleState.ACTIVE, world.now + 2 * MINUTE)
