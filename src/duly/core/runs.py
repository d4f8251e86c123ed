"""Runs as data: what is asked for, what is claimed, how an attempt ends, what is shown.

These records cross the border between stores and everything else. Instants are aware UTC
`datetime`s, durations `timedelta`s, arguments and results encoded JSON bytes: stores never
look inside them. A fence is the triple (run, boot, epoch); every write about a held run
carries all three.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from uuid import UUID

import msgspec

from duly.core.states import RunState, RunVerb
from duly.core.steps import Await, Note, Progress

SUSPECT_QUEUE = "~suspect"
"""Queue of runs that were in flight at several deaths; an idle instance runs them alone."""


class Origin(StrEnum):
    """Who asked for a run. The first two are the clock's, and share one identity (P1)."""

    CLOCK = "clock"
    CATCH_UP = "catch_up"
    CALL = "call"
    TRIGGER = "trigger"
    BACKFILL = "backfill"
    CHILD = "child"  # another run started it
    FORK = "fork"  # a person let a run go on anew, from one of its steps


class NewRun(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A run as asked for; becomes its immutable identity row."""

    id: UUID
    task: str
    args: bytes = b"{}"
    queue: str = "default"
    priority: int = 0  # higher goes first; -32768 to 32767
    origin: Origin = Origin.CALL
    key: str | None = None
    run_at: datetime | None = None  # not before; None is at once
    expires_at: datetime | None = None  # not started by then: expired, never run
    limit_key: str | None = None
    limit: int = 0  # how many admitted runs of `limit_key` the fleet may have
    schedule: str | None = None
    due: datetime | None = None
    window_start: datetime | None = None
    parent: UUID | None = None
    asked_by: str | None = None  # the person who asked, where one did
    tenant: str = ""  # whose it is; empty: the house's. A child's is that of its parent


class Reuse(StrEnum):
    """What an enqueue with a key came to."""

    NEW = "new"
    JOINED = "joined"  # a live run with this key
    RETURNED = "returned"  # a succeeded run with this key
    REVIVED = "revived"  # a failed run with this key, with a new budget
    REFUSED = "refused"  # a parked run with this key


class Enqueued(msgspec.Struct, frozen=True, gc=False):
    """The answer to one enqueued run, in the order they were given."""

    run: UUID  # the id that now stands for the work; not the new one unless `reuse` is new
    reuse: Reuse
    why: str = ""  # for a refusal: what the parked run waits for


class Claimed(msgspec.Struct, frozen=True, gc=False):
    """A run in an instance's hands, with the rest of its fence in `epoch`."""

    id: UUID
    epoch: int
    task: str
    args: bytes
    queue: str
    failures: int
    deaths: int
    limit_key: str | None
    schedule: str | None
    due: datetime | None
    window_start: datetime | None
    origin: Origin
    enqueued_at: datetime
    parent: UUID | None = None
    wait_s: float = 0.0  # its time comes so long after the answer; it begins no sooner


class Ending(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """How one attempt ends. `verb` is one of `ENDING_VERBS`.

    `note` is kept in the same commit, if the fence holds. `awaits` is what a waiting or parked
    run is to be woken by; what has happened already makes it ready at once.
    """

    run: UUID
    epoch: int
    verb: RunVerb
    result: bytes | None = None
    error: str | None = None
    reason: str | None = None  # of waiting, parking, cancelling, releasing
    delay_us: int | None = None  # retry or wait: microseconds until ready, by the store's clock
    limited: bool = False  # the run holds a slot of a concurrency limit
    parent: UUID | None = None  # the run that may await this one's end
    note: Note | None = None
    awaits: tuple[Await, ...] = ()

    @property
    def plain(self) -> bool:
        """Whether nothing but the run itself is touched by its end."""
        return not (self.limited or self.parent or self.note or self.awaits)


ENDING_VERBS = frozenset(
    {
        RunVerb.COMPLETE,
        RunVerb.RETRY,
        RunVerb.FAIL,
        RunVerb.RELEASE,
        RunVerb.WAIT,
        RunVerb.PARK,
        RunVerb.CANCEL,
    }
)


class Answer(StrEnum):
    """What a conditional verb came to."""

    DONE = "done"
    ALREADY = "already"  # it had been done before, by you: this was a resend
    STALE = "stale"  # the fence no longer holds; nothing was written
    REQUESTED = "requested"  # the holder was asked; it will answer in its own time
    IMPOSSIBLE = "impossible"  # the state does not allow it
    UNKNOWN = "unknown"  # there is no such thing


class Attempt(msgspec.Struct, frozen=True):
    """One past try of a run. `outcome` is the verb that ended it."""

    epoch: int
    boot: UUID
    started_at: datetime
    ended_at: datetime
    outcome: RunVerb
    detail: str | None = None


class RunView(msgspec.Struct, frozen=True, kw_only=True):
    """A run as people see it: identity and where it stands now."""

    id: UUID
    task: str
    queue: str
    priority: int
    args: bytes
    origin: Origin
    key: str | None
    schedule: str | None
    due: datetime | None
    window_start: datetime | None
    enqueued_at: datetime
    state: RunState
    epoch: int
    failures: int
    deaths: int
    reason: str | None = None  # of waiting, parked, cancelled, …
    wake_at: datetime | None = None
    boot: UUID | None = None  # holder, or who ended it
    started_at: datetime | None = None
    ended_at: datetime | None = None
    result: bytes | None = None
    error: str | None = None
    cancel_requested: str | None = None
    limit_key: str | None = None
    asked_by: str | None = None
    parent: UUID | None = None
    tenant: str = ""
    progress: Progress | None = None
    attempts: tuple[Attempt, ...] = ()


class Front(msgspec.Struct, frozen=True):
    """The oldest run that is ready in a queue; whether any run of that queue is in hands."""

    queue: str
    run: UUID
    task: str
    schedule: str | None
    running: bool


class RunFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which runs to list; newest first, `limit` at most, older than `before` if given."""

    state: RunState | None = None
    task: str | None = None
    schedule: str | None = None
    queue: str | None = None  # that it was asked for in
    tenant: str | None = None  # None: of all; empty: of the house
    before: UUID | None = None
    limit: int = 50
