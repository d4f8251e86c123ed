"""`duly notify`: channels are shown and tried as `duly.toml` says, with the database away.

The channels of these tests are a webhook on loopback, served by a thread of the test, and one that
nobody listens for.
"""

from __future__ import annotations

import json
import shlex
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from duly.cli.command import cli
from duly.cli.faults import fault_of
from duly.core.fleet import Incident
from duly.core.notice_text import helps_with
from tests.outbound.peers import HOST

SECRET = "whsec_" + "a" * 32

FILE = """
store = "postgresql://nobody@127.0.0.1:9/away"

[calls]
plain_http = true
allow = ["127.0.0.1:*"]

[notify.channels.hook]
kind = "webhook"
url = "http://127.0.0.1:{port}/"
sign = "secret:HOOK"
quiet = "22:00-07:00"
zone = "Europe/Amsterdam"
digest_at = "08:00"

[notify.channels.away]
kind = "webhook"
url = "http://127.0.0.1:{away}/"
sign = "secret:HOOK"
remind = []

[[notify.rules]]
channels = ["hook"]
kinds = ["breaker.*"]

[[notify.rules]]
channels = ["hook", "away"]
severity = "critical"
owners = ["shop"]
"""


class Taking(BaseHTTPRequestHandler):
    """Takes every notice, unless told otherwise."""

    status, bodies = 204, []  # type: ignore[var-annotated]

    def do_POST(self) -> None:
        self.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(self.status)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def taking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[type[BaseHTTPRequestHandler]]:
    class Handler(Taking):
        bodies: list[Any] = []  # noqa: RUF012  # one list a test

    taken = socket.socket()
    taken.bind((HOST, 0))  # and nobody listens
    server = HTTPServer((HOST, 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    (tmp_path / "duly.toml").write_text(
        FILE.format(port=server.server_port, away=taken.getsockname()[1])
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DULY_SECRET_HOOK", SECRET)
    yield Handler
    server.shutdown()
    thread.join()
    server.server_close()
    taken.close()


def run(*args: str) -> Result:
    return CliRunner().invoke(cli, ["notify", *args], standalone_mode=False)


def rows(*args: str) -> Any:
    return json.loads(run(*args, "-o", "json").stdout)


def test_a_test_says_what_came_of_each_channel(taking: Any) -> None:
    done = run("test")
    assert done.return_value == 75, "one of them may answer later"
    sent, failed = done.stdout.splitlines()[1:]
    assert sent.split() == ["hook", "sent", "-"]
    assert failed.startswith("away     failed") and "could not connect" in failed
    (body,) = taking.bodies
    assert body["type"] == "duly.notice.test" and "this is a test" in body["data"]["text"]
    assert SECRET not in done.output


@pytest.mark.parametrize(("status", "code", "outcome"), [(200, 0, "sent"), (410, 78, "refused"),
                                                         (500, 75, "failed")])  # fmt: skip
def test_the_exit_code_says_whether_another_try_helps(
    taking: Any, status: int, code: int, outcome: str
) -> None:
    taking.status = status
    done = run("test", "hook", "-o", "json")
    (row,) = json.loads(done.stdout)
    assert (done.return_value, row["outcome"]) == (code, outcome)


def test_a_secret_that_is_missing_is_told_with_where_it_is_looked_for(
    taking: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DULY_SECRET_HOOK")
    done = run("test", "hook")
    assert done.return_value == 78 and "DULY_SECRET_HOOK" in done.stdout
    assert taking.bodies == []


@pytest.mark.usefixtures("taking")
def test_a_channel_whose_url_may_not_be_called_is_found_before_it_is_needed(tmp_path: Path) -> None:
    file = tmp_path / "duly.toml"
    file.write_text(file.read_text().replace('allow = ["127.0.0.1:*"]', ""))
    checked = CliRunner().invoke(cli, ["config", "check"], standalone_mode=False)
    fault = fault_of(checked.exception or SystemExit())
    assert fault.code == 78 and "notify.channels.hook.url: expected the URL" in fault.sentence
    done = run("test", "away", "-o", "json")
    (row,) = json.loads(done.stdout)
    assert (done.return_value, row["outcome"]) == (78, "refused") and "calls may go" in row["why"]


MISTAKES = [(["test", "hok"], 2, "no channel is called 'hok'; did you mean 'hook'?")]


@pytest.mark.parametrize(("args", "code", "said"), MISTAKES)
@pytest.mark.usefixtures("taking")
def test_a_channel_that_is_not_there(args: list[str], code: int, said: str) -> None:
    fault = fault_of(run(*args).exception or SystemExit())
    assert (fault.code, fault.sentence) == (code, said)


def test_no_channels_is_told_with_what_helps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    fault = fault_of(run("test").exception or SystemExit())
    assert fault.code == 78 and "[notify]" in fault.sentence
    assert "no channels" in run("show").stderr


ROOMS = ["channel", "host", "loop", "outbox", "queue", "schedule", "store", "supervisor", "task"]


@pytest.mark.parametrize("room", [*ROOMS, "breaker", "effect", "of another version"])
def test_what_a_notice_says_to_type_can_be_typed(room: str) -> None:
    incident = Incident(kind=f"{room}.x", subject="a b c", severity="info", summary="x")
    duly, name, *_ = shlex.split(helps_with(incident))
    assert duly == "duly" and name in cli.commands


@pytest.mark.usefixtures("taking")
def test_show_tells_channels_and_rules() -> None:
    told = rows("show")
    hook, away = told["channels"]
    assert (hook["quiet"], hook["digest_at"], hook["zone"]) == (
        "22:00-07:00", "08:00", "Europe/Amsterdam")  # fmt: skip
    assert away["remind"] == [] and away["leads_to"].startswith("http://127.0.0.1:")
    assert [one["channels"] for one in told["rules"]] == [["hook"], ["hook", "away"]]
    assert "breaker.*" in run("show").stdout


@pytest.mark.usefixtures("taking")
def test_a_kind_nobody_hears_of_and_a_kind_that_is_misspelt_are_told(tmp_path: Path) -> None:
    file = tmp_path / "duly.toml"
    text = file.read_text().replace('"breaker.*"', '"breaker.opn", "stock.empty", "effects.*"')
    file.write_text(text)
    nobody = run("show", "--kind", "run.faild", "--severity", "info")
    assert "nobody would hear of it" in nobody.stderr and "no channels" not in nobody.stderr
    told = [line.rpartition("did you mean ")[2] for line in nobody.stderr.splitlines()]
    assert told[:3] == ["'breaker.open'?", "'effect.*'?", "'run.failed'?"]
    checked = CliRunner().invoke(cli, ["config", "check"])
    assert (checked.exit_code, checked.stderr.count("warning: ")) == (0, 2)


APP = """
from duly import Duly
from duly.outbound.base import DestinationUnavailable

class Pager:
    def __init__(self, name, error=None):
        self.name, self.error = name, error
    async def send(self, notice):
        if self.error is not None:
            raise self.error
        print("paged:", notice.channel, notice.zone, notice.kind.value)

app = Duly(name="shop")
app.notify(Pager("pager"), zone="Europe/Berlin", quiet=("22:00", "07:00"))
app.notify(Pager("asleep", DestinationUnavailable("nobody is up")), kinds=["breaker.*"])
app.notify(Pager("broken", KeyError("number")), kinds=["run.*"], severity="critical")
"""


@pytest.fixture
def declared(taking: Any, tmp_path: Path) -> str:
    (tmp_path / "shop_of_pagers.py").write_text(APP)
    return "shop_of_pagers.py"


def test_channels_that_an_application_declares_are_shown_beside_the_others(declared: str) -> None:
    told = rows("show", "-A", declared)
    kinds = {one["channel"]: (one["kind"], one["zone"]) for one in told["channels"]}
    assert list(kinds) == ["hook", "away", "pager", "asleep", "broken"]
    assert kinds["pager"] == ("code", "Europe/Berlin")
    assert [one["leads_to"] for one in told["channels"]][2:] == ["Pager"] * 3
    assert [one["channels"] for one in told["rules"]][2:] == [["asleep"], ["broken"]]
    cases = {"breaker.open": {"hook", "pager", "asleep"}, "run.failed": {"pager", "broken"}}
    for kind, names in cases.items():
        found = rows("show", "-A", declared, "--kind", kind)
        assert {row["channel"] for row in found} == names, "the same as a worker would tell"


TRIED = [("pager", 0, "sent", ""), ("asleep", 75, "failed", "nobody is up"),
         ("broken", 78, "refused", "KeyError: 'number'")]  # fmt: skip


@pytest.mark.parametrize(("name", "code", "outcome", "why"), TRIED)
def test_a_channel_that_an_application_declares_is_tried(
    declared: str, name: str, code: int, outcome: str, why: str
) -> None:
    done = run("test", name, "-A", declared, "-o", "json")
    printed, _, told = done.stdout.partition("[")
    (row,) = json.loads("[" + told)
    assert (done.return_value, row["outcome"], row["why"]) == (code, outcome, why)
    assert ("paged: pager Europe/Berlin test" in printed) is (outcome == "sent")


def test_a_name_that_settings_and_code_both_have_is_refused(declared: str, tmp_path: Path) -> None:
    path = tmp_path / declared
    path.write_text(path.read_text().replace('"pager"', '"hook"'))
    for command in ("show", "test"):
        fault = fault_of(run(command, "-A", declared).exception or SystemExit())
        assert "two channels are called 'hook'" in fault.sentence


@pytest.mark.usefixtures("taking")
def test_the_settings_show_channels_and_rules_and_no_secret(tmp_path: Path) -> None:
    file = tmp_path / "duly.toml"
    file.write_text(file.read_text().replace('/"\nsign', '/?token=t0psecret"\nsign'))
    args = ["config", "show", "--origin", "-o", "json"]
    done = CliRunner().invoke(cli, args, standalone_mode=False)
    told = {row["setting"]: (row["value"], row["origin"]) for row in json.loads(done.stdout)}
    here = "notify.channels.hook"
    assert told[f"{here}.kind"] == ("webhook", f"duly.toml {here}.kind")
    assert str(told[f"{here}.url"][0]).endswith("/?…") and "t0psecret" not in done.output
    leads = CliRunner().invoke(cli, ["notify", "show", "-o", "json"], standalone_mode=False).stdout
    assert "/?…" in leads and "t0psecret" not in leads
    values = {key.removeprefix(f"{here}."): value for key, (value, _) in told.items()}
    assert (values["sign"], values["quiet"], values["digest_at"], values["gather"]) == (
        ["secret:HOOK"], "22:00-07:00", "08:00", "1m")  # fmt: skip
    assert values["notify.channels.away.remind"] == []
    assert values["notify.rules[2].owners"] == ["shop"]
    assert SECRET not in done.output


HEARD: list[tuple[list[str], dict[str, str]]] = [
    (["--kind", "breaker.open"], {"hook": "at once, then together with what comes within 1m"}),
    (
        ["--kind", "breaker.open", "--severity", "info"],
        {
            "hook": "at once, then together with what comes within 1m;"
            " in 22:00-07:00 Europe/Amsterdam when that is over"
        },
    ),
    (["--kind", "run.failed", "--owner", "bank"], {}),
    (["--kind", "run.failed", "--owner", "shop", "--severity", "warning"], {}),
]


@pytest.mark.parametrize(("args", "expected"), HEARD)
@pytest.mark.usefixtures("taking")
def test_show_tells_who_would_hear(args: list[str], expected: dict[str, str]) -> None:
    assert {row["channel"]: row["hears"] for row in rows("show", *args)} == expected


@pytest.mark.usefixtures("taking")
def test_show_tells_every_channel_that_would_hear() -> None:
    found = rows("show", "--kind", "run.failed", "--owner", "shop")
    assert [row["channel"] for row in found] == ["hook", "away"]
