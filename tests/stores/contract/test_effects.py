"""The ledger: one row per effect, decided by the core, with its audit, incident and waking."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import msgspec
import pytest

from duly.core.effects import (
    CONTRADICTED,
    MARGIN,
    UNCERTAIN,
    Doubt,
    Effect,
    EffectFilter,
    Intend,
    Outcome,
    Resolve,
    Withdraw,
)
from duly.core.fleet import Proof
from duly.core.runs import Answer, Claimed
from duly.core.states import EffectState, EffectVerb, RunVerb
from duly.core.steps import UNCERTAIN as PARKED_UNCERTAIN
from duly.core.steps import of_effect
from duly.stores.base import Retention
from tests.stores.world import DAY, World, awaits

LATE = timedelta(seconds=30) + MARGIN


def doubt(sent: Intend, *, swept: bool = False) -> Doubt:
    return Doubt(address=sent.address, intent=sent.intent, why="no answer", swept=swept)


def withdraw(sent: Intend) -> Withdraw:
    return Withdraw(address=sent.address, intent=sent.intent, why="refused")


def resolve(sent: Intend, *, performed: bool, **how: object) -> Resolve:
    return msgspec.structs.replace(
        Resolve(address=sent.address, performed=performed, by="bob", reason="I looked"), **how
    )


async def row_of(world: World, sent: Intend) -> Effect:
    row = await world.store.effect(sent.address)
    assert row is not None, "there is no such effect"
    return row


async def open_kinds(world: World) -> list[str]:
    return [one.kind for one in await world.store.incidents()]


async def lines(world: World, sent: Intend) -> list[EffectVerb]:
    return [one.verb for one in await world.store.audit(sent.address)]


async def uncertain(world: World) -> tuple[UUID, Claimed, Intend]:
    """An effect that its own sender is in doubt about."""
    boot, run = await world.held()
    sent = world.intend(boot, run)
    assert (await world.post(sent)).outcome is Outcome.GO
    assert (await world.post(doubt(sent))).outcome is Outcome.UNCERTAIN
    return boot, run, sent


async def second_hand(world: World) -> tuple[UUID, Claimed]:
    """Another boot, with another run in its hands."""
    return await world.held()


# --- intending ----------------------------------------------------------------------------


async def test_an_intent_comes_before_the_act_and_stands_alone(world: World) -> None:
    boot, run = await world.held()
    sent = world.intend(boot, run)
    first, second = await world.twice(world.post, sent)
    assert (first.outcome, second.outcome) == (Outcome.GO, Outcome.GO)
    row = await row_of(world, sent)
    assert row == Effect(
        address=sent.address,
        state=EffectState.INTENDED,
        intent=sent.intent,
        author=sent.author,
        intended_at=world.now,
        deadline=world.now + sent.deadline,
        keep_until=world.now + sent.keep,
    )
    assert (await lines(world, sent), await open_kinds(world)) == ([], [])


async def test_an_intent_without_its_fence_is_refused(world: World) -> None:
    old, lost = await world.held()
    await world.die(old)
    boot = await world.boot()
    [run] = await world.claim(boot)
    stranger = await world.boot()
    before = await world.store.snapshot()
    for holder, fence in ((old, lost), (stranger, run), (boot, lost)):
        assert (await world.post(world.intend(holder, fence))).outcome is Outcome.STALE
    assert await world.store.snapshot() == before


async def test_what_is_done_is_not_done_again(world: World) -> None:
    boot, run = await world.held()
    sent = world.intend(boot, run)
    await world.post(sent)
    first, second = await world.twice(world.post, world.confirm(sent))
    assert (first.outcome, first.receipt, second.outcome) == (
        Outcome.DONE,
        b'"ok"',
        Outcome.ALREADY,
    )
    done = world.now
    world.turn(60)
    again = await world.post(world.intend(*(await second_hand(world))))
    assert (again.outcome, again.receipt, again.settled_at) == (Outcome.DONE, b'"ok"', done)
    assert again.intent == sent.intent
    assert await lines(world, sent) == []


async def test_anothers_live_intent_is_waited_for(world: World) -> None:
    boot, run = await world.held()
    sent = world.intend(boot, run)
    await world.post(sent)
    other = await second_hand(world)
    answer = await world.post(world.intend(*other))
    assert (answer.outcome, answer.until) == (Outcome.WAIT, world.now + LATE)
    world.turn(LATE - timedelta(microseconds=1))
    assert (await world.post(world.intend(*other))).outcome is Outcome.WAIT
    assert (await row_of(world, sent)).intent == sent.intent


async def test_a_holder_whose_lease_is_good_is_waited_for_past_its_deadline(world: World) -> None:
    boot, run = await world.held()
    sent = world.intend(boot, run)
    await world.post(sent)
    world.turn(LATE)
    await world.store.renew(boot, [(run.id, run.epoch)], [], now=world.now)
    other = await second_hand(world)
    answer = await world.post(world.intend(*other))
    assert (answer.outcome, answer.until) == (Outcome.WAIT, world.now + MARGIN)


@pytest.mark.parametrize("way", ["its lease ended", "its run ended", "it is proven gone"])
async def test_an_intent_that_is_not_live_is_doubted_by_who_wants_it(
    world: World, way: str
) -> None:
    boot, run = await world.held()
    sent = world.intend(boot, run)
    await world.post(sent)
    if way == "its run ended":
        await world.store.renew(boot, [(run.id, run.epoch)], [], now=world.turn(LATE))
        await world.complete(boot, run)
    elif way == "its lease ended":
        world.turn(LATE)
    else:
        await world.die(boot)
    answer = await world.post(world.intend(*(await second_hand(world)), key="k"))
    assert (answer.outcome, answer.intent) == (Outcome.UNCERTAIN, sent.intent)
    row = await row_of(world, sent)
    assert (row.state, row.intent, row.why) == (EffectState.UNCERTAIN, sent.intent, answer.why)
    assert (await open_kinds(world), await lines(world, sent)) == ([UNCERTAIN], [EffectVerb.DOUBT])


async def test_a_batch_is_decided_in_order(world: World) -> None:
    boot, run = await world.held()
    other, second = await second_hand(world)
    one, two, three = (
        world.intend(boot, run, "a"),
        world.intend(other, second, "a"),
        world.intend(other, second, "b"),
    )
    entries = [one, three, two, world.confirm(one), two, withdraw(three), three]
    answers = await world.store.post(entries, now=world.now)
    assert [answer.outcome for answer in answers] == [
        Outcome.GO,
        Outcome.GO,
        Outcome.WAIT,
        Outcome.DONE,
        Outcome.DONE,
        Outcome.CLEARED,
        Outcome.GO,
    ]
    assert (await row_of(world, three)).state is EffectState.INTENDED
    assert await world.store.post([], now=world.now) == []


async def test_effects_of_other_addresses_are_left_alone(world: World) -> None:
    boot, run = await world.held()
    one, other = world.intend(boot, run, "a"), world.intend(boot, run, "b")
    await world.store.post([one, other], now=world.now)
    await world.post(doubt(one))
    await world.post(withdraw(one))
    assert (await row_of(world, other)).state is EffectState.INTENDED
    assert await lines(world, other) == []


# --- withdrawing and doubting -------------------------------------------------------------


async def test_the_sender_withdraws_what_it_did_not_perform(world: World) -> None:
    boot, run = await world.held()
    sent = world.intend(boot, run)
    await world.post(sent)
    first, second = await world.twice(world.post, withdraw(sent))
    assert (first.outcome, second.outcome) == (Outcome.CLEARED, Outcome.ALREADY)
    assert await world.store.effect(sent.address) is None
    [line] = await world.store.audit(sent.address)
    assert (line.verb, line.intent, line.why) == (EffectVerb.WITHDRAW, sent.intent, "refused")
    assert (await world.post(world.intend(boot, run))).outcome is Outcome.GO


async def test_nobody_withdraws_anothers_intent(world: World) -> None:
    boot, run = await world.held()
    sent = world.intend(boot, run)
    await world.post(sent)
    foreign = msgspec.structs.replace(withdraw(sent), intent=world.new_id())
    assert (await world.post(foreign)).outcome is Outcome.ALREADY
    assert (await row_of(world, sent)).intent == sent.intent


async def test_a_doubt_opens_an_incident_and_bars_the_way(world: World) -> None:
    boot, run, sent = await uncertain(world)
    assert (await world.post(doubt(sent))).outcome is Outcome.ALREADY
    for entry in (world.intend(boot, run), sent):
        assert (await world.post(entry)).outcome is Outcome.UNCERTAIN
    [incident] = await world.store.incidents()
    assert (incident.kind, incident.subject) == (UNCERTAIN, "t pay k")
    assert incident.evidence["intent"] == str(sent.intent)
    assert incident.opened_at == world.now
    assert await lines(world, sent) == [EffectVerb.DOUBT]


async def test_a_late_withdrawal_ends_the_doubt(world: World) -> None:
    _, _, sent = await uncertain(world)
    assert (await world.post(withdraw(sent))).outcome is Outcome.CLEARED
    assert await world.store.effect(sent.address) is None
    assert await open_kinds(world) == []


# --- receipts -----------------------------------------------------------------------------


async def test_a_late_receipt_is_kept_and_ends_the_doubt(world: World) -> None:
    boot, _, sent = await uncertain(world)
    await world.die(boot)
    world.turn(DAY)
    first, second = await world.twice(world.post, world.confirm(sent))
    assert (first.outcome, second.outcome) == (Outcome.DONE, Outcome.ALREADY)
    row = await row_of(world, sent)
    assert (row.state, row.receipt, row.settled_at) == (EffectState.DONE, b'"ok"', world.now)
    assert await open_kinds(world) == []
    assert await lines(world, sent) == [EffectVerb.DOUBT, EffectVerb.CONFIRM]


async def test_a_receipt_against_somebodys_word_is_kept_and_told(world: World) -> None:
    boot, run, sent = await uncertain(world)
    await world.post(resolve(sent, performed=False, accept_double=True))
    answer = await world.post(world.confirm(sent))
    assert answer.outcome is Outcome.CONTRADICTED
    row = await row_of(world, sent)
    assert (row.state, row.intent, row.receipt) == (EffectState.DONE, sent.intent, b'"ok"')
    assert await open_kinds(world) == [CONTRADICTED]
    assert (await world.post(world.intend(boot, run))).outcome is Outcome.DONE


async def test_a_contradiction_does_not_touch_what_was_sent_since(world: World) -> None:
    boot, run, sent = await uncertain(world)
    await world.post(resolve(sent, performed=False, accept_double=True))
    second = world.intend(boot, run)
    assert (await world.post(second)).outcome is Outcome.GO
    assert (await world.post(world.confirm(sent))).outcome is Outcome.CONTRADICTED
    row = await row_of(world, sent)
    assert (row.state, row.intent) == (EffectState.INTENDED, second.intent)
    assert await open_kinds(world) == [CONTRADICTED]
    [*_, last] = await world.store.audit(sent.address)
    assert (last.verb, last.intent, last.receipt) == (EffectVerb.CONFIRM, sent.intent, b'"ok"')


async def test_the_receipt_takes_the_place_of_a_persons_word(world: World) -> None:
    _, _, sent = await uncertain(world)
    answer = await world.post(resolve(sent, performed=True))
    assert (answer.outcome, answer.receipt) == (Outcome.DONE, None)
    row = await row_of(world, sent)
    assert (row.state, row.by, row.why) == (EffectState.DONE, "bob", "I looked")
    assert (await world.post(world.confirm(sent))).outcome is Outcome.DONE
    row = await row_of(world, sent)
    assert (row.receipt, row.by) == (b'"ok"', "")


# --- a person's word ----------------------------------------------------------------------


async def test_not_performed_counts_only_when_the_sender_is_proven_gone(world: World) -> None:
    boot, _, sent = await uncertain(world)
    entry = resolve(sent, performed=False)
    assert (await world.post(entry)).outcome is Outcome.REFUSED
    await world.store.take_over(boot, Proof.SESSION, now=world.now)
    assert (await world.post(entry)).outcome is Outcome.REFUSED
    assert (await row_of(world, sent)).state is EffectState.UNCERTAIN
    assert await world.store.prove(boot, now=world.now) is Answer.DONE
    assert (await world.post(entry)).outcome is Outcome.CLEARED
    assert await open_kinds(world) == []
    [*_, line] = await world.store.audit(sent.address)
    assert (line.verb, line.by, line.why) == (EffectVerb.CLEAR, "bob", "I looked")
    assert not line.accepted_double


async def test_the_risk_of_a_double_is_taken_by_name(world: World) -> None:
    _, _, sent = await uncertain(world)
    entry = resolve(sent, performed=False, accept_double=True)
    first, second = await world.twice(world.post, entry)
    assert (first.outcome, second.outcome) == (Outcome.CLEARED, Outcome.UNKNOWN)
    [*_, line] = await world.store.audit(sent.address)
    assert (line.by, line.accepted_double) == ("bob", True)


async def test_the_sender_itself_may_verify_what_it_saw_end(world: World) -> None:
    _, _, sent = await uncertain(world)
    foreign = resolve(sent, performed=False, own=world.new_id())
    assert (await world.post(foreign)).outcome is Outcome.REFUSED
    own = resolve(sent, performed=False, own=sent.intent)
    assert (await world.post(own)).outcome is Outcome.CLEARED


async def test_what_is_not_in_doubt_is_not_resolved(world: World) -> None:
    boot, run = await world.held()
    sent = world.intend(boot, run)
    for performed in (True, False):
        entry = resolve(sent, performed=performed)
        assert (await world.post(entry)).outcome is Outcome.UNKNOWN
    await world.post(sent)
    assert (await world.post(resolve(sent, performed=True))).outcome is Outcome.REFUSED
    await world.post(world.confirm(sent))
    assert (await world.post(resolve(sent, performed=True))).outcome is Outcome.ALREADY
    assert (await world.post(resolve(sent, performed=False))).outcome is Outcome.REFUSED


@pytest.mark.parametrize(
    ("proof", "cause", "reason", "answer"),
    [
        (Proof.PROCESS, "", "process gone", Answer.ALREADY),
        (Proof.PROCESS, "killed", "process gone: killed", Answer.ALREADY),
        (Proof.SESSION, "", "process gone: after: session lost", Answer.DONE),
    ],
)
async def test_a_death_is_proven_once(
    world: World, proof: Proof, cause: str, reason: str, answer: Answer
) -> None:
    boot = await world.boot()
    assert await world.store.prove(boot, now=world.now) is Answer.IMPOSSIBLE
    await world.store.take_over(boot, proof, cause=cause, now=world.now)
    first, second = await world.twice(world.store.prove, boot, now=world.now)
    assert (first, second) == (answer, Answer.ALREADY)
    [dead] = await world.store.instances()
    assert dead.reason == reason
    assert await world.store.prove(world.new_id(), now=world.now) is Answer.UNKNOWN


async def test_the_cause_of_a_death_is_told_with_the_attempt(world: World) -> None:
    boot, run = await world.held()
    await world.store.take_over(boot, Proof.PROCESS, cause="killed", now=world.now)
    [attempt] = (await world.view(run.id)).attempts
    assert attempt.detail == "process gone: killed"


# --- the sweep ----------------------------------------------------------------------------


async def test_the_sweep_doubts_what_is_not_live_any_more(world: World) -> None:
    boot, run = await world.held()
    sent, later = world.intend(boot, run, "a"), world.intend(boot, run, "b", deadline=DAY)
    await world.store.post([sent, later], now=world.now)
    await world.store.renew(boot, [(run.id, run.epoch)], [], now=world.turn(LATE))
    assert await world.store.sweep(now=world.now) == 0
    await world.complete(boot, run)
    assert await world.twice(world.store.sweep, now=world.now) == (1, 0)
    assert (await row_of(world, sent)).state is EffectState.UNCERTAIN
    assert (await row_of(world, later)).state is EffectState.INTENDED
    assert await open_kinds(world) == [UNCERTAIN]


async def test_the_sweep_takes_a_bounded_bite_earliest_deadline_first(world: World) -> None:
    boot, run = await world.held()
    intents = [
        world.intend(boot, run, key, deadline=timedelta(seconds=s))
        for key, s in (("c", 3), ("a", 1), ("b", 2))
    ]
    await world.store.post(intents, now=world.now)
    await world.die(boot)
    world.turn(60)
    assert await world.store.sweep(2, now=world.now) == 2
    in_doubt = await world.store.effects(EffectFilter(state=EffectState.UNCERTAIN))
    assert sorted(one.address.key for one in in_doubt) == ["a", "b"]


# --- awaiting -----------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["confirm", "withdraw", "doubt"])
async def test_whoever_waits_for_an_intent_goes_on_when_it_settles(world: World, way: str) -> None:
    boot, run = await world.held()
    sent = world.intend(boot, run)
    await world.post(sent)
    other, second = await second_hand(world)
    await world.wait(other, second, *awaits(of_effect(str(sent.address))))
    assert await world.state(second.id) == "waiting"
    entries = {"confirm": world.confirm(sent), "withdraw": withdraw(sent), "doubt": doubt(sent)}
    await world.post(entries[way])
    assert await world.state(second.id) == "ready"


@pytest.mark.parametrize("way", ["confirm", "withdraw", "resolve"])
async def test_whoever_is_parked_in_doubt_goes_on_when_that_ends(world: World, way: str) -> None:
    boot, run, sent = await uncertain(world)
    how = {"verb": RunVerb.PARK, "reason": PARKED_UNCERTAIN}
    await world.wait(boot, run, *awaits(of_effect(str(sent.address))), **how)
    assert await world.state(run.id) == "parked"
    entries = {
        "confirm": world.confirm(sent),
        "withdraw": withdraw(sent),
        "resolve": resolve(sent, performed=True),
    }
    await world.post(entries[way])
    assert await world.state(run.id) == "ready"


@pytest.mark.parametrize("verb", [RunVerb.WAIT, RunVerb.PARK])
async def test_an_effect_that_settled_first_is_not_waited_for(world: World, verb: RunVerb) -> None:
    boot, run = await world.held()
    sent = world.intend(boot, run)
    await world.store.post([sent, world.confirm(sent)], now=world.now)
    wanted = awaits(of_effect(str(sent.address)))
    await world.wait(boot, run, *wanted, verb=verb, reason=PARKED_UNCERTAIN)
    assert await world.state(run.id) == "ready"


async def test_a_key_with_spaces_is_awaited_by_its_whole_address(world: World) -> None:
    boot, run = await world.held()
    sent, other = world.intend(boot, run, "a b: c"), world.intend(boot, run, "a")
    await world.store.post([sent, other], now=world.now)
    await world.wait(boot, run, *awaits(of_effect(str(sent.address))))
    await world.post(world.confirm(other))
    assert await world.state(run.id) == "waiting"
    await world.post(world.confirm(sent))
    assert await world.state(run.id) == "ready"


# --- looking and forgetting ---------------------------------------------------------------


async def test_effects_are_listed_newest_first_by_what_is_asked(world: World) -> None:
    boot, run = await world.held()
    other, second = await second_hand(world)
    for holder, fence, key in ((boot, run, "a"), (other, second, "b"), (boot, run, "c")):
        await world.post(world.intend(holder, fence, key))
        world.turn(1)
    await world.post(doubt(world.intend(boot, run, "a")))
    cases = [
        (EffectFilter(), "cba"),
        (EffectFilter(limit=2), "cb"),
        (EffectFilter(run=run.id), "ca"),
        (EffectFilter(task="t", run=second.id), "b"),
        (EffectFilter(task="u"), ""),
        (EffectFilter(state=EffectState.INTENDED), "cba"),
        (EffectFilter(state=EffectState.DONE), ""),
    ]
    for where, keys in cases:
        assert "".join(one.address.key for one in await world.store.effects(where)) == keys


async def test_only_what_is_done_and_long_over_is_forgotten(world: World) -> None:
    boot, run = await world.held()
    sent = {key: world.intend(boot, run, key, keep=DAY) for key in "abcd"}
    await world.store.post(list(sent.values()), now=world.now)
    for key in "abc":
        await world.post(doubt(sent[key]))
        await world.post(world.confirm(sent[key]))
    at = world.turn(DAY)
    assert (await world.store.prune(Retention(), now=at)).effects == 0
    at = world.turn(timedelta(microseconds=1))
    assert [(await world.store.prune(Retention(), limit=2, now=at)).effects for _ in range(3)] == [
        2,
        1,
        0,
    ]
    assert [one.address.key for one in await world.store.effects(EffectFilter())] == ["d"]
    assert await world.store.audit(sent["a"].address) == []
