"""Firing: once per occurrence, a verdict for each, and what was missed is caught up as asked."""

from __future__ import annotations

import itertools
from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest

from duly.core.runs import Answer, Origin, RunFilter
from duly.core.schedules import CatchUp, CatchUpMode, Overlap
from duly.core.states import RunVerb, ScheduleVerb
from duly.core.verdicts import Verdict
from duly.stores.base import Retention
from tests.stores.world import CATCH_ALL, DAY, HOUR, MINUTE, T0, World, minutely

PACED = msgspec.structs.replace(CATCH_ALL, pace=MINUTE)
BATCH = msgspec.structs.replace(CATCH_ALL, batch=True)


def minute(n: int) -> datetime:
    return T0 + n * MINUTE


async def dues(world: World) -> list[datetime | None]:
    return [one.due for one in reversed(await world.store.runs(RunFilter(limit=500)))]


async def test_an_occurrence_fires_once(world: World) -> None:
    await world.declare(minutely(args=b"[7]", priority=3, queue="q"))
    assert (await world.fire(59)).fired == ()
    first = await world.fire(1)
    [(name, due, run)] = first.fired
    assert (name, due, first.judged, first.more) == ("s", minute(1), 1, False)
    view = await world.view(run)
    assert (view.schedule, view.due, view.window_start) == ("s", minute(1), minute(0))
    assert (view.origin, view.args, view.priority, view.queue) == (Origin.CLOCK, b"[7]", 3, "q")
    before = await world.store.snapshot()
    again = await world.fire()
    assert (again.fired, await world.store.snapshot()) == ((), before)
    row = await world.row()
    assert (row.fired_through, row.next_fire, row.last_run) == (minute(1), minute(2), str(run))


async def test_an_occurrence_fires_once_even_after_everything_was_pruned(world: World) -> None:
    await world.declare(minutely())
    [(_, _, run)] = (await world.fire(MINUTE)).fired
    boot = await world.boot()
    await world.complete(boot, *await world.claim(boot))
    world.turn(30)
    await world.store.prune(
        Retention(history=timedelta(0), last=0, keys=timedelta(0)), now=world.now
    )
    assert await world.store.run(run) is None
    assert (await world.fire()).fired == ()
    for verb in (ScheduleVerb.PAUSE, ScheduleVerb.RESUME):
        await world.move(verb)
    assert await world.said() == [(Verdict.FIRED, 1)]


async def test_a_clock_that_steps_back_fires_nothing_again(world: World) -> None:
    await world.declare(minutely())
    await world.fire(3 * MINUTE)
    world.turn(-2 * MINUTE)
    assert (await world.fire()).fired == ()
    for verb in (ScheduleVerb.PAUSE, ScheduleVerb.RESUME):
        await world.move(verb)
    await world.edit(minutely(every="30s"), revision=1)
    assert (await world.fire(2 * MINUTE)).fired == ()
    assert [due for _, due, _ in (await world.fire(30)).fired] == [minute(3) + MINUTE / 2]
    assert await world.said() == [(Verdict.MISSED, 2), (Verdict.FIRED, 1), (Verdict.FIRED, 1)]


async def test_the_newest_is_caught_up_and_the_rest_missed_by_default(world: World) -> None:
    await world.declare(minutely())
    fired = await world.fire(5 * MINUTE + timedelta(seconds=59))
    [(_, due, run)] = fired.fired
    assert (due, (await world.view(run)).origin) == (minute(5), Origin.CLOCK)
    assert await world.said() == [(Verdict.MISSED, 4), (Verdict.FIRED, 1)]
    missed, _ = await world.store.verdicts("s")
    assert (missed.first, missed.last, missed.reason) == (
        minute(1),
        minute(4),
        "catch_up is latest",
    )


async def test_lateness_decides_what_is_caught_up(world: World) -> None:
    cases = [
        (CatchUpMode.SKIP, 60, Verdict.FIRED, Origin.CLOCK),
        (CatchUpMode.SKIP, 61, Verdict.MISSED, None),
        (CatchUpMode.LATEST, 61, Verdict.FIRED, Origin.CATCH_UP),
        (CatchUpMode.LATEST, 1800, Verdict.FIRED, Origin.CATCH_UP),
        (CatchUpMode.LATEST, 1801, Verdict.MISSED, None),
    ]
    for number, (mode, late, verdict, origin) in enumerate(cases):
        name = f"s{number}"
        catch_up = CatchUp(mode=mode, max_age=HOUR / 2)
        world.now = T0
        await world.declare(minutely(name, every="1h", catch_up=catch_up))
        fired = await world.fire(HOUR + timedelta(seconds=late))
        found = [(await world.view(run)).origin for one, _, run in fired.fired if one == name]
        assert found == ([origin] if origin else [])
        assert await world.said(name) == [(verdict, 1)]


async def test_catching_up_all_runs_each_in_order_beside_the_present(world: World) -> None:
    await world.declare(minutely(catch_up=CATCH_ALL))
    await world.fire(MINUTE)
    world.turn(5 * MINUTE)
    fired = await world.drain()
    assert [due for _, due, _ in fired] == [minute(n) for n in (6, 2, 3, 4, 5)]
    assert await world.said() == [(Verdict.FIRED, 1), (Verdict.FIRED, 4), (Verdict.FIRED, 1)]
    assert await world.store.backlogs("s") == []
    windows = [((await world.view(run)).window_start, due) for _, due, run in fired]
    assert sorted(windows) == [(minute(n - 1), minute(n)) for n in range(2, 7)]
    origins = [(await world.view(run)).origin for _, _, run in fired]
    assert origins == [Origin.CLOCK] + [Origin.CATCH_UP] * 4


async def test_a_paced_backlog_gives_one_at_a_time(world: World) -> None:
    await world.declare(minutely(every="1h", catch_up=PACED))
    fired = await world.fire(4 * HOUR)
    assert [due for _, due, _ in fired.fired] == [T0 + 4 * HOUR, T0 + HOUR]
    assert not fired.more
    [backlog] = await world.store.backlogs("s")
    assert (backlog.after, backlog.until, backlog.next_at, backlog.drained) == (
        T0 + HOUR, T0 + 3 * HOUR, world.now + MINUTE, 1,
    )  # fmt: skip
    horizon = await world.store.beat(world.new_id(), queues=(), tasks=(), now=world.now)
    assert horizon.next_fire == world.now + MINUTE
    assert (await world.fire(59)).fired == ()
    assert [due for _, due, _ in (await world.fire(1)).fired] == [T0 + 2 * HOUR]
    assert [due for _, due, _ in (await world.fire(MINUTE)).fired] == [T0 + 3 * HOUR]
    assert await world.store.backlogs("s") == []
    assert (await world.fire(MINUTE)).fired == ()


async def test_retiring_a_schedule_judges_what_was_left_of_its_backlog(world: World) -> None:
    await world.declare(minutely(every="1h", catch_up=PACED))
    await world.fire(4 * HOUR)
    how: dict[str, Any] = {
        "by": "ann",
        "reason": "moved house",
        "new_id": world.new_id,
        "now": world.now,
    }
    for answer in (Answer.DONE, Answer.ALREADY):
        assert await world.store.move("s", ScheduleVerb.RETIRE, **how) is answer
    assert await world.store.backlogs("s") == []
    found = await world.store.verdicts("s")
    assert [(one.first, one.count, one.verdict, one.reason, one.by) for one in found] == [
        (T0 + HOUR, 1, Verdict.FIRED, "caught up", "clock"),
        (T0 + 2 * HOUR, 2, Verdict.BLOCKED, "retired: moved house", "ann"),
        (T0 + 4 * HOUR, 1, Verdict.FIRED, "", "clock"),
    ]
    how["reason"] = ""
    assert await world.store.move("s", ScheduleVerb.REVIVE, **how) is Answer.DONE
    assert (await world.fire(MINUTE)).fired == ()


async def test_a_batched_backlog_is_one_run_over_the_whole_window(world: World) -> None:
    await world.declare(minutely(catch_up=BATCH))
    await world.fire(MINUTE)
    fired = await world.fire(9 * MINUTE)
    present, batch = [await world.view(run) for _, _, run in fired.fired]
    assert (present.due, present.window_start) == (minute(10), minute(9))
    assert (batch.due, batch.window_start) == (minute(9), minute(1))
    assert await world.said() == [(Verdict.FIRED, 1), (Verdict.FIRED, 8), (Verdict.FIRED, 1)]


async def test_what_is_too_old_or_too_much_is_missed(world: World) -> None:
    cases = [
        ("s1", CatchUp(mode=CatchUpMode.ALL, max_age=4 * MINUTE), "older than max_age", 5),
        ("s2", CatchUp(mode=CatchUpMode.ALL, max_count=3), "beyond max_count", 6),
        ("s3", CatchUp(mode=CatchUpMode.ALL, max_count=0), "beyond max_count", 9),
    ]
    for name, catch_up, reason, missed in cases:
        world.now = T0
        await world.declare(minutely(name, catch_up=catch_up))
        world.turn(10 * MINUTE)
        fired = [due for one, due, _ in await world.drain() if one == name]
        assert sorted(fired) == [minute(n) for n in range(missed + 1, 11)]
        first = (await world.store.verdicts(name))[0]
        assert (first.verdict, first.reason, first.count) == (Verdict.MISSED, reason, missed)


async def test_ranges_never_overlap_and_leave_no_hole(world: World) -> None:
    await world.declare(minutely(catch_up=PACED))
    for step in (3, 1, 4, 1, 5):
        await world.fire(step * MINUTE)
        await world.fire(5)
    await world.edit(minutely(every="2m", catch_up=CATCH_ALL), revision=1)
    await world.fire(10 * MINUTE)
    for _ in range(60):
        await world.fire(MINUTE)
    ranges = await world.store.verdicts("s")
    assert all(a.last < b.first for a, b in itertools.pairwise(ranges))
    assert sum(one.count for one in ranges if one.revision == 1) == 14


async def test_an_edit_never_reinterprets_the_past(world: World) -> None:
    await world.declare(minutely(catch_up=PACED))
    await world.fire(4 * MINUTE + timedelta(seconds=30))
    await world.edit(minutely(every="2m", args=b"[2]"), revision=1)
    fired = []
    for _ in range(3):
        fired += (await world.fire(MINUTE)).fired
    kept = [(due, (await world.view(run)).args) for _, due, run in fired]
    assert kept == [(minute(2), b"{}"), (minute(6), b"[2]"), (minute(3), b"{}")]
    window = [(await world.view(run)).window_start for _, due, run in fired if due == minute(6)]
    assert window == [minute(4)]


async def test_a_paused_schedule_drains_nothing(world: World) -> None:
    await world.declare(minutely(every="1h", catch_up=PACED))
    await world.fire(4 * HOUR)
    await world.move(ScheduleVerb.PAUSE)
    horizon = await world.store.beat(world.new_id(), queues=(), tasks=(), now=world.now)
    assert horizon.next_fire is None
    assert (await world.fire(10 * MINUTE)).fired == ()
    await world.move(ScheduleVerb.RESUME)
    assert [due for _, due, _ in (await world.fire()).fired] == [T0 + 2 * HOUR]


async def test_the_last_occurrence_of_a_trigger_fires_and_then_none(world: World) -> None:
    until = (T0 + 2 * MINUTE + timedelta(seconds=1)).isoformat()
    trigger = {"kind": "every", "interval": "1m", "end": until}
    bounded = msgspec.structs.replace(minutely(), trigger=trigger)
    once = msgspec.structs.replace(
        minutely("once"), trigger={"kind": "once", "at": minute(2).isoformat()}
    )
    await world.declare(bounded, once)
    await world.fire(MINUTE)
    fired = await world.fire(MINUTE)
    assert [(name, due) for name, due, _ in fired.fired] == [("once", minute(2)), ("s", minute(2))]
    for name in ("s", "once"):
        assert (await world.row(name)).next_fire is None
        for verb in (ScheduleVerb.PAUSE, ScheduleVerb.RESUME):
            world.turn(HOUR)
            await world.move(verb, name)
        assert (await world.row(name)).next_fire is None
    assert (await world.fire(DAY)).fired == ()
    assert await world.said() == [(Verdict.FIRED, 2)]


async def test_jitter_moves_the_firing_and_not_the_occurrence(world: World) -> None:
    await world.declare(minutely(jitter=timedelta(seconds=50)))
    row = await world.row()
    assert row.next_fire is not None
    assert minute(1) <= row.next_fire < minute(1) + timedelta(seconds=50)
    world.now = row.next_fire - timedelta(microseconds=1)
    assert (await world.fire()).fired == ()
    [(_, due, _)] = (await world.fire(timedelta(microseconds=1))).fired
    assert due == minute(1)


async def overlapping(world: World, overlap: Overlap, standing: str) -> list[datetime]:
    """Let the first run be queued, running, parked or ended; return what fires after it."""
    await world.declare(minutely(overlap=overlap))
    await world.fire(MINUTE)
    boot = await world.boot()
    if standing != "queued":
        [run] = await world.claim(boot)
        if standing == "parked":
            await world.end(boot, run, RunVerb.PARK, reason="uncertain")
        elif standing == "ended":
            await world.complete(boot, run)
    return [
        due for _, due, _ in (*(await world.fire(MINUTE)).fired, *(await world.fire(MINUTE)).fired)
    ]


@pytest.mark.parametrize(
    ("overlap", "standing", "fires"),
    [
        (Overlap.SKIP, "queued", []),
        (Overlap.SKIP, "running", []),
        (Overlap.SKIP, "parked", [2]),
        (Overlap.SKIP, "ended", [2]),
        (Overlap.QUEUE_ONE, "queued", []),
        (Overlap.QUEUE_ONE, "running", [2]),
        (Overlap.QUEUE_ONE, "parked", [2]),
        (Overlap.QUEUE_ALL, "running", [2, 3]),
        (Overlap.CANCEL_RUNNING, "running", [2, 3]),
        (Overlap.ALLOW, "running", [2, 3]),
    ],
)
async def test_overlap(world: World, overlap: Overlap, standing: str, fires: list[int]) -> None:
    assert await overlapping(world, overlap, standing) == [minute(n) for n in fires]
    skipped = 2 - len(fires)
    said = await world.said()
    assert sum(count for verdict, count in said if verdict is Verdict.SKIPPED) == skipped
    ready = (await world.store.counts()).get("ready", 0)
    serial = overlap is not Overlap.ALLOW
    assert ready <= 1 or not serial


async def test_queued_occurrences_run_one_after_another(world: World) -> None:
    await world.declare(minutely(overlap=Overlap.QUEUE_ALL))
    for _ in range(3):
        await world.fire(MINUTE)
    boot = await world.boot()
    order = []
    while claimed := await world.claim(boot):
        [run] = claimed
        order.append(run.due)
        await world.complete(boot, run)
    assert order == [minute(1), minute(2), minute(3)]


async def test_cancel_running_asks_the_earlier_run_to_stop(world: World) -> None:
    await world.declare(minutely(overlap=Overlap.CANCEL_RUNNING))
    [(_, _, first)] = (await world.fire(MINUTE)).fired
    boot = await world.boot()
    [held] = await world.claim(boot)
    fired = await world.fire(MINUTE)
    assert fired.cancelled == (first,)
    assert (await world.view(first)).cancel_requested == "duly: overlap is cancel_running"
    [(_, _, second)] = fired.fired
    assert await world.state(second) == "waiting"
    await world.end(boot, held, RunVerb.CANCEL, reason="asked to")
    assert await world.state(second) == "ready"
    third = await world.fire(MINUTE)
    assert (third.cancelled, await world.state(second)) == ((second,), "cancelled")
    assert await world.state(third.fired[0][2]) == "ready"


async def test_a_run_of_the_clock_expires_by_its_occurrence(world: World) -> None:
    await world.declare(minutely(every="1h", expires_after=5 * MINUTE))
    [(_, due, run)] = (await world.fire(HOUR + timedelta(seconds=30))).fired
    world.now = due + 5 * MINUTE
    assert await world.store.expire(now=world.now) == 1
    assert await world.state(run) == "expired"


async def test_firing_takes_so_many_and_says_when_there_is_more(world: World) -> None:
    await world.declare(*(minutely(f"s{n}") for n in range(5)))
    first = await world.fire(MINUTE, limit=2)
    assert ([name for name, _, _ in first.fired], first.more) == (["s0", "s1"], True)
    names = [name for name, _, _ in await world.drain()]
    assert names == ["s2", "s3", "s4"]


async def test_verdicts_are_found_by_time(world: World) -> None:
    await world.declare(minutely())
    for _ in range(3):
        await world.fire(2 * MINUTE)
    cases = [
        ({}, [1, 2, 3, 4, 5, 6]),
        ({"after": minute(3)}, [3, 4, 5, 6]),
        ({"until": minute(3)}, [1, 2, 3]),
        ({"after": minute(2), "until": minute(4)}, [2, 3, 4]),
        ({"after": minute(7)}, []),
    ]
    for where, expected in cases:
        found = await world.store.verdicts("s", **where)
        assert [one.first for one in found] == [minute(n) for n in expected]
    assert await world.store.verdicts("nobody") == []
    assert len(await dues(world)) == 3
