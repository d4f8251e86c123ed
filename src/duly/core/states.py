"""Which states a run, a schedule, an effect and a breaker may be in, and every move between them.

Two rules. (1) Every move is a row of a table here; `advance` raises on any other. (2) A verb
names the move everywhere: in the store's method, the event, the log line, the API and the
diagram. Diagrams in the documentation are drawn from these tables by `diagram`.

A live run is in exactly one of three places (`later`, `ready`, `held`), an ended one in
`ended`; `PLACE` says which state lives where. Nothing here reads a clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

from duly.errors import ImpossibleTransition

S = TypeVar("S", bound=StrEnum)
V = TypeVar("V", bound=StrEnum)


class RunState(StrEnum):
    """Where a run stands. The last five are ends; `failed` alone can be left again."""

    SCHEDULED = "scheduled"
    READY = "ready"
    RUNNING = "running"
    RETRYING = "retrying"
    WAITING = "waiting"
    PARKED = "parked"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"
    EXPIRED = "expired"


class RunVerb(StrEnum):
    """What moves a run."""

    PROMOTE = "promote"  # its time has come, or what it waited for has happened
    CLAIM = "claim"  # an instance takes it; the epoch rises by one
    COMPLETE = "complete"
    RETRY = "retry"  # failed, and the retry budget allows another attempt
    FAIL = "fail"  # failed for good
    RELEASE = "release"  # handed back by its living holder; costs no retry
    TAKE_OVER = "take_over"  # taken from a dead holder; costs no retry
    WAIT = "wait"  # a sleep, an event, a child, a limit, or code that nobody carries
    PARK = "park"  # stands until a person or evidence moves it
    UNPARK = "unpark"
    CANCEL = "cancel"
    REVIVE = "revive"  # a failed run, by hand, with a new budget
    SKIP = "skip"
    EXPIRE = "expire"


class Place(StrEnum):
    """The table a run's moving part is in."""

    LATER = "later"
    READY = "ready"
    HELD = "held"
    ENDED = "ended"


_R, _RV = RunState, RunVerb

RUN_MOVES: Mapping[RunState, Mapping[RunVerb, RunState]] = {
    _R.SCHEDULED: {
        _RV.PROMOTE: _R.READY,
        _RV.WAIT: _R.WAITING,
        _RV.CANCEL: _R.CANCELLED,
        _RV.SKIP: _R.SKIPPED,
        _RV.EXPIRE: _R.EXPIRED,
    },
    _R.READY: {
        _RV.CLAIM: _R.RUNNING,
        _RV.WAIT: _R.WAITING,
        _RV.CANCEL: _R.CANCELLED,
        _RV.SKIP: _R.SKIPPED,
        _RV.EXPIRE: _R.EXPIRED,
    },
    _R.RUNNING: {
        _RV.COMPLETE: _R.SUCCEEDED,
        _RV.RETRY: _R.RETRYING,
        _RV.FAIL: _R.FAILED,
        _RV.RELEASE: _R.READY,
        _RV.TAKE_OVER: _R.READY,
        _RV.WAIT: _R.WAITING,
        _RV.PARK: _R.PARKED,
        _RV.CANCEL: _R.CANCELLED,
    },
    _R.RETRYING: {
        _RV.PROMOTE: _R.READY,
        _RV.WAIT: _R.WAITING,
        _RV.CANCEL: _R.CANCELLED,
    },
    _R.WAITING: {
        _RV.PROMOTE: _R.READY,
        _RV.WAIT: _R.WAITING,
        _RV.CANCEL: _R.CANCELLED,
        _RV.EXPIRE: _R.EXPIRED,
    },
    _R.PARKED: {_RV.UNPARK: _R.READY, _RV.FAIL: _R.FAILED, _RV.CANCEL: _R.CANCELLED},
    _R.SUCCEEDED: {},
    _R.FAILED: {_RV.REVIVE: _R.READY},
    _R.CANCELLED: {},
    _R.SKIPPED: {},
    _R.EXPIRED: {},
}

PLACE: Mapping[RunState, Place] = {
    _R.SCHEDULED: Place.LATER,
    _R.RETRYING: Place.LATER,
    _R.WAITING: Place.LATER,
    _R.PARKED: Place.LATER,
    _R.READY: Place.READY,
    _R.RUNNING: Place.HELD,
    _R.SUCCEEDED: Place.ENDED,
    _R.FAILED: Place.ENDED,
    _R.CANCELLED: Place.ENDED,
    _R.SKIPPED: Place.ENDED,
    _R.EXPIRED: Place.ENDED,
}

ENDS = frozenset(state for state, place in PLACE.items() if place is Place.ENDED)


class ScheduleState(StrEnum):
    """Whether a schedule fires, and who decided that."""

    ACTIVE = "active"
    PAUSED = "paused"  # by a person
    TRIPPED = "tripped"  # its breaker is open
    DISABLED = "disabled"  # by its owner's lifecycle
    ORPHANED = "orphaned"  # no live or recent instance declares it: retired by itself
    RETIRED = "retired"  # by a person or an uninstall; stays so until someone revives it


class ScheduleVerb(StrEnum):
    """What moves a schedule."""

    PAUSE = "pause"
    RESUME = "resume"
    TRIP = "trip"
    RESET = "reset"
    DISABLE = "disable"
    ENABLE = "enable"
    ORPHAN = "orphan"
    ADOPT = "adopt"  # an instance declares it again
    RETIRE = "retire"
    REVIVE = "revive"


_S, _SV = ScheduleState, ScheduleVerb

SCHEDULE_MOVES: Mapping[ScheduleState, Mapping[ScheduleVerb, ScheduleState]] = {
    _S.ACTIVE: {
        _SV.PAUSE: _S.PAUSED,
        _SV.TRIP: _S.TRIPPED,
        _SV.DISABLE: _S.DISABLED,
        _SV.ORPHAN: _S.ORPHANED,
        _SV.RETIRE: _S.RETIRED,
    },
    _S.PAUSED: {_SV.RESUME: _S.ACTIVE, _SV.RETIRE: _S.RETIRED},
    _S.TRIPPED: {
        _SV.RESET: _S.ACTIVE,
        _SV.PAUSE: _S.PAUSED,
        _SV.ORPHAN: _S.ORPHANED,
        _SV.RETIRE: _S.RETIRED,
    },
    _S.DISABLED: {_SV.ENABLE: _S.ACTIVE, _SV.RETIRE: _S.RETIRED},
    _S.ORPHANED: {_SV.ADOPT: _S.ACTIVE, _SV.RETIRE: _S.RETIRED},
    _S.RETIRED: {_SV.REVIVE: _S.ACTIVE},
}


class EffectState(StrEnum):
    """What is known of an act on the outside world."""

    NONE = "none"
    INTENDED = "intended"
    DONE = "done"
    UNCERTAIN = "uncertain"


class EffectVerb(StrEnum):
    """What moves an effect; `withdraw` and `confirm` are fenced by the intent's own id."""

    INTEND = "intend"
    CONFIRM = "confirm"  # a receipt, however late
    WITHDRAW = "withdraw"  # the sender says: not performed
    DOUBT = "doubt"  # nobody can know any more
    CLEAR = "clear"  # verified, or resolved by a person: not performed


_E, _EV = EffectState, EffectVerb

EFFECT_MOVES: Mapping[EffectState, Mapping[EffectVerb, EffectState]] = {
    _E.NONE: {_EV.INTEND: _E.INTENDED},
    _E.INTENDED: {_EV.CONFIRM: _E.DONE, _EV.WITHDRAW: _E.NONE, _EV.DOUBT: _E.UNCERTAIN},
    _E.UNCERTAIN: {_EV.CONFIRM: _E.DONE, _EV.CLEAR: _E.NONE, _EV.WITHDRAW: _E.NONE},
    _E.DONE: {},
}


class BreakerState(StrEnum):
    """Whether calls to a target may pass."""

    CLOSED = "closed"  # they pass
    OPEN = "open"  # they do not
    HALF_OPEN = "half_open"  # one leased call at a time may try


class BreakerVerb(StrEnum):
    """What moves a breaker; the last three, and `probe` ahead of time, are a person's."""

    TRIP = "trip"  # too many failures of the target
    PROBE = "probe"  # a pause is over: one call may try, under a lease
    CLOSE = "close"  # the probes succeeded
    REOPEN = "reopen"  # a probe failed, or told nothing: another pause
    FORCE_OPEN = "force_open"  # stays open until somebody says otherwise
    FORCE_CLOSE = "force_close"  # stays closed, whatever fails
    RESUME = "resume"  # closed, with nothing counted; the rules hold again


_B, _BV = BreakerState, BreakerVerb
_SAID = {_BV.FORCE_OPEN: _B.OPEN, _BV.FORCE_CLOSE: _B.CLOSED, _BV.RESUME: _B.CLOSED}

BREAKER_MOVES: Mapping[BreakerState, Mapping[BreakerVerb, BreakerState]] = {
    _B.CLOSED: {_BV.TRIP: _B.OPEN, **_SAID},
    _B.OPEN: {_BV.PROBE: _B.HALF_OPEN, **_SAID},
    _B.HALF_OPEN: {
        _BV.PROBE: _B.HALF_OPEN,  # the lease of the one before ended without an answer
        _BV.CLOSE: _B.CLOSED,
        _BV.REOPEN: _B.OPEN,
        **_SAID,
    },
}


def advance(moves: Mapping[S, Mapping[V, S]], state: S, verb: V) -> S:
    """Return the state after `verb`; raise `ImpossibleTransition` if no row allows it."""
    try:
        return moves[state][verb]
    except KeyError:
        allowed = ", ".join(sorted(moves.get(state, {}))) or "nothing"
        raise ImpossibleTransition(
            f"{verb} is not possible in {state}; possible there: {allowed}"
        ) from None


def diagram(moves: Mapping[S, Mapping[V, S]]) -> str:
    """Draw a table as a Mermaid state diagram; the documentation holds exactly this text."""
    lines = ["stateDiagram-v2"]
    for state, row in moves.items():
        lines += [f"  {state} --> {after}: {verb}" for verb, after in row.items()]
    return "\n".join(lines)
