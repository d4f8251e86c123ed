"""The page of an attempt: the last lines that its code logs, in memory.

Which page that is, a context variable says, in the attempt's coroutine, in what that begins, and on
the threads it is sent to. Nothing here raises into user code, and nothing is written.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from contextvars import ContextVar
from datetime import UTC, datetime
from uuid import UUID

from duly.core.logs import (
    LINE_CHARACTERS,
    LINES_KEPT,
    AttemptLog,
    Keeping,
    LogLine,
    fitting,
)

LOGGER_CHARACTERS = 100

_lock = threading.Lock()  # of all pages: it is held for the length of an append


class Page:
    """The last lines of one attempt. Lines may come from any thread."""

    __slots__ = ("_lines", "_told", "epoch", "keeping", "news", "run")

    def __init__(self, run: UUID, epoch: int, keeping: Keeping) -> None:
        self.run, self.epoch, self.keeping = run, epoch, keeping
        self.news: Callable[[Page], None] | None = None  # called with each line
        self._told = 0
        self._lines: deque[LogLine] | None = None  # most attempts log nothing

    def take(self, record: logging.LogRecord) -> None:
        """Keep a record as a line."""
        line = LogLine(
            at=datetime.fromtimestamp(record.created, UTC),
            level=record.levelname.lower(),
            logger=record.name[:LOGGER_CHARACTERS],
            text=_text(record),
        )
        with _lock:
            if self._lines is None:
                self._lines = deque(maxlen=LINES_KEPT)
            self._lines.append(line)
            self._told += 1
        if self.news is not None:
            self.news(self)

    def log(self, most: int) -> AttemptLog | None:
        """Return what there is, in at most so many bytes; None when nothing was logged."""
        if self._lines is None:
            return None
        with _lock:
            told, lines = self._told, list(self._lines)
        return AttemptLog(run=self.run, epoch=self.epoch, told=told, lines=fitting(lines, most))


PAGE: ContextVar[Page | None] = ContextVar("duly_page", default=None)
"""Where the code that runs here logs to."""


def _text(record: logging.LogRecord) -> str:
    """Return the message with its traceback, if any: the end of it, as UTF-8 can carry it."""
    try:
        text = record.getMessage()
        if record.exc_info and record.exc_info[0] is not None:
            text += "\n" + _formatter.formatException(record.exc_info)
    except Exception as error:
        text = f"{record.msg!r} (its arguments do not fit: {error!r})"
    return text[-LINE_CHARACTERS:].encode("utf-8", "backslashreplace").decode()


_formatter = logging.Formatter()
