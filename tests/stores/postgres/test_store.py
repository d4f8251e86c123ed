"""What is PostgreSQL's own in the store: its schema, its errors, foreign connections, its costs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from itertools import pairwise

import asyncpg
import pytest

from duly.core.effects import EffectFilter, Entry, Outcome
from duly.core.fleet import Proof
from duly.core.runs import Ending, NewRun, RunFilter
from duly.core.states import EffectState, RunVerb
from duly.errors import InvalidValue, Refused, StoreMismatch, StoreRefused, StoreUnavailable
from duly.stores.base import Retention
from duly.stores.postgres import PostgresStore, housekeeping, migrate
from tests.servers import Server
from tests.stores.postgres.conftest import MakeStores
from tests.stores.world import MINUTE, T0, World, ident, instance, minutely, note

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("postgres")]


def new(number: int, **how: object) -> NewRun:
    return NewRun(id=ident(number), task="t", **how)  # type: ignore[arg-type]


# --- schema ---------------------------------------------------------------------------------


async def test_migrating_twice_changes_nothing_the_second_time(server: Server) -> None:
    store = PostgresStore(server.empty_database(), schema="jobs")
    with pytest.raises(StoreMismatch, match="duly db migrate"):
        await store.open()
    assert [await store.migrate(), await store.migrate()] == [
        tuple(name for _, name, _ in migrate.steps()),
        (),
    ]
    assert (await store.open()).trusted
    await store.enqueue([new(1)])
    assert await store.counts() == {"ready": 1}
    await store.close()


async def test_a_store_of_the_first_schema_goes_on_with_what_it_has(server: Server) -> None:
    database = server.empty_database()
    await statement(database, migrate.steps()[0][2])
    await statement(database, "insert into duly_meta (schema_version, serves_from) values (1, 1)")
    await statement(database, ENQUEUED_BY_THE_FIRST_SCHEMA.format(run=ident(1)))
    store = PostgresStore(database)
    with pytest.raises(StoreMismatch, match="has schema 1"):
        await store.open()
    assert await store.migrate() == tuple(name for _, name, _ in migrate.steps()[1:])
    assert (await store.open()).schema == migrate.newest()
    assert await store.counts() == {"ready": 1}
    await statement(database, ENQUEUED_BY_THE_FIRST_SCHEMA.format(run=ident(2)))
    await store.enqueue([new(3, args=b'{"n":3}')])
    await store.enqueue([new(4, args=b'{"n":"%s"}' % (b"4" * 5000))])
    boot = ident(100)
    await store.register(instance(boot), {})
    claim = await store.claim(boot, ident(101), queues=["default"], tasks=["t"], limit=9)
    args = {one.id: one.args for one in claim.runs}
    assert [args[ident(1)], args[ident(2)]] == [b'{"n":1}', b'{"n":1}'], "read where it is kept"
    assert [len(args[ident(3)]), len(args[ident(4)])] == [7, 5008]
    assert {(one.task, one.queue, one.origin.value) for one in claim.runs} == {
        ("t", "default", "call")
    }
    again = await store.claim(boot, ident(101), queues=["default"], tasks=["t"], limit=9)
    assert again.runs == claim.runs
    await store.close()


ENQUEUED_BY_THE_FIRST_SCHEMA = """
with made as (
  insert into duly_run (id, enqueued_at, task, args, queue, priority, origin, max_running)
  values ('{run}', now(), 't', '{{"n":1}}', 'default', 0, 'call', 0) returning *
)
insert into duly_ready (queue, priority, id, task, ready_at)
select queue, priority, id, task, enqueued_at from made
"""
"""What code of the first schema writes, before and after the tables were expanded."""


async def statement(database: str, sql: str) -> None:
    conn = await asyncpg.connect(database)
    await conn.execute(sql)
    await conn.close()


# --- errors ---------------------------------------------------------------------------------


async def test_a_missing_database_is_refused_in_a_sentence(server: Server) -> None:
    store = PostgresStore(server.url_of("nowhere").replace("postgres@", "postgres:pass@"))
    with pytest.raises(StoreRefused, match="there is no such database") as caught:
        await store.open()
    assert "pass" not in str(caught.value) + store.name
    await store.close()


async def test_a_server_that_is_away_is_unavailable() -> None:
    store = PostgresStore("postgresql://me:secret@127.0.0.1:1/x?connect_timeout=1")
    with pytest.raises(StoreUnavailable, match="cannot be reached") as caught:
        await store.open()
    assert "secret" not in str(caught.value)
    await store.close()


@pytest.mark.parametrize(
    "how",
    [{"url": "mysql://x"}, {"url": "x"}, {"schema": 'a"b'}, {"schema": ""}, {"pool_size": 0}],
)
def test_what_cannot_be_right_is_refused_before_connecting(how: dict[str, object]) -> None:
    given: dict[str, object] = {"url": "postgresql://x/y"} | how
    with pytest.raises(InvalidValue, match="expected"):
        PostgresStore(given.pop("url"), **given)  # type: ignore[arg-type]


async def test_a_cut_pool_connection_costs_one_call_at_most(
    make_stores: MakeStores, database: str
) -> None:
    [store] = await make_stores(1)
    await statement(
        database,
        "select pg_terminate_backend(pid, 5000) from pg_stat_activity"
        " where datname = current_database() and pid <> pg_backend_pid()",
    )
    answers = []
    for _ in range(2):
        try:
            answers.append(await store.counts())
        except StoreUnavailable:
            continue
    assert answers[-1] == {}


# --- a store that is another one ------------------------------------------------------------


@pytest.mark.parametrize(
    ("forged", "said"),
    [("system_identifier = '1'", "another server"), ("timeline = 77", "timeline went from 77")],
)
async def test_a_restored_store_works_for_nobody_until_it_is_accepted(
    make_stores: MakeStores, database: str, forged: str, said: str
) -> None:
    await make_stores(1)
    await statement(database, f"update duly_meta set {forged}")
    [store] = await make_stores(1)
    standing = await store.open()
    assert (standing.trusted, said in standing.why) == (False, True)
    assert await store.standing() == standing
    verbs: list[Callable[[], Awaitable[object]]] = [
        lambda: store.claim(ident(1), ident(2), queues=["default"], tasks=["t"], limit=1),
        lambda: store.renew(ident(1), [], []),
        lambda: store.take_over(ident(1), Proof.LEASE),
        lambda: store.fire(new_id=lambda: ident(3)),
    ]
    for verb in verbs:
        with pytest.raises(Refused, match="duly db accept"):
            await verb()
    accepted = await store.accept("alice", "checked")
    assert (accepted.trusted, accepted.generation) == (True, standing.generation + 1)
    assert await store.accept("alice", "again") == accepted == await store.standing()
    assert not (await store.renew(ident(1), [], [])).alive


async def test_a_store_that_forgot_a_beat_is_not_trusted(
    make_stores: MakeStores, database: str
) -> None:
    [store] = await make_stores(1)
    await store.register(instance(ident(1)), {})
    for _ in range(3):
        await store.beat(ident(1), queues=[], tasks=[])
    await statement(database, "update duly_instance set beats = 1")
    await store._recheck()
    with pytest.raises(Refused, match="forgot writes of a living process"):
        await store.renew(ident(1), [], [])


async def test_accepting_a_restored_store_doubts_what_was_on_its_way(
    make_stores: MakeStores, database: str
) -> None:
    [store] = await make_stores(1)
    world = World(store)
    boot, run = await world.held()
    for key in ("sent", "answered"):
        intent = world.intend(boot, run, key)
        assert (await world.post(intent)).outcome is Outcome.GO
    await world.post(world.confirm(intent))
    await statement(database, "update duly_meta set system_identifier = '1'")
    await store.open()
    for _ in range(2):
        await store.accept("alice", "checked")
        rows = await store.effects(EffectFilter())
        assert {one.address.key: (one.state, one.why) for one in rows} == {
            "sent": (EffectState.UNCERTAIN, "the store was restored: writes may be missing"),
            "answered": (EffectState.DONE, ""),
        }
        assert [one.subject for one in await store.incidents()] == ["t pay sent"]


# --- connections of others ------------------------------------------------------------------


async def test_a_run_is_there_exactly_if_the_users_transaction_commits(
    make_stores: MakeStores, database: str
) -> None:
    [store] = await make_stores(1)
    conn = await asyncpg.connect(database, server_settings={"search_path": "pg_catalog"})
    with pytest.raises(ZeroDivisionError):
        async with conn.transaction():
            await store.enqueue_with(conn, [new(1), new(2, key="k")])
            raise ZeroDivisionError
    assert await store.counts() == {}
    async with conn.transaction():
        await store.enqueue_with(conn, [new(1), new(2, key="k", limit_key="l", limit=1)])
        assert await store.counts() == {}
    assert await store.counts() == {"ready": 2}
    await conn.close()


async def test_an_sqlalchemy_session_carries_the_run_with_it(
    make_stores: MakeStores, database: str
) -> None:
    sqlalchemy = pytest.importorskip("sqlalchemy.ext.asyncio")
    [store] = await make_stores(1)
    engine = sqlalchemy.create_async_engine(database.replace("postgresql", "postgresql+asyncpg", 1))
    async with sqlalchemy.AsyncSession(engine) as session:
        await store.enqueue_with(session, [new(1)])
        await session.rollback()
        assert await store.counts() == {}
        await store.enqueue_with(session, [new(2)])
        await session.commit()
    async with engine.begin() as connection:
        await store.enqueue_with(connection, [new(3)])
    await engine.dispose()
    assert await store.counts() == {"ready": 2}


async def test_other_connections_are_refused_with_what_is_accepted(
    make_stores: MakeStores, database: str
) -> None:
    [store] = await make_stores(1)
    with pytest.raises(InvalidValue, match="asyncpg connection with an open transaction"):
        await store.enqueue_with(object(), [new(1)])
    conn = await asyncpg.connect(database)
    with pytest.raises(InvalidValue, match="inside an open transaction"):
        await store.enqueue_with(conn, [new(1)])
    await conn.close()


# --- what it costs --------------------------------------------------------------------------


async def test_batches_cost_a_fixed_number_of_statements(make_stores: MakeStores) -> None:
    [store] = await make_stores(1)
    world = World(store)
    boot = await world.boot()
    await world.declare(*(minutely(f"s{n}") for n in range(50)))
    costs = {}
    for size in (5, 50):
        before = store._pool.sent
        await store.enqueue([world.new() for _ in range(size)], now=world.now)
        enqueued = store._pool.sent
        got = await world.claim(boot, size)
        claimed = store._pool.sent
        await store.end(
            boot, [Ending(run=one.id, epoch=one.epoch, verb=RunVerb.COMPLETE) for one in got]
        )
        ended = store._pool.sent
        await world.fire(MINUTE, limit=size)
        fired = store._pool.sent
        costs[size] = [enqueued - before, claimed - enqueued, ended - claimed]
        assert fired - ended <= 7
    assert costs == {5: [1, 1, 1], 50: [1, 1, 1]}
    assert world.now > T0


async def test_what_is_remembered_costs_a_fixed_number_of_statements(
    make_stores: MakeStores,
) -> None:
    [store] = await make_stores(1)
    world = World(store)
    boot = await world.boot()
    costs = {}
    for size in (5, 50):
        await store.enqueue([world.new() for _ in range(size)], now=world.now)
        got = await world.claim(boot, size)
        intents = [world.intend(boot, one, f"{size}/{one.id}") for one in got]
        receipts: list[Entry] = [world.confirm(one) for one in intents]
        spent = [store._pool.sent]
        await store.keep(
            boot, [note(one, "a", "b", messages=(world.message(),)) for one in got], now=world.now
        )
        spent.append(store._pool.sent)
        await store.post(intents, now=world.now)
        spent.append(store._pool.sent)
        await store.post(receipts, now=world.now)
        spent.append(store._pool.sent)
        costs[size] = [after - before for before, after in pairwise(spent)]
        await world.complete(boot, *got)
    assert costs == {5: [1, 3, 3], 50: [1, 3, 3]}


# --- history in windows -----------------------------------------------------------------------


async def test_history_is_pruned_whole_however_small_the_window(
    make_stores: MakeStores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping, "WINDOW", 3)
    (store,) = await make_stores(1)
    boot, long_ago = ident(100), T0
    await store.register(instance(boot), {}, now=long_ago)
    for number in range(1, 21):
        fresh = number % 5 == 0  # asked for long ago, ended lately: not to be forgotten
        at = T0 + timedelta(days=29) if fresh else long_ago
        await store.enqueue([new(number)], now=long_ago)
        claim = await store.claim(
            boot, ident(200 + number), queues=["default"], tasks=["t"], limit=1, now=at
        )
        (one,) = claim.runs
        await store.end(boot, [Ending(run=one.id, epoch=1, verb=RunVerb.COMPLETE)], now=at)
    keep, now = Retention(history=timedelta(days=10)), T0 + timedelta(days=30)
    assert [(await store.prune(keep, limit=7, now=now)).runs for _ in range(4)] == [7, 7, 2, 0]
    left = await store.runs(RunFilter(limit=50))
    assert sorted(one.id for one in left) == [ident(n) for n in (5, 10, 15, 20)]


# --- connections that are opened ahead ----------------------------------------------------------


async def test_the_first_claim_has_lines_made_ready_within_the_pools_size(
    database: str,
) -> None:
    for size, lines in ((5, 3), (2, 2), (1, 1)):
        store = PostgresStore(database, pool_size=size)
        await store.open()
        assert store._warming is None, "whoever only asks for work needs none"
        claim = await store.claim(ident(1), ident(2), queues=["default"], tasks=["t"], limit=1)
        assert not claim.alive
        assert store._warming is not None
        await store._warming
        assert len(store._pool._idle) == lines
        await store.close()


async def test_a_store_may_be_closed_while_lines_are_made_ready(database: str) -> None:
    store = PostgresStore(database)
    await store.open()
    await store.claim(ident(1), ident(2), queues=["default"], tasks=["t"], limit=1)
    await store.close()
    assert store._warming is not None and store._warming.done()
    assert store._pool._idle == []
