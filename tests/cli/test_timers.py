"""`duly timers` and `duly serve`: HTTP calls on a schedule, with no code deployed.

Commands run in this process on a real SQLite file; one test has the real `duly serve` beside it.
"""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from duly.app import Duly
from duly.cli.command import cli
from duly.cli.faults import Fault, fault_of
from duly.cli.timers import timers
from duly.core.breakers import BreakerPolicy, Came, Report
from duly.core.timers import KEYS, read_timer
from duly.stores.base import Store
from tests.cli.prepared import BOOT, Prepared
from tests.cli.typed import living

FILE = """\
owner = "shop"

[timers.pulse]
every = "1h"
url = "https://example.com/pulse"

[timers.evening]
cron = "0 1 * * *"
tz = "Europe/Amsterdam"
method = "POST"
url = "https://example.com/evening"
headers = { Authorization = "Bearer secret:SHOP" }
json = { day = "today" }
"""


def fault(store: Prepared, *args: str) -> tuple[int, str]:
    """Run a command that must fail; return its exit code and what it says."""
    error = store.result(*args).exception
    assert error is not None, args
    found = fault_of(error)
    return found.code, found.sentence


def test_a_timer_is_added_shown_and_removed(store: Prepared) -> None:
    said = store.out(
        "timers", "add", "pulse", "--every", "1h", "--url", "https://example.com/{due}",
        "--header", "X-Key: secret:SHOP", "--method", "post", "--json", '{"a": 1}',
        "--expect", "2xx", "--completion", "10m",
    )  # fmt: skip
    assert said == "timer pulse: created\n"
    [row] = store.json("timers", "list")
    assert (row["name"], row["owner"], row["state"]) == ("pulse", "timers", "active")
    assert row["call"]["headers"] == {"X-Key": "secret:SHOP"} and row["call"]["json"] == {"a": 1}
    assert "POST https://example.com/{due}" in store.out("timers", "list")
    assert "every 1h" in store.out("timers", "show", "pulse")
    assert "it is a timer" in store.out("why", "pulse")
    again = ("timers", "add", "pulse", "--every", "2h", "--url", "https://example.com/")
    assert "--replace changes it" in fault(store, *again)[1]
    assert store.out(*again, "--replace", "--dry-run") == "timer pulse: would be changed\n"
    assert store.out(*again, "--replace") == "timer pulse: changed\n"
    assert store.out("timers", "remove", "pulse", "--reason", "over") == "timer pulse is removed\n"
    assert "already" in store.out("timers", "remove", "pulse", "--reason", "over")
    assert store.json("timers", "list")[0]["state"] == "retired"


def test_the_query_of_a_url_is_shown_to_whoever_asks_for_the_call_alone(store: Prepared) -> None:
    url = "https://example.com/x?key=c4nary"
    store.out("timers", "add", "pulse", "--every", "1h", "--url", url)
    assert store.json("timers", "show", "pulse")["call"]["url"] == url
    for command in (("timers", "list"), ("timers", "list", "-o", "json"),
                    ("timers", "show", "pulse"), ("why", "pulse")):  # fmt: skip
        told = store.out(*command)
        assert "https://example.com/x?…" in told or "x?\\u2026" in told, told
        assert "c4nary" not in told, command
    assert (
        "would be sent as it is written"
        in fault(
            store,
            "timers",
            "add",
            "x",
            "--every",
            "1h",
            "--url",
            "https://example.com/?k=secret:SHOP",
        )[1]
    )


def test_every_key_of_a_file_is_an_option_too(store: Prepared) -> None:
    known = {one.name for one in timers.commands["add"].params}
    assert {*KEYS} - known == {"json"}, "whose option is kept apart from Python's module"
    store.out(
        "timers", "add", "pulse", "--every", "1h", "--base", "https://example.com",
        "--path", "/x", "--max-age", "2h", "--kept-bytes", "100", "--idempotent",
        "--method", "POST",
    )  # fmt: skip
    [row] = store.json("timers", "list")
    call = row["call"]
    assert (call["url"], call["kept_bytes"]) == ("https://example.com/x", 100)
    assert call["idempotent"] is True
    negative = ("timers", "add", "other", "--every", "1h", "--url", "https://example.com/")
    assert "kept_bytes" in fault(store, *negative, "--kept-bytes", "-1")[1]


def test_a_timer_whose_target_fails_says_since_when_and_why(store: Prepared) -> None:
    store.out("timers", "add", "pulse", "--every", "1h", "--url", "https://example.com/")
    well = store.json("timers", "show", "pulse")["health"]
    assert (well["breaker"], well["failure_count"]) == ("schedule:pulse", 0)
    assert "last_failed_at" not in store.out("timers", "show", "pulse")

    async def fail(kept: Store, app: Duly) -> None:
        wrong = Report(breaker="schedule:pulse", came=Came.BROKEN, fault="route_not_found",
                       error="answered 404", policy=BreakerPolicy(threshold=2))  # fmt: skip
        await kept.breaker_tell(BOOT, app.clock.new_id(), [wrong, wrong])

    store.at(fail)
    ill = store.json("timers", "show", "pulse")["health"]
    assert (ill["state"], ill["failure_count"], ill["fault"]) == ("open", 2, "route not found")
    assert ill["last_failed_at"] == ill["failing_since"] < ill["next_probe_at"]
    for command in ("timers", "schedules"):
        assert next(one["health"] for one in store.json(command, "list")
                    if one["name"] == "pulse") == ill  # fmt: skip
        shown = store.out(command, "show", "pulse")
        words = dict(line.split(maxsplit=1) for line in shown.splitlines())
        assert (words["state"], words["breaker_state"]) == ("active", "open")
        for word in ("failure_count", "last_failed_at", "route not found", "next_probe_at"):
            assert word in shown, (command, word)


def test_a_timer_that_would_never_fire_is_refused(store: Prepared, tmp_path: Path) -> None:
    old = ("--at", "2020-01-01T00:00:00Z", "--url", "https://example.com/")
    said = "expected the timer old to have an occurrence to come"
    for more in ([], ["--dry-run"]):
        assert said in fault(store, "timers", "add", "old", *old, *more)[1]
    assert store.json("timers", "list") == []
    file = tmp_path / "timers.toml"
    file.write_text('[timers.old]\nat = 2020-01-01T00:00:00Z\nurl = "https://example.com/"\n'
                    '[timers.new]\nevery = "1h"\nurl = "https://example.com/"\n')  # fmt: skip
    assert said in fault(store, "timers", "apply", str(file))[1]
    assert store.json("timers", "list") == [], "nothing of the file was done"


def test_one_that_has_fired_may_stay_in_its_file(store: Prepared, tmp_path: Path) -> None:
    file = tmp_path / "timers.toml"
    when, text = datetime.now(UTC) - timedelta(hours=1), '[timers.old]\nat = {}\nurl = "{}"\n'

    async def made_before(kept: Store, app: Duly) -> None:
        timer, _ = read_timer("old", {"at": when.isoformat(), "url": "https://example.com/"})
        assert timer is not None
        await kept.declare(BOOT, "timers", [timer.definition], new_id=app.clock.new_id)

    store.at(made_before)
    file.write_text(text.format(when.isoformat(), "https://example.com/other"))
    assert "changed" in store.out("timers", "apply", str(file))


def test_every_fault_of_a_timer_is_told_at_once(store: Prepared) -> None:
    code, said = fault(
        store, "timers", "add", "x", "--cron", "0 25 * * *", "--url", "https://[::1]/",
        "--header", "Cookie: a=b", "--header", "nonsense", "--json", "{", "--expect", "2x",
    )  # fmt: skip
    lines = said.splitlines()
    assert (code, lines[0]) == (2, "timer x has 6 faults; nothing was changed:")
    for words in ("cron: ", "url: ", "loopback", "headers: ", "header: expected", "json: ",
                  "expect: "):  # fmt: skip
        assert any(words in line for line in lines[1:]), words
    assert store.json("timers", "list") == []
    code, said = fault(store, "timers", "show", "x")
    assert code == 2 and "no timer is called 'x'" in said


def test_a_file_is_applied_with_exact_counts(store: Prepared, tmp_path: Path) -> None:
    file = tmp_path / "timers.toml"
    file.write_text(FILE)
    tried = store.out("timers", "apply", str(file), "--dry-run")
    assert tried.endswith("would be 2 created, 0 changed, 0 revived, 0 same, 0 removed\n")
    assert store.json("timers", "list") == []
    applied = store.json("timers", "apply", str(file))
    assert applied["counts"] == {"created": 2, "changed": 0, "revived": 0, "same": 0, "removed": 0}
    assert applied["timers"] == {"pulse": "created", "evening": "created"}
    file.write_text(FILE.split("[timers.evening]")[0].replace("1h", "2h"))
    kept = store.out("timers", "apply", str(file))
    assert kept == "changed   pulse\n0 created, 1 changed, 0 revived, 0 same, 0 removed\n"
    pruned = store.out("timers", "apply", str(file), "--prune").splitlines()
    assert pruned == ["removed   evening", "0 created, 0 changed, 0 revived, 1 same, 1 removed"]


def test_a_bad_file_is_refused_whole_with_its_lines(store: Prepared, tmp_path: Path) -> None:
    file = tmp_path / "timers.toml"
    file.write_text(FILE.replace("every =", "evry =").replace("example.com/e", "10.0.0.1/e"))
    code, said = fault(store, "timers", "apply", str(file))
    assert code == 2 and "has 3 faults; nothing was changed" in said
    assert "timers.toml:4: pulse.evry: no key of a timer is called 'evry'; did you mean 'every'?" \
        in said  # fmt: skip
    assert "timers.toml:11: evening.url: " in said and "private network" in said
    assert store.json("timers", "list") == []
    for path in (tmp_path / "gone.toml", tmp_path):
        code, said = fault(store, "timers", "apply", str(path))
        assert code == 2 and "cannot be read" in said


# --- with the real thing --------------------------------------------------------------------


class Target(http.server.BaseHTTPRequestHandler):
    """Answers 404 to /gone and 200 to everything else, and records what came."""

    seen: list[tuple[str, str, str]] = []  # noqa: RUF012

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        self.seen.append((self.path, self.headers["X-Key"], body))
        self.send_response(404 if self.path == "/gone" else 200)
        self.end_headers()
        self.wfile.write(b"thanks")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def target() -> Iterator[int]:
    Target.seen.clear()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Target)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_port
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.slow
def test_a_timer_made_at_run_time_calls_with_no_code_deployed(
    tmp_path: Path, target: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = {"DULY_CALLS_ALLOW": f"127.0.0.1:{target}", "DULY_CALLS_PLAIN_HTTP": "1"}
    (tmp_path / "timers.toml").write_text(
        f"""
        base = "http://127.0.0.1:{target}"
        headers = {{ X-Key = "secret:SHOP" }}
        [timers]
        fine = {{ path = "/fine", cron = "0 1 * * *", method = "POST", template = "{{schedule}}" }}
        gone = {{ path = "/gone", cron = "0 1 * * *", method = "POST", template = "{{run}}" }}
        """
    )
    monkeypatch.chdir(tmp_path)

    def here(*args: str) -> Result:
        return CliRunner().invoke(cli, args, env=env)

    with living("serve", cwd=tmp_path, env=env | {"DULY_SECRET_SHOP": "s3cr3t"}) as serve:
        serve.until("instance.started")
        assert here("timers", "apply", "timers.toml").stdout.startswith("created   fine\n")
        assert here("timers", "test", "fine").stdout == "timer fine answered 200\nthanks\n"
        failed = here("timers", "test", "gone").exception
        assert isinstance(failed, Fault) and "404 (route not found)" in failed.sentence
        listed = json.loads(here("timers", "list", "-o", "json").stdout)
        assert [one["last_answer"] for one in listed] == [
            "answered 200: success", "answered 404: route not found"
        ]  # fmt: skip
        why = here("why", listed[1]["last_run"]).stdout
        assert "answered 404: route not found" in why
    assert [one[:2] for one in Target.seen] == [("/fine", "s3cr3t"), ("/gone", "s3cr3t")]
    assert Target.seen[0][2] == "fine" and Target.seen[1][2] == listed[1]["last_run"]
    everything = b"".join(one.read_bytes() for one in tmp_path.iterdir() if one.is_file())
    assert b"secret:SHOP" in everything and b"s3cr3t" not in everything
    assert "s3cr3t" not in serve.text
