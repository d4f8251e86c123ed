"""Events as log lines, through the standard logging module, in bounded numbers.

`Logs` subscribes to the events that matter enough and writes each as one record of the logger
`duly`. Of one kind no more than `lines_per_s` are told in a window of a second; then one line
`log.suppressed` says how many were not. Kinds below the level are not subscribed to at all, so
that they cost nothing. `tell_on` sets up a process that is ours; a host application that has
its own logging leaves that call out and keeps its handlers. The clock is passed in.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TextIO

from duly.config import LogSettings
from duly.events import EVENTS, Bus, Event, Level
from duly.server.lines import JsonLines, TextLines

WINDOW_S = 1.0
LEVELS: Mapping[str, Level] = {level.name.lower(): level for level in Level}


class Logs:
    """A subscriber that writes lines. Its methods may be called from any thread."""

    def __init__(
        self,
        *,
        monotonic: Callable[[], float],
        level: Level = Level.INFO,
        lines_per_s: int = 20,
        logger: logging.Logger | None = None,
    ) -> None:
        """`monotonic` tells seconds by a clock that never steps."""
        self._monotonic = monotonic
        self._level = level
        self._lines = lines_per_s
        self._logger = logger or logging.getLogger("duly")
        self._lock = threading.Lock()
        self._window_end = float("-inf")
        self._told: Counter[str] = Counter()
        self._suppressed: Counter[str] = Counter()

    def attach(self, bus: Bus) -> Callable[[], None]:
        """Subscribe to every kind of at least the level; return what ends that."""
        return bus.subscribe(
            self.heard, [kind for kind in EVENTS.values() if kind.level >= self._level]
        )

    def heard(self, event: Event) -> None:
        """Write one line, unless this kind has had its share of the window."""
        with self._lock:
            overdue = self._turn_window()
            tell = self._told[event.name] < self._lines
            (self._told if tell else self._suppressed)[event.name] += 1
        if overdue:
            self._sum_up(overdue)
        if tell:
            self._logger.log(event.level, event.name, extra={"event": event})

    def flush(self) -> None:
        """Sum up what was suppressed, now: at a stop, or now and then while nothing happens."""
        with self._lock:
            overdue, self._suppressed = self._suppressed, Counter()
        self._sum_up(overdue)

    def _turn_window(self) -> Mapping[str, int]:
        now = self._monotonic()
        if now < self._window_end:
            return {}
        self._window_end = now + WINDOW_S
        self._told.clear()
        overdue, self._suppressed = self._suppressed, Counter()
        return overdue

    def _sum_up(self, overdue: Mapping[str, int]) -> None:
        for name, count in overdue.items():
            level = EVENTS[name].level if name in EVENTS else Level.WARNING
            self._logger.log(level, "log.suppressed: %d more of %s", count, name)


def tell_on(
    stream: TextIO, settings: LogSettings, *, context: Mapping[str, str] | None = None
) -> logging.Handler:
    """Make the root logger write lines to `stream`, and return its handler.

    The shape `auto` is text when the stream is a terminal, JSON otherwise; `context` goes into
    every JSON line. A second call replaces what the first one set up, and nothing else.
    """
    text = settings.format == "text" or (settings.format == "auto" and stream.isatty())
    handler = _OurHandler(stream)
    handler.setFormatter(TextLines() if text else JsonLines(context or {}))
    root = logging.getLogger()
    for old in [one for one in root.handlers if isinstance(one, _OurHandler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(LEVELS[settings.level])
    return handler


class _OurHandler(logging.StreamHandler[TextIO]):
    """Marks the handler that `tell_on` made."""
