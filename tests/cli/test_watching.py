"""`duly server` lives with the store when the last worker has died, and is the one who tells."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

from duly import Duly
from duly.cli.serving import _serve_and_watch, _server, listen
from tests.cli.test_serving import DULY, SHOP, typed

pytestmark = pytest.mark.slow

SETTINGS = """
store = "sqlite:///duly.db"

[engine]
presence = "200ms"

[calls]
plain_http = true
allow = ["127.0.0.1:*"]

[notify.channels.hook]
kind = "webhook"
url = "http://127.0.0.1:{port}/"
sign = "secret:HOOK"
"""


@pytest.fixture
def notices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleQueue[Any]]:
    """What a webhook on loopback is told, one notice after the other."""
    taken: SimpleQueue[Any] = SimpleQueue()

    class Taking(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            taken.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Taking)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    (tmp_path / "duly.toml").write_text(SETTINGS.format(port=server.server_port))
    (tmp_path / "shop.py").write_text(SHOP)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DULY_SECRET_HOOK", "whsec_" + "a" * 32)
    yield taken
    server.shutdown()
    thread.join()
    server.server_close()


class Process:
    """A command in a process of its own, of which a line was waited for."""

    def __init__(self, *words: str, until: str) -> None:
        self.process = subprocess.Popen([*DULY, *words], stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        self.said: list[str] = []
        for line in self.process.stderr:
            self.said.append(line)
            if until in line:
                return
        raise AssertionError("".join(self.said))

    def end(self, number: signal.Signals) -> int:
        """Send a signal, and wait; returns the exit code."""
        self.process.send_signal(number)
        self.said.append(self.process.communicate(timeout=30)[1])
        return self.process.returncode


def test_a_look_that_gives_up_stops_the_server_with_its_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = Duly(f"sqlite:///{tmp_path / 'duly.db'}")

    async def gives_up() -> int:
        return 70

    async def serve() -> int:
        monkeypatch.setattr(app, "watch", gives_up)
        return await _serve_and_watch(app, _server(app), listen("127.0.0.1", 0))

    assert asyncio.run(serve()) == 70


def test_when_the_last_worker_is_killed_the_server_tells_once(notices: SimpleQueue[Any]) -> None:
    server = Process("server", "--port", "0", until="listening on")
    try:
        worker = Process("worker", "shop.py", until="instance.started")
        assert worker.end(signal.SIGKILL) == -signal.SIGKILL
        [told] = notices.get(timeout=60)["data"]["incidents"]
        assert (told["kind"], told["told"], told["severity"]) == (
            "fleet.gone",
            "opened",
            "critical",
        )
        assert told["evidence"]["reason"].startswith("process gone")
        back = Process("worker", "shop.py", until="instance.started")
        assert back.end(signal.SIGTERM) == 0
    finally:
        code = server.end(signal.SIGTERM)
    assert (code, "Traceback" in "".join(server.said)) == (0, False)
    listed = json.loads(typed("incidents", "--all", "-o", "json")[1])
    kinds = [(one["kind"], bool(one["closed_at"])) for one in listed]
    assert (kinds, notices.empty()) == ([("fleet.gone", True)], True)
