"""What workers say about themselves: one line per fact, in a file that outlives every kill.

A line is one `write` on a descriptor opened with O_APPEND, so lines of many processes never mix
and a line that was written is there whatever dies next. Nothing goes through the store that
is on trial. Times are the machine's own monotonic clock, which all processes of a host share.
"""

from __future__ import annotations

import os
import time
from collections import Counter, defaultdict
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
    """The reading end: `lines` grows with every `read`.

    Each line is looked at once, when it is read: whoever asks again and again, until something is
    there, asks for what is remembered of them, however many there are.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: list[Line] = []
        self._place = 0
        self._kinds: Counter[str] = Counter()
        self._workers: dict[str, set[str]] = defaultdict(set)
        self._first: dict[tuple[str, UUID | None, int], Line] = {}
        self._begun: dict[tuple[UUID | None, int], str] = {}
        path.touch()

    def read(self) -> list[Line]:
        """Read what was added; return only that."""
        with self.path.open("rb") as file:
            file.seek(self._place)
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._place += len(whole)
        new = [msgspec.json.decode(one, type=Line) for one in whole.splitlines()]
        for one in new:
            self._note(one)
        self.lines += new
        return new

    def _note(self, line: Line) -> None:
        self._kinds[line.kind] += 1
        self._workers[line.kind].add(line.worker)
        for run in {None, line.run}:
            for attempt in {0, line.attempt}:
                self._first.setdefault((line.kind, run, attempt), line)
        if line.kind == "start":
            self._begun[line.run, line.attempt] = line.worker
        elif line.kind == "end":
            self._begun.pop((line.run, line.attempt), None)

    def find(self, kind: str, run: UUID | None = None, attempt: int = 0) -> Line | None:
        """Return the first line of a kind, of a run, of an attempt (0: of any)."""
        self.read()
        return self._first.get((kind, run, attempt))

    def details(self, kind: str) -> list[str]:
        """Return what the lines of a kind say."""
        self.read()
        return [one.detail for one in self.lines if one.kind == kind]

    def who(self, *kinds: str) -> set[str]:
        """Return the workers that wrote a line of one of these kinds."""
        self.read()
        return set().union(*(self._workers[one] for one in kinds))

    def at_work(self) -> set[str]:
        """Return the workers that began something they have not ended."""
        self.read()
        return set(self._begun.values())

    def count(self) -> Counter[str]:
        """Return how many lines there are of each kind."""
        self.read()
        return self._kinds.copy()


def now_s() -> float:
    """Return the clock that lines carry."""
    return time.monotonic()
