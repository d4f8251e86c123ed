"""Enqueueing inside the caller's own transaction: with their rows, or not at all."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pytest

from duly.core.runs import Reuse
from duly.errors import InvalidValue
from duly.stores.base import Signal, WakeUp
from tests.stores.sqlite.places import ident, new, opened


async def test_runs_appear_with_the_callers_commit(tmp_path: Path) -> None:
    async with opened(tmp_path / "x.db") as store:
        heard = asyncio.Event()
        store.listen(lambda wake: heard.set() if wake == WakeUp(Signal.READY) else None)
        conn = apsw.Connection(str(store.path))
        conn.execute("begin immediate; create table theirs (id integer primary key)")
        [answer] = await store.enqueue_with(conn, [new(1)])
        assert (answer.run, answer.reuse) == (ident(1), Reuse.NEW)
        assert await store.run(ident(1)) is None
        conn.execute("commit")
        assert await store.run(ident(1)) is not None
        await asyncio.wait_for(heard.wait(), 30)
        conn.close()


async def test_runs_go_with_the_callers_rollback(tmp_path: Path) -> None:
    async with opened(tmp_path / "x.db") as store:
        conn = apsw.Connection(str(store.path))
        conn.execute("begin immediate")
        await store.enqueue_with(conn, [new(1)])
        conn.execute("rollback")
        conn.close()
        assert await store.run(ident(1)) is None


async def test_a_run_that_is_refused_leaves_the_callers_transaction_usable(tmp_path: Path) -> None:
    async with opened(tmp_path / "x.db") as store:
        conn = apsw.Connection(str(store.path))
        conn.execute("begin immediate")
        with pytest.raises(AttributeError):
            await store.enqueue_with(conn, [new(1), None])  # type: ignore[list-item]
        await store.enqueue_with(conn, [new(2)])
        conn.execute("commit")
        conn.close()
        assert await store.counts() == {"ready": 1}


def _standard(path: Path) -> Any:
    """A connection of the standard module, to another file: opening this one would be the trap."""
    return sqlite3.connect(path.with_name("other.db"))


def _elsewhere(path: Path) -> Any:
    conn = apsw.Connection(str(path.with_name("other.db")))
    conn.execute("begin")
    return conn


def _closed(path: Path) -> Any:
    conn = apsw.Connection(str(path))
    conn.close()
    return conn


def _idle(path: Path) -> Any:
    return apsw.Connection(str(path))


def _text(path: Path) -> Any:
    return str(path)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (_standard, "second copy of SQLite"),
        (_elsewhere, "expected conn to be a connection to"),
        (_closed, "closed"),
        (_idle, "in a transaction"),
        (_text, "connection of apsw"),
    ],
)
async def test_a_connection_that_cannot_be_used_is_refused_with_the_reason(
    tmp_path: Path, make: Callable[[Path], Any], words: str
) -> None:
    async with opened(tmp_path / "x.db") as store:
        conn = make(store.path)
        with pytest.raises(InvalidValue, match=words):
            await store.enqueue_with(conn, [new(1)])
        if hasattr(conn, "close"):
            conn.close()


async def test_a_session_of_sqlalchemy_over_sqlite3_is_refused(tmp_path: Path) -> None:
    sqlalchemy = pytest.importorskip("sqlalchemy")
    async with opened(tmp_path / "x.db") as store:
        engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path / 'other.db'}")
        with engine.connect() as conn, pytest.raises(InvalidValue, match="second copy"):
            await store.enqueue_with(conn, [new(1)])
        engine.dispose()
