"""The keeper: a thread that beats at a steady pace, whatever the event loop does.

User code that blocks the loop for a minute must not cost the instance its lease; so the
lease is renewed from here, over a line of its own. The thread is a daemon: a renewal that
hangs in a half-open socket never keeps the process from ending.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

_log = logging.getLogger("duly.keeper")


class ThreadKeeper:
    """`Keeper` on a thread. One use: it is not started twice."""

    def __init__(self) -> None:
        self._wake = threading.Event()
        self._stopping = False
        self._thread: threading.Thread | None = None

    def start(self, beat: Callable[[], None], every: float) -> None:
        """Call `beat` every `every` seconds from a thread of its own."""
        self._thread = threading.Thread(
            target=self._run, args=(beat, every), name="duly-keeper", daemon=True
        )
        self._thread.start()

    def hurry(self) -> None:
        """Beat now."""
        self._wake.set()

    def stop(self) -> None:
        """End; waits a second at most for a beat that is under way."""
        self._stopping = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout=1.0)

    def _run(self, beat: Callable[[], None], every: float) -> None:
        while True:
            self._wake.wait(every)
            self._wake.clear()
            if self._stopping:
                return
            try:
                beat()
            except Exception:  # the lease must go on being tried, whatever one beat met
                _log.exception("a renewal failed in a way nobody foresaw")
