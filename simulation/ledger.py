"""Judging effects: at most one delivery for each key, and a ledger that tells the truth (P3, P4).

What the callee counted is the truth. Each entry is held against the row as it was before, so a
store that resends by guess, clears what another intended, or takes a person's word while the
sender could still wake up, is seen at once and not only where a double comes of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from duly.core.effects import (
    UNCERTAIN,
    Address,
    Confirm,
    Doubt,
    Effect,
    Entry,
    Intend,
    Outcome,
    Posted,
    Resolve,
    Withdraw,
)
from duly.core.states import EffectState

if TYPE_CHECKING:
    from duly.engine import Effect as Sent
    from simulation.world import Process, World

KEPT = (Outcome.DONE, Outcome.ALREADY, Outcome.CONTRADICTED)

Rows = dict[Address, Effect | None]


class LedgerJudge:
    """What the callee saw, against what the ledger says."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.accepted: Counter[str] = Counter()  # by key: how often a person took the risk

    def _breach(self, sentence: str) -> None:
        self._world.judge.breach(sentence)

    # --- deliveries -------------------------------------------------------------------------

    def delivered(self, process: Process, effect: Sent) -> None:
        """Something reached the callee, just now."""
        world, key = self._world, effect.key
        world.note(process.name, f"delivered {key} by {effect.id.hex[-5:]}")
        world.met("effect delivered")
        got = world.callee.got[key]
        if got > 1 + self.accepted[key]:
            self._breach(f"P3: {key} was delivered {got} times")
        if got > 1:
            world.met("double that was accepted")
        row = world.tables.effects.get(effect.address)
        if row is None or row.intent != effect.id:
            if not self.accepted[key]:
                self._breach(f"P3: {key} was sent without its intent; the ledger says {row}")
        elif world.now() > row.deadline:
            self._breach(f"P3: {key} was sent after its deadline")

    # --- entries ----------------------------------------------------------------------------

    def before(self, entries: Sequence[Entry]) -> Rows:
        """Return the rows that entries are about."""
        return {one.address: self._world.tables.effects.get(one.address) for one in entries}

    def posted(self, who: str, entries: Sequence[Entry], answers: list[Posted], rows: Rows) -> None:
        """Judge entries that were just made; of several about one effect, the first."""
        for entry, answer in zip(entries, answers, strict=True):
            if entry.address in rows:
                self._one(who, entry, answer, rows.pop(entry.address))
        self.incidents()

    def _one(self, who: str, entry: Entry, answer: Posted, row: Effect | None) -> None:
        self._world.note(who, f"{entry.verb} {entry.address}: {answer.outcome} {answer.why[:80]}")
        match entry:
            case Intend():
                self._intended(entry, answer, row)
            case Confirm():
                self._confirmed(entry, answer, row)
            case Withdraw():
                if answer.outcome is Outcome.CLEARED and row and row.intent != entry.intent:
                    self._breach(f"P6: {entry.address} was withdrawn by who did not intend it")
            case Doubt():
                if answer.outcome is Outcome.UNCERTAIN:
                    self._world.met("uncertain")
            case Resolve():
                self._resolved(entry, answer, row)

    def _intended(self, entry: Intend, answer: Posted, row: Effect | None) -> None:
        author, tables = entry.author, self._world.tables
        if answer.outcome is Outcome.STALE:
            self._world.met("intent with a stale fence refused")
        if answer.outcome is Outcome.WAIT:
            self._world.met("another's intent waited for")
        if answer.outcome is Outcome.UNCERTAIN and row and row.state is EffectState.INTENDED:
            self._world.met("uncertain")
        held = tables.held.get(author.run)
        fenced = held is not None and (held.boot, held.epoch) == (author.boot, author.epoch)
        if not fenced and answer.outcome is not Outcome.STALE:
            self._breach(f"P6: an intent of {entry.address} with a stale fence was not refused")
        if answer.outcome is Outcome.GO and row is not None and row.intent != entry.intent:
            self._breach(f"P3: {entry.address} is to be sent again by guess; it was {row.state}")

    def _confirmed(self, entry: Confirm, answer: Posted, row: Effect | None) -> None:
        if answer.outcome not in KEPT:
            self._breach(f"P4: the receipt for {entry.address} was not kept: {answer.outcome}")
        if answer.outcome is Outcome.CONTRADICTED:
            self._world.met("receipt against a word")
        late = row is not None and row.state is EffectState.UNCERTAIN
        if answer.outcome is Outcome.DONE and late:
            self._world.met("late receipt")
        if answer.outcome is Outcome.ALREADY:
            self._world.met("receipt resent")

    def _resolved(self, entry: Resolve, answer: Posted, row: Effect | None) -> None:
        self._world.met(f"resolved by {'verify' if entry.by == 'verify' else 'a person'}")
        if entry.performed or row is None:
            return
        if answer.outcome is Outcome.REFUSED and row.state is EffectState.UNCERTAIN:
            self._world.met("refused in quarantine")
        if answer.outcome is not Outcome.CLEARED:
            return
        if entry.accept_double:
            self.accepted[str(entry.address)] += 1
            self._world.met("risk of a double accepted")
        elif entry.own != row.intent and not self._gone(row):
            self._breach(f"P3: {entry.address} was cleared while its sender could still send it")

    def _gone(self, row: Effect) -> bool:
        return self._world.has_ended(self._world.judge.boots.get(row.author.boot))

    def incidents(self) -> None:
        """A doubt has an open incident, and an open incident a doubt (P4)."""
        tables = self._world.tables
        doubts = {str(a) for a, row in tables.effects.items() if row.state is EffectState.UNCERTAIN}
        told = {
            one.subject
            for one in tables.incidents
            if one.kind == UNCERTAIN and one.closed_at is None
        }
        for one in sorted(doubts ^ told):
            self._breach(f"P4: {one}: in doubt {one in doubts}, told {one in told}")

    # --- the end ----------------------------------------------------------------------------

    def final(self) -> list[str]:
        """Return what is wrong with the ledger of a world at rest."""
        found, got = [], self._world.callee.got
        rows: dict[str, Any] = {str(a): row for a, row in self._world.tables.effects.items()}
        for key, row in sorted(rows.items()):
            if row.state is EffectState.INTENDED:
                found.append(f"P7: {key} is still on its way")
            if row.state is EffectState.DONE and not got[key]:
                found.append(f"P4: {key} is said to be done, and never reached the callee")
        for key in sorted(got):
            if key not in rows and not self.accepted[key]:
                found.append(f"P4: {key} was delivered, and the ledger knows nothing of it")
        return found
