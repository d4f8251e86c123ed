"""The feed: what happened in the whole fleet, in one order that every server tells alike.

Whatever the store keeps with an instant is a happening: runs that ended, incidents, changes of
breakers, instances. Their order is that of their points: the store's instant, then what sort it
is, then the row's own id. So the id of an event says all that is needed to go on behind it, on any
server of the same store, after any restart.

A row may be committed with an instant that is over already. So nothing is told that is not
*settled*: the store says up to which instant all is committed, and what lies behind that waits for
the next look. Nothing is told out of order, therefore, nothing twice, and nothing is remembered.
Where a store cannot be sure, or its clock was set back, the reader is told that something may be
missing; never is it missing in silence.

Pure: stores answer with `collected`, readers decide with `resumed` and `doubtful`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from typing import Any
from uuid import UUID

import msgspec

from duly.core.breakers import BreakerLine
from duly.core.fleet import Incident, Instance, InstanceState, Proof
from duly.core.spoken import last_line
from duly.core.states import BreakerVerb, RunState

AT_ONCE = 1_000
"""Happenings that one look tells."""

PATIENCE = timedelta(seconds=60)
"""How long what is under way holds back what is told behind it."""

REACH = timedelta(minutes=50)
"""How old a point may be to go on from it: what is an hour old may be pruned, wherever that is set,
and nothing may be pruned while it is read."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TICK = timedelta(microseconds=1)
_HIGHEST = (1 << 128) - 1
_TEXT = re.compile(r"(\d{1,17})\.(\d)\.([0-9a-f]{1,32})\Z", re.ASCII)


class Sort(IntEnum):
    """What sort of row tells it; at one instant lower ones are told first."""

    STARTED = 1  # an instance, by its boot
    ENDED = 2  # a run
    BREAKER = 3  # a change of a breaker, by its number
    OPENED = 4  # an incident, by its number
    ACKNOWLEDGED = 5
    CLOSED = 6
    LEFT = 7  # an instance that stopped, or was declared dead


NUMBERED = frozenset({Sort.OPENED, Sort.ACKNOWLEDGED, Sort.CLOSED, Sort.BREAKER})
"""Sorts whose rows are known by a number; the others by a UUID."""

_MOST_NUMBER = (1 << 63) - 1


class Point(msgspec.Struct, frozen=True, order=True):
    """A place in the order of what happened: behind that row, or before all of an instant."""

    at: datetime
    sort: int = 0
    id: int = 0

    def text(self) -> str:
        """Return what `parse` reads back: the id of an event."""
        return f"{(self.at - _EPOCH) // _TICK}.{self.sort}.{self.id:x}"

    @staticmethod
    def parse(text: str) -> Point | None:
        """Read the id of an event; None when it is none."""
        found = _TEXT.match(text)
        if found is None:
            return None
        return Point(_EPOCH + int(found[1]) * _TICK, int(found[2]), int(found[3], 16))

    def behind(self, sort: Sort) -> int:
        """Return the id behind which rows of a sort with this very instant lie; -1: all of them."""
        if sort == self.sort:
            return min(self.id, _MOST_NUMBER) if sort in NUMBERED else self.id
        if sort > self.sort:
            return -1
        return _MOST_NUMBER if sort in NUMBERED else _HIGHEST


class Happening(msgspec.Struct, frozen=True):
    """Something that happened: its name in the catalogue, and those of its fields that are kept."""

    point: Point
    name: str
    fields: Mapping[str, Any]
    tenant: str = ""

    def told(self) -> dict[str, Any]:
        """Return its fields, with the store's instant as `at`."""
        return {"at": self.point.at, **self.fields}


class Look(msgspec.Struct, frozen=True):
    """What one look found, in order.

    All that is settled up to `through` is told; `more` says that a further look will find more
    at once. `unsure` says that something may have been committed too late for any look.
    """

    now: datetime
    through: Point
    happenings: tuple[Happening, ...] = ()
    more: bool = False
    unsure: bool = False


class Settled(msgspec.Struct, frozen=True):
    """Up to which instant everything is committed; the instant itself is not included."""

    now: datetime
    floor: datetime
    unsure: bool = False


def settled(now: datetime, oldest: datetime | None, *, blind: bool = False) -> Settled:
    """Return what is settled, from the beginning of the oldest write that is under way.

    What is under way for longer than `PATIENCE` is waited for no more, and told as unsure.
    `blind`: there are writers whose beginnings nobody may see; each is allowed `PATIENCE`.
    """
    longest = now - PATIENCE
    if blind:
        return Settled(now, longest, oldest is not None and oldest < longest)
    if oldest is None or oldest >= now:
        return Settled(now, now)
    return Settled(now, max(oldest, longest), oldest < longest)


def collected(
    after: Point, upto: Settled, found: Sequence[Sequence[Happening]], limit: int
) -> Look:
    """Make a look of the first happenings behind `after`, of each sort one more than `limit`.

    The one more says whether there is any: however a store sorts them, they all say the same.
    """
    merged = sorted((one for sort in found for one in sort), key=lambda one: one.point)
    more = len(merged) > limit
    told = tuple(merged[:limit])
    through = told[-1].point if more else max(after, Point(upto.floor))
    return Look(upto.now, through, told, more, upto.unsure)


def nothing(upto: Settled) -> Look:
    """Return where a reader begins who wants what happens next."""
    return Look(upto.now, Point(upto.floor), unsure=upto.unsure)


# --- readers ------------------------------------------------------------------------------------


def resumed(last: str, now: datetime) -> Point | None:
    """Return the point to go on from; None when what lies behind it cannot be told for certain.

    It is no id of this feed, or older than `REACH`, or the store's clock was set back since.
    """
    point = Point.parse(last)
    if point is None or not now - REACH <= point.at <= now:
        return None
    return point


def doubtful(before: Look | None, look: Look) -> bool:
    """Whether something may be missing between two looks that follow each other.

    The store's clock went back: what was committed since may lie before what was told. Or the
    patience with something under way ended, or that something has ended by now.
    """
    if before is None:
        return look.unsure
    return look.now < before.now or look.unsure != before.unsure


# --- the vocabulary: names and fields of `duly.events` ------------------------------------------

ENDED_AS: Mapping[RunState, str] = {
    RunState.SUCCEEDED: "run.completed",
    RunState.FAILED: "run.failed",
    RunState.CANCELLED: "run.cancelled",
    RunState.SKIPPED: "run.skipped",
    RunState.EXPIRED: "run.expired",
}

MOVED_AS: Mapping[BreakerVerb, str] = {
    BreakerVerb.TRIP: "breaker.tripped",
    BreakerVerb.PROBE: "breaker.probed",
    BreakerVerb.REOPEN: "breaker.reopened",
    BreakerVerb.CLOSE: "breaker.closed",
    BreakerVerb.FORCE_OPEN: "breaker.forced_open",
    BreakerVerb.FORCE_CLOSE: "breaker.forced_closed",
    BreakerVerb.RESUME: "breaker.resumed",
}

NAMES = frozenset(
    {
        *ENDED_AS.values(),
        *MOVED_AS.values(),
        "incident.opened",
        "incident.acknowledged",
        "incident.closed",
        "instance.started",
        "instance.stopped",
        "instance.declared_dead",
    }
)
"""Every name that the feed can tell."""


class EndedRun(msgspec.Struct, frozen=True, kw_only=True):
    """An ended run as the feed reads it."""

    id: UUID
    state: RunState
    task: str
    tenant: str
    epoch: int
    failures: int
    started_at: datetime | None
    ended_at: datetime
    error: str | None
    reason: str | None


def run_ended(run: EndedRun) -> Happening:
    """Return the happening of a run's end."""
    fields: dict[str, Any] = {"run": run.id, "task": run.task}
    took_s = 0.0
    if run.started_at is not None:
        took_s = max(0.0, (run.ended_at - run.started_at).total_seconds())
    if run.state in (RunState.SUCCEEDED, RunState.FAILED):
        fields |= {"epoch": run.epoch, "took_s": took_s}
    else:
        fields["reason"] = run.reason or ""
    if run.state is RunState.FAILED:
        fields |= {"failures": run.failures, "error": last_line(run.error or run.reason)}
    point = Point(run.ended_at, Sort.ENDED, run.id.int)
    return Happening(point, ENDED_AS[run.state], fields, run.tenant)


def incident_moved(sort: Sort, one: Incident) -> Happening:
    """Return the happening of an incident's opening, acknowledgement or closing."""
    at, name = {
        Sort.OPENED: (one.opened_at, "incident.opened"),
        Sort.ACKNOWLEDGED: (one.acknowledged_at, "incident.acknowledged"),
        Sort.CLOSED: (one.closed_at, "incident.closed"),
    }[sort]
    assert at is not None and one.id is not None, f"{name} is kept"
    fields: dict[str, Any] = {"kind": one.kind, "subject": one.subject}
    if sort is Sort.OPENED:
        fields |= {"severity": one.severity, "summary": one.summary}
    elif sort is Sort.ACKNOWLEDGED:
        fields["by"] = one.acknowledged_by or ""
    return Happening(Point(at, sort, one.id), name, fields)


def breaker_moved(number: int, line: BreakerLine) -> Happening:
    """Return the happening of a change of a breaker."""
    fields = {"breaker": line.breaker, "by": line.by, "reason": line.why}
    return Happening(Point(line.at, Sort.BREAKER, number), MOVED_AS[line.verb], fields)


def instance_came(one: Instance) -> Happening:
    """Return the happening of an instance's start."""
    assert one.started_at is not None, "it is kept"
    fields = {
        "boot": one.boot, "instance": one.name, "owner": one.owner, "version": one.version,
    }  # fmt: skip
    return Happening(Point(one.started_at, Sort.STARTED, one.boot.int), "instance.started", fields)


def instance_left(one: Instance) -> Happening:
    """Return the happening of an instance's own end, or of its being declared dead."""
    assert one.left_at is not None, "it is kept"
    point = Point(one.left_at, Sort.LEFT, one.boot.int)
    if one.state is not InstanceState.DEAD:
        return Happening(point, "instance.stopped", {"boot": one.boot})
    said = one.reason or ""
    proof = next((proof.value for proof in Proof if said.startswith(proof.value)), said)
    fields = {"boot": one.boot, "proof": proof, "reason": said}
    return Happening(point, "instance.declared_dead", fields)
