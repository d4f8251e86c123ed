"""A connection that is opened when it is needed, and one transaction at a time on it.

A link is used by one thread. Whatever fails is rolled back and raised as an error of Duly;
after a failure of the disk the connection is given up, and the next call opens a new one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import apsw

from duly.errors import InvalidValue
from duly.stores.base import WakeUp
from duly.stores.sqlite.border import never_migrated, no_such_table, translate
from duly.stores.sqlite.file import connect, tidy_close
from duly.stores.sqlite.tx import Clock, Tx

Work = Callable[[Tx], Any]

WRITE, READ = "begin immediate", "begin"


class Link:
    """One lazily opened connection to the database at `path`."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self.path = path
        self._clock = clock
        self._conn: apsw.Connection | None = None

    def transact(self, begin: str, works: Sequence[Work]) -> tuple[list[Any], dict[WakeUp, None]]:
        """Carry out all of `works` in one transaction; return their answers, and what to tell."""
        try:
            if self._conn is None:
                self._conn = connect(self.path)
            tx = Tx(self._conn, self._clock)
            self._conn.execute(begin)
            answers = [work(tx) for work in works]
            self._conn.execute("commit")
        except apsw.Error as error:
            raise self._failed(error) from error
        except (UnicodeEncodeError, OverflowError) as error:
            self._roll_back()
            raise InvalidValue(f"the store {self.path} cannot hold a value: {error}") from error
        except BaseException:
            self._roll_back()
            raise
        return answers, tx.told

    def close(self) -> None:
        """Close the connection, if there is one."""
        conn, self._conn = self._conn, None
        if conn is not None:
            tidy_close(conn)

    def _failed(self, error: apsw.Error) -> Exception:
        conn = self._conn
        failure = 0 if conn is None else conn.system_errno
        self._roll_back()
        if isinstance(error, (apsw.IOError, apsw.CantOpenError)) and conn is not None:
            self._conn = None
            with contextlib.suppress(apsw.Error):
                conn.close(True)
        if no_such_table(error):
            return never_migrated(self.path)
        return translate(error, self.path, system_errno=failure)

    def _roll_back(self) -> None:
        """End a transaction that failed; SQLite may have ended it by itself."""
        with contextlib.suppress(apsw.Error):
            if self._conn is not None and self._conn.in_transaction:
                self._conn.execute("rollback")
