"""Bugs to plant about what outlasts an attempt: each breaks one promise of `stores/lasting.py`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from duly.core.effects import (
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
from duly.core.ledger import Decided, Facts
from duly.core.logs import AttemptLog
from duly.core.outbox import Message
from duly.core.runs import Answer, Ending
from duly.core.states import RunState
from duly.core.steps import Await, Note, fork_point
from duly.stores.memory import MemoryStore
from duly.stores.memory.tables import Tables


class TheLastLogHolds(MemoryStore):
    """Lets a log that comes late take back what a fuller one told."""

    async def log(self, logs: Sequence[AttemptLog], *, now: datetime | None = None) -> None:
        for one in logs:
            self.t.logs.get(one.run, {}).pop(one.epoch, None)
            await super().log([one], now=now)


class LogsForEver(MemoryStore):
    """Keeps the logs of every attempt, and of runs that are forgotten."""

    async def log(self, logs: Sequence[AttemptLog], *, now: datetime | None = None) -> None:
        for one in logs:
            self.t.logs.setdefault(one.run, {})[one.epoch] = one


class KeepsForAnyone(MemoryStore):
    """Keeps a note whoever sends it, as long as somebody holds the run."""

    def _keep_if_held(self, boot: UUID, note: Note, now: datetime) -> Answer:
        held = self.t.held.get(note.run)
        if held is not None:
            boot, note = held.boot, msgspec.structs.replace(note, epoch=held.epoch)
        return super()._keep_if_held(boot, note, now)


class KeepsDeaths(MemoryStore):
    """Does not count what was kept as progress."""

    def _keep_if_held(self, boot: UUID, note: Note, now: datetime) -> Answer:
        held = self.t.held.get(note.run)
        deaths = held.deaths if held is not None else 0
        answer = super()._keep_if_held(boot, note, now)
        if held is not None:
            held.deaths = deaths
        return answer


class NotesBeforeTheFence(MemoryStore):
    """Keeps the note of an ending in a commit of its own, before the fence is looked at."""

    async def end(
        self, boot: UUID, endings: Sequence[Ending], *, now: datetime | None = None
    ) -> list[Answer]:
        for one in endings:
            if one.note is not None:
                self.keep_one(one.note, self._now(now))
        return await super().end(boot, endings, now=now)


class LosesNotesOfEndings(MemoryStore):
    """Ends the attempt, and forgets its last note."""

    def _end_one(self, boot: UUID, ending: Ending, now: datetime) -> Answer:
        return super()._end_one(boot, msgspec.structs.replace(ending, note=None), now)


class DoublesMessages(MemoryStore):
    """Puts a message out again when its note is sent again."""

    def _put_out(self, message: Message, now: datetime) -> None:
        self.t.outbox.pop(message.id, None)
        super()._put_out(message, now)


class RelaysTogether(MemoryStore):
    """Lets two boots relay one topic."""

    def _may_relay(self, boot: UUID, topic: str, now: datetime) -> bool:
        return True


class ForksTheStepItself(MemoryStore):
    """Lets a fork remember the step it is to do anew."""

    async def fork(self, run: UUID, *, at: str, new: UUID, by: str, **how: Any) -> Answer:
        answer = await super().fork(run, at=at, new=new, by=by, **how)
        if answer is Answer.DONE:
            steps = self._remembered(run).steps
            self.t.steps[new][at] = steps[len(fork_point(steps, at))]
        return answer


class ForksWhatWorks(MemoryStore):
    """Forks a run that is in somebody's hands."""

    async def fork(self, run: UUID, *, at: str, new: UUID, by: str, **how: Any) -> Answer:
        held = self.t.held.pop(run, None)
        if held is not None:
            self.t.put_ready(run, held.claimed_at, before=held)
        return await super().fork(run, at=at, new=new, by=by, **how)


class MissesWhatCameFirst(MemoryStore):
    """Waits without looking whether the event was there before."""

    def _came_about(self, one: Await, *, parked: bool) -> bool:
        return False


class WakesAtTheFirst(MemoryStore):
    """Wakes a run as soon as anything of a group has come about."""

    def __init__(self, clock: Any) -> None:
        super().__init__(clock, tables=_Hasty())


class _Hasty(Tables):
    def wake(self, event: str, now: datetime) -> int:
        for run, awaits in self.awaits.items():
            groups = {one.group for one in awaits if one.event == event}
            self.awaits[run] = tuple(
                Await(event, one.group) if one.group in groups else one for one in awaits
            )
        return super().wake(event, now)


class ChildrenEndInSilence(MemoryStore):
    """Ends children without waking who awaits them."""

    def __init__(self, clock: Any) -> None:
        super().__init__(clock, tables=_Silent())


class _Silent(Tables):
    def put_ended(self, run: UUID, state: RunState, now: datetime, **how: Any) -> None:
        awaits, self.awaits = self.awaits, {}
        super().put_ended(run, state, now, **how)
        self.awaits = awaits


# --- effects ------------------------------------------------------------------------------


class ResendsOnIntend(MemoryStore):
    """Lets whoever intends it perform an effect that is not done yet."""

    def _post_one(self, entry: Entry, now: datetime) -> Posted:
        answer = super()._post_one(entry, now)
        if isinstance(entry, Intend) and answer.outcome is Outcome.WAIT:
            return Posted(Outcome.GO, intent=entry.intent)
        return answer


class IntendsUnfenced(MemoryStore):
    """Lets a boot intend that lost its run."""

    def _facts(self, row: Effect | None, entry: Entry, now: datetime) -> Facts:
        return msgspec.structs.replace(super()._facts(row, entry, now), fenced=True)


class WithdrawsAnothers(MemoryStore):
    """Lets anybody withdraw what anybody intended."""

    def _post_one(self, entry: Entry, now: datetime) -> Posted:
        row = self.t.effects.get(entry.address)
        if isinstance(entry, Withdraw) and row is not None:
            entry = msgspec.structs.replace(entry, intent=row.intent)
        return super()._post_one(entry, now)


class BelievesWithoutProof(MemoryStore):
    """Takes the word that it was not performed while its sender could still send it."""

    def _post_one(self, entry: Entry, now: datetime) -> Posted:
        if isinstance(entry, Resolve):
            entry = msgspec.structs.replace(entry, accept_double=True)
        return super()._post_one(entry, now)


class DropsLateReceipts(MemoryStore):
    """Refuses the receipt of a boot that does not hold its run any more."""

    def _post_one(self, entry: Entry, now: datetime) -> Posted:
        if isinstance(entry, Confirm) and not self._holds(entry.author):
            return Posted(Outcome.STALE)
        return super()._post_one(entry, now)


class ContradictsInSilence(MemoryStore):
    """Tells nobody of a receipt against somebody's word."""

    def _write(self, address: Any, decided: Decided, now: datetime) -> None:
        if decided.answer.outcome is Outcome.CONTRADICTED:
            decided = msgspec.structs.replace(decided, opened=None)
        super()._write(address, decided, now)


class DoubtsInSilence(MemoryStore):
    """Leaves the incident of a doubt open when the doubt has ended."""

    def _write(self, address: Any, decided: Decided, now: datetime) -> None:
        super()._write(address, msgspec.structs.replace(decided, closed=False), now)


class SettlesInSilence(MemoryStore):
    """Wakes nobody when an effect settles."""

    def _write(self, address: Any, decided: Decided, now: datetime) -> None:
        super()._write(address, msgspec.structs.replace(decided, wake=False), now)


class SweepsTheLiving(MemoryStore):
    """Doubts what a living holder is still about to perform."""

    def _post_one(self, entry: Entry, now: datetime) -> Posted:
        if isinstance(entry, Doubt):
            entry = msgspec.structs.replace(entry, swept=False)
        return super()._post_one(entry, now)


class DecidesBackwards(MemoryStore):
    """Enters a batch from its end."""

    async def post(self, entries: Sequence[Entry], *, now: datetime | None = None) -> list[Posted]:
        return (await super().post(entries[::-1], now=now))[::-1]


class ForgetsDoubts(MemoryStore):
    """Prunes by the period alone, whatever is known of an effect."""

    def _prune_effects(self, at: datetime, limit: int) -> int:
        for address, row in list(self.t.effects.items()):
            if row.keep_until < at:
                del self.t.effects[address]
        return super()._prune_effects(at, limit)
