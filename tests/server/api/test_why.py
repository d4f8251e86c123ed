"""The API says why of whatever it lists: the answer of Python, and only to who may look."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from duly.client import Options
from duly.core.fleet import Incident
from duly.core.runs import NewRun
from duly.core.states import BreakerVerb
from duly.core.timers import read_timer
from duly.stores.sqlite import SqliteStore
from tests.server.api.shop import Caller, make_shop, served, with_roles
from tests.stores.world import instance

THINGS = [
    ("/runs/{run}/why", "{run}"),
    ("/schedules/mail_orders/why", "mail_orders"),
    ("/schedules/mail_orders/occurrences/2031-03-01/why", "mail_orders@2031-03-01"),
    ("/timers/pulse/why", "timer:pulse"),
    ("/effects/add/mail/k/why", "add mail k"),
    ("/breakers/bank%2Feu/why", "breaker:bank/eu"),
    ("/instances/{boot}/why", "instance:{boot}"),
    ("/incidents/run.failed/add%2Fx/why", "incident:run.failed add/x"),
    ("/queues/default/why", "queue:default"),
    ("/why?thing=limit:smtp", "limit:smtp"),
    ("/why?thing=key:add+k-1", "key:add k-1"),
    ("/why?thing=host:1", "instance:host:1"),
]
SAID = ("subject", "cause", "headline", "causes", "also", "helps", "see")


async def named(api: Caller) -> dict[str, str]:
    """Put one of everything into the store; return ids by the names in `THINGS`."""
    app, new_id = api.app, api.app.clock.new_id
    timer, faults = read_timer("pulse", {"every": "1h", "url": "https://example.com/"})
    assert timer is not None, faults
    await app.client.save_timer(timer.definition, by="ann")
    boot = new_id()
    await app.store.register(instance(boot, ("add",)), {})
    task = app.tasks["add"]
    new = app.client.new_run(task, task.encode((), {"a": 1}), Options(key="k-1"))
    [run] = await app.client.enqueue([new])
    moved = {"by": "anna", "why": "they rang"}
    await app.client.move_breaker("bank/eu", BreakerVerb.FORCE_OPEN, **moved)
    await app.store.open_incident(
        Incident(kind="run.failed", subject="add/x", severity="critical", summary="add failed")
    )
    return {"run": str(run.id), "boot": str(boot)}


@pytest.mark.parametrize(("path", "thing"), THINGS, ids=lambda it: str(it).partition("?")[0])
async def test_the_answer_is_that_of_python(api: Caller, path: str, thing: str) -> None:
    names = await named(api)
    answer = await api.call("GET", "/api/v1" + path.format(**names), key="viewer")
    told = await api.app.why(thing.format(**names))
    assert answer.status == 200, answer.body
    assert answer.body["cause"] == told.cause.value
    assert set(answer.body) == {*SAID, "since"}
    assert (answer.body["since"] is None) == (told.since is None)
    assert answer.body["also"] == [one.value for one in told.also]


MISSING = ["/timers/none/why", "/instances/0190c9ab-0000-7000-8000-000000000000/why",
           "/incidents/run.failed/none/why", "/why?thing=incident:x%20y"]  # fmt: skip


@pytest.mark.parametrize("path", MISSING)
async def test_what_is_not_there_is_not_found(api: Caller, path: str) -> None:
    answer = await api.call("GET", "/api/v1" + path, key="viewer")
    assert (answer.status, answer.headers["Content-Type"]) == (404, "application/problem+json")
    assert (await api.call("GET", "/api/v1" + path, key=None)).status == 401


async def restored(path: Path) -> None:
    """Leave a database that is older than its witness says, as a restored backup is."""
    aside = path.with_suffix(".aside")
    for copied in (True, False):
        store = SqliteStore(path)
        await store.migrate()
        await store.open()
        await store.close()
        if copied:
            shutil.copy(path, aside)
    shutil.copy(aside, path)


async def test_a_restored_store_is_the_cause_until_it_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "duly.db"
    await restored(path)
    async with served(make_shop(f"sqlite:///{path}")) as api:
        await with_roles(api)
        await api.add_key("acme", "viewer", tenant="acme")
        new = [new_run(api), new_run(api, tenant="acme")]
        mine, theirs = [one.id for one in await api.app.client.enqueue(new)]
        asked = [
            ("/schedules/mail_orders/why", "viewer"),
            ("/queues/default/why", "viewer"),
            (f"/runs/{mine}/why", "viewer"),
            (f"/runs/{theirs}/why", "acme"),
        ]
        for where, key in asked:
            told = (await api.call("GET", f"/api/v1{where}", key=key)).body
            assert (told["cause"], told["helps"][:1]) == ("store_untrusted", ["duly db accept"])
            assert str(tmp_path) not in str(told)
        await api.app.store.accept("ann", "looked at")
        for where, key in asked:
            told = (await api.call("GET", f"/api/v1{where}", key=key)).body
            assert told["cause"] == "no_worker"


def new_run(api: Caller, **how: Any) -> NewRun:
    """A run of the shop's task `add`."""
    task = api.app.tasks["add"]
    return api.app.client.new_run(task, task.encode((), {"a": 1}), Options(**how))
