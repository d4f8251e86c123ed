"""The relay: what was committed leaves in order, at least once, under one id; or it waits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest

from duly import Context, Duly, events
from duly.core.fleet import Instance
from duly.core.outbox import Message
from duly.core.runs import RunFilter
from duly.events import Bus
from duly.outbound.base import DestinationUnavailable, Unroutable
from duly.outbound.relay import STUCK, Relay
from duly.outbound.tasks import TaskDestination
from duly.stores.base import Signal
from tests.engine.bench import Bench, FaultyStore, in_time, lasts


class Broker:
    """A destination in memory, that does as a test says."""

    def __init__(self) -> None:
        self.name = "broker"
        self.took: list[Message] = []
        self.calls = 0
        self.away = False
        self.silent = False
        self.unroutable: set[UUID] = set()
        self.at_most = 10_000
        self.closed = False

    async def open(self) -> None: ...

    async def close(self) -> None:
        self.closed = True

    async def send(self, messages: Sequence[Message]) -> list[UUID]:
        self.calls += 1
        if self.silent:
            await lasts(3600)
        if self.away:
            raise DestinationUnavailable("no route to\nthe broker")
        going = [one for one in messages if one.id not in self.unroutable][: self.at_most]
        self.took += going
        confirmed = [one.id for one in going]
        if len(going) < len(messages) and self.unroutable:
            raise Unroutable("no queue takes it", ids=self.unroutable, confirmed=confirmed)
        return confirmed


class Line:
    """A store with messages, and relays of it that are turned like a supervisor turns them."""

    def __init__(self, bench: Bench, count: int) -> None:
        self.bench, self.broker = bench, Broker()
        self.stores: list[FaultyStore] = []
        for n in range(count):
            one = Message(
                id=bench.clock.new_id(), topic="t", body=str(n).encode(), key=str(n % 3),
                kept_at=bench.now(),
            )  # fmt: skip
            bench.tables.outbox[one.id] = one

    async def relay(self, per_second: int = 1_000_000) -> tuple[Relay, Any]:
        bench, boot = self.bench, self.bench.clock.new_id()
        store, bus = FaultyStore(bench), Bus()
        bus.subscribe(bench.events.append)
        self.stores.append(store)
        me = Instance(boot=boot, name="a", host="h", pid=1, pid_space="", owner="app", version="1")
        await store.register(me, {})
        relay = Relay(
            "t", self.broker, store=store, clock=bench.clock, bus=bus, boot=lambda: boot,
            per_second=per_second,
        )  # fmt: skip
        return relay, bench.loop.create_task(_turn(relay))

    @property
    def left(self) -> int:
        return len(self.bench.tables.outbox)

    async def drained(self, within_s: float = 300) -> None:
        await self.bench.until(lambda: self.left == 0, within_s)

    def bodies(self) -> list[int]:
        return [int(one.body) for one in self.broker.took]


async def _turn(relay: Relay) -> None:
    while True:
        await relay.ready()
        try:
            await relay.turn()
        except Exception:
            await lasts(0.1)


@in_time
async def test_everything_leaves_once_and_in_order_where_nothing_fails(bench: Bench) -> None:
    line = Line(bench, 1201)
    await line.relay()
    await line.drained()
    assert line.bodies() == list(range(1201))
    assert line.broker.calls == 3
    assert sum(one.count for one in bench.told(events.OutboxRelayed)) == 1201


LOST = {"the question": "before", "the answer": "after"}


@pytest.mark.parametrize("case", LOST)
@pytest.mark.parametrize("verb", ["outgoing", "relayed"])
def test_a_word_to_the_store_that_is_lost_sends_the_same_ids_again(verb: str, case: str) -> None:
    @in_time
    async def check(bench: Bench) -> None:
        line = Line(bench, 700)
        ids = list(bench.tables.outbox)
        await line.relay()
        getattr(line.stores[0], LOST[case])[verb] = 2
        await line.drained()
        seen: dict[UUID, int] = {}
        for one in line.broker.took:
            seen.setdefault(one.id, int(one.body))
        assert list(seen) == ids, "first copies in order"
        copies = 3 if (verb, case) == ("relayed", "the question") else 1
        assert max(Counter(one.id for one in line.broker.took).values()) == copies

    check()
    assert verb


@in_time
async def test_killed_between_the_handing_on_and_its_note_the_next_sends_the_same_again(
    bench: Bench,
) -> None:
    line = Line(bench, 600)
    _, task = await line.relay()
    line.stores[0].before["relayed"] = 10**6
    await bench.until(lambda: line.broker.calls > 0)
    task.cancel()
    assert line.left == 600
    await line.relay()
    await line.drained()
    copies = Counter(one.id for one in line.broker.took)
    assert len(copies) == 600
    assert [one for one in dict.fromkeys(line.bodies())] == list(range(600))


@in_time
async def test_a_destination_that_is_away_is_told_after_a_minute_and_nothing_is_lost(
    bench: Bench,
) -> None:
    line = Line(bench, 1200)
    line.broker.away = True
    await line.relay(per_second=100)
    await bench.past(55)
    assert [one.topic for one in bench.told(events.RelayAway)] == ["t"]
    assert await bench.client.incidents() == []
    await bench.past(60)
    [incident] = await bench.client.incidents()
    assert (incident.kind, incident.subject, incident.severity) == (STUCK, "t", "critical")
    assert incident.summary == "1,200 messages to t wait: no route to the broker"
    assert line.broker.calls < 40, "it is asked ever more slowly"
    await bench.past(3600)
    assert len(bench.told(events.IncidentOpened)) == 1
    line.broker.away = False
    began = bench.loop.time()
    await line.drained()
    took_s = bench.loop.time() - began
    assert 10 <= took_s <= 45, "a hundred a second, from when it was found to be back"
    assert line.bodies() == list(range(1200))
    await bench.past(1)
    assert await bench.client.incidents() == []
    assert len(bench.told(events.RelayBack)) == 1


@in_time
async def test_a_destination_that_does_not_answer_is_given_up_within_the_lease(
    bench: Bench,
) -> None:
    line = Line(bench, 10)
    line.broker.silent = True
    await line.relay()
    await bench.past(12)
    assert [one.reason for one in bench.told(events.RelayAway)] == ["no answer within 10 s"]
    line.broker.silent = False
    await line.drained()
    assert line.bodies() == list(range(10))


@in_time
async def test_what_was_taken_is_not_sent_again_beside_what_has_nowhere_to_go(
    bench: Bench,
) -> None:
    line = Line(bench, 20)
    stuck = list(bench.tables.outbox)[7]
    line.broker.unroutable = {stuck}
    await line.relay()
    await bench.past(120)
    assert list(bench.tables.outbox) == [stuck]
    assert len(line.broker.took) == 19
    [incident] = await bench.client.incidents()
    assert incident.summary == "1 messages to t wait: no queue takes it"
    line.broker.unroutable = set()
    await line.drained()
    await bench.past(1)
    assert await bench.client.incidents() == []


@in_time
async def test_what_was_not_confirmed_is_sent_later(bench: Bench) -> None:
    line = Line(bench, 25)
    line.broker.at_most = 10
    await line.relay()
    await line.drained()
    assert line.bodies() == list(range(25))
    assert line.broker.calls == 3


@in_time
async def test_one_boot_relays_a_topic_and_another_goes_on_when_it_is_gone(bench: Bench) -> None:
    line = Line(bench, 10)
    first, task = await line.relay(per_second=5)
    await line.drained()
    await line.relay(per_second=5)
    calls = line.stores[1].sent
    await bench.past(40)
    assert "outgoing" in calls
    task.cancel()
    late = Message(id=bench.clock.new_id(), topic="t", body=b"10", kept_at=bench.now())
    bench.tables.outbox[late.id] = late
    await line.drained(within_s=60)
    assert line.bodies() == list(range(11))
    assert first.name == "relay t"


@in_time
async def test_a_hint_wakes_it_and_without_one_it_looks_by_itself(bench: Bench) -> None:
    line = Line(bench, 1)
    relay, _ = await line.relay()
    await line.drained()
    for hinted, within in ((True, 0.5), (False, 40)):
        one = Message(id=bench.clock.new_id(), topic="t", body=b"1", kept_at=bench.now())
        bench.tables.outbox[one.id] = one
        if hinted:
            bench.tables.tell(Signal.OUT, "t")
        await line.drained(within)
    await relay.stop()
    assert line.broker.closed


# --- topics that go to tasks --------------------------------------------------------------


def bound() -> Duly:
    app = Duly("memory://")

    @app.task
    async def take(n: int) -> int:
        return n

    return app


def message(bench: Bench, body: bytes, key: str | None = None) -> Message:
    return Message(id=bench.clock.new_id(), topic="t", body=body, key=key)


@in_time
async def test_a_message_handed_on_twice_makes_one_run(bench: Bench) -> None:
    to = TaskDestination(bound().tasks["take"], bench.client)
    some = [message(bench, b'{"n":%d}' % n, key="k") for n in range(3)]
    for _ in range(2):
        assert await to.send(some) == [one.id for one in some]
    runs = await bench.client.runs(RunFilter(task="take"))
    assert {one.id for one in runs} == {one.id for one in some}
    assert {one.limit_key for one in runs} == {"topic:t:k"}


@in_time
async def test_a_message_that_no_longer_fits_keeps_only_those_of_its_key(bench: Bench) -> None:
    to = TaskDestination(bound().tasks["take"], bench.client)
    good = message(bench, b'{"n":1}', "a")
    bad = message(bench, b'{"m":1}', "b")
    behind = message(bench, b'{"n":2}', "b")
    other = message(bench, b'{"n":3}')
    with pytest.raises(Unroutable) as caught:
        await to.send([good, bad, behind, other])
    assert caught.value.confirmed == [good.id, other.id]
    assert caught.value.ids == [bad.id]
    assert "expected arguments of take" in str(caught.value)
    runs = await bench.client.runs(RunFilter(task="take"))
    assert {one.id for one in runs} == {good.id, other.id}


@in_time
async def test_runs_of_one_key_go_one_at_a_time(bench: Bench) -> None:
    app, seen = Duly("memory://"), []

    @app.task
    async def take(ctx: Context, n: int) -> None:
        seen.append(("begins", n))
        await lasts(2)
        seen.append(("ends", n))

    to = TaskDestination(app.tasks["take"], bench.client)
    await to.send([message(bench, b'{"n":%d}' % n, key="k") for n in range(4)])
    await bench.start(app)
    await bench.until(lambda: len(seen) == 8)
    assert [word for word, _ in seen] == ["begins", "ends"] * 4
    assert {n for _, n in seen} == set(range(4))


@in_time
async def test_hints_of_what_another_relays_are_not_followed_one_by_one(bench: Bench) -> None:
    line = Line(bench, 1)
    await line.relay()
    await line.drained()
    await line.relay()
    for n in range(100):
        one = Message(id=bench.clock.new_id(), topic="t", body=str(n).encode(), kept_at=bench.now())
        bench.tables.outbox[one.id] = one
        bench.tables.tell(Signal.OUT, "t")
        await bench.past(0.1)
    await line.drained()
    assert line.stores[1].sent.count("outgoing") <= 4, "once in five seconds"
    assert line.stores[0].sent.count("outgoing") >= 50, "the holder follows them"
