"""Small decisions about runs that every store and the engine must take alike.

Retry with full jitter, reuse of keys, what a death means for the run that was in flight.
All are pure: randomness and time come in as arguments, and the answer is data.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from duly.core.runs import Ending, Reuse
from duly.core.states import ENDS, RunState, RunVerb
from duly.errors import InvalidValue

DEATHS_TO_SUSPECT = 3
"""A run in flight at this many deaths in a row is rerun alone, away from its neighbours."""

DEATHS_TO_PARK = 4
"""A suspect that kills its process once more, alone, is parked as poison."""

MAX_PAYLOAD = 1024 * 1024
"""Bytes of encoded arguments, or of an encoded result."""


MOST_AHEAD = timedelta(seconds=1)
"""How long before its time a run is made ready at most."""


def not_before(dated: datetime, now: datetime) -> datetime:
    """Return when a run may begin that is dated so: then, or now.

    What is dated further ahead than `MOST_AHEAD` was not made ready ahead of its time: the store's
    clock was set back since, and nobody waits for it to come round again.
    """
    return dated if now < dated <= now + MOST_AHEAD else now


class RetryPolicy(msgspec.Struct, frozen=True):
    """How often and how far apart a failing run is tried again.

    `retries` more attempts follow the first. The pause before retry n (from 1) is drawn
    evenly from [0, min(longest, base × factorⁿ⁻¹)]: full jitter, which spreads a herd best
    (Brooker, "Exponential Backoff And Jitter", 2015).
    """

    retries: int = 3
    base: timedelta = timedelta(seconds=1)
    factor: float = 2.0
    longest: timedelta = timedelta(minutes=10)

    def __post_init__(self) -> None:
        """Refuse values that could never back off."""
        if not 0 <= self.retries <= 1_000_000:
            raise InvalidValue.expected("retries", "from 0 to 1000000", self.retries)
        if not 1.0 <= self.factor <= 100.0:
            raise InvalidValue.expected("factor", "from 1 to 100", self.factor)
        if self.base < timedelta(0) or self.longest < timedelta(0):
            raise InvalidValue("expected base and longest to be durations of 0 or more")

    def delay(self, failures: int, draw: float) -> timedelta | None:
        """Pause after the `failures`-th failure, or None when the budget is spent.

        `draw` is a random number in [0, 1).
        """
        if failures > self.retries:
            return None
        exponent = min(failures - 1, 64)
        ceiling = min(
            self.longest.total_seconds(), self.base.total_seconds() * self.factor**exponent
        )
        return timedelta(seconds=ceiling * draw)


def reuse_of(state: RunState) -> Reuse:
    """Say what an enqueue comes to when a run with its key stands in `state`.

    Cancelled, skipped and expired runs did no work: a new run takes their key over.
    """
    if state is RunState.SUCCEEDED:
        return Reuse.RETURNED
    if state is RunState.FAILED:
        return Reuse.REVIVED
    if state is RunState.PARKED:
        return Reuse.REFUSED
    return Reuse.NEW if state in ENDS else Reuse.JOINED


LIVES_ON = frozenset({RunVerb.RETRY, RunVerb.WAIT, RunVerb.RELEASE, RunVerb.PARK})
"""Verbs that end an attempt and not its run."""


def heed_cancel(ending: Ending, cancel: str | None) -> Ending:
    """End a run as cancelled that would live on, although its cancelling was requested.

    What it awaits and its note do not go along: it goes on with nothing.
    """
    if cancel is None or ending.verb not in LIVES_ON:
        return ending
    return Ending(
        run=ending.run,
        epoch=ending.epoch,
        verb=RunVerb.CANCEL,
        reason=cancel,
        parent=ending.parent,
    )


def wakes_after_us(ending: Ending) -> int | None:
    """Microseconds until a run wakes by itself: a retry always does, a parked run never."""
    if ending.verb is RunVerb.PARK:
        return None
    return 0 if ending.delay_us is None and ending.verb is RunVerb.RETRY else ending.delay_us


class AfterDeath(msgspec.Struct, frozen=True):
    """What becomes of a run whose holder died: park it, or queue it (alone, if suspect)."""

    park: bool
    alone: bool


def after_death(deaths: int) -> AfterDeath:
    """Decide by `deaths`, the count of process deaths without progress, this one included.

    Neighbours of a poisonous run are in flight at the same deaths; so a suspect is first
    rerun alone, and only a death there convicts it.
    """
    return AfterDeath(park=deaths >= DEATHS_TO_PARK, alone=deaths == DEATHS_TO_SUSPECT)


LONGEST_KEY = 500
"""Characters of a run's key: more would not fit an index of every database."""


def check_key(key: object) -> str:
    """Return the key of a run, or raise `InvalidValue`."""
    if not isinstance(key, str) or not 0 < len(key) <= LONGEST_KEY or not key.isprintable():
        raise InvalidValue.expected("the key", f"1 to {LONGEST_KEY} printable characters", key)
    return key


def check_payload(what: str, data: bytes) -> bytes:
    """Return `data`, or raise `InvalidValue` when it is over `MAX_PAYLOAD` bytes."""
    if len(data) > MAX_PAYLOAD:
        raise InvalidValue(
            f"expected {what} to be at most {MAX_PAYLOAD:,} bytes as JSON, got {len(data):,};"
            " pass a reference to the data instead"
        )
    return data
