"""What is changed through the API: once, for the one who saw what was there, and with a trace."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import aiohttp
import msgspec
import pytest

from duly.core.logs import AttemptLog, LogLine, fitting
from duly.core.steps import approval
from duly.core.telling import Drawn
from tests.server.api.shop import Caller, make_shop, served, with_roles

DAILY: dict[str, Any] = {"task": "add", "args": {"a": 1}, "cron": "0 6 * * *", "reason": "so"}


async def add(api: Caller, run_key: str | None = None, *, key: str = "admin") -> Any:
    headers = {} if run_key is None else {"Idempotency-Key": run_key}
    body, path = {"args": {"a": 1}}, "/api/v1/tasks/add/runs"
    return await api.call("POST", path, key=key, body=body, headers=headers)


async def test_the_same_key_is_the_same_run_of_a_task(api: Caller) -> None:
    first, second = await add(api, "2026-11-22"), await add(api, "2026-11-22", key="operator")
    other = await add(api, "2026-11-23")
    assert (first.status, first.body["reuse"], second.body["reuse"]) == (202, "new", "joined")
    assert first.body["id"] == second.body["id"] != other.body["id"]
    assert first.headers["Location"] == f"/api/v1/runs/{first.body['id']}"
    shown = await api.call("GET", first.headers["Location"])
    assert (shown.body["args"], shown.body["state"]) == ({"a": 1}, "ready")
    assert shown.body["asked_by"].startswith("key admin (")
    mail = {"Idempotency-Key": "2026-11-22"}
    elsewhere = await api.call("POST", "/api/v1/tasks/mail_orders/runs", body={}, headers=mail)
    assert elsewhere.body["reuse"] == "new", "a key is scoped by its task"


async def test_an_answer_that_was_cut_off_is_asked_for_again(api: Caller) -> None:
    """The caller hangs up before it has read anything; the run is there, and there once."""
    host, port = api.url.removeprefix("http://").split(":")
    body = b'{"args":{"a":1}}'
    head = (
        f"POST /api/v1/tasks/add/runs HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
        f"Content-Type: application/json\r\nIdempotency-Key: cut\r\n"
        f"Authorization: Bearer {api.keys['operator']}\r\n\r\n"
    )
    for _ in range(3):
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(head.encode() + body)
        await writer.drain()
        writer.transport.abort()
    again = await add(api, "cut")
    listed = await api.call("GET", "/api/v1/runs?task=add")
    assert [one["id"] for one in listed.body["items"]] == [again.body["id"]]


async def test_who_changes_a_schedule_says_which_one_was_seen(api: Caller) -> None:
    made = await api.call("POST", "/api/v1/schedules", body={"name": "mine", **DAILY})
    assert (made.status, made.body["owner"], made.body["source"]) == (201, "people", "person")
    again = await api.call("POST", "/api/v1/schedules", body={"name": "mine", **DAILY})
    assert again.status == 201, "the same schedule asked for twice is there once"
    path, changed = "/api/v1/schedules/mine", {**DAILY, "cron": "0 7 * * *"}
    differs = await api.call("POST", "/api/v1/schedules", body={"name": "mine", **changed})
    assert differs.status == 409
    seen = (await api.call("GET", path)).headers["ETag"]
    [line] = (await api.call("GET", "/api/v1/audit?limit=1", key="auditor")).body["items"][:1]
    assert line["asked"]["args"] == {"a": 1} and line["outcome"].startswith("refused: there is")
    assert (await api.call("PUT", path, body=changed)).status == 428
    both = [{**DAILY, "cron": f"{minute} 7 * * *"} for minute in (1, 2)]
    sent = [api.call("PUT", path, body=one, headers={"If-Match": seen}) for one in both]
    answers = await asyncio.gather(*sent)
    assert sorted(one.status for one in answers) == [200, 412]
    [winner] = [one for one in answers if one.status == 200]
    assert (await api.call("GET", path)).headers["ETag"] == winner.headers["ETag"] != seen
    gone = {"body": {"reason": "done"}, "headers": {"If-Match": seen}}
    assert (await api.call("DELETE", path, **gone)).status == 412
    gone["headers"] = {"If-Match": winner.headers["ETag"]}
    assert (await api.call("DELETE", path, **gone)).body == {"outcome": "done"}
    assert (await api.call("GET", path)).body["state"] == "retired"
    revived = await api.call("POST", f"{path}/revive", body={})
    assert revived.body == {"outcome": "done"}


async def test_schedules_are_held_back_run_and_looked_at(api: Caller) -> None:
    path = "/api/v1/schedules/mail_orders"
    steps: list[tuple[str, dict[str, Any], int]] = [
        ("pause", {}, 422),
        ("pause", {"reason": "holiday"}, 200),
        ("resume", {}, 200),
        ("trigger", {}, 202),
        ("give-back", {}, 200),
    ]
    for verb, body, status in steps:
        said = await api.call("POST", f"{path}/{verb}", body=body)
        assert said.status == status, (verb, said.body)
    coming = await api.call("GET", f"{path}/next?count=3")
    assert len(coming.body["items"]) == 3
    assert all(one["at"].endswith("Z") for one in coming.body["items"])
    week = {"from": "2026-03-01T00:00:00+01:00", "to": "2026-03-08T00:00:00+01:00"}
    dry = await api.call("POST", f"{path}/backfill", body={**week, "dry_run": True})
    assert (len(dry.body["runs"]), dry.body["refused"]) == (7, [])
    wet = await api.call("POST", f"{path}/backfill", body={**week, "dry_run": False})
    assert wet.body["runs"] == dry.body["runs"]
    again = await api.call("POST", f"{path}/backfill", body={**week, "dry_run": False})
    assert again.status == 200
    runs = await api.call("GET", "/api/v1/runs?schedule=mail_orders&limit=100")
    assert len(runs.body["items"]) == 8, "asked for twice, each occurrence runs once"
    history = await api.call("GET", f"{path}/verdicts")
    assert history.status == 200
    why = await api.call("GET", f"{path}/occurrences/2026-03-01/why")
    assert "mail_orders" in why.body["subject"]


async def test_bulk_counts_exactly_and_the_dry_run_changes_nothing(api: Caller) -> None:
    ids = {(await add(api, f"k{n}")).body["id"] for n in range(7)}
    wanted = {"action": "cancel", "task": "add", "reason": "wrong day"}
    path = "/api/v1/runs/bulk"
    assert (await api.call("POST", path, body=wanted)).status == 422, "dry_run has no default"
    dry = await api.call("POST", path, body={**wanted, "dry_run": True})
    assert dry.body == {"dry_run": True, "matched": 7, "outcomes": {"would": 7}}
    other = await api.call("POST", path, body={**wanted, "dry_run": False, "expected": 6})
    assert (other.status, other.body["got"]) == (409, "7")
    assert (await api.call("GET", "/api/v1/runs?state=ready")).body["items"] != []
    wet = await api.call("POST", path, body={**wanted, "dry_run": False, "expected": 7})
    assert wet.body == {"dry_run": False, "matched": 7, "outcomes": {"done": 7}}
    listed = await api.call("GET", "/api/v1/runs?state=cancelled")
    assert {one["id"] for one in listed.body["items"]} == ids
    again = await api.call("POST", path, body={**wanted, "dry_run": False})
    assert again.body["outcomes"] == {"impossible": 7}
    unbounded = {"action": "cancel", "reason": "x", "dry_run": True}
    assert (await api.call("POST", path, body=unbounded)).status == 422


async def test_bulk_and_lists_go_by_queue_and_tenant(api: Caller) -> None:
    for queue, tenant in (("slow", "acme"), ("slow", "zeta"), ("fast", "acme")):
        body = {"args": {"a": 1}, "queue": queue, "tenant": tenant}
        assert (await api.call("POST", "/api/v1/tasks/add/runs", body=body)).status == 202
    listed = await api.call("GET", "/api/v1/runs?queue=slow", key="viewer")
    assert [one["tenant"] for one in listed.body["items"]] == ["zeta", "acme"]
    wanted = {"action": "cancel", "reason": "x", "dry_run": False}
    cases = [({"queue": "slow", "tenant": "acme"}, 1), ({"tenant": "acme"}, 2), ({"queue": "x"}, 0)]
    for where, matched in cases:
        done = await api.call("POST", "/api/v1/runs/bulk", body={**wanted, **where})
        assert (done.status, done.body["matched"]) == (200, matched)


async def test_pages_hold_everything_once(api: Caller) -> None:
    ids = [(await add(api, f"k{n}")).body["id"] for n in range(7)]
    for limit in (1, 3, 7, 8):
        seen, cursor = [], ""
        while cursor is not None:
            where = f"?limit={limit}" + (f"&cursor={cursor}" if cursor else "")
            page = (await api.call("GET", f"/api/v1/runs{where}")).body
            seen += [one["id"] for one in page["items"]]
            cursor = page["next"]
            if len(seen) == limit == 1:
                await add(api, "meanwhile")  # what is new comes before, and moves nothing
        assert [one for one in seen if one in ids] == ids[::-1], limit
    assert (await api.call("GET", "/api/v1/runs?cursor=zzz")).status == 422


async def test_a_page_goes_on_where_something_was_that_has_gone(api: Caller) -> None:
    body = {"args": {"a": 1}, "delay": "1h"}
    made = [
        await api.call("POST", "/api/v1/tasks/add/runs", body={**body, "queue": queue})
        for queue in "abc"
    ]
    page = await api.call("GET", "/api/v1/queues?limit=1")
    assert page.body["items"] == [{"name": "a", "ready": 0, "running": 0, "later": 1}]
    await api.call("POST", f"/api/v1/runs/{made[0].body['id']}/cancel", body={"reason": "x"})
    rest = await api.call("GET", f"/api/v1/queues?cursor={page.body['next']}")
    assert [one["name"] for one in rest.body["items"]] == ["b", "c"]


async def test_every_change_leaves_who_what_before_after_and_why(api: Caller) -> None:
    path = "/api/v1/schedules/mail_orders/pause"
    await api.call("POST", path, key="operator", body={"reason": "holiday"})
    await api.call("POST", "/api/v1/runs/01900000-0000-7000-8000-000000000000/cancel",
                   body={"reason": "?"})  # fmt: skip
    await add(api, "k")
    lines = (await api.call("GET", "/api/v1/audit", key="auditor")).body["items"]
    assert [line["action"] for line in lines] == ["tasks.run", "schedules.pause"]
    paused = lines[1]
    assert paused["by"].startswith("key operator (")
    assert (paused["subject"], paused["why"], paused["outcome"]) == (
        "mail_orders",
        "holiday",
        "done",
    )
    assert (paused["before"]["state"], paused["after"]["state"]) == ("active", "paused")
    assert lines[0]["asked"] == {"key": "k"}, "arguments stay with the run"
    only = await api.call("GET", "/api/v1/audit?subject=mail_orders", key="auditor")
    assert [line["id"] for line in only.body["items"]] == [paused["id"]]


async def test_a_key_is_shown_once_and_revoked_for_ever(api: Caller) -> None:
    asked = {"name": "ci", "role": "operator", "scopes": ["tasks:add"], "environment": "test"}
    made = await api.call("POST", "/api/v1/keys", body=asked)
    text = made.body["key"]
    assert made.status == 201 and made.headers["Cache-Control"] == "no-store"
    assert text.startswith("duly_test_") and made.body["hint"] == text[:14] + "…"
    assert (await add(api, key=text)).status == 202
    shown = str((await api.call("GET", "/api/v1/keys")).body)
    audited = str((await api.call("GET", "/api/v1/audit")).body)
    assert text not in shown + audited and text[12:40] not in shown + audited
    path = f"/api/v1/keys/{made.body['id']}/revoke"
    assert (await api.call("POST", path, body={"reason": "lost"})).body == {"outcome": "done"}
    assert (await api.call("POST", path, body={"reason": "lost"})).body == {"outcome": "already"}
    assert (await add(api, key=text)).status == 401
    [kept] = [one for one in (await api.call("GET", "/api/v1/keys")).body["items"]
              if one["id"] == made.body["id"]]  # fmt: skip
    assert (kept["revoked_why"], kept["used_at"] is not None) == ("lost", True)


async def test_incidents_are_closed_with_a_reason(api: Caller) -> None:
    from duly.core.fleet import Incident

    one = Incident(kind="run.failed", subject="add", severity="warning", summary="it failed")
    await api.app.store.open_incident(one)
    listed = await api.call("GET", "/api/v1/incidents")
    assert [row["subject"] for row in listed.body["items"]] == ["add"]
    close = {"kind": "run.failed", "subject": "add", "reason": "mended"}
    wrong = await api.call("POST", "/api/v1/incidents/close", body={**close, "subject": "ad"})
    assert (wrong.status, wrong.body["nearest"]) == (404, "run.failed add")
    done = await api.call("POST", "/api/v1/incidents/close", key="operator", body=close)
    assert done.body == {"outcome": "done"}
    [kept] = (await api.call("GET", "/api/v1/incidents?every=true")).body["items"]
    assert kept["evidence"]["closed"].startswith("mended (key operator")


async def test_incidents_are_acknowledged_once_and_audited(api: Caller) -> None:
    from duly.core.fleet import Incident

    one = Incident(kind="run.failed", subject="add", severity="warning", summary="so", owner="shop")
    await api.app.store.open_incident(one)
    path, ack = "/api/v1/incidents/acknowledge", {"kind": "run.failed", "subject": "add"}
    wrong = await api.call("POST", path, body={**ack, "subject": "ad", "reason": "on it"})
    assert (wrong.status, wrong.body["nearest"]) == (404, "run.failed add")
    for outcome in ("done", "already"):
        said = await api.call("POST", path, key="operator", body={**ack, "reason": "on it"})
        assert said.body == {"outcome": outcome}
    [kept] = (await api.call("GET", "/api/v1/incidents")).body["items"]
    assert kept["acknowledged_by"].startswith("key operator")
    assert (kept["acknowledged_note"], kept["owner"]) == ("on it", "shop")
    lines = (await api.call("GET", "/api/v1/audit")).body["items"]
    assert [row["action"] for row in lines[:2]] == ["incidents.acknowledge"] * 2


async def test_how_channels_stand_is_told_to_who_may_look(api: Caller) -> None:
    store, boot = api.app.store, api.app.clock.new_id()
    out = await store.outlook(boot, "mail")
    assert out is not None
    state = out.state.next(failing_since=out.now, why="no route")
    await store.draw_up(boot, Drawn(channel="mail", state=state))
    await store.outlook(boot, "chat")
    for key, status in ((None, 401), ("viewer", 200)):
        said = await api.call("GET", "/readyz?verbose", key=key)
        assert said.status == status
    lines = said.body.splitlines()
    assert lines[:2] == ["ok", "channel chat: ok"]
    assert lines[2].startswith("channel mail: failing since 20")
    assert lines[2].endswith(": no route; 0 notices and 0 incidents wait")
    for path in ("/readyz", "/readyz?other=1"):
        plain = await api.call("GET", path, key=None)
        assert (plain.status, plain.body) == (200, "ok\n")


@pytest.mark.parametrize("prefix", ["", "/duly"])
async def test_it_is_served_alone_and_mounted_in_an_application_of_ones_own(prefix: str) -> None:
    from fastapi import FastAPI

    app, host = make_shop(), FastAPI()
    if prefix:
        host.mount(prefix, app.asgi())

        @host.get("/livez")
        def livez() -> str:
            return "the host's own"

    async with served(app, host if prefix else None) as caller:
        assert (await caller.call("GET", f"{prefix}/livez", key=None)).status == 200
        assert (await caller.call("GET", f"{prefix}/readyz", key=None)).status == 200
        await with_roles(caller)
        path = f"{prefix}/api/v1/tasks/add/runs"
        assert (await caller.call("POST", path, key=None, body={})).status == 401
        said = await caller.call("POST", path, body={"args": {"a": 1}})
        assert said.headers["Location"].startswith(f"{prefix}/api/v1/runs/")
        assert (await caller.call("GET", said.headers["Location"])).status == 200
    await app.close()


async def test_events_go_on_where_a_reader_left_off(api: Caller) -> None:
    await add(api, "one")
    first = await api.call("GET", "/api/v1/events?of=process&follow=false")
    last = [line for line in first.body.splitlines() if line.startswith("id: ")][-1][4:]
    assert "event: run.enqueued" in first.body
    await add(api, "two")
    more = await events(api, last)
    assert more.count("event: run.enqueued") == 1 and "event: gap" not in more
    stream, _, number = last.rpartition("/")
    for stale in (f"{stream}/{int(number) + 1000}", f"other/{number}", "nonsense"):
        assert "event: gap" in await events(api, stale), stale


async def events(api: Caller, last: str) -> str:
    headers = {"Last-Event-ID": last}
    said = await api.call("GET", "/api/v1/events?of=process&follow=false", headers=headers)
    return str(said.body)


async def test_a_reader_hears_what_happens_as_it_happens(api: Caller) -> None:
    headers = {"Authorization": f"Bearer {api.keys['viewer']}"}
    url = f"{api.url}/api/v1/events?of=process&kinds=run.enqueued"
    async with (
        asyncio.timeout(20),
        aiohttp.ClientSession() as session,
        session.get(url, headers=headers) as stream,
    ):
        assert stream.headers["Content-Type"].startswith("text/event-stream")
        assert await stream.content.readline() == b": here\n"
        said = await add(api, "now")
        heard = b""
        while b"data: " not in heard:
            heard = await stream.content.readline()
        assert said.body["id"] in heard.decode()


def test_a_ring_tells_of_what_fell_out_of_it() -> None:
    from uuid import UUID

    from duly import events as kinds
    from duly.server.api.stream import Ring

    ring = Ring(UUID(int=7), kept=3)
    for number in range(5):
        ring.heard(kinds.StoreAway(reason=str(number)))
    gone, found = ring.since(0)
    assert gone and [number for number, _ in found] == [3, 4, 5]
    assert ring.since(2) == (False, found)
    assert ring.since(5) == (False, [])


async def test_what_a_run_logged_is_shown_by_attempt(api: Caller) -> None:
    run = UUID((await add(api)).body["id"])
    line = LogLine(
        at=datetime(2026, 3, 1, tzinfo=UTC), level="error", logger="shop", text="no\x1b[1m"
    )
    for epoch in (1, 2):
        lines = fitting([line], 1000)
        await api.app.store.log([AttemptLog(run=run, epoch=epoch, told=3, lines=lines)])
    shown = await api.call("GET", f"/api/v1/runs/{run}/logs?attempt=2", key="viewer")
    [attempt] = shown.body["attempts"]
    assert (attempt["attempt"], attempt["told"]) == (2, 3)
    assert attempt["unkept"] == "2 earlier lines are not kept"
    assert attempt["lines"] == [
        {"at": "2026-03-01T00:00:00Z", "level": "error", "logger": "shop", "text": "no\x1b[1m"}
    ]
    every = await api.call("GET", f"/api/v1/runs/{run}/logs", key="viewer")
    assert [one["attempt"] for one in every.body["attempts"]] == [1, 2]
    for path, status in ((f"/{UUID(int=7)}/logs", 404), (f"/{run}/logs?attempt=0", 422)):
        assert (await api.call("GET", f"/api/v1/runs{path}")).status == status


async def test_the_first_decision_for_a_run_stays_and_is_in_the_audit(api: Caller) -> None:
    run = (await add(api)).body["id"]
    path, told = f"/api/v1/runs/{run}/approve", {"name": "go", "approved": True, "reason": "fine"}
    first = await api.call("POST", path, key="operator", body=told)
    second = await api.call("POST", path, body=told | {"approved": False})
    assert (first.body, second.body) == ({"outcome": "done"}, {"outcome": "already"})
    [event] = await api.app.store.happened([approval(UUID(run), "go")])
    decided = msgspec.json.decode(event.body)
    assert (decided["approved"], decided["reason"]) == (True, "fine")
    audit = (await api.call("GET", "/api/v1/audit")).body["items"]
    lines = [(one["action"], one["outcome"]) for one in audit if one["subject"] == run]
    assert lines == [("runs.approve", "already"), ("runs.approve", "done")]
    await api.call("POST", f"/api/v1/runs/{run}/cancel", body={"reason": "so"})
    late = await api.call("POST", path, body=told)
    assert (late.status, "nothing is to be decided" in late.body["detail"]) == (409, True)
    assert (await api.call("POST", path, body={"name": "go"})).status == 422


async def test_the_house_asks_for_a_run_of_a_tenants(api: Caller) -> None:
    await api.add_key("acme", "operator", tenant="acme")
    path, body = "/api/v1/tasks/add/runs", {"args": {"a": 1}}
    for key, tenant, status in (
        ("operator", "acme", 202),
        ("acme", "acme", 202),
        ("acme", "b", 422),
    ):
        said = await api.call("POST", path, key=key, body=body | {"tenant": tenant})
        assert said.status == status, (key, tenant, said.body)
    seen = await api.call("GET", "/api/v1/runs", key="acme")
    assert {one["tenant"] for one in seen.body["items"]} == {"acme"}
    assert len(seen.body["items"]) == 2
