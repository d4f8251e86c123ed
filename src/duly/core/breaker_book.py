"""A batch of words about breakers, decided one after the other, and all there is to write of it.

A store looks rows up (and locks them), opens a book on them, enters asks, reports or a person's
word in their order, and writes what the book then holds: rows that changed, lines of the history,
incidents that open or close, breakers whose waiting runs are to look again, and those of which the
other processes must hear. Pure: what each word comes to is `core.tripping`'s to say.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from duly.core.breakers import Ask, BreakerLine, BreakerRow, Heard, Permit, Report
from duly.core.fleet import Incident
from duly.core.runs import Answer
from duly.core.states import BreakerVerb
from duly.core.tripping import Decided, on_ask, on_move, on_report


class Told(NamedTuple):
    """An incident that opens, or the note with which the open one of a breaker closes."""

    breaker: str
    opened: Incident | None
    note: str = ""


class Book:
    """The rows of some breakers as they change. `rows` holds None for a breaker without one."""

    def __init__(self, rows: Mapping[str, BreakerRow | None], now: datetime) -> None:
        self._before, self._rows, self._now = dict(rows), dict(rows), now
        self.lines: list[BreakerLine] = []
        self.incidents: list[Told] = []
        self.roused: list[str] = []

    def ask(self, asks: Iterable[Ask], boot: UUID) -> list[Permit]:
        """Answer asks, in their order."""
        permits = []
        for one in asks:
            permit, decided = on_ask(self._rows[one.breaker], one, boot, self._now)
            self._enter(one.breaker, decided)
            permits.append(permit)
        return permits

    def tell(self, reports: Iterable[Report]) -> None:
        """Count reports, in their order."""
        for one in reports:
            self._enter(one.breaker, on_report(self._rows[one.breaker], one, self._now))

    def move(self, name: str, verb: BreakerVerb, *, by: str, why: str) -> Answer:
        """Do what a person says of one breaker."""
        row = self._rows[name]
        answer, decided = on_move(row, name, verb, by=by, why=why, now=self._now)
        self._enter(name, decided)
        return answer

    def _enter(self, name: str, decided: Decided) -> None:
        if not decided.write:
            return
        self._rows[name] = decided.row
        if decided.line is not None:
            self.lines.append(decided.line)
        if decided.opened is not None:
            self.incidents.append(Told(name, decided.opened))
        if decided.closed is not None:
            self.incidents.append(Told(name, None, decided.closed))
        if decided.rouse and name not in self.roused:
            self.roused.append(name)

    @property
    def changed(self) -> list[BreakerRow]:
        """The rows that are to be written, by name."""
        return [
            row
            for name, row in sorted(self._rows.items())
            if row is not None and row is not self._before[name]
        ]

    @property
    def new(self) -> list[BreakerRow]:
        """Those of them that had no row before."""
        return [row for row in self.changed if self._before[row.name] is None]

    @property
    def heard(self) -> Heard:
        """The rows as they are now, and the changes that were made."""
        rows = [row for _, row in sorted(self._rows.items()) if row is not None]
        return Heard(tuple(rows), tuple(self.lines))

    @property
    def signals(self) -> list[str]:
        """Breakers of which the other processes must hear: what may pass, or what counts, moved."""
        moved = {one.breaker for one in self.lines}
        for row in self.changed:
            before = self._before[row.name]
            if (before is None or before.clean) != row.clean:
                moved.add(row.name)
        return sorted(moved)
