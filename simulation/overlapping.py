"""Judging overlap: what became of an occurrence while the run before it was still alive.

The state of the last run is read off the tables before the verb, and the verdict behind it, so
that a planner which forgets its policy is seen at the first occurrence it should have decided
otherwise. A policy counts as met only where another one would have come to something else.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from duly.core.schedules import CatchUpMode, Definition, Overlap, ScheduleRow
from duly.core.states import PLACE, Place, RunState
from duly.core.verdicts import Verdict

if TYPE_CHECKING:
    from simulation.world import World

ON_TIME = timedelta(seconds=60)
SERIAL = frozenset({Overlap.QUEUE_ONE, Overlap.QUEUE_ALL, Overlap.CANCEL_RUNNING})
"""Policies under which the runs of a schedule go one by one."""


class OverlapJudge:
    """What is due by each policy, and what was done."""

    def __init__(self, world: World) -> None:
        self._world = world

    def judge(
        self, then: ScheduleRow, last: RunState | None, due: datetime, verdict: Verdict | None
    ) -> None:
        """Judge the newest occurrence of a schedule that was active; `last` is as it was before."""
        what = then.definition
        if _too_late(what, self._world.now() - due):
            wanted = Verdict.MISSED
        else:
            wanted = _wanted(what.overlap, last)
            self._meet(what.overlap, last)
        if verdict is not wanted:
            self._breach(
                f"{then.name} at {due} is {verdict} and not {wanted}; its last run was {last}, its"
                f" policy {what.overlap}"
            )
        if verdict is Verdict.FIRED:
            self._fired(then, last, due)

    def _breach(self, sentence: str) -> None:
        self._world.judge.breach(f"overlap: {sentence}")

    def _meet(self, policy: Overlap, last: RunState | None) -> None:
        queued = _lives(last) and last is not RunState.RUNNING
        if queued if policy is Overlap.QUEUE_ONE else _lives(last):
            self._world.met(f"overlap {policy}")

    def _fired(self, then: ScheduleRow, last: RunState | None, due: datetime) -> None:
        tables, policy = self._world.tables, then.definition.overlap
        newest = tables.schedules[then.name].last_run
        made = tables.run.get(UUID(newest)) if newest else None
        if made is None or (made.asked.schedule, made.asked.due) != (then.name, due):
            self._breach(f"{then.name} forgot the run of {due}; its last run is {newest}")
        elif policy in SERIAL and made.asked.limit != 1:
            self._breach(f"{then.name} at {due} may run beside others; its policy is {policy}")
        if policy is Overlap.CANCEL_RUNNING and _lives(last) and then.last_run:
            earlier = UUID(then.last_run)
            held = tables.held.get(earlier)
            spared = held.cancel is None if held else _lives(tables.state_of(earlier))
            if spared:
                self._breach(f"{then.name} at {due} did not cancel the run before it")


def _lives(last: RunState | None) -> bool:
    """Whether a run is in the way: one that is parked is not."""
    return last is not None and last is not RunState.PARKED and PLACE[last] is not Place.ENDED


def _wanted(policy: Overlap, last: RunState | None) -> Verdict:
    if policy is Overlap.SKIP and _lives(last):
        return Verdict.SKIPPED
    if policy is Overlap.QUEUE_ONE and _lives(last) and last is not RunState.RUNNING:
        return Verdict.SKIPPED
    return Verdict.FIRED


def _too_late(what: Definition, age: timedelta) -> bool:
    policy = what.catch_up
    late = age > ON_TIME and policy.mode is CatchUpMode.SKIP
    return late or age > max(policy.max_age, ON_TIME)
