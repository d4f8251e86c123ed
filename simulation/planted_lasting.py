"""Bugs to plant in the model store, about effects, notes, messages, waiting and breakers.

As in `planted_runs`: each is a small change, made in a store of the simulator, and the kind of
mistake that has been made in such systems before.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from duly.core.breaker_book import Book
from duly.core.breakers import Ask, Permit
from duly.core.effects import Confirm, Effect, Entry, Intend, Outcome, Posted, Resolve, Withdraw
from duly.core.ledger import Decided, Facts
from duly.core.runs import Answer
from duly.core.steps import Await, Note
from duly.core.telling import Drawn
from duly.stores.memory import MemoryStore


class ResendsOnIntent(MemoryStore):
    """Whoever meets another's intent performs the effect itself."""

    def _post_one(self, entry: Entry, now: datetime) -> Posted:
        answer = super()._post_one(entry, now)
        if isinstance(entry, Intend) and answer.outcome in (Outcome.WAIT, Outcome.UNCERTAIN):
            return Posted(Outcome.GO, intent=entry.intent)
        return answer


class IntendsUnfenced(MemoryStore):
    """A boot that lost its run may still intend."""

    def _facts(self, row: Effect | None, entry: Entry, now: datetime) -> Facts:
        return msgspec.structs.replace(super()._facts(row, entry, now), fenced=True)


class ClearsUnfenced(MemoryStore):
    """A withdrawal clears whatever is intended there, by whomever."""

    def _post_one(self, entry: Entry, now: datetime) -> Posted:
        row = self.t.effects.get(entry.address)
        if isinstance(entry, Withdraw) and row is not None:
            entry = msgspec.structs.replace(entry, intent=row.intent)
        return super()._post_one(entry, now)


class NoQuarantine(MemoryStore):
    """A person's "not performed" counts while the sender may still wake up."""

    def _post_one(self, entry: Entry, now: datetime) -> Posted:
        if isinstance(entry, Resolve):
            entry = msgspec.structs.replace(entry, accept_double=True)
        return super()._post_one(entry, now)


class LateReceiptsDropped(MemoryStore):
    """The receipt of a boot that lost its run is refused as stale."""

    def _post_one(self, entry: Entry, now: datetime) -> Posted:
        if isinstance(entry, Confirm) and not self._holds(entry.author):
            return Posted(Outcome.STALE)
        return super()._post_one(entry, now)


class DoubtsInSilence(MemoryStore):
    """Nobody is told of a doubt."""

    def _write(self, address: Any, decided: Decided, now: datetime) -> None:
        super()._write(address, msgspec.structs.replace(decided, opened=None), now)


class StepsUnfenced(MemoryStore):
    """A note is kept whoever sends it, as long as somebody holds the run."""

    def _keep_if_held(self, boot: UUID, note: Note, now: datetime) -> Answer:
        held = self.t.held.get(note.run)
        if held is not None:
            boot, note = held.boot, msgspec.structs.replace(note, epoch=held.epoch)
        return super()._keep_if_held(boot, note, now)


class CursorApart(MemoryStore):
    """The cursor and the messages are written in two transactions; the second may be lost."""

    def keep_one(self, note: Note, now: datetime) -> None:
        if note.steps and note.messages:
            self.t.generation += 1  # counts such notes: every fifth loses its second half
            if self.t.generation % 5 == 0:
                note = msgspec.structs.replace(note, messages=())
        super().keep_one(note, now)


class RelaysTogether(MemoryStore):
    """Two boots may relay one topic."""

    def _may_relay(self, boot: UUID, topic: str, now: datetime) -> bool:
        return True


class LostWakeUps(MemoryStore):
    """Who begins to wait does not look whether it has come about, and nor does the sweep."""

    def _came_about(self, one: Await, *, parked: bool) -> bool:
        return False


class NotesApart(MemoryStore):
    """The last note of an attempt is kept before the fence is looked at."""

    async def end(
        self, boot: UUID, endings: Sequence[Any], *, now: datetime | None = None
    ) -> list[Answer]:
        for one in endings:
            if one.note is not None:
                self.keep_one(one.note, self._now(now))
        return await super().end(boot, endings, now=now)


class TwoProbes(MemoryStore):
    """Whoever asks is lent the probe, although another is under way."""

    async def breaker_calls(self, boot: UUID, asks: Sequence[Ask], **how: Any) -> list[Permit]:
        mine = {one.lease for one in asks}
        for name, row in self.t.breakers.items():
            if row.probe is not None and row.probe not in mine:
                self.t.breakers[name] = msgspec.structs.replace(row, probe=None)
        return await super().breaker_calls(boot, asks, **how)


class TripsInSilence(MemoryStore):
    """Nobody is told of a target that is broken."""

    def _write_book(self, book: Book, now: datetime) -> None:
        book.incidents = [one for one in book.incidents if one.opened is None]
        super()._write_book(book, now)


class NoticesUnkept(MemoryStore):
    """What is told is marked, and the notice itself is in the sender's memory alone."""

    async def draw_up(self, boot: UUID, drawn: Drawn, **how: Any) -> Answer:
        return await super().draw_up(boot, msgspec.structs.replace(drawn, notice=None), **how)


class MarksForgotten(MemoryStore):
    """What was told is not written down, so that it is told again under another number."""

    async def draw_up(self, boot: UUID, drawn: Drawn, **how: Any) -> Answer:
        return await super().draw_up(boot, msgspec.structs.replace(drawn, marks=()), **how)


STORES: dict[str, type[MemoryStore]] = {
    "resend on intent": ResendsOnIntent,
    "intent without a fence": IntendsUnfenced,
    "clearing without a fence": ClearsUnfenced,
    "no quarantine": NoQuarantine,
    "late receipts are dropped": LateReceiptsDropped,
    "doubts in silence": DoubtsInSilence,
    "steps without a fence": StepsUnfenced,
    "cursor apart from its messages": CursorApart,
    "last notes without a fence": NotesApart,
    "two relay one topic": RelaysTogether,
    "lost wake-ups": LostWakeUps,
    "two probes": TwoProbes,
    "breakers trip in silence": TripsInSilence,
    "notification without outbox": NoticesUnkept,
    "notices without marks": MarksForgotten,
}
"""Name and store of each."""
