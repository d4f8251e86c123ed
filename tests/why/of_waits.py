"""Causes of runs that wait, are parked, or have ended."""

from __future__ import annotations

import asyncio

import msgspec

from duly import Context, Duly, InvalidValue
from duly.core.schedules import Overlap
from duly.core.states import RunVerb
from duly.core.steps import Note, Step, StepKind
from duly.core.why import Cause
from tests.stores.world import HOUR, MINUTE, awaits, minutely
from tests.why.scene import Asked, Scene, Table

waits = Table()
C = Cause

# --- it waits ---------------------------------------------------------------------------------


@waits(
    C.SLEEPS,
    "sleeps (nap) until 2026-01-05 01:00:00 +00:00 (in 1 h)",
    also=(
        C.ASKED_FOR,
        C.WAITED,
    ),
)
async def it_sleeps(s: Scene) -> Asked:
    """Its code called `ctx.sleep`."""
    app = Duly("memory://")

    @app.task
    async def nap(ctx: Context) -> None:
        await ctx.sleep("nap", "1h")

    hand = await s.hand(app)
    run = await nap.enqueue()
    await hand.run_due()
    return Asked(str(run.id), ("gave up its slot",))


@waits(
    C.NO_WORKER,
    "sleeps (nap) until",
    also=(
        C.ASKED_FOR,
        C.WAITED,
        C.SLEEPS,
    ),
)
async def nobody_wakes_it(s: Scene) -> Asked:
    """It slept long enough, and no instance is there to wake it."""
    asked = await it_sleeps(s)
    s.turn(2 * HOUR)
    return Asked(asked.thing, ("it is due since 2026-01-05 01:00:00", "no live worker"))


@waits(
    C.WAITS_FOR_EVENT,
    "waits for the event paid, which nobody has emitted yet",
    also=(
        C.ASKED_FOR,
        C.WAITED,
    ),
)
async def it_waits_for_an_event(s: Scene) -> Asked:
    """Its code awaits an event that nobody has emitted."""
    app = Duly("memory://")

    @app.task
    async def ship(ctx: Context) -> None:
        await ctx.wait_for("paid", timeout="1h")

    hand = await s.hand(app)
    run = await ship.enqueue()
    await hand.run_due()
    return Asked(str(run.id), ("until 2026-01-05 01:00:00 +00:00 (in 1 h) at the latest",))


@waits(
    C.WAITS_FOR_EVENT,
    "waits for the event paid, which nobody has emitted yet",
    also=(
        C.ASKED_FOR,
        C.WAITED,
        C.SLEEPS,
    ),
)
async def it_waits_for_several_things(s: Scene) -> Asked:
    """Branches of its code await an event, and sleep, at the same time."""
    app = Duly("memory://")

    @app.task
    async def ship(ctx: Context) -> None:
        await asyncio.gather(ctx.wait_for("paid"), ctx.sleep("rest", "1h"))

    hand = await s.hand(app)
    run = await ship.enqueue()
    await hand.run_due()
    return Asked(
        str(run.id), ("besides, it sleeps (rest)", "is due at 2026-01-05 01:00:00 +00:00 (in 1 h)")
    )


@waits(
    C.CAME_ABOUT,
    "waits for the event paid, which was emitted by bob at 2026-01-05 00:00:00",
    also=(
        C.ASKED_FOR,
        C.WAITED,
        C.WAITS_FOR_EVENT,
    ),
)
async def its_wake_was_lost(s: Scene) -> Asked:
    """What it waits for has happened, and nobody woke it yet."""
    boot, run = await s.held()
    await s.emit("paid")
    await s.end(boot, run, RunVerb.WAIT, reason="event:paid")
    return Asked(str(run.id), ("the next sweep of a live worker wakes the run",))


@waits(
    C.WAITS_FOR_RUN,
    "waits for its child run",
    "of resize: waiting (sleep:nap)",
    also=(
        C.ASKED_FOR,
        C.WAITED,
    ),
)
async def it_waits_for_a_child(s: Scene) -> Asked:
    """It started another run, and waits for its end."""
    app = Duly("memory://")

    @app.task
    async def resize(ctx: Context) -> None:
        await ctx.sleep("nap", "1h")

    @app.task
    async def album(ctx: Context) -> None:
        await ctx.call("thumbnail", resize)

    hand = await s.hand(app)
    run = await album.enqueue()
    await hand.run_due()
    [child] = await hand.runs(task="resize")
    return Asked(str(run.id), (str(child.id),), (str(child.id),))


@waits(
    C.WAITS_FOR_RUNS,
    "waits for 3 runs of all",
    also=(
        C.ASKED_FOR,
        C.WAITED,
    ),
)
async def it_waits_for_many(s: Scene) -> Asked:
    """It started three runs, one is done, and it waits for the others."""
    boot, run = await s.held()
    children = [await s.child(run.id) for _ in range(3)]
    value = msgspec.json.encode(children)
    kept = Step(name="all", number=0, kind=StepKind.CHILD, value=value)
    await s.store.keep(boot, [Note(run=run.id, epoch=run.epoch, steps=(kept,))], now=s.now)
    done = next(one for one in await s.claim(boot) if one.id == children[0])
    await s.complete(boot, done)
    named = [f"run:{child}" for child in children]
    await s.wait(boot, run, *awaits(*named, group="all"), reason="3 runs of all")
    told = ("2 running, 1 succeeded", f"child {children[1]} of t: running on host:1 since")
    return Asked(str(run.id), told, (str(children[1]), str(children[2])))


@waits(
    C.WAITS,
    "waits: an answer by post, until 2026-01-05 00:01:00 +00:00 (in 1 min)",
    also=(
        C.ASKED_FOR,
        C.WAITED,
    ),
)
async def it_waits_for_something_else(s: Scene) -> Asked:
    """It waits for a reason of its own, of which nothing more is known."""
    boot, run = await s.held()
    await s.end(boot, run, RunVerb.WAIT, reason="an answer by post", delay_us=60_000_000)
    return Asked(str(run.id), ("gave up its slot after 0 ms to wait: an answer by post",))


# --- it stands until somebody moves it --------------------------------------------------------


@waits(
    C.PARKED_POISON,
    "parked: poison: 4 processes died while it ran",
    also=(
        C.ASKED_FOR,
        C.HOLDER_DIED,
    ),
)
async def parked_as_poison(s: Scene) -> Asked:
    """Processes died while it ran, the last one with nothing else in hand."""
    run = await s.enqueue()
    for _ in range(4):
        boot = await s.boot()
        await s.claim(boot, queues=("default", "~suspect"))
        await s.die(boot)
    return Asked(str(run), ("at the last alone",))


@waits(
    C.PARKED_APPROVAL,
    "parked: approval: waits for a person's decision since 2026-01-05",
    also=(
        C.ASKED_FOR,
        C.WAS_PARKED,
    ),
)
async def parked_for_a_decision(s: Scene) -> Asked:
    """Its code asked for a person's approval."""
    app = Duly("memory://")

    @app.task
    async def pay(ctx: Context) -> None:
        await ctx.approve("big sum")

    hand = await s.hand(app)
    run = await pay.enqueue()
    await hand.run_due()
    return Asked(str(run.id), ("a person has to approve it",))


@waits(
    C.PARKED_CODE_CHANGED,
    "parked: code changed: step 'rows'",
    also=(
        C.ASKED_FOR,
        C.WAS_PARKED,
    ),
)
async def parked_by_changed_code(s: Scene) -> Asked:
    """What a step remembered does not fit the code that is there now."""
    boot, run = await s.held()
    await s.keep(boot, run, "open", "rows")
    reason = "code changed: step 'rows': expected dict, got list"
    await s.end(boot, run, RunVerb.PARK, reason=reason)
    return Asked(str(run.id), ("a fork does rows and all after it again",))


@waits(
    C.PARKED,
    "parked: the stock is being counted",
    also=(
        C.ASKED_FOR,
        C.WAS_PARKED,
    ),
)
async def parked_for_another_reason(s: Scene) -> Asked:
    """It is parked for a reason of which nothing more is known."""
    boot, run = await s.held()
    await s.end(boot, run, RunVerb.PARK, reason="the stock is being counted")
    return Asked(str(run.id), ("attempt 1 ran on host:1", f"duly runs retry {run.id}"))


@waits(
    C.ABOUT_TO_START,
    "about to be claimed",
    also=(
        C.ASKED_FOR,
        C.WAS_PARKED,
    ),
)
async def let_go_on_by_a_person(s: Scene) -> Asked:
    """It was parked, and a person let it go on."""
    boot, run = await s.held()
    await s.end(boot, run, RunVerb.PARK, reason="approval")
    await s.store.unpark(run.id, by="anna", now=s.now)
    return Asked(str(run.id), ("attempt 1 ran on host:1", "parked after 0 ms: approval"))


# --- it ended ---------------------------------------------------------------------------------


@waits(
    C.SUCCEEDED,
    "succeeded at 2026-01-05 00:00:02 +00:00",
    "on host:1, attempt 1, after 2 s",
    also=(C.ASKED_FOR,),
)
async def it_is_done(s: Scene) -> Asked:
    """Its task returned."""
    boot, run = await s.held()
    s.turn(2)
    await s.complete(boot, run)
    return Asked(str(run.id))


def failing(retries: int, error: Exception) -> tuple[Duly, object]:
    """An application whose only task fails."""
    app = Duly("memory://")

    @app.task(retries=retries, backoff="1s")
    async def sums() -> None:
        raise error

    return app, sums


@waits(
    C.FAILED,
    "failed for good at",
    "after 3 failures with 2 retries allowed: ValueError: bad row",
    also=(
        C.ASKED_FOR,
        C.ATTEMPT_FAILED,
    ),
)
async def its_retries_are_spent(s: Scene) -> Asked:
    """Every attempt that its budget allows failed."""
    app, sums = failing(2, ValueError("bad row"))
    hand = await s.hand(app)
    run = await sums.enqueue()  # type: ignore[attr-defined]
    await hand.tick("1h")
    return Asked(str(run.id), ("attempt 1 ran on hand", "attempt 2 ran on hand"))


@waits(
    C.FAILED_PERMANENTLY,
    "after 1 failure with 2 retries allowed",
    "no such customer",
    also=(C.ASKED_FOR,),
)
async def its_error_is_permanent(s: Scene) -> Asked:
    """Its task raised an error that says that no retry can help."""
    app, sums = failing(2, InvalidValue("no such customer"))
    hand = await s.hand(app)
    run = await sums.enqueue()  # type: ignore[attr-defined]
    await hand.tick("1h")
    return Asked(str(run.id), ("no retry can help",))


@waits(
    C.ABOUT_TO_START,
    "about to be claimed",
    also=(
        C.ASKED_FOR,
        C.REVIVED,
    ),
)
async def revived_by_a_person(s: Scene) -> Asked:
    """It failed for good, and a person let it run again with a new budget."""
    boot, run = await s.held()
    await s.end(boot, run, RunVerb.FAIL, error="ValueError: bad row")
    await s.store.revive(run.id, by="anna", now=s.now)
    return Asked(str(run.id), ("failed for good after 0 ms: ValueError: bad row",))


@waits(
    C.CANCELLED, "cancelled by anna: wrong day at 2026-01-05 00:00:00 +00:00", also=(C.ASKED_FOR,)
)
async def cancelled_by_a_person(s: Scene) -> Asked:
    """A person cancelled it."""
    run = await s.enqueue()
    await s.store.cancel(run, by="anna", reason="wrong day", now=s.now)
    return Asked(str(run))


@waits(C.CANCELLED_BY_OVERLAP, "cancelled by duly: overlap is cancel_running", also=(C.FIRED,))
async def cancelled_by_the_next_occurrence(s: Scene) -> Asked:
    """Overlap is cancel_running, and the next occurrence came before it was done."""
    await s.declare(minutely(overlap=Overlap.CANCEL_RUNNING))
    run = (await s.fire(MINUTE)).fired[0][2]
    await s.fire(MINUTE)
    return Asked(str(run), ("at 2026-01-05 00:02:00 +00:00",), ("s@2026-01-05T00:01:00+00:00",))


@waits(
    C.FORKED_AWAY,
    "cancelled by anna: forked as",
    also=(
        C.ASKED_FOR,
        C.WAITED,
    ),
)
async def another_run_goes_on_in_its_place(s: Scene) -> Asked:
    """A person forked it from one of its steps while it waited."""
    boot, run = await s.held()
    await s.keep(boot, run, "rows")
    await s.wait(boot, run, *awaits("event:paid"), reason="event:paid")
    new = s.new_id()
    await s.store.fork(run.id, at="rows", new=new, by="anna", now=s.now)
    return Asked(str(run.id), (), (str(new),))


@waits(C.EXPIRED, "expired at 2026-01-05 01:00:00 +00:00", also=(C.ASKED_FOR,))
async def nobody_began_it_in_time(s: Scene) -> Asked:
    """It had a deadline to begin by, and no instance was there."""
    run = await s.enqueue(expires_at=s.now + MINUTE)
    s.turn(HOUR)
    await s.store.expire(now=s.now)
    return Asked(str(run), ("it had a deadline", "no instance that is on record was there then"))
