"""Every route that changes something leaves who, what, why, what was before and what came of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

from duly.core.effects import Address, Author, Doubt, Intend
from duly.core.fleet import Incident
from duly.core.runs import Claimed, Ending, NewRun
from duly.core.states import RunVerb
from duly.core.steps import APPROVAL, Await, Note, Step, StepKind, approval, of_event
from duly.core.timers import read_timer
from tests.server.api.shop import Caller
from tests.server.api.test_closed import WHO_MAY
from tests.stores.world import instance

WHY = {"reason": "the boss said so"}
CHANGING = [route for route in WHO_MAY if route[0] != "GET"]
PULSE: dict[str, Any] = {"every": "1h", "url": "https://example.com/"}
FILE = 'owner = "shop"\n[timers.beat]\nevery = "1h"\nurl = "https://example.com/"\n'
DAILY: dict[str, Any] = {"task": "add", "args": {"a": 1}, "cron": "0 6 * * *"}
MAIL = Address("add", "mail", "k")
DAY = timedelta(days=1)


class Scene:
    """One of everything that can be changed, in the store of the API."""

    def __init__(self, api: Caller) -> None:
        self.api, self.store, self.new_id = api, api.app.store, api.app.clock.new_id
        self.boot = self.new_id()

    async def held(self) -> Claimed:
        """A run in the hands of an instance."""
        await self.store.enqueue([NewRun(id=self.new_id(), task="add", args=b'{"a":1}')])
        how = {"queues": ["default"], "tasks": ["add"], "limit": 1}
        return (await self.store.claim(self.boot, self.new_id(), **how)).runs[0]

    async def ended(self, verb: RunVerb, **how: Any) -> UUID:
        """A run whose attempt ended so."""
        run = await self.held()
        await self.store.end(self.boot, [Ending(run=run.id, epoch=run.epoch, verb=verb, **how)])
        return run.id

    async def begin(self) -> None:
        """An instance, incidents, a timer, an effect that nobody is certain about."""
        await self.store.register(instance(self.boot, ("add",)), {})
        for subject in ("one", "two"):
            one = Incident(kind="x.y", subject=subject, severity="warning", summary="so")
            await self.store.open_incident(one)
        timer, faults = read_timer("pulse", PULSE)
        assert timer is not None, faults
        await self.api.app.client.save_timer(timer.definition, by="ann")
        run, intent = await self.held(), self.new_id()
        author = Author(run.id, self.boot, run.epoch)
        entry = Intend(address=MAIL, author=author, intent=intent, deadline=DAY, keep=DAY)
        await self.store.post([entry])
        await self.store.post([Doubt(address=MAIL, intent=intent, why="reset")])

    async def tag(self, path: str) -> dict[str, str]:
        """The header that a change of it needs."""
        return {"If-Match": (await self.api.call("GET", path)).headers["ETag"]}


Asked = tuple[str, dict[str, Any], dict[str, str]]
"""A path, a body and headers."""
Case = Callable[[Scene], Awaitable[Asked]]


def plain(route: str, **body: Any) -> Case:
    """A change that needs nothing but its path and a body."""

    async def case(scene: Scene) -> Asked:
        return route, {**WHY, **body}, {}

    return case


def tagged(route: str, **body: Any) -> Case:
    """A change of what was seen."""

    async def case(scene: Scene) -> Asked:
        return route, {**WHY, **body}, await scene.tag(f"/api/v1{route}")

    return case


async def retried(scene: Scene) -> Asked:
    return f"/runs/{await scene.ended(RunVerb.FAIL, error='E')}/retry", WHY, {}


async def cancelled(scene: Scene) -> Asked:
    return f"/runs/{await scene.ended(RunVerb.RETRY, delay_us=10**12)}/cancel", WHY, {}


async def approved(scene: Scene) -> Asked:
    run = await scene.held()
    awaits = (Await(of_event(approval(run.id, "go")), "go"),)
    how: dict[str, Any] = {"run": run.id, "epoch": run.epoch, "reason": APPROVAL}
    await scene.store.end(scene.boot, [Ending(verb=RunVerb.PARK, awaits=awaits, **how)])
    return f"/runs/{run.id}/approve", {**WHY, "name": "go", "approved": True}, {}


async def forked(scene: Scene) -> Asked:
    run = await scene.held()
    step = Step(name="export", number=1, kind=StepKind.RESULT, value=b"1")
    await scene.store.keep(scene.boot, [Note(run=run.id, epoch=run.epoch, steps=(step,))])
    how: dict[str, Any] = {"run": run.id, "epoch": run.epoch, "error": "E"}
    await scene.store.end(scene.boot, [Ending(verb=RunVerb.FAIL, **how)])
    return f"/runs/{run.id}/fork", {**WHY, "step": "export"}, {}


async def revoked(scene: Scene) -> Asked:
    return f"/keys/{(await scene.api.add_key('ci', 'viewer')).id}/revoke", WHY, {}


S, T, B = "/schedules/mail_orders", "/timers/pulse", "/breakers/schedule%3Amail_orders"
WEEK = {"from": "2026-03-01T00:00:00Z", "to": "2026-03-03T00:00:00Z", "dry_run": False}
CASES: dict[str, tuple[Case, str]] = {
    # what is sent, the action it is called by; in this order, each on what the one before left
    "POST /tasks/{task}/runs": (plain("/tasks/add/runs", args={"a": 1}), "tasks.run"),
    "POST /runs/bulk": (plain("/runs/bulk", action="cancel", task="add", dry_run=False),
                        "runs.cancel.many"),
    "POST /runs/{run}/cancel": (cancelled, "runs.cancel"),
    "POST /runs/{run}/retry": (retried, "runs.retry"),
    "POST /runs/{run}/fork": (forked, "runs.fork"),
    "POST /runs/{run}/approve": (approved, "runs.approve"),
    "POST /schedules": (plain("/schedules", name="mine", **DAILY), "schedules.make"),
    "PUT /schedules/{schedule}": (tagged(S, **DAILY), "schedules.edit"),
    "POST /schedules/{schedule}/give-back": (plain(f"{S}/give-back"), "schedules.give-back"),
    "POST /schedules/{schedule}/pause": (plain(f"{S}/pause"), "schedules.pause"),
    "POST /schedules/{schedule}/resume": (plain(f"{S}/resume"), "schedules.resume"),
    "POST /schedules/{schedule}/trigger": (plain(f"{S}/trigger"), "schedules.trigger"),
    "POST /schedules/{schedule}/backfill": (plain(f"{S}/backfill", **WEEK), "schedules.backfill"),
    "DELETE /schedules/{schedule}": (tagged(S), "schedules.retire"),
    "POST /schedules/{schedule}/revive": (plain(f"{S}/revive"), "schedules.revive"),
    "POST /effects/{task}/{name}/{key}/resolve": (
        plain("/effects/add/mail/k/resolve", performed=True), "effects.resolve"),
    "POST /incidents/close": (plain("/incidents/close", kind="x.y", subject="one"),
                              "incidents.close"),
    "POST /incidents/acknowledge": (plain("/incidents/acknowledge", kind="x.y", subject="two"),
                                    "incidents.acknowledge"),
    "POST /breakers/{breaker}/force-open": (plain(f"{B}/force-open"), "breakers.force_open"),
    "POST /breakers/{breaker}/force-close": (plain(f"{B}/force-close"), "breakers.force_close"),
    "POST /breakers/{breaker}/resume": (plain(f"{B}/resume"), "breakers.resume"),
    "POST /breakers/{breaker}/probe": (plain(f"{B}/probe"), "breakers.probe"),
    "PUT /timers/{timer}": (tagged(T, **(PULSE | {"every": "2h"})), "timers.save"),
    "POST /timers/{timer}/test": (plain(f"{T}/test"), "timers.test"),
    "POST /timers/apply": (plain("/timers/apply", file=FILE, prune=False, dry_run=False),
                           "timers.apply"),
    "DELETE /timers/{timer}": (tagged(T), "timers.remove"),
    "POST /keys": (plain("/keys", name="new", role="viewer"), "keys.make"),
    "POST /keys/{key}/revoke": (revoked, "keys.revoke"),
}  # fmt: skip
MAKE = {"tasks.run", "schedules.make", "timers.apply", "keys.make", "breakers.force_open"}
"""What these make was not there before: a new timer in the file, a breaker nothing was known of."""
REFUSED = {"breakers.probe"}
"""What is refused here leaves a line too: a closed breaker has nothing to probe."""


def test_every_changing_route_is_tried() -> None:
    assert set(CASES) == {f"{method} {path[7:]}" for method, path in CHANGING}


async def test_every_change_says_who_what_why_before_and_after(api: Caller) -> None:
    scene = Scene(api)
    await scene.begin()
    for route, (case, action) in CASES.items():
        path, body, headers = await case(scene)
        how: dict[str, Any] = {"body": body, "headers": headers}
        said = await api.call(route.partition(" ")[0], f"/api/v1{path}", key="admin", **how)
        refused = action in REFUSED
        assert (said.status >= 400) is refused, (route, said)
        [line, *_] = (await api.call("GET", "/api/v1/audit?limit=1", key="auditor")).body["items"]
        assert (line["action"], line["why"]) == (action, WHY["reason"]), route
        assert line["by"].startswith("key admin (") and line["subject"], route
        assert line["key"] is not None and line["at"] and line["settled_at"], route
        assert line["outcome"].startswith("refused: ") is refused, (route, line)
        if action not in MAKE:
            assert line["before"], route
        if not refused:
            assert line["after"], route
            assert line["after"] != line["before"], route
