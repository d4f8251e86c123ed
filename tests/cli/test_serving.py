"""`duly server` is closed by default, says what to do, and a platform's cron job may rely on it."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from duly.cli.command import cli
from duly.cli.faults import fault_of, tell
from duly.core.access import looks_right
from tests.docs.test_pages import ROOT
from tests.servers import start_postgres

pytestmark = pytest.mark.slow

DULY = [sys.executable, "-m", "duly.cli"]
SHOP = """
from duly import Duly

app = Duly(name="shop")


@app.task
async def mail_orders() -> None: ...
"""


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shop.py").write_text(SHOP)
    return tmp_path


def duly(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*DULY, *words], capture_output=True, text=True, timeout=60, check=False)


@contextmanager
def serving(*words: str) -> Iterator[tuple[str, list[str]]]:
    """A server in a process of its own: its address, and what it said before."""
    command = [*DULY, "server", "shop.py", "--port", "0", *words]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    said: list[str] = []
    try:
        for line in process.stderr:
            if found := re.search(r"listening on (\S+)", line):
                yield found[1], said
                break
            said.append(line)
        else:
            raise AssertionError("".join(said))
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
        assert process.returncode == 0


def status(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_a_first_start_is_closed_and_says_how_to_open_it(shop: Path) -> None:
    with serving() as (url, said):
        assert "duly keys create NAME --role admin" in "".join(said)
        paths = ("/livez", "/readyz", "/metrics", "/openapi.json", "/api/v1/runs", "/")
        assert [status(url + path) for path in paths] == [200, 200, 401, 401, 401, 401]


def test_a_store_that_is_away_at_the_start_ends_nobody(shop: Path) -> None:
    database = start_postgres()
    try:
        url = database.fresh_database()
        database.halt()
        with serving("--store", url) as (place, said):
            assert "the store is away" in "".join(said)
            assert [status(place + path) for path in ("/livez", "/readyz", "/api/v1/runs")] == [
                200, 503, 503,
            ]  # fmt: skip
            database.start()
            while (found := status(place + "/readyz")) != 200:
                assert found == 503
            assert status(place + "/api/v1/runs") == 401
    finally:
        database.stop()


def test_what_others_can_reach_is_not_served_without_a_key(shop: Path) -> None:
    done = duly("server", "shop.py", "--host", "0.0.0.0", "--port", "0")
    assert done.returncode == 78
    assert "expected a key before listening on 0.0.0.0" in done.stderr
    assert "duly keys create" in done.stderr and "Traceback" not in done.stderr


def test_on_a_terminal_a_first_key_is_made_and_shown_once(shop: Path) -> None:
    shown = [_on_a_terminal(), _on_a_terminal()]
    keys = [[word for word in text.split() if looks_right(word)] for text in shown]
    assert [len(found) for found in keys] == [1, 0]
    listed = msgspec.json.decode(duly("keys", "list", "-o", "json").stdout)
    assert [(one["name"], one["role"]) for one in listed] == [("first", "admin")]
    kept = b"".join(path.read_bytes() for path in shop.glob("duly.db*") if path.is_file())
    assert keys[0][0].encode() not in kept and keys[0][0][5:40].encode() not in kept


def _on_a_terminal() -> str:
    """Start a server on a terminal of its own, stop it, and return what it said."""
    master, slave = pty.openpty()
    process = subprocess.Popen([*DULY, "server", "shop.py", "--port", "0"], stderr=slave)
    os.close(slave)
    text = b""
    try:
        while b"listening on" not in text:
            text += os.read(master, 4096)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        os.close(master)
    return text.decode()


def typed(*words: str) -> tuple[int, str]:
    """A command in this process: its exit code, and all that it said."""
    done = CliRunner().invoke(cli, list(words))
    code = tell(done.exception) if done.exception else 0
    return code, done.output + (str(fault_of(done.exception)) if done.exception else "")


def test_keys_are_made_listed_and_revoked(shop: Path) -> None:
    code, made = typed(
        "keys", "create", "ci", "--role", "operator", "--scope", "tasks:t", "--env", "prod"
    )
    key = made.split()[0]
    assert code == 0 and looks_right(key) and key.startswith("duly_prod_")
    assert "only time" in made and "operator" in typed("keys", "list")[1]
    assert typed("keys", "create", "other", "--role", "viewer", "--expires", "90d")[0] == 0
    twice = typed("keys", "create", "other", "--role", "viewer", "--expires", "2999-01-31")
    assert twice[0] == 0 and "other good keys are called other too" in twice[1]
    until = "2999-01-31T08:00:00+01:00"
    assert typed("keys", "create", "late", "--role", "viewer", "--expires", until)[0] == 0
    ends = {one["name"]: one["expires_at"] for one in msgspec.json.decode(
        typed("keys", "list", "-o", "json")[1])}  # fmt: skip
    assert ends["late"].startswith("2999-01-31T07:00:00")
    assert "is revoked" in typed("keys", "revoke", "ci", "--reason", "lost")[1]
    assert "revoked" in typed("keys", "list")[1]
    cases = [
        (("create", "x", "--role", "operater"), "did you mean 'operator'?"),
        (("create", "x", "--role", "viewer", "--scope", "task:t"), "did you mean 'tasks'?"),
        (("create", "x", "--role", "viewer", "--expires", "soon"), "--expires"),
        (("create", "x", "--role", "viewer", "--expires", "2020-01-01"), "that is to come"),
        (("create", "x", "--role", "viewer", "--expires", "2999-01-01T00:00"), "with an offset"),
        (("revoke", "othr", "--reason", "lost"), "did you mean 'other'?"),
    ]
    for words, told in cases:
        code, said = typed("keys", *words)
        assert (code, told in said) == (2, True), (words, said)


def test_a_platforms_cron_job_asks_for_one_run_a_day(shop: Path) -> None:
    """The command of the documentation, as it stands there, before and after a restart."""
    page = (ROOT / "docs" / "how-to" / "api.md").read_text("utf-8")
    found = re.findall(r"```sh\n(.*?)```", page, re.S)
    [command] = [one for one in found if "curl" in one and "Idempotency-Key" in one]
    key = duly("keys", "create", "cron", "--role", "operator", "--scope", "tasks:mail_orders")
    (shop / "key").write_text(f"Authorization: Bearer {key.stdout.strip()}\n")
    answers = []
    for _ in range(2):
        with serving() as (url, _):
            env = os.environ | {"DULY_URL": url, "DULY_KEY_FILE": str(shop / "key")}
            for _ in range(2):
                done = subprocess.run(
                    ["sh", "-c", command], env=env, capture_output=True, timeout=60, check=False
                )
                assert done.returncode == 0, done.stderr
                answers.append(msgspec.json.decode(done.stdout))
    assert {one["id"] for one in answers} == {answers[0]["id"]}
    assert [one["reuse"] for one in answers] == ["new", "joined", "joined", "joined"]
