"""What runs remember, publish and await, in the model.

A note is written whole or not at all. What is awaited is looked at when a run begins to wait,
and when it comes about; on an event loop nothing happens in between.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

import msgspec

from duly.core.effects import Address, settled_for
from duly.core.outbox import Message, Outgoing
from duly.core.runs import Answer, Ending, Origin
from duly.core.states import PLACE, Place, RunState, RunVerb
from duly.core.steps import (
    FORKED,
    Await,
    Event,
    Memory,
    Note,
    fork_point,
    forked_from,
    of_event,
)
from duly.stores.base import DEFAULT_LEASE, Signal
from duly.stores.memory.fleet import HERE
from duly.stores.memory.runs import RunVerbs


class MemoryVerbs(RunVerbs):
    """What `Store` says of notes, events, forks and the outbox, on `Tables`."""

    async def keep(
        self, boot: UUID, notes: Sequence[Note], *, now: datetime | None = None
    ) -> list[Answer]:
        at = self._now(now)
        return [self._keep_if_held(boot, one, at) for one in notes]

    def _keep_if_held(self, boot: UUID, note: Note, now: datetime) -> Answer:
        held = self.t.held.get(note.run)
        if held is None or (held.boot, held.epoch) != (boot, note.epoch):
            return Answer.STALE
        held.deaths = 0
        self.keep_one(note, now)
        return Answer.DONE

    def keep_one(self, note: Note, now: datetime) -> None:
        """Keep a note whose fence holds."""
        if note.steps:
            kept = self.t.steps.setdefault(note.run, {})
            for step in note.steps:
                if step.name not in kept or step.turn >= kept[step.name].turn:
                    kept[step.name] = msgspec.structs.replace(step, at=now)
        for message in note.messages:
            self._put_out(message, now)
        for run in note.runs:
            self.enqueue_one(run, now)
        if note.progress is not None:
            self.t.progress[note.run] = msgspec.structs.replace(note.progress, at=now)

    def _put_out(self, message: Message, now: datetime) -> None:
        if message.id not in self.t.outbox:
            self.t.outbox[message.id] = msgspec.structs.replace(message, kept_at=now)
            self.t.tell(Signal.OUT, message.topic)

    async def remembered(self, run: UUID) -> Memory:
        return self._remembered(run)

    def _remembered(self, run: UUID) -> Memory:
        steps = sorted(self.t.steps.get(run, {}).values(), key=lambda one: (one.number, one.name))
        return Memory(tuple(steps), self.t.progress.get(run))

    # --- events and waiting -----------------------------------------------------------------

    async def emit(self, event: Event, *, now: datetime | None = None) -> Answer:
        at = self._now(now)
        if event.name in self.t.events:
            return Answer.ALREADY
        self.t.events[event.name] = msgspec.structs.replace(event, at=at)
        self.t.wake(of_event(event.name), at)
        return Answer.DONE

    async def happened(self, names: Sequence[str]) -> list[Event]:
        return [self.t.events[name] for name in names if name in self.t.events]

    def await_all(self, run: UUID, ending: Ending, now: datetime) -> None:
        """Note what a run awaits, or make it ready when that has come about."""
        self.t.awaits.pop(run, None)
        if not ending.awaits:
            return
        parked = ending.verb is RunVerb.PARK
        left = tuple(one for one in ending.awaits if not self._came_about(one, parked=parked))
        self.t.awaits[run] = left
        if {one.group for one in ending.awaits} - {one.group for one in left}:
            self.t.awaken(run, now)

    def _came_about(self, one: Await, *, parked: bool) -> bool:
        kind, _, what = one.event.partition(":")
        if kind == "run":
            state = self.t.state_of(UUID(what))
            return state is None or PLACE[state] is Place.ENDED
        if kind == "effect":
            row = self.t.effects.get(Address.of(what))
            return settled_for(row.state if row else None, parked=parked)
        return what in self.t.events

    def _wake_missed(self, now: datetime) -> int:
        """Wake runs whose awaited things came about without anybody noticing."""
        woken = 0
        for run in sorted(self.t.awaits):
            row = self.t.later.get(run)
            parked = row is not None and row.state is RunState.PARKED
            for one in sorted(self.t.awaits.get(run, ()), key=lambda one: (one.event, one.group)):
                if self._came_about(one, parked=parked):
                    woken += self.t.wake(one.event, now)
        return woken

    # --- forks ------------------------------------------------------------------------------

    async def fork(
        self, run: UUID, *, at: str, new: UUID, by: str, now: datetime | None = None
    ) -> Answer:
        instant = self._now(now)
        if new in self.t.run:
            return Answer.ALREADY
        state = self.t.state_of(run)
        if state is None:
            return Answer.UNKNOWN
        kept = fork_point(self._remembered(run).steps, at)
        if state is RunState.RUNNING:
            return Answer.IMPOSSIBLE
        if PLACE[state] is not Place.ENDED:
            self.cancel_one(run, f"{by}: forked as {new}", instant)
        asked = msgspec.structs.replace(
            self.t.run[run].asked,
            id=new,
            origin=Origin.FORK,
            key=None,
            run_at=None,
            expires_at=None,
            asked_by=by,
        )
        steps = {one.name: one for one in kept}
        steps.setdefault(FORKED, forked_from(run))
        self.t.steps[new] = steps
        for one in list(steps.values()):
            steps[one.name] = msgspec.structs.replace(one, at=instant)
        self._insert(asked, instant)
        return Answer.DONE

    # --- the outbox ---------------------------------------------------------------------------

    async def outgoing(
        self,
        boot: UUID,
        topic: str,
        *,
        limit: int,
        lease: timedelta = DEFAULT_LEASE,
        now: datetime | None = None,
    ) -> list[Message] | None:
        at = self._now(now)
        if not self._may_relay(boot, topic, at):
            return None
        self.t.relays[topic] = (boot, at + lease)
        return [one for one in self.t.outbox.values() if one.topic == topic][:limit]

    def _may_relay(self, boot: UUID, topic: str, now: datetime) -> bool:
        holder, until = self.t.relays.get(topic, (boot, now))
        known = self.t.instances.get(holder)
        gone = known is not None and known.state not in HERE
        return holder == boot or until <= now or gone

    async def relayed(
        self, boot: UUID, topic: str, messages: Sequence[UUID], *, now: datetime | None = None
    ) -> Answer:
        for one in messages:
            self.t.outbox.pop(one, None)
        holder = self.t.relays.get(topic)
        return Answer.DONE if holder is not None and holder[0] == boot else Answer.STALE

    async def outbox(self) -> list[Outgoing]:
        by_topic: dict[str, list[Message]] = {}
        for one in self.t.outbox.values():
            by_topic.setdefault(one.topic, []).append(one)
        return [
            Outgoing(topic, len(waiting), min(one.kept_at for one in waiting if one.kept_at))
            for topic, waiting in sorted(by_topic.items())
        ]
