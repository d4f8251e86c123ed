"""Telling people: acknowledgements, what a channel was not told, and notices that wait.

A mark and its notice are one commit, a sealed notice never changes, and one boot tells at a time.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest

from duly.core.fleet import Incident
from duly.core.notices import ChannelPlan, NotifyPlan, Rule, Told
from duly.core.runs import Answer
from duly.core.telling import ChannelState, Drawn, Outlook, Summed
from duly.core.telling_plan import Drawing
from duly.stores.base import Retention, Signal, WakeUp
from duly.stores.telling import TELLING_LEASE
from tests.stores.world import DAY, HOUR, MINUTE, World


async def opened(world: World, subject: str, kind: str = "x", severity: str = "warning") -> None:
    one = Incident(kind=kind, subject=subject, severity=severity, summary="so", owner="shop")
    assert await world.store.open_incident(one, now=world.turn(1))


async def closed(world: World, subject: str, kind: str = "x") -> None:
    assert await world.store.close_incident(kind, subject, now=world.turn(1))


async def known(world: World) -> UUID:
    """A boot that has the lease of the channel `mail`, which is known from now on."""
    boot = await world.boot()
    assert await looked(world, boot) is not None
    return boot


async def looked(world: World, boot: UUID, **how: Any) -> Outlook | None:
    found: Outlook | None = await world.store.outlook(boot, "mail", now=world.now, **how)
    return found


async def told(
    world: World, boot: UUID, plan: NotifyPlan | None = None, **agreed: Any
) -> list[tuple[str, str]]:
    """Draw up all news, let it arrive, and return what it says."""
    out = await looked(world, boot)
    assert out is not None
    mine = ChannelPlan(name="mail", **agreed)
    drawing = Drawing(plan or NotifyPlan(), mine, out, new_id=world.new_id(), application="app")
    page = await world.store.untold("mail")
    drawn = drawing.news(page, critical=False, last=True)
    assert await world.store.draw_up(boot, drawn, now=world.now) is Answer.DONE
    if drawn.notice is None:
        return []
    assert await world.store.arrived(drawn.notice.id, now=world.now) is Answer.DONE
    return [(one.told.value, one.incident.subject) for one in drawn.notice.items]


# --- acknowledging ------------------------------------------------------------------------------


async def test_whoever_acknowledges_first_is_kept(world: World) -> None:
    store = world.store
    await opened(world, "a")
    assert await store.acknowledge("x", "b", by="ann", now=world.now) is Answer.UNKNOWN
    how = {"by": "ann", "note": "on it", "now": world.now}
    answers = await world.twice(store.acknowledge, "x", "a", **how)
    assert answers == (Answer.DONE, Answer.ALREADY)
    assert await store.acknowledge("x", "a", by="bob", now=world.turn(1)) is Answer.ALREADY
    [one] = await store.incidents()
    assert (one.acknowledged_by, one.acknowledged_note, one.owner) == ("ann", "on it", "shop")
    assert one.acknowledged_at == how["now"]
    await closed(world, "a")
    assert await store.acknowledge("x", "a", by="bob", now=world.now) is Answer.UNKNOWN


async def test_incidents_have_numbers_that_only_grow(world: World) -> None:
    for subject in ("a", "b"):
        await opened(world, subject)
    one = Incident(kind="x", subject="a", severity="info", summary="again")
    assert not await world.store.open_incident(one, now=world.now)
    await opened(world, "c")
    numbers = [one.id for one in await world.store.incidents()]
    assert numbers == sorted(numbers, reverse=True)
    assert len(set(numbers)) == 3


@pytest.mark.parametrize("what", ["opens", "closes"])
async def test_whoever_listens_hears_that_an_incident(world: World, what: str) -> None:
    if what == "closes":
        await opened(world, "a")
    heard = asyncio.Event()

    def hear(wake: WakeUp) -> None:
        if wake.signal is Signal.INCIDENT:
            heard.set()

    stop = world.store.listen(hear)
    await (opened(world, "a") if what == "opens" else closed(world, "a"))
    async with asyncio.timeout(10):
        await heard.wait()
    stop()
    assert heard.is_set()


# --- what was not told --------------------------------------------------------------------------


async def test_a_channel_is_told_what_opens_and_closes_once_each(world: World) -> None:
    boot = await known(world)
    await opened(world, "a")
    assert await told(world, boot) == [("opened", "a")]
    assert await told(world, boot) == []
    await opened(world, "b")
    await closed(world, "a")
    await opened(world, "c")
    await closed(world, "c")
    assert await told(world, boot) == [("opened", "b"), ("closed", "a"), ("closed", "c")]
    assert await told(world, boot) == []


async def test_what_was_over_before_a_channel_was_known_is_not_told(world: World) -> None:
    await opened(world, "over")
    await closed(world, "over")
    await opened(world, "still")
    world.turn(DAY)
    boot = await known(world)
    assert await told(world, boot) == [("still open", "still")]


async def test_what_is_committed_late_is_told(world: World) -> None:
    """Its instant lies before what was looked through already: another's commit took a while."""
    boot = await known(world)
    await opened(world, "a")
    world.turn(HOUR)
    assert await told(world, boot) == [("opened", "a")]
    world.now -= timedelta(minutes=50)
    await opened(world, "late")
    world.turn(HOUR)
    assert await told(world, boot) == [("opened", "late")]


async def test_what_no_rule_sends_to_a_channel_is_not_looked_at_again(world: World) -> None:
    boot = await known(world)
    plan = NotifyPlan(rules=(Rule(channels=("mail",), kinds=("y*",), owners=("sh?p",)),))
    await opened(world, "a")
    await opened(world, "b", kind="yes")
    assert await told(world, boot, plan) == [("opened", "b")]
    await closed(world, "a")
    out = await looked(world, boot)
    assert out is not None
    assert out.untold.count == 0


async def test_what_happened_again_within_a_day_is_not_fresh(world: World) -> None:
    boot = await known(world)
    await opened(world, "a")
    await closed(world, "a")
    world.turn(HOUR)
    await opened(world, "a", severity="critical")
    await opened(world, "b")
    found = await world.store.untold("mail")
    shown = [(one.incident.subject, one.incident.closed_at is None, one.fresh) for one in found]
    assert shown == [("a", True, False), ("a", False, True), ("b", True, True)]
    out = await looked(world, boot)
    assert out is not None
    assert msgspec.structs.astuple(out.untold) == (3, 2, 1, 0)
    assert len(await world.store.untold("mail", critical=True)) == 1
    assert len(await world.store.untold("mail", limit=2)) == 2
    world.turn(2 * DAY)
    await closed(world, "a")
    await opened(world, "a")
    [*_, last] = await world.store.untold("mail")
    assert last.fresh


# --- who tells ----------------------------------------------------------------------------------


async def test_one_boot_tells_a_channel_until_its_lease_ends(world: World) -> None:
    boot, other = await known(world), await world.boot()
    assert await looked(world, other) is None
    assert await world.store.outlook(other, "slack", now=world.now) is not None
    world.turn(TELLING_LEASE - timedelta(microseconds=1))
    assert await looked(world, other) is None
    world.turn(timedelta(microseconds=1))
    assert await looked(world, other) is not None
    state = ChannelState(since=world.now, why="lost")
    drawn = Drawn(channel="mail", state=state.next())
    assert await world.store.draw_up(boot, drawn, now=world.now) is Answer.STALE
    assert [one.why for one in await world.store.channels()] == ["", ""]
    await world.die(other)
    assert await looked(world, boot) is not None


async def test_who_is_no_instance_tells_a_channel_until_its_lease_ends(world: World) -> None:
    boot, stranger, another = await known(world), world.new_id(), world.new_id()
    assert await looked(world, stranger) is None
    await world.die(boot)
    assert await looked(world, stranger) is not None
    world.turn(TELLING_LEASE - timedelta(microseconds=1))
    assert await looked(world, another) is None
    assert await looked(world, await world.boot()) is None
    world.turn(timedelta(microseconds=1))
    assert await looked(world, another) is not None


async def test_who_is_late_writes_nothing(world: World) -> None:
    boot = await known(world)
    drawn = Drawn(channel="mail", state=ChannelState(since=world.now, why="lost").next())
    world.turn(TELLING_LEASE)
    assert await world.store.draw_up(boot, drawn, now=world.now) is Answer.STALE


async def test_a_drawing_that_lands_late_tells_nothing_twice(world: World) -> None:
    store, boot = world.store, await known(world)
    await opened(world, "a")
    out = await looked(world, boot)
    assert out is not None
    news = await store.untold("mail")
    first, second = (
        Drawing(
            NotifyPlan(), ChannelPlan(name="mail"), out, new_id=world.new_id(), application="app"
        ).news(news, critical=False, last=True)
        for _ in range(2)
    )
    assert await store.draw_up(boot, second, now=world.now) is Answer.DONE
    late = await world.twice(store.draw_up, boot, first, now=world.now)
    assert late == (Answer.STALE, Answer.STALE)
    out = await looked(world, boot)
    assert out is not None and out.pending is not None and second.notice is not None
    assert (out.pending.notice, out.state) == (second.notice, second.state)
    await store.arrived(second.notice.id, now=world.now)
    out = await looked(world, boot)
    assert out is not None and out.pending is None
    answers = await world.twice(store.draw_up, boot, second, now=world.now)
    assert answers == (Answer.DONE, Answer.DONE), "sent again, it was done"


# --- notices ------------------------------------------------------------------------------------


async def test_a_notice_waits_until_it_arrived_and_never_changes_once_sealed(
    world: World,
) -> None:
    store, boot = world.store, await known(world)
    await opened(world, "a")
    out = await looked(world, boot)
    assert out is not None
    mine = ChannelPlan(name="mail")
    drawing = Drawing(NotifyPlan(), mine, out, new_id=world.new_id(), application="app")
    draft = drawing.news(await store.untold("mail"), critical=False, last=False)
    answers = await world.twice(store.draw_up, boot, draft, now=world.now)
    assert answers == (Answer.DONE, Answer.DONE)
    out = await looked(world, boot)
    assert out is not None
    assert out.pending is not None
    assert (out.pending.notice, out.pending.sealed) == (draft.notice, False)
    sealed = drawing.news([], critical=False, last=True)
    await store.draw_up(boot, sealed, now=world.now)
    assert sealed.notice is not None
    changed = msgspec.structs.replace(sealed.notice, application="other")
    for is_sealed in (True, False):
        how = {"state": sealed.state, "notice": changed, "sealed": is_sealed}
        await store.draw_up(boot, Drawn(channel="mail", **how), now=world.now)
    out = await looked(world, boot)
    assert out is not None
    assert out.pending is not None
    assert (out.pending.notice, out.pending.sealed) == (sealed.notice, True)
    [standing] = await store.channels()
    assert (standing.name, standing.waiting, standing.untold) == ("mail", 1, 0)
    answers = await world.twice(store.arrived, sealed.notice.id, now=world.now)
    assert answers == (Answer.DONE, Answer.ALREADY)
    assert await store.arrived(world.new_id(), now=world.now) is Answer.UNKNOWN
    out = await looked(world, boot)
    assert out is not None
    assert out.pending is None


async def test_reminders_are_of_what_is_open_and_acknowledged_by_nobody(world: World) -> None:
    boot = await known(world)
    for subject, severity in (("a", "warning"), ("b", "critical"), ("c", "info"), ("d", "info")):
        await opened(world, subject, severity=severity)
    await told(world, boot, remind=(HOUR,))
    at = world.now + HOUR
    await world.store.acknowledge("x", "c", by="ann", now=world.now)
    await closed(world, "d")
    out = await looked(world, boot)
    assert out is not None
    assert (out.remind_at, out.remind_critical_at) == (at, at)
    assert await world.store.overdue("mail", at - MINUTE) == []
    found = await world.store.overdue("mail", at)
    assert [(one.incident.subject, one.reminded) for one in found] == [("a", 0), ("b", 0)]
    [one] = await world.store.overdue("mail", at, critical=True)
    assert one.incident.subject == "b"
    assert len(await world.store.overdue("mail", at, limit=1)) == 1


async def test_a_digest_counts_each_incident_once(world: World) -> None:
    boot = await known(world)
    await opened(world, "before")
    await opened(world, "mended")
    await told(world, boot)
    since = world.turn(HOUR)
    await opened(world, "new", severity="critical")
    await opened(world, "slow", kind="expect.start")
    await closed(world, "mended")
    await closed(world, "slow", kind="expect.start")
    await told(world, boot)
    summed: Summed = await world.store.summed("mail", since, world.now + MINUTE)
    assert summed.counts == {Told.OPENED: 1, Told.CLOSED: 2, Told.STILL: 1}
    assert [(one.told.value, one.incident.subject) for one in summed.items] == [
        ("opened", "new"),
        ("still open", "before"),
        ("closed", "mended"),
        ("closed", "slow"),
    ]
    assert [one.subject for one in summed.late] == ["slow"]
    empty: Summed = await world.store.summed("slack", since, world.now)
    assert (sum(empty.counts.values()), empty.items) == (0, ())


async def test_what_was_told_is_forgotten_with_its_incident(world: World) -> None:
    boot = await known(world)
    await opened(world, "a")
    await opened(world, "b")
    await closed(world, "a")
    await told(world, boot)
    keep = Retention(history=HOUR)
    world.turn(2 * HOUR)
    filled = await world.store.prune(keep, now=world.now)
    assert (filled.incidents, filled.notices) == (1, 1)
    rows = await world.store.snapshot()
    assert len(rows["told"]) == len(rows["incidents"]) == 1
    assert rows["notices"] == {}
    assert await told(world, boot) == []
