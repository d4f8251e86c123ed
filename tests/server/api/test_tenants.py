"""Whoever calls with the key of a tenant sees that tenant's things, and of others not even a name.

Two tenants and the house have one thing of each kind. Every route of the document is called with
each key for each one's things; a route that is in no table here fails the test.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from duly.core.breakers import Breaker, Came, Report
from duly.core.calls import HttpCall, breaker_of
from duly.core.effects import Address, Author, Intend
from duly.core.fleet import Instance
from duly.stores.base import Store
from duly.stores.narrowed import Narrowed, narrowed
from tests.server.api.shop import Caller
from tests.server.api.test_closed import WHO_MAY
from tests.stores.world import DAY, MINUTE, note

API = "/api/v1"
DAILY: dict[str, Any] = {"task": "add", "args": {"a": 1}, "cron": "0 6 * * *", "reason": "so"}
PULSE: dict[str, Any] = {"every": "1h", "url": "https://example.com/", "reason": "so"}
WHY = {"reason": "so"}
WEEK = {"from": "2026-03-01T00:00:00Z", "to": "2026-03-02T00:00:00Z", "dry_run": True}
FILE = {"file": "", "dry_run": True}
BULK = {"action": "cancel", "task": "add", "dry_run": True, "reason": "so"}

FLEET = {"instances", "queues", "incidents", "why", "metrics"}
COMMON = {
    ("GET", "/openapi.json"),
    ("GET", f"{API}/tasks"),
    ("GET", f"{API}/tasks/{{task}}"),
    ("POST", f"{API}/tasks/{{task}}/runs"),
}
LISTS = {
    ("GET", f"{API}/{room}")
    for room in ("runs", "schedules", "timers", "effects", "breakers", "events", "keys", "audit")
} | {
    ("POST", f"{API}/runs/bulk"),
    ("POST", f"{API}/timers/apply"),
    ("POST", f"{API}/schedules"),
    ("POST", f"{API}/keys"),
}
OPEN_IF_UNKNOWN = {
    ("GET", f"{API}/effects/{{task}}/{{name}}/{{key}}/why"),
    ("GET", f"{API}/breakers/{{breaker}}/why"),
}
"""Unknown, an effect is open and a breaker closed; so is another's, in the same words."""

BODIES: dict[str, Any] = {
    "runs": {"args": {"a": 1}},
    "bulk": BULK,
    "apply": FILE,
    "resolve": WHY | {"performed": True},
    "fork": {"step": "first"},
    "approve": {"name": "go", "approved": True},
    "backfill": WEEK,
    "{schedule}": DAILY,
    "{timer}": PULSE,
    "keys": {"name": "n", "role": "viewer"},
    "schedules": DAILY,
}


class Things:
    """One thing of each kind of a tenant, and the key that made them."""

    def __init__(self, tenant: str) -> None:
        self.tenant, self.key = tenant, f"{tenant}-admin"
        self.parts = {
            "{task}": "add",
            "{schedule}": f"{tenant}_daily",
            "{timer}": f"{tenant}_pulse",
            "{breaker}": f"schedule:{tenant}_pulse",
            "{name}": "pay",
            "{at}": "2026-03-01T06:00Z",
            "{boot}": "01900000-0000-7000-8000-000000000000",
        }

    async def make(self, api: Caller) -> Things:
        """Make them, through the API as far as it makes such things."""
        made = await api.add_key(self.key, "admin", tenant=self.tenant)
        self.key_id = str(made.id)
        call = Calls(api, self.key)
        run = await call("POST", f"{API}/tasks/add/runs", {"args": {"a": 1}}, 202)
        self.parts["{run}"] = run["id"]
        daily, pulse = self.parts["{schedule}"], self.parts["{timer}"]
        await call("POST", f"{API}/schedules", {"name": daily, **DAILY}, 201)
        await call("PUT", f"{API}/timers/{pulse}", PULSE, 200)
        await call("POST", f"{API}/breakers/{self.parts['{breaker}']}/force-open", WHY, 200)
        self.parts["{key}"] = await self._effect(api)
        return self

    async def _effect(self, api: Caller) -> str:
        """Intend an effect in the newest run, as the attempt that performs it would."""
        store, new_id = api.app.store, api.app.clock.new_id
        boot, claim, now = new_id(), new_id(), await store.clock()
        about: dict[str, Any] = dict.fromkeys(("name", "host", "pid_space", "owner", "version"), "")
        await store.register(Instance(boot=boot, pid=1, tasks=("add",), **about), {}, now=now)
        took = await store.claim(boot, claim, queues=["default"], tasks=["add"], limit=9)
        [run] = [one for one in took.runs if str(one.id) == self.parts["{run}"]]
        intend = Intend(
            address=Address("add", "pay", self.tenant),
            author=Author(run.id, boot, run.epoch),
            intent=new_id(),
            deadline=MINUTE,
            keep=DAY,
        )
        await store.post([intend])
        await store.keep(boot, [note(run, "first")])
        return self.tenant

    def path(self, template: str) -> str:
        """The path of a route for these things."""
        if template.startswith(f"{API}/keys/"):
            return template.replace("{key}", self.key_id)
        for part, value in self.parts.items():
            template = template.replace(part, value)
        return template + ("?follow=false" if template.endswith("/events") else "")


class Calls:
    """Calls with one key, and holds the answer's status."""

    def __init__(self, api: Caller, key: str) -> None:
        self._api, self._key = api, key

    async def __call__(self, method: str, path: str, body: Any, status: int) -> Any:
        said = await self._api.call(method, path, key=self._key, body=body)
        assert said.status == status, (method, path, said.body)
        return said.body


@pytest.fixture
async def tenants(api: Caller) -> list[Things]:
    return [await Things(name).make(api) for name in ("acme", "beta", "default")]


async def ask(api: Caller, route: tuple[str, str], who: Things, whose: Things) -> Any:
    """Call a route for somebody's things, with somebody's key; a fresh one, not refused before."""
    method, template = route
    key = await api.add_key(f"k{len(api.keys)}", "admin", tenant=who.tenant)
    last = template.rpartition("/")[2]
    body = None if method == "GET" else BODIES.get(last, WHY)
    if last in ("{schedule}", "{timer}") and method == "DELETE":
        body = WHY
    if route == ("POST", f"{API}/schedules"):
        body = {"name": f"{who.tenant}_new", **DAILY}
    headers = {"If-Match": "*"} if method in ("PUT", "DELETE") else {}
    return await api.call(method, whose.path(template), key=key.name, body=body, headers=headers)


def kind_of(route: tuple[str, str]) -> str:
    """Which of the tables a route is in; every other one names a thing."""
    room = route[1].removeprefix(f"{API}/").split("/")[0].strip("/")
    if route in COMMON:
        return "common"
    if room in FLEET or route[1] == "/metrics":
        return "fleet"
    return "list" if route in LISTS else "thing"


async def test_every_route_shows_a_tenant_its_own_things_and_nobody_elses(
    api: Caller, tenants: list[Things]
) -> None:
    acme, beta, house = tenants
    told = {"acme", acme.key_id, acme.parts["{run}"]}
    for route in sorted(WHO_MAY):
        kind = kind_of(route)
        for whose in (acme, house) if kind == "thing" else (beta,):
            said = await ask(api, route, beta, whose)
            expected = {"thing": {404}, "fleet": {403}}.get(kind, {200, 201, 202})
            if route in OPEN_IF_UNKNOWN:
                expected = {200}
            assert said.status in expected, (route, whose.tenant, said.status, said.body)
        if kind == "list":
            text = msgspec.json.encode(said.body).decode()
            assert not [one for one in told if one in text], route


async def test_every_route_about_a_thing_is_open_to_its_tenant_and_to_the_house(
    api: Caller, tenants: list[Things]
) -> None:
    acme, _, house = tenants
    things = [route for route in sorted(WHO_MAY) if kind_of(route) == "thing"]
    assert len(things) > 30
    for who in (acme, house):
        for route in things:
            if route[1].startswith(f"{API}/keys/") and who is house:
                continue  # keys are of one tenant, and the house's are no exception
            said = await ask(api, route, who, acme)
            assert said.status < 300 or said.status == 409, (route, who.tenant, said.body)


async def test_what_is_not_there_and_what_is_anothers_look_the_same(
    api: Caller, tenants: list[Things]
) -> None:
    acme, beta, _ = tenants
    for route in sorted(WHO_MAY):
        if kind_of(route) != "thing" or route[0] != "GET":
            continue
        nobody = Things("acmf")  # as like to what acme has as can be
        nobody.parts |= {"{run}": acme.parts["{run}"][:-1] + "0", "{key}": "acmf"}
        theirs, none = [await ask(api, route, beta, whose) for whose in (acme, nobody)]
        bodies = [
            msgspec.json.encode(said.body).decode().replace(mark, "X").replace(run, "R")
            for said, mark, run in (
                (theirs, "acme", acme.parts["{run}"]),
                (none, "acmf", nobody.parts["{run}"]),
            )
        ]
        status = 200 if route in OPEN_IF_UNKNOWN else 404
        assert (theirs.status, none.status, bodies[0]) == (status, status, bodies[1]), route


async def test_a_key_of_a_run_is_scoped_by_the_tenant(api: Caller, tenants: list[Things]) -> None:
    made = {}
    for who in tenants:
        for _ in range(2):
            said = await api.call(
                "POST", f"{API}/tasks/add/runs", key=who.key, body={"args": {"a": 1}},
                headers={"Idempotency-Key": "2026-11-22"},
            )  # fmt: skip
        made[who.tenant] = said.body
        shown = await api.call("GET", f"{API}/runs/{said.body['id']}", key=who.key)
        own = "" if who.tenant == "default" else who.tenant
        assert (shown.body["key"], shown.body["tenant"]) == ("2026-11-22", own)
    assert {one["reuse"] for one in made.values()} == {"joined"}
    assert len({one["id"] for one in made.values()}) == 3


async def test_a_name_that_another_has_is_taken_and_stays_as_it_was(
    api: Caller, tenants: list[Things]
) -> None:
    acme, beta, _ = tenants
    before = [await api.call("GET", acme.path(f"{API}/schedules/{part}")) for part in
              ("{schedule}", "{timer}")]  # fmt: skip
    named = {"name": acme.parts["{schedule}"], **DAILY, "cron": "1 1 * * *"}
    path = acme.path(f"{API}/timers/{{timer}}")
    pulse = {**PULSE, "every": "2h"}
    file = f'[timers.{acme.parts["{timer}"]}]\nevery = "2h"\nurl = "https://example.com/"\n'
    for method, where, body in [
        ("POST", f"{API}/schedules", named),
        ("PUT", path, pulse),
        ("POST", f"{API}/timers/apply", {"file": file, "dry_run": False}),
    ]:
        said = await api.call(method, where, key=beta.key, body=body)
        assert said.status in (404, 409), (where, said.body)
        assert "acme" not in str(said.body).replace(*_own_words(acme))
    after = [await api.call("GET", acme.path(f"{API}/schedules/{part}")) for part in
             ("{schedule}", "{timer}")]  # fmt: skip
    assert [one.body for one in after] == [one.body for one in before]


def _own_words(acme: Things) -> tuple[str, str]:
    """The name that the caller itself said is all that an answer may repeat."""
    return "acme_", "_"


async def test_pruning_a_file_takes_nothing_of_another_tenant(
    api: Caller, tenants: list[Things]
) -> None:
    acme, beta, _ = tenants
    body = {"file": 'owner = "timers"\n', "dry_run": False, "prune": True}
    said = await api.call("POST", f"{API}/timers/apply", key=beta.key, body=body)
    assert said.body["removed"] == [beta.parts["{timer}"]]
    shown = await api.call("GET", acme.path(f"{API}/timers/{{timer}}"))
    assert shown.body["state"] == "active"


async def test_a_tenants_timers_share_no_breaker_with_the_house(
    api: Caller, tenants: list[Things]
) -> None:
    beta = tenants[1]
    file = '[timers.ours]\nevery = "1h"\nurl = "https://shop.example/"\nbreaker = "erp"\n'
    body = {"file": file, "dry_run": False}
    assert (await api.call("POST", f"{API}/timers/apply", key=beta.key, body=body)).status == 200
    shown = await api.call("GET", f"{API}/timers/ours", key=beta.key)
    call = msgspec.convert(shown.body["call"], HttpCall, strict=False)
    theirs = f"tenant:{beta.tenant}/erp"
    assert breaker_of(call, Breaker(fixed=True)).name == theirs
    wrong = Report(breaker=theirs, came=Came.BROKEN, fault="timed_out", who="the call")
    wrong = msgspec.structs.replace(wrong, endpoint="GET https://shop.example/", ran_by="h:1")
    store, new_id = api.app.store, api.app.clock.new_id
    await store.breaker_tell(new_id(), new_id(), [wrong])
    shown = await api.call("GET", f"{API}/timers/ours", key=beta.key)
    health = shown.body["health"]
    assert (health["breaker"], health["failure_count"], health["fault"]) == (theirs, 1, "timed out")
    listed = await api.call("GET", f"{API}/breakers", key=beta.key)
    assert theirs in {one["name"] for one in listed.body["items"]}
    path = f"{API}/breakers/{theirs.replace('/', '%2F')}"
    row = (await api.call("GET", path, key=beta.key)).body
    assert (row["who"], row["endpoint"]) == ("the call", "GET https://shop.example/")
    assert row["ran_by"] == "", "which instance of the house it was is not a tenant's to know"
    assert (await api.call("GET", path)).body["ran_by"] == "h:1"
    other = await api.call("GET", f"{API}/breakers", key=tenants[0].key)
    assert theirs not in {one["name"] for one in other.body["items"]}
    assert (await api.call("GET", path, key=tenants[0].key)).status == 404


# Who asks for a schedule, for whom, with which role; the status, and whose it then is.
MAKERS: list[tuple[str, str | None, str, int, str]] = [
    ("default", None, "editor", 201, ""),
    ("default", "default", "editor", 201, ""),
    ("default", "acme", "editor", 201, "acme"),
    ("default", "acme", "admin", 201, "acme"),
    ("default", "acme", "operator", 403, ""),
    ("default", "acme", "viewer", 403, ""),
    ("default", "acme", "auditor", 403, ""),
    ("default", "No Name", "editor", 422, ""),
    ("acme", None, "editor", 201, "acme"),
    ("acme", "acme", "editor", 201, "acme"),
    ("acme", "acme", "operator", 403, ""),
    ("acme", "beta", "editor", 422, ""),
    ("acme", "default", "admin", 422, ""),
]


@pytest.mark.parametrize(("who", "wanted", "role", "status", "whose"), MAKERS)
async def test_a_schedule_is_of_whom_the_house_makes_it_for_or_of_its_maker(
    api: Caller, who: str, wanted: str | None, role: str, status: int, whose: str
) -> None:
    for tenant in ("acme", "beta"):
        await api.add_key(f"of-{tenant}", "admin", tenant=tenant)
    key = (await api.add_key("maker", role, tenant=who)).name
    body = {"name": "theirs", **DAILY} | ({} if wanted is None else {"tenant": wanted})
    said = await api.call("POST", f"{API}/schedules", key=key, body=body)
    assert said.status == status, said.body
    path = f"{API}/schedules/theirs"
    if status != 201:
        assert (await api.call("GET", path)).status == 404
        return
    assert said.body["tenant"] == whose
    for tenant in ("acme", "beta"):
        seen = await api.call("GET", path, key=f"of-{tenant}")
        assert seen.status == (200 if tenant == whose else 404), tenant
    run = await api.call("POST", f"{path}/trigger", body={})
    shown = await api.call("GET", f"{API}/runs/{run.body['id']}")
    assert shown.body["tenant"] == whose
    changed = {"body": {**DAILY, "cron": "0 7 * * *"}, "headers": {"If-Match": "*"}}
    assert (await api.call("PUT", path, **changed)).body["tenant"] == whose
    given = {"body": changed["body"] | {"tenant": "beta"}, "headers": {"If-Match": "*"}}
    assert (await api.call("PUT", path, **given)).status == 422, "it stays whose it is"


async def test_lists_of_schedules_are_narrowed_by_tenant_state_and_owner(
    api: Caller, tenants: list[Things]
) -> None:
    beta = tenants[1]
    paused = await api.call("POST", f"{API}/schedules/beta_daily/pause", body=WHY)
    assert paused.status == 200
    cases = [
        ("schedules?tenant=acme", "admin", ["acme_daily", "acme_pulse"]),
        ("schedules?tenant=default", "admin", ["default_daily", "default_pulse", "mail_orders"]),
        ("schedules?tenant=acme", beta.key, ["beta_daily", "beta_pulse"]),
        ("schedules?state=paused", "admin", ["beta_daily"]),
        ("schedules?owner=shop", "admin", ["mail_orders"]),
        ("schedules?owner=people&tenant=acme", "admin", ["acme_daily"]),
        ("timers?tenant=acme", "admin", ["acme_pulse"]),
        ("timers?owner=timers&tenant=beta", "admin", ["beta_pulse"]),
        ("timers?state=paused", "admin", []),
        ("timers?tenant=acme", beta.key, ["beta_pulse"]),
    ]
    for path, key, names in cases:
        said = await api.call("GET", f"{API}/{path}", key=key)
        assert [one["name"] for one in said.body["items"]] == names, path


async def test_a_call_that_is_scheduled_as_a_task_is_its_tenants_too(api: Caller) -> None:
    api.app.carry_calls()
    key = (await api.add_key("theirs", "admin", tenant="acme")).name
    for maker, tenant in ((key, None), ("admin", "acme")):
        call = {"url": "https://shop.example/", "breaker": "erp", "tenant": "beta"}
        body = {"name": f"by-{maker}", **DAILY, "task": "http", "args": {"call": call}}
        body |= {} if tenant is None else {"tenant": tenant}
        said = await api.call("POST", f"{API}/schedules", key=maker, body=body)
        assert said.status == 201, said.body
        made = msgspec.convert(said.body["args"]["call"], HttpCall, strict=False)
        assert breaker_of(made, Breaker(fixed=True)).name == "tenant:acme/erp"


async def test_a_tenants_call_carries_no_secret_and_goes_by_a_timer(api: Caller) -> None:
    api.app.carry_calls()
    key = (await api.add_key("theirs", "admin", tenant="acme")).name
    secret = {"url": "https://evil.example/", "headers": {"Authorization": "Bearer secret:DB"}}
    run = {"args": {"call": {"url": "https://evil.example/"}}}
    raw = {"call": {"url": "https://evil.example/", "headers": {"X-A": "secret:DB"}}}
    cases = [
        ("PUT", f"{API}/timers/p", {"every": "1h", **secret, "reason": "so"}, 422),
        ("POST", f"{API}/timers/apply", {"file": _toml(), "dry_run": True}, 422),
        ("POST", f"{API}/tasks/http/runs", run, 409),
        ("POST", f"{API}/schedules", {"name": "r", **DAILY, "task": "http", "args": raw}, 422),
    ]
    for method, path, body, status in cases:
        said = await api.call(method, path, key=key, body=body)
        assert said.status == status, (path, said.body)
        house = await api.call(method, path, body=body)
        assert house.status < 300, (path, house.body)


def _toml() -> str:
    return '[timers.q]\nevery = "1h"\nurl = "https://evil.example/"\nsign = ["secret:HOOK"]\n'


async def test_a_tenant_can_send_no_verb_that_is_not_narrowed(api: Caller) -> None:
    store: Any = narrowed(api.app.store, "acme")
    verbs = {name for name in dir(Store) if not name.startswith("_")}
    open_to_tenants = {name for name in vars(Narrowed) if not name.startswith("_")} | set(
        "cancel unpark revive fork remembered logged move give_back verdicts backlogs"
        " breaker_lines breaker_move".split()
    )
    assert open_to_tenants <= verbs
    for name in sorted(verbs - open_to_tenants):
        with pytest.raises(Exception, match=f"{name} is for the house's own keys"):
            getattr(store, name)
