"""Races about what outlasts an attempt: waiting and waking, effects, notes, the outbox.

Each race is an interleaving that is forced: a transaction of the test's own holds the lock that
both sides need, they queue up before it in a known order, and it is let go. A bounded storm of
the same race follows, in which the database chooses. Nothing sleeps.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from duly.core.effects import (
    DEADLINE,
    Address,
    Author,
    Confirm,
    Doubt,
    Entry,
    Intend,
    Outcome,
    Posted,
    Resolve,
)
from duly.core.fleet import Proof, TakenOver
from duly.core.outbox import Message
from duly.core.runs import Answer, Claimed, Ending, NewRun, Origin
from duly.core.states import RunVerb
from duly.core.steps import Await, Event, Note, Progress, Step, of_effect, of_event, of_run
from duly.stores.base import Retention
from duly.stores.postgres import PostgresStore
from duly.stores.postgres.waiting import lock_key
from tests.stores.postgres.conftest import MakeStores
from tests.stores.postgres.test_races import Ids, boot_of, claim, plain

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("postgres")]

Verb = Callable[[], Awaitable[Any]]

ADDRESS = Address("t", "pay", "k")
KEEP = timedelta(days=30)
ORDERS = pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["as_named", "turned"])

HELD = "select from duly_held for update"
EFFECT = "select from duly_effect for update"


# --- forcing an order -------------------------------------------------------------------------


@asynccontextmanager
async def holding(database: str, lock: str, *args: object) -> AsyncIterator[asyncpg.Connection]:
    """Hold a lock in a transaction that is rolled back at the end."""
    conn = await asyncpg.connect(database)
    held = conn.transaction()
    await held.start()
    try:
        await conn.execute(lock, *args)
        yield conn
    finally:
        await conn.close()


async def in_order(
    database: str, verbs: Sequence[Verb], order: Sequence[int], lock: str, *args: object
) -> list[Any]:
    """Let verbs queue up before a held lock in this order; return their answers as named."""
    tasks: dict[int, asyncio.Task[Any]] = {}
    async with holding(database, lock, *args) as other:
        for queued, index in enumerate(order, 1):
            tasks[index] = asyncio.ensure_future(verbs[index]())
            await so_many_wait(other, queued)
    return [await tasks[index] for index in range(len(verbs))]


async def so_many_wait(conn: asyncpg.Connection, count: int) -> None:
    """Return when so many sessions of this database wait for a lock."""
    asked = (
        "select count(*) from pg_stat_activity"
        " where wait_event_type = 'Lock' and datname = current_database()"
    )
    async with asyncio.timeout(60):
        while True:
            waiting: Any = await conn.fetchval(asked)
            if waiting >= count:
                return


async def state(store: PostgresStore, run: UUID) -> str:
    found = await store.run(run)
    assert found is not None
    return found.state.value


# --- waiting and waking -----------------------------------------------------------------------


def waits(run: Claimed, *events: str, together: bool = True) -> Ending:
    wanted = tuple(Await(one, "" if together else str(i)) for i, one in enumerate(events))
    return Ending(run=run.id, epoch=run.epoch, verb=RunVerb.WAIT, awaits=wanted)


def over(run: Claimed) -> Ending:
    return Ending(run=run.id, epoch=run.epoch, verb=RunVerb.COMPLETE, parent=run.parent)


async def family(
    store: PostgresStore, new_id: Ids, children: int
) -> tuple[UUID, Claimed, list[Claimed]]:
    """A parent and its children, all in the hands of one boot."""
    boot, [parent] = await boot_of(store, new_id), await plain(store, new_id, 1)
    await plain(store, new_id, children, parent=parent)
    got = await claim(store, boot, new_id, children + 1)
    return boot, got[0], got[1:]


@ORDERS
async def test_a_wait_and_its_event_never_miss_each_other(
    make_stores: MakeStores, database: str, order: tuple[int, int]
) -> None:
    stores, new_id = await make_stores(2), Ids()
    boot, run, _ = await family(stores[0], new_id, 0)
    verbs: list[Verb] = [
        lambda: stores[0].end(boot, [waits(run, of_event("paid"))]),
        lambda: stores[1].emit(Event(name="paid")),
    ]
    key = lock_key(of_event("paid"))
    got = await in_order(database, verbs, order, "select pg_advisory_xact_lock($1)", key)
    assert got == [[Answer.DONE], Answer.DONE]
    assert await state(stores[0], run.id) == "ready"


@ORDERS
async def test_a_parent_that_waits_and_a_child_that_ends_never_miss_each_other(
    make_stores: MakeStores, database: str, order: tuple[int, int]
) -> None:
    stores, new_id = await make_stores(2), Ids()
    boot, parent, [child] = await family(stores[0], new_id, 1)
    verbs: list[Verb] = [
        lambda: stores[0].end(boot, [waits(parent, of_run(child.id))]),
        lambda: stores[1].end(boot, [over(child)]),
    ]
    key = lock_key(of_run(child.id))
    got = await in_order(database, verbs, order, "select pg_advisory_xact_lock($1)", key)
    assert got == [[Answer.DONE], [Answer.DONE]]
    assert await state(stores[0], parent.id) == "ready"


async def test_the_last_two_children_that_end_at_once_wake_their_parent(
    make_stores: MakeStores, database: str
) -> None:
    stores, new_id = await make_stores(2), Ids()
    boot, parent, children = await family(stores[0], new_id, 2)
    await stores[0].end(boot, [waits(parent, *(of_run(one.id) for one in children))])
    verbs: list[Verb] = [
        lambda: stores[0].end(boot, [over(children[0])]),
        lambda: stores[1].end(boot, [over(children[1])]),
    ]
    got = await in_order(database, verbs, (0, 1), "select from duly_await for update")
    assert got == [[Answer.DONE], [Answer.DONE]]
    assert await state(stores[0], parent.id) == "ready"


@ORDERS
async def test_a_wait_for_an_effect_and_its_receipt_never_miss_each_other(
    make_stores: MakeStores, database: str, order: tuple[int, int]
) -> None:
    stores, new_id = await make_stores(2), Ids()
    boot, waiter, _ = await family(stores[0], new_id, 0)
    sender = await sending(stores[1], new_id)
    await post(stores[1], sender)
    verbs: list[Verb] = [
        lambda: stores[0].end(boot, [waits(waiter, of_effect(str(ADDRESS)))]),
        lambda: post(stores[1], receipt(sender)),
    ]
    got = await in_order(database, verbs, order, EFFECT)
    assert (got[0], got[1].outcome) == ([Answer.DONE], Outcome.DONE)
    assert await state(stores[0], waiter.id) == "ready"


@pytest.mark.parametrize("together", [True, False], ids=["all", "any"])
async def test_a_storm_of_children_leaves_no_parent_asleep(
    make_stores: MakeStores, together: bool
) -> None:
    stores, new_id = await make_stores(3), Ids()
    for _ in range(12):
        boot, parent, children = await family(stores[0], new_id, 4)
        ends = [
            one.end(boot, [over(child)]) for one, child in zip(stores * 2, children, strict=False)
        ]
        names = [of_run(one.id) for one in children]
        await asyncio.gather(*ends, stores[1].end(boot, [waits(parent, *names, together=together)]))
        assert await state(stores[0], parent.id) == "ready"
        await claim(stores[0], boot, new_id, 1)


async def test_a_storm_of_events_wakes_each_run_once(make_stores: MakeStores) -> None:
    stores, new_id = await make_stores(3), Ids()
    for turn in range(12):
        boot, run, _ = await family(stores[0], new_id, 0)
        names = [f"{turn}/{n}" for n in range(4)]
        answers = await asyncio.gather(
            stores[0].end(boot, [waits(run, *map(of_event, names))]),
            *(stores[n % 3].emit(Event(name=name)) for n, name in enumerate(names * 2)),
        )
        assert sorted(answers[1:]) == [Answer.ALREADY] * 4 + [Answer.DONE] * 4
        [again] = await claim(stores[1], boot, new_id, 9)
        assert (again.id, again.epoch) == (run.id, run.epoch + 1)


async def test_who_leaves_hands_back_children_and_limited_runs_alike(
    make_stores: MakeStores,
) -> None:
    """What is held is locked before the boot's row, so nothing is found there to lock later."""
    [store], new_id = await make_stores(1), Ids()
    boot, _, children = await family(store, new_id, 2)
    limited = await plain(store, new_id, 1, limit_key="l", limit=1)
    await claim(store, boot, new_id, 1)
    await store.cancel(children[0].id, by="bob", reason="no")
    assert await store.leave(boot) == 4
    assert await state(store, children[0].id) == "cancelled"
    assert [await state(store, one) for one in (children[1].id, *limited)] == ["ready", "ready"]


async def test_a_cancel_of_a_run_that_is_pruned_meanwhile_knows_it_not(
    make_stores: MakeStores, database: str
) -> None:
    stores, new_id = await make_stores(2), Ids()
    boot, _, [child] = await family(stores[0], new_id, 1)
    await stores[0].end(boot, [over(child)])
    key = lock_key(of_run(child.id))
    async with holding(database, "select pg_advisory_xact_lock($1)", key) as other:
        cancelling = asyncio.ensure_future(stores[0].cancel(child.id, by="bob", reason="no"))
        await so_many_wait(other, 1)
        assert (await stores[1].prune(Retention(history=timedelta(0), last=0))).runs == 1
    assert await cancelling is Answer.UNKNOWN


# --- effects ----------------------------------------------------------------------------------


async def sending(store: PostgresStore, new_id: Ids) -> Intend:
    """An intent by a new run in the hands of a new boot."""
    boot, run, _ = await family(store, new_id, 0)
    return Intend(
        address=ADDRESS,
        author=Author(run.id, boot, run.epoch),
        intent=new_id(),
        deadline=DEADLINE,
        keep=KEEP,
    )


def receipt(sent: Intend) -> Confirm:
    return Confirm(
        address=sent.address, author=sent.author, intent=sent.intent, receipt=b"1", keep=KEEP
    )


async def post(store: PostgresStore, entry: Entry) -> Posted:
    [answer] = await store.post([entry])
    return answer


FIRST_ROW = """
insert into duly_effect values
  ('t', 'pay', 'k', 'intended', gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), 1,
   now(), now(), now(), null, null, '', '')
"""


async def test_of_two_that_intend_at_once_exactly_one_goes(
    make_stores: MakeStores, database: str
) -> None:
    stores, new_id = await make_stores(2), Ids()
    sent = [await sending(one, new_id) for one in stores]
    verbs: list[Verb] = [lambda: post(stores[0], sent[0]), lambda: post(stores[1], sent[1])]
    got = await in_order(database, verbs, (0, 1), FIRST_ROW)
    assert sorted(one.outcome for one in got) == [Outcome.GO, Outcome.WAIT]


async def test_a_storm_of_intents_sends_once(make_stores: MakeStores, database: str) -> None:
    stores, new_id = await make_stores(3), Ids()
    sent = [await sending(stores[n % 3], new_id) for n in range(6)]
    for _ in range(10):
        got = await asyncio.gather(
            *(post(stores[n % 3], one) for n, one in enumerate(sent)),
        )
        goes = [one for one, answer in zip(sent, got, strict=True) if answer.outcome is Outcome.GO]
        assert len(goes) == 1
        assert [one.outcome for one in got].count(Outcome.WAIT) == len(sent) - 1
        await post(stores[0], receipt(goes[0]))
        again = await post(stores[1], sent[0])
        assert again.outcome is Outcome.DONE
        conn = await asyncpg.connect(database)
        await conn.execute("delete from duly_effect")
        await conn.close()


async def test_a_takeover_waits_until_an_intent_is_written(
    make_stores: MakeStores, database: str
) -> None:
    stores, new_id = await make_stores(2), Ids()
    sent = await sending(stores[0], new_id)
    verbs: list[Verb] = [
        lambda: post(stores[0], sent),
        lambda: stores[1].take_over(sent.author.boot, Proof.PROCESS),
    ]
    go, taken = await in_order(database, verbs, (0, 1), FIRST_ROW)
    assert (go.outcome, taken.ready) == (Outcome.GO, (sent.author.run,))
    row = await stores[1].effect(ADDRESS)
    assert row is not None and row.intent == sent.intent


async def test_an_intent_after_the_takeover_is_stale(
    make_stores: MakeStores, database: str
) -> None:
    stores, new_id = await make_stores(2), Ids()
    sent = await sending(stores[0], new_id)
    verbs: list[Verb] = [
        lambda: stores[1].take_over(sent.author.boot, Proof.PROCESS),
        lambda: post(stores[0], sent),
    ]
    taken, stale = await in_order(database, verbs, (0, 1), HELD)
    assert (taken.buried, stale.outcome) == (True, Outcome.STALE)
    assert await stores[1].effect(ADDRESS) is None


@pytest.mark.parametrize(
    ("order", "said", "after"),
    [
        ((0, 1), [Outcome.DONE, Outcome.REFUSED], []),
        ((1, 0), [Outcome.CONTRADICTED, Outcome.CLEARED], ["effect.contradicted"]),
    ],
    ids=["receipt_first", "word_first"],
)
async def test_a_late_receipt_and_a_persons_word_are_settled_in_some_order(
    make_stores: MakeStores,
    database: str,
    order: tuple[int, int],
    said: list[Outcome],
    after: list[str],
) -> None:
    stores, new_id = await make_stores(2), Ids()
    sent = await sending(stores[0], new_id)
    await post(stores[0], sent)
    await post(stores[0], Doubt(address=ADDRESS, intent=sent.intent, why="so"))
    word = Resolve(address=ADDRESS, performed=False, by="bob", reason="saw it", accept_double=True)
    verbs: list[Verb] = [lambda: post(stores[0], receipt(sent)), lambda: post(stores[1], word)]
    got = await in_order(database, verbs, order, EFFECT)
    assert [one.outcome for one in got] == said
    assert [one.kind for one in await stores[0].incidents()] == after
    row = await stores[0].effect(ADDRESS)
    assert row is not None and (row.state, row.receipt) == ("done", b"1")


async def test_addresses_in_other_orders_do_not_deadlock(make_stores: MakeStores) -> None:
    stores, new_id = await make_stores(3), Ids()
    sent = [await sending(one, new_id) for one in stores]
    keys = [f"k{n}" for n in range(12)]

    async def all_of(n: int) -> list[Posted]:
        entries = [
            Intend(
                address=Address("t", "pay", key),
                author=sent[n].author,
                intent=new_id(),
                deadline=DEADLINE,
                keep=KEEP,
            )
            for key in (keys if n % 2 else keys[::-1])
        ]
        return list(await stores[n].post(entries))

    got = [one for batch in await asyncio.gather(*map(all_of, range(3))) for one in batch]
    assert sum(one.outcome is Outcome.GO for one in got) == len(keys)


# --- notes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("children", [0, 1], ids=["plain", "with_a_child"])
@ORDERS
async def test_nothing_is_kept_after_the_takeover(
    make_stores: MakeStores, database: str, order: tuple[int, int], children: int
) -> None:
    stores, new_id = await make_stores(2), Ids()
    boot, run, _ = await family(stores[0], new_id, 0)
    message = Message(id=new_id(), topic="m", body=b"1")
    note = Note(
        run=run.id,
        epoch=run.epoch,
        steps=(Step(name="a", number=0),),
        messages=(message,),
        progress=Progress(done=1),
        runs=tuple(_child(new_id(), run.id) for _ in range(children)),
    )
    verbs: list[Verb] = [
        lambda: stores[0].keep(boot, [note]),
        lambda: stores[1].take_over(boot, Proof.PROCESS),
    ]
    [kept], taken = await in_order(database, verbs, order, HELD)
    assert isinstance(taken, TakenOver) and taken.buried
    rows = await stores[1].snapshot()
    first = order == (0, 1)
    assert kept is (Answer.DONE if first else Answer.STALE)
    assert [len(rows[kind]) for kind in ("steps", "outbox", "progress")] == [int(first)] * 3
    assert len(rows["run"]) == 1 + children * first


def _child(number: UUID, parent: UUID) -> NewRun:
    return NewRun(id=number, task="t", parent=parent, origin=Origin.CHILD)


async def test_a_storm_of_notes_and_takeovers_keeps_what_was_answered(
    make_stores: MakeStores,
) -> None:
    stores, new_id = await make_stores(2), Ids()
    for _ in range(15):
        boot, run, _ = await family(stores[0], new_id, 0)

        async def keep(n: int, boot: UUID = boot, run: Claimed = run) -> Answer:
            step = Step(name=f"s{n}", number=n)
            note = Note(run=run.id, epoch=run.epoch, steps=(step,))
            return (await stores[0].keep(boot, [note]))[0]

        *answers, _ = await asyncio.gather(
            *map(keep, range(4)), stores[1].take_over(boot, Proof.PROCESS)
        )
        kept = {one.number for one in (await stores[1].remembered(run.id)).steps}
        assert kept == {n for n, answer in enumerate(answers) if answer is Answer.DONE}
        survivor = await boot_of(stores[1], new_id)
        rest = await claim(stores[1], survivor, new_id, 9)
        await stores[1].end(survivor, [over(one) for one in rest])


# --- the outbox -------------------------------------------------------------------------------


async def test_of_two_boots_exactly_one_relays_a_topic(
    make_stores: MakeStores, database: str
) -> None:
    stores, new_id = await make_stores(2), Ids()
    boots = [await boot_of(one, new_id) for one in stores]
    row = "insert into duly_relay values ('m', gen_random_uuid(), now())"
    verbs: list[Verb] = [
        lambda: stores[0].outgoing(boots[0], "m", limit=9),
        lambda: stores[1].outgoing(boots[1], "m", limit=9),
    ]
    got = await in_order(database, verbs, (0, 1), row)
    assert sorted(one is None for one in got) == [False, True]
    later = await asyncio.gather(*(verb() for verb in verbs * 3))
    assert [one is None for one in later] == [one is None for one in got] * 3
