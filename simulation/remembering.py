"""Judging what outlasts an attempt: steps, messages, cursors, children (P5, P6, P8, P9).

Each body of a message says which item of which run it is, so an item that leaves as two messages
is seen however it came about. What leaves the outbox must have arrived somewhere before; for each
key the broker must see first copies in the order of their commits.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec

from duly.core.fleet import InstanceState
from duly.core.outbox import Message
from duly.core.runs import Answer, Claimed, Origin
from duly.core.states import RunState, RunVerb
from duly.core.steps import Note

if TYPE_CHECKING:
    from simulation.world import World

Owner = tuple[UUID, int] | None
HERE = (InstanceState.LIVE, InstanceState.STOPPING)


class Body(msgspec.Struct, frozen=True):
    """What a message says: which item of which run it is."""

    run: str = ""
    item: int = 0


class MemoryJudge:
    """What was remembered and published, by whom, and how often."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._known: set[UUID] = set()
        self._items: defaultdict[tuple[str, str, Any], set[UUID]] = defaultdict(set)
        self._lines: defaultdict[str, list[UUID]] = defaultdict(list)
        self._worked: Counter[tuple[UUID, str]] = Counter()
        self._mine: set[tuple[UUID, int, str]] = set()

    def _breach(self, sentence: str) -> None:
        self._world.judge.breach(sentence)

    # --- what tasks tell --------------------------------------------------------------------

    def working(self, run: UUID, epoch: int, name: str) -> None:
        """An attempt begins to do a step, rather than being told its result."""
        tables = self._world.tables
        held = tables.held.get(run)
        known = name in tables.steps.get(run, {})
        if known and held is not None and held.epoch == epoch:
            self._breach(f"P5: {run.hex[-5:]}#{epoch} does {name} again, which is remembered")
        self._worked[run, name] += 1
        self._mine.add((run, epoch, name))
        if self._worked[run, name] > 1:
            self._world.met("step done again")

    def went_by(self, run: UUID, epoch: int, name: str) -> None:
        """An attempt has a step behind it."""
        if (run, epoch, name) not in self._mine:
            self._world.met("resumed step")

    # --- verbs ------------------------------------------------------------------------------

    def kept(
        self,
        who: str,
        boot: UUID,
        notes: Sequence[Note],
        owners: list[Owner],
        answers: list[Answer],
    ) -> None:
        """Judge notes that were just sent."""
        for note, owner, answer in zip(notes, owners, answers, strict=True):
            steps = " ".join(f"{one.name}" for one in note.steps)
            self._world.note(
                who,
                f"keep {note.run.hex[-5:]}#{note.epoch}: {answer} {steps} +{len(note.messages)}",
            )
            if answer is Answer.STALE:
                self._world.met("stale note refused")
            elif owner != (boot, note.epoch):
                self._breach(
                    f"P6: a note of {note.run.hex[-5:]}#{note.epoch} was kept with a stale fence;"
                    f" the run was held by {owner}"
                )
            else:
                self.went_out(note.messages)

    def went_out(self, messages: Iterable[Message]) -> None:
        """Note what was committed to the outbox, in the order of commits."""
        for one in messages:
            if one.id in self._known or one.id not in self._world.tables.outbox:
                continue
            if not one.body.startswith(b'{"run"'):
                continue  # not of a task of this fleet
            self._known.add(one.id)
            if one.key is not None and one.topic == "out":
                self._lines[one.key].append(one.id)
            body = msgspec.json.decode(one.body, type=Body)
            ids = self._items[one.topic, body.run, body.item]
            ids.add(one.id)
            if len(ids) > 1:
                self._breach(f"P5: item {body.item} of {body.run[-5:]} left as {len(ids)}")

    def refused(self, note: Note | None) -> None:
        """An ending was stale, or a resend: nothing of its note was written just now."""
        if note is None:
            return
        self._world.met("last note not kept")
        tables, now = self._world.tables, self._world.now()
        kept = tables.steps.get(note.run, {})
        written = [
            name for one in note.steps if (name := one.name) in kept and kept[name].at == now
        ]
        written += [
            one.topic for one in note.messages if one.id in tables.outbox.keys() - self._known
        ]
        if written:
            self._breach(f"P6: {written} of {note.run.hex[-5:]} were kept with no ending")

    def relaying(self, topic: str, boot: UUID, before: tuple[UUID, datetime] | None) -> None:
        """A boot was given messages to relay."""
        if before is None or before[0] == boot:
            return
        holder = self._world.tables.instances.get(before[0])
        if before[1] > self._world.now() and holder is not None and holder.state in HERE:
            self._breach(f"P11: two relay {topic} at once")
        self._world.met("relay taken over")

    def relayed(self, who: str, ids: Iterable[UUID]) -> None:
        """Messages were taken out."""
        world = self._world
        for one in ids:
            if not world.broker.taken[one] and one not in world.tables.run:
                self._breach(f"P8: {who} took {one.hex[-5:]} out, which never left")

    def claimed(self, one: Claimed) -> None:
        """A run's failures are those of its attempts, each counted once."""
        past = [a.outcome for a in self._world.tables.attempts.get(one.id, ())]
        if RunVerb.FAIL in past:
            past = past[len(past) - past[::-1].index(RunVerb.FAIL) :]
        failed = sum(verb is RunVerb.RETRY for verb in past)
        if failed != one.failures:
            self._breach(f"P6: {one.id.hex[-5:]} failed {failed} times, and counts {one.failures}")

    # --- the end ----------------------------------------------------------------------------

    def final(self) -> list[str]:
        """Return what is wrong with what was remembered, in a world at rest."""
        world = self._world
        found = [f"P7: {one.hex[-5:]} still waits to be relayed" for one in world.tables.outbox]
        for key, line in sorted(self._lines.items()):
            if world.broker.line.get(key, []) != line:
                found.append(f"outbox: {key} arrived in another order than it was committed")
        arrived = world.broker.taken.keys() | world.tables.run.keys()
        found += [f"P8: {one.hex[-5:]} never arrived" for one in sorted(self._known - arrived)]
        return [*found, *self._complete(), *self._children(), *self._rows()]

    def _complete(self) -> list[str]:
        """A run that succeeded has published every item it had."""
        found = []
        for run, row in sorted(self._world.tables.ended.items()):
            result = msgspec.json.decode(row.result or b"null")
            if row.state is not RunState.SUCCEEDED or not isinstance(result, dict):
                continue
            count = result.get("published", 0)
            out = sum((result["topic"], str(run), item) in self._items for item in range(count))
            if out != count:
                found.append(f"P5: {run.hex[-5:]} published {count} items, and {out} went out")
        return found

    def _children(self) -> list[str]:
        """No child was started twice."""
        begun: Counter[tuple[UUID | None, bytes]] = Counter()
        for one in self._world.tables.run.values():
            if one.asked.origin is Origin.CHILD:
                begun[one.asked.parent, one.asked.args] += 1
        return [
            f"P5: {str(run)[-5:]} started the child {args!r} {count} times"
            for (run, args), count in sorted(begun.items(), key=repr)
            if count > 1
        ]

    def _rows(self) -> list[str]:
        """Every committed row that a finished reader should have seen left once (P9)."""
        found = []
        tables, table = self._world.tables, self._world.table
        for run, row in sorted(tables.ended.items()):
            if row.state is not RunState.SUCCEEDED or tables.run[run].asked.task != "drain":
                continue
            upto = msgspec.json.decode(row.result or b"{}")["upto"]
            self._world.met("table read to its end")
            for number in sorted(table.committed):
                if number < upto and ("out", str(run), number) not in self._items:
                    found.append(f"P9: row {number} was committed, and skipped by {run.hex[-5:]}")
        return found
