"""Queues that nobody alive serves: an incident, before somebody asks why nothing happens.

The store knows which tasks an instance carries, not which queues it claims from. What a queue that
nobody serves looks like can be told all the same: the same run is the oldest that is ready in it
at several looks, a minute or two apart, and at none of them is any run of that queue in anybody's
hands. What this very instance would claim does not count: it is served, and merely waits for room.

It looks; it never moves a run. It costs nothing while nothing was said to be ready and nothing
waits, but for a look an hour; else one statement a look, however much waits or runs elsewhere, two
while a queue is not served, and three more where it tells. Where every instance is gone nobody is
left to tell: that is for whoever watches from outside.
"""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from duly import events
from duly.core.fleet import Incident
from duly.core.owning import carrier_of
from duly.core.runs import Front
from duly.engine.almanac import Almanac
from duly.engine.caretaking import open_incident
from duly.engine.telling import Telling
from duly.stores.base import Store

UNSERVED = "queue.unserved"

LOOKS = 3
"""Looks in a row at which the same run waits before a person is told."""

NET_EVERY = 60
"""Every how many calls it looks although nothing was heard: the net under lost hints."""


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
        self._waiting: dict[str, tuple[UUID, int]] = {}  # by queue: the oldest, and its looks
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
        foreign = [one for one in await self._store.fronts() if self._is_foreign(one)]
        some = bool(foreign)
        left = [one for one in foreign if not one.running]
        self._first = told = bool(self._waiting) or self._first
        self._waiting = {one.queue: (one.run, self._looks(one)) for one in left}
        if told:
            await self._tell([one for one in left if self._waiting[one.queue][1] >= LOOKS])
        self._heard_at, self._some, self._first = heard_at, some, False

    def _is_foreign(self, one: Front) -> bool:
        """Whether this instance would not claim it."""
        mine = one.queue in self._queues and one.task in self._tasks
        return not mine and not one.queue.startswith("~")  # suspects go to whoever is idle

    def _looks(self, one: Front) -> int:
        """Return at how many looks in a row this run was the oldest, this one included."""
        before, looks = self._waiting.get(one.queue, (one.run, 0))
        return looks + 1 if before == one.run else 1

    async def _open(self, first: Front) -> None:
        queue = first.queue
        ready = (await self._store.queues()).get(queue, {}).get("ready", 1)
        count = f"{ready:,} runs wait" if ready > 1 else "a run waits"
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
                "tasks": first.task,
                "run": str(first.run),
                "what helps": f"duly worker --queues {queue}",
            },
        )
        await open_incident(self._store, self._telling, incident)

    async def _tell(self, unserved: list[Front]) -> None:
        """Open what is not open yet, and close what is served or empty."""
        incidents = await self._store.incidents()
        known = {one.subject for one in incidents if one.kind == UNSERVED}
        for one in unserved:
            if one.queue not in known:
                await self._open(one)
        for queue in sorted(known - self._waiting.keys()):
            note = "its runs are claimed again, or there are none left"
            if await self._store.close_incident(UNSERVED, queue, note=note):
                self._telling.emit(events.IncidentClosed(kind=UNSERVED, subject=queue))
