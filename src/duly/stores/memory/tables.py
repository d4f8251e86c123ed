"""The tables of the model, and the moves of a run between its places.

Plain mutable records in dictionaries: the same tables that the SQL stores keep, with nothing
clever. `Tables.snapshot` is the shape every store is compared in.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from duly.core.access import ApiKey, Change
from duly.core.breakers import BreakerLine, BreakerRow
from duly.core.effects import Address, Effect, Line
from duly.core.fleet import Incident, Instance
from duly.core.logs import AttemptLog
from duly.core.notices import Notice
from duly.core.outbox import Message
from duly.core.owning import Names, names_of
from duly.core.rules import after_death, not_before
from duly.core.runs import SUSPECT_QUEUE, Attempt, NewRun
from duly.core.schedules import Backlog, ScheduleRow
from duly.core.states import RUN_MOVES, RunState, RunVerb, advance
from duly.core.steps import WAKEABLE, Await, Event, Progress, Step, of_run
from duly.core.telling import ChannelState, Mark
from duly.core.verdicts import VerdictRange
from duly.stores.base import Signal, WakeUp

NO_CODE = "no_code"
"""Why a run waits whose task no live instance carries."""


class Later(msgspec.Struct):
    """A live run that cannot be claimed now: scheduled, retrying, waiting or parked."""

    state: RunState
    wake_at: datetime | None
    reason: str | None
    epoch: int = 0
    failures: int = 0
    deaths: int = 0


class Ready(msgspec.Struct):
    """A run that can be claimed."""

    queue: str
    ready_at: datetime
    epoch: int = 0
    failures: int = 0
    deaths: int = 0


class Held(msgspec.Struct):
    """A run in an instance's hands."""

    boot: UUID
    claim: UUID
    epoch: int
    claimed_at: datetime
    failures: int = 0
    deaths: int = 0
    cancel: str | None = None


class Ended(msgspec.Struct):
    """A run that is over, with its last attempt folded in (`boot` is None if it never ran)."""

    state: RunState
    ended_at: datetime
    epoch: int = 0
    failures: int = 0
    deaths: int = 0
    boot: UUID | None = None
    started_at: datetime | None = None
    result: bytes | None = None
    error: str | None = None
    reason: str | None = None


class Identity(msgspec.Struct, frozen=True):
    """The immutable part of a run."""

    asked: NewRun
    enqueued_at: datetime


class Key(msgspec.Struct, frozen=True):
    """Which run stands for a key. It outlives its run only if that run succeeded."""

    run: UUID
    made_at: datetime


class NoticeRow(msgspec.Struct, frozen=True):
    """A notice that was drawn up. Once it is sealed it does not change."""

    notice: Notice
    sealed: bool
    sent_at: datetime | None = None


Moving = Later | Ready | Held


class Tables:
    """All rows, and the few moves that several verbs share."""

    def __init__(self) -> None:
        self.run: dict[UUID, Identity] = {}
        self.later: dict[UUID, Later] = {}
        self.ready: dict[UUID, Ready] = {}
        self.held: dict[UUID, Held] = {}
        self.ended: dict[UUID, Ended] = {}
        self.attempts: dict[UUID, list[Attempt]] = {}
        self.keys: dict[tuple[str, str], Key] = {}
        self.occurrences: dict[tuple[str, datetime], UUID] = {}
        self.limits: dict[str, int] = {}
        self.slots: dict[str, set[UUID]] = {}
        self.schedules: dict[str, ScheduleRow] = {}
        self.revisions: dict[str, list[str]] = {}  # digests declared by code, in order
        self.backlogs: dict[tuple[str, datetime], Backlog] = {}
        self.verdicts: dict[str, list[VerdictRange]] = {}
        self.instances: dict[UUID, Instance] = {}
        self.carries: dict[UUID, dict[str, str]] = {}
        self.incidents: list[Incident] = []
        self.incidents_opened = 0
        self.channels: dict[str, ChannelState] = {}
        self.marks: dict[tuple[str, int], Mark] = {}  # by channel and incident
        self.notices: dict[UUID, NoticeRow] = {}
        self.steps: dict[UUID, dict[str, Step]] = {}
        self.progress: dict[UUID, Progress] = {}
        self.logs: dict[UUID, dict[int, AttemptLog]] = {}  # by run and attempt
        self.awaits: dict[UUID, tuple[Await, ...]] = {}
        self.events: dict[str, Event] = {}
        self.outbox: dict[UUID, Message] = {}  # in the order of their commits
        self.relays: dict[str, tuple[UUID, datetime]] = {}  # topic: who relays it, until when
        self.effects: dict[Address, Effect] = {}
        self.audit: list[Line] = []
        self.api_keys: dict[UUID, ApiKey] = {}
        self.changes: dict[UUID, Change] = {}
        self.breakers: dict[str, BreakerRow] = {}
        self.breaker_lines: list[BreakerLine] = []
        self.breaker_lines_gone = 0  # so that those left keep their numbers
        self.tellers: dict[UUID, tuple[UUID, datetime]] = {}  # boot: its last telling, and when
        self.generation = 1
        self.listeners: list[Callable[[WakeUp], None]] = []

    def tell(self, signal: Signal, detail: str = "") -> None:
        """Wake whoever listens; what they find is there when they look."""
        for heard in list(self.listeners):
            heard(WakeUp(signal, detail))

    def state_of(self, run: UUID) -> RunState | None:
        """Return where a run stands, or None if it is unknown."""
        if run in self.ready:
            return RunState.READY
        if run in self.held:
            return RunState.RUNNING
        if run in self.later:
            return self.later[run].state
        return self.ended[run].state if run in self.ended else None

    # --- into a place ---------------------------------------------------------------------

    def put_ready(self, run: UUID, now: datetime, *, before: Moving | Ended | None = None) -> None:
        """Make a run claimable if its limit admits it; else it waits for the limit."""
        asked = self.run[run].asked
        numbers = _numbers(before)
        if not self._admit(run, asked):
            self.later[run] = Later(RunState.WAITING, None, f"limit:{asked.limit_key}", **numbers)
            return
        # A suspect stays one behind every detour: shelved, or unparked when a boot came back.
        alone = after_death(numbers.get("deaths", 0)).alone
        queue = SUSPECT_QUEUE if alone else asked.queue
        begins = not_before(before.claimed_at, now) if isinstance(before, Held) else now
        self.ready[run] = Ready(queue, begins, **numbers)
        self.tell(Signal.READY)

    def put_ended(self, run: UUID, state: RunState, now: datetime, **how: Any) -> None:
        """End a run that leaves `before`, one of its moving places, and free its slot."""
        before: Moving | None = how.pop("before")
        row: dict[str, Any] = {**_numbers(before)}
        if isinstance(before, Held):
            row |= {"boot": before.boot, "started_at": before.claimed_at}
        self.ended[run] = Ended(state, now, **(row | how))
        self.free(run, now)
        if self.run[run].asked.parent is not None:
            self.wake(of_run(run), now)

    def free(self, run: UUID, now: datetime) -> None:
        """Give a run's slot back, and admit the next that waits for it."""
        key = self.run[run].asked.limit_key
        if key is not None:
            self.slots[key].discard(run)
            self.admit_waiting(key, now)

    def admit_waiting(self, key: str, now: datetime) -> int:
        """Admit runs that wait for a limit while it has room: by priority, then by id."""
        waiting = [
            run
            for run, row in self.later.items()
            if row.state is RunState.WAITING and row.reason == f"limit:{key}"
        ]
        waiting.sort(key=lambda run: (-self.run[run].asked.priority, run))
        room = max(0, self.limits[key] - len(self.slots[key]))
        for run in waiting[:room]:
            advance(RUN_MOVES, RunState.WAITING, RunVerb.PROMOTE)
            self.put_ready(run, now, before=self.later.pop(run))
        return min(room, len(waiting))

    def unshelve(self, tasks: Collection[str], now: datetime) -> None:
        """Make the runs ready that waited for code of these tasks, by id."""
        for run in sorted(self.later):
            row = self.later[run]
            if row.reason == NO_CODE and self.run[run].asked.task in tasks:
                advance(RUN_MOVES, row.state, RunVerb.PROMOTE)
                self.put_ready(run, now, before=self.later.pop(run))

    # --- what is awaited --------------------------------------------------------------------

    def wake(self, event: str, now: datetime) -> int:
        """Let those runs go on that awaited this, and nothing else of its group."""
        woken = 0
        for run in sorted(self.awaits):
            mine = self.awaits[run]
            met = {one.group for one in mine if one.event == event}
            if not met:
                continue
            rest = tuple(one for one in mine if one.event != event)
            self.awaits[run] = rest
            if met - {one.group for one in rest}:
                woken += self.awaken(run, now)
        return woken

    def awaken(self, run: UUID, now: datetime) -> int:
        """Make a run ready that waits, or is parked for what will come about."""
        del self.awaits[run]
        row = self.later.get(run)
        if row is None or not (row.state is RunState.WAITING or _awaiting(row)):
            return 0
        verb = RunVerb.UNPARK if row.state is RunState.PARKED else RunVerb.PROMOTE
        advance(RUN_MOVES, row.state, verb)
        self.put_ready(run, now, before=self.later.pop(run))
        return 1

    def open_incident(self, incident: Incident, now: datetime) -> bool:
        """Open an incident unless one of its kind and subject is open."""
        if self.open_index(incident.kind, incident.subject) is not None:
            return False
        self.incidents_opened += 1
        self.incidents.append(
            msgspec.structs.replace(
                incident,
                id=self.incidents_opened,
                opened_at=now,
                closed_at=None,
                owner=incident.owner or self._owner_of(names_of(incident)),
            )
        )
        self.tell(Signal.INCIDENT)
        return True

    def _owner_of(self, names: Names) -> str:
        """Return the owner of what is named: of a schedule, a run's schedule, or an instance."""
        run = self.run.get(names.run) if names.run else None
        for name in (names.schedule, None if run is None else run.asked.schedule):
            if name is not None and name in self.schedules:
                return self.schedules[name].owner
        boot = self.instances.get(names.boot) if names.boot else None
        return "" if boot is None else boot.owner

    def close_incident(self, kind: str, subject: str, note: str, now: datetime) -> bool:
        """Close the open incident of a kind and subject."""
        index = self.open_index(kind, subject)
        if index is None:
            return False
        one = self.incidents[index]
        evidence = one.evidence | ({"closed": note} if note else {})
        self.incidents[index] = msgspec.structs.replace(one, closed_at=now, evidence=evidence)
        self.tell(Signal.INCIDENT)
        return True

    def open_index(self, kind: str, subject: str) -> int | None:
        """Return the place of the open incident of a kind and subject, or None."""
        for index, one in enumerate(self.incidents):
            if (one.kind, one.subject) == (kind, subject) and one.closed_at is None:
                return index
        return None

    def _admit(self, run: UUID, asked: NewRun) -> bool:
        if asked.limit_key is None:
            return True
        slots = self.slots.setdefault(asked.limit_key, set())
        if run in slots:
            return True
        if len(slots) >= self.limits[asked.limit_key]:
            return False
        slots.add(run)
        return True

    def note_attempt(
        self, run: UUID, held: Held, verb: RunVerb, now: datetime, detail: str | None
    ) -> None:
        """Keep an attempt that was not the run's last."""
        attempt = Attempt(held.epoch, held.boot, held.claimed_at, now, verb, detail)
        self.attempts.setdefault(run, []).append(attempt)

    # --- for comparison -------------------------------------------------------------------

    def snapshot(self) -> dict[str, Any]:
        """Return all rows as plain values."""
        shown: dict[str, Any] = {
            "run": {str(i): _plain(row) for i, row in self.run.items()},
            "later": {str(i): _plain(row) for i, row in self.later.items()},
            "ready": {str(i): _plain(row) for i, row in self.ready.items()},
            "held": {str(i): _plain(row) for i, row in self.held.items()},
            "ended": {str(i): _plain(row) for i, row in self.ended.items()},
            "attempts": {
                f"{i}#{one.epoch}": _plain(one) for i, past in self.attempts.items() for one in past
            },
            "keys": {f"{task}/{key}": _plain(row) for (task, key), row in self.keys.items()},
            "limits": dict(self.limits),
            "slots": {key: sorted(map(str, held)) for key, held in self.slots.items() if held},
            "schedules": {name: _plain(row) for name, row in self.schedules.items()},
            "backlogs": {f"{n}@{a}": _plain(row) for (n, a), row in self.backlogs.items()},
            "verdicts": {
                name: [_plain(one) for one in sorted(rows, key=lambda one: one.first)]
                for name, rows in self.verdicts.items()
                if rows
            },
            "instances": {str(i): _plain(row) for i, row in self.instances.items()},
            "steps": {
                f"{i}/{name}": _plain(one)
                for i, kept in self.steps.items()
                for name, one in kept.items()
            },
            "progress": {str(i): _plain(one) for i, one in self.progress.items()},
            "logs": {
                f"{i}#{e}": _plain(one) for i, kept in self.logs.items() for e, one in kept.items()
            },
            "awaits": {
                str(i): sorted([one.event, one.group] for one in awaits)
                for i, awaits in self.awaits.items()
                if awaits
            },
            "events": {name: _plain(one) for name, one in self.events.items()},
            "outbox": [_plain(one) for one in self.outbox.values()],
            "relays": {
                topic: [str(boot), _plain_value(until)]
                for topic, (boot, until) in self.relays.items()
            },
            "effects": {str(address): _plain(one) for address, one in self.effects.items()},
            "audit": [_plain(one) for one in self.audit],
            "api_keys": {str(i): _plain(one) for i, one in self.api_keys.items()},
            "changes": {str(i): _plain(one) for i, one in self.changes.items()},
            "breakers": {name: _plain(one) for name, one in self.breakers.items()},
            "breaker_lines": [_plain(one) for one in self.breaker_lines],
            "breaker_tellers": {
                str(boot): [str(telling), _plain_value(at)]
                for boot, (telling, at) in self.tellers.items()
            },
            "incidents": sorted((_plain(one) for one in self.incidents), key=repr),
            "channels": {name: _plain(one) for name, one in self.channels.items()},
            "told": {
                f"{one.incident}@{name}": _plain(one) for (name, _), one in self.marks.items()
            },
            "notices": {str(i): _plain(one) for i, one in self.notices.items()},
            "generation": self.generation,
        }
        return shown


def _numbers(before: Moving | Ended | None) -> dict[str, int]:
    if before is None:
        return {}
    return {"epoch": before.epoch, "failures": before.failures, "deaths": before.deaths}


def _awaiting(row: Later) -> bool:
    return row.state is RunState.PARKED and row.reason in WAKEABLE


def _plain(row: msgspec.Struct) -> Any:
    return msgspec.to_builtins(row)


def _plain_value(value: Any) -> Any:
    return msgspec.to_builtins(value)
