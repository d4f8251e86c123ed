"""Effects, asked for by tasks: performed at most once, told truthfully, never sent by guess."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from duly import Context, Duly, NotPerformed, events
from duly.core.effects import EffectFilter, Outcome, Resolve
from duly.core.firing import run_for
from duly.core.runs import Origin
from duly.core.states import EffectState
from duly.testing import turned
from tests.engine.durable.played import Played, played

if TYPE_CHECKING:
    from duly.core.effects import Sending  # a name that is not there when it is read

Sender = Callable[..., Any]


async def ledger(got: Played) -> list[Any]:
    return await got.hand.store.effects(EffectFilter())


async def open_ones(got: Played) -> list[str]:
    return [one.kind for one in await got.hand.store.incidents()]


# --- done ---------------------------------------------------------------------------------


async def test_an_effect_is_performed_once_whatever_fails_behind_it() -> None:
    sent: list[str] = []

    async def work(ctx: Context) -> list[Any]:
        async def send(effect: Any, what: str) -> dict[str, str]:
            effect.last_call()
            sent.append(effect.key)
            return {"took": what}

        one = await ctx.effect("mail", send, "hello")
        if ctx.attempt < 3:
            raise OSError("afterwards")
        return [one.first, one.value, ctx.attempt]

    got = await played(work, retries=2, backoff=1)
    assert got.result == [False, {"took": "hello"}, 3]
    assert sent == [f"work mail {got.view.id}"]
    [row] = await ledger(got)
    assert (row.state, row.receipt) == (EffectState.DONE, b'{"took":"hello"}')
    assert got.view.progress is not None
    kinds = [type(one).__name__ for one in got.hand.events.all if "Effect" in type(one).__name__]
    assert kinds == ["EffectIntended", "EffectConfirmed"]


async def plain(what: str) -> str:
    return what


def on_a_thread(what: str) -> str:
    return what


async def at_the_end(what: str, effect: Any) -> str:
    return f"{what} {effect.id is not None}"


async def by_annotation(sending: Sending, what: str) -> str:
    return f"{what} {sending.key.split()[1]}"


async def keyword_only(what: str, *, effect: Any) -> str:
    return f"{what} {effect.address.name}"


SHAPES: dict[str, tuple[Sender, str]] = {
    "no parameter for the effect": (plain, "a"),
    "a plain function": (on_a_thread, "a"),
    "the effect behind": (at_the_end, "a True"),
    "the effect by its annotation": (by_annotation, "a mail"),
    "the effect by keyword": (keyword_only, "a mail"),
}


@pytest.mark.parametrize("case", SHAPES)
async def test_a_sender_gets_the_effect_where_it_has_a_place_for_it(case: str) -> None:
    fn, said = SHAPES[case]

    async def work(ctx: Context) -> Any:
        return (await ctx.effect("mail", fn, "a")).value

    assert (await played(work)).result == said


RECEIPTS: dict[str, tuple[Any, Any]] = {
    "nothing": (None, None),
    "plain data": ({"n": [1, "x"]}, {"n": [1, "x"]}),
    "what JSON cannot carry": (object, "<class 'object'>"),
    "too much": ("x" * 2_000_000, "'" + "x" * 999),
}


@pytest.mark.parametrize("case", RECEIPTS)
async def test_whatever_a_sender_returns_it_was_performed(case: str) -> None:
    value, kept = RECEIPTS[case]

    async def send() -> Any:
        return value

    async def work(ctx: Context) -> None:
        one = await ctx.effect("mail", send)
        assert one.value == kept
        assert one.first

    got = await played(work, retries=0)
    assert got.stands == ("succeeded", 0), got.error
    assert [one.state for one in await ledger(got)] == [EffectState.DONE]


async def test_keys_part_an_effect_further() -> None:
    sent: list[str] = []

    async def send(effect: Any) -> None:
        sent.append(effect.address.key.partition(" ")[2])

    async def work(ctx: Context) -> None:
        for key in ("a", "b", "a"):
            await ctx.effect("mail", send, key=key)

    assert (await played(work)).stands == ("succeeded", 0)
    assert sent == ["a", "b"]


# --- periods ------------------------------------------------------------------------------

NIGHT = datetime(2026, 3, 1, 22, 30, tzinfo=UTC)
PERIODS = {
    "a day of UTC": ("day", ["2026-03-01", "2026-03-02"]),
    "a day of another zone": ("day Europe/Helsinki", ["2026-03-02"]),
    "an hour": ("hour", ["2026-03-01T22+00:00", "2026-03-01T23+00:00", "2026-03-02T00+00:00"]),
    "a month": ("month", ["2026-03"]),
}


@pytest.mark.parametrize("case", PERIODS)
async def test_once_per_period_whoever_asks(case: str) -> None:
    per, names = PERIODS[case]
    app, sent, first = Duly("memory://"), [], []

    async def send(effect: Any) -> None:
        sent.append(effect.address.key)

    @app.task
    async def work(ctx: Context) -> None:
        first.append((await ctx.effect("mail", send, per=per)).first)

    async with turned(app, start=NIGHT) as hand:
        for _ in range(5):  # every half hour, over midnight
            await work.enqueue()
            await hand.tick("30m")
    assert sent == names
    assert first.count(True) == len(names)


async def test_a_period_is_that_of_what_was_due_in_the_zone_of_its_schedule() -> None:
    app, sent = Duly("memory://"), []

    async def send(effect: Any) -> None:
        sent.append(effect.address.key)

    @app.task(cron="30 0 * * *", tz="Europe/Amsterdam", catch_up="all", max_age="10d")
    async def work(ctx: Context) -> None:
        await ctx.effect("mail", send, per="day")

    async with turned(app, start=datetime(2026, 3, 1, tzinfo=UTC)) as hand:
        await hand.tick("1m")
        await hand.pass_by("3d")  # an outage: what was due is caught up later
        await hand.tick("1h")
    assert sorted(sent) == ["2026-03-02", "2026-03-03", "2026-03-04"]


async def test_an_occurrence_has_its_effects_once_whoever_runs_it_again() -> None:
    app, sent = Duly("memory://"), []

    async def send(effect: Any) -> None:
        sent.append(effect.address.key)

    @app.task(every="1h")
    async def work(ctx: Context) -> None:
        await ctx.effect("mail", send)

    async with turned(app, start=datetime(2026, 3, 1, tzinfo=UTC)) as hand:
        await hand.tick("3h")
    assert sent == [f"work 2026-03-01T0{n}:00:00+00:00" for n in (1, 2, 3)]


async def test_a_period_that_may_have_been_forgotten_is_refused() -> None:
    app = Duly("memory://")

    @app.task(every="1d", retries=3)
    async def work(ctx: Context) -> None:
        await ctx.effect("mail", plain, "a", per="day")

    async with turned(app, start=datetime(2027, 6, 1, tzinfo=UTC)) as hand:
        definition = app.definitions["work"]
        old = datetime(2026, 3, 1, tzinfo=UTC)
        new = hand.clock.new_id()
        run = run_for(definition, old, run_id=new, origin=Origin.BACKFILL, by="ann")
        await hand.store.enqueue([run])
        await hand.run_due()
        view = await hand.store.run(run.id)
        assert view is not None
        assert (view.state.value, view.failures) == ("failed", 1)
        assert "is over for more than 400 days" in (view.error or "")
        assert await hand.store.effects(EffectFilter()) == []


# --- mistakes -----------------------------------------------------------------------------

MISTAKES: dict[str, tuple[Callable[[Context], Any], str]] = {
    "an argument too many": (lambda ctx: ctx.effect("mail", plain, 1, 2), "plain do not fit"),
    "an argument too few": (lambda ctx: ctx.effect("mail", plain), "plain do not fit"),
    "a name with a space": (lambda ctx: ctx.effect("a mail", plain, 1), "without a space"),
    "no name": (lambda ctx: ctx.effect("", plain, 1), "1 to 128 letters"),
    "an empty key": (lambda ctx: ctx.effect("mail", plain, 1, key=""), "1 to 200 characters"),
    "a period there is not": (
        lambda ctx: ctx.effect("mail", plain, 1, per="dya"), "did you mean 'day'?"),
    "a zone there is not": (
        lambda ctx: ctx.effect("mail", plain, 1, per="day Europe/Amstredam"), "Europe/Amsterdam"),
    "no duration": (lambda ctx: ctx.effect("mail", plain, 1, deadline="soon"), "deadline"),
}  # fmt: skip


@pytest.mark.parametrize("case", MISTAKES)
async def test_a_mistake_is_told_before_anything_is_intended(case: str) -> None:
    asked, told = MISTAKES[case]

    async def work(ctx: Context) -> None:
        await asked(ctx)

    got = await played(work, retries=5)
    assert got.stands == ("failed", 1)
    assert told in got.error
    assert await ledger(got) == []
    assert got.hand.events.of(events.EffectIntended) == []


# --- not performed, and unknown -----------------------------------------------------------


async def test_what_was_not_performed_is_tried_again_by_the_retries_of_the_run() -> None:
    tries: list[int] = []

    async def work(ctx: Context) -> None:
        async def send(effect: Any) -> None:
            tries.append(ctx.attempt)
            if ctx.attempt < 3:
                raise NotPerformed("the other side said 503")

        await ctx.effect("mail", send)

    got = await played(work, retries=2, backoff=1)
    assert got.stands == ("succeeded", 2)
    assert tries == [1, 2, 3]
    [row] = await ledger(got)
    lines = await got.hand.store.audit(row.address)
    assert [one.why for one in lines] == ["the other side said 503"] * 2


async def lost(effect: Any) -> None:
    raise ConnectionError("the line went dead")


def lost_on_a_thread(effect: Any) -> None:
    raise ConnectionError("the line went dead")


@pytest.mark.parametrize("fn", [lost, lost_on_a_thread])
async def test_what_nobody_knows_parks_the_run_and_opens_an_incident(fn: Sender) -> None:
    app = Duly("memory://")

    @app.task(retries=5, backoff=1)
    async def work(ctx: Context) -> list[Any]:
        one = await ctx.effect("mail", fn)
        return [one.first, one.note]

    async with turned(app) as hand:
        handle = await work.enqueue()
        await hand.tick("1d")
        view = await handle.view()
        assert (view.state.value, view.reason, view.failures) == ("parked", "uncertain", 0)
        [incident] = await hand.store.incidents()
        assert "ConnectionError: the line went dead" in incident.summary
        [row] = await hand.store.effects(EffectFilter(state=EffectState.UNCERTAIN))
        word = Resolve(address=row.address, performed=True, by="ann", reason="they have it")
        await hand.store.post([word])
        await hand.tick("1m")
        assert await handle.result() == [False, "they have it"]
        assert await hand.store.incidents() == []


VERIFIED: dict[str, tuple[Any, tuple[str, int], int]] = {
    "performed": (lambda effect: True, ("succeeded", 0), 1),
    "not performed": (lambda effect: False, ("failed", 3), 3),
    "unknown": (lambda effect: None, ("parked", 0), 1),
    "a failure": (lambda effect: 1 / 0, ("parked", 0), 1),
    "no answer of the kind": (lambda effect: "yes", ("parked", 0), 1),
    "nothing asked of it": (lambda: True, ("succeeded", 0), 1),
}


@pytest.mark.parametrize("case", VERIFIED)
async def test_verify_is_asked_what_nobody_knows(case: str) -> None:
    verify, stands, times = VERIFIED[case]
    sent: list[int] = []

    async def work(ctx: Context) -> str:
        async def send(effect: Any) -> None:
            sent.append(ctx.attempt)
            raise ConnectionError("the line went dead")

        return (await ctx.effect("mail", send, verify=verify)).note

    got = await played(work, retries=2, backoff=1)
    assert got.stands == stands, got.error
    assert len(sent) == times, "never again at once: the retries of the run say how often"
    assert (await open_ones(got) == ["effect.uncertain"]) == (stands[0] == "parked")
    if stands[0] == "succeeded":
        assert got.result == "verify said performed"


async def test_a_verify_that_takes_too_long_knows_nothing() -> None:
    async def slow(effect: Any) -> bool:
        await asyncio.Event().wait()
        return True

    async def work(ctx: Context) -> None:
        await ctx.effect("mail", lost, verify=slow, verify_deadline=0.01)

    got = await played(work)
    assert (got.view.state.value, got.view.reason) == ("parked", "uncertain")


async def test_a_run_that_finds_anothers_doubt_asks_verify_too() -> None:
    app, sent = Duly("memory://"), []

    async def send(effect: Any) -> None:
        sent.append(effect.key)

    @app.task
    async def first(ctx: Context) -> None:
        await ctx.effect("mail", lost)

    async with turned(app) as hand:
        handle = await first.enqueue()
        await hand.tick("1m")
        assert (await handle.view()).reason == "uncertain"
        [row] = await hand.store.effects(EffectFilter())
        # As after the death of the sender's process: verify may say that nothing was sent.
        word = Resolve(
            address=row.address, performed=False, by="verify", reason="asked", own=row.intent
        )
        [answer] = await hand.store.post([word])
        assert answer.outcome is Outcome.CLEARED
        await hand.tick("1m")
        assert (await handle.view()).reason == "uncertain", "it was sent again, and lost again"


@pytest.mark.parametrize("verb", ["sleep", "wait_for", "step", "effect"])
async def test_a_sender_that_would_wait_is_told_that_it_must_not(verb: str) -> None:
    more = {"sleep": ("1s",), "step": (plain, "a"), "effect": (plain, "a")}

    async def work(ctx: Context) -> None:
        async def send(effect: Any) -> None:
            await getattr(ctx, verb)("inner", *more.get(verb, ()))

        await ctx.effect("mail", send)

    got = await played(work, retries=0)
    assert (got.view.state.value, got.view.reason) == ("parked", "uncertain")
    assert "UsageError: expected" in (await ledger(got))[0].why


async def test_what_a_sender_publishes_belongs_to_who_asked_for_the_effect() -> None:
    async def work(ctx: Context) -> None:
        async def send(effect: Any) -> None:
            await ctx.publish("topic", "sent")

        await ctx.effect("mail", send)

    assert (await played(work)).bodies("topic") == ["sent"]


# --- before -------------------------------------------------------------------------------


async def test_while_before_says_no_the_run_waits_longer_and_longer_and_intends_nothing() -> None:
    asked: list[datetime] = []
    app = Duly("memory://")

    @app.task(retries=0)
    async def work(ctx: Context) -> bool:
        def before() -> None:
            asked.append(hand.now)
            if len(asked) < 8:
                raise ConnectionError("no route")

        return (await ctx.effect("mail", plain, "a", before=before)).first

    async with turned(app) as hand:
        handle = await work.enqueue()
        await hand.run_due()
        view = await handle.view()
        assert view.state.value == "waiting"
        assert (view.reason or "").endswith("ConnectionError: no route")
        assert await hand.store.effects(EffectFilter()) == []
        await hand.tick("1h")
        assert await handle.result() is True
        assert (await handle.view()).failures == 0
    pauses = [later - first for first, later in pairwise(asked)]
    assert len(pauses) == 7
    for tries, pause in enumerate(pauses):
        assert timedelta(seconds=2**tries / 2) <= pause <= timedelta(seconds=2**tries + 1)


async def test_before_that_says_no_for_a_day_is_a_failure() -> None:
    app, asked = Duly("memory://"), []

    async def before() -> bool:
        asked.append(1)
        return False

    @app.task(retries=0)
    async def work(ctx: Context) -> None:
        await ctx.effect("mail", plain, "a", before=before)

    async with turned(app) as hand:
        handle = await work.enqueue()
        await hand.tick("23h")
        assert (await handle.view()).state.value == "waiting"
        await hand.tick("2h")
        view = await handle.view()
        assert view.state.value == "failed"
        assert "not begun for a day: before= said no" in (view.error or "")
        assert len(asked) < 400


async def test_before_is_not_asked_for_what_is_done() -> None:
    asked: list[int] = []

    async def work(ctx: Context) -> None:
        await ctx.effect("mail", plain, "a", before=lambda: asked.append(ctx.attempt))
        if ctx.attempt == 1:
            raise OSError("again")

    assert (await played(work, retries=1, backoff=1)).stands == ("succeeded", 1)
    assert asked == [1]


# --- forks --------------------------------------------------------------------------------


async def test_a_fork_goes_on_with_the_effects_of_the_run_it_came_from() -> None:
    app, sent = Duly("memory://"), []

    async def send(effect: Any) -> str:
        sent.append(effect.key)
        return "sent"

    @app.task
    async def work(ctx: Context) -> str:
        await ctx.step("one", plain, "a")
        return str((await ctx.effect("mail", send)).value)

    async with turned(app) as hand:
        handle = await work.enqueue()
        await hand.run_due()
        new = hand.clock.new_id()
        await hand.store.fork(handle.id, at="one", new=new, by="ann")
        await hand.run_due()
        view = await hand.store.run(new)
        assert view is not None
        assert view.result == b'"sent"'
    assert len(sent) == 1


@pytest.mark.parametrize("per", ["day", "week", "day Pacific/Auckland"])
async def test_a_task_can_name_the_period_of_its_effects(per: str) -> None:
    async def work(ctx: Context) -> str:
        await ctx.effect("act", nothing_at_all, per=per)
        return ctx.period(per)

    async def nothing_at_all() -> None: ...

    seen = await played(work)
    [row] = await seen.hand.store.effects(EffectFilter())
    assert row.address.key == seen.result
