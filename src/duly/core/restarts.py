"""When a supervised loop is begun again, how long it pauses, when it is given up, who is told.

Decisions only: a policy, the failures so far, and chance as an argument; the answer is data. A
failure is a turn that raised, or that missed its deadline. Failures count *in a row*: a turn that
went well ends the row, and so does one that went on for long before it failed, which is what
ends the row of a function that loops by itself. A loop that is given up has *tripped*; trips are
counted by the day (UTC), so that the count outlives processes, and ends by itself.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import Literal, get_args

import msgspec

from duly.core.durations import format_duration, parse_duration
from duly.errors import InvalidValue, nearest

Notify = Literal["first", "each", "trip"]
Length = timedelta | float | str

JITTER = 0.5
"""A pause is drawn evenly from its length × [1 - JITTER, 1 + JITTER)."""

SHORTEST = timedelta(milliseconds=10)
"""No pause or deadline is shorter: a loop that fails must not become a hot one."""

MOST_FAILURES = 1_000
LONGEST_LAST_PAUSE = timedelta(minutes=1)


class RestartPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How a supervised loop is treated when it fails. Raises `InvalidValue` when it is made.

    After each failure it pauses: `pause` at first, twice as long each time, `slowest` at most,
    half of that more or less by chance. After `threshold` failures in a row it has tripped. A turn
    that went on for `within` before it failed went well so far: its failure begins a new row;
    None: only a turn that ends well does. `deadline` is the longest a turn may take without a
    `beat()`; None: as long as it likes, and a hang is never noticed. Lengths are texts (`"90s"`),
    numbers of seconds, or `timedelta`s, and are `timedelta`s afterwards.

    `notify` says of what a person is told: the `"first"` failure of a row, `"each"` one, or only
    the `"trip"`, of which everybody is told anyway.
    """

    threshold: int = 5
    pause: Length = timedelta(seconds=1)
    slowest: Length = timedelta(seconds=30)
    deadline: Length | None = timedelta(minutes=5)
    notify: Notify = "trip"
    within: Length | None = timedelta(minutes=10)

    def __post_init__(self) -> None:
        if type(self.threshold) is not int or not 1 <= self.threshold <= MOST_FAILURES:
            raise InvalidValue.expected(
                "threshold", f"a whole number from 1 to {MOST_FAILURES}", self.threshold
            )
        if self.notify not in get_args(Notify):
            known = ", ".join(get_args(Notify))
            near = nearest(str(self.notify)[:40], get_args(Notify))
            raise InvalidValue(f"expected notify to be one of {known}, got {self.notify!r}{near}")
        for name in ("pause", "slowest", "deadline", "within"):
            given = getattr(self, name)
            if given is not None:
                msgspec.structs.force_setattr(self, name, _length(name, given))
        if self.slowest_s < self.pause_s:
            raise InvalidValue.expected(
                "slowest", f"no shorter than pause ({_text(self.pause_s)})", _text(self.slowest_s)
            )

    @property
    def pause_s(self) -> float:
        """The first pause, in seconds."""
        return _seconds(self.pause)

    @property
    def slowest_s(self) -> float:
        """The longest pause, in seconds, before chance."""
        return _seconds(self.slowest)

    @property
    def deadline_s(self) -> float | None:
        """How long a turn may take without a beat, in seconds."""
        return None if self.deadline is None else _seconds(self.deadline)

    @property
    def within_s(self) -> float | None:
        """How long a turn goes on until it went well, in seconds."""
        return None if self.within is None else _seconds(self.within)

    def pause_after(self, tries: int, draw: float) -> float:
        """Return the seconds to pause after so many turns in a row that did not go well (from 1).

        `draw` is a random number in [0, 1).
        """
        ceiling_s = min(self.slowest_s, self.pause_s * 2.0 ** min(tries - 1, 64))
        return ceiling_s * (1 - JITTER + 2 * JITTER * draw)

    def failures_after(self, before: int, lasted_s: float) -> int:
        """Return how many failures are in a row, with one more, of a turn that went on so long."""
        return 1 if self.within_s is not None and lasted_s >= self.within_s else before + 1

    def tripped(self, failures: int) -> bool:
        """Whether so many failures in a row are too many."""
        return failures >= self.threshold

    def tells(self, failures: int) -> bool:
        """Whether a person is told of the failure that makes so many in a row."""
        if self.tripped(failures) or self.notify == "each":
            return True
        return self.notify == "first" and failures == 1


class Trips(msgspec.Struct, frozen=True):
    """How often a loop tripped on one day (UTC)."""

    day: date
    count: int = 0

    def after(self, today: date) -> Trips:
        """Return the count with one more trip, today's."""
        return Trips(today, self.count + 1 if self.day == today else 1)


def last_pause(trips: int) -> timedelta:
    """Return how long a process stays before it ends at a day's `trips`-th trip, work given back.

    Nothing, 1 s, 3 s, 7 s, … a minute: an orchestrator that starts it again at once does not
    make a hot loop of it.
    """
    return min(timedelta(seconds=2.0 ** min(trips - 1, 16) - 1), LONGEST_LAST_PAUSE)


def reminds(trips: int) -> bool:
    """Whether a person is told of a trip again: of a day's 2nd, 4th, 8th, 16th, …"""
    return trips >= 2 and trips & (trips - 1) == 0


def times(trips: int) -> str:
    """Say how often it tripped."""
    return "for the first time today" if trips <= 1 else f"{trips} times today"


def _length(name: str, given: Length) -> timedelta:
    length = parse_duration(given, what=name)
    if length < SHORTEST:
        raise InvalidValue.expected(name, f"at least {format_duration(SHORTEST)}", given)
    return length


def _seconds(length: Length) -> float:
    assert isinstance(length, timedelta), "it was made one when the policy was made"
    return length.total_seconds()


def _text(seconds: float) -> str:
    return format_duration(timedelta(seconds=seconds))
