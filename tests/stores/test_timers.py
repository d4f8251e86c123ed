"""Timers are made, changed and removed on every store alike, by whoever owns them alone."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from duly.client import Client, Saved
from duly.core.runs import Answer, Origin
from duly.core.schedules import Declared, Source
from duly.core.states import ScheduleState
from duly.core.timers import Timer, TimerFile, call_of, read_timer
from duly.engine.clock import SystemClock
from duly.errors import InvalidValue, Refused, UnknownName
from duly.events import Bus
from tests.stores.world import T0, minutely

CLOCK = SystemClock()


def timer(name: str = "pulse", **fields: Any) -> Timer:
    """Return a timer that calls every hour."""
    made, faults = read_timer(name, {"every": "1h", "url": "https://example.com/", **fields})
    assert made is not None, faults
    return made


def client_of(store: Any) -> Client:
    return Client(store, {}, CLOCK, Bus())


async def test_a_timer_is_made_once_and_no_absence_of_code_takes_it_away(store: Any) -> None:
    client, made = client_of(store), timer()
    assert await client.save_timer(made.definition, by="ann", dry_run=True) is Saved.CREATED
    assert await store.schedules() == []
    assert await client.save_timer(made.definition, owner="shop", by="ann") is Saved.CREATED
    assert await client.save_timer(made.definition, owner="shop", by="bob") is Saved.SAME
    row = await client.timer("pulse")
    assert (row.definition, row.owner, row.source) == (made.definition, "shop", Source.PERSON)
    assert (row.state, row.by) == (ScheduleState.ACTIVE, "ann") and row.next_fire is not None
    assert await store.orphan(timedelta(0), now=row.changed_at + timedelta(days=9)) == []
    assert [one.name for one in await client.timers()] == ["pulse"]


async def test_a_timer_is_changed_removed_and_brought_back(store: Any) -> None:
    client, first, second = client_of(store), timer(), timer(url="https://example.com/b")
    await client.save_timer(first.definition, by="ann")
    assert await client.save_timer(second.definition, by="ann") is Saved.CHANGED
    assert call_of((await client.timer("pulse")).definition) == second.call
    assert await client.remove_timer("pulse", by="ann", reason="over") is Answer.DONE
    assert await client.remove_timer("pulse", by="ann", reason="over") is Answer.ALREADY
    assert (await client.timer("pulse")).next_fire is None
    assert await client.save_timer(first.definition, by="ann") is Saved.REVIVED
    row = await client.timer("pulse")
    assert row.state is ScheduleState.ACTIVE and call_of(row.definition) == first.call


async def test_a_timer_that_was_cut_off_while_it_was_made_fires_nothing_and_is_finished(
    store: Any,
) -> None:
    client, made = client_of(store), timer()
    edit = store.edit

    async def cut(*_: Any, **__: Any) -> Answer:
        raise ConnectionError

    store.edit = cut
    with pytest.raises(ConnectionError):
        await client.save_timer(made.definition, by="ann")
    store.edit = edit
    row = await client.timer("pulse")
    assert row.next_fire is None and row.source is Source.CODE
    at = row.changed_at + timedelta(days=1)
    assert (await store.fire(new_id=CLOCK.new_id, now=at)).fired == ()
    assert await store.orphan(timedelta(minutes=10), now=at) == ["pulse"]
    assert await client.save_timer(made.definition, by="ann") is Saved.CREATED
    row = await client.timer("pulse")
    assert row.state is ScheduleState.ACTIVE and row.next_fire is not None


async def test_what_belongs_to_somebody_else_is_refused(store: Any) -> None:
    client, made = client_of(store), timer()
    await client.save_timer(made.definition, owner="shop", by="ann")
    with pytest.raises(Refused, match="belongs to shop, not to stock"):
        await client.save_timer(timer(deadline="1s").definition, owner="stock", by="bob")
    code = minutely("nightly")
    assert await store.declare(CLOCK.new_id(), "app", [code], new_id=CLOCK.new_id) == [Declared.NEW]
    with pytest.raises(Refused, match="no timer"):
        await client.save_timer(timer("nightly").definition, owner="app", by="bob")
    with pytest.raises(UnknownName, match="no timer is called 'puls'; did you mean 'pulse'"):
        await client.timer("puls")
    with pytest.raises(UnknownName):
        await client.remove_timer("nightly", by="bob", reason="x")


async def test_a_file_is_applied_with_exact_counts(store: Any) -> None:
    client = client_of(store)
    for name in ("changed", "same", "gone", "removed"):
        await client.save_timer(timer(name).definition, owner="shop", by="ann")
    await client.save_timer(timer("other").definition, owner="stock", by="ann")
    await client.remove_timer("removed", by="ann", reason="over")
    timers = (timer("new"), timer("changed", deadline="1s"), timer("same"), timer("removed"))
    file = TimerFile("shop", timers)
    wanted = {"created": 1, "changed": 1, "revived": 1, "same": 1, "removed": 1}
    before = await store.schedules()
    tried = await client.apply_timers(file, by="bob", prune=True, dry_run=True)
    assert tried.counts() == wanted and await store.schedules() == before
    done = await client.apply_timers(file, by="bob", prune=True)
    assert (done.counts(), done.removed) == (wanted, ("gone",))
    again = await client.apply_timers(file, by="bob", prune=True)
    assert again.counts() == dict.fromkeys(wanted, 0) | {"same": 4}
    states = {one.name: one.state.value for one in await client.timers()}
    assert states == {"new": "active", "changed": "active", "same": "active", "other": "active",
                      "gone": "retired", "removed": "active"}  # fmt: skip
    with pytest.raises(InvalidValue, match="to name its owner"):
        await client.apply_timers(TimerFile("timers", (), False), by="bob", prune=True)
    foreign = TimerFile("shop", (timer("last"), timer("other")))
    with pytest.raises(Refused, match="belongs to stock"):
        await client.apply_timers(foreign, by="bob")
    assert await store.schedule("last") is None


async def test_a_test_of_a_timer_is_an_occurrence_of_its_own(store: Any) -> None:
    client, made = client_of(store), timer()
    await client.save_timer(made.definition, by="ann")
    runs = [await client.test_timer("pulse", by="ann") for _ in range(2)]
    views = [await client.run(one) for one in runs]
    assert {one.task for one in views} == {"http"} and len(set(runs)) == 2
    assert all(one.origin is Origin.TRIGGER and one.args == made.definition.args for one in views)
    assert all(one.due is not None and one.due >= T0 for one in views)


def test_a_definition_keeps_no_secret_but_its_name() -> None:
    made = timer(headers={"Authorization": "Bearer secret:REPORTS"})
    assert b"secret:REPORTS" in made.definition.args and made.call.secrets == ("REPORTS",)
