"""The bus hands on what is subscribed to, and a subscriber that raises harms nobody."""

from __future__ import annotations

import logging
import threading
from uuid import UUID

import pytest

from duly.events import EVENTS, Bus, Event, RunPromoted, StoreAway, StoreBack

AWAY = StoreAway(reason="connection refused")
BACK = StoreBack(away_s=2.0)


def broken(event: Event) -> None:
    raise RuntimeError("subscriber is broken")


def test_only_what_is_subscribed_to_is_wanted_and_heard() -> None:
    bus, heard = Bus(), list[Event]()
    bus.subscribe(heard.append, [StoreAway])
    bus.emit(AWAY)
    bus.emit(BACK)
    assert heard == [AWAY]
    assert (bus.wants(StoreAway), bus.wants(StoreBack)) == (True, False)


def test_without_kinds_everything_is_heard() -> None:
    bus = Bus()
    bus.subscribe(lambda event: None)
    assert [kind.name for kind in EVENTS.values() if not bus.wants(kind)] == []


def test_subscribers_are_called_in_their_order() -> None:
    bus, order = Bus(), list[str]()
    bus.subscribe(lambda event: order.append("first"))
    bus.subscribe(lambda event: order.append("second"))
    bus.emit(AWAY)
    assert order == ["first", "second"]


def test_what_was_ended_hears_no_more_and_ending_twice_is_as_good_as_once() -> None:
    bus, heard, other = Bus(), list[Event](), list[Event]()
    end = bus.subscribe(heard.append)
    bus.subscribe(other.append, [StoreAway])
    end()
    end()
    bus.emit(AWAY)
    bus.emit(BACK)
    assert (heard, other) == ([], [AWAY])
    assert not bus.wants(StoreBack)


def test_the_same_subscriber_twice_ends_one_by_one() -> None:
    bus, heard = Bus(), list[Event]()
    first = bus.subscribe(heard.append, [StoreAway])
    bus.subscribe(heard.append, [StoreAway])
    first()
    bus.emit(AWAY)
    assert heard == [AWAY]


def test_a_kind_named_twice_is_heard_once() -> None:
    bus, heard = Bus(), list[Event]()
    bus.subscribe(heard.append, [StoreAway, StoreAway])
    bus.emit(AWAY)
    assert heard == [AWAY]


def test_a_subscriber_that_raises_is_counted_told_once_and_harms_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bus, heard = Bus(), list[Event]()
    bus.subscribe(broken)
    bus.subscribe(heard.append)
    with caplog.at_level(logging.ERROR, "duly.events"):
        bus.emit(AWAY)
        bus.emit(BACK)
    assert heard == [AWAY, BACK]
    assert bus.failures == 2
    assert [record.getMessage().split(";")[0] for record in caplog.records] == [
        "a subscriber raised at store.away"
    ]


def test_each_broken_subscriber_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    bus = Bus()
    bus.subscribe(broken)
    bus.subscribe(broken)
    with caplog.at_level(logging.ERROR, "duly.events"):
        bus.emit(AWAY)
    assert len(caplog.records) == 2


def test_a_subscriber_may_subscribe_and_end_while_it_hears() -> None:
    bus, heard = Bus(), list[Event]()

    def once(event: Event) -> None:
        end()
        bus.subscribe(heard.append)

    end = bus.subscribe(once)
    bus.emit(AWAY)
    bus.emit(BACK)
    assert heard == [BACK]


def test_threads_that_emit_and_subscribe_at_once_lose_nothing() -> None:
    bus, heard = Bus(), list[Event]()
    bus.subscribe(heard.append, [RunPromoted])
    gate = threading.Barrier(5)

    def emit() -> None:
        gate.wait()
        for count in range(500):
            bus.emit(RunPromoted(count=count))

    def come_and_go() -> None:
        gate.wait()
        for _ in range(500):
            bus.subscribe(lambda event: None)()

    threads = [threading.Thread(target=work) for work in (emit, emit, come_and_go, come_and_go)]
    for thread in threads:
        thread.start()
    gate.wait()
    for thread in threads:
        thread.join()
    assert len(heard) == 1_000


def test_events_are_values() -> None:
    one = EVENTS["run.unparked"]
    run = UUID(int=1)
    assert one(run=run, by="ann") == one(run=run, by="ann")  # type: ignore[call-arg]
