"""Queues that nobody alive serves: an incident, before somebody asks why nothing happens.

The store knows which tasks an instance carries, not which queues it claims from. What a queue that
nobody serves looks like can be told all the same: the same runs are ready in it at several looks,
a minute or two apart, and at none of them is any run of that queue in anybody's hands. What this
very instance would claim does not count: it is served, and merely waits for room.

It looks; it never moves a run. It costs nothing while nothing was said to be ready and nothing
waits, but for a look an hour; else one statement a look and three at most, and another where it
tells. Where every instance is gone nobody is left to tell: that is for whoever watches from
outside.
"""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from duly import events
from duly.core.fleet import Incident
from duly.core.owning import carrier_of
from duly.core.runs import RunFilter, RunView
from duly.core.states import RunState
from duly.engine.almanac import Almanac
from duly.engine.caretaking import open_incident
from duly.engine.telling import Telling
from duly.stores.base import Store

UNSERVED = "queue.unserved"

LOOKS = 3
"""Looks in a row at which the same runs wait before a person is told."""

NET_EVERY = 60
"""Every how many calls it looks although nothing was heard: the net under lost hints."""

LOOKED_AT = 200
"""Ready runs that a look sees, the newest."""

IN_HAND = 1_000
"""Running runs that it sees then."""


class Unserved:
    """Looks for queues that nobody serves; `look` is called by the caretaker of the fleet."""

    def __init__(
        self,
        store: Store,
        telling: Telling,
        almanac: Almanac,
        *,
        queues: Collection[str],
        tasks: Collection[str],
    ) -> None:
        self._store, self._telling, self._almanac = store, telling, almanac
        self._queues, self._tasks = frozenset(queues), frozenset(tasks)
        self._waiting: dict[str, tuple[frozenset[UUID], int]] = {}  # by queue: runs, and looks
        self._first = self._some = True
        self._heard_at = 0.0
        self._calls = 0

    def _worth_a_look(self) -> bool:
        heard_at, self._calls = self._almanac.readied_at, self._calls + 1
        return self._some or heard_at != self._heard_at or self._calls >= NET_EVERY

    async def look(self) -> None:
        """Look, if it is worth it; open and close incidents by what was seen.

        Raises what the store does; then the next call looks again.
        """
        if not self._worth_a_look():
            return
        heard_at, self._calls, self._some = self._almanac.readied_at, 0, True
        ready = await self._store.runs(RunFilter(state=RunState.READY, limit=LOOKED_AT))
        foreign = self._foreign(ready)
        some = bool(foreign)
        if foreign:
            running = RunFilter(state=RunState.RUNNING, limit=IN_HAND)
            for one in await self._store.runs(running):
                foreign.pop(one.queue, None)
        self._first = told = bool(self._waiting) or self._first
        self._waiting = {
            queue: self._seen(queue, frozenset(one.id for one in views))
            for queue, views in foreign.items()
        }
        for queue, (_, looks) in self._waiting.items():
            if looks >= LOOKS:
                await self._open(queue, foreign[queue])
        if told:
            await self._close_served()
        self._heard_at, self._some, self._first = heard_at, some, False

    def _foreign(self, ready: list[RunView]) -> dict[str, list[RunView]]:
        """Return what is ready, by queue, of which this instance would claim nothing."""
        found: dict[str, list[RunView]] = {}
        for one in ready:
            mine = one.queue in self._queues and one.task in self._tasks
            if not mine and not one.queue.startswith("~"):  # suspects go to whoever is idle
                found.setdefault(one.queue, []).append(one)
        return found

    def _seen(self, queue: str, runs: frozenset[UUID]) -> tuple[frozenset[UUID], int]:
        """Return which of these runs wait since the first look, and for how many looks."""
        before, looks = self._waiting.get(queue, (runs, 0))
        still = before & runs
        return (still, looks + 1) if still else (runs, 1)

    async def _open(self, queue: str, views: list[RunView]) -> None:
        count = f"{len(views)} runs wait" if len(views) > 1 else "a run waits"
        tasks, first = sorted({one.task for one in views}), views[-1]
        owner = ""
        if first.schedule is None:
            owner = carrier_of(first.task, await self._store.instances())
        incident = Incident(
            kind=UNSERVED,
            subject=queue,
            severity="critical",
            summary=f"{count} in the queue {queue}: no live instance claims from it",
            owner=owner,
            evidence={
                "queue": queue,
                "tasks": " ".join(tasks[:20]),
                "run": str(first.id),
                "what helps": f"duly worker --queues {queue}",
            },
        )
        await open_incident(self._store, self._telling, incident)

    async def _close_served(self) -> None:
        for one in await self._store.incidents():
            if one.kind != UNSERVED or one.subject in self._waiting:
                continue
            note = "its runs are claimed again, or there are none left"
            if await self._store.close_incident(UNSERVED, one.subject, note=note):
                self._telling.emit(events.IncidentClosed(kind=UNSERVED, subject=one.subject))
