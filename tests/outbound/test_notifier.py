"""The notifier: what opened and closed is told on every channel, once as a rule, and never lost."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any
from unittest import mock

import pytest
from msgspec import structs

from duly import events
from duly.core.fleet import Incident, Instance
from duly.core.notices import CHANNEL_DOWN, ChannelPlan, Notice, NotifyPlan, Told
from duly.events import Bus
from duly.outbound.base import DestinationRefused, DestinationUnavailable
from duly.outbound.notifier import Notifier
from duly.stores.base import Signal
from duly.stores.memory import MemoryStore
from tests.engine.bench import Bench, FaultyStore, in_time, lasts

MINUTE, HOUR = 60.0, 3600.0
_DRAW_UP = MemoryStore.draw_up


async def _without_outbox(store: Any, boot: Any, drawn: Any, **how: Any) -> Any:
    return await _DRAW_UP(store, boot, structs.replace(drawn, notice=None), **how)


class Post:
    """A channel in memory, that does as a test says."""

    def __init__(self, name: str = "mail") -> None:
        self.name = name
        self.took: list[Notice] = []
        self.tries = 0
        self.away: Exception | None = None
        self.silent = False

    async def send(self, notice: Notice) -> None:
        self.tries += 1
        if self.silent:
            await lasts(HOUR)
        if self.away is not None:
            raise self.away
        self.took.append(notice)

    def told(self) -> list[list[tuple[str, str]]]:
        return [[(i.told.value, i.incident.subject) for i in one.items] for one in self.took]

    def kinds(self) -> list[str]:
        return [one.kind.value for one in self.took]


class Office:
    """A store with incidents, and notifiers of it that are turned like a supervisor turns them."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.stores: list[FaultyStore] = []

    async def tell(self, post: Post, *plans: ChannelPlan, **agreed: Any) -> Any:
        """Start a notifier in an instance of its own; return its task."""
        bench, boot = self.bench, self.bench.clock.new_id()
        store, bus = FaultyStore(bench), Bus()
        bus.subscribe(bench.events.append)
        self.stores.append(store)
        me = Instance(boot=boot, name="a", host="h", pid=1, pid_space="", owner="app", version="1")
        await store.register(me, {})
        mine = ChannelPlan(name=post.name, **agreed)
        notifier = Notifier(
            post, mine, NotifyPlan(channels=(mine, *plans)), application="app", store=store,
            clock=bench.clock, bus=bus, boot=lambda: boot,
        )  # fmt: skip
        return bench.loop.create_task(_turn(notifier))

    async def open(self, subject: str, kind: str = "x", severity: str = "warning") -> None:
        one = Incident(kind=kind, subject=subject, severity=severity, summary="it broke")
        await self.bench.client.open_incident(one)

    async def close(self, subject: str, kind: str = "x") -> None:
        await self.bench.client.close_incident(kind, subject, note="mended")


async def _turn(notifier: Notifier) -> None:
    while True:
        await notifier.ready()
        try:
            await notifier.turn()
        except Exception:
            await lasts(0.1)


@in_time
async def test_first_news_goes_at_once_and_what_follows_goes_together(bench: Bench) -> None:
    office, post = Office(bench), Post()
    await office.tell(post)
    await bench.past(10)
    await office.open("a")
    await bench.past(3)
    assert post.told() == [[("opened", "a")]]
    await office.open("b")
    await office.close("a")
    await office.open("c")
    await office.close("c")
    await bench.past(50)
    assert len(post.took) == 1, "it gathers"
    await bench.past(15)
    assert post.told()[1:] == [[("opened", "b"), ("closed", "a"), ("closed", "c")]]
    assert post.took[1].counts == {Told.OPENED: 1, Told.CLOSED: 2}
    assert [one.channel for one in bench.told(events.NoticeSent)] == ["mail", "mail"]


@in_time
async def test_what_was_open_before_the_channel_was_known_is_told_as_still_open(
    bench: Bench,
) -> None:
    office, post = Office(bench), Post()
    await office.open("over")
    await office.close("over")
    await office.open("a")
    await bench.past(5)
    await office.tell(post)
    await bench.past(5)
    assert post.told() == [[("still open", "a")]]


LOST = ("outlook", "untold", "draw_up", "arrived")


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("verb", LOST)
def test_a_lost_word_to_the_store_loses_no_news_and_keeps_the_id(verb: str, when: str) -> None:
    @in_time
    async def check(bench: Bench) -> None:
        office, post = Office(bench), Post()
        await office.tell(post)
        await bench.past(5)
        getattr(office.stores[0], when)[verb] = 3
        await office.open("a")
        await bench.past(MINUTE)
        assert post.told()[0] == [("opened", "a")]
        assert len({one.id for one in post.took}) == 1
        assert len(post.took) == (4 if (verb, when) == ("arrived", "before") else 1)

    check()
    assert verb


@pytest.mark.parametrize("verb", ["untold", "draw_up", "arrived"])
def test_killed_anywhere_the_next_tells_the_same_notice(verb: str) -> None:
    @in_time
    async def check(bench: Bench) -> None:
        office, post = Office(bench), Post()
        task = await office.tell(post)
        office.stores[0].after[verb] = 10**6
        await office.open("a")
        await bench.past(5)
        task.cancel()
        await office.tell(post)
        await bench.past(5 * MINUTE)
        assert len({one.id for one in post.took}) == 1, "one notice, however often"
        assert post.told()[-1] == [("opened", "a")]
        [row] = bench.tables.notices.values()
        assert row.sent_at is not None

    check()
    assert verb


@pytest.mark.parametrize("planted", [False, True])
def test_an_outbox_is_what_loses_nothing_when_the_teller_dies(planted: bool) -> None:
    """With the bug planted that no notice is kept, the very same story loses the news."""

    @in_time
    async def check(bench: Bench) -> None:
        office, post = Office(bench), Post()
        with mock.patch.object(MemoryStore, "draw_up", _without_outbox if planted else _DRAW_UP):
            task = await office.tell(post)
            await bench.past(5)
            post.silent = True
            await office.open("a")
            await bench.past(5)
            task.cancel()  # in the middle of the sending
            post.silent = False
            await office.tell(post)
            await bench.past(5 * MINUTE)
        assert post.told() == ([] if planted else [[("opened", "a")]])

    check()
    assert planted in (True, False)


@in_time
async def test_of_all_instances_one_tells(bench: Bench) -> None:
    office, post = Office(bench), Post()
    for _ in range(4):
        await office.tell(post)
    for subject in ("a", "b", "c"):
        await office.open(subject)
        await bench.past(2 * MINUTE)
        await office.close(subject)
        await bench.past(2 * MINUTE)
    told = Counter(item for notice in post.told() for item in notice)
    assert told == {(t, s): 1 for t in ("opened", "closed") for s in "abc"}


@in_time
async def test_an_idle_instance_hardly_asks(bench: Bench) -> None:
    office, post = Office(bench), Post()
    for _ in range(2):
        await office.tell(post)
    await bench.past(MINUTE)
    for store in office.stores:
        store.sent.clear()
    await bench.past(HOUR)
    assert max(len(store.sent) for store in office.stores) <= 35
    assert post.took == []


@in_time
async def test_a_channel_that_is_away_holds_up_no_other_which_tells_of_it(bench: Bench) -> None:
    office, mail, chat = Office(bench), Post("mail"), Post("chat")
    mail.away = DestinationUnavailable("no route\nto it")
    await office.tell(mail, ChannelPlan(name="chat"))
    await office.tell(chat, ChannelPlan(name="mail"))
    await office.open("a")
    await bench.past(HOUR)
    assert chat.told() == [[("opened", "a")], [("opened", "mail")]]
    assert 8 <= mail.tries <= 30, "by growing pauses"
    [one] = [one for one in await bench.client.channels() if one.name == "mail"]
    assert (one.why, one.waiting) == ("no route to it", 1)
    mail.away = None
    await bench.past(10 * MINUTE)
    assert mail.told() == [[("opened", "a")]], "nothing of itself"
    assert chat.told()[2:] == [[("closed", "mail")]]
    assert [one.failing_since for one in await bench.client.channels()] == [None, None]
    assert len(bench.told(events.ChannelAway)) == len(bench.told(events.ChannelBack)) == 1


@in_time
async def test_a_channel_that_is_back_is_said_to_be_even_if_its_teller_died_over_it(
    bench: Bench,
) -> None:
    office, post = Office(bench), Post()
    task = await office.tell(post)
    await bench.past(5)
    post.away = DestinationRefused("wrong password")
    await office.open("a")
    await bench.past(5)
    post.away, office.stores[0].before["close_incident"] = None, 10**6
    await bench.past(10)
    assert len(post.took) == 1
    task.cancel()
    await office.tell(post)
    await bench.past(5 * MINUTE)
    assert [one.kind for one in await bench.client.incidents()] == ["x"]
    [standing] = await bench.client.channels()
    assert standing.failing_since is None


@in_time
async def test_channels_that_are_all_away_open_one_incident_each(bench: Bench) -> None:
    office, mail, chat = Office(bench), Post("mail"), Post("chat")
    mail.away = chat.away = DestinationRefused("wrong password")
    await office.tell(mail)
    await office.tell(chat)
    await office.open("a")
    await bench.past(6 * HOUR)
    incidents = [(one.kind, one.subject) for one in await bench.client.incidents(only_open=False)]
    assert sorted(incidents) == [(CHANNEL_DOWN, "chat"), (CHANNEL_DOWN, "mail"), ("x", "a")]
    assert len(bench.tables.notices) == 2
    assert max(mail.tries, chat.tries) <= 60


@pytest.mark.parametrize("trouble", ["silent", "a mistake"])
def test_a_channel_at_fault_ends_nobody(trouble: str) -> None:
    @in_time
    async def check(bench: Bench) -> None:
        office, post = Office(bench), Post()
        if trouble == "silent":
            post.silent = True
        else:
            post.away = KeyError("token")
        await office.tell(post)
        await office.open("a")
        await bench.past(10 * MINUTE)
        assert post.took == []
        post.silent, post.away = False, None
        await bench.past(20 * MINUTE)
        assert post.told() == [[("opened", "a")]]

    check()
    assert trouble


@in_time
async def test_what_flaps_is_told_by_growing_gaps(bench: Bench) -> None:
    office, post = Office(bench), Post()
    await office.tell(post)
    for _ in range(6 * 60):
        await office.open("a")
        await bench.past(30)
        await office.close("a")
        await bench.past(30)
    assert len(post.took) <= 14
    await bench.past(2 * HOUR)
    assert sum(one.counts.get(Told.CLOSED, 0) for one in post.took) == 360
    before = len(post.took)
    await office.open("b")
    await bench.past(70)
    assert post.told()[before:] == [[("opened", "b")]], "fresh news does not wait for it"


@in_time
async def test_reminders_come_by_growing_gaps_until_somebody_acknowledges(bench: Bench) -> None:
    office, post = Office(bench), Post()
    await office.tell(post, remind=(timedelta(hours=1), timedelta(hours=3)))
    await office.open("a")
    await office.open("b")
    await bench.past(8 * HOUR)
    assert post.kinds() == ["news", "reminder", "reminder", "reminder"]
    assert post.told()[1] == [("still open", "a"), ("still open", "b")]
    await bench.client.acknowledge("x", "a", by="ann", note="on it")
    await office.close("b")
    await bench.past(24 * HOUR)
    assert post.kinds()[4:] == ["news"]


@in_time
async def test_a_digest_goes_once_a_day_and_never_empty(bench: Bench) -> None:
    office, post = Office(bench), Post()
    at = (bench.now() + timedelta(hours=2)).time()
    task = await office.tell(post, digest_at=at, remind=())
    await office.open("a")
    await office.open("b")
    await bench.past(HOUR)
    await office.close("b")
    await bench.past(24 * HOUR)
    assert post.kinds() == ["news", "news", "digest"]
    digest = post.took[-1]
    assert digest.counts == {Told.OPENED: 1, Told.CLOSED: 1}
    assert [item.incident.subject for item in digest.items] == ["a", "b"]
    await office.close("a")
    task.cancel()
    await bench.past(3 * 24 * HOUR)  # the fleet is down for three days
    await office.tell(post, digest_at=at, remind=())
    await bench.past(HOUR)
    assert post.kinds()[3:] == ["news", "digest"], "one late digest, and news before it"
    await bench.past(4 * 24 * HOUR)
    assert post.kinds()[5:] == [], "nothing to tell"


@in_time
async def test_in_quiet_hours_only_what_is_critical_goes_out(bench: Bench) -> None:
    office, post = Office(bench), Post()
    now = bench.now()
    quiet = {"quiet_from": (now - timedelta(hours=1)).time(),
             "quiet_until": (now + timedelta(hours=2)).time()}  # fmt: skip
    await office.tell(post, **quiet)
    await office.open("a")
    await bench.past(HOUR)
    assert post.took == []
    await office.open("b", severity="critical")
    await bench.past(MINUTE)
    assert post.told() == [[("opened", "b")]]
    await bench.past(HOUR)
    assert post.told()[1:] == [[("opened", "a")]]


@in_time
async def test_a_hint_of_something_else_wakes_nobody(bench: Bench) -> None:
    office, post = Office(bench), Post()
    await office.tell(post)
    await bench.past(HOUR)
    office.stores[0].sent.clear()
    for signal in Signal:
        if signal is not Signal.INCIDENT:
            bench.tables.tell(signal)
    await bench.past(5)
    assert office.stores[0].sent == []
