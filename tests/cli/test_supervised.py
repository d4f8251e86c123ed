"""A real worker under supervision: it ends with 70, others take its work, systemd hears of it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from duly.cli.heralding import Herald, announced, herald_from
from duly.core.fleet import Health
from duly.testing.clock import VirtualClock
from tests.cli.typed import duly, living

APP = """
import asyncio, os
from duly import Duly, RestartPolicy

app = Duly(name="shop")
fails = asyncio.Event()

@app.supervise(policy=RestartPolicy(threshold=5, pause="10ms", slowest="20ms"))
async def poll() -> None:
    if os.environ.get("BROKEN"):
        await fails.wait()
        raise ValueError("no such luck")
    await asyncio.Event().wait()

@app.task
async def long() -> str:
    fails.set()
    if os.environ.get("BROKEN"):
        await asyncio.Event().wait()
    return "done by another"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "shop.py").write_text(APP, "utf-8")
    return tmp_path


@pytest.mark.slow
def test_a_worker_ends_with_70_after_five_and_its_work_is_taken_over(folder: Path) -> None:
    broken = {"BROKEN": "1", "DULY_STOP_GRACE": "50ms"}
    run = duly("run", "long", "-A", "shop.py", cwd=folder).stdout.strip()
    with living("worker", "shop.py", cwd=folder, env=broken) as worker:
        for number in range(1, 6):
            assert json.loads(worker.until("loop.failed"))["failures"] == number
        worker.until("loop.gave_up")
        assert worker.end() == 70
    with living("worker", "shop.py", cwd=folder, env={"DULY_LOG_LEVEL": "debug"}) as other:
        other.until("run.completed")
        other.process.send_signal(signal.SIGTERM)
        assert other.end() == 0
    told = json.loads(duly("why", run, "-o", "json", cwd=folder).stdout)
    assert "handed back" in json.dumps(told)
    incidents = json.loads(duly("incidents", "-o", "json", cwd=folder).stdout)
    [trip] = [one for one in incidents if one["kind"] == "supervisor.tripped"]
    assert trip["subject"] == "shop/poll"
    assert "failed 5 times in a row" in trip["summary"]


# --- systemd --------------------------------------------------------------------------------------


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """The end of the service manager, on a path."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.bind(str(tmp_path / "notify"))
        line.settimeout(60)
        yield line


def heard_until(line: socket.socket, word: str) -> list[str]:
    """Read datagrams up to one with this line."""
    lines: list[str] = []
    while word not in lines:
        lines += line.recv(4096).decode().split("\n")
    return lines


@pytest.mark.slow
def test_a_worker_tells_systemd_from_its_first_moment_to_its_last(
    folder: Path, manager: socket.socket
) -> None:
    env = {"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "300000"}
    with living("worker", "shop.py", cwd=folder, env=env) as worker:
        assert heard_until(manager, "STATUS=works")[0] == "READY=1"
        assert heard_until(manager, "WATCHDOG=1")
        worker.process.send_signal(signal.SIGTERM)
        assert worker.end() == 0
    assert heard_until(manager, "STOPPING=1")


FARES = {
    "working": (Health(True, True), ["WATCHDOG=1", "STATUS=works"]),
    "its store is away": (
        Health(True, False, "no store, or failing: claiming"),
        ["WATCHDOG=1", "STATUS=no store, or failing: claiming"],
    ),
    "a loop is gone": (Health(False, False), ["STATUS=not ready"]),
    "it gave up": (
        Health(False, False, "gave\nup"),
        ["STOPPING=1", "STATUS=gave up"],
    ),
}


@pytest.mark.parametrize("case", FARES)
def test_beats_come_only_while_the_loops_are_sound(case: str, manager: socket.socket) -> None:
    health, lines = FARES[case]
    herald = Herald(manager.getsockname(), 1.0)
    herald.tell(health)
    assert manager.recv(4096).decode().split("\n") == lines
    herald.tell(health)
    herald.say("OVER")
    assert manager.recv(4096).decode() in ("WATCHDOG=1", "OVER"), "a state is told once"


ENVIRONMENTS: dict[str, tuple[dict[str, str], tuple[bool, float | None]]] = {
    "no service manager": ({}, (False, None)),
    "an address that is none": ({"NOTIFY_SOCKET": "tcp:1"}, (False, None)),
    "no watchdog": ({"NOTIFY_SOCKET": "/run/n"}, (True, None)),
    "a watchdog": ({"NOTIFY_SOCKET": "@n", "WATCHDOG_USEC": "60000000"}, (True, 20.0)),
    "this process's watchdog": (
        {"NOTIFY_SOCKET": "/run/n", "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "7"},
        (True, 1.0),
    ),
    "another process's": (
        {"NOTIFY_SOCKET": "/run/n", "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "8"},
        (True, None),
    ),
    "nonsense": ({"NOTIFY_SOCKET": "/run/n", "WATCHDOG_USEC": "-1"}, (True, None)),
}


@pytest.mark.parametrize("case", ENVIRONMENTS)
def test_what_the_environment_asks_for(case: str) -> None:
    env, (somebody, every_s) = ENVIRONMENTS[case]
    herald = herald_from(env, 7)
    assert (herald is not None) == somebody
    assert herald is None or herald.every_s == every_s


async def test_nobody_fails_for_a_manager_that_is_gone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))

    async def work() -> int:
        return 70

    health = Health(True, True)
    assert await announced(work(), lambda: health, VirtualClock()) == 70
    monkeypatch.delenv("NOTIFY_SOCKET")
    assert await announced(work(), lambda: health, VirtualClock()) == 70


async def test_a_process_that_is_silent_says_nothing_while_its_event_loop_is_blocked(
    manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", manager.getsockname())
    monkeypatch.setenv("WATCHDOG_USEC", "3000000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    clock, over = VirtualClock(), asyncio.Event()

    async def work() -> int:
        await over.wait()
        return 0

    task = asyncio.ensure_future(announced(work(), lambda: Health(True, True), clock))
    await clock.paused.wait()
    assert heard_until(manager, "STATUS=works") == ["READY=1", "WATCHDOG=1", "STATUS=works"]
    clock.turn(1)  # a beat is due now; the blocked event loop has not come to it
    manager.setblocking(False)
    with pytest.raises(BlockingIOError):
        manager.recv(4096)
    clock.paused.clear()
    await clock.paused.wait()
    assert manager.recv(4096) == b"WATCHDOG=1"
    over.set()
    assert await task == 0
    assert manager.recv(4096) == b"STOPPING=1"
