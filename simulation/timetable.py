"""Judging schedules: one run at most for each occurrence, and one verdict for each (P1, P2).

What is owed is noted whenever a mark moves on, by the definition that held until then; so an edit
that re-interprets the past is seen. Triggers have an oracle of their own and are believed here.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING
from uuid import UUID

from duly.core.instants import trigger_of
from duly.core.runs import Origin
from duly.core.schedules import ScheduleRow
from duly.core.states import RunState, ScheduleState
from duly.core.triggers import occurrences_between
from duly.core.verdicts import UNCOUNTED, Verdict, VerdictRange
from duly.stores.base import Fired
from simulation.overlapping import OverlapJudge

if TYPE_CHECKING:
    from simulation.world import World

VERBS = frozenset({"fire", "declare", "edit", "move", "give_back", "orphan"})
CLOCKS = frozenset({Origin.CLOCK, Origin.CATCH_UP})


class Timetable:
    """What is owed, and what became of it."""

    def __init__(self, world: World) -> None:
        self._world, self._overlap = world, OverlapJudge(world)
        self._owed: defaultdict[str, set[datetime]] = defaultdict(set)
        self._fired: dict[tuple[str, datetime], UUID] = {}
        self._runs = 0

    def before(self) -> dict[str, tuple[ScheduleRow, RunState | None]]:
        """Return the schedules, and how the last run of each stands."""
        tables = self._world.tables
        found = {}
        for name, row in tables.schedules.items():
            state = tables.state_of(UUID(row.last_run)) if row.last_run else None
            found[name] = (row, state)
        return found

    def after(
        self, verb: str, before: dict[str, tuple[ScheduleRow, RunState | None]], answer: object
    ) -> None:
        """Judge the schedules after a verb about them."""
        for name, row in self._world.tables.schedules.items():
            then, last = before.get(name, (row, None))
            if row.fired_through < then.fired_through:
                self._world.judge.breach(f"P1: the mark of {name} went back")
            if row.fired_through > then.fired_through:
                owed = self._owe(then, row.fired_through)
                if owed and then.state is ScheduleState.ACTIVE and verb != "orphan":
                    said = _said(self._judged(name), owed[-1])
                    self._overlap.judge(then, last, owed[-1], said)
        if isinstance(answer, Fired) and answer.cancelled:
            self._world.met("overlapping run cancelled")
        if verb in ("edit", "move"):
            self._world.met(f"schedule: {answer}")

    def _owe(self, then: ScheduleRow, until: datetime) -> list[datetime]:
        """Note and return what was due by a definition between its mark and an instant."""
        trigger = trigger_of(then.definition)
        owed = list(occurrences_between(trigger, then.fired_through, until, limit=50_000))
        self._owed[then.name].update(owed)
        return owed

    def runs(self) -> None:
        """No occurrence has two runs, at any instant (P1)."""
        tables = self._world.tables
        if len(tables.run) == self._runs:
            return
        for one in islice(tables.run.values(), self._runs, None):
            asked = one.asked
            if asked.origin not in CLOCKS or asked.schedule is None or asked.due is None:
                continue
            first = self._fired.setdefault((asked.schedule, asked.due), asked.id)
            if first != asked.id:
                self._world.judge.breach(f"P1: {asked.schedule} at {asked.due} has two runs")
            if asked.origin is Origin.CATCH_UP:
                self._world.met("caught up")
        self._runs = len(tables.run)

    # --- the end ----------------------------------------------------------------------------

    def final(self) -> list[str]:
        """Return what is wrong with the verdicts of a world at rest (P1, P2)."""
        found = []
        known = self._world.tables.run
        for (name, due), run in sorted(self._fired.items()):
            if run not in known:
                found.append(f"P1: the run of {name} at {due} is gone")
        for name in sorted(self._world.tables.schedules):
            judged, owed = self._judged(name), sorted(self._owed[name])
            found += _holes(name, owed, judged)
            ran = {due for schedule, due in self._fired if schedule == name}
            said = {due for due in owed if _said(judged, due) is Verdict.FIRED}
            found += [
                f"P1: {name} at {due} ran, and no verdict says so" for due in sorted(ran - said)
            ]
            found += [f"P2: {name} at {due} has fired, and no run" for due in sorted(said - ran)]
            for one in judged:
                self._world.met(f"verdict {one.verdict}")
        return found

    def _judged(self, name: str) -> list[VerdictRange]:
        tables = self._world.tables
        found = list(tables.verdicts.get(name, ()))
        growing = [tables.schedules[name].open_range]
        growing += [row.open_range for row in tables.backlogs.values() if row.schedule == name]
        found += [one for one in growing if one is not None]
        return sorted(found, key=lambda one: one.first)


def _said(judged: list[VerdictRange], due: datetime) -> Verdict | None:
    return next((one.verdict for one in judged if one.first <= due <= one.last), None)


def _holes(name: str, owed: list[datetime], judged: list[VerdictRange]) -> list[str]:
    found = []
    for due in owed:
        count = sum(one.first <= due <= one.last for one in judged)
        if count != 1:
            found.append(f"P2: {name} at {due} has {count} verdicts")
    for one in judged:
        inside = sum(one.first <= due <= one.last for due in owed)
        if one.count not in (inside, UNCOUNTED):
            found.append(f"P2: {name}: a range counts {one.count}, and covers {inside}")
    return found
