"""Causes of schedules and occurrences: why one fires or not, and what became of an instant."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from duly.core.firing import run_for
from duly.core.runs import Origin, RunFilter
from duly.core.schedules import CatchUp, CatchUpMode, Definition, Overlap
from duly.core.states import ScheduleVerb
from duly.core.why import Cause
from duly.stores.base import Retention
from tests.stores.world import DAY, HOUR, MINUTE, minutely
from tests.why.scene import Asked, Scene, Table

schedules = Table()
C = Cause


def daily(hour: str = "0 1", **how: Any) -> Definition:
    """A schedule on the clocks of Amsterdam; at one in the morning unless told otherwise."""
    gap = how.pop("gap", "after")
    trigger = {"kind": "cron", "expression": f"{hour} * * *", "tz": "Europe/Amsterdam", "gap": gap}
    return Definition(name="s", task="t", trigger=trigger, **how)


# --- schedules --------------------------------------------------------------------------------


@schedules(C.ACTIVE, "active: fires next at 2026-01-06 01:00:00 +01:00 (in 1 d)")
async def its_next_occurrence(s: Scene) -> Asked:
    """Nothing stands in its way: its next occurrence has not come."""
    await s.carry(daily())
    return Asked("s", ("cron '0 1 * * *' in Europe/Amsterdam",))


@schedules(
    C.NO_WORKER, "active: fires next at", "but no live worker: none was ever seen", also=(C.ACTIVE,)
)
async def nobody_will_fire_it(s: Scene) -> Asked:
    """It is active, but no instance is there to fire it."""
    await s.declare(daily())
    return Asked("s", ("duly worker",))


@schedules(
    C.NO_WORKER,
    "overdue: should have fired at 2026-01-05 00:01:00 +00:00 (59 min ago)",
    also=(C.OVERDUE,),
)
async def nobody_fired_it(s: Scene) -> Asked:
    """It should have fired an hour ago, and no instance is there."""
    await s.declare(minutely())
    s.turn(HOUR)
    return Asked("s", ("no live worker: none was ever seen",))


@schedules(
    C.NEXT_LOOK,
    "overdue: should have fired at 2026-01-05 00:01:00 +00:00 (15 s ago)",
    also=(C.OVERDUE,),
)
async def a_poll_will_fire_it(s: Scene) -> Asked:
    """It should have fired a moment ago, and instances are there."""
    await s.declare(minutely())
    s.turn(timedelta(seconds=75))
    await s.boot()
    return Asked("s", ("the next poll at the latest (30 s) should do it",))


@schedules(
    C.STORE_UNTRUSTED,
    "active: fires next at",
    "but the store was restored or failed over",
    also=(C.ACTIVE,),
)
async def nothing_fires_in_a_restored_store(s: Scene) -> Asked:
    """It is active and instances are there, but the store was restored and nobody accepted it."""
    await s.carry(daily())
    s.trusted = False
    return Asked("s", ("nobody accepted it: nothing runs", "duly db accept"))


@schedules(
    C.STORE_UNTRUSTED,
    "overdue: the store was restored or failed over",
    also=(C.OVERDUE,),
)
async def due_in_a_restored_store(s: Scene) -> Asked:
    """An occurrence is due, in a store that was restored and that nobody accepted."""
    await s.carry(minutely())
    s.turn(MINUTE)
    s.trusted = False
    return Asked(f"s@{s.now.isoformat()}", ("duly db accept",))


@schedules(
    C.NO_CODE, "active: fires next at", "but no live instance carries the task t", also=(C.ACTIVE,)
)
async def nobody_has_its_code(s: Scene) -> Asked:
    """It is active, but no live instance has code for its task."""
    await s.declare(minutely())
    await s.boot("u")
    return Asked("s", ("live instances carry: u",))


@schedules(C.PAUSED, "paused since 2026-01-05 00:00:00 +00:00 (1 h ago) by alice: moving house")
async def paused_by_a_person(s: Scene) -> Asked:
    """A person paused it."""
    await s.declare(minutely())
    await s.move(ScheduleVerb.PAUSE, reason="moving house")
    s.turn(HOUR)
    return Asked("s", ("duly schedules resume s",))


@schedules(C.RETIRED, "retired since 2026-01-05 00:00:00 +00:00 (now) by alice: why")
async def retired_by_a_person(s: Scene) -> Asked:
    """A person retired it."""
    await s.declare(minutely())
    await s.move(ScheduleVerb.RETIRE)
    return Asked("s", ("duly schedules revive s",))


@schedules(C.ORPHANED, "orphaned since 2026-01-05 01:00:00 +00:00 (now): no live or recent")
async def orphaned_by_its_code(s: Scene) -> Asked:
    """No live or recent instance declares it any more."""
    await s.declare(minutely())
    s.turn(HOUR)
    await s.store.orphan(timedelta(minutes=10), now=s.now)
    return Asked("s", ("start a worker whose code declares it",))


@schedules(C.DISABLED, "disabled since 2026-01-05 00:00:00 +00:00 (now)", "lifecycle: why")
async def disabled_by_its_owner(s: Scene) -> Asked:
    """Its owner's lifecycle disabled it."""
    await s.declare(minutely())
    await s.move(ScheduleVerb.DISABLE)
    return Asked("s", ("every 1m",))


@schedules(C.OVER, "active, but nothing is to come")
async def it_never_fires_again(s: Scene) -> Asked:
    """Its trigger has no further occurrence."""
    at = (s.now + MINUTE).isoformat()
    await s.declare(Definition(name="s", task="t", trigger={"kind": "once", "at": at}))
    await s.fire(HOUR)
    return Asked("s", ("fired at 2026-01-05 00:01:00 +00:00",))


@schedules(C.ACTIVE, "active: fires next at", also=(C.EDITED,))
async def edited_by_a_person(s: Scene) -> Asked:
    """A person's edit holds against what code declares."""
    await s.carry(minutely())
    await s.edit(minutely(every="2m"), 1)
    return Asked("s", ("its definition is an edit by alice", "give-back s", "every 2m"))


@schedules(C.ACTIVE, "active: fires next at", also=(C.IN_BACKLOG,))
async def it_is_catching_up(s: Scene) -> Asked:
    """A missed stretch waits in its backlog, and is drained at its pace."""
    policy = CatchUp(mode=CatchUpMode.ALL, pace=timedelta(minutes=5))
    await s.declare(minutely(catch_up=policy))
    await s.fire(HOUR)
    await s.fire()
    await s.carry(minutely(catch_up=policy))
    told = "to 2026-01-05 00:59:00 +00:00 wait to be caught up, 1 are already, next at"
    return Asked("s", (told, "2026-01-05 01:05:00 +00:00 (in 5 min)"))


# --- occurrences that ran ---------------------------------------------------------------------


@schedules(C.FIRED, "fired", also=(C.ABOUT_TO_START,))
async def it_fired(s: Scene) -> Asked:
    """The clock fired it at its time."""
    await s.carry(minutely())
    run = (await s.fire(MINUTE)).fired[0][2]
    return Asked("s@2026-01-05T00:01", (f"run {run}: ready since",), (str(run), "s"))


@schedules(C.FIRED_LATE, "fired, 5 h late", also=(C.NO_WORKER,))
async def it_fired_late(s: Scene) -> Asked:
    """No instance was there at its time; the first that came fired it."""
    await s.declare(daily())
    s.turn(DAY + 4 * HOUR)
    await s.boot()
    s.turn(HOUR)
    run = (await s.fire()).fired[0][2]
    told = "no instance that is on record was there at its time"
    first = "the first after it was host:1, from 2026-01-06 05:00:00 +01:00 (1 h ago)"
    return Asked("s@2026-01-06T01:00:00+01:00", (told, first), (str(run),))


@schedules(C.CAUGHT_UP, "fired: caught up", also=(C.ABOUT_TO_START,))
async def it_was_caught_up(s: Scene) -> Asked:
    """It was missed, and run from the backlog afterwards."""
    await s.declare(minutely(catch_up=CatchUp(mode=CatchUpMode.ALL)))
    await s.fire(HOUR)
    await s.drain()
    await s.boot()
    return Asked("s@2026-01-05T00:30", ("ready since 2026-01-05 01:00:00",))


@schedules(C.COALESCED, "fired: caught up in one run")
async def one_run_stood_for_many(s: Scene) -> Asked:
    """Its catch-up makes one run of a whole missed stretch."""
    await s.declare(minutely(catch_up=CatchUp(mode=CatchUpMode.ALL, batch=True)))
    await s.fire(HOUR)
    await s.drain()
    runs = [
        one
        for one in await s.store.runs(RunFilter(schedule="s", limit=100))
        if one.due == s.now - MINUTE
    ]
    told = f"the run {runs[0].id} stands for it too, and for all up to 2026-01-05 00:59:00"
    return Asked("s@2026-01-05T00:30", (told,), (str(runs[0].id),))


@schedules(C.FIRED, "fired", also=(C.HISTORY_PRUNED,))
async def its_history_was_pruned(s: Scene) -> Asked:
    """It ran, and its run is no longer kept; the verdict is."""
    boot, _ = await s.carry(minutely())
    await s.fire(MINUTE)
    await s.complete(boot, *await s.claim(boot))
    s.turn(HOUR)
    await s.store.prune(Retention(history=MINUTE, last=0), now=s.now)
    return Asked("s@2026-01-05T00:01", ("its history was pruned",), ("s",))


@schedules(C.BY_HAND, "run by hand or by a backfill", also=(C.ABOUT_TO_START,))
async def triggered_by_a_person(s: Scene) -> Asked:
    """A person had it run before its time."""
    await s.carry(minutely())
    due = s.now + HOUR
    how = {"origin": Origin.TRIGGER, "run_id": s.new_id(), "by": "anna"}
    run = run_for(minutely(), due, **how)  # type: ignore[arg-type]
    await s.store.enqueue([run], now=s.now)
    return Asked("s@2026-01-05T01:00", (f"run {run.id}: ready",), (str(run.id),))


@schedules(C.NOT_YET_DUE, "not due yet: it comes in 83 d 1 h", also=(C.MOVED_BY_GAP,))
async def moved_by_a_gap(s: Scene) -> Asked:
    """Its clock time does not exist that day: it runs at the first instant after the gap."""
    await s.carry(daily("30 2"))
    told = "the clocks of Europe/Amsterdam turn there: in a gap: moved to first instant after"
    return Asked("s@2026-03-29T02:30", (told,))


@schedules(C.LOST_IN_GAP, "the clocks passed over that time, up to 2026-03-29 03:00:00 +02:00")
async def lost_in_a_gap(s: Scene) -> Asked:
    """Its clock time does not exist that day, and it skips gaps."""
    await s.carry(daily("30 2", gap="skip"))
    return Asked("s@2026-03-29T02:30", ("in a gap skipped", "2026-03-30 02:30:00 +02:00"))


@schedules(C.NOT_YET_DUE, "not due yet", also=(C.REPEATED_HOUR,))
async def in_a_repeated_hour(s: Scene) -> Asked:
    """Its clock time comes twice that day, and it runs in the first pass."""
    await s.carry(daily("30 2"))
    return Asked("s@2026-10-25T02:30", ("repeated hour: first",))


# --- occurrences that did not -----------------------------------------------------------------


@schedules(C.SKIPPED_RUNNING, "was still running since 2026-01-05 00:01:00 +00:00 on host:1")
async def skipped_by_overlap(s: Scene) -> Asked:
    """The run before was still running, and overlap is skip."""
    boot, _ = await s.carry(minutely(overlap=Overlap.SKIP))
    run = (await s.fire(MINUTE)).fired[0][2]
    await s.claim(boot)
    await s.fire(MINUTE)
    return Asked("s@2026-01-05T00:02:00Z", (f"run {run}", "overlap=skip"), (str(run),))


@schedules(C.SKIPPED_QUEUED, "is already queued; overlap is queue_one")
async def skipped_behind_a_queued_one(s: Scene) -> Asked:
    """A run of it was queued already, and overlap is queue_one."""
    await s.declare(minutely(overlap=Overlap.QUEUE_ONE))
    run = (await s.fire(MINUTE)).fired[0][2]
    await s.fire(MINUTE)
    return Asked("s@2026-01-05T00:02:00Z", (f"skipped: run {run}",), (str(run),))


async def missed(s: Scene, policy: CatchUp, due: str) -> Asked:
    """Miss an hour of a minutely schedule under a policy."""
    await s.declare(minutely(catch_up=policy))
    await s.fire(HOUR)
    return Asked(due, ("no instance that is on record was there at its time",))


@schedules(
    C.MISSED_FOR_LATEST,
    "missed: nobody was there at its time, and catch_up is latest",
    also=(C.NO_WORKER,),
)
async def missed_for_a_later_one(s: Scene) -> Asked:
    """Nobody was there, and catch_up is latest: the newest one stands for it."""
    asked = await missed(s, CatchUp(), "s@2026-01-05T00:30")
    return asked._replace(evidence=(*asked.evidence, "missed 59 times from 2026-01-05 00:01:00"))


@schedules(
    C.MISSED_POLICY,
    "missed: nobody was there at its time, and catch_up is skip",
    also=(C.NO_WORKER,),
)
async def missed_by_policy(s: Scene) -> Asked:
    """Nobody was there, and catch_up is skip."""
    return await missed(s, CatchUp(mode=CatchUpMode.SKIP), "s@2026-01-05T00:30")


@schedules(
    C.MISSED_TOO_OLD,
    "missed: nobody was there at its time, and older than max_age",
    also=(C.NO_WORKER,),
)
async def missed_and_too_old(s: Scene) -> Asked:
    """Nobody was there, and it is older than max_age."""
    policy = CatchUp(mode=CatchUpMode.ALL, max_age=timedelta(minutes=10))
    return await missed(s, policy, "s@2026-01-05T00:30")


@schedules(
    C.MISSED_TOO_MANY,
    "missed: nobody was there at its time, and beyond max_count",
    also=(C.NO_WORKER,),
)
async def missed_beyond_the_count(s: Scene) -> Asked:
    """Nobody was there, and more were missed than max_count catches up."""
    policy = CatchUp(mode=CatchUpMode.ALL, max_count=5)
    return await missed(s, policy, "s@2026-01-05T00:30")


@schedules(
    C.IN_BACKLOG,
    "missed at its time, and waits in the backlog to be caught up",
    also=(C.NO_WORKER,),
)
async def it_waits_in_the_backlog(s: Scene) -> Asked:
    """It was missed, and its turn in the backlog has not come."""
    policy = CatchUp(mode=CatchUpMode.ALL, pace=timedelta(minutes=5))
    await s.declare(minutely(catch_up=policy))
    await s.fire(HOUR)
    return Asked(
        "s@2026-01-05T00:50", ("1 are already, next at 2026-01-05 01:05:00 +00:00 (in 5 min)",)
    )


async def blocked(s: Scene, away: ScheduleVerb, back: ScheduleVerb) -> Asked:
    """Hold a schedule back for an hour."""
    await s.declare(minutely())
    await s.move(away, reason="the mail server moves")
    s.turn(HOUR)
    await s.move(back)
    return Asked("s@2026-01-05T00:30", ("60 times from 2026-01-05 00:01:00 +00:00",), ("s",))


@schedules(C.BLOCKED_PAUSED, "blocked: paused: the mail server moves, by alice")
async def blocked_while_paused(s: Scene) -> Asked:
    """A person had paused its schedule at that time."""
    return await blocked(s, ScheduleVerb.PAUSE, ScheduleVerb.RESUME)


@schedules(C.BLOCKED_TRIPPED, "blocked: tripped: the mail server moves, by alice")
async def blocked_while_tripped(s: Scene) -> Asked:
    """The breaker of its schedule was open at that time."""
    return await blocked(s, ScheduleVerb.TRIP, ScheduleVerb.RESET)


@schedules(C.BLOCKED_DISABLED, "blocked: disabled: the mail server moves, by alice")
async def blocked_while_disabled(s: Scene) -> Asked:
    """Its schedule was disabled by its owner's lifecycle at that time."""
    return await blocked(s, ScheduleVerb.DISABLE, ScheduleVerb.ENABLE)


@schedules(C.BLOCKED_RETIRED, "blocked: retired: the mail server moves, by alice")
async def blocked_while_retired(s: Scene) -> Asked:
    """A person had retired its schedule at that time."""
    return await blocked(s, ScheduleVerb.RETIRE, ScheduleVerb.REVIVE)


@schedules(C.BLOCKED_ORPHANED, "blocked: orphaned: no live or recent instance declares it, by duly")
async def blocked_while_orphaned(s: Scene) -> Asked:
    """No live or recent instance declared its schedule at that time."""
    await s.declare(minutely())
    s.turn(HOUR)
    await s.store.orphan(timedelta(minutes=10), now=s.now)
    await s.carry(minutely())
    return Asked("s@2026-01-05T00:30", ("60 times from 2026-01-05 00:01:00 +00:00",), ("s",))


@schedules(C.BLOCKED_PAUSED, "is blocked: the schedule is paused since 2026-01-05 00:00:00 +00:00")
async def it_is_blocked_now(s: Scene) -> Asked:
    """Its time came while its schedule is paused, and it still is."""
    await s.declare(minutely())
    await s.move(ScheduleVerb.PAUSE)
    s.turn(HOUR)
    return Asked("s@2026-01-05T00:30", ("by alice: why", "duly schedules resume s"))


@schedules(C.NO_WORKER, "overdue: no live worker: none was ever seen", also=(C.OVERDUE,))
async def it_is_overdue(s: Scene) -> Asked:
    """Its time came, and no instance is there to fire it."""
    await s.declare(minutely())
    s.turn(HOUR)
    return Asked("s@2026-01-05T00:05", ("duly doctor",))


@schedules(C.NOT_YET_DUE, "not due yet: it comes in 5 min")
async def it_is_still_to_come(s: Scene) -> Asked:
    """Its time has not come."""
    await s.carry(minutely())
    return Asked("s@2026-01-05T00:05")


@schedules(C.NOT_AN_OCCURRENCE, "not an occurrence: the schedule is not due at that instant")
async def never_an_occurrence(s: Scene) -> Asked:
    """Its schedule is never due at that instant."""
    await s.declare(minutely())
    near = "2026-01-05 00:05:00 +00:00 and 2026-01-05 00:06:00 +00:00"
    return Asked("s@2026-01-05T00:05:30", (near,))


@schedules(
    C.NOT_AN_OCCURRENCE,
    "not an occurrence: the schedule is not due at that instant",
    also=(C.OTHER_DEFINITION,),
)
async def due_before_an_edit(s: Scene) -> Asked:
    """Another definition held then, under which it fired; its run is pruned."""
    boot, _ = await s.carry(minutely())
    await s.fire(MINUTE)
    await s.complete(boot, *await s.claim(boot))
    await s.edit(minutely(every="2m"), 1)
    s.turn(HOUR)
    await s.store.prune(Retention(history=MINUTE, last=0), now=s.now)
    return Asked("s@2026-01-05T00:01", ("then revision 1 held; now 2", "every 2m"))


@schedules(C.BEFORE_DECLARED, "never due: the schedule was first declared at 2026-01-05 01:00:00")
async def before_it_was_declared(s: Scene) -> Asked:
    """Its schedule was declared after that instant."""
    await s.declare(daily())
    return Asked("s@2026-01-04", ("duly schedules backfill s",))
