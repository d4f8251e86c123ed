"""Clocks that are wrong: libfaketime, told by a file that can be rewritten while processes run.

Only wall clocks are wrong; monotonic ones go on, as they do on a real machine whose clock is set.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

LIBRARY = "faketime/libfaketime.so.1"
PLACES = ("/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib")
MISSING = "libfaketime is not installed"


class FakeClock:
    """A clock that is so many seconds off; processes with its `env` have it."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.library = next((p for one in PLACES if (p := Path(one) / LIBRARY).exists()), None)
        self.off_by(0)

    def off_by(self, seconds: int) -> None:
        """Set it so many seconds ahead of the real time, or behind it."""
        draft = self._file.with_suffix(".draft")
        draft.write_text(f"{seconds:+d}\n")
        draft.chmod(0o644)
        draft.replace(self._file)

    @property
    def env(self) -> Mapping[str, str]:
        """The environment of a process that has this clock."""
        return {
            "LD_PRELOAD": str(self.library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_CACHE_DURATION": "1",
            "DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    @contextmanager
    def around(self) -> Iterator[None]:
        """What is started meanwhile by this process has this clock; this process has not."""
        before = {name: os.environ.get(name) for name in self.env}
        os.environ.update(self.env)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name)
                else:
                    os.environ[name] = value
