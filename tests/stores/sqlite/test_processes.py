"""Several processes on one file: nothing is shared, doubled or lost, however they end."""

from __future__ import annotations

import contextlib
from pathlib import Path
from uuid import UUID

import apsw
import pytest

from duly.core.runs import RunFilter
from duly.core.schedules import Definition, Overlap
from tests.stores.sqlite.places import T0, ident, line_of, new, opened, process

pytestmark = pytest.mark.slow


def _said_by(act: str, path: Path, processes: int) -> list[str]:
    """Everything that some processes print until they end."""
    with contextlib.ExitStack() as stack:
        started = [stack.enter_context(process(act, path)) for _ in range(processes)]
        said = [one.communicate(timeout=100)[0].splitlines() for one in started]
        assert [one.returncode for one in started] == [0] * processes
    return [line for lines in said for line in lines]


def _check_whole(path: Path) -> None:
    conn = apsw.Connection(str(path))
    assert conn.pragma("integrity_check") == "ok"
    assert conn.pragma("foreign_key_check") is None
    conn.close()


async def test_four_claiming_processes_share_no_run(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    async with opened(path) as store:
        await store.enqueue([new(n) for n in range(1, 1001)])
        said = _said_by("claimer", path, 4)
        assert sorted(said) == sorted(str(ident(n)) for n in range(1, 1001))
        assert await store.counts() == {"succeeded": 1000}
    _check_whole(path)


async def test_what_several_processes_fire_fires_once(tmp_path: Path) -> None:
    path, names = tmp_path / "x.db", [f"s{n}" for n in range(20)]
    trigger: dict[str, object] = {"kind": "every", "interval": "1m"}
    definitions = [
        Definition(name=name, task="t", trigger=trigger, overlap=Overlap.ALLOW) for name in names
    ]
    async with opened(path) as store:
        await store.declare(ident(1), "o", definitions, new_id=lambda: ident(2), now=T0)
        said = _said_by("firer", path, 3)
        assert len(said) == len(set(said))
        runs = await store.runs(RunFilter(limit=1000))
        assert len(runs) == len(said) == len({(run.schedule, run.due) for run in runs})
        for name in names:
            ranges = await store.verdicts(name)
            assert sum(one.count for one in ranges) == 10
    _check_whole(path)


async def test_a_killed_writer_loses_nothing_it_was_told_is_there(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    async with opened(path):
        pass
    with process("writer", path) as writer:
        told = [line_of(writer) for _ in range(200)]
        writer.kill()
        assert writer.stdout is not None
        told += [line for line in writer.stdout.read().splitlines() if len(line) == 36]
    async with opened(path) as store:
        for line in told:
            assert await store.run(UUID(line)) is not None
    _check_whole(path)


async def test_a_process_that_dies_in_a_transaction_leaves_no_lock_and_no_half(
    tmp_path: Path,
) -> None:
    path = tmp_path / "x.db"
    async with opened(path) as store:
        with process("writer", path) as first, process("writer", path) as second:
            told = [line_of(one) for _ in range(20) for one in (first, second)]
            first.kill()
            second.kill()
        await store.enqueue([new(1)])
        counted = await store.counts()
        assert counted["ready"] >= len(told) + 1
        halves = await store._read(
            lambda tx: tx.value(
                "select (select count(*) from duly_run) - (select count(*) from duly_ready)"
            )
        )
        assert halves == 0
    _check_whole(path)
