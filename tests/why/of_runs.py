"""Causes of runs that have not begun, and of runs that are under way."""

from __future__ import annotations

from datetime import timedelta

from duly.core.fleet import Proof
from duly.core.runs import NewRun, Origin
from duly.core.schedules import Overlap
from duly.core.states import RunVerb
from duly.core.why import Cause
from tests.stores.world import DAY, HOUR, MINUTE, T0, minutely
from tests.why.scene import Asked, Scene, Table

runs = Table()
C = Cause

# --- it has not begun -------------------------------------------------------------------------


@runs(C.NOT_YET_DUE, "scheduled for 2026-01-05 01:00:00 +00:00 (in 1 h)", also=(C.ASKED_FOR,))
async def waits_for_its_time(s: Scene) -> Asked:
    """It was asked for with a time that has not come."""
    return Asked(str(await s.enqueue(run_at=s.now + HOUR)))


@runs(
    C.NO_WORKER,
    "due since 2026-01-05 00:01:00 +00:00 (59 min ago), but nobody made it ready",
    also=(C.ASKED_FOR,),
)
async def nobody_made_it_ready(s: Scene) -> Asked:
    """Its time came while no instance was there to make it ready."""
    run = await s.enqueue(run_at=s.now + MINUTE)
    s.turn(HOUR)
    return Asked(str(run), ("no live worker: none was ever seen",))


@runs(
    C.NO_WORKER,
    "ready since 2026-01-05 00:00:00 +00:00 (1 h ago), but: no live worker",
    also=(C.ASKED_FOR,),
)
async def no_worker_is_there(s: Scene) -> Asked:
    """It is ready, and the last instance was seen an hour ago."""
    await s.boot()
    run = await s.enqueue()
    s.turn(HOUR)
    return Asked(str(run), ("the last one was seen 2026-01-05 00:00:00 +00:00 (1 h ago)",))


@runs(C.STORE_UNTRUSTED, "but: the store is not trusted", also=(C.ASKED_FOR,))
async def the_store_was_restored(s: Scene) -> Asked:
    """The store was restored from a backup, and nobody has accepted it."""
    await s.boot()
    s.trusted = False
    return Asked(str(await s.enqueue()), ("restored or failed over, and nobody accepted it",))


@runs(C.NEXT_LOOK, "due since", "nobody made it ready", also=(C.ASKED_FOR,))
async def the_next_poll_will_do_it(s: Scene) -> Asked:
    """Its time came a moment ago, its wake was lost, and instances are there."""
    run = await s.enqueue(run_at=s.now + MINUTE)
    s.turn(timedelta(seconds=75))
    await s.boot()
    return Asked(str(run), ("the next poll at the latest (30 s) should do it",))


@runs(C.NO_CODE, "but: no live instance carries the task t", also=(C.ASKED_FOR,))
async def no_instance_has_its_code(s: Scene) -> Asked:
    """Instances are there, but none has code for its task."""
    await s.boot("u")
    return Asked(str(await s.enqueue()), ("live instances carry: u",))


@runs(C.NO_CODE, "waits for code: no live instance carries the task t", also=(C.ASKED_FOR,))
async def shelved_without_code(s: Scene) -> Asked:
    """It was moved aside, because no live instance has code for its task."""
    await s.boot("u")
    run = await s.enqueue()
    await s.store.shelve(now=s.now)
    return Asked(str(run), ("live instances carry: u",))


@runs(C.QUEUE_UNSERVED, "but: queue 'mails' is not served", also=(C.ASKED_FOR,))
async def nobody_serves_its_queue(s: Scene) -> Asked:
    """An instance with its code is idle, and does not claim from its queue."""
    await s.boot()
    run = await s.enqueue(queue="mails")
    s.turn(MINUTE)
    return Asked(str(run), ("host:1 carries t and is idle",), ("queue:mails",))


@runs(C.ALL_BUSY, "but: all workers are full", also=(C.ASKED_FOR,))
async def every_worker_is_busy(s: Scene) -> Asked:
    """Every instance with its code is at work on other runs."""
    boot = await s.boot()
    await s.enqueue()
    await s.claim(boot)
    run = await s.enqueue()
    s.turn(30)
    return Asked(str(run), ("host:1 holds 1",), (f"instance:{boot}",))


@runs(
    C.BEHIND_OTHERS,
    "but: 2 runs of the queue 'default' go before it",
    also=(
        C.ASKED_FOR,
        C.ALL_BUSY,
    ),
)
async def others_go_first(s: Scene) -> Asked:
    """Workers are busy, and runs of a higher priority wait in the same queue."""
    boot = await s.boot()
    await s.enqueue()
    await s.claim(boot)
    run = await s.enqueue()
    urgent = await s.enqueue(priority=9)
    await s.enqueue(priority=5)
    s.turn(30)
    told = f"next is the run {urgent} of t, priority 9, 2 of them of a higher priority"
    return Asked(str(run), (told, "host:1 holds 1"), (str(urgent), "queue:default"))


@runs(C.ABOUT_TO_START, "ready since", "about to be claimed", also=(C.ASKED_FOR,))
async def about_to_be_claimed(s: Scene) -> Asked:
    """It was asked for a moment ago, and an instance with its code is there."""
    await s.boot()
    return Asked(str(await s.enqueue(asked_by="anna")), ("asked for by anna, at 2026-01-05",))


@runs(C.WAITS_FOR_LIMIT, "waits for limit smtp=2, held by runs", also=(C.ASKED_FOR,))
async def a_limit_is_full(s: Scene) -> Asked:
    """Its task has a limit of two, and two other runs hold it."""
    boot = await s.boot()
    first, second = [await s.enqueue(limit_key="smtp", limit=2) for _ in range(2)]
    await s.claim(boot)
    run = await s.enqueue(limit_key="smtp", limit=2)
    held = "(running on host:1 since 2026-01-05 00:00:00 +00:00)"
    return Asked(str(run), (f"{first} {held}", f"{second} {held}"), (str(first), "limit:smtp"))


@runs(
    C.WAITS_FOR_EARLIER_RUN,
    "waits for the earlier runs of schedule s, held by run",
    also=(C.FIRED,),
)
async def an_earlier_run_of_its_schedule(s: Scene) -> Asked:
    """Overlap is queue_all, and the run of the occurrence before is not done."""
    await s.declare(minutely(overlap=Overlap.QUEUE_ALL))
    first = (await s.fire(MINUTE)).fired[0][2]
    run = (await s.fire(MINUTE)).fired[0][2]
    due = "s@2026-01-05T00:02:00+00:00"
    return Asked(str(run), (f"{first} (ready)", "fired by the clock for"), (str(first), due))


# --- where it came from -----------------------------------------------------------------------


@runs(C.ABOUT_TO_START, "about to be claimed", also=(C.UNDER_KEY,))
async def asked_for_under_a_key(s: Scene) -> Asked:
    """It was asked for twice under one key: the second call joined the first."""
    await s.boot()
    run = await s.enqueue(key="order-7")
    assert await s.enqueue(key="order-7") == run
    return Asked(str(run), ("asked for by a call under the key 'order-7', at 2026-01-05",))


@runs(C.ABOUT_TO_START, "about to be claimed", also=(C.BACKFILLED,))
async def backfilled_by_a_person(s: Scene) -> Asked:
    """A person had a past occurrence run after all."""
    await s.carry(minutely())
    run = NewRun(
        id=s.new_id(), task="t", origin=Origin.BACKFILL, schedule="s", due=T0 - DAY, asked_by="anna"
    )
    await s.store.enqueue([run], now=s.now)
    told = "backfilled by anna for s of 2026-01-04 00:00:00 +00:00, at 2026-01-05"
    return Asked(str(run.id), (told,), ("s@2026-01-04T00:00:00+00:00",))


@runs(C.ABOUT_TO_START, "about to be claimed", also=(C.CHILD_OF_RUN,))
async def started_by_another_run(s: Scene) -> Asked:
    """Another run started it."""
    _, parent = await s.held()
    child = await s.child(parent.id)
    return Asked(str(child), (f"started by the run {parent.id}",), (str(parent.id),))


@runs(C.ABOUT_TO_START, "about to be claimed", also=(C.FORK_OF_RUN,))
async def forked_from_another_run(s: Scene) -> Asked:
    """A person let a run go on anew from one of its steps."""
    boot, old = await s.held()
    await s.keep(boot, old, "rows", "send")
    await s.end(boot, old, RunVerb.FAIL, error="ValueError: bad row")
    new = s.new_id()
    await s.store.fork(old.id, at="send", new=new, by="anna", now=s.now)
    told = ("forked by anna from an earlier run", f"the effects of the run {old.id}")
    return Asked(str(new), (*told, "remembered: rows; not done again"), (str(old.id),))


# --- it is under way --------------------------------------------------------------------------


@runs(
    C.RUNNING,
    "runs on host:1 since 2026-01-05 00:00:00 +00:00 (5 s ago), attempt 1",
    also=(C.ASKED_FOR,),
)
async def it_is_running(s: Scene) -> Asked:
    """An instance claimed it, and is at work."""
    boot, run = await s.held()
    s.turn(5)
    return Asked(str(run.id), (), (f"instance:{boot}",))


@runs(
    C.CANCEL_ASKED,
    "runs on host:1 since",
    also=(
        C.ASKED_FOR,
        C.RUNNING,
    ),
)
async def its_holder_was_asked_to_stop(s: Scene) -> Asked:
    """A person cancelled it while it runs, and its holder has not answered."""
    _, run = await s.held()
    await s.store.cancel(run.id, by="anna", reason="wrong day", now=s.now)
    return Asked(str(run.id), ("asked to stop by anna: wrong day", "has not answered yet"))


@runs(
    C.LEASE_ENDED,
    "runs on host:1 since",
    also=(
        C.ASKED_FOR,
        C.RUNNING,
    ),
)
async def its_holder_lost_its_lease(s: Scene) -> Asked:
    """Its holder did not renew its lease, and nobody is there to take over."""
    _, run = await s.held()
    s.turn(MINUTE)
    told = "the lease of host:1 ended at 2026-01-05 00:00:15 +00:00 (45 s ago)"
    return Asked(str(run.id), (told, "as soon as a worker is there"))


@runs(
    C.RUNNING,
    "attempt 2",
    also=(
        C.ASKED_FOR,
        C.HOLDER_DIED,
    ),
)
async def taken_over_from_a_dead_process(s: Scene) -> Asked:
    """The process that held it died, and another instance took it over."""
    boot, run = await s.held()
    s.turn(5)
    await s.die(boot)
    heir = await s.boot()
    await s.claim(heir)
    told = "taken over from host:1 (process gone) at 2026-01-05 00:00:05 +00:00"
    return Asked(str(run.id), (told, "interrupted in the middle"), (f"instance:{heir}",))


@runs(
    C.ABOUT_TO_START,
    "about to be claimed",
    also=(
        C.ASKED_FOR,
        C.HOLDER_LOST_LEASE,
    ),
)
async def taken_over_after_its_lease(s: Scene) -> Asked:
    """Its holder froze, its lease ended, and another instance took it from it."""
    boot, run = await s.held()
    s.turn(MINUTE)
    await s.boot()
    await s.store.take_over(boot, Proof.LEASE, now=s.now)
    told = "taken over from host:1 (lease expired) at 2026-01-05 00:01:00 +00:00"
    return Asked(str(run.id), (told, "it did not renew its lease"))


@runs(
    C.ABOUT_TO_START,
    "about to be claimed",
    also=(
        C.ASKED_FOR,
        C.HOLDER_CUT_OFF,
    ),
)
async def taken_over_after_its_session(s: Scene) -> Asked:
    """Its holder's locks in the store fell, and it did not take them again in the grace."""
    boot, run = await s.held()
    await s.store.take_over(boot, Proof.SESSION, cause="its backend ended", now=s.now)
    await s.boot()
    return Asked(str(run.id), ("(session lost: its backend ended)", "it lost its locks"))


@runs(
    C.ABOUT_TO_START,
    "about to be claimed",
    also=(
        C.ASKED_FOR,
        C.HANDED_BACK,
    ),
)
async def handed_back_at_a_stop(s: Scene) -> Asked:
    """Its holder stopped, and handed it back before it was done."""
    boot, run = await s.held()
    s.turn(3)
    await s.end(boot, run, RunVerb.RELEASE, reason="handed back at a stop")
    return Asked(str(run.id), ("attempt 1 ran on host:1", "handed back after 3 s"))


@runs(
    C.RETRY_DUE,
    "retrying: 1 of 4 attempts failed, next attempt in 3 s",
    "KeyError: 'x'",
    also=(
        C.ASKED_FOR,
        C.ATTEMPT_FAILED,
    ),
)
async def a_retry_is_scheduled(s: Scene) -> Asked:
    """An attempt failed, and the budget allows another one later."""
    boot, run = await s.held()
    await s.end(boot, run, RunVerb.RETRY, error="Boom\nKeyError: 'x'", delay_us=3_000_000)
    return Asked(str(run.id), ("attempt 1 ran on host:1", "failed after 0 ms: KeyError: 'x'"))


@runs(
    C.NO_WORKER,
    "retrying: 1 of 4 attempts failed, next attempt due since",
    also=(
        C.ASKED_FOR,
        C.ATTEMPT_FAILED,
        C.RETRY_DUE,
    ),
)
async def nobody_retries_it(s: Scene) -> Asked:
    """The time of its next attempt came while no instance was there."""
    boot, run = await s.held()
    await s.end(boot, run, RunVerb.RETRY, error="KeyError: 'x'", delay_us=3_000_000)
    await s.store.leave(boot, now=s.now)
    s.turn(HOUR)
    return Asked(str(run.id), ("2026-01-05 00:00:03 +00:00 (59 min 57 s ago)",))


@runs(
    C.SUSPECT,
    "but: it waits for an idle instance",
    also=(
        C.ASKED_FOR,
        C.HOLDER_DIED,
    ),
)
async def suspected_of_killing(s: Scene) -> Asked:
    """Three processes died while it ran, so it is rerun alone."""
    run = await s.enqueue()
    for _ in range(3):
        boot = await s.boot()
        await s.claim(boot)
        await s.die(boot)
    await s.boot()
    return Asked(str(run), ("3 processes died while it ran",))
