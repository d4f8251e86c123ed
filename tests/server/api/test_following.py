"""The fleet's stream: on any server, after any restart, exactly what was missed; else a gap."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from duly.app.serving import make_ground
from duly.client import Client
from duly.core.feed import Happening, Look, Point
from duly.core.fleet import Incident
from duly.server.api import stream
from duly.server.api.following import HERE, Reader, Watch
from duly.server.api.ports import Ground
from duly.stores.memory import MemoryStore
from tests.server.api.shop import Caller, make_shop, served, with_roles

EVENTS = "/api/v1/events"


def incident(number: int) -> Incident:
    return Incident(kind="k", subject=f"s{number}", severity="info", summary="so")


def parsed(text: str) -> list[tuple[str, str, Any]]:
    """Each event of a stream: its id, its kind, its data."""
    found = []
    for part in text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in part.splitlines() if not line.startswith(":"))
        if lines:
            data = msgspec.json.decode(lines["data"])
            found.append((lines.get("id", ""), lines["event"], data))
    return found


async def missed(api: Caller, last: str = "", *, key: str = "admin", where: str = "") -> Any:
    """What is there, behind an id."""
    headers = {"Last-Event-ID": last} if last else {}
    said = await api.call("GET", f"{EVENTS}?follow=false{where}", key=key, headers=headers)
    assert said.status == 200, said.body
    return parsed(said.body)


@asynccontextmanager
async def followed(api: Caller, last: str = "", *, key: str = "viewer") -> AsyncIterator[Any]:
    """A reader that follows: each call of what is given waits for the next event."""
    headers = {"Authorization": f"Bearer {api.keys[key]}"}
    if last:
        headers["Last-Event-ID"] = last
    url = f"{api.url}{EVENTS}"
    async with (
        asyncio.timeout(30),
        aiohttp.ClientSession() as session,
        session.get(url, headers=headers) as got,
    ):
        assert got.status == 200

        async def event() -> tuple[str, str, Any]:
            while True:
                text = (await got.content.readuntil(b"\n\n")).decode()
                if found := parsed(text):
                    return found[0]

        yield event


# --- over a socket ------------------------------------------------------------------------------


async def test_an_id_is_good_on_another_server_and_after_a_restart(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/shop.db"
    async with served(make_shop(url)) as one:
        await with_roles(one)
        for number in (1, 2):
            await one.app.store.open_incident(incident(number))
        told = await missed(one)
        assert [data["subject"] for _, _, data in told] == ["s1", "s2"]
        async with served(make_shop(url)) as other:
            other.keys = one.keys
            assert await missed(other, told[0][0]) == told[1:]
            assert await missed(other, told[1][0]) == []
    async with served(make_shop(url)) as again:
        again.keys = one.keys
        await again.app.store.close_incident("k", "s1")
        [(_, kind, data)] = await missed(again, told[1][0])
        assert (kind, data["subject"]) == ("incident.closed", "s1")


async def test_who_comes_back_is_told_what_it_missed_and_then_what_happens(api: Caller) -> None:
    await api.app.store.open_incident(incident(1))
    [(last, _, _)] = await missed(api)
    await api.app.store.open_incident(incident(2))
    async with followed(api, last) as event:
        assert (await event())[2]["subject"] == "s2"
        await api.app.store.open_incident(incident(3))
        assert (await event())[2]["subject"] == "s3"
        await api.app.store.close_incident("k", "s2")
        assert (await event())[1:] == ("incident.closed", await closed(api))


async def closed(api: Caller) -> dict[str, Any]:
    """The data of the closing of s2."""
    return (await missed(api, where="&kinds=incident.closed"))[0][2]


@pytest.mark.parametrize(
    "last", ["nonsense", "1767571200000000.4.1", "99999999999999999.4.1", "1767.9.f/3"]
)
async def test_what_cannot_be_gone_on_from_is_a_gap(api: Caller, last: str) -> None:
    await api.app.store.open_incident(incident(1))
    told = await missed(api, last)
    assert [kind for _, kind, _ in told] == ["gap", "incident.opened"]
    assert told[0][2] == {"after": last}
    async with followed(api, last) as event:
        assert (await event())[1] == "gap"


async def test_since_begins_there_fifty_minutes_ago_at_most(api: Caller) -> None:
    await api.app.store.open_incident(incident(1))
    now = datetime.now(UTC)
    for ago, kinds in [(60, ["incident.opened"]), (7200, ["gap", "incident.opened"]), (-60, [])]:
        since = (now - timedelta(seconds=ago)).isoformat().replace("+00:00", "Z")
        found = await missed(api, where=f"&since={since}")
        assert [kind for _, kind, _ in found] == kinds, ago


async def test_a_tenant_follows_its_own_runs_and_no_process(api: Caller) -> None:
    store = api.app.store
    await store.open_incident(incident(1))
    for tenant in ("acme", "beta"):
        await api.add_key(tenant, "operator", tenant=tenant)
        said = await api.call("POST", "/api/v1/tasks/add/runs", key=tenant, body={"args": {"a": 1}})
        await api.call(
            "POST", f"/api/v1/runs/{said.body['id']}/cancel", key=tenant, body={"reason": tenant}
        )
    for key, where in [("acme", ""), ("acme", "&tenant=beta"), ("admin", "&tenant=acme")]:
        [(_, kind, data)] = await missed(api, key=key, where=where)
        assert kind == "run.cancelled" and data["reason"].endswith("acme")
    assert len(await missed(api)) == 3
    said = await api.call("GET", f"{EVENTS}?of=process&follow=false", key="acme")
    assert said.status == 403


async def test_readers_are_bounded(api: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    assert stream.READERS == 100
    monkeypatch.setattr(stream, "READERS", 2)
    async with followed(api), followed(api):
        said = await api.call("GET", EVENTS)
        assert (said.status, said.headers["Retry-After"]) == (503, "5")


# --- the watch ----------------------------------------------------------------------------------


class Counted(MemoryStore):
    """The model, with a clock that is set, which counts how often it was asked."""

    def __init__(self) -> None:
        self.at = datetime(2026, 1, 5, tzinfo=UTC)
        self.asked = 0
        super().__init__(lambda: self.at)

    async def feed(self, *args: Any, **how: Any) -> Look:
        self.asked += 1
        return await super().feed(*args, **how)

    async def happens(self, number: int) -> None:
        """Open an incident, and let its instant be over."""
        await self.open_incident(incident(number))
        self.at += timedelta(seconds=1)


def ground_on(store: MemoryStore) -> Ground:
    app = make_shop()
    client = Client(store, {}, app.clock, app.bus)
    return replace(make_ground(app), client=lambda: client, books=lambda: store)


def everything(_: Happening) -> bool:
    return True


async def parts(reader: Reader, after: Point | None = None) -> AsyncIterator[list[str]]:
    """What each part of a reader's stream tells; nothing but signs of life is left out."""
    async for part in reader.follow(after):
        if part != HERE:
            yield [data.get("subject", kind) for _, kind, data in parsed(part.decode())]


async def test_a_slow_reader_is_told_of_a_gap_and_a_quick_one_of_all() -> None:
    store = Counted()
    watch = Watch(ground_on(store), kept=3)
    slow, quick = (Reader(ground_on(store), watch, everything).follow(None) for _ in range(2))
    async with asyncio.timeout(30):
        while watch.began is None or watch.readers < 2:
            assert HERE in (await anext(slow), await anext(quick))
        heard: list[str] = []
        for number in range(5):
            await store.happens(number)
            while len(heard) <= number:
                heard += [one[2]["subject"] for one in parsed((await anext(quick)).decode())]
        assert heard == ["s0", "s1", "s2", "s3", "s4"]
        late = parsed((await anext(slow)).decode())
    assert [data.get("subject", kind) for _, kind, data in late] == ["gap", "s2", "s3", "s4"]
    await quick.aclose()
    await slow.aclose()


async def test_nobody_reads_and_nothing_is_asked() -> None:
    store = Counted()
    watch = Watch(ground_on(store))
    assert store.asked == 0
    async with asyncio.timeout(30):
        for _ in range(2):
            following = Reader(ground_on(store), watch, everything).follow(None)
            while watch.began is None:
                await anext(following)
            await following.aclose()
            asked, store.asked = store.asked, 0
            assert asked == 1 and watch.began is None
            await store.happens(asked)  # its hint finds nobody
            tasks = [one for one in asyncio.all_tasks() if one.get_name() == "duly-watch"]
            await asyncio.gather(*tasks, return_exceptions=True)
            assert store.asked == 0 and store.t.listeners == []


async def test_a_clock_that_was_set_back_is_a_gap_and_then_all_goes_on() -> None:
    store = Counted()
    watch = Watch(ground_on(store))
    told = parts(Reader(ground_on(store), watch, everything))
    next_part = asyncio.ensure_future(anext(told))
    async with asyncio.timeout(30):
        while watch.began is None:
            await watch.wait(0)
        await store.happens(1)
        assert await next_part == ["s1"]
        store.at -= timedelta(hours=1)
        await store.happens(2)
        assert await anext(told) == ["gap"]
        await store.happens(3)
        assert await anext(told) == ["s3"]
    await told.aclose()


async def test_who_missed_too_much_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    from duly.server.api import following

    monkeypatch.setattr(following, "MISSED", 1)
    store = Counted()
    begin = Point(store.at)
    for number in range(1001):
        await store.open_incident(incident(number))
    store.at += timedelta(seconds=1)
    reader = Reader(ground_on(store), Watch(ground_on(store)), everything)
    told = [one async for part in reader.missed(begin) for one in parsed(part.decode())]
    assert len(told) == 1001 and told[-1][1:] == ("gap", {"after": told[-2][0]})
    assert [kind for _, kind, _ in told[:-1]] == ["incident.opened"] * 1000
