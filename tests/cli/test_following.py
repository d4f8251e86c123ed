"""A server apart tells of what workers do, and a reader that was away misses nothing."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from duly.app import Duly
from duly.core.access import ApiKey, Role, digest_of, hint_of, make_secret
from duly.core.fleet import Incident
from duly.core.ids import uuid7
from duly.core.runs import NewRun
from duly.engine import draw_secret
from duly.errors import WorkFailed
from tests.cli.typed import living

pytestmark = pytest.mark.slow

APP = """
from duly import Duly

app = Duly(name="shop")


@app.task
def one() -> int:
    return 1


@app.task(retries=0)
def two() -> None:
    raise ValueError("no such luck")


@app.task
def three() -> int:
    return 3
"""

WANTED = "kinds=run.completed,run.failed,instance.stopped"


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """A server in a process of its own; it ends well."""
    with living("server", "--port", "0", cwd=folder) as server:
        found = re.search(r"listening on (\S+)", server.until("listening on"))
        assert found is not None
        yield found[1]
        server.process.send_signal(signal.SIGTERM)
        assert server.end() == 0


class Following:
    """A reader of the stream; `next` waits for an event."""

    def __init__(self, url: str, key: str, last: str = "") -> None:
        headers = {"Authorization": f"Bearer {key}"} | ({"Last-Event-ID": last} if last else {})
        asked = urllib.request.Request(f"{url}/api/v1/events?{WANTED}", headers=headers)
        self._got = urllib.request.urlopen(asked, timeout=30)
        self.last = last

    def __enter__(self) -> Following:
        assert self._got.readline() == b": here\n"
        return self

    def __exit__(self, *_: object) -> None:
        self._got.close()

    def next(self) -> tuple[str, Any]:
        """Return the kind of the next event, and its data."""
        lines: dict[str, str] = {}
        for line in self._got:
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if name and value:
                lines[name] = value
            elif "event" in lines:
                break
        self.last = lines.get("id", self.last)
        return lines["event"], json.loads(lines["data"])


class Shop:
    """A program that asks for work, and is none of the fleet's processes."""

    def __init__(self, folder: Path) -> None:
        self.url = f"sqlite:///{folder / 'duly.db'}"

    def run(self, *tasks: str) -> None:
        """Ask for runs of tasks, one after the other, and wait for their ends."""
        asyncio.run(self._run(tasks))

    async def _run(self, tasks: tuple[str, ...]) -> None:
        async with (app := Duly(self.url)):
            for task in tasks:
                [handle] = await app.client.enqueue([NewRun(id=app.clock.new_id(), task=task)])
                with suppress(WorkFailed):
                    await handle.result(30)

    def key(self) -> str:
        """Make the store, and a key; return its text."""
        text = make_secret(draw_secret())
        key = ApiKey(
            id=uuid7(1, 1), digest=digest_of(text), hint=hint_of(text), name="k", role=Role.VIEWER
        )

        async def add() -> None:
            async with (app := Duly(self.url)):
                await app.store.add_key(key)

        asyncio.run(add())
        return text


def test_what_workers_do_is_told_by_servers_apart_and_nothing_is_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shop.py").write_text(APP, "utf-8")
    monkeypatch.chdir(tmp_path)
    shop = Shop(tmp_path)
    key = shop.key()
    with living("worker", "shop.py", cwd=tmp_path) as worker:
        with serving(tmp_path) as url, Following(url, key) as first:
            worker.until("instance.started")
            shop.run("one")
            kind, data = first.next()
            assert (kind, data["task"]) == ("run.completed", "one")
            assert {"at", "run", "epoch", "took_s"} < set(data)
        shop.run("two", "three")
        with serving(tmp_path) as url, Following(url, key, first.last) as second:
            kind, data = second.next()
            assert (kind, data["task"]) == ("run.failed", "two")
            assert data["error"] == "ValueError: no such luck"
            kind, data = second.next()
            assert (kind, data["task"]) == ("run.completed", "three")
            worker.process.send_signal(signal.SIGTERM)
            assert worker.end() == 0
            assert second.next()[0] == "instance.stopped"


def test_the_fleet_is_followed_on_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shop = Shop(tmp_path)
    shop.key()

    async def opens(subject: str) -> None:
        async with (app := Duly(shop.url)):
            trouble = Incident(kind="k", subject=subject, severity="info", summary="so")
            await app.store.open_incident(trouble)

    asyncio.run(opens("before"))
    with living("events", "list", "--follow", cwd=tmp_path) as shown:
        shown.until("k  before: so")
        asyncio.run(opens("after"))
        shown.until("k  after: so")
        shown.process.send_signal(signal.SIGINT)
        assert shown.end() == 130
