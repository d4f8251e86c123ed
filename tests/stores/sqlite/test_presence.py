"""A lock goes with its process, and its going is noticed without polling."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from duly.core.fleet import Proof
from duly.errors import StoreUnavailable
from duly.stores.sqlite import presence as presences
from duly.stores.sqlite.presence import FilePresence
from tests.stores.sqlite.places import ident, line_of, process

BOOT = ident(7)


async def _watching(watcher: FilePresence) -> asyncio.Task[Proof | None]:
    """A task that watches, and has begun to."""
    task = asyncio.create_task(watcher.watch(BOOT))
    await asyncio.sleep(0)
    return task


@pytest.mark.slow
async def test_the_death_of_a_holder_is_noticed_and_proven(tmp_path: Path) -> None:
    db = tmp_path / "x.db"
    with process("holder", db, BOOT) as holder:
        assert line_of(holder) == "held"
        task = await _watching(FilePresence(db))
        assert not task.done()
        holder.kill()
        assert await asyncio.wait_for(task, 30) is Proof.PROCESS


@pytest.mark.slow
async def test_a_cancelled_watch_can_be_taken_up_again(tmp_path: Path) -> None:
    db = tmp_path / "x.db"
    watcher = FilePresence(db)
    with process("holder", db, BOOT) as holder:
        assert line_of(holder) == "held"
        for _ in range(5):
            task = await _watching(watcher)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert len(watcher._watches) == 1
        holder.kill()
        assert await asyncio.wait_for(watcher.watch(BOOT), 30) is Proof.PROCESS


@pytest.mark.slow
async def test_from_another_pid_space_a_death_is_a_lost_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = tmp_path / "x.db"
    with process("holder", db, BOOT) as holder:
        assert line_of(holder) == "held"
        task = await _watching(FilePresence(db, grace=timedelta(milliseconds=10)))
        monkeypatch.setattr(presences, "pid_space", lambda: "another")
        holder.kill()
        assert await asyncio.wait_for(task, 30) is Proof.SESSION


async def test_a_release_proves_nothing(tmp_path: Path) -> None:
    holder = FilePresence(tmp_path / "x.db")
    await holder.hold(BOOT)
    task = await _watching(FilePresence(tmp_path / "x.db"))
    await holder.release()
    assert await asyncio.wait_for(task, 30) is None


async def test_of_a_boot_that_holds_nothing_nothing_can_be_said(tmp_path: Path) -> None:
    assert await FilePresence(tmp_path / "x.db").watch(BOOT) is None


async def test_a_lock_file_that_was_removed_is_made_again(tmp_path: Path) -> None:
    holder = FilePresence(tmp_path / "x.db")
    assert not await holder.holding()
    await holder.hold(BOOT)
    assert await holder.holding()
    holder.path(BOOT).unlink()
    assert await holder.holding()
    assert holder.path(BOOT).exists()
    await holder.release()
    assert not holder.path(BOOT).exists()


async def test_a_boot_that_another_process_holds_cannot_be_held(tmp_path: Path) -> None:
    one, other = FilePresence(tmp_path / "x.db"), FilePresence(tmp_path / "x.db")
    await one.hold(BOOT)
    with pytest.raises(StoreUnavailable, match="cannot be taken"):
        await other.hold(BOOT)
    await one.release()
