"""Breakers as data: the policy, the row of a target, what is asked, told and answered.

A breaker is the fleet's shared state of a target: closed (calls pass), open (they do not), half
open (one leased call tries). Records only: what an ask, a report or a person's word comes to is
decided in `core.tripping`. A target without a row is closed, and nothing was counted against it.

Rests are lengths of time, answered by the store from its own clock, so that a caller counts them
on its monotonic one and no two clocks are compared.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import Any
from uuid import UUID

import msgspec

from duly.core.durations import parse_duration
from duly.core.faults import Fault, counts
from duly.core.states import BreakerState, BreakerVerb
from duly.errors import InvalidValue

OPEN = "breaker.open"
"""The kind of the incident that lasts from an opening to the next closing."""

SHOWN = 300
"""Characters of an error that a breaker keeps."""

PROBE_MARGIN = timedelta(seconds=10)
"""How much longer a probe's lease is than the call may take, so that its answer can be told."""

LONGEST_LEASE = timedelta(hours=1)
"""How long a call is believed to be on its way at most: its process may have died of it."""

HELD = timedelta(hours=1)
"""How long a call is told to wait at a breaker that a person holds open: nobody knows better."""

LONGEST = 160
"""Characters of a breaker's name."""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:/@-]{0,159}\Z", re.ASCII)
_NOTHING = timedelta(0)
_SCHEDULE, _TENANT = "schedule:", "tenant:"


def check_breaker(name: object) -> str:
    """Return the name of a breaker, or raise `InvalidValue`."""
    if not isinstance(name, str) or not _NAME.match(name):
        raise InvalidValue.expected(
            "the name of a breaker",
            "1 to 160 letters, digits and _ . : / @ - without a space",
            name,
        )
    return name


def fitted(name: str) -> str:
    """Return a name that is short enough for a breaker; two that differ stay two.

    One that is too long is cut, and ends in `@` and a digest of the whole.
    """
    if len(name) <= LONGEST:
        return name
    mark = "@" + hashlib.sha256(name.encode()).hexdigest()[:16]
    return name[: LONGEST - len(mark)] + mark


def check_move(name: str, by: str, why: str) -> str:
    """Return the name of a breaker that somebody moves; who and why must be said."""
    if not by.strip() or not why.strip():
        raise InvalidValue("expected by and why to be given: both are kept for ever")
    return check_breaker(name)


class BreakerPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """When a breaker opens, how long it stays open, and what closes it.

    It opens at `threshold` failures in a row; with `within`, at as many in that time, whatever
    succeeded in between. The n-th pause in a row is `pause` × `growth`ⁿ⁻¹, `slowest` at most, less
    up to `jitter` of it by lot. A probe that says nothing for `probe_deadline` loses its lease.
    `closes_after` probes in a row close it.
    """

    threshold: int = 5
    within: timedelta | None = None
    pause: timedelta = timedelta(seconds=30)
    slowest: timedelta = timedelta(hours=1)
    growth: float = 2.0
    jitter: float = 0.2
    probe_deadline: timedelta = timedelta(seconds=30)
    closes_after: int = 1

    def __post_init__(self) -> None:
        """Refuse what could never open, never pause or never close."""
        _check_count("threshold", self.threshold)
        _check_count("closes_after", self.closes_after)
        if not 1.0 <= self.growth <= 100.0:
            raise InvalidValue.expected("growth", "from 1 to 100", self.growth)
        if not 0.0 <= self.jitter <= 0.9:
            raise InvalidValue.expected("jitter", "a share from 0 to 0.9", self.jitter)
        for name in ("within", "pause", "probe_deadline"):
            length = getattr(self, name)
            if length is not None and length <= _NOTHING:
                raise InvalidValue.expected(name, "longer than nothing", length)
        if self.slowest < self.pause:
            raise InvalidValue.expected(
                "slowest", f"at least the pause, {self.pause}", self.slowest
            )

    def ceiling(self, openings: int) -> timedelta:
        """Return the longest that the pause after the `openings`-th opening in a row may be."""
        exponent = min(max(openings, 1) - 1, 64)
        seconds = self.pause.total_seconds() * self.growth**exponent
        return timedelta(seconds=min(seconds, self.slowest.total_seconds()))


def _check_count(name: str, count: object) -> None:
    if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= 1000:
        raise InvalidValue.expected(name, "a whole number from 1 to 1000", count)


class Breaker(msgspec.Struct, frozen=True):
    """A breaker as users write it: its name, its policy, and what counts as the target's failure.

    Lengths are text (`"30s"`, `"1h"`), numbers of seconds, or `timedelta`. `counts` is asked for
    each error, and says whether it counts; without it, what says that the target is broken does
    (connections, timeouts, TLS, 5xx, busy), and with `fixed` also any status that was not expected.
    On a task, `of` is asked with each run's arguments, by name, and says which breaker that run
    has: one for each host, or tenant, that is called. A probe may take `probe_deadline`, or the
    task's `timeout` where that is longer, an hour at most. Raises `InvalidValue` when it is made of
    what cannot be right.
    """

    name: str = ""  # empty on a task: that of the task
    threshold: int = 5
    within: timedelta | float | str | None = None
    pause: timedelta | float | str = "30s"
    slowest: timedelta | float | str = "1h"
    growth: float = 2.0
    jitter: float = 0.2
    probe_deadline: timedelta | float | str = "30s"
    closes_after: int = 1
    counts: Callable[[BaseException], bool] | None = None
    fixed: bool = False
    of: Callable[[Mapping[str, Any]], Breaker | None] | None = None

    def __post_init__(self) -> None:
        """Refuse a name or a policy that cannot be right."""
        if self.name:
            check_breaker(self.name)
        if self.counts is not None and not callable(self.counts):
            raise InvalidValue.expected("counts", "a function of an error", self.counts)
        if self.of is not None and not callable(self.of):
            raise InvalidValue.expected("of", "a function of a run's arguments", self.of)
        _ = self.policy

    @property
    def policy(self) -> BreakerPolicy:
        """The policy, with every length as a `timedelta`."""
        return _policy_of(self)

    def lasting(self, longest: timedelta) -> Breaker:
        """Return it for calls that may take so long: no probe loses its lease on its way."""
        deadline = min(longest, LONGEST_LEASE) + PROBE_MARGIN
        if self.policy.probe_deadline >= deadline:
            return self
        return msgspec.structs.replace(self, probe_deadline=deadline)

    def blames(self, error: BaseException, fault: Fault) -> bool:
        """Whether an error counts as a failure of the target."""
        if self.counts is not None:
            return bool(self.counts(error))
        return counts(fault, fixed=self.fixed)


@lru_cache(maxsize=1024)
def _policy_of(said: Breaker) -> BreakerPolicy:
    """Read the lengths once for each breaker that is written down, not for each call."""
    return BreakerPolicy(
        threshold=said.threshold,
        within=None if said.within is None else parse_duration(said.within, what="within"),
        pause=parse_duration(said.pause, what="pause"),
        slowest=parse_duration(said.slowest, what="slowest"),
        growth=said.growth,
        jitter=said.jitter,
        probe_deadline=parse_duration(said.probe_deadline, what="probe_deadline"),
        closes_after=said.closes_after,
    )


def breaker_of_schedule(schedule: str) -> str:
    """Return the name of the breaker that is a schedule's own."""
    return f"{_SCHEDULE}{schedule}"


def schedule_of_breaker(name: str) -> str | None:
    """Return the schedule whose own breaker this is, or None for a shared one."""
    return name.removeprefix(_SCHEDULE) if name.startswith(_SCHEDULE) else None


def breaker_of_tenant(tenant: str, name: str = "") -> str:
    """Return the name of the breaker that a tenant's timers share: all, or those that name it."""
    return f"{_TENANT}{tenant}/{name}" if name else f"{_TENANT}{tenant}"


def belongs_to_tenant(name: str, tenant: str) -> bool:
    """Whether a breaker is one that a tenant's timers share, and nobody else's."""
    theirs = breaker_of_tenant(tenant)
    return name == theirs or name.startswith(f"{theirs}/")


def breaker_for(
    declared: Breaker | None, task: str, schedule: str | None, arguments: Mapping[str, Any]
) -> Breaker | None:
    """Say which breaker a run has: the named one, else that of its schedule or of its task.

    A request that is fixed is a timer's, and fails alone: each of its schedules has its own.
    """
    if declared is not None and declared.of is not None:
        declared = declared.of(arguments) or declared
    if declared is None or declared.name:
        return declared
    own = declared.fixed and schedule is not None
    name = breaker_of_schedule(schedule or "") if own else f"task:{task}"
    return msgspec.structs.replace(declared, name=name)


# --- rows and lines -----------------------------------------------------------------------------


class BreakerRow(msgspec.Struct, frozen=True, kw_only=True):
    """What the fleet knows of a target."""

    name: str
    changed_at: datetime
    state: BreakerState = BreakerState.CLOSED
    forced: bool = False  # it stays so by a person's word
    failures: int = 0  # counted now, or those that opened it
    marks: tuple[datetime, ...] = ()  # instants of the latest failures, for `within`
    fault: str = ""  # of the last failure, a word of `core.faults`
    error: str = ""
    who: str = ""  # what made the call that failed last
    schedule: str = ""  # of the run that made it, where it was of one
    owner: str = ""  # whose application made it, where no schedule did
    endpoint: str = ""  # method and URL of that call, where it was a timer's
    answer: str = ""  # the status it was answered with, if it was
    ran_by: str = ""  # the instance that made it, and of which application
    failed_at: datetime | None = None
    opened_at: datetime | None = None  # since when it is not closed
    closed_at: datetime | None = None
    openings: int = 0  # in a row: how often it opened without a calm time in between
    probes: int = 0  # probes that did not succeed since it opened
    successes: int = 0  # probes in a row that did
    pause: timedelta = _NOTHING  # the last one, before jitter
    probe_at: datetime | None = None  # not probed before
    probe: UUID | None = None  # the lease of the probe that is under way
    probe_boot: UUID | None = None
    probe_until: datetime | None = None
    unanswered: tuple[UUID, ...] = ()  # leases that ended without a word since it last failed
    by: str = ""
    why: str = ""

    @property
    def clean(self) -> bool:
        """Whether calls pass and nothing is counted: a success need not be told."""
        return self.state is BreakerState.CLOSED and not self.failures


class BreakerLine(msgspec.Struct, frozen=True, kw_only=True):
    """One change of a breaker: what, who, why, when."""

    breaker: str
    verb: BreakerVerb
    state: BreakerState
    at: datetime
    by: str = ""
    why: str = ""


# --- what is asked, told, answered --------------------------------------------------------------


class Ask(msgspec.Struct, frozen=True):
    """May I call? `lease` is a new id, under which the call is known if it becomes the probe."""

    breaker: str
    lease: UUID
    deadline: timedelta = timedelta(seconds=30)


class Permission(StrEnum):
    """The answer to an ask."""

    PASS = "pass"  # noqa: S105 (no password)
    PROBE = "probe"  # you are the probe: tell what comes of it, with the lease
    REFUSED = "refused"


class Permit(msgspec.Struct, frozen=True):
    """The answer to an ask, with the row as it is now (None: nothing is known against it).

    `rest` says how long to wait before asking again; nothing for a call that may pass. `line` is
    the change that this ask made.
    """

    permission: Permission
    row: BreakerRow | None = None
    rest: timedelta = _NOTHING
    line: BreakerLine | None = None


class Came(StrEnum):
    """What came of a call, as far as the target goes."""

    GOOD = "good"
    BROKEN = "broken"
    STARTED = "started"  # it was taken on, and what comes of it is told later
    NEITHER = "neither"  # it says nothing of the target: our own bug, or it was called off


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one call. `took` is how long ago it was begun, by the caller's own clock.

    `lasts` is for one that has only started: how long its probe is waited for from now on.
    """

    breaker: str
    came: Came
    policy: BreakerPolicy = BreakerPolicy()
    took: timedelta = _NOTHING
    draw: float = 0.0  # an even random number in [0, 1)
    lease: UUID | None = None
    fault: str = ""
    error: str = ""
    who: str = ""
    schedule: str = ""
    owner: str = ""
    endpoint: str = ""
    answer: str = ""
    ran_by: str = ""
    retry_after: timedelta | None = None
    lasts: timedelta = _NOTHING


class Heard(msgspec.Struct, frozen=True):
    """The answer to a telling: the rows as they are now, and the changes that it made."""

    rows: tuple[BreakerRow, ...] = ()
    lines: tuple[BreakerLine, ...] = ()


class BreakerFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which breakers to list: by name, `limit` at most; `broken` are those not closed.

    With `names`, those only, as far as anything is known of them.
    """

    broken: bool = False
    limit: int = 1000
    names: tuple[str, ...] | None = None
