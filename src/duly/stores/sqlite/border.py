"""The border: errors of the driver become errors of Duly, each a sentence a person understands.

Nothing of apsw leaves the store. What the world can mend by itself is `StoreUnavailable` (or
`StoreFull`, of which nothing was kept); what needs a person is `StoreReadOnly` or `StoreRefused`.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

import apsw

from duly.errors import (
    DulyBug,
    DulyError,
    Refused,
    StoreFull,
    StoreMismatch,
    StoreReadOnly,
    StoreRefused,
    StoreUnavailable,
)


def translate(error: apsw.Error, path: Path, *, system_errno: int = 0) -> DulyError:
    """Return what `error` of the database at `path` means; the caller raises it from `error`."""
    if isinstance(error, apsw.FullError) or system_errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreFull(
            f"the disk of {path} is full: nothing of this call was kept;"
            " free some space, and Duly goes on by itself"
        )
    if isinstance(error, apsw.CantOpenError):
        return _cannot_open(path)
    if isinstance(error, apsw.ReadOnlyError):
        return StoreReadOnly(_read_only(path))
    if isinstance(error, apsw.ConstraintError) and "duly_run.schedule" in str(error):
        return Refused("this occurrence of its schedule has a run by the clock already")
    for kinds, made, why in _MEANINGS:
        if isinstance(error, kinds):
            return made(why.format(path=path, error=error))
    return DulyBug(f"SQLite refused a statement of ours on {path}: {error}")


_MEANINGS: tuple[tuple[tuple[type[apsw.Error], ...], type[DulyError], str], ...] = (
    (
        (apsw.BusyError, apsw.LockedError),
        StoreUnavailable,
        "{path} stayed locked by another process for too long; is a backup or another program"
        " holding a transaction open on it?",
    ),
    (
        (apsw.NotADBError,),
        StoreRefused,
        "{path} is not a SQLite database (or it is encrypted)",
    ),
    (
        (apsw.CorruptError,),
        StoreRefused,
        "{path} is damaged ({error}): restore it from a backup, or recover it with the"
        " sqlite3 program's .recover",
    ),
    (
        (apsw.PermissionsError, apsw.AuthError),
        StoreRefused,
        "permission to use {path} was denied: {error}",
    ),
    (
        (apsw.IOError, apsw.NoMemError, apsw.InterruptError),
        StoreUnavailable,
        "reading or writing {path} failed: {error}",
    ),
    ((apsw.ConnectionClosedError,), StoreUnavailable, "the store at {path} is closed"),
)


def _read_only(path: Path) -> str:
    if path.exists() and not os.access(path, os.W_OK):
        return f"{path} can be read but not written: its file permissions forbid it"
    if not os.access(path.parent, os.W_OK):
        return (
            f"{path} can be read but not written: its directory {path.parent} is read-only,"
            " and SQLite keeps its journal there"
        )
    return f"{path} can be read but not written: it, or its file system, is read-only"


def _cannot_open(path: Path) -> DulyError:
    if not path.parent.exists():
        return StoreRefused(f"{path} cannot be opened: the directory {path.parent} does not exist")
    if path.is_dir():
        return StoreRefused(f"{path} cannot be opened: it is a directory, not a database file")
    if path.exists() and not os.access(path, os.R_OK):
        return StoreRefused(f"{path} cannot be opened: its file permissions forbid reading")
    if not os.access(path.parent, os.W_OK):
        return StoreReadOnly(_read_only(path))
    return StoreUnavailable(f"{path} cannot be opened now: too many open files, or no memory?")


def no_such_table(error: apsw.Error) -> bool:
    """Whether the schema is missing: the database was never migrated."""
    return isinstance(error, apsw.SQLError) and "no such table: duly_" in str(error)


def never_migrated(path: Path) -> StoreMismatch:
    """The error for a database without our tables."""
    return StoreMismatch(f"{path} has no tables of Duly yet; create them with: duly db migrate")
