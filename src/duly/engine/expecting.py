"""Holding runs against what is expected of them: output that is counted, starts and ends in time.

A run that ended here is looked at at once. Lateness is looked for by the two instances that come
first in the order, so that one which hangs is not the only one that could notice; a run that
should have started and never did is seen like any other. What was told once is not told again,
by anybody; it is closed when a later run of that task is as expected.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, tzinfo

from duly import events
from duly.core.clock import Clock
from duly.core.expect import HISTORY, Breach, Expect, Facts, judge
from duly.core.fleet import Incident
from duly.core.runs import Origin, RunFilter, RunView
from duly.core.states import ENDS, RunState, ScheduleState
from duly.core.tasks import Task
from duly.engine.caretaking import open_incident
from duly.engine.roster import Roster
from duly.engine.telling import Telling
from duly.stores.base import Store

EVERY_S = 30.0
WATCHERS = 2
OVERLAP = timedelta(seconds=30)
"""How much of the past two looks have in common: a commit may show itself after its time."""

PACE_S = 2.0
"""How often is looked at most, however many runs end."""

NET_EVERY = 20
"""Every how many slow looks those tasks are looked at too of which only output is expected."""

LOOKED_AT = 50
"""Runs of one task that are looked at in one turn: the newest, live ones among them."""


class Expecting:
    """A supervised loop: `ready` waits for an end or for the slow pace, `turn` judges."""

    name = "expecting"

    def __init__(
        self,
        store: Store,
        tasks: Mapping[str, Task],
        zones: Mapping[str, tzinfo],
        *,
        roster: Roster,
        clock: Clock,
        telling: Telling,
        owner: str = "",
    ) -> None:
        self._store, self._roster, self._clock = store, roster, clock
        self._telling, self._zones, self._owner = telling, zones, owner
        self._expected: dict[str, Expect] = {
            name: task.expect for name, task in tasks.items() if task.expect is not None
        }
        # What time alone can make late is looked for often; output is judged when a run ends.
        self._timed = {name for name, one in self._expected.items() if _is_timed(one)}
        self._looks, self._free_at = 0, 0.0
        self._ended: set[str] = set()
        self._looked: dict[str, datetime] = {}  # when each task was last looked at
        self._some = asyncio.Event()

    def ended(self, task: str) -> None:
        """A run of this task ended here."""
        if task in self._expected:
            self._ended.add(task)
            self._some.set()

    async def ready(self) -> None:
        """Wait until a run ended here, or for the slow pace; for ever where nothing is expected."""
        if not self._expected:
            await asyncio.Event().wait()
        rest_s = self._free_at - self._clock.monotonic()
        if rest_s > 0:
            await self._clock.pause(rest_s)
        try:
            async with asyncio.timeout(EVERY_S * (0.8 + 0.4 * self._clock.draw())):
                await self._some.wait()
        except TimeoutError:
            self._looks += 1
            if self._roster.rank("expecting") < WATCHERS:
                every = self._looks % NET_EVERY == 1
                self._ended.update(self._expected if every else self._timed)

    async def turn(self) -> None:
        """Judge the tasks whose turn it is."""
        self._some.clear()
        self._free_at = self._clock.monotonic() + PACE_S
        while self._ended:
            task = self._ended.pop()
            try:
                await self._look(task, self._expected[task])
            except BaseException:
                self._ended.add(task)  # the store did not answer: it is looked at again
                self._some.set()
                raise

    async def _look(self, task: str, expect: Expect) -> None:
        now = await self._store.clock()
        views = await self._store.runs(RunFilter(task=task, limit=LOOKED_AT))
        succeeded = RunFilter(task=task, state=RunState.SUCCEEDED, limit=HISTORY + 1)
        history = [facts_of(one) for one in await self._store.runs(succeeded)]
        known = await self._store.incidents(only_open=False)
        told = {(one.kind, one.subject) for one in known}
        cases = [facts_of(one) for one in views if one.state not in ENDS]
        cases += [facts_of(one) for one in self._newly_ended(task, views)]
        cases += await self._unfired(task, now)
        for facts in cases:
            before = [one for one in history if one.run != facts.run]
            zone = self._zone(facts.schedule)
            for breach in judge(expect, facts, history=before, now=now, zone=zone):
                if (breach.kind, breach.subject) not in told:
                    incident = _incident(facts, breach, owner=self._owner)
                    await open_incident(self._store, self._telling, incident)
        await self._close(task, expect, history, [one for one in known if one.closed_at is None])
        self._looked[task] = now

    def _newly_ended(self, task: str, views: Sequence[RunView]) -> list[RunView]:
        """Return what ended since the last look, whenever it began; at first the newest alone."""
        ended = [one for one in views if one.state in ENDS]
        last = self._looked.get(task)
        if last is None:
            return ended[:1]
        return [one for one in ended if one.ended_at and one.ended_at > last - OVERLAP]

    async def _unfired(self, task: str, now: datetime) -> list[Facts]:
        """Return the occurrences that are due, and that nobody fired."""
        return [
            Facts(task=task, schedule=row.name, due=row.next_fire)
            for row in await self._store.schedules()
            if row.definition.task == task
            and row.state is ScheduleState.ACTIVE
            and row.next_fire is not None
            and row.next_fire < now
        ]

    async def _close(
        self, task: str, expect: Expect, history: Sequence[Facts], known: Sequence[Incident]
    ) -> None:
        """Close what was told of this task, when its newest run was as expected."""
        mine = [one for one in known if one.evidence.get("task") == task]
        newest = history[0] if history else None
        ended = None if newest is None else newest.ended_at
        if not mine or newest is None or ended is None:
            return
        now = await self._store.clock()
        found = judge(
            expect, newest, history=history[1:], now=now, zone=self._zone(newest.schedule)
        )
        kinds = {breach.kind for breach in found}
        for one in mine:
            later = one.opened_at is not None and ended > one.opened_at
            if (
                one.kind.startswith("expect.")
                and one.kind not in kinds
                and later
                and one.evidence.get("run") != str(newest.run)
            ):
                note = f"the run {newest.run} was as expected"
                if await self._store.close_incident(one.kind, one.subject, note=note):
                    self._telling.emit(events.IncidentClosed(kind=one.kind, subject=one.subject))

    def _zone(self, schedule: str | None) -> str:
        zone = self._zones.get(schedule or "")
        return "UTC" if zone is None else getattr(zone, "key", None) or str(zone)


def _is_timed(expect: Expect) -> bool:
    timed = (expect.start_within, expect.finish_by, expect.usual_duration)
    return any(one is not None for one in timed)


def facts_of(view: RunView) -> Facts:
    """Return a run as the facts it is judged by."""
    progress = view.progress
    started = min((one.started_at for one in view.attempts), default=view.started_at)
    return Facts(
        task=view.task,
        run=view.id,
        schedule=view.schedule,
        state=view.state,
        due=None if view.origin is Origin.BACKFILL else view.due,
        ready_at=view.enqueued_at,
        started_at=started,
        ended_at=view.ended_at,
        published=progress.published if progress else 0,
        effects=progress.effects if progress else 0,
        done=progress.done if progress else None,
        total=progress.total if progress else None,
    )


def _incident(facts: Facts, breach: Breach, *, owner: str) -> Incident:
    """The incident of a breach; of `owner`, who judged it, where no schedule asked for the run."""
    evidence = dict(breach.evidence) | {"task": facts.task}
    if facts.schedule is not None:
        evidence["schedule"] = facts.schedule
    if facts.run is not None:
        evidence["run"] = str(facts.run)
    return Incident(
        kind=breach.kind,
        subject=breach.subject,
        severity="critical" if breach.kind == "expect.output" else "warning",
        summary=breach.summary,
        owner="" if facts.schedule else owner,
        evidence=evidence,
    )
