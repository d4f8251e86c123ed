"""Schedules as data: the definition a user writes, the row a store keeps, who may change it.

A definition is immutable and has a digest; a schedule is a series of revisions of it. Code
declares definitions at every start; people may edit them. The rules of `settle_declaration`:
an old process that restarts does not revert a newer definition; a rollback of the whole fleet
does; an operator's edit wins until it is given back; what a person retired stays retired.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from datetime import datetime, timedelta
from enum import StrEnum

import msgspec

from duly.core.states import ScheduleState
from duly.core.verdicts import VerdictRange


class CatchUpMode(StrEnum):
    """What happens to occurrences that were missed."""

    SKIP = "skip"
    LATEST = "latest"
    ALL = "all"


class CatchUp(msgspec.Struct, frozen=True):
    """The policy for missed occurrences. Older than `max_age` or beyond `max_count`: missed.

    `pace` is the least time between two caught-up runs; `batch` makes one run of the whole
    stretch, with a window that covers it.
    """

    mode: CatchUpMode = CatchUpMode.LATEST
    max_age: timedelta = timedelta(days=1)
    max_count: int = 10_000
    pace: timedelta = timedelta(0)
    batch: bool = False


class Overlap(StrEnum):
    """What happens when an occurrence is due while an earlier run of it is still live."""

    SKIP = "skip"
    QUEUE_ONE = "queue_one"
    QUEUE_ALL = "queue_all"
    CANCEL_RUNNING = "cancel_running"
    ALLOW = "allow"


class Definition(msgspec.Struct, frozen=True, kw_only=True):
    """What a schedule is. `trigger` is a trigger's `spec()`."""

    name: str
    task: str
    trigger: dict[str, object]
    args: bytes = b"{}"
    queue: str = "default"
    priority: int = 0
    catch_up: CatchUp = CatchUp()
    overlap: Overlap = Overlap.SKIP
    jitter: timedelta = timedelta(0)
    expires_after: timedelta | None = None
    limit_key: str | None = None
    limit: int = 0
    tenant: str = ""  # whose it is, and its runs; empty: the house's

    def digest(self) -> str:
        """Return a short hash that is equal exactly when the definitions are.

        A tenant counts only where there is one: schedules of the house keep the digests that they
        had before there were tenants, and no start of new code takes them for revised.
        """
        fields = msgspec.to_builtins(self)
        if not self.tenant:
            del fields["tenant"]
        canonical = msgspec.json.encode(fields, order="sorted")
        return hashlib.sha256(canonical).hexdigest()[:16]


PEOPLE = "people"
"""Owner of schedules that no code declares: people made them."""


class Source(StrEnum):
    """Who wrote the revision that holds."""

    CODE = "code"
    PERSON = "person"


class ScheduleRow(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule as a store keeps it.

    `fired_through` is the mark: every occurrence at or before it has its verdict or lies in a
    backlog. `next_fire` is the next nominal instant plus its jitter; None when nothing is to
    come or the schedule is not active. `open_range` is the newest verdict range, still growing.
    """

    name: str
    owner: str
    definition: Definition
    digest: str
    revision: int
    source: Source
    state: ScheduleState
    fired_through: datetime
    next_fire: datetime | None
    last_run: str | None = None  # UUID text of the newest run that the clock fired
    open_range: VerdictRange | None = None
    reason: str | None = None
    by: str | None = None
    created_at: datetime | None = None
    changed_at: datetime | None = None


class ScheduleFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which schedules to list: all of them, by name."""

    tenant: str | None = None  # None: of all; empty: of the house


class Backlog(msgspec.Struct, frozen=True, kw_only=True):
    """Missed occurrences of one revision, in (after, until], waiting to be caught up."""

    schedule: str
    revision: int
    definition: Definition
    after: datetime
    until: datetime
    next_at: datetime  # not drained before
    window_from: datetime | None = None  # where the first window of the stretch begins
    drained: int = 0  # how many occurrences have left it
    open_range: VerdictRange | None = None  # their verdicts, still growing


class Declared(StrEnum):
    """What a declaration by code came to."""

    NEW = "new"
    SAME = "same"
    REVISED = "revised"
    ADOPTED = "adopted"  # was orphaned, is active again
    OLDER = "older"  # an earlier revision, and newer code is alive: not reverted
    EDITED = "edited"  # a person's edit holds until it is given back
    RETIRED = "retired"  # a person retired it: it stays so


def settle_declaration(
    row: ScheduleRow | None,
    digest: str,
    *,
    earlier: Collection[str],
    carried: bool,
) -> Declared:
    """Decide what a declaration with `digest` does to `row`.

    `earlier` are the digests of past revisions that code declared; `carried` says whether a
    live or recent instance other than the declaring one still declares the row's digest.
    """
    if row is None:
        return Declared.NEW
    if row.state is ScheduleState.RETIRED:
        return Declared.RETIRED
    orphaned = row.state is ScheduleState.ORPHANED
    if row.source is Source.PERSON and row.digest != digest:
        # The edit holds, but a schedule that retired by itself comes back by itself.
        return Declared.ADOPTED if orphaned else Declared.EDITED
    if row.digest != digest:
        return Declared.OLDER if digest in earlier and carried else Declared.REVISED
    return Declared.ADOPTED if orphaned else Declared.SAME
