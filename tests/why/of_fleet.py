"""Causes in the fleet: instances, and what runs share (queues, limits, keys)."""

from __future__ import annotations

import msgspec

from duly.core.fleet import Incident, InstanceState, Proof
from duly.core.runs import Reuse
from duly.core.states import RunVerb
from duly.core.why import Cause
from tests.stores.world import HOUR, MINUTE, instance
from tests.why.of_incidents import tripped
from tests.why.scene import Asked, Scene, Table

fleet = Table()
C = Cause

# --- instances --------------------------------------------------------------------------------


@fleet(C.INSTANCE_WORKS, "works: holds 1 run, last seen 2026-01-05 00:00:00 +00:00")
async def it_works(s: Scene) -> Asked:
    """It holds a run."""
    boot, run = await s.held()
    s.turn(5)
    return Asked(f"instance:{boot}", (f"holds the run {run.id} of t", "carries t"), (str(run.id),))


@fleet(C.INSTANCE_IDLE, "there, and holds nothing, last seen 2026-01-05 00:00:00 +00:00 (5 s ago)")
async def it_is_idle(s: Scene) -> Asked:
    """It is there, and nothing is to be done."""
    await s.boot()
    s.turn(5)
    return Asked("instance:host:1", ("app 1, boot",))


@fleet(C.INSTANCE_ABSENT, "absent: last seen 2026-01-05 00:00:00 +00:00 (1 h ago)")
async def it_shows_no_life(s: Scene) -> Asked:
    """It has not shown itself for longer than three beats, and holds nothing."""
    boot = await s.boot()
    s.turn(HOUR)
    return Asked(str(boot), ("it holds nothing, so nothing waits for it",))


@fleet(
    C.LEASE_ENDED, "its lease ended at 2026-01-05 00:00:15 +00:00 (45 s ago)", also=(C.NO_WORKER,)
)
async def its_lease_ended(s: Scene) -> Asked:
    """It did not renew its lease, holds a run, and nobody took over yet."""
    boot, run = await s.held()
    s.turn(MINUTE)
    told = ("it holds 1 run", "no other worker is there to take over")
    return Asked(f"instance:{boot}", told, (str(run.id),))


@fleet(C.LEASE_ENDED, "nobody took its work over yet", also=(C.STORE_UNTRUSTED,))
async def its_lease_ended_in_a_restored_store(s: Scene) -> Asked:
    """It holds a run, its lease ended, and nobody may take over in a store nobody accepted."""
    boot, _ = await s.held()
    await s.boot()
    s.turn(MINUTE)
    s.trusted = False
    return Asked(f"instance:{boot}", ("nobody accepted it: nothing runs", "duly db accept"))


@fleet(C.INSTANCE_STOPPING, "stopping: it claims nothing more, and still holds 0 runs")
async def it_is_stopping(s: Scene) -> Asked:
    """It was told to stop, and ends what it holds."""
    boot = s.new_id()
    one = msgspec.structs.replace(instance(boot), state=InstanceState.STOPPING)
    await s.store.register(one, {}, now=s.now)
    return Asked(f"instance:{boot}", ("handed back, and spends no retry",))


@fleet(C.INSTANCE_LEFT, "left by itself", "what it held was handed back")
async def it_left(s: Scene) -> Asked:
    """It stopped in order, and handed back what it held."""
    boot, _ = await s.held()
    await s.store.leave(boot, now=s.now)
    return Asked(f"instance:{boot}", ("last seen 2026-01-05 00:00:00 +00:00 (now)",))


@fleet(C.INSTANCE_DIED, "declared dead: process gone")
async def its_process_is_gone(s: Scene) -> Asked:
    """Its process is proven gone."""
    boot, _ = await s.held()
    await s.die(boot)
    return Asked(f"instance:{boot}", ("nothing of it can wake up again",))


@fleet(C.INSTANCE_CUT_OFF, "declared dead: session lost: its backend ended")
async def its_session_is_gone(s: Scene) -> Asked:
    """Its locks in the store fell, and it did not take them again."""
    boot, _ = await s.held()
    await s.store.take_over(boot, Proof.SESSION, cause="its backend ended", now=s.now)
    return Asked(f"instance:{boot}", ("nothing that it writes takes effect",))


@fleet(C.INSTANCE_LOST_LEASE, "declared dead: lease expired")
async def it_is_fenced(s: Scene) -> Asked:
    """It lost its lease; what it still writes is refused, because its boot was declared dead."""
    boot, run = await s.held()
    s.turn(MINUTE)
    await s.store.take_over(boot, Proof.LEASE, now=s.now)
    assert [one.value for one in await s.complete(boot, run)] == ["stale"]
    return Asked(f"instance:{boot}", ("comes back as another boot", "was taken over"))


@fleet(C.INSTANCE_LEFT, "left by itself", also=(C.SUPERVISOR_TRIPPED,))
async def its_supervisor_tripped(s: Scene) -> Asked:
    """A loop of it failed too often in a row, so it handed its work back and ended."""
    boot = await s.boot()
    await s.store.open_incident(tripped(), now=s.now)
    await s.store.leave(boot, now=s.now)
    seen = "incident:supervisor.tripped app/relay"
    return Asked(f"instance:{boot}", ("app/relay failed 5 times in a row on host:1",), (seen,))


# --- queues -----------------------------------------------------------------------------------


@fleet(C.QUEUE_EMPTY, "nothing of it is ready or running")
async def an_empty_queue(s: Scene) -> Asked:
    """It has no live run."""
    return Asked("queue:default", ("0 ready, 0 running, 0 that wait for something",))


@fleet(C.QUEUE_MOVES, "moves: 1 running", also=(C.QUEUE_WAITS,))
async def a_queue_that_moves(s: Scene) -> Asked:
    """Runs of it are running, and others wait for room."""
    await s.held()
    run = await s.enqueue()
    told = f"ready the longest: run {run} of t, since 2026-01-05 00:00:00 +00:00 (now)"
    return Asked("queue:default", ("1 ready, 1 running", told), (str(run),))


@fleet(C.QUEUE_WAITS, "1 ready and none running")
async def a_queue_that_waits(s: Scene) -> Asked:
    """Runs of it are ready, instances are there, and none of it runs."""
    await s.boot()
    run = await s.enqueue()
    return Asked("queue:default", ("1 ready, 0 running",), (str(run),))


@fleet(C.NO_WORKER, "stands still: no live worker: none was ever seen")
async def a_queue_nobody_works_on(s: Scene) -> Asked:
    """Runs of it are ready, and no instance is there."""
    run = await s.enqueue(queue="mails")
    return Asked("queue:mails", ("1 ready", "duly worker"), (str(run),))


@fleet(C.STORE_UNTRUSTED, "stands still: the store was restored or failed over")
async def a_queue_of_a_restored_store(s: Scene) -> Asked:
    """Runs of it are ready and an instance is there, but nobody accepted the restored store."""
    await s.boot()
    run = await s.enqueue(queue="mails")
    s.trusted = False
    return Asked("queue:mails", ("1 ready", "duly db accept"), (str(run),))


@fleet(C.QUEUE_UNSERVED, "nobody claims from it: a run waits in the queue mails")
async def a_queue_nobody_serves(s: Scene) -> Asked:
    """Instances noticed that nobody claims from it, and opened an incident."""
    await s.boot()
    run = await s.enqueue(queue="mails")
    told = "a run waits in the queue mails: no live instance claims from it"
    helps = "duly worker --queues mails"
    one = Incident(kind="queue.unserved", subject="mails", severity="critical", summary=told,
                   evidence={"queue": "mails", "what helps": helps})  # fmt: skip
    await s.store.open_incident(one, now=s.now)
    seen = ("incident:queue.unserved mails", str(run))
    return Asked("queue:mails", ("duly worker --queues mails",), seen)


# --- limits and keys --------------------------------------------------------------------------


@fleet(C.LIMIT_FULL, "2 of 2 slots held, 1 waiting")
async def a_limit_that_is_full(s: Scene) -> Asked:
    """As many runs hold it as it allows, and another waits."""
    first, second, third = [await s.enqueue(limit_key="smtp", limit=2) for _ in range(3)]
    told = (f"run {first} of t: ready", f"run {third} of t waits for it")
    return Asked("limit:smtp", told, (str(first), str(second), str(third)))


@fleet(C.LIMIT_FREE, "free: no live run has it")
async def a_limit_that_is_free(s: Scene) -> Asked:
    """No live run has it."""
    return Asked("limit:smtp")


@fleet(C.KEY_JOINS, "asking again joins it")
async def a_key_whose_run_lives(s: Scene) -> Asked:
    """The run that has the key is live."""
    run = await s.enqueue(key="order-7")
    return Asked("key:t order-7", (f"the run {run} stands for it (ready",), (str(run),))


@fleet(C.KEY_RETURNS, "asking again returns its result")
async def a_key_whose_run_is_done(s: Scene) -> Asked:
    """The run that has the key succeeded."""
    boot, run = await s.held(key="order-7")
    await s.complete(boot, run)
    assert await s.enqueue(key="order-7") == run.id
    return Asked("key:t order-7", (f"the run {run.id} stands for it (succeeded",), (str(run.id),))


@fleet(C.KEY_REVIVES, "asking again lets it run anew")
async def a_key_whose_run_failed(s: Scene) -> Asked:
    """The run that has the key failed for good."""
    boot, run = await s.held(key="order-7")
    await s.end(boot, run, RunVerb.FAIL, error="ValueError")
    return Asked("key:t order-7", ("(failed, asked for at 2026-01-05",), (str(run.id),))


@fleet(C.KEY_REFUSES, "asking again is refused: uncertain")
async def a_key_whose_run_is_parked(s: Scene) -> Asked:
    """The run that has the key is parked."""
    boot, run = await s.held(key="order-7")
    await s.end(boot, run, RunVerb.PARK, reason="uncertain")
    [answer] = await s.store.enqueue([s.new(key="order-7")], now=s.now)
    assert answer.reuse is Reuse.REFUSED
    return Asked("key:t order-7", ("(parked, asked for at",), (str(run.id),))


@fleet(C.KEY_FREE, "free: no run on record has it")
async def a_key_nobody_has(s: Scene) -> Asked:
    """No run on record has the key."""
    await s.enqueue(key="order-7")
    return Asked("key:t order-8")


@fleet(C.KEY_FREE, "it did no work, so asking again makes a new run")
async def a_key_given_up(s: Scene) -> Asked:
    """The run that had the key was cancelled before it did any work."""
    run = await s.enqueue(key="order-7")
    await s.store.cancel(run, by="anna", reason="wrong day", now=s.now)
    return Asked("key:t order-7", ("(cancelled, asked for at",), (str(run),))
