"""Checkers: pure functions from what the store and the journal say to counts of what is wrong.

Everything is compared by key. An occurrence is (schedule, instant), computed here from the trigger
and never read from the store; an attempt is (run, number), written by the task itself. So a
thing that was lost and one that was doubled do not cancel out.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from chaos.journal import Line
from duly.core.runs import RunView
from duly.core.states import RunState
from duly.core.verdicts import Verdict, VerdictRange


class Occurrences(msgspec.Struct):
    """What became of the occurrences that were due."""

    due: int = 0
    fired: int = 0
    other: int = 0  # skipped, missed or blocked, with a reason
    lost: int = 0  # due, and neither fired nor judged
    doubled: int = 0  # more than one run, or more than one verdict
    invented: int = 0  # a run or a verdict for an instant that was not due

    def add(self, more: Occurrences) -> None:
        """Count another schedule's in."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(more, name))


def judge_schedule(
    due: Sequence[datetime], ranges: Iterable[VerdictRange], runs: Iterable[datetime | None]
) -> Occurrences:
    """Compare the occurrences that were due with verdicts and with the runs of the clock."""
    tally = Occurrences(due=len(due))
    verdicts: Counter[datetime] = Counter()
    fired: set[datetime] = set()
    for one in ranges:
        covered = due[bisect_left(due, one.first) : bisect_right(due, one.last)]
        tally.invented += abs(one.count - len(covered))
        verdicts.update(covered)
        if one.verdict is Verdict.FIRED:
            fired.update(covered)
    have = Counter(runs)
    tally.fired, tally.other = len(fired), len(verdicts) - len(fired)
    tally.lost = len(set(due) - verdicts.keys()) + len(fired - have.keys())
    tally.doubled = sum(n - 1 for n in verdicts.values()) + sum(n - 1 for n in have.values())
    tally.invented += sum(one not in fired for one in have)
    return tally


class Attempts(msgspec.Struct):
    """What became of runs, by what their own code wrote."""

    runs: int = 0
    again: int = 0  # attempts beyond the first
    started_twice: int = 0  # one attempt, begun more than once
    ended_twice: int = 0  # one attempt, ended more than once
    unended: int = 0  # runs that did not reach success
    unworked: int = 0  # succeeded, and that very attempt never wrote its end
    at_once: int = 0  # an earlier attempt was still at work when a later one began


def judge_attempts(runs: Sequence[RunView], lines: Iterable[Line]) -> Attempts:
    """Compare the runs of the store with the lines of their tasks."""
    starts: Counter[tuple[UUID, int]] = Counter()
    ends: Counter[tuple[UUID, int]] = Counter()
    times: dict[UUID, list[tuple[float, int, str]]] = defaultdict(list)
    for one in lines:
        if one.run is None or one.kind not in ("start", "end"):
            continue
        (starts if one.kind == "start" else ends)[one.run, one.attempt] += 1
        times[one.run].append((one.at_s, one.attempt, one.kind))
    succeeded = [one for one in runs if one.state is RunState.SUCCEEDED]
    return Attempts(
        runs=len(runs),
        again=sum(one.epoch - 1 for one in runs if one.epoch),
        started_twice=sum(n - 1 for n in starts.values()),
        ended_twice=sum(n - 1 for n in ends.values()),
        unended=len(runs) - len(succeeded),
        unworked=sum((one.id, one.epoch) not in ends for one in succeeded),
        at_once=sum(_out_of_turn(sorted(one)) for one in times.values()),
    )


def _out_of_turn(lines: list[tuple[float, int, str]]) -> int:
    """Count lines of an attempt that come after a later attempt has begun."""
    newest, found = 0, 0
    for _, attempt, _ in lines:
        found += attempt < newest
        newest = max(newest, attempt)
    return found


class Flow(msgspec.Struct):
    """What went in must be there: runs that were asked for against runs the store has."""

    acknowledged: int
    lost: int  # acknowledged, and not there
    invented: int  # there, and never asked for


def judge_flow(asked: set[UUID], acknowledged: set[UUID], there: set[UUID]) -> Flow:
    """Compare what the caller knows with what the store has."""
    return Flow(len(acknowledged), len(acknowledged - there), len(there - asked))
