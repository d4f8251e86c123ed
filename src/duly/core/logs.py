"""What the code of a run logs, as data: the last lines of each attempt, in bounded numbers.

An attempt keeps its last lines, because that is where a failure tells of itself. How many it told
in all stays with them, so that nobody takes a part for the whole. A store keeps the newest
`ATTEMPTS_KEPT` attempts of a run, and never looks into the lines; they go with their run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from uuid import UUID

import msgspec

from duly.core.runs import RunView
from duly.core.states import RunState, RunVerb

LINES_KEPT = 200
"""Lines that an attempt keeps at most."""

LINE_CHARACTERS = 2_000
"""Characters of a line that are kept: its end, where a traceback says what it was."""

MOST_BYTES, LEAST_BYTES = 16_384, 1_024
"""Bytes of an attempt's lines as JSON: alone, and where a great many are kept at once."""

TOGETHER_BYTES = 1_048_576
"""Bytes that attempts which are kept together share."""

ATTEMPTS_KEPT = 10
"""Newest attempts of a run whose lines are kept."""


class Keeping(StrEnum):
    """Which attempts of a task keep what they log."""

    FAILED = "failed"  # those that did not succeed
    ALL = "all"  # every one, and while it runs
    NONE = "none"


class LogLine(msgspec.Struct, frozen=True, gc=False):
    """One line, in the words of the standard logging module."""

    at: datetime  # by the clock of the process that logged it
    level: str
    logger: str
    text: str


class AttemptLog(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What is kept of one attempt: `told` lines were logged by then, `lines` has the last of them.

    `lines` is a JSON array of `LogLine`. Of two logs of one attempt the one that tells more holds.
    """

    run: UUID
    epoch: int
    told: int
    lines: bytes


WRITTEN = frozenset({RunVerb.RETRY, RunVerb.FAIL, RunVerb.PARK, RunVerb.CANCEL})
"""Endings after which somebody may ask what the attempt had logged."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(list[LogLine]).decode


def is_kept(keeping: Keeping, verb: RunVerb) -> bool:
    """Whether the lines of an attempt that ends by `verb` are kept."""
    return keeping is Keeping.ALL or (keeping is Keeping.FAILED and verb in WRITTEN)


def share_of(count: int) -> int:
    """Return how many bytes each of `count` attempts may keep that are written together."""
    return max(LEAST_BYTES, min(MOST_BYTES, TOGETHER_BYTES // max(1, count)))


def fitting(lines: Sequence[LogLine], most: int) -> bytes:
    """Return the last of these lines, as many as fit into `most` bytes, as a JSON array."""
    kept: list[bytes] = []
    room = most - 2
    for one in reversed(lines):
        encoded = _encode(one)
        if len(encoded) >= room and not kept:  # the last one alone is too long: its end is kept
            encoded = _encode(msgspec.structs.replace(one, text=one.text[-(most // 8) :]))
        room -= len(encoded) + 1
        if room < 0:
            break
        kept.append(encoded)
    return b"[" + b",".join(reversed(kept)) + b"]"


def lines_of(log: AttemptLog) -> list[LogLine]:
    """Return the lines of a log."""
    return _decode(log.lines)


def fullest(logs: Iterable[AttemptLog]) -> list[AttemptLog]:
    """Return one log of each attempt, the one that tells most, in the order of run and attempt."""
    best: dict[tuple[UUID, int], AttemptLog] = {}
    for one in logs:
        known = best.setdefault((one.run, one.epoch), one)
        if one.told > known.told:
            best[one.run, one.epoch] = one
    return [best[place] for place in sorted(best)]


class LoggedAttempt(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt with its last lines. `unkept` says why there are none, or how many are gone."""

    attempt: int
    outcome: str  # the verb that ended it; the run's state for the newest
    told: int  # how many lines it logged, as far as is known
    lines: tuple[LogLine, ...]
    unkept: str = ""


def account(view: RunView, logs: Sequence[AttemptLog]) -> list[LoggedAttempt]:
    """Return every attempt of a run that is known, oldest first, with what it logged."""
    outcomes = {one.epoch: one.outcome.value for one in view.attempts}
    if view.epoch and view.epoch not in outcomes and view.state in _OF_ATTEMPT:
        outcomes[view.epoch] = view.state.value
    kept = {one.epoch: one for one in logs}
    newest = max([*outcomes, *kept], default=0)
    return [
        _logged(epoch, outcomes.get(epoch, "unknown"), kept.get(epoch), newest)
        for epoch in sorted({*outcomes, *kept})
    ]


def _logged(epoch: int, outcome: str, log: AttemptLog | None, newest: int) -> LoggedAttempt:
    if log is None:
        unkept = _why_not(outcome) if epoch > newest - ATTEMPTS_KEPT else _TOO_OLD
        return LoggedAttempt(attempt=epoch, outcome=outcome, told=0, lines=(), unkept=unkept)
    lines = tuple(lines_of(log))
    missing = log.told - len(lines)
    unkept = f"{missing} earlier lines are not kept" if missing else ""
    return LoggedAttempt(attempt=epoch, outcome=outcome, told=log.told, lines=lines, unkept=unkept)


def _why_not(outcome: str) -> str:
    return f"it logged nothing from INFO on, or {_UNKEPT.get(outcome, 'its task keeps nothing')}"


_OF_ATTEMPT = frozenset(
    {RunState.RUNNING, RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED, RunState.PARKED}
)
"""States in which the newest attempt is not among the past ones."""

_ALL = 'unless its task says logs="all"'
_TOO_OLD = f"only the newest {ATTEMPTS_KEPT} attempts of a run keep their lines"
_UNKEPT: Mapping[str, str] = {
    RunState.RUNNING: f"keeps nothing while it runs, {_ALL}",
    RunState.SUCCEEDED: f"succeeded, which keeps nothing, {_ALL}",
    RunVerb.TAKE_OVER: f"lost its process before the lines were written, {_ALL}",
    RunVerb.RELEASE: f"was handed back, which keeps nothing, {_ALL}",
    RunVerb.WAIT: f"waited, which keeps nothing, {_ALL}",
}
"""Why an attempt with this outcome has no lines, where there may have been some."""
