"""What the tests of this store share: a clock, ids, short verbs, and processes of their own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from duly.core.fleet import Instance
from duly.core.ids import uuid7
from duly.core.runs import NewRun
from duly.stores.sqlite import SqliteStore

T0 = datetime(2026, 1, 5, tzinfo=UTC)


def ident(n: int) -> UUID:
    """The n-th id; ids sort as their numbers do."""
    return uuid7(n, 0)


def new(n: int, **how: object) -> NewRun:
    """The n-th run to ask for."""
    return NewRun(id=ident(n), task="t", **how)  # type: ignore[arg-type]


def instance(boot: UUID) -> Instance:
    """An instance that carries the task `t`."""
    return Instance(
        boot=boot,
        name="host:1",
        host="host",
        pid=1,
        pid_space="",
        owner="app",
        version="1",
        tasks=("t",),
    )


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[SqliteStore]:
    """A store on `path`, migrated and open; closed at the end."""
    store = SqliteStore(path, clock=lambda: T0)
    try:
        await store.migrate()
        await store.open()
        yield store
    finally:
        await store.close()


@contextmanager
def process(*arguments: object) -> Iterator[subprocess.Popen[str]]:
    """A process that runs `actors.py` with these arguments; killed at the end if it still is."""
    script = Path(__file__).with_name("actors.py")
    command = [sys.executable, str(script), *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as started:
        try:
            yield started
        finally:
            started.kill()


def line_of(started: subprocess.Popen[str]) -> str:
    """The next line that a process prints."""
    assert started.stdout is not None, "its output is a pipe"
    return started.stdout.readline().strip()
