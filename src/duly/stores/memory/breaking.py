"""Breakers, in the model: rows are looked up, the core's book decides, all of it is written.

A row, its line, the incident and the rousing of who waits are of one step. Nothing here decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from duly.core.breaker_book import Book
from duly.core.breakers import (
    OPEN,
    Ask,
    BreakerFilter,
    BreakerLine,
    BreakerRow,
    Heard,
    Permit,
    Report,
)
from duly.core.runs import Answer
from duly.core.states import BreakerState, BreakerVerb, RunState
from duly.core.tripping import WAITS
from duly.stores.base import Signal
from duly.stores.memory.tables import Tables


class BreakerVerbs:
    """What `Store` says of breakers, on `Tables`."""

    t: Tables

    def _now(self, now: datetime | None) -> datetime:
        raise NotImplementedError

    async def breaker_calls(
        self, boot: UUID, asks: Sequence[Ask], *, now: datetime | None = None
    ) -> list[Permit]:
        at = self._now(now)
        book = self._book([one.breaker for one in asks], at)
        permits = book.ask(asks, boot)
        self._write_book(book, at)
        return permits

    async def breaker_tell(
        self, boot: UUID, telling: UUID, reports: Sequence[Report], *, now: datetime | None = None
    ) -> Heard:
        at = self._now(now)
        book = self._book([one.breaker for one in reports], at)
        if self.t.tellers.get(boot, (None, at))[0] != telling:
            self.t.tellers[boot] = (telling, at)
            book.tell(reports)
            self._write_book(book, at)
        return book.heard

    async def breaker_move(
        self, name: str, verb: BreakerVerb, *, by: str, why: str, now: datetime | None = None
    ) -> Answer:
        at = self._now(now)
        book = self._book([name], at)
        answer = book.move(name, verb, by=by, why=why)
        self._write_book(book, at)
        return answer

    def _book(self, names: Sequence[str], now: datetime) -> Book:
        return Book({name: self.t.breakers.get(name) for name in names}, now)

    def _write_book(self, book: Book, now: datetime) -> None:
        for row in book.changed:
            self.t.breakers[row.name] = row
        self.t.breaker_lines += book.lines
        for name, opened, note in book.incidents:
            if opened is not None:
                self.t.open_incident(opened, now)
            else:
                self.t.close_incident(OPEN, name, note, now)
        if sum(self._rouse(name, now) for name in book.roused):
            self.t.tell(Signal.DUE)
        for name in book.signals:
            self.t.tell(Signal.BREAKER, name)

    def _rouse(self, name: str, now: datetime) -> int:
        """Make those due that wait for a breaker."""
        roused = 0
        for row in self.t.later.values():
            waits = row.state is RunState.WAITING and row.reason == WAITS + name
            if waits and row.wake_at is not None and row.wake_at > now:
                row.wake_at = now
                roused += 1
        return roused

    def _rouse_missed(self, now: datetime) -> int:
        """Make those due that wait for a breaker which is closed."""
        reasons = {row.reason for row in self.t.later.values() if row.reason}
        names = [one.removeprefix(WAITS) for one in reasons if one.startswith(WAITS)]
        roused = sum(self._rouse(name, now) for name in names if self._passes(name))
        if roused:
            self.t.tell(Signal.DUE)
        return roused

    def _passes(self, name: str) -> bool:
        row = self.t.breakers.get(name)
        return row is None or row.state is BreakerState.CLOSED

    async def breaker(self, name: str) -> BreakerRow | None:
        return self.t.breakers.get(name)

    async def breakers(self, where: BreakerFilter) -> list[BreakerRow]:
        rows = [row for _, row in sorted(self.t.breakers.items())]
        chosen = [one for one in rows if not where.broken or one.state is not BreakerState.CLOSED]
        if where.names is not None:
            chosen = [one for one in chosen if one.name in where.names]
        return chosen[: where.limit]

    async def breaker_lines(self, name: str, limit: int = 50) -> list[BreakerLine]:
        mine = [one for one in self.t.breaker_lines if one.breaker == name]
        return mine[::-1][:limit]

    def _prune_breakers(self, before: datetime, limit: int) -> int:
        """Forget old changes, targets that nothing is known against for long, and who told."""
        lines = [one for one in self.t.breaker_lines if one.at < before][:limit]
        rows = [
            name
            for name, row in sorted(self.t.breakers.items())
            if row.clean and not row.forced and row.changed_at < before
        ][:limit]
        tellers = [boot for boot, (_, at) in sorted(self.t.tellers.items()) if at < before][:limit]
        for line in lines:
            self.t.breaker_lines.remove(line)
        self.t.breaker_lines_gone += len(lines)
        for name in rows:
            del self.t.breakers[name]
        for boot in tellers:
            del self.t.tellers[boot]
        return len(lines) + len(rows) + len(tellers)
