"""Effects on their way: lost answers, cancels, leases and other instances, in virtual time."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from duly import Context, Duly, events
from duly.core.effects import EffectFilter, Intend
from duly.core.states import EffectState
from duly.engine import Engine
from tests.engine.bench import Bench, FaultyStore, in_time, lasts


class Wire:
    """A sender that says when it began, and waits for a word before its first byte is gone."""

    def __init__(self) -> None:
        self.begun = 0
        self.sent: list[str] = []
        self.go = asyncio.Event()
        self.first_byte = False  # whether the last call comes before the wait

    async def send(self, effect: Any) -> str:
        self.begun += 1
        if self.first_byte:
            effect.last_call()
        await self.go.wait()
        if not self.first_byte:
            effect.last_call()
        self.sent.append(effect.key)
        return "sent"


def mailer(wire: Wire, **options: Any) -> Duly:
    app = Duly("memory://")
    how = {one: options.pop(one) for one in ("per", "deadline", "verify") if one in options}

    @app.task(**options)
    async def mail(ctx: Context) -> list[Any]:
        got = await ctx.effect("mail", wire.send, **how)
        return [got.first, got.value]

    return app


def states(bench: Bench) -> list[str]:
    return [one.state.value for one in bench.tables.effects.values()]


@pytest.mark.parametrize("where", ["before", "after"])
def test_lost_words_to_the_ledger_are_said_again_and_it_is_sent_once(where: str) -> None:
    @in_time
    async def check(bench: Bench) -> None:
        wire = Wire()
        wire.go.set()
        _, store = await bench.start(mailer(wire))
        getattr(store, where).update(post=3, effect=2)
        view = await bench.ended(await bench.ask("mail"))
        assert view.result == b'[true,"sent"]'
        assert len(wire.sent) == 1
        assert states(bench) == ["done"]

    check()
    assert where


@in_time
async def test_a_receipt_that_was_lost_on_its_way_is_sent_again(bench: Bench) -> None:
    wire = Wire()
    _, store = await bench.start(mailer(wire))
    run = await bench.ask("mail")
    await bench.until(lambda: wire.begun == 1)
    store.after["post"] = 3
    wire.go.set()
    assert (await bench.ended(run)).result == b'[true,"sent"]'
    assert (len(wire.sent), states(bench)) == (1, ["done"])


@in_time
async def test_who_asks_for_what_another_sends_waits_for_its_receipt(bench: Bench) -> None:
    wire = Wire()
    app = mailer(wire, per="day")
    for _ in range(2):
        await bench.start(app, slots=1)
    first = await bench.ask("mail")
    await bench.until(lambda: wire.begun == 1)
    others = [await bench.ask("mail") for _ in range(3)]
    await bench.until(lambda: all(run in bench.tables.later for run in others))
    assert {(await bench.view(run)).state.value for run in others} == {"waiting"}
    wire.go.set()
    assert (await bench.ended(first)).result == b'[true,"sent"]'
    for run in others:
        assert (await bench.ended(run)).result == b'[false,"sent"]'
    assert len(wire.sent) == 1


@in_time
async def test_a_cancel_in_the_middle_leaves_the_sender_to_its_end_and_keeps_its_receipt(
    bench: Bench,
) -> None:
    wire = Wire()
    wire.first_byte = True
    await bench.start(mailer(wire))
    run = await bench.ask("mail")
    await bench.until(lambda: wire.begun == 1)
    await bench.client.cancel(run, by="ann", reason="no")
    assert (await bench.ended(run)).state.value == "cancelled"
    assert states(bench) == ["intended"]
    wire.go.set()
    await bench.until(lambda: states(bench) == ["done"])
    assert len(wire.sent) == 1


@in_time
async def test_a_cancel_before_the_first_byte_is_heard_by_the_last_call(bench: Bench) -> None:
    wire = Wire()
    await bench.start(mailer(wire))
    run = await bench.ask("mail")
    await bench.until(lambda: wire.begun == 1)
    await bench.client.cancel(run, by="ann", reason="no")
    await bench.ended(run)
    wire.go.set()
    await bench.until(lambda: not bench.tables.effects)
    assert wire.sent == []


@in_time
async def test_a_cancel_before_the_answer_to_the_intent_takes_it_back_unsent(bench: Bench) -> None:
    wire = Wire()
    wire.go.set()
    _, store = await bench.start(mailer(wire))
    store.after["post"] = 6
    run = await bench.ask("mail")
    await bench.until(lambda: states(bench) == ["intended"])
    await bench.client.cancel(run, by="ann", reason="no")
    assert (await bench.ended(run)).state.value == "cancelled"
    await bench.until(lambda: not bench.tables.effects)
    assert wire.begun == 0


@in_time
async def test_a_lease_that_cannot_be_trusted_sends_nothing(bench: Bench) -> None:
    wire = Wire()
    engine, _ = await bench.start(mailer(wire, retries=0))
    run = await bench.ask("mail")
    await bench.until(lambda: wire.begun == 1)
    bench.keepers[0].stopped = True
    await bench.until(lambda: not engine.lease.trusted)
    wire.go.set()
    await bench.until(lambda: not bench.tables.effects)
    assert wire.sent == []
    view = await bench.ended(run)
    assert "could not renew its lease" in (view.error or "")


@in_time
async def test_a_send_deadline_that_has_passed_withdraws_the_intent(bench: Bench) -> None:
    wire = Wire()
    await bench.start(mailer(wire, retries=0, deadline=2))
    run = await bench.ask("mail")
    await bench.until(lambda: wire.begun == 1)
    await bench.past(3)
    wire.go.set()
    view = await bench.ended(run)
    assert view.state.value == "failed"
    assert "its send deadline had passed" in (view.error or "")
    assert (wire.sent, states(bench)) == ([], [])


@in_time
async def test_an_intent_swept_while_its_answer_was_away_is_taken_back_and_made_again(
    bench: Bench,
) -> None:
    wire = Wire()
    wire.go.set()
    _, store = await bench.start(mailer(wire, deadline=1))
    post, swept = store.post, []

    async def swept_meanwhile(entries: Any, **how: Any) -> Any:
        answers = await post(entries, **how)
        if isinstance(entries[0], Intend) and not swept:
            row = bench.tables.effects[entries[0].address]
            bench.tables.effects[row.address] = replace(row, state=EffectState.UNCERTAIN)
            swept.append(row.intent)
            return await post(entries, **how)  # what a resend is told
        return answers

    engine = bench.engines[0]
    engine.posting._write = swept_meanwhile
    view = await bench.ended(await bench.ask("mail"))
    assert view.result == b'[true,"sent"]'
    assert (len(wire.sent), states(bench)) == (1, ["done"])
    assert [one.intent for one in bench.tables.effects.values()] != swept


@in_time
async def test_an_intent_of_an_attempt_in_other_hands_is_stale_and_not_sent(bench: Bench) -> None:
    wire = Wire()
    wire.go.set()
    app, seen = Duly("memory://"), []

    @app.task(retries=0)
    async def mail(ctx: Context) -> int:
        if ctx.attempt == 1:
            held = bench.tables.held.pop(ctx.run_id)  # as a takeover leaves it
            bench.tables.put_ready(ctx.run_id, bench.now(), before=held)
        await ctx.effect("mail", wire.send)
        seen.append(ctx.attempt)
        return ctx.attempt

    await bench.start(app, slots=1)
    assert (await bench.ended(await bench.ask("mail"))).result == b"2"
    assert (seen, len(wire.sent)) == ([2], 1)
    assert len(bench.told(events.RunLost)) == 1


@in_time
async def test_a_sender_whose_run_was_handed_back_is_waited_for(bench: Bench) -> None:
    wire = Wire()
    wire.first_byte = True
    app = mailer(wire)
    engine, _ = await bench.start(app)
    run = await bench.ask("mail")
    await bench.until(lambda: wire.begun == 1)
    engine.attempts.stop(engine.hands.held[run], "handed back at a stop")
    await bench.until(lambda: run in bench.tables.later, within_s=20)
    assert (await bench.view(run)).state.value == "waiting", "on the intent of its first attempt"
    wire.go.set()
    assert (await bench.ended(run)).result == b'[false,"sent"]'
    assert len(wire.sent) == 1


@in_time
async def test_what_a_dead_sender_left_becomes_uncertain_and_is_not_sent_again(
    bench: Bench,
) -> None:
    wire = Wire()
    app = mailer(wire)
    engine, store = await bench.start(app)
    run = await bench.ask("mail")
    await bench.until(lambda: wire.begun == 1)
    _die(engine, store)
    await bench.start(app)
    await bench.until(lambda: run in bench.tables.later and states(bench) == ["uncertain"], 300)
    await bench.past(120)
    view = await bench.view(run)
    assert (view.state.value, view.reason) == ("parked", "uncertain")
    assert wire.begun == 1
    assert [one.kind for one in await bench.client.incidents()].count("effect.uncertain") == 1
    assert (await bench.client.effects(EffectFilter()))[0].state is EffectState.UNCERTAIN


def _die(engine: Engine, store: FaultyStore) -> None:
    """Cut an instance off for ever: nothing it says arrives, and it never renews again."""
    store.away = True
    store.before = dict.fromkeys(("register",), 10**9)
    engine._keeper.stop()


@in_time
async def test_a_stop_waits_for_what_is_known_of_effects(bench: Bench) -> None:
    wire = Wire()
    app = Duly("memory://")

    @app.task
    async def mail(ctx: Context) -> Any:
        return (await ctx.effect("mail", wire.send)).value

    engine, store = await bench.start(app)
    await bench.ask("mail")
    await bench.until(lambda: wire.begun == 1)
    store.before["post"] = 2
    wire.go.set()
    stopping = asyncio.ensure_future(engine.stop(grace=timedelta(seconds=10)))
    await lasts(5)
    await stopping
    assert states(bench) == ["done"]
