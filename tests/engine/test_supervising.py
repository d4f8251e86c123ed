"""Supervision in virtual time: hangs and beats, rows and pauses, trips that outlive a process."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable
from typing import Any

import pytest

from duly import Duly, RestartPolicy, UsageError, beat, events
from duly.app.supervising import attach, part
from duly.engine.instance import Engine
from duly.engine.supervising import OWN_LOOPS, Notice, Supervising, own_policy
from duly.engine.telling import Telling
from duly.engine.trips import FAILING, QUIET, TRIPPED, Tripping, count_trip
from duly.engine.turning import loop_of
from duly.engine.unserved import UNSERVED
from duly.events import Bus
from tests.engine.bench import Bench, FaultyStore, in_time, lasts

POLICY = RestartPolicy(threshold=3, pause="1s", slowest="8s", deadline="10s")


class Ground:
    """A supervisor on a bench, with all that is told of its loops."""

    def __init__(self, bench: Bench) -> None:
        bus = Bus()
        self.bench, self.events = bench, bench.events
        bus.subscribe(self.events.append)
        self.telling = Telling(bus, bench.clock)
        self.supervisor = Supervising(bench.clock, self.telling, policy=own_policy(5))
        self.notices: list[Notice] = []
        self.supervisor.tell = self.notices.append

    def watch(self, fn: Callable[[], Any], policy: RestartPolicy = POLICY) -> None:
        self.supervisor.start([loop_of(fn, None, policy, every="1s", clock=self.bench.clock)])

    @property
    def failures(self) -> list[int]:
        return [one.failures for one in self.bench.told(events.LoopFailed)]


@in_time
async def test_what_returns_is_called_again_after_a_while(bench: Bench) -> None:
    ground, calls = Ground(bench), []

    async def poll() -> None:
        calls.append(bench.loop.time())

    ground.watch(poll)
    await bench.past(3.5)
    assert calls == [0, 1, 2, 3]
    await ground.supervisor.stop()


@in_time
async def test_a_loop_that_fails_at_once_is_not_a_hot_one(bench: Bench) -> None:
    ground, at = Ground(bench), []

    async def poll() -> None:
        at.append(bench.loop.time())
        raise ValueError("before its first wait")

    ground.watch(poll, RestartPolicy(threshold=6, pause="1s", slowest="8s"))
    await ground.supervisor.gave_up.wait()
    gaps = [b - a for a, b in itertools.pairwise(at)]
    least = [0.5, 1, 2, 4, 4]
    assert all(low <= gap <= 3 * low for low, gap in zip(least, gaps, strict=True)), gaps
    assert len(set(gaps)) == 5
    assert ground.supervisor.tripped == ground.notices[-1]
    assert ground.notices[-1].failures == 6


@in_time
async def test_others_go_on_when_one_has_tripped(bench: Bench) -> None:
    ground, calls = Ground(bench), []

    async def poll() -> None:
        calls.append(1)

    async def broken() -> None:
        raise ValueError

    ground.watch(poll)
    ground.watch(broken)
    await ground.supervisor.gave_up.wait()
    before = len(calls)
    await bench.past(5)
    assert len(calls) >= before + 4
    assert not ground.supervisor.sound
    await ground.supervisor.stop()


@in_time
async def test_a_hang_is_a_failure_and_says_where_it_stands(bench: Bench) -> None:
    ground = Ground(bench)

    async def inner() -> None:
        await asyncio.Event().wait()

    async def hangs() -> None:
        await inner()

    with told_in("duly.engine") as said:
        ground.watch(hangs)
        await ground.supervisor.gave_up.wait()
    assert 30 <= bench.loop.time() < 50
    assert ground.failures == [1, 2, 3]
    assert [one.deadline_s for one in bench.told(events.LoopMissedDeadline)] == [10, 10, 10]
    stood = next(one for one in said if "no sign of life for 10 s" in one)
    assert "in hangs" in stood and "in inner" in stood and "in wait" in stood


@in_time
async def test_a_function_that_loops_by_itself_lives_by_its_beats(bench: Bench) -> None:
    ground = Ground(bench)

    async def consume() -> None:
        for _ in range(100):
            assert beat()
            await lasts(9)
        await lasts(3600)

    ground.watch(consume, RestartPolicy(threshold=1, deadline="10s"))
    await bench.past(890)
    assert ground.failures == []
    await bench.past(40)
    assert ground.failures == [1]
    assert ground.supervisor.gave_up.is_set()


@in_time
async def test_a_loop_that_ran_for_long_begins_a_new_row(bench: Bench) -> None:
    ground = Ground(bench)

    async def consume() -> None:
        await lasts(700)
        raise ValueError

    ground.watch(consume, RestartPolicy(threshold=2, deadline=None, within="10m"))
    await bench.past(10_000)
    assert len(ground.failures) > 10 and set(ground.failures) == {1}
    assert not ground.supervisor.gave_up.is_set()
    await ground.supervisor.stop()


@in_time
async def test_a_turn_that_swallows_its_cancellation_keeps_nobody(bench: Bench) -> None:
    ground = Ground(bench)
    over = asyncio.Event()

    async def clings() -> None:
        while not over.is_set():
            try:
                await over.wait()
            except asyncio.CancelledError:
                continue

    ground.watch(clings)
    await ground.supervisor.gave_up.wait()
    assert ground.failures == [1, 2, 3], "it was cancelled thrice, and each miss counted once"
    began = bench.loop.time()
    await ground.supervisor.stop(grace_s=5)
    assert bench.loop.time() - began == 5
    assert [one.loop for one in bench.told(events.LoopLingered)] == ["clings"]
    over.set()
    await bench.past(1)


@in_time
async def test_a_loop_that_recovers_late_is_heard_of_and_goes_on(bench: Bench) -> None:
    ground, turns = Ground(bench), [15.0]

    async def slow() -> None:
        try:
            await lasts(turns.pop() if turns else 1)
        except asyncio.CancelledError:
            await lasts(2)

    ground.watch(slow, RestartPolicy(deadline="10s", notify="first"))
    await bench.past(30)
    assert ground.failures == [1]
    assert [one.failures for one in ground.notices] == [1, 0]
    assert ground.supervisor.sound
    await ground.supervisor.stop()


@in_time
async def test_a_store_that_is_away_never_counts_for_a_users_loop(bench: Bench) -> None:
    ground, store = Ground(bench), FaultyStore(bench)
    store.away = True

    async def poll() -> None:
        await store.clock()

    ground.watch(poll)
    await bench.past(600)
    assert ground.failures == [] and "poll" in ground.supervisor.stalled
    store.away = False
    await bench.past(20)
    assert ground.supervisor.sound
    assert (len(bench.told(events.StoreAway)), len(bench.told(events.StoreBack))) == (1, 1)
    await ground.supervisor.stop()


@in_time
async def test_a_function_that_exits_fails_and_ends_nobody(bench: Bench) -> None:
    ground = Ground(bench)

    async def leaves() -> None:
        raise SystemExit(3)

    ground.watch(leaves)
    await ground.supervisor.gave_up.wait()
    errors = {one.error for one in bench.told(events.LoopFailed)}
    assert errors == {"RuntimeError: it called sys.exit(3)"}


@in_time
async def test_two_loops_of_one_name_are_refused(bench: Bench) -> None:
    ground = Ground(bench)

    async def poll() -> None: ...

    ground.watch(poll)
    with pytest.raises(UsageError, match="two loops are called 'poll'"):
        ground.watch(poll)
    await ground.supervisor.stop()


# --- in an instance ---------------------------------------------------------------------------


def instance(bench: Bench, app: Duly) -> tuple[Engine, Tripping]:
    engine, store = bench.make(app)
    app.use(store)
    app.clock = bench.clock
    return engine, attach(app, engine)


@in_time
async def test_a_trip_in_an_instance_opens_one_incident_whose_count_outlives_it(
    bench: Bench,
) -> None:
    app = Duly(name="shop")

    @app.supervise(policy=RestartPolicy(threshold=2, notify="first"))
    async def poll() -> None:
        raise ValueError("no such luck")

    for trip in range(1, 6):
        engine, tripping = instance(bench, app)
        await engine.start()
        assert await engine.ended() == 70
        await engine.stop()
        before = bench.loop.time()
        await part(app, tripping, 70)
        assert tripping.trips == trip
        assert bench.loop.time() - before == 2 ** (trip - 1) - 1
    known = await bench.client.incidents(only_open=False)
    trips = [one for one in known if one.kind == TRIPPED]
    assert [one.evidence["trips"] for one in trips] == ["4", "2", "1"], "told ever more rarely"
    assert [one.closed_at is None for one in trips] == [True, False, False]
    assert "shop/poll failed 2 times in a row on host:1 and tripped 4 times" in trips[0].summary
    failing = [one for one in known if one.kind == FAILING]
    assert failing and all(one.closed_at for one in failing)


@in_time
async def test_a_loop_that_clings_does_not_keep_a_stop_from_handing_back(bench: Bench) -> None:
    app, over = Duly(name="shop"), asyncio.Event()

    @app.supervise
    async def clings() -> None:
        while not over.is_set():
            try:
                await over.wait()
            except asyncio.CancelledError:
                continue

    engine, _ = instance(bench, app)
    await engine.start()
    await bench.past(1)
    began = bench.loop.time()
    await engine.stop()
    assert bench.loop.time() - began < 5
    assert [one.loop for one in bench.told(events.LoopLingered)] == ["clings"]
    assert len(bench.told(events.InstanceStopped)) == 1
    over.set()
    await bench.past(1)


@in_time
async def test_an_incident_of_a_trip_closes_when_it_is_quiet(bench: Bench) -> None:
    app = Duly(name="shop")
    working = False

    @app.supervise(policy=RestartPolicy(threshold=2))
    async def poll() -> None:
        if not working:
            raise ValueError

    first, tripping = instance(bench, app)
    await first.start()
    await first.ended()
    await first.stop()
    await part(app, tripping, 70)
    working = True
    second, _ = instance(bench, app)
    await second.start()
    await bench.past(QUIET.total_seconds() - 60)
    assert [one.kind for one in await bench.client.incidents()] == [TRIPPED]
    await bench.past(300)
    assert await bench.client.incidents() == []
    await second.stop()


@in_time
async def test_trips_of_many_instances_are_each_counted_once(bench: Bench) -> None:
    store, day = bench.client, bench.now().date()
    counted = [await count_trip(store, "shop/poll", day, by=str(n)) for n in range(150)]
    assert counted == list(range(1, 151))
    assert await count_trip(store, "shop/poll", day, by="70") == 71, "sent again: no other trip"
    assert await count_trip(store, "x" * 500, day, by="a") == 1
    assert await count_trip(store, "x" * 500, day, by="b") == 2


@in_time
async def test_the_engines_own_loops_trip_in_the_same_way(bench: Bench) -> None:
    app = Duly(name="shop")
    engine, tripping = instance(bench, app)

    async def broken() -> None:
        raise ValueError("a bug of ours")

    engine.firing.turn = engine.firing.ready = broken  # type: ignore[method-assign]
    await engine.start()
    assert await engine.ended() == 70
    await engine.stop()
    await tripping.flush(1)
    [one] = await bench.client.incidents()
    assert (one.kind, one.subject, one.evidence["failures"]) == (TRIPPED, "shop/firing", "5")


def test_names_of_dulys_own_loops_are_taken() -> None:
    @in_time
    async def check(bench: Bench) -> None:
        engine, _ = instance(bench, Duly())
        await engine.start()
        names = {one.removeprefix("duly ") for one in tasks_of_loops()}
        assert names - {"presenting"} == OWN_LOOPS - {"presenting"}
        await engine.stop()

    def tasks_of_loops() -> list[str]:
        named = [one.get_name() for one in asyncio.all_tasks()]
        return [one for one in named if one.startswith("duly ")]

    check()
    app = Duly()
    with pytest.raises(UsageError, match="'firing' is a loop of Duly's own"):
        app.supervise(lambda: None, name="firing")


DECLARED: dict[str, tuple[Callable[[Duly], Any], str]] = {
    "what calling it returned": (
        lambda app: app.supervise(sleeper()),
        "write watch(poll), not watch(poll())",
    ),
    "a function that wants something": (
        lambda app: app.supervise(lambda x: x, name="f"),
        "functools.partial gives it some",
    ),
    "no function": (lambda app: app.supervise(7), "a function without arguments"),
    "another policy": (
        lambda app: app.supervise(sleeper, policy={"threshold": 5}),  # type: ignore[call-overload]
        "policy to be a RestartPolicy",
    ),
    "a name that misleads": (lambda app: app.supervise(sleeper, name="a b"), "name of a superv"),
    "a function without a name": (lambda app: app.supervise(lambda: None), "name of a superv"),
    "twice": (
        lambda app: (app.supervise(sleeper), app.supervise(sleeper)),
        "two supervised loops are called 'sleeper'",
    ),
}


async def sleeper() -> None: ...


@pytest.mark.parametrize("case", DECLARED)
def test_what_cannot_be_supervised_is_refused_when_it_is_declared(case: str) -> None:
    declare, said = DECLARED[case]
    with pytest.raises(UsageError) as caught:
        declare(Duly())
    assert said in str(caught.value)


# --- queues that nobody serves ----------------------------------------------------------------


@in_time
async def test_a_queue_that_nobody_serves_is_an_incident_until_somebody_does(
    bench: Bench,
) -> None:
    app = Duly()

    @app.task
    async def work() -> None: ...

    await bench.start(app)
    run = await bench.ask("work", queue="mail")
    await bench.past(600)
    [one] = await bench.client.incidents()
    assert (one.kind, one.subject) == (UNSERVED, "mail")
    assert one.evidence["run"] == str(run) and one.evidence["tasks"] == "work"
    await bench.start(app, queues=("mail",))
    await bench.past(600)
    assert await bench.client.incidents() == []
    [closed] = await bench.client.incidents(only_open=False)
    assert closed.closed_at is not None


@in_time
async def test_a_queue_with_work_in_hand_and_much_waiting_is_served(bench: Bench) -> None:
    app = Duly()

    @app.task
    async def work() -> None:
        await lasts(300)

    await bench.start(app)
    await bench.start(app, queues=("mail",), slots=1)
    for _ in range(5):
        await bench.ask("work", queue="mail")
    await bench.past(1200)
    assert await bench.client.incidents(only_open=False) == []


# --- hearing ------------------------------------------------------------------------------------


class told_in:
    """The messages of a logger while the block lasts."""

    def __init__(self, name: str) -> None:
        self._log, self._said = logging.getLogger(name), list[str]()

    def __enter__(self) -> list[str]:
        self._handler = logging.Handler()
        self._handler.emit = lambda record: self._said.append(record.getMessage())  # type: ignore[method-assign]
        self._log.addHandler(self._handler)
        return self._said

    def __exit__(self, *_: object) -> None:
        self._log.removeHandler(self._handler)
