"""What a run's code logs, kept beside the run: the last lines of each attempt.

Theory of operation. While an instance lives, every record that the standard logging module makes
passes `_made`, which looks whether the code that logs belongs to an attempt: a context variable
says so, in coroutines and on threads. No handler is added, because a root logger that has one
prints nothing by itself any more, and ignores a `basicConfig` that comes later. So what loggers let
through by their level is seen, from INFO on; filters of handlers are not asked. Duly's own lines
are left out: they are events.

A page holds the last lines in memory. It is written before the ending of its attempt is, so that
whoever hears of the end finds it; an attempt that succeeds writes nothing unless its task keeps
all. Those of tasks that do are written while they run too, every second in which there is
something new; so of a process that was killed all but the last second is there. Nothing here raises
into user code, and nothing waits for it.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from duly.core.clock import Clock
from duly.core.logs import AttemptLog, Keeping, is_kept, share_of
from duly.core.runs import Ending
from duly.core.tasks import Task
from duly.engine.hands import Holding
from duly.engine.pages import PAGE, Page
from duly.stores.base import Store

EVERY_S = 1.0
"""How often a page is written while its attempt runs, where all is kept."""

OWN = "duly"


def logs_of_ends(batch: Iterable[tuple[Holding, Ending]]) -> list[AttemptLog]:
    """Return what is to be kept of attempts that end."""
    return logs_of(
        [
            holding.page
            for holding, ending in batch
            if holding.page is not None and is_kept(holding.page.keeping, ending.verb)
        ]
    )


def logs_of(pages: list[Page]) -> list[AttemptLog]:
    """Return what pages hold; many at once share the room."""
    most = share_of(len(pages))
    return [log for page in pages if (log := page.log(most)) is not None]


class Recording:
    """Opens a page for each attempt. A supervised loop: `turn` writes pages of those that run."""

    name = "recording"

    def __init__(self, store: Store, clock: Clock, keeping: Keeping) -> None:
        self._store, self._clock, self._keeping = store, clock, keeping
        self._new: dict[Page, None] = {}
        self._lock = threading.Lock()
        self._some = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    def attend(self) -> None:
        """Hear what is logged from now on."""
        self._loop = asyncio.get_running_loop()
        _ear.attend()

    def leave(self) -> None:
        """Hear nothing more."""
        if self._loop is not None:
            _ear.leave()
        self._loop = None

    def open(self, holding: Holding, task: Task) -> None:
        """Let what is logged in this context, and in those it begins, go to the attempt's page."""
        keeping = self._keeping if task.logs is None else task.logs
        if keeping is Keeping.NONE:
            return
        holding.page = page = Page(holding.claimed.id, holding.claimed.epoch, keeping)
        if keeping is Keeping.ALL:
            page.news = self._has_news
        PAGE.set(page)

    def _has_news(self, page: Page) -> None:
        with self._lock:
            first = not self._new
            self._new[page] = None
        loop = self._loop
        if first and loop is not None:
            with suppress(RuntimeError):  # that loop has ended
                loop.call_soon_threadsafe(self._some.set)

    async def ready(self) -> None:
        """Wait until something was logged that is to be written, and for more of it."""
        await self._some.wait()
        await self._clock.pause(EVERY_S)

    async def turn(self) -> None:
        """Write the pages that have news; raises `StoreUnavailable` and keeps them."""
        with self._lock:
            pages, self._new = self._new, {}
            self._some.clear()
        try:
            await self._store.log(logs_of(list(pages)))
        except BaseException:
            with self._lock:
                self._new = {**pages, **self._new}
                self._some.set()
            raise


class _Ear:
    """Hears every record of the process while at least one instance attends."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._attending = 0
        self._inner: Callable[..., logging.LogRecord] = logging.LogRecord
        self._ours = self._made  # one object: to see whether the factory is still ours
        self._hears = False

    def attend(self) -> None:
        with self._lock:
            self._attending += 1
            if self._attending == 1 and not self._is_heard():
                self._inner = logging.getLogRecordFactory()
                logging.setLogRecordFactory(self._ours)

    def leave(self) -> None:
        """Take the factory back, unless somebody has put another around it, which stays."""
        with self._lock:
            self._attending -= 1
            if self._attending == 0 and logging.getLogRecordFactory() is self._ours:
                logging.setLogRecordFactory(self._inner)

    def _is_heard(self) -> bool:
        """Whether records pass here already: then to put ours around them again would be a ring."""
        self._hears = False
        logging.makeLogRecord({})
        return self._hears

    def _made(self, *args: Any, **how: Any) -> logging.LogRecord:
        self._hears = True
        record = self._inner(*args, **how)
        page = PAGE.get()
        if page is not None and _counts(record):
            page.take(record)
        return record


_ear = _Ear()


def _counts(record: logging.LogRecord) -> bool:
    """Whether a record is a line of user code; `makeLogRecord` makes some that are not yet one."""
    name, level = record.name, record.levelno
    if not (isinstance(name, str) and isinstance(level, int)) or level < logging.INFO:
        return False
    return name != OWN and not name.startswith(f"{OWN}.")
