"""Every cause has its sentence: each case brings it about for real, and asks why.

A case is a coroutine on a small world around the model store; it returns the thing to ask about.
The table says which words must be in the headline, and which among the causes or the helps.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from duly.app.explaining import Explaining, find_run
from duly.core.fleet import Proof
from duly.core.runs import NewRun, Origin
from duly.core.schedules import CatchUp, CatchUpMode, Definition, Overlap
from duly.core.states import RunVerb, ScheduleVerb
from duly.core.tasks import task_from
from duly.errors import InvalidValue, UnknownName
from duly.stores.memory import MemoryStore
from tests.stores.world import DAY, HOUR, MINUTE, T0, World, minutely
from tests.why.scene import Doubted

Case = Callable[[World], Awaitable[str]]


def work() -> None:
    """The task of every case."""


TASKS = {"t": task_from(work, name="t", limit_key="smtp", limit=2)}


def make_world() -> World:
    """A world whose store's clock is the world's own."""
    world: list[World] = []
    store = MemoryStore(lambda: world[0].now if world else T0)
    world.append(World(store))
    return world[0]


# --- runs -----------------------------------------------------------------------------------


async def scheduled(w: World) -> str:
    return str(await w.enqueue(run_at=w.now + HOUR))


async def never_promoted(w: World) -> str:
    run = await w.enqueue(run_at=w.now + MINUTE)
    w.turn(HOUR)
    return str(run)


async def no_worker_ever(w: World) -> str:
    return str(await w.enqueue())


async def no_worker_now(w: World) -> str:
    await w.boot()
    run = await w.enqueue()
    w.turn(HOUR)
    return str(run)


async def about_to_be_claimed(w: World) -> str:
    await w.boot()
    return str(await w.enqueue())


async def all_full(w: World) -> str:
    boot = await w.boot()
    await w.enqueue()
    await w.claim(boot)
    run = await w.enqueue()
    w.turn(30)
    return str(run)


async def queue_not_served(w: World) -> str:
    await w.boot()
    run = await w.enqueue(queue="mails")
    w.turn(MINUTE)
    return str(run)


async def other_code_only(w: World) -> str:
    await w.boot("u")
    return str(await w.enqueue())


async def waits_for_code(w: World) -> str:
    await w.boot("u")
    run = await w.enqueue()
    await w.store.shelve(now=w.now)
    return str(run)


async def waits_for_limit(w: World) -> str:
    boot = await w.boot()
    for _ in range(2):
        await w.enqueue(limit_key="smtp", limit=2)
    await w.claim(boot)
    return str(await w.enqueue(limit_key="smtp", limit=2))


async def waits_for_schedule(w: World) -> str:
    await w.declare(minutely(overlap=Overlap.QUEUE_ALL))
    await w.fire(MINUTE)
    return str((await w.fire(MINUTE)).fired[0][2])


async def sleeps(w: World) -> str:
    boot, run = await w.held()
    await w.end(boot, run, RunVerb.WAIT, reason="an answer", delay_us=60_000_000)
    return str(run.id)


async def running(w: World) -> str:
    _, run = await w.held()
    w.turn(5)
    return str(run.id)


async def stop_requested(w: World) -> str:
    _, run = await w.held()
    await w.store.cancel(run.id, by="anna", reason="wrong day", now=w.now)
    return str(run.id)


async def holder_lapsed(w: World) -> str:
    _, run = await w.held()
    w.turn(MINUTE)
    return str(run.id)


async def retrying(w: World) -> str:
    boot, run = await w.held()
    await w.end(boot, run, RunVerb.RETRY, error="Boom\nKeyError: 'x'", delay_us=3_000_000)
    return str(run.id)


async def taken_over(w: World) -> str:
    boot, run = await w.held()
    await w.die(boot)
    await w.claim(await w.boot())
    return str(run.id)


async def suspect(w: World) -> str:
    run = await w.enqueue()
    for _ in range(3):
        boot = await w.boot()
        await w.claim(boot)
        await w.die(boot)
    await w.boot()
    return str(run)


async def poison(w: World) -> str:
    run = await w.enqueue()
    for _ in range(4):
        boot = await w.boot()
        await w.claim(boot, queues=("default", "~suspect"))
        await w.die(boot)
    return str(run)


async def parked_for_approval(w: World) -> str:
    boot, run = await w.held()
    await w.end(boot, run, RunVerb.PARK, reason="approval")
    return str(run.id)


async def parked_uncertain(w: World) -> str:
    boot, run = await w.held()
    await w.end(boot, run, RunVerb.PARK, reason="uncertain")
    return str(run.id)


async def handed_back(w: World) -> str:
    boot, run = await w.held()
    await w.end(boot, run, RunVerb.RELEASE, reason="handed back at a stop")
    return str(run.id)


async def succeeded(w: World) -> str:
    boot, run = await w.held()
    w.turn(2)
    await w.complete(boot, run)
    return str(run.id)


async def failed(w: World) -> str:
    boot, run = await w.held()
    await w.end(boot, run, RunVerb.FAIL, error="ValueError: no such luck")
    return str(run.id)


async def cancelled(w: World) -> str:
    run = await w.enqueue()
    await w.store.cancel(run, by="anna", reason="wrong day", now=w.now)
    return str(run)


async def expired(w: World) -> str:
    run = await w.enqueue(expires_at=w.now + MINUTE)
    w.turn(HOUR)
    await w.store.expire(now=w.now)
    return str(run)


async def keyed(w: World) -> str:
    return str(await w.enqueue(key="order-7"))


async def backfilled(w: World) -> str:
    run = NewRun(id=w.new_id(), task="t", origin=Origin.BACKFILL, schedule="s", due=T0)
    await w.store.enqueue([run], now=w.now)
    return str(run.id)


RUNS: list[tuple[Case, str, str]] = [
    (scheduled, "scheduled for 2026-01-05 01:00:00 +00:00 (in 1 h)", "duly runs cancel"),
    (never_promoted, "nobody made it ready", "no live worker: none was ever seen"),
    (no_worker_ever, "but: no live worker", "none was ever seen"),
    (no_worker_now, "but: no live worker", "the last one was seen"),
    (about_to_be_claimed, "about to be claimed", "asked for by a call"),
    (all_full, "all workers are full", "host:1 holds 1"),
    (queue_not_served, "queue 'mails' is not served", "duly worker --queues mails"),
    (other_code_only, "no live instance carries the task t", "live instances carry: u"),
    (waits_for_code, "waits for code: no live instance carries the task t", "carry: u"),
    (waits_for_limit, "waits for limit smtp=2, held by runs", "duly why"),
    (waits_for_schedule, "waits for the earlier runs of schedule s", "fired by the clock"),
    (sleeps, "waits: an answer, until", "gave up its slot"),
    (running, "runs on host:1 since 2026-01-05 00:00:00 +00:00 (5 s ago), attempt 1", "cancel"),
    (stop_requested, "runs on host:1", "asked to stop by anna: wrong day"),
    (holder_lapsed, "runs on host:1", "will be taken over as soon as a worker is there"),
    (retrying, "1 of 4 attempts failed, next attempt in 3 s, last error: KeyError: 'x'", "failed"),
    (taken_over, "attempt 2", "taken over from host:1 (process gone)"),
    (suspect, "waits for an idle instance", "3 processes died while it ran"),
    (poison, "parked: poison: 4 processes died", "duly runs retry"),
    (parked_for_approval, "parked: approval", "a person has to approve it"),
    (parked_uncertain, "parked: uncertain", "no effect of t is uncertain on record"),
    (handed_back, "ready since", "handed back at a stop"),
    (succeeded, "succeeded at 2026-01-05 00:00:02 +00:00 (now) on host:1", "asked for by a call"),
    (failed, "after 1 failure with 3 retries allowed: ValueError: no such luck", "duly runs show"),
    (cancelled, "cancelled by anna: wrong day", "asked for by a call"),
    (expired, "expired at", "it had a deadline"),
    (keyed, "ready since", "under the key 'order-7'"),
    (backfilled, "ready since", "backfilled by hand for s of 2026-01-05"),
]


# --- schedules and occurrences --------------------------------------------------------------


def daily(**how: Any) -> Definition:
    """A schedule at one in the morning in Amsterdam."""
    trigger = {"kind": "cron", "expression": "0 1 * * *", "tz": "Europe/Amsterdam"}
    return Definition(name="s", task="t", trigger=trigger, **how)


async def active(w: World) -> str:
    await w.carry(daily())
    return "s"


async def nobody_fires(w: World) -> str:
    await w.declare(minutely())
    w.turn(HOUR)
    return "s"


async def paused(w: World) -> str:
    await w.declare(minutely())
    await w.move(ScheduleVerb.PAUSE)
    return "s"


async def retired(w: World) -> str:
    await w.declare(minutely())
    await w.move(ScheduleVerb.RETIRE)
    return "s"


async def orphaned(w: World) -> str:
    await w.declare(minutely())
    w.turn(HOUR)
    await w.store.orphan(timedelta(minutes=10), now=w.now)
    return "s"


async def tripped(w: World) -> str:
    await w.declare(minutely())
    await w.move(ScheduleVerb.TRIP)
    return "s"


async def disabled(w: World) -> str:
    await w.declare(minutely())
    await w.move(ScheduleVerb.DISABLE)
    return "s"


async def edited(w: World) -> str:
    await w.declare(minutely())
    await w.edit(minutely(every="2m"), 1)
    return "s"


async def over(w: World) -> str:
    at = (w.now + MINUTE).isoformat()
    await w.declare(Definition(name="s", task="t", trigger={"kind": "once", "at": at}))
    await w.fire(HOUR)
    return "s"


async def newest_run(w: World) -> str:
    await w.carry(minutely())
    await w.fire(MINUTE)
    return "s"


async def fired(w: World) -> str:
    await w.carry(minutely())
    await w.fire(MINUTE)
    return "s@2026-01-05T00:01"


async def overlapped(w: World) -> str:
    boot, _ = await w.carry(minutely(overlap=Overlap.SKIP))
    await w.fire(MINUTE)
    await w.claim(boot)
    await w.fire(MINUTE)
    return "s@2026-01-05T00:02:00Z"


async def missed(w: World) -> str:
    await w.declare(minutely())
    await w.fire(HOUR)
    return "s@2026-01-05T00:30"


async def too_old(w: World) -> str:
    await w.declare(daily())
    await w.fire(3 * DAY)
    return "s@2026-01-06"


async def blocked(w: World) -> str:
    await w.declare(minutely())
    await w.move(ScheduleVerb.PAUSE, reason="the mail server moves")
    w.turn(HOUR)
    await w.move(ScheduleVerb.RESUME)
    return "s@2026-01-05T00:30"


async def still_blocked(w: World) -> str:
    await w.declare(minutely())
    await w.move(ScheduleVerb.PAUSE)
    w.turn(HOUR)
    return "s@2026-01-05T00:30"


async def in_backlog(w: World) -> str:
    policy = CatchUp(mode=CatchUpMode.ALL, pace=timedelta(minutes=5))
    await w.declare(minutely(catch_up=policy))
    await w.fire(HOUR)
    return "s@2026-01-05T00:50"


async def caught_up(w: World) -> str:
    await w.carry(daily())
    await w.fire(timedelta(hours=5))
    return "s@2026-01-06T01:00+01:00"


async def caught_up_late(w: World) -> str:
    await w.carry(daily())
    await w.fire(DAY + HOUR)
    return "s@2026-01-06"


async def to_come(w: World) -> str:
    await w.carry(minutely())
    return "s@2026-01-05T00:05"


async def overdue(w: World) -> str:
    await w.declare(minutely())
    w.turn(HOUR)
    return "s@2026-01-05T00:05"


async def no_occurrence(w: World) -> str:
    await w.declare(minutely())
    return "s@2026-01-05T00:05:30"


async def before_it_was(w: World) -> str:
    await w.declare(daily())
    return "s@2026-01-04"


SCHEDULES: list[tuple[Case, str, str]] = [
    (active, "fires next at 2026-01-06 01:00:00 +01:00 (in 1 d)", "Europe/Amsterdam"),
    (nobody_fires, "overdue: should have fired", "duly worker"),
    (paused, "paused since 2026-01-05 00:00:00 +00:00 (now) by alice: why", "resume s"),
    (retired, "retired since", "duly schedules revive s"),
    (orphaned, "orphaned since", "start a worker whose code declares it"),
    (tripped, "its breaker is open", "every 1m"),
    (disabled, "by its owner's lifecycle: why", "every 1m"),
    (edited, "active", "its definition is an edit by alice"),
    (over, "nothing is to come", "fired at"),
    (newest_run, "active", ": ready"),
    (fired, "fired", "about to be claimed"),
    (overlapped, "was still running since 2026-01-05 00:01:00 +00:00 on host:1, overlap=skip", ""),
    (missed, "missed: nobody was there at its time, and catch_up is latest", "59 times"),
    (too_old, "missed: nobody was there at its time, and catch_up is latest", "backfill s"),
    (blocked, "blocked: paused: the mail server moves, by alice", "60 times"),
    (still_blocked, "is blocked: the schedule is paused", "duly schedules resume s"),
    (in_backlog, "waits in the backlog", ""),
    (caught_up, "not due yet: it comes in 19 h", ""),
    (caught_up_late, "fired", "ready since"),
    (to_come, "not due yet: it comes in 5 min", ""),
    (overdue, "overdue: no live worker", "duly doctor"),
    (no_occurrence, "not an occurrence", "2026-01-05 00:05:00 +00:00 and 2026-01-05 00:06:00"),
    (before_it_was, "never due: the schedule was first declared", "backfill s"),
]


@pytest.mark.parametrize(
    ("case", "headline", "more"), RUNS + SCHEDULES, ids=lambda one: getattr(one, "__name__", "")
)
async def test_every_cause_has_its_sentence(case: Case, headline: str, more: str) -> None:
    world = make_world()
    answer = await Explaining(world.store, TASKS).explain(await case(world))
    assert headline in answer.headline
    assert more in "\n".join((*answer.causes, *answer.helps))


async def test_an_untrusted_store_is_the_first_cause() -> None:
    world = make_world()
    await world.boot()
    run = await world.enqueue()
    answer = await Explaining(Doubted(world.store)).explain(str(run))
    assert "nobody accepted it" in " ".join(answer.causes)
    assert answer.helps == ("duly db accept",)


async def test_a_lease_takeover_names_its_proof() -> None:
    world = make_world()
    boot, run = await world.held()
    world.turn(MINUTE)
    await world.store.take_over(boot, Proof.LEASE, now=world.now)
    answer = await Explaining(world.store).explain(str(run.id))
    assert "taken over from host:1 (lease expired)" in answer.causes[1]


async def test_the_next_occurrences_flag_turns_of_the_clocks() -> None:
    world = make_world()
    world.now = datetime(2026, 3, 28, 12, tzinfo=UTC)
    trigger = {"kind": "cron", "expression": "30 2 * * *", "tz": "Europe/Amsterdam"}
    await world.declare(Definition(name="s", task="t", trigger=trigger))
    first, second = await Explaining(world.store).next("s", 2)
    assert first.startswith("2026-03-29 03:00:00 +02:00") and "in a gap" in first
    assert second.startswith("2026-03-30 02:30:00 +02:00") and "gap" not in second


BAD_THINGS = [
    ("nosuch", UnknownName, "no schedule is called 'nosuch'"),
    ("sch@2026-01-05T00:01", UnknownName, "did you mean"),
    ("01234567", UnknownName, "begins with '01234567'"),
    ("01234567-89ab-7cde-8f01-23456789abcd", UnknownName, "may have been pruned"),
    ("sched@yesterday", InvalidValue, "an occurrence to be a time such as"),
    ("sched@2026-01-05", InvalidValue, "several occurrences on that day"),
]


@pytest.mark.parametrize(("thing", "kind", "words"), BAD_THINGS)
async def test_a_thing_that_is_not_there_is_told_kindly(
    thing: str, kind: type[Exception], words: str
) -> None:
    world = make_world()
    await world.declare(minutely("sched"))
    with pytest.raises(kind, match=words):
        await Explaining(world.store).explain(thing)


async def test_a_prefix_finds_its_run_and_refuses_to_choose() -> None:
    world = make_world()
    runs = [await world.enqueue() for _ in range(3)]
    assert (await find_run(world.store, runs[1].hex)).id == runs[1]
    assert (await find_run(world.store, str(runs[1])[:14])).id == runs[1]
    with pytest.raises(InvalidValue, match="several runs begin with"):
        await find_run(world.store, str(runs[0])[:8])
