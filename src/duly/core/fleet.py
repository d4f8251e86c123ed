"""Instances as data: who is there, what a renewal comes to, what a takeover took.

A boot is a random id per process start, never a host name. One lease per instance covers all
it holds. Leases are counted in the store's clock; an instance trusts its own lease only by
its own monotonic clock, from the moment the renewal was *sent*.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

import msgspec

from duly.core.runs import Claimed

PRESENT = timedelta(seconds=90)
"""An instance not seen for this long (three beats) is not counted on for anything."""


class InstanceState(StrEnum):
    """A boot's standing. Dead is for ever: a process that returns takes a new boot."""

    LIVE = "live"
    STOPPING = "stopping"
    GONE = "gone"  # left by itself, handing everything back
    DEAD = "dead"  # declared so by another instance, or by its lease


class Instance(msgspec.Struct, frozen=True, kw_only=True):
    """One process of the fleet."""

    boot: UUID
    name: str  # for people: host and pid; never used to decide
    host: str
    pid: int
    pid_space: str  # identity of the PID namespace on that host, empty when unknown
    owner: str
    version: str
    cluster: str = ""  # a name for those that stand or fall together: a region, a data centre
    tasks: tuple[str, ...] = ()
    state: InstanceState = InstanceState.LIVE
    started_at: datetime | None = None
    seen_at: datetime | None = None
    lease_until: datetime | None = None
    left_at: datetime | None = None  # when it left, or was declared dead
    held: int = 0
    reason: str | None = None


class Proof(StrEnum):
    """Why a boot is held to be dead."""

    PROCESS = "process gone"  # same host and PID namespace, or its file lock fell
    SESSION = "session lost"  # its locks fell, and it did not take them again in the grace
    LEASE = "lease expired"

    def told(self, cause: str) -> str:
        """Say the proof, and what is known of the cause."""
        return f"{self.value}: {cause}" if cause else self.value


def proven_gone(instance: Instance | None) -> bool:
    """Whether a boot's process is known to have ended: nothing of it can wake up again."""
    if instance is None or instance.state not in (InstanceState.DEAD, InstanceState.GONE):
        return False
    return (instance.reason or "").startswith(Proof.PROCESS.value)


class TakenOver(msgspec.Struct, frozen=True):
    """What a takeover came to. `taken` is empty when someone else was first."""

    boot: UUID
    buried: bool  # whether this very call declared the boot dead
    ready: tuple[UUID, ...] = ()
    parked: tuple[UUID, ...] = ()
    cancelled: tuple[UUID, ...] = ()

    @property
    def taken(self) -> int:
        """How many runs left the dead hands."""
        return len(self.ready) + len(self.parked) + len(self.cancelled)


class Renewal(msgspec.Struct, frozen=True):
    """The answer to a renewal.

    `alive` is False when the boot was declared dead: then everything else is empty, and the
    holder must stop its work and register anew. `lost` are runs the holder named that are no
    longer its own; `cancels` maps runs to the reason a person gave.
    """

    alive: bool
    lost: tuple[UUID, ...] = ()
    released: int = 0  # rows of this boot that its memory did not know: an unanswered claim
    cancels: tuple[tuple[UUID, str], ...] = ()


class Claim(msgspec.Struct, frozen=True):
    """The answer to a claim; `alive` is False when the boot was declared dead."""

    alive: bool
    runs: tuple[Claimed, ...] = ()


class Horizon(msgspec.Struct, frozen=True):
    """What lies ahead, by the store's clock: what an instance needs to know to sleep well."""

    now: datetime
    next_fire: datetime | None  # of any active schedule or backlog
    next_wake: datetime | None  # of any run in `later`
    ready: bool  # whether something is claimable in the given queues for the given tasks
    suspects: bool  # whether a suspect waits for an idle instance
    alive: bool  # whether this boot is known and not declared dead
    next_expiry: datetime | None = None  # the earliest lease end of another holder


class Incident(msgspec.Struct, frozen=True, kw_only=True):
    """Something a person should know. One is open per (kind, subject) at most.

    The store gives it its `id`. `owner` is whom it concerns, an application or the owner of a
    schedule; one that is not given is that of what the evidence names (`core.owning`).
    Once acknowledged, by whom and with which note, nobody is reminded of it any more.
    """

    kind: str
    subject: str
    severity: str  # "info", "warning", "critical"
    summary: str
    opened_at: datetime | None = None
    closed_at: datetime | None = None
    evidence: dict[str, str] = msgspec.field(default_factory=dict)
    id: int | None = None
    owner: str = ""
    acknowledged_at: datetime | None = None
    acknowledged_by: str | None = None
    acknowledged_note: str | None = None


class Health(msgspec.Struct, frozen=True):
    """How an instance fares: whether its loops live, whether it takes work, and why not."""

    live: bool
    ready: bool
    why: str = ""
