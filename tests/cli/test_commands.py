"""What people look at and change: each command against a real SQLite file, in this process."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest
from click.testing import CliRunner

from duly import __version__
from duly.app import Duly
from duly.cli.command import cli
from duly.cli.session import person
from duly.core.access import scoped
from duly.core.fleet import Incident, Proof
from duly.core.logs import AttemptLog, LogLine, fitting
from duly.core.runs import Ending, NewRun
from duly.core.states import RunVerb
from duly.errors import InvalidValue
from duly.stores.base import Store
from tests.cli.prepared import BOOT, HOURLY, NOW, Prepared


def test_the_version_is_told() -> None:
    assert CliRunner().invoke(cli, ["--version"]).stdout == f"duly {__version__}\n"


def test_every_command_explains_itself() -> None:
    def walk(command: Any, path: tuple[str, ...]) -> None:
        done = CliRunner().invoke(cli, [*path, "--help"])
        assert done.exit_code == 0 and (command.help or "").strip(), path
        for name, inner in getattr(command, "commands", {}).items():
            walk(inner, (*path, name))

    walk(cli, ())


def test_importing_the_command_line_loads_nothing_heavy() -> None:
    script = "import sys, duly.cli; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout
    assert not {"rich", "fastapi", "asyncpg", "apsw", "uvicorn"} & set(loaded.split())


# --- schedules ------------------------------------------------------------------------------


def test_schedules_are_listed_with_their_next_instant(store: Prepared) -> None:
    table = store.out("schedules", "list").splitlines()
    assert table[0].split()[:3] == ["NAME", "STATE", "NEXT"]
    assert "nightly" in table[2] and "01:00:00 +0" in table[2]
    rows = store.json("schedules", "list")
    assert [row["name"] for row in rows] == ["hourly", "nightly"]
    assert rows[0]["next_fire"].endswith("Z") and rows[0]["args"] == {"a": 1}


def test_a_pause_tells_who_and_why_until_it_is_resumed(store: Prepared) -> None:
    assert "is paused\n" in store.out(
        "schedules", "pause", "nightly", "--by", "anna", "--reason", "moving"
    )
    assert "paused already" in store.out("schedules", "pause", "nightly")
    row = store.json("schedules", "show", "nightly")
    assert (row["state"], row["by"], row["reason"]) == ("paused", "anna", "moving")
    assert "by anna: moving" in store.out("why", "nightly")
    assert "is active\n" in store.out("schedules", "resume", "nightly")


def test_whoever_is_not_named_is_user_and_host(store: Prepared) -> None:
    store.out("schedules", "pause", "nightly")
    assert store.json("schedules", "show", "nightly")["by"] == person()


def test_retiring_asks_for_a_reason_and_can_be_undone(store: Prepared) -> None:
    assert store.result("schedules", "retire", "nightly").exit_code == 2
    store.out("schedules", "retire", "nightly", "--reason", "the shop closed")
    assert "retired since" in store.out("why", "nightly")
    store.out("schedules", "revive", "nightly")
    assert store.json("schedules", "show", "nightly")["state"] == "active"


def test_give_back_says_when_there_was_no_edit(store: Prepared) -> None:
    assert "was not edited" in store.out("schedules", "give-back", "nightly")


def test_the_next_occurrences_come_with_offsets(store: Prepared) -> None:
    assert len(store.out("schedules", "next", "nightly", "--count", "3").splitlines()) == 3
    first = store.json("schedules", "next", "nightly")[0]
    assert first["local"][11:16] == "01:00" and first["at"].endswith("Z")


def test_a_trigger_makes_a_run_of_the_newest_occurrence(store: Prepared) -> None:
    run = store.out("schedules", "trigger", "hourly").strip()
    shown = store.json("runs", "show", run)
    assert (shown["origin"], shown["schedule"], shown["args"]) == ("trigger", "hourly", {"a": 1})


def test_a_backfill_runs_the_past_once_and_can_be_tried_dry(store: Prepared) -> None:
    day = (NOW - timedelta(days=3)).date()
    span = ("hourly", "--from", f"{day}T00:00", "--to", f"{day}T03:00")
    assert "would run 3 occurrences" in store.out("schedules", "backfill", *span, "--dry-run")
    assert store.json("runs", "list") == []
    assert "runs 3 occurrences" in store.out("schedules", "backfill", *span)
    store.out("schedules", "backfill", *span)
    dues = {row["due"] for row in store.json("runs", "list")}
    assert dues == {f"{day}T0{hour}:00:00Z" for hour in range(3)}
    assert len(store.json("runs", "list")) == 3


# --- runs -----------------------------------------------------------------------------------


def failed_run(store: Prepared) -> str:
    """Bring a run to its failure."""
    run = store.out("schedules", "trigger", "hourly").strip()
    store.register("add")

    async def verbs(to: Store, app: Duly) -> None:
        claim = app.clock.new_id()
        answer = await to.claim(BOOT, claim, queues=("default",), tasks=("add",), limit=1)
        [held] = answer.runs
        ending = Ending(run=held.id, epoch=held.epoch, verb=RunVerb.FAIL, error="KeyError: 'x'")
        await to.end(BOOT, [ending])

    store.at(verbs)
    return run


def test_a_failed_run_is_shown_explained_and_tried_again(store: Prepared) -> None:
    run = failed_run(store)
    [row] = store.json("runs", "list", "--state", "failed")
    assert row["id"] == run and row["error"] == "KeyError: 'x'"
    assert "KeyError: 'x'" in store.out("runs", "list")
    assert "failed for good" in store.out("why", run[:13])
    assert "goes on" in store.out("runs", "retry", run)
    assert "is live already" in store.out("runs", "retry", run)
    assert "attempt 1:" in store.out("runs", "show", run)
    assert store.json("runs", "list", "--state", "ready")[0]["id"] == run


def test_what_a_run_logged_is_shown_and_never_obeyed(store: Prepared) -> None:
    run = failed_run(store)
    assert "its task keeps nothing" in store.out("runs", "logs", run)

    async def verbs(to: Store, _: Duly) -> None:
        at = datetime(2026, 3, 1, tzinfo=UTC)
        lines = fitting([LogLine(at=at, level="info", logger="shop", text="\x1b[2J\nsecond")], 1000)
        await to.log([AttemptLog(run=UUID(run), epoch=1, told=1, lines=lines)])

    store.at(verbs)
    told = store.out("runs", "logs", run[:13])
    assert "attempt 1 (failed)" in told
    assert "2026-03-01T00:00:00Z info     shop: \\x1b[2J\n  | second" in told
    [attempt] = store.json("runs", "logs", run)
    assert attempt["lines"][0]["text"] == "\x1b[2J\nsecond"
    assert store.out("runs", "logs", run, "--attempt", "2") == ""


def test_lists_are_narrowed_to_a_tenant_and_to_the_house(store: Prepared) -> None:
    async def ask(kept: Store, app: Duly) -> None:
        for tenant in ("", "acme"):
            key = scoped("k", tenant)
            await kept.enqueue([NewRun(id=app.clock.new_id(), task="t", tenant=tenant, key=key)])
        theirs = msgspec.structs.replace(HOURLY, name="theirs", tenant="acme")
        await kept.declare(BOOT, "shop", [theirs], new_id=app.clock.new_id)

    store.at(ask)
    shown = {
        room: {
            tenant: len(store.json(room, "list", "--tenant", tenant))
            for tenant in ("acme", "default", "nobody")
        }
        for room in ("runs", "schedules", "effects")
    }
    assert shown["runs"] == {"acme": 1, "default": 1, "nobody": 0}
    assert shown["schedules"] == {"acme": 1, "default": 2, "nobody": 0}
    assert shown["effects"] == {"acme": 0, "default": 0, "nobody": 0}
    assert {row["key"] for row in store.json("runs", "list")} == {"k"}
    wrong = store.result("runs", "list", "--tenant", "Ac me").exception
    assert isinstance(wrong, InvalidValue) and "a tenant" in str(wrong)


def test_cancelling_tells_what_came_of_it(store: Prepared) -> None:
    run = store.out("schedules", "trigger", "hourly").strip()
    assert "is cancelled" in store.out("runs", "cancel", run, "--by", "anna", "--reason", "no")
    assert "before" in store.out("runs", "cancel", run)
    assert "cancelled by anna: no" in store.out("why", run)
    refused = store.result("runs", "retry", run)
    assert "cannot be undone" in str(refused.exception)


def test_an_explanation_is_json_too(store: Prepared) -> None:
    answer = store.json("why", "nightly", "--explain-next", "2")
    assert answer["subject"] == "schedule nightly" and len(answer["next"]) == 2


# --- the fleet ------------------------------------------------------------------------------


def test_instances_and_incidents_are_listed(store: Prepared) -> None:
    assert store.json("instances") == [] and store.json("incidents") == []
    store.register("add")
    [one] = store.json("instances")
    assert (one["name"], one["standing"], one["tasks"]) == ("host:7", "live", ["add"])

    async def verbs(to: Store, _: Duly) -> None:
        await to.take_over(BOOT, Proof.PROCESS)
        incident = Incident(kind="task.unknown", subject="x", severity="critical", summary="so")
        await to.open_incident(incident)

    store.at(verbs)
    assert store.json("instances") == []
    assert store.json("instances", "--all")[0]["standing"] == "dead"
    assert store.json("incidents")[0]["kind"] == "task.unknown"


def findings(store: Prepared) -> dict[str, str]:
    """Return the level of each check, and hold the exit code to them."""
    done = store.result("doctor", "-o", "json")
    assert done.exception is None or isinstance(done.exception, SystemExit)
    return {one["check"]: one["level"] for one in json.loads(done.stdout)}


def test_the_doctor_finds_what_is_wrong_and_says_what_helps(store: Prepared) -> None:
    found = findings(store)
    assert (found["store"], found["instances"], found["schedule"]) == ("ok", "bad", "bad")
    assert "what helps: duly why hourly" in store.result("doctor").stdout
    store.register("other")
    assert findings(store)["task"] == "bad"


def test_the_doctor_of_a_store_that_is_missing_says_so(tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["doctor", "--store", f"sqlite:///{tmp_path}/none.db"])
    assert "there is no store at" in done.stdout
    assert not (tmp_path / "none.db").exists()


# --- store, settings, cron ------------------------------------------------------------------


def test_migrating_is_told_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/new.db"
    first, second = (CliRunner().invoke(cli, ["db", "migrate", "--store", url]) for _ in range(2))
    assert "applied 0001" in first.stdout and "is up to date" in second.stdout


def test_the_standing_of_the_store_is_shown(store: Prepared) -> None:
    status = store.json("db", "status")
    assert status["trusted"] is True and status["schema"] >= 1
    assert "trusted already" in store.out("db", "accept", "--reason", "sure")


def test_settings_tell_where_they_came_from(
    store: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DULY_LEASE", "20s")
    monkeypatch.setenv("DULY_SERVER_TOKEN", "a-secret-of-more-than-24-characters")
    told = store.out("config", "show", "--origin")
    line = next(one for one in told.splitlines() if one.startswith("engine.lease"))
    assert line.split()[1:] == ["20s", "env", "DULY_LEASE"]
    assert "a-secret" not in told
    assert "is right" in store.out("config", "check")


def test_cron_is_explained_with_turns_of_the_clocks() -> None:
    line = ["cron", "explain", "30 2 * 3 SUN", "--tz", "Europe/Amsterdam", "--count", "8"]
    told = CliRunner().invoke(cli, line).stdout
    assert told.startswith("cron '30 2 * 3 SUN' in Europe/Amsterdam")
    assert "in a gap: moved to first instant after" in told
    rows = json.loads(CliRunner().invoke(cli, [*line, "-o", "json"]).stdout)["next"]
    assert len(rows) == 8 and all(row["at"].endswith("Z") for row in rows)


def test_an_application_may_be_opened_again(tmp_path: Path) -> None:
    app = Duly(f"sqlite:///{tmp_path}/again.db")

    async def look() -> int:
        async with app:
            return len(await app.client.schedules())

    assert [asyncio.run(look()) for _ in range(2)] == [0, 0]


def asked_under_a_key(store: Prepared) -> str:
    async def verbs(at: Store, app: Duly) -> str:
        run = NewRun(id=app.clock.new_id(), task="add", args=b'{"a":1}', key="k-1")
        await at.enqueue([run])
        return str(run.id)

    return str(store.at(verbs))


def test_why_names_its_causes_and_what_to_ask_next(store: Prepared) -> None:
    store.register("add")
    run = asked_under_a_key(store)
    answer = store.json("why", run)
    assert (answer["cause"], answer["also"]) == ("about_to_start", ["under_key"])
    assert store.json("why", "key:add", "k-1")["cause"] == "key_joins"
    assert f"see also: {run}" in store.out("why", "queue:default")
    assert "no timer is called 'nightly'" in str(store.result("why", "timer:nightly").exception)
