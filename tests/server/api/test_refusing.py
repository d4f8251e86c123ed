"""What cannot be right is refused, most of it before it is parsed, and changes nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from duly import Duly
from duly.errors import StoreUnavailable
from duly.server.api import bounds
from duly.server.api.allowance import Allowance
from tests.server.api.shop import Caller, make_shop, served, with_roles
from tests.stores.world import instance

RUNS = "/api/v1/tasks/add/runs"


def nested(levels: int) -> bytes:
    """A body of `levels` levels."""
    deep = "[" * (levels - 2) + "]" * (levels - 2)
    return b'{"args":{"a":%s}}' % deep.encode()


BODIES: list[tuple[str, bytes | None, dict[str, str], int, str]] = [
    ("too large, as announced", b" " * (bounds.MAX_BODY + 1), {}, 413, "too-large"),
    ("nested too deep", b'{"args":{"a":' + b"[" * 31 + b"]" * 31 + b"}}", {}, 400, "too-deep"),
    ("a bomb of brackets", b"[" * 500_000, {}, 400, "too-deep"),
    ("not JSON", b"{", {}, 400, "unreadable"),
    ("no number of JSON", b'{"args":{"a":NaN}}', {}, 400, "unreadable"),
    ("not UTF-8", b'{"args":{"a":"\xff"}}', {}, 400, "unreadable"),
    ("a form", b"a=1", {"Content-Type": "application/x-www-form-urlencoded"}, 415, "not-json"),
    ("plain text", b"{}", {"Content-Type": "text/plain"}, 415, "not-json"),
    ("nothing", None, {}, 415, "not-json"),
    ("no object", b"[1]", {}, 422, "invalid"),
    ("an unknown field", b'{"arg":{"a":1}}', {}, 422, "invalid"),
    ("a lone surrogate", rb'{"args":{"a":1,"b":"\ud800"}}', {}, 400, "unreadable"),
    ("an argument of another type", b'{"args":{"a":"one"}}', {}, 422, "invalid"),
    ("a missing argument", b'{"args":{}}', {}, 422, "invalid"),
    ("an instant without an offset", b'{"args":{"a":1},"run_at":"2026-03-01T01:00:00"}', {}, 422,
     "invalid"),
    ("a number for an instant", b'{"args":{"a":1},"run_at":1}', {}, 422, "invalid"),
    ("a priority out of bounds", b'{"args":{"a":1},"priority":99999}', {}, 422, "invalid"),
    ("two times", b'{"args":{"a":1},"delay":"1m","run_at":"2027-01-01T00:00:00Z"}', {}, 422,
     "invalid"),
    ("a key of control characters", b'{"args":{"a":1}}', {"Idempotency-Key": "a\x85b"}, 422,
     "invalid"),
]  # fmt: skip


async def test_a_body_that_cannot_be_right_is_refused(api: Caller) -> None:
    for name, raw, headers, status, word in BODIES:
        said = await api.call("POST", RUNS, raw=raw, headers=headers)
        assert (said.status, said.body["type"]) == (status, f"urn:duly:problem:{word}"), name
        assert said.headers["Content-Type"] == "application/problem+json"
        assert set(said.body) >= {"title", "status", "detail"}
        assert len(json.dumps(said.body)) < 2_000, f"{name}: it quotes too much"
    assert (await api.call("GET", "/api/v1/runs")).body["items"] == []
    assert (await api.call("GET", "/api/v1/audit")).body["items"] == []


async def test_a_body_that_grows_unannounced_is_cut_off(api: Caller) -> None:
    async def chunks() -> Any:
        for _ in range(40):
            yield b" " * 65_536

    headers = {"Authorization": f"Bearer {api.keys['admin']}", "Content-Type": "application/json"}
    import aiohttp

    async with aiohttp.ClientSession() as session:
        try:
            async with session.post(api.url + RUNS, data=chunks(), headers=headers) as got:
                assert got.status == 413
        except aiohttp.ClientError as cut:
            assert "reset" in str(cut).lower() or "closing" in str(cut).lower()


TIMER, BULK = "/api/v1/timers/pulse", "/api/v1/runs/bulk"
PYDANTICS = {"Extra", "Field", "Input", "inputs", "permitted"}
"""Words of whoever checks shapes, which no caller is told."""


async def test_what_is_refused_says_what_was_expected_and_the_nearest(api: Caller) -> None:
    cases: list[tuple[str, str, Any, int, dict[str, str]]] = [
        ("GET", "/api/v1/schedules/mail_order", None, 404, {"nearest": "mail_orders"}),
        ("POST", "/api/v1/tasks/ad/runs", {}, 404, {"nearest": "add", "got": "'ad'"}),
        ("POST", RUNS, {"args": {"a": 1}, "queue": "no good"}, 422, {"got": "'no good'"}),
        ("POST", RUNS, {"args": {"a": 1}, "delay": "soon"}, 422, {"got": "'soon'"}),
        ("GET", "/api/v1/runs?stat=ready", None, 422, {"got": "'stat'", "nearest": "state"}),
        ("GET", "/api/v1/runs?state=fialed", None, 422, {"got": "'fialed'", "nearest": "failed"}),
        (
            "GET",
            "/api/v1/runs?limit=0",
            None,
            422,
            {"got": "'0'", "expected": "a number greater than or equal to 1"},
        ),
        (
            "POST",
            BULK,
            {"action": "cancel", "dry_run": 1, "reason": "x"},
            422,
            {"expected": "a valid boolean"},
        ),
        (
            "POST",
            BULK,
            {"action": "cancel", "dry_run": True, "reason": ""},
            422,
            {"expected": "at least 1 character"},
        ),
        ("PUT", TIMER, {"ownr": "x"}, 422, {"got": "'ownr'", "nearest": "owner"}),
        ("PUT", TIMER, {"docment": 1, "reason": "x"}, 422, {"got": "'docment'"}),
        (
            "POST",
            BULK,
            {"action": "fork", "dry_run": True, "reason": "x"},
            422,
            {"got": "'fork'", "expected": "one of cancel, retry"},
        ),
        (
            "POST",
            BULK,
            {"action": "cancle", "reason": "x", "dry_run": True},
            422,
            {"nearest": "cancel"},
        ),
        (
            "POST",
            BULK,
            {"action": "cancel", "dry_run": True},
            422,
            {"expected": "reason, which must be said", "got": "nothing"},
        ),
        (
            "POST",
            "/api/v1/keys",
            {"name": "x", "role": "viewr", "scops": []},
            422,
            {"nearest": "viewer"},
        ),
        ("GET", "/api/v1/nothing", None, 404, {}),
        ("PATCH", "/api/v1/runs", {}, 405, {}),
        ("PATCH", "/api/v1/runs", None, 405, {}),
        ("GET", "/api/v1/why?thing=nobody", None, 404, {}),
        ("GET", "/api/v1/runs/%00", None, 400, {}),
        ("GET", "/api/v1/tasks/%ff", None, 400, {}),
        ("GET", "/api/v1/audit?by=%01", None, 400, {}),
    ]
    for method, path, body, status, told in cases:
        said = await api.call(method, path, body=body)
        assert said.status == status, (path, said)
        assert not PYDANTICS & set(said.body.get("expected", "").split()), said.body
        assert {name: said.body[name] for name in told} == told, (path, said.body)
        assert said.body["status"] == status


async def test_a_server_without_the_code_says_so_where_others_have_it() -> None:
    async with served(Duly("memory://")) as api:
        await with_roles(api)
        await api.app.store.register(instance(api.app.clock.new_id(), ("mail_orders",)), {})
        schedule = {"name": "s", "task": "mail_orders", "every": "1h", "reason": "so"}
        for path, body in (("/tasks/mail_orders/runs", {}), ("/schedules", schedule)):
            said = await api.call("POST", f"/api/v1{path}", body=body)
            assert said.status == 409, said
            assert "1 live instance" in said.body["detail"]
            assert said.body["expected"].endswith("duly server shop.py")
        assert (await api.call("POST", "/api/v1/tasks/none/runs", body={})).status == 404


async def test_a_name_may_hold_a_slash(api: Caller) -> None:
    body = {"task": "add", "args": {"a": 1}, "every": "1h", "reason": "so"}
    made = await api.call("POST", "/api/v1/schedules", body={**body, "name": "a/b:c%"[:5]})
    assert made.status == 201, made.body
    shown = await api.call("GET", "/api/v1/schedules/a%2Fb%3Ac")
    assert (shown.status, shown.body["name"]) == (200, "a/b:c")
    paused = await api.call("POST", "/api/v1/schedules/a%2Fb:c/pause", body={"reason": "x"})
    assert paused.body == {"outcome": "done"}


async def test_a_store_that_is_away_is_told_and_nothing_is_lost(
    api: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: Any, **__: Any) -> Any:
        raise StoreUnavailable("the store shop does not answer")

    monkeypatch.setattr(api.app.store, "runs", away)
    said = await api.call("GET", "/api/v1/runs")
    assert (said.status, said.headers["Retry-After"]) == (503, "2")
    monkeypatch.setattr(api.app.store, "note_change", away)
    refused = await api.call("POST", RUNS, body={"args": {"a": 1}})
    assert refused.status == 503, "what cannot be audited is not tried"
    monkeypatch.setattr(api.app.store, "clock", away)
    assert (await api.call("GET", "/readyz", key=None)).status == 503
    assert (await api.call("GET", "/livez", key=None)).status == 200
    monkeypatch.undo()
    assert (await api.call("GET", "/api/v1/runs")).body["items"] == []


async def test_a_store_that_cannot_be_opened_closes_everything(tmp_path: Any) -> None:
    folder = tmp_path / "shop.db"
    folder.mkdir()  # a folder is no database
    async with served(make_shop(f"sqlite:///{folder}")) as caller:
        for path in ("/readyz", "/api/v1/runs"):
            said = await caller.call("GET", path, key=None)
            assert said.status == 503
            assert str(tmp_path) not in str(said.body), "who is not known is told nothing"


def test_depth_is_read_without_parsing() -> None:
    cases = {
        b"1": 0,
        b"[]": 1,
        b'{"a":[1,{"b":2}]}': 3,
        rb'{"a":"[[[\"[["}': 1,
        b'"unended [[[': 3,
        nested(5): 5,
    }
    assert {body: bounds.depth(body) for body in cases} == cases


def test_an_allowance_is_spent_and_comes_back() -> None:
    allowance = Allowance(at_once=3, per_minute=60, remembered=2)
    assert [allowance.failed("a", 0.0) for _ in range(5)] == [0, 0, 0, 2, 2]
    assert allowance.spent("a", 0.0) and not allowance.spent("b", 0.0)
    assert allowance.failed("a", 1.0) == 0
    for who in ("b", "c"):
        allowance.failed(who, 1.0)
    assert not allowance.spent("a", 1.0), "the least recently seen is forgotten first"
