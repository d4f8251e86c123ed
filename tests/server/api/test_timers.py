"""Timers over the API: saved whole or refused whole, for the one who saw what was there."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.server.api.shop import Caller

TIMERS = "/api/v1/timers"
PULSE: dict[str, Any] = {"every": "1h", "url": "https://example.com/", "reason": "so"}
FILE = """
owner = "reports"
base = "https://reports.example"

[timers.nightly]
cron = "0 1 * * *"
path = "/nightly/{due}"
method = "POST"

[timers.weekly]
cron = "0 2 * * 1"
path = "/weekly"
"""


async def save(api: Caller, body: dict[str, Any], etag: str | None = None, **how: Any) -> Any:
    headers = {} if etag is None else {"If-Match": etag}
    return await api.call("PUT", f"{TIMERS}/pulse", body=body, headers=headers, **how)


async def test_a_timer_is_made_changed_removed_and_brought_back(api: Caller) -> None:
    dry = await save(api, PULSE | {"dry_run": True})
    assert (dry.body["outcome"], dry.body["timer"]) == ("created", None)
    assert (await api.call("GET", f"{TIMERS}/pulse")).status == 404
    made = await save(api, PULSE, key="editor")
    assert (made.body["outcome"], made.body["timer"]["calls"]) == (
        "created",
        "GET https://example.com/",
    )
    seen = made.headers["ETag"]
    assert (await save(api, PULSE | {"every": "2h"})).status == 428
    both = [save(api, PULSE | {"every": f"{hours}h"}, seen) for hours in (2, 3)]
    answers = await asyncio.gather(*both)
    assert sorted(one.status for one in answers) == [200, 412]
    shown = await api.call("GET", f"{TIMERS}/pulse")
    gone = {"body": {"reason": "over"}, "headers": {"If-Match": seen}}
    assert (await api.call("DELETE", f"{TIMERS}/pulse", **gone)).status == 412
    gone["headers"] = {"If-Match": shown.headers["ETag"]}
    assert (await api.call("DELETE", f"{TIMERS}/pulse", **gone)).body == {"outcome": "done"}
    assert (await save(api, PULSE)).body["outcome"] == "revived"
    [listed] = (await api.call("GET", TIMERS)).body["items"]
    assert (listed["name"], listed["state"], listed["latest_answer"]) == ("pulse", "active", None)


async def test_every_fault_of_a_timer_is_told_at_once_and_nothing_is_changed(api: Caller) -> None:
    wrong = {"every": "soon", "url": "http://10.0.0.1/", "headers": {"Host": "x"}, "reason": "so"}
    said = await save(api, wrong)
    assert (said.status, said.body["type"]) == (422, "urn:duly:problem:invalid")
    assert [one["where"] for one in said.body["errors"]] == ["headers", "url", "every"]
    cases: list[dict[str, Any]] = [
        {"url": PULSE["url"]},
        PULSE | {"cron": "* * * * *"},
        PULSE | {"headers": {"Authorization": "Bearer plain"}},
        PULSE | {"text": "a", "json": {"a": 1}},
        PULSE | {"frequency": "1h"},
        {name: one for name, one in PULSE.items() if name != "reason"},
    ]
    for body in cases:
        assert (await save(api, body)).status == 422, body
    other = await api.call("PUT", f"{TIMERS}/mail_orders", body=PULSE)
    assert (other.status, other.body["type"]) == (409, "urn:duly:problem:refused")
    assert (await api.call("GET", TIMERS)).body["items"] == []


async def test_a_file_is_applied_whole_counted_exactly_and_again_changes_nothing(
    api: Caller,
) -> None:
    path = f"{TIMERS}/apply"
    dry = await api.call("POST", path, body={"file": FILE, "dry_run": True})
    assert dry.body["timers"] == {"nightly": "created", "weekly": "created"}
    assert (await api.call("GET", TIMERS)).body["items"] == []
    wet = await api.call("POST", path, body={"file": FILE, "dry_run": False})
    assert wet.body["counts"] == dry.body["counts"]
    again = await api.call("POST", path, body={"file": FILE, "dry_run": False})
    assert (again.body["counts"]["same"], again.body["counts"]["created"]) == (2, 0)
    less = FILE.partition("[timers.weekly]")[0]
    pruned = await api.call("POST", path, body={"file": less, "dry_run": False, "prune": True})
    assert pruned.body["removed"] == ["weekly"]
    broken = FILE.replace("cron", "corn")
    said = await api.call("POST", path, body={"file": broken, "dry_run": False})
    wheres = [one["where"] for one in said.body["errors"]]
    assert (said.status, wheres[:2]) == (422, ["line 5", "line 6"]), "no cron, and a corn"
    lines = (await api.call("GET", "/api/v1/audit", key="auditor")).body["items"]
    assert [one["action"] for one in lines] == ["timers.apply"] * 3


async def test_testing_a_timer_asks_for_a_run_of_its_own(api: Caller) -> None:
    await save(api, PULSE)
    runs = [
        (await api.call("POST", f"{TIMERS}/pulse/test", key="operator", body={})) for _ in range(2)
    ]
    assert {one.status for one in runs} == {202}
    assert runs[0].body["id"] != runs[1].body["id"]
    shown = await api.call("GET", runs[0].headers["Location"])
    assert (shown.body["task"], shown.body["schedule"]) == ("http", "pulse")
    assert (await api.call("POST", f"{TIMERS}/mail_orders/test", body={})).status == 404


async def test_an_edit_in_the_moment_of_a_retirement_is_not_retired(api: Caller) -> None:
    """The revision is compared under the row's lock, not before."""
    await save(api, PULSE)
    row = await api.app.client.timer("pulse")
    store, seen = api.app.store, row.revision
    move = store.move

    async def edited_first(*args: Any, **how: Any) -> Any:
        store.move = move
        etag = (await api.call("GET", f"{TIMERS}/pulse")).headers["ETag"]
        assert (await save(api, PULSE | {"every": "5h"}, etag)).status == 200
        return await move(*args, **how)

    for path in (f"{TIMERS}/pulse", "/api/v1/schedules/pulse"):
        etag = (await api.call("GET", path)).headers["ETag"]
        store.move = edited_first
        gone = {"body": {"reason": "over"}, "headers": {"If-Match": etag}}
        said = await api.call("DELETE", path, **gone)
        assert said.status == 412, path
        await save(api, PULSE, (await api.call("GET", path)).headers["ETag"])
    row = await api.app.client.timer("pulse")
    assert row.state.value == "active" and row.revision > seen
