"""Hints between processes: heard at once, never believed, cleaned up after the dead."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from duly.core.runs import Answer
from duly.stores.base import Signal, WakeUp
from duly.stores.sqlite.wake import LONGEST_ADDRESS, parse
from tests.stores.sqlite.places import ident, instance, new, opened, process


class Ear:
    """Hears, and lets a test wait until a signal came."""

    def __init__(self) -> None:
        self.heard: list[WakeUp] = []
        self._came = asyncio.Event()

    def __call__(self, wake: WakeUp) -> None:
        self.heard.append(wake)
        self._came.set()

    async def until(self, wake: WakeUp) -> None:
        while wake not in self.heard:
            self._came.clear()
            await asyncio.wait_for(self._came.wait(), 30)


READY = WakeUp(Signal.READY)


async def test_a_listener_hears_its_own_process_once_per_commit(tmp_path: Path) -> None:
    async with opened(tmp_path / "x.db") as store:
        ear = Ear()
        stop = store.listen(ear)
        await store.enqueue([new(n) for n in range(50)])
        assert ear.heard == [READY]
        stop()
        await store.enqueue([new(99)])
        assert ear.heard == [READY]


async def test_a_listener_hears_another_store_on_the_file(tmp_path: Path) -> None:
    async with opened(tmp_path / "x.db") as one, opened(tmp_path / "x.db") as other:
        ear = Ear()
        one.listen(ear)
        await other.enqueue([new(1)])
        await ear.until(READY)
        await other.cancel(ident(1), by="ann", reason="why")
        assert (await one.run(ident(1))) is not None


@pytest.mark.slow
async def test_a_listener_hears_another_process(tmp_path: Path) -> None:
    async with opened(tmp_path / "x.db") as store:
        ear = Ear()
        store.listen(ear)
        with process("enqueuer", tmp_path / "x.db"):
            await ear.until(READY)
        assert READY in ear.heard


async def test_what_came_during_the_pause_is_told_after_it(tmp_path: Path) -> None:
    async with opened(tmp_path / "x.db") as one, opened(tmp_path / "x.db") as other:
        ear = Ear()
        one.listen(ear)
        await other.enqueue([new(1)])
        await ear.until(READY)
        other._waker._cooling.add(READY)
        ear.heard.clear()
        other._waker.tell([READY])  # no turn of the loop in between in which the pause could end
        assert other._waker._waiting == {READY: None}
        other._waker._cooled([READY])
        await ear.until(READY)
        assert other._waker._waiting == {}


async def test_a_socket_that_nobody_reads_is_removed(tmp_path: Path) -> None:
    async with opened(tmp_path / "x.db") as store:
        dead = tmp_path / "x.db.wake" / "1-dead.sock"
        left = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        left.bind(str(dead))
        left.close()
        await store.enqueue([new(1)])
        assert not dead.exists()


async def test_a_path_too_long_for_a_socket_wakes_all_the_same(tmp_path: Path) -> None:
    folder = tmp_path / ("d" * LONGEST_ADDRESS)
    folder.mkdir()
    async with opened(folder / "x.db") as one, opened(folder / "x.db") as other:
        ear = Ear()
        one.listen(ear)
        await other.enqueue([new(1)])
        await ear.until(READY)
        assert one._waker._socket is not None


async def test_closing_leaves_no_socket_behind(tmp_path: Path) -> None:
    async with opened(tmp_path / "x.db"):
        assert len(list((tmp_path / "x.db.wake").glob("*.sock"))) == 1
    assert list((tmp_path / "x.db.wake").glob("*.sock")) == []


@pytest.mark.parametrize(
    ("message", "signals"),
    [
        (b"ready ", [READY]),
        (b"due \nfleet ", [WakeUp(Signal.DUE), WakeUp(Signal.FLEET)]),
        (b"cancel 0123", [WakeUp(Signal.CANCEL, "0123")]),
        (b"", []),
        (b"\xff\xfe\x00", []),
        (b"drop tables", []),
        (b"cancel " + b"x" * 65, []),
    ],
)
def test_what_is_no_signal_of_ours_is_left_out(message: bytes, signals: list[WakeUp]) -> None:
    assert list(parse(message)) == signals


async def test_a_lease_line_tells_the_listeners_of_its_process(tmp_path: Path) -> None:
    async with opened(tmp_path / "x.db") as store:
        assert await store.register(instance(ident(1)), {}) is Answer.DONE
        await store.enqueue([new(5)])
        await store.claim(ident(1), ident(2), queues=["default"], tasks=["t"], limit=1)
        ear = Ear()
        store.listen(ear)
        line = store.lease_line()
        renewal = await asyncio.to_thread(line.renew, ident(1), [], [])
        assert renewal.released == 1
        await ear.until(READY)
        line.close()
