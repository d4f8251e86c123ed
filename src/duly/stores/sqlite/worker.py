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
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from duly.errors import EnvironmentFailure, StoreUnavailable
from duly.stores.base import WakeUp
from duly.stores.sqlite.link import Link
from duly.stores.sqlite.tx import Clock, Tx

T = TypeVar("T")

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
        self._link = Link(path, clock)
        self._begin, self._told = begin, told
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._closed = False

    def submit(self, work: Callable[[Tx], T]) -> asyncio.Future[T]:
        """Queue a verb; the future is done after its transaction is. For one event loop."""
        if self._closed:
            raise StoreUnavailable(f"the store at {self._link.path} is closed")
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
        self._link.close()

    def _serve(self, jobs: list[_Job]) -> None:
        told = self._transact(jobs)
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            jobs[0].loop.call_soon_threadsafe(self._answer, jobs, told)

    def _transact(self, jobs: list[_Job]) -> dict[WakeUp, None]:
        """Carry out jobs in one transaction; fill in their answers; return what to tell."""
        try:
            answers, told = self._link.transact(self._begin, [job.work for job in jobs])
        except Exception as error:
            if len(jobs) > 1 and not isinstance(error, EnvironmentFailure):
                told = {}
                for job in jobs:
                    told |= self._transact([job])
                return told
            for job in jobs:
                job.error = error
            return {}
        for job, answer in zip(jobs, answers, strict=True):
            job.answer = answer
        return told

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
