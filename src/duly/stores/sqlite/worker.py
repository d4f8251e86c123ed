"""The threads that talk to SQLite: one that writes, one that reads.

Group commit: while one transaction is being flushed, further verbs gather in the queue, and the
next transaction carries them all. A verb alone waits for nothing. Each caller is answered after
the commit that holds its rows; when a verb of a group fails, the group is rolled back and each
is run again alone, so that no verb fails by its neighbour's fault. When the *store* fails (the
disk is full, the lock is not given), the whole group fails: verbs can be sent again.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

import apsw

from duly.errors import EnvironmentFailure, StoreUnavailable
from duly.stores.base import WakeUp
from duly.stores.sqlite.border import never_migrated, no_such_table, translate
from duly.stores.sqlite.file import connect, tidy_close
from duly.stores.sqlite.tx import Tx

T = TypeVar("T")
Clock = Callable[[], datetime]

GROUP = 128
"""Verbs in one transaction, at most."""


class _Job:
    """A verb that waits for its answer."""

    __slots__ = ("answer", "error", "future", "loop", "work")

    def __init__(self, work: Callable[[Tx], Any], loop: asyncio.AbstractEventLoop) -> None:
        self.work = work
        self.loop = loop
        self.future: asyncio.Future[Any] = loop.create_future()
        self.answer: Any = None
        self.error: BaseException | None = None


class Worker:
    """A thread with one connection, opened at its first job. `told` hears on the event loop."""

    def __init__(
        self,
        path: Path,
        clock: Clock,
        *,
        begin: str,
        told: Callable[[Iterable[WakeUp]], None] | None = None,
    ) -> None:
        self._path, self._clock, self._begin, self._told = path, clock, begin, told
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._conn: apsw.Connection | None = None
        self._closed = False

    def submit(self, work: Callable[[Tx], T]) -> asyncio.Future[T]:
        """Queue a verb; the future is done after its transaction is. For one event loop."""
        if self._closed:
            raise StoreUnavailable(f"the store at {self._path} is closed")
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="duly-sqlite", daemon=True)
            self._thread.start()
        job = _Job(work, asyncio.get_running_loop())
        self._jobs.put(job)
        return job.future

    async def close(self) -> None:
        """Finish what is queued, close the connection, end the thread."""
        self._closed = True
        thread, self._thread = self._thread, None
        if thread is not None:
            self._jobs.put(None)
            await asyncio.to_thread(thread.join)

    # --- on the thread --------------------------------------------------------------------

    def _run(self) -> None:
        running = True
        while running:
            jobs: list[_Job] = []
            job = self._jobs.get()
            try:
                while job is not None:
                    jobs.append(job)
                    if len(jobs) == GROUP:
                        break
                    job = self._jobs.get_nowait()
                running = job is not None
            except Empty:
                pass
            if jobs:
                self._serve(jobs)
        if self._conn is not None:
            tidy_close(self._conn)
            self._conn = None

    def _serve(self, jobs: list[_Job]) -> None:
        told = self._transact(jobs)
        loop = jobs[0].loop
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(self._answer, jobs, told)

    def _transact(self, jobs: list[_Job]) -> dict[WakeUp, None]:
        """Carry out jobs in one transaction; fill in their answers; return what to tell."""
        try:
            if self._conn is None:
                self._conn = connect(self._path)
            return in_transaction(self._conn, self._clock, self._begin, jobs)
        except Exception as raised:
            error = self._translated(raised)
        if len(jobs) > 1 and not isinstance(error, EnvironmentFailure):
            told: dict[WakeUp, None] = {}
            for job in jobs:
                told |= self._transact([job])
            return told
        for job in jobs:
            job.error = error
        return {}

    def _translated(self, raised: Exception) -> Exception:
        """Roll back, and return the error as the caller should see it."""
        failure = 0
        if self._conn is not None:
            failure = self._conn.system_errno()
            roll_back(self._conn)
        if not isinstance(raised, apsw.Error):
            return raised
        if isinstance(raised, (apsw.IOError, apsw.CantOpenError)) and self._conn is not None:
            self._conn.close(True)  # the file may have been replaced, or its disk come back
            self._conn = None
        error = (
            never_migrated(self._path)
            if no_such_table(raised)
            else translate(raised, self._path, system_errno=failure)
        )
        error.__cause__ = raised
        return error

    # --- on the event loop ----------------------------------------------------------------

    def _answer(self, jobs: list[_Job], told: dict[WakeUp, None]) -> None:
        for job in jobs:
            if job.future.done():  # its caller was cancelled; what it wrote stands
                continue
            if job.error is not None:
                job.future.set_exception(job.error)
            else:
                job.future.set_result(job.answer)
        if told and self._told is not None:
            self._told(told)


def in_transaction(
    conn: apsw.Connection, clock: Clock, begin: str, jobs: Iterable[_Job]
) -> dict[WakeUp, None]:
    """Run jobs between `begin` and a commit; raise whatever stopped them, not rolled back."""
    tx = Tx(conn, clock)
    conn.execute(begin)
    for job in jobs:
        job.answer = job.work(tx)
        job.error = None
    conn.execute("commit")
    return tx.told


def roll_back(conn: apsw.Connection) -> None:
    """End a transaction that failed; SQLite may have ended it by itself."""
    with contextlib.suppress(apsw.Error):
        if conn.in_transaction:
            conn.execute("rollback")
