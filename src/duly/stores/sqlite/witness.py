"""Whether this database is the one that was written last: a witness beside it.

The database counts its openings, and on with the renewals (every few seconds). After each
such commit the count and the database's own id are written to `<db>.witness`, so the witness
never knows of more than the database does, unless an older copy of the database was put in its
place. Then acknowledged work may be missing, or done work may look undone: nothing fires, is
claimed or renewed until a person has looked and said `duly db accept`.

What cannot be seen: a restore that also took the witness back (a snapshot of the whole disk or
directory); a copy younger than the last count; a database that was moved without its witness,
which is trusted, and gets a new one.
"""

from __future__ import annotations

import contextlib
import os
from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from duly.stores.base import Standing
from duly.stores.sqlite import schema
from duly.stores.sqlite.rows import json_text, micros
from duly.stores.sqlite.tx import Tx

PACE = timedelta(seconds=5)
"""The least time between two counts by renewals of one process."""


class Mark(msgspec.Struct, frozen=True):
    """What the witness holds: whose it is, and how far that had counted."""

    store: str
    counter: int


class Witness:
    """The witness of one database, as one process reads and writes it."""

    def __init__(self, db: Path) -> None:
        self._db = db
        self._file = db.with_name(db.name + ".witness")
        self._counted: datetime | None = None

    def open(self, tx: Tx) -> tuple[Standing, Mark]:
        """Compare the database with its witness, and count this opening if it is trusted."""
        schema.check(tx, self._db)
        seen, mine = self.read(), _mark(tx)
        why = None if seen is None else self._distrust(mine, seen)
        if why is not None:
            tx.do("insert or ignore into duly_meta (name, value) values ('untrusted', ?)", why)
        standing = self.standing(tx)
        return standing, self._count(tx) if standing.trusted else mine

    def standing(self, tx: Tx) -> Standing:
        """Say how the database stands, by what it says itself."""
        number = schema.check(tx, self._db)
        why = tx.value("select value from duly_meta where name = 'untrusted'")
        return Standing(
            schema=number, generation=_generation(tx), trusted=why is None, why=why or ""
        )

    def accept(self, tx: Tx, by: str, reason: str) -> Mark | None:
        """Trust the database again, as generation + 1; None when it was trusted."""
        if not tx.do("delete from duly_meta where name = 'untrusted'"):
            return None
        seen = self.read()
        tx.do("update duly_meta set value = value + 1 where name = 'generation'")
        tx.do(
            "update duly_meta set value = max(value, ?) where name = 'counter'",
            0 if seen is None else seen.counter,
        )
        said = {"by": by, "reason": reason, "at": micros(tx.now(None))}
        name = f"accepted:{_generation(tx)}"
        tx.do("insert or replace into duly_meta values (?,?)", name, json_text(said))
        return self._count(tx)

    def renewed(self, tx: Tx) -> Mark | None:
        """Count on with a renewal, if the last count is old enough; None: nothing to write."""
        at, last = tx.now(None), self._counted
        if last is not None and last <= at < last + PACE:
            return None
        self._counted = at
        return self._count(tx)

    def read(self) -> Mark | None:
        """Return what the witness says; None when there is none, or none that can be read."""
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=Mark)
        except (OSError, msgspec.MsgspecError):
            return None

    def write(self, mark: Mark | None) -> None:
        """Put a new mark in the witness's place, after its commit. A full disk is no error."""
        if mark is None:
            return
        draft = self._file.with_name(f"{self._file.name}.{os.getpid()}.{mark.counter}")
        with contextlib.suppress(OSError):
            with open(draft, "wb") as out:
                out.write(msgspec.json.encode(mark))
                out.flush()
                os.fsync(out.fileno())
            os.replace(draft, self._file)
            return
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)

    def _distrust(self, mine: Mark, seen: Mark) -> str | None:
        if seen.store != mine.store:
            return f"{self._db} is another database than the one that was here before"
        if mine.counter < seen.counter:
            return (
                f"{self._db} is older than what was here before (it has counted to"
                f" {mine.counter}, its witness to {seen.counter}): was it restored from a backup?"
            )
        return None

    def _count(self, tx: Tx) -> Mark:
        tx.do("update duly_meta set value = value + 1 where name = 'counter'")
        return _mark(tx)


def _mark(tx: Tx) -> Mark:
    store = tx.value("select value from duly_meta where name = 'store'")
    return Mark(store, int(tx.value("select value from duly_meta where name = 'counter'")))


def _generation(tx: Tx) -> int:
    return int(tx.value("select value from duly_meta where name = 'generation'"))
