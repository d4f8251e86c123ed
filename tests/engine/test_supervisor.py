"""The public supervisor on real threads, real child processes and a real clock, without a store."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from duly import InvalidValue, Notice, RestartPolicy, Supervisor, beat
from duly.engine import spawning
from duly.engine.spawning import told

QUICK = RestartPolicy(threshold=5, pause="10ms", slowest="20ms", deadline=None)
HASTY = RestartPolicy(threshold=3, pause="10ms", slowest="20ms", deadline="100ms")


class Told:
    """Notices as they come; `until` waits for one."""

    def __init__(self) -> None:
        self.all: list[Notice] = []
        self._some = asyncio.Event()

    def __call__(self, notice: Notice) -> None:
        self.all.append(notice)
        self._some.set()

    async def until(self, wanted: Callable[[Notice], bool]) -> Notice:
        while True:
            for one in self.all:
                if wanted(one):
                    return one
            self._some.clear()
            await self._some.wait()


async def test_a_loop_that_raises_five_times_ends_with_70() -> None:
    heard = Told()

    async def broken() -> None:
        raise ValueError("no such luck")

    async with Supervisor(tell=heard) as supervisor:
        supervisor.watch(broken, policy=QUICK)
        assert await supervisor.ended() == 70
    [one] = heard.all
    assert (one.loop, one.failures, one.tripped) == ("broken", 5, True)
    assert one.error == "ValueError: no such luck"


async def test_a_plain_function_runs_on_a_thread_and_ends_when_its_beat_says_so() -> None:
    at_work, idents = asyncio.Event(), set[int]()
    loop = asyncio.get_running_loop()

    def consume() -> None:
        idents.add(threading.get_ident())
        while beat():
            loop.call_soon_threadsafe(at_work.set)
            threading.Event().wait(0.001)

    async with Supervisor() as supervisor:
        supervisor.watch(consume, policy=RestartPolicy(deadline="10s"))
        await at_work.wait()
    assert len(idents) == 1 and threading.get_ident() not in idents


async def test_a_thread_that_hangs_is_told_with_its_stack_and_never_doubled(
    caplog: pytest.LogCaptureFixture,
) -> None:
    let_go, calls = threading.Event(), []

    def stuck_in_here() -> None:
        calls.append(1)
        let_go.wait()

    async with Supervisor(grace="50ms") as supervisor:
        supervisor.watch(stuck_in_here, policy=HASTY)
        assert await supervisor.ended() == 70
    let_go.set()
    assert calls == [1]
    stood = [one for one in messages(caplog) if "no sign of life" in one]
    assert len(stood) == 3 and all("let_go.wait()" in one for one in stood)
    assert [one for one in messages(caplog) if "stuck_in_here did not end" in one]


async def test_a_loop_that_swallows_cancellation_is_named_and_left(
    caplog: pytest.LogCaptureFixture,
) -> None:
    let_go, at_work = asyncio.Event(), asyncio.Event()

    async def clings() -> None:
        at_work.set()
        while not let_go.is_set():
            try:
                await let_go.wait()
            except asyncio.CancelledError:
                continue

    async with Supervisor(grace="50ms") as supervisor:
        supervisor.watch(clings)
        await at_work.wait()
    [said] = [one for one in messages(caplog) if "did not end when it was stopped" in one]
    assert said.startswith("clings ") and "in clings" in said
    let_go.set()


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one.getMessage() for one in caplog.records if one.levelno >= logging.ERROR]


# --- child processes --------------------------------------------------------------------------


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


ENDS = {
    "an exit code": ("raise SystemExit(3)", "ended with exit code 3"),
    "a signal": (
        "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
        "was killed by SIGKILL (9)",
    ),
}


@pytest.mark.parametrize("case", ENDS)
async def test_the_end_of_a_child_is_told_in_words(case: str) -> None:
    code, words = ENDS[case]
    heard = Told()
    async with Supervisor(tell=heard) as supervisor:
        policy = RestartPolicy(pause="10ms", slowest="10ms", deadline=None, notify="first")
        supervisor.spawn(python(code), name="child", policy=policy)
        one = await heard.until(lambda notice: notice.failures > 0)
    assert one.error == f"ChildFailed: {sys.executable} {words}"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0, "ended with exit code 0"),
        (-15, "was killed by SIGTERM (15)"),
        (137, "ended with exit code 137, as shells tell of SIGKILL (9)"),
        (255, "ended with exit code 255"),
        (-250, "was killed by signal (250)"),
    ],
)
def test_words_for_an_end(code: int, words: str) -> None:
    assert told(code) == words


async def test_a_child_is_begun_again_and_none_outlives_the_stop(tmp_path: Path) -> None:
    pipe, heard = tmp_path / "pipe", Told()
    os.mkfifo(pipe)
    code = f"import os, signal; print(os.getpid(), file=open({str(pipe)!r}, 'w')); signal.pause()"
    async with Supervisor(tell=heard) as supervisor:
        policy = RestartPolicy(pause="10ms", slowest="10ms", deadline=None, notify="each")
        supervisor.spawn(python(code), name="child", policy=policy)
        first = int(await asyncio.to_thread(pipe.read_text))
        os.kill(first, signal.SIGKILL)
        second = int(await asyncio.to_thread(pipe.read_text))
        assert first != second
    for pid in (first, second):
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    assert "SIGKILL" in heard.all[0].error


async def test_a_child_that_does_not_heed_its_end_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spawning, "GRACE_S", 0.05)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    code = (
        "import os, signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        f"print(os.getpid(), file=open({str(pipe)!r}, 'w'), flush=True)\n"
        "while True: signal.pause()"
    )
    async with Supervisor() as supervisor:
        supervisor.spawn(python(code), name="child")
        pid = int(await asyncio.to_thread(pipe.read_text))
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_a_child_that_runs_too_long_is_ended_and_counted() -> None:
    heard = Told()
    async with Supervisor(tell=heard) as supervisor:
        supervisor.spawn(python("import signal; signal.pause()"), name="child", policy=HASTY)
        one = await heard.until(lambda notice: notice.tripped)
    assert one.error == "TimeoutError: no sign of life for 0.1 s"


COMMANDS: dict[str, tuple[Any, str]] = {
    "one text": ("sleep 5", "a list such as"),
    "nothing": ([], "a list such as"),
    "a program there is not": (["no-such-program-here"], "a program that can be run here"),
    "a number": (["sleep", 5], "a list of texts"),
    "a NUL": (["sleep", "1\0"], "without NUL"),
}


@pytest.mark.parametrize("case", COMMANDS)
async def test_a_command_that_can_never_run_is_refused(case: str) -> None:
    command, said = COMMANDS[case]
    async with Supervisor() as supervisor:
        with pytest.raises(InvalidValue, match=said):
            supervisor.spawn(command)


# --- trips that outlive the process -----------------------------------------------------------

PROGRAM = """
import asyncio, sys
from duly import RestartPolicy, Supervisor

async def broken():
    raise ValueError("no such luck")

async def main():
    async with Supervisor(state=sys.argv[1]) as supervisor:
        supervisor.watch(broken, policy=RestartPolicy(pause="10ms", slowest="10ms", threshold=5))
        return await supervisor.ended()

sys.exit(asyncio.run(main()))
"""


def test_the_count_of_trips_survives_restarts_without_a_store(tmp_path: Path) -> None:
    state = tmp_path / "trips.json"
    for trip in (1, 2):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(state)],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 70, done.stderr
        assert json.loads(state.read_text())["broken"]["count"] == trip
    assert "broken tripped 2 times today after 5 failures" in done.stderr
    assert [one.name for one in tmp_path.iterdir()] == ["trips.json"], "nothing is left beside it"


async def test_a_file_of_trips_that_is_spoilt_is_told_of_and_begun_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = tmp_path / "trips.json"
    state.write_text("{half")

    async def broken() -> None:
        raise ValueError

    async with Supervisor(state=state) as supervisor:
        supervisor.watch(broken, policy=QUICK)
        await supervisor.ended()
    assert json.loads(state.read_text())["broken"]["count"] == 1
    assert any("tells nothing of earlier trips" in one.getMessage() for one in caplog.records)
