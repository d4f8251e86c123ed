"""Enqueueing inside the caller's own transaction: whose connection can be used, and which not.

Usable is a connection of apsw to the same file with a transaction open, bare or inside a
SQLAlchemy connection or session. A connection of the standard module `sqlite3` is refused: that
is a second copy of SQLite in this process, and when either copy closes the file, the POSIX locks
of the other are gone. Such a program enqueues after its own commit, with a key, or opens its own
tables through apsw.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import apsw

from duly.core.runs import Enqueued, NewRun
from duly.errors import InvalidValue
from duly.stores.base import WakeUp
from duly.stores.sqlite.border import translate
from duly.stores.sqlite.enqueue import enqueue
from duly.stores.sqlite.tx import Clock, Tx

LONGEST_WATCH = 60
"""Looks at a caller's connection for its commit, at growing distances, before it is let be."""


def usable(conn: Any, path: Path) -> apsw.Connection:
    """Return the connection of apsw inside `conn`; raise `InvalidValue` saying what is wrong."""
    inner = _driver_connection(conn)
    if not isinstance(inner, apsw.Connection):
        raise InvalidValue(_why_not(inner, path))
    try:
        file, inside = inner.filename, inner.in_transaction
        same = bool(file) and os.path.samefile(file, path)
    except (apsw.ConnectionClosedError, OSError):
        raise InvalidValue("expected conn to be open, got a connection that is closed") from None
    if not same:
        raise InvalidValue.expected("conn", f"a connection to {path}", file)
    if not inside:
        raise InvalidValue(
            "expected conn to be in a transaction, got one that is not: begin one first"
            " (begin immediate), so that the runs appear with your own rows or not at all"
        )
    return inner


def _driver_connection(conn: Any) -> Any:
    """Unwrap a session or connection of SQLAlchemy; anything else is returned as it is."""
    if isinstance(conn, apsw.Connection):
        return conn
    sync: Any = _synchronous(conn)
    if not type(sync).__module__.startswith("sqlalchemy."):
        return conn
    connection: Any = getattr(sync, "connection", None)
    if callable(connection):  # of a session: a method that gives its connection
        lent: Any = connection()
        connection = lent.connection
    return getattr(connection, "driver_connection", connection)


def _synchronous(conn: Any) -> Any:
    """Return the synchronous session or connection inside an asynchronous one."""
    return getattr(conn, "sync_session", None) or getattr(conn, "sync_connection", None) or conn


def _why_not(inner: Any, path: Path) -> str:
    module = type(inner).__module__.partition(".")[0]
    if module in ("sqlite3", "_sqlite3", "aiosqlite", "pysqlite3"):
        return (
            f"expected conn to be a connection of apsw to {path}, got one of {module}: it is a"
            " second copy of SQLite in this process, and when one copy closes the file the locks"
            " of the other are lost, which can damage it. Use a connection of apsw for your"
            " tables, or enqueue with a key right after your commit"
        )
    shown = f"{type(inner).__module__}.{type(inner).__qualname__}"
    return f"expected conn to be a connection of apsw to {path}, got {shown}"


def enqueue_with(
    conn: apsw.Connection, path: Path, runs: Sequence[NewRun], clock: Clock
) -> tuple[list[Enqueued], dict[WakeUp, None]]:
    """Write runs inside the caller's transaction; all of them or none."""
    tx = Tx(conn, clock)
    try:
        conn.execute("savepoint duly")
        try:
            answers = enqueue(tx, runs, None)
        except BaseException:
            if conn.in_transaction:
                conn.execute("rollback to duly")
                conn.execute("release duly")
            raise
        conn.execute("release duly")
    except apsw.Error as error:
        raise translate(error, path, system_errno=conn.system_errno) from error
    except (UnicodeEncodeError, OverflowError) as error:
        raise InvalidValue(f"the store {path} cannot hold a value: {error}") from error
    return answers, tx.told


def tell_after_commit(
    conn: apsw.Connection, told: dict[WakeUp, None], tell: Callable[[Iterable[WakeUp]], None]
) -> None:
    """Wake listeners once the caller's transaction is over; a rollback wakes for nothing."""
    loop = asyncio.get_running_loop()

    def look(turn: int) -> None:
        try:
            open_still = conn.in_transaction
        except apsw.Error:
            open_still = False
        if not open_still:
            tell(told)
        elif turn < LONGEST_WATCH:
            loop.call_later(min(0.001 * 2**turn, 1.0), look, turn + 1)

    loop.call_soon(look, 0)
