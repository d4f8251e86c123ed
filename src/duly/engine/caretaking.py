"""Presence, and the chores that keep a store small and honest.

`Looking` shows this instance's presence and reads the horizon in one statement, on hints and
at a slow jittered pace: the net under every hint that was lost. `Caretaking` does the rest,
one instance for the fleet: work that nobody has code for is set aside and reported, orphaned
schedules retire, expired runs end, old rows go. An idle instance costs two statements a minute.

The watcher of lateness runs on every instance, so that it never depends on the one that fires:
an occurrence that is overdue opens an incident, which closes when firing has caught up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from msgspec import structs

from duly import events
from duly.core.clock import Clock
from duly.core.fleet import PRESENT, Horizon, Incident
from duly.core.owning import carrier_of
from duly.core.states import ScheduleState
from duly.engine.almanac import Almanac
from duly.engine.roster import Roster
from duly.engine.telling import Telling
from duly.errors import StoreUnavailable
from duly.stores.base import Retention, Store

OVERDUE = timedelta(seconds=10)
RECENT = timedelta(minutes=10)
"""Schedules that no instance declares, nor did for so long, retire by themselves."""

LATE = "schedule.late"
NO_CODE = "task.unknown"


class Looking:
    """A supervised loop: presence and the horizon."""

    name = "looking"

    def __init__(
        self, store: Store, almanac: Almanac, clock: Clock, telling: Telling, *, every: timedelta
    ) -> None:
        self._store, self._almanac, self._clock, self._telling = store, almanac, clock, telling
        self.overdue = OVERDUE
        self._every_s = every.total_seconds()
        self.boot: UUID | None = None
        self.queues: Sequence[str] = ()
        self.tasks: Sequence[str] = ()
        self.beats = 0
        self.late: bool | None = False  # None: what was told before this process is not known
        self.looked: Callable[[], None] = lambda: None
        self.dead = asyncio.Event()
        self._steady_since: float | None = None

    @property
    def steady(self) -> timedelta:
        """For how long every look has been answered: since then, whoever lives was seen."""
        if self._steady_since is None:
            return timedelta(0)
        return timedelta(seconds=self._clock.monotonic() - self._steady_since)

    async def ready(self) -> None:
        """Wait for a hint that the horizon moved, or for the slow pace."""
        wait_s = self._every_s * (0.9 + 0.2 * self._clock.draw())
        try:
            async with asyncio.timeout(wait_s):
                await self._almanac.look.wait()
        except TimeoutError:
            self.beats += 1

    async def turn(self) -> None:
        """Look once."""
        self.looked()
        await self.look()

    async def look(self) -> Horizon:
        """Show presence, read the horizon, set the alarms."""
        boot = self.boot
        with self._almanac.looking() as answered:
            if boot is None:  # buried, and not yet registered anew: no fault of the loop that asks
                raise StoreUnavailable("this instance is still joining the fleet")
            try:
                horizon = await self._store.beat(boot, queues=self.queues, tasks=self.tasks)
            except BaseException:
                self._steady_since = None
                raise
        if self._steady_since is None:
            self._steady_since = self._clock.monotonic()
        answered(horizon)
        if not horizon.alive and boot == self.boot:
            self.dead.set()
        await self._judge_lateness(horizon)
        return horizon

    async def _judge_lateness(self, horizon: Horizon) -> None:
        late = horizon.next_fire is not None and horizon.next_fire < horizon.now - self.overdue
        if late == self.late:
            return
        self.late = late
        if late:
            assert horizon.next_fire is not None, "what is late has an instant"
            first = await self._longest_overdue(horizon.now)
            incident = Incident(
                kind=LATE,
                subject="firing",
                severity="critical",
                summary=f"nothing fired since {horizon.next_fire.isoformat()} was due",
                evidence={
                    "due": horizon.next_fire.isoformat(),
                    "seen_by": str(self.boot),
                    **({} if first is None else {"schedule": first}),
                },
            )
            await open_incident(self._store, self._telling, incident)
        elif await self._store.close_incident(LATE, "firing"):
            self._telling.emit(events.IncidentClosed(kind=LATE, subject="firing"))

    async def _longest_overdue(self, now: datetime) -> str | None:
        """Return the schedule that is due for longest; asked once firing is late, not before.

        None where only what is caught up is late: a backlog says not whose it is.
        """
        overdue = [
            (one.next_fire, one.name)
            for one in await self._store.schedules()
            if one.state is ScheduleState.ACTIVE
            and one.next_fire is not None
            and one.next_fire < now - OVERDUE
        ]
        return min(overdue)[1] if overdue else None


class LookForClusters(Protocol):
    """`engine.clusters`, as the caretaker calls it."""

    async def __call__(self, *, changed: bool) -> None: ...


class Caretaking:
    """A supervised loop: the chores, done by one instance of the fleet."""

    name = "caretaking"

    def __init__(
        self,
        store: Store,
        almanac: Almanac,
        roster: Roster,
        *,
        clock: Clock,
        telling: Telling,
        keep: Retention,
    ) -> None:
        self._store, self._almanac, self._roster = store, almanac, roster
        self._clock, self._telling, self._keep = clock, telling, keep
        self._minutes = self._turns = 0
        self.redeclare: Callable[[], Awaitable[None]] | None = None
        self.steady: Callable[[], timedelta] = lambda: RECENT
        self.look_for_unserved: Callable[[], Awaitable[None]] | None = None
        self.look_for_clusters: LookForClusters | None = None
        self._fleet: frozenset[UUID] = frozenset()
        self._fleet_before: frozenset[UUID] | None = None  # at the turn before, if it was mine
        self._settled = False  # whether the schedules were checked for this fleet

    async def ready(self) -> None:
        """Wait about a minute."""
        await self._clock.pause(55 + 10 * self._clock.draw())

    async def turn(self) -> None:
        """Set aside what nobody has code for, half as often once the fleet has stood for a minute;
        every tenth time, do the slow chores too."""
        self._minutes += 1
        if self._minutes % 5 == 0:
            # Whoever is first in the order may have died with empty hands, which nobody tells.
            self._almanac.fleet.set()
            if self.redeclare is not None:
                await self.redeclare()
        if self._roster.rank("caretaking") > 0:
            self._fleet_before = None  # what becomes of it, another one sees
            return
        self._turns += 1
        if self._turns % 2 or not self._settled:
            await self._shelve()
            if self.look_for_unserved is not None:
                await self.look_for_unserved()
        if self.look_for_clusters is not None:
            fleet = frozenset(one.boot for one in self._roster.others)
            await self.look_for_clusters(changed=fleet != self._fleet_before)
            self._fleet_before = fleet
        await self._report_unknown()
        if self._turns % 10 == 1:
            self._almanac.fleet.set()
            await self._store.promote()
            expired = await self._store.expire()
            if expired:
                self._telling.emit(events.RunExpired(count=expired))
            await self._orphan()
            await self._prune()

    async def _shelve(self) -> None:
        moved = await self._store.shelve()
        rows = await self._store.schedules() if moved else []
        known = await self._store.instances() if moved else []
        for task, count in moved.items():
            asked = next((one.name for one in rows if one.definition.task == task), None)
            incident = Incident(
                kind=NO_CODE,
                subject=task,
                severity="critical",
                summary=f"{count} runs of {task} wait: no live instance carries that task",
                owner="" if asked else carrier_of(task, known),
                evidence={
                    "task": task,
                    "runs": str(count),
                    **({"schedule": asked} if asked else {}),
                },
            )
            await open_incident(self._store, self._telling, incident)

    async def _report_unknown(self) -> None:
        """Once a fleet has stood for a minute: report schedules whose task nobody carries."""
        fleet = frozenset(one.boot for one in self._roster.others)
        if fleet != self._fleet:
            self._fleet, self._settled = fleet, False
            return
        if self._settled:
            return
        now = await self._store.clock()
        carried = {
            task
            for one in await self._store.instances()
            if one.seen_at is not None and one.seen_at > now - PRESENT
            for task in one.tasks
        }
        for row in await self._store.schedules():
            if row.state is ScheduleState.ACTIVE and row.definition.task not in carried:
                incident = Incident(
                    kind=NO_CODE,
                    subject=row.definition.task,
                    severity="critical",
                    summary=f"schedule {row.name} is active, but no live instance carries its task",
                    evidence={"schedule": row.name, "task": row.definition.task},
                )
                await open_incident(self._store, self._telling, incident)
        self._settled = True

    async def _orphan(self) -> None:
        """Retire what nobody declares, unless the others had no store to show themselves in."""
        if self.steady() < RECENT:
            return
        for name in await self._store.orphan(RECENT):
            self._telling.emit(
                events.ScheduleOrphaned(
                    schedule=name, by="duly", reason="no live or recent instance declares it"
                )
            )

    async def _prune(self) -> None:
        while True:
            removed = await self._store.prune(self._keep)
            count = sum(structs.astuple(removed))
            if count == 0:
                return
            self._telling.emit(events.StorePruned(count=count))
            await self._clock.pause(0.2)


async def open_incident(store: Store, telling: Telling, incident: Incident) -> None:
    """Open an incident, and tell of it if it was not open before."""
    if await store.open_incident(incident):
        telling.emit(events.IncidentOpened.of(incident))
