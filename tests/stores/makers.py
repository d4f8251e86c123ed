"""How each store is made for a test, and how a test learns that nothing of it was left behind.

A store that cannot be imported here is left out of the list with its reason, which the run tells
at its end. The stores share nothing: each test gets a file, a database or tables of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from duly.stores.memory import MemoryStore
from tests.stores.world import T0

STORES = ("memory", "sqlite", "postgres")


def store_params() -> list[Any]:
    """All stores as parameters; those that need a server carry its marker."""
    marks: dict[str, Any] = {"postgres": [pytest.mark.server, pytest.mark.xdist_group("postgres")]}
    return [pytest.param(name, marks=marks.get(name, [])) for name in STORES]


def need(module: str, name: str) -> Any:
    """Import a name of this project, or skip with what is missing."""
    try:
        return getattr(importlib.import_module(module), name)
    except (ModuleNotFoundError, AttributeError) as error:
        pytest.skip(str(error))


class Ground:
    """Where stores of one kind are made: files in a folder, databases of one server."""

    def __init__(self) -> None:
        self._server: Any = None

    def make(self, name: str, folder: Path) -> Any:
        """Return a new store, neither migrated nor open."""
        match name:
            case "memory":
                return MemoryStore(lambda: T0)
            case "sqlite":
                return need("duly.stores.sqlite", "SqliteStore")(folder / "duly.db")
            case _:
                store = need("duly.stores.postgres", "PostgresStore")
                return store(self.server().fresh_database())

    def probe(self, name: str) -> None:
        """Skip at once when the store `name` cannot be made here."""
        module = {"sqlite": "SqliteStore", "postgres": "PostgresStore"}.get(name)
        if module is not None:
            need(f"duly.stores.{name}", module)

    def server(self) -> Any:
        """Return the server of this session, started when it is first needed."""
        if self._server is None:
            self._server = need("tests.servers", "start_postgres")()
        return self._server

    def clear(self) -> None:
        """Stop what was started."""
        if self._server is not None:
            self._server.stop()


@contextlib.asynccontextmanager
async def opened(store: Any) -> AsyncIterator[Any]:
    """Migrate and open a store; close it, and prove that nothing leaked."""
    before = Traces.now()
    await store.migrate()
    await store.open()
    try:
        yield store
    finally:
        await store.close()
    await before.must_be_all()


class Traces(msgspec.Struct, frozen=True):
    """What a store could leave behind in this process."""

    threads: frozenset[str]
    tasks: frozenset[str]
    files: dict[str, str]  # descriptor to what it stands for, sockets included

    @classmethod
    def now(cls) -> Traces:
        """Look around. Threads of the loop's own pool stay for the loop, not for the store."""
        threads = [t for t in threading.enumerate() if not t.name.startswith("asyncio_")]
        return cls(
            frozenset(f"{t.name}#{t.ident}" for t in threads),
            frozenset(t.get_name() for t in asyncio.all_tasks() - {asyncio.current_task()}),
            dict(_descriptors()),
        )

    async def must_be_all(self) -> None:
        """Hold that nothing is there now which was not there then."""
        for _ in range(20):  # transports close in the turns after `close` returned
            await asyncio.sleep(0)
            left = self._left()
            if not left:
                break
        assert self._left() == []

    def _left(self) -> list[str]:
        now = Traces.now()
        more = [f"thread {one}" for one in sorted(now.threads - self.threads)]
        more += [f"task {one}" for one in sorted(now.tasks - self.tasks)]
        return more + [
            f"descriptor {number}: {target}"
            for number, target in now.files.items()
            if self.files.get(number) != target
        ]


def _descriptors() -> list[tuple[str, str]]:
    folder = Path("/proc/self/fd")
    if not folder.exists():
        return []
    found = []
    for name in os.listdir(folder):
        with contextlib.suppress(FileNotFoundError):
            found.append((name, os.readlink(folder / name)))
    return [(name, target) for name, target in found if not target.startswith("/proc/")]
