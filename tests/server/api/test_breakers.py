"""Breakers over the API: held, resumed and probed by people who say why; one instance is shown."""

from __future__ import annotations

from typing import Any

from duly.core.fleet import Instance
from tests.server.api.shop import Caller

BREAKERS = "/api/v1/breakers"


async def test_a_breaker_is_moved_with_who_and_why_and_keeps_both(api: Caller) -> None:
    steps: list[tuple[str, dict[str, Any], int, str]] = [
        ("probe", {"reason": "so"}, 404, ""),
        ("force-open", {}, 422, ""),
        ("force-open", {"reason": "the mail server moves"}, 200, "done"),
        ("force-open", {"reason": "again"}, 200, "already"),
        ("resume", {"reason": "it moved"}, 200, "done"),
        ("probe", {"reason": "look"}, 409, ""),
        ("force-close", {"reason": "let it pass"}, 200, "done"),
    ]
    for verb, body, status, outcome in steps:
        said = await api.call("POST", f"{BREAKERS}/smtp/{verb}", key="operator", body=body)
        assert said.status == status, (verb, said.body)
        assert said.body.get("outcome", "") == outcome
    shown = (await api.call("GET", f"{BREAKERS}/smtp")).body
    assert (shown["state"], shown["forced"], shown["why"]) == ("closed", True, "let it pass")
    assert shown["by"].startswith("key operator (")
    moves = [one["verb"] for one in shown["changes"]]
    assert moves == ["force_close", "resume", "force_open"]
    lines = (await api.call("GET", "/api/v1/audit?subject=smtp", key="auditor")).body["items"]
    assert len([one for one in lines if one["outcome"] == "done"]) == 3
    assert lines[0]["before"]["state"] == "closed" and lines[0]["why"] == "let it pass"


async def test_breakers_are_listed_by_name_and_paged(api: Caller) -> None:
    for name in ("c", "a", "b"):
        await api.call("POST", f"{BREAKERS}/{name}/force-open", body={"reason": "so"})
    await api.call("POST", f"{BREAKERS}/b/force-close", body={"reason": "so"})
    page = (await api.call("GET", f"{BREAKERS}?limit=2")).body
    rest = (await api.call("GET", f"{BREAKERS}?cursor={page['next']}")).body
    assert [one["name"] for one in page["items"] + rest["items"]] == ["a", "b", "c"]
    broken = (await api.call("GET", f"{BREAKERS}?broken=true")).body["items"]
    assert [one["name"] for one in broken] == ["a", "c"]
    said = await api.call("GET", f"{BREAKERS}/no%20name")
    assert said.status == 422


async def test_one_instance_is_shown_by_its_boot(api: Caller) -> None:
    boot = api.app.clock.new_id()
    about: dict[str, Any] = dict.fromkeys(("host", "pid_space", "owner", "version"), "")
    await api.app.store.register(Instance(boot=boot, name="w", pid=7, **about), {})
    shown = await api.call("GET", f"/api/v1/instances/{boot}")
    assert (shown.body["name"], shown.body["standing"]) == ("w", "live")
    other = api.app.clock.new_id()
    assert (await api.call("GET", f"/api/v1/instances/{other}")).status == 404


async def test_the_breaker_of_a_schedule_is_there_with_it_and_not_without(api: Caller) -> None:
    file = '[timers.pulse]\nevery = "1h"\nurl = "https://example.com/"\n'
    body = {"file": file, "dry_run": False}
    assert (await api.call("POST", "/api/v1/timers/apply", body=body)).status == 200
    shown = await api.call("GET", f"{BREAKERS}/schedule:pulse")
    assert (shown.status, shown.body["state"], shown.body["changes"]) == (200, "closed", [])
    said = await api.call("POST", f"{BREAKERS}/schedule:puls/force-open", body={"reason": "so"})
    assert said.status == 404 and "did you mean 'pulse'" in str(said.body)
    assert (await api.call("GET", f"{BREAKERS}/schedule:puls")).status == 404
    assert (await api.call("GET", BREAKERS)).body["items"] == []
    said = await api.call("POST", f"{BREAKERS}/erp/force-open", body={"reason": "so"})
    assert said.status == 200 and "known here asks it" in said.body["note"]
    said = await api.call("POST", f"{BREAKERS}/schedule:pulse/force-open", body={"reason": "so"})
    assert (said.status, said.body) == (200, {"outcome": "done", "note": ""})
