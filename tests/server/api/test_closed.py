"""The API is closed by default: a key opens it, and only as far as its role and scopes say."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from duly.core.access import RIGHTS, Right, Role
from tests.server.api.shop import Caller, make_shop, served, with_roles

EVERYONE = set(Role)
OPERATORS = {Role.OPERATOR, Role.EDITOR, Role.ADMIN}
EDITORS = {Role.EDITOR, Role.ADMIN}
ADMINS = {Role.ADMIN}
AUDITORS = {Role.AUDITOR, Role.ADMIN}

OPEN = {("GET", "/livez"), ("GET", "/readyz")}
WHO_MAY = {
    ("GET", "/metrics"): EVERYONE,
    ("GET", "/openapi.json"): EVERYONE,
    ("GET", "/api/v1/tasks"): EVERYONE,
    ("GET", "/api/v1/tasks/{task}"): EVERYONE,
    ("POST", "/api/v1/tasks/{task}/runs"): OPERATORS,
    ("GET", "/api/v1/runs"): EVERYONE,
    ("GET", "/api/v1/runs/{run}"): EVERYONE,
    ("GET", "/api/v1/runs/{run}/why"): EVERYONE,
    ("GET", "/api/v1/runs/{run}/logs"): EVERYONE,
    ("POST", "/api/v1/runs/bulk"): OPERATORS,
    ("POST", "/api/v1/runs/{run}/cancel"): OPERATORS,
    ("POST", "/api/v1/runs/{run}/retry"): OPERATORS,
    ("POST", "/api/v1/runs/{run}/fork"): OPERATORS,
    ("POST", "/api/v1/runs/{run}/approve"): OPERATORS,
    ("GET", "/api/v1/schedules"): EVERYONE,
    ("POST", "/api/v1/schedules"): EDITORS,
    ("GET", "/api/v1/schedules/{schedule}"): EVERYONE,
    ("PUT", "/api/v1/schedules/{schedule}"): EDITORS,
    ("DELETE", "/api/v1/schedules/{schedule}"): EDITORS,
    ("POST", "/api/v1/schedules/{schedule}/pause"): OPERATORS,
    ("POST", "/api/v1/schedules/{schedule}/resume"): OPERATORS,
    ("POST", "/api/v1/schedules/{schedule}/revive"): EDITORS,
    ("POST", "/api/v1/schedules/{schedule}/give-back"): EDITORS,
    ("POST", "/api/v1/schedules/{schedule}/trigger"): OPERATORS,
    ("POST", "/api/v1/schedules/{schedule}/backfill"): OPERATORS,
    ("GET", "/api/v1/schedules/{schedule}/next"): EVERYONE,
    ("GET", "/api/v1/schedules/{schedule}/verdicts"): EVERYONE,
    ("GET", "/api/v1/schedules/{schedule}/why"): EVERYONE,
    ("GET", "/api/v1/schedules/{schedule}/occurrences/{at}/why"): EVERYONE,
    ("GET", "/api/v1/effects"): EVERYONE,
    ("GET", "/api/v1/effects/{task}/{name}/{key}"): EVERYONE,
    ("GET", "/api/v1/effects/{task}/{name}/{key}/why"): EVERYONE,
    ("POST", "/api/v1/effects/{task}/{name}/{key}/resolve"): OPERATORS,
    ("GET", "/api/v1/incidents"): EVERYONE,
    ("POST", "/api/v1/incidents/close"): OPERATORS,
    ("POST", "/api/v1/incidents/acknowledge"): OPERATORS,
    ("GET", "/api/v1/breakers"): EVERYONE,
    ("GET", "/api/v1/breakers/{breaker}"): EVERYONE,
    ("POST", "/api/v1/breakers/{breaker}/force-open"): OPERATORS,
    ("POST", "/api/v1/breakers/{breaker}/force-close"): OPERATORS,
    ("POST", "/api/v1/breakers/{breaker}/resume"): OPERATORS,
    ("POST", "/api/v1/breakers/{breaker}/probe"): OPERATORS,
    ("GET", "/api/v1/timers"): EVERYONE,
    ("GET", "/api/v1/timers/{timer}"): EVERYONE,
    ("PUT", "/api/v1/timers/{timer}"): EDITORS,
    ("DELETE", "/api/v1/timers/{timer}"): EDITORS,
    ("POST", "/api/v1/timers/{timer}/test"): OPERATORS,
    ("POST", "/api/v1/timers/apply"): EDITORS,
    ("GET", "/api/v1/instances"): EVERYONE,
    ("GET", "/api/v1/instances/{boot}"): EVERYONE,
    ("GET", "/api/v1/queues"): EVERYONE,
    ("GET", "/api/v1/why"): EVERYONE,
    ("GET", "/api/v1/breakers/{breaker}/why"): EVERYONE,
    ("GET", "/api/v1/incidents/{kind}/{subject}/why"): EVERYONE,
    ("GET", "/api/v1/instances/{boot}/why"): EVERYONE,
    ("GET", "/api/v1/queues/{queue}/why"): EVERYONE,
    ("GET", "/api/v1/timers/{timer}/why"): EVERYONE,
    ("GET", "/api/v1/events"): EVERYONE,
    ("GET", "/api/v1/keys"): ADMINS,
    ("POST", "/api/v1/keys"): ADMINS,
    ("POST", "/api/v1/keys/{key}/revoke"): ADMINS,
    ("GET", "/api/v1/audit"): AUDITORS,
}

TOKENED = {("POST", "/api/v1/calls/{run}/complete"), ("POST", "/api/v1/calls/{run}/beat")}
"""Routes for whoever was called: the token of the call opens them, and no key does."""

RUN = "01900000-0000-7000-8000-000000000000"
FILLED = {
    "{task}": "add",
    "{run}": RUN,
    "{schedule}": "mail_orders",
    "{key}": RUN,
    "{name}": "n",
    "{breaker}": "schedule:mail_orders",
    "{timer}": "pulse",
    "{boot}": RUN,
    "{kind}": "k",
    "{subject}": "s",
    "{queue}": "default",
}


def path_of(template: str) -> str:
    """A path of a route, with things that mostly are not there."""
    path = template.replace("{at}", "2026-03-01")
    for part, value in FILLED.items():
        path = path.replace(part, value)
    return path + ("?follow=false" if path.endswith("/events") else "")


async def routes(api: Caller) -> dict[tuple[str, str], dict[str, Any]]:
    """Every route that the document tells of."""
    said = await api.call("GET", "/openapi.json")
    return {
        (method.upper(), path): told
        for path, methods in said.body["paths"].items()
        for method, told in methods.items()
    }


async def test_every_route_is_in_the_matrix(api: Caller) -> None:
    found = await routes(api)
    assert set(found) == set(WHO_MAY) | OPEN | TOKENED
    for route, who in WHO_MAY.items():
        right = Right(found[route]["x-duly-right"])
        assert {role for role, rights in RIGHTS.items() if right in rights} == who, route


async def test_the_document_tells_of_every_route_that_is_served(api: Caller) -> None:
    from duly.app.serving import make_ground
    from duly.server.api.build import make_routes

    told = {path for _, path in await routes(api)}
    assert set(make_routes(make_ground(api.app)).openapi()["paths"]) == told


@pytest.mark.parametrize("role", list(Role))
async def test_a_role_may_what_the_matrix_says_and_nothing_else(api: Caller, role: Role) -> None:
    for (method, template), who in WHO_MAY.items():
        key = await fresh(api, role)
        body = None if method == "GET" else {}
        said = await api.call(method, path_of(template), key=key, body=body)
        if role in who:
            assert said.status not in (401, 403, 405, 500), (method, template, said)
        else:
            assert said.status == 403, (method, template, said)
            assert said.body["type"] == "urn:duly:problem:forbidden"


async def fresh(api: Caller, role: Role) -> str:
    """A key of its own, so that a matrix of refusals does not run into their limit."""
    key = await api.add_key(f"{role.value}-{len(api.keys)}", role.value)
    return key.name


async def test_without_a_key_everything_but_health_is_closed(api: Caller) -> None:
    beside = [*TOKENED, ("GET", "/"), ("GET", "/docs"), ("POST", "/api/v2/x")]
    for method, template in [*WHO_MAY, *beside]:
        body = None if method == "GET" else {}
        said = await api.call(method, path_of(template), key=None, body=body)
        assert (said.status, said.body["status"]) == (401, 401), (method, template)
        challenge = "Duly" if (method, template) in TOKENED else "Bearer"
        assert said.headers["WWW-Authenticate"].startswith(challenge)
    for method, path in OPEN:
        assert (await api.call(method, path, key=None)).status == 200


async def test_a_start_without_configuration_is_closed() -> None:
    async with served(make_shop()) as caller:
        for method, template in WHO_MAY:
            body = None if method == "GET" else {}
            for headers in ({}, {"Authorization": "Bearer x"}, {"Authorization": "Basic eDp4"}):
                said = await caller.call(
                    method, path_of(template), key=None, body=body, headers=headers
                )
                assert said.status in (401, 429), (method, template, headers)


async def test_keys_that_open_nothing_all_look_the_same(api: Caller) -> None:
    good = api.keys["viewer"]
    expired = await api.add_key("old", "admin", expires_at=api.app.clock.now())
    revoked = await api.add_key("lost", "admin")
    await api.app.store.revoke_key(revoked.id, by="ann", reason="lost")
    swapped = good[:-1] + ("a" if good[-1] != "a" else "b")
    bodies = []
    for text in (api.keys[expired.name], api.keys[revoked.name], swapped, "duly_x", "é" * 40):
        said = await api.call("GET", "/api/v1/runs", key=text)
        assert said.status == 401, text
        bodies.append(msgspec.json.encode(said.body))
    assert len(set(bodies)) == 1
    later = api.app.clock.now() + timedelta(hours=1)
    await api.add_key("new", "viewer", expires_at=later)
    assert (await api.call("GET", "/api/v1/runs", key="new")).status == 200


async def test_scopes_narrow_a_key_to_rooms_and_to_one_thing(api: Caller) -> None:
    await api.add_key("one", "operator", scopes=("tasks:add",))
    await api.add_key("looks", "viewer", scopes=("runs", "schedules"))
    cases = [
        ("one", "POST", "/api/v1/tasks/add/runs", {"args": {"a": 1}}, 202),
        ("one", "POST", "/api/v1/tasks/mail_orders/runs", {}, 403),
        ("one", "GET", "/api/v1/tasks", None, 403),
        ("one", "GET", "/api/v1/runs", None, 403),
        ("looks", "GET", "/api/v1/runs", None, 200),
        ("looks", "GET", "/api/v1/schedules/mail_orders", None, 200),
        ("looks", "POST", "/api/v1/schedules/mail_orders/pause", {"reason": "so"}, 403),
        ("looks", "GET", "/api/v1/effects", None, 403),
        ("looks", "GET", "/metrics", None, 403),
    ]
    for key, method, path, body, status in cases:
        assert (await api.call(method, path, key=key, body=body)).status == status, (key, path)


async def test_failures_are_limited_and_a_good_key_is_not(api: Caller) -> None:
    assert (await api.call("GET", "/api/v1/runs", key="viewer")).status == 200
    bad = [(await api.call("GET", "/api/v1/runs", key="duly_x")).status for _ in range(30)]
    assert bad[:20] == [401] * 20 and 429 in bad
    said = await api.call("GET", "/api/v1/runs", key="duly_x")
    assert int(said.headers["Retry-After"]) >= 1
    assert (await api.call("GET", "/api/v1/runs", key="viewer")).status == 200
    unseen = await api.call("GET", "/api/v1/runs", key="editor")
    assert unseen.status == 429, "who has failed so often is asked to wait before a new key"


async def test_a_key_that_is_refused_again_and_again_waits(api: Caller) -> None:
    statuses = [(await api.call("GET", "/api/v1/keys", key="viewer")).status for _ in range(75)]
    assert statuses[:60] == [403] * 60 and 429 in statuses
    assert (await api.call("GET", "/api/v1/runs", key="viewer")).status == 200


async def test_keys_and_audit_are_of_one_tenant(api: Caller) -> None:
    theirs = await api.add_key("theirs", "admin", tenant="other")
    listed = await api.call("GET", "/api/v1/keys?limit=500", key="theirs")
    assert {one["tenant"] for one in listed.body["items"]} == {"other"}
    assert (await api.call("GET", "/api/v1/audit", key="theirs")).body["items"] == []
    asked = {"name": "n", "role": "viewer", "tenant": "default"}
    assert (await api.call("POST", "/api/v1/keys", key="theirs", body=asked)).status == 403
    revoked = await api.call(
        "POST", f"/api/v1/keys/{theirs.id}/revoke", key="admin", body={"reason": "not ours"}
    )
    assert revoked.status == 404


async def test_the_configured_token_opens_everything() -> None:
    token = "t" * 24
    async with served(make_shop(settings={"server_token": token})) as caller:
        await with_roles(caller)
        assert (await caller.call("GET", "/api/v1/keys", key=token)).status == 200
        assert (await caller.call("GET", "/api/v1/keys", key=token + "t")).status == 401
