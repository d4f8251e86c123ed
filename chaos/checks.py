"""Checkers: pure functions from what the store and the journal say to counts of what is wrong.

Everything is compared by key. An occurrence is (schedule, instant), computed here from the trigger
and never read from the store; an attempt is (run, number), written by the task itself. So a
thing that was lost and one that was doubled do not cancel out.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence, Set
from datetime import datetime
from math import inf
from uuid import UUID

import msgspec

from chaos.journal import Line
from chaos.report import Moment
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


class Recovery(msgspec.Struct):
    """What came after each fault."""

    injected: int
    survived: int  # work went on, and all that the struck worker had in hand was begun again
    times_s: list[float]


def judge_recovery(
    moments: Sequence[Moment], lines: Iterable[Line], at_rest: Set[UUID] = frozenset()
) -> Recovery:
    """Look for what came after each fault; `at_rest` are runs that have come to an end, or wait.

    A fault of one worker is over when the last of the runs that this worker was at, and never
    ended, was begun again; of all, when any run is begun. A worker that had nothing in hand gives
    no time. Not survived: what a worker had in hand was neither begun again nor came to rest, or
    nothing at all was begun any more although something was left to do.
    """
    told = sorted((one for one in lines if one.run is not None), key=lambda one: one.at_s)
    begun = [one for one in told if one.kind == "start"]
    times = [one.at_s for one in begun]
    ended = {(one.run, one.attempt): one.at_s for one in told if one.kind == "end"}
    by_worker: dict[str, list[Line]] = defaultdict(list)
    by_run: dict[UUID | None, list[Line]] = defaultdict(list)
    for one in begun:
        by_worker[one.worker].append(one)
        by_run[one.run].append(one)
    all_done = bool(at_rest) and {one.run for one in told} <= at_rest
    seen = Recovery(injected=len(moments), survived=0, times_s=[])
    for moment in moments:
        place = bisect_right(times, moment.at_s)
        lived_on = place < len(times)
        survived = lived_on or all_done
        if not moment.worker:
            seen.survived += survived
            seen.times_s += [times[place] - moment.at_s] if lived_on else []
            continue
        held = [
            one
            for one in by_worker[moment.worker]
            if one.at_s <= moment.at_s < ended.get((one.run, one.attempt), inf)
        ]
        again = [_later(one, by_run[one.run]) for one in held]
        stuck = [
            one
            for one, at_s in zip(held, again, strict=True)
            if at_s is None and (one.run, one.attempt) not in ended and one.run not in at_rest
        ]
        seen.survived += not stuck and (bool(held) or survived)
        found = [one - moment.at_s for one in again if one is not None and one > moment.at_s]
        seen.times_s += [max(found)] if found else []
    return seen


def _later(one: Line, attempts: Iterable[Line]) -> float | None:
    """When the next attempt of a run began, if one did; some die before their code begins."""
    return min((more.at_s for more in attempts if more.attempt > one.attempt), default=None)
