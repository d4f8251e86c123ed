"""Opening the database file: which files are refused, and how a connection is set up.

A connection here writes ahead (WAL) and flushes at every commit (`synchronous=FULL`): what was
acknowledged is on the disk. Waiting for another process's lock is done in short random naps,
never in SQLite's own steps, which grow to 100 ms.

A trap that this store cannot mend: POSIX locks belong to the process, and closing *any* file
descriptor of the database drops them all. So the file must never be opened in the same process
by a second copy of SQLite (the standard module `sqlite3`, a driver with its own build) or by
plain `open()`; two such writers would not see each other and could damage the file. The
`sqlite3` command line is another process, and safe.
"""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable
from pathlib import Path

import apsw

from duly.errors import InvalidValue, StoreRefused
from duly.stores.sqlite.border import translate

PATIENCE_S = 10.0
"""How long a lock of another process is waited for before the store counts as unavailable."""

ALLOW_NETWORK = "DULY_SQLITE_ALLOW_NETWORK_FS"
NETWORK = frozenset({"9p", "afs", "ceph", "cifs", "fuse.sshfs", "glusterfs", "lustre", "ncpfs"})
_MOUNTS = Path("/proc/self/mounts")
_FLAGS = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE

_PRAGMAS = (
    "pragma synchronous=full",
    "pragma temp_store=memory",
    "pragma cache_size=-32768",  # kibibytes
    "pragma wal_autocheckpoint=4000",  # pages: 16 MiB
    "pragma journal_size_limit=67108864",
)


def checked_path(path: str | Path) -> Path:
    """Return the absolute path of a database file; raise `InvalidValue` for what is none."""
    text = os.fspath(path)
    if text in ("", ":memory:") or text.startswith("file:") or "\0" in text:
        raise InvalidValue(
            f"expected the store's path to be a file on a local disk, got {text!r}: a database in"
            " memory is seen by one connection only; for tests use duly.stores.memory.MemoryStore"
        )
    return Path(os.path.abspath(text))


def file_system(path: Path, mounts: str) -> str:
    """Return the type of the file system that holds `path`, by a table in the form of fstab."""
    best, kind = "", ""
    for line in mounts.splitlines():
        fields = line.split()
        if len(fields) < 3:
            continue
        point = fields[1].encode().decode("unicode_escape")  # a space is written \040 there
        inside = os.fspath(path) == point or os.fspath(path).startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, fields[2]
    return kind


def refuse_network(path: Path, *, allow: bool = False) -> None:
    """Raise `StoreRefused` when `path` lies on a network file system, whose locks cannot be had.

    `allow`, or the variable `DULY_SQLITE_ALLOW_NETWORK_FS=1`, takes the risk.
    """
    if allow or os.environ.get(ALLOW_NETWORK) == "1":
        return
    try:
        kind = file_system(Path(os.path.realpath(path)), _MOUNTS.read_text())
    except OSError:
        return  # no such table on this system: nothing can be said
    if kind in NETWORK or kind.startswith(("nfs", "smb")):
        raise StoreRefused(
            f"{path} lies on a network file system ({kind}), where SQLite's locks and its shared"
            " memory are not reliable: put it on a local disk, or use PostgreSQL;"
            f" {ALLOW_NETWORK}=1 takes the risk"
        )


def connect(path: Path) -> apsw.Connection:
    """Open a connection, ready for statements; raise an error of `duly.errors`."""
    conn: apsw.Connection | None = None
    try:
        conn = apsw.Connection(os.fspath(path), flags=_FLAGS, statementcachesize=256)
        conn.set_busy_handler(patience(PATIENCE_S))
        _write_ahead(conn)
        for pragma in _PRAGMAS:
            conn.execute(pragma).fetchall()
    except apsw.Error as error:
        if conn is not None:
            conn.close(True)
        raise translate(error, path) from error
    return conn


def _write_ahead(conn: apsw.Connection) -> None:
    """Switch to WAL. Several processes at a new file collide here without the busy handler."""
    nap = patience(PATIENCE_S)
    for turn in range(100_000):
        try:
            if conn.pragma("journal_mode") == "wal" or conn.pragma("journal_mode", "wal") == "wal":
                return
        except apsw.BusyError:
            if not nap(turn):
                raise
            continue
        raise apsw.ReadOnlyError("the file system offers no write-ahead log")


def patience(limit_s: float) -> Callable[[int], bool]:
    """Return a busy handler: random naps of 0.1 to 4 ms, `limit_s` in all, then it gives up."""
    draw, never, waited = random.Random(), threading.Event(), 0.0

    def nap(turn: int) -> bool:
        nonlocal waited
        if turn == 0:
            waited = 0.0
        if waited >= limit_s:
            return False
        pause = draw.uniform(0.0001, 0.001 if turn < 10 else 0.004)
        never.wait(pause)
        waited += pause
        return True

    return nap


def tidy_close(conn: apsw.Connection) -> None:
    """Close a connection, leaving statistics for the planner where they are worth it."""
    try:
        conn.execute("pragma optimize").fetchall()
    except apsw.Error:  # a full or read-only disk must not keep a connection open
        conn.close(True)
        return
    conn.close(True)
