"""What workers say about themselves: one line per fact, in a file that outlives every kill.

A line is one `write` on a descriptor opened with O_APPEND, so lines of many processes never mix
and a line that was written is there whatever dies next. Nothing goes through the store that
is on trial. Times are the machine's own monotonic clock, which all processes of a host share.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from pathlib import Path
from uuid import UUID

import msgspec


class Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """One fact. `kind` is `start`, `end`, or the name of an event of the engine."""

    kind: str
    worker: str
    at_s: float
    run: UUID | None = None
    attempt: int = 0
    detail: str = ""


class Pen:
    """The writing end, in a worker."""

    def __init__(self, path: Path, worker: str) -> None:
        self.worker = worker
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)

    def write(
        self, kind: str, *, run: UUID | None = None, attempt: int = 0, detail: str = ""
    ) -> None:
        """Append one line; it is whole or absent."""
        line = Line(kind, self.worker, now_s(), run, attempt, detail[:500])
        os.write(self._file, msgspec.json.encode(line) + b"\n")


class Journal:
    """The reading end: `lines` grows with every `read`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: list[Line] = []
        self._place = 0
        path.touch()

    def read(self) -> list[Line]:
        """Read what was added; return only that."""
        with self.path.open("rb") as file:
            file.seek(self._place)
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._place += len(whole)
        new = [msgspec.json.decode(one, type=Line) for one in whole.splitlines()]
        self.lines += new
        return new

    def find(self, kind: str, run: UUID | None = None, attempt: int = 0) -> Line | None:
        """Return the first line of a kind, of a run, of an attempt (0: of any)."""
        self.read()
        for one in self.lines:
            if one.kind == kind and run in (None, one.run) and attempt in (0, one.attempt):
                return one
        return None

    def details(self, kind: str) -> list[str]:
        """Return what the lines of a kind say."""
        self.read()
        return [one.detail for one in self.lines if one.kind == kind]

    def at_work(self) -> set[str]:
        """Return the workers that began something they have not ended."""
        self.read()
        begun = {(one.run, one.attempt): one.worker for one in self.lines if one.kind == "start"}
        for one in self.lines:
            if one.kind == "end":
                begun.pop((one.run, one.attempt), None)
        return set(begun.values())

    def count(self) -> Counter[str]:
        """Return how many lines there are of each kind."""
        self.read()
        return Counter(one.kind for one in self.lines)


def now_s() -> float:
    """Return the clock that lines carry."""
    return time.monotonic()
