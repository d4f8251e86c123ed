"""Loops: one that fails is heard of, one whose store is away is not blamed; who goes first."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from duly import Duly, events
from duly.core.fleet import Horizon, Instance, InstanceState
from duly.engine.almanac import Almanac
from duly.engine.roster import Roster
from duly.engine.supervising import Supervising, own_policy
from duly.errors import Refused, StoreUnavailable
from duly.stores.base import Signal, WakeUp
from simulation.ports import EPOCH
from tests.engine.bench import Bench, in_time


class Heard:
    """A watcher that keeps what it hears."""

    def __init__(self) -> None:
        self.words: list[str] = []

    def failed(self, loop: str, error: BaseException, in_a_row: int) -> None:
        self.words.append(f"failed {in_a_row} {type(error).__name__}")

    def missed(self, loop: str, deadline_s: float, stack: str) -> None:
        assert "in turn" in stack

    def lingered(self, loop: str, stack: str) -> None:
        self.words.append(f"{loop} lingered")

    def away(self, loop: str, error: BaseException) -> None:
        self.words.append("away")

    def back(self, loop: str) -> None:
        self.words.append("back")

    def gave_up(self, loop: str, failures: int) -> None:
        self.words.append(f"gave up {failures}")


class Loop:
    """A loop that does what it is told, then waits for ever."""

    name = "loop"

    def __init__(self, *turns: Any) -> None:
        self.turns = list(turns)
        self.done = 0

    async def ready(self) -> None:
        if not self.turns:
            await asyncio.Event().wait()

    async def turn(self) -> None:
        what = self.turns.pop(0)
        if isinstance(what, BaseException):
            raise what
        if what == "hang":
            await asyncio.Event().wait()
        self.done += 1


ERROR, AWAY = ValueError("ours"), StoreUnavailable("theirs")

COURSES: dict[str, tuple[list[Any], list[str]]] = {
    "goes well": (["ok", "ok"], []),
    "fails once": ([ERROR, "ok"], ["failed 1 ValueError", "back"]),
    "counts in a row only": (
        [ERROR, ERROR, "ok", ERROR, "ok"],
        ["failed 1 ValueError", "failed 2 ValueError", "back", "failed 1 ValueError", "back"],
    ),
    "gives up after five": (
        [ERROR] * 5,
        [*(f"failed {n} ValueError" for n in range(1, 6)), "gave up 5"],
    ),
    "a store that is away never counts": ([AWAY] * 40 + ["ok"], ["away", "back"]),
    "nor does one that refuses": ([Refused("not yet")] * 9 + ["ok"], ["away", "back"]),
    "a missed deadline counts": (["hang", "ok"], ["failed 1 TimeoutError", "back"]),
    "a cancelled future inside counts": (
        [asyncio.CancelledError(), "ok"],
        ["failed 1 CancelledError", "back"],
    ),
}


@pytest.mark.parametrize("course", COURSES)
def test_a_loop(course: str) -> None:
    turns, words = COURSES[course]

    @in_time
    async def check(bench: Bench) -> None:
        heard, loop = Heard(), Loop(*turns)
        supervisor = Supervising(bench.clock, heard, policy=own_policy(5))
        supervisor.start([loop])
        await bench.past(400)
        assert heard.words == words
        assert supervisor.gave_up.is_set() == (words[-1:] == ["gave up 5"])
        await supervisor.stop()

    check()
    assert words is not None


@in_time
async def test_a_loop_is_stopped_for_certain(bench: Bench) -> None:
    heard, loop = Heard(), Loop("hang")
    supervisor = Supervising(bench.clock, heard, policy=own_policy(5))
    supervisor.start([loop])
    await bench.past(1)
    assert supervisor.sound
    await supervisor.stop()
    assert heard.words == []


# --- order --------------------------------------------------------------------------------


def boot(n: int) -> UUID:
    return UUID(int=n)


def instance(n: int, **how: Any) -> Instance:
    how = {"seen_at": EPOCH} | how
    return Instance(
        boot=boot(n), name=str(n), host="h", pid=n, pid_space="", owner="o", version="1", **how
    )


def roster(me: int, fleet: list[Instance]) -> Roster:
    made = Roster(boot(me))
    made.note(fleet, EPOCH)
    return made


def test_the_ranks_of_a_fleet_are_each_taken_once() -> None:
    fleet = [instance(n) for n in range(1, 8)]
    for topic in ("fire", "promote", "caretaking"):
        ranks = sorted(roster(n, fleet).rank(topic) for n in range(1, 8))
        assert ranks == list(range(7))


def test_topics_have_orders_of_their_own() -> None:
    fleet = [instance(n) for n in range(1, 8)]
    first = {next(n for n in range(1, 8) if roster(n, fleet).rank(t) == 0) for t in "abcdefghij"}
    assert len(first) > 2


def test_the_ring_has_one_next_and_everyone_a_place() -> None:
    fleet = [instance(n) for n in range(1, 6)]
    places = {n: roster(n, fleet).distance_after(boot(3)) for n in (1, 2, 4, 5)}
    assert places == {4: 0, 5: 1, 1: 2, 2: 3}


SEEN = {
    "seen lately": ({"seen_at": EPOCH}, False),
    "not seen for long": ({"seen_at": EPOCH - timedelta(minutes=5)}, True),
    "not seen for long, but it holds runs": (
        {"seen_at": EPOCH - timedelta(minutes=5), "held": 1},
        False,
    ),
    "dead": ({"state": InstanceState.DEAD}, True),
    "gone": ({"state": InstanceState.GONE}, True),
}


@pytest.mark.parametrize("case", SEEN)
def test_who_counts_as_there(case: str) -> None:
    how, alone = SEEN[case]
    assert roster(1, [instance(1), instance(2, **how)]).alone is alone


@in_time
async def test_the_chores_are_done_although_the_first_in_the_order_died_silently(
    bench: Bench,
) -> None:
    app = Duly()

    @app.task
    async def work() -> None: ...

    first, _ = await bench.start(app)
    others = [await bench.start(app) for _ in range(2)]
    everyone = [first, *(engine for engine, _ in others)]
    await bench.past(5)
    leader = next(one for one in everyone if one.roster.rank("caretaking") == 0)
    await leader.supervisor.stop()  # as silent as a power cut, with nothing in hand
    run = await bench.ask("work", queue="nobody", expires_at=bench.now() + timedelta(seconds=1))
    await bench.until(lambda: run in bench.tables.ended, within_s=1800)
    assert await bench.state(run) == "expired"


# --- the almanac --------------------------------------------------------------------------


def horizon(bench: Bench, **how: Any) -> Horizon:
    how = {"next_fire": None, "next_wake": None, "ready": False, "suspects": False} | how
    return Horizon(now=bench.now(), alive=True, **how)


@in_time
async def test_an_alarm_rings_at_its_time_by_the_stores_clock(bench: Bench) -> None:
    almanac = Almanac()
    ahead = horizon(bench, next_fire=bench.now() + timedelta(seconds=30))
    almanac.note(ahead)
    await bench.past(29)
    assert not almanac.fire.rings
    await almanac.fire.wait()
    assert bench.loop.time() == 30


@in_time
async def test_who_hears_that_it_was_fired_does_not_fire(bench: Bench) -> None:
    almanac, now = Almanac(), bench.now()
    almanac.note(horizon(bench, next_fire=now))
    assert almanac.fire.rings
    almanac.hear(WakeUp(Signal.FIRED, (now + timedelta(minutes=1)).isoformat()))
    assert not almanac.fire.rings
    await bench.past(60)
    assert almanac.fire.rings


@in_time
async def test_a_firing_told_late_does_not_silence_what_is_still_to_come(bench: Bench) -> None:
    almanac, now = Almanac(), bench.now()
    almanac.note(horizon(bench, next_fire=now + timedelta(seconds=10)))
    almanac.hear(WakeUp(Signal.FIRED, ""))
    await bench.past(10)
    assert almanac.fire.rings


@in_time
async def test_emptied_is_remembered_with_its_moment(bench: Bench) -> None:
    almanac = Almanac()
    await bench.past(7)
    almanac.hear(WakeUp(Signal.EMPTY))
    assert almanac.emptied_at == 7
    assert not almanac.ready.is_set()
    almanac.hear(WakeUp(Signal.READY))
    assert almanac.ready.is_set()


# --- firing, and hints that are lost --------------------------------------------------------


@in_time
async def test_one_firing_for_the_whole_fleet(bench: Bench) -> None:
    app = Duly()

    @app.task(every="10s")
    async def beat() -> None: ...

    stores = [(await bench.start(app))[1] for _ in range(4)]
    await bench.past(100.5)
    fired = bench.told(events.ScheduleFired)
    assert len({one.due for one in fired}) == len(fired) == 10
    assert sum(store.sent.count("fire") for store in stores) < 25
    bench.assert_sound()


@in_time
async def test_work_is_found_without_a_single_hint(bench: Bench) -> None:
    app = Duly()

    @app.task
    async def work() -> None: ...

    await bench.start(app)
    bench.tables.listeners.clear()
    run = await bench.ask("work", run_at=bench.now() + timedelta(seconds=3))
    await bench.until(lambda: run in bench.tables.ended, within_s=70)
    assert await bench.state(run) == "succeeded"


@in_time
async def test_the_store_may_be_away_at_the_start_and_later(bench: Bench) -> None:
    app = Duly()

    @app.task(every="30s")
    async def beat() -> None: ...

    engine, store = bench.make(app)
    store.away = True
    starting = asyncio.ensure_future(engine.start())
    await bench.past(100)
    assert not starting.done()
    store.away = False
    await starting
    await bench.past(65)
    store.away = True
    await bench.past(600)
    store.away = False
    await bench.past(75)  # the slowest loop's pace, and its last pause
    assert not engine.supervisor.gave_up.is_set()
    assert len(bench.told(events.StoreBack)) == len(bench.told(events.StoreAway)) >= 2
    assert engine.supervisor.sound, engine.supervisor.stalled
    assert len(bench.told(events.RunCompleted)) >= 4
    bench.assert_sound()
