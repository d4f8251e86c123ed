"""The surroundings of what is explained: the fleet, who holds a limit, who goes first.

Only reads, each bounded: of the runs in a state at most two pages are looked at, the newest first.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, tzinfo

import msgspec

from duly.app.declaring import zone_of
from duly.core.runs import RunFilter, RunView
from duly.core.states import RunState
from duly.core.tasks import Task
from duly.core.why import LIMIT, Fleet
from duly.stores.base import Store

LOOKED_AT = 1000


class Around:
    """Reads the present. `tasks` are those of this process, for budgets and limits."""

    def __init__(self, store: Store, tasks: Mapping[str, Task]) -> None:
        self._store, self._tasks = store, tasks

    async def fleet(self, told_in: tzinfo = UTC) -> Fleet:
        """Return who is there now, by the store's clock, and whether anybody may work there."""
        return Fleet(
            now=await self._store.clock(),
            instances=tuple(await self._store.instances()),
            zone=told_in,
            trusted=(await self._store.standing()).trusted,
        )

    async def of_run(self, view: RunView) -> Fleet:
        """Return what of the present matters to a run."""
        fleet = await self.fleet(await self.place(view))
        task = self._tasks.get(view.task)
        limit = task.limit if task is not None and task.limit_key == view.limit_key else None
        waits = view.state is RunState.WAITING and (view.reason or "").startswith(LIMIT)
        return msgspec.structs.replace(
            fleet,
            holders=await self.holders(view.limit_key) if waits else (),
            ahead=await self._ahead(view) if view.state is RunState.READY else (),
            limit=limit or None,
            retries=None if task is None else task.retry.retries,
        )

    async def place(self, view: RunView) -> tzinfo:
        """Return the zone of a run's schedule, UTC where there is none."""
        row = None if view.schedule is None else await self._store.schedule(view.schedule)
        return UTC if row is None else zone_of(row.definition)

    async def holders(self, key: str | None) -> tuple[RunView, ...]:
        """Return the runs that occupy a limit: those that run, then those that are ready."""
        running, ready = await self.runs(RunState.RUNNING), await self.runs(RunState.READY)
        return tuple(one for one in (*running, *ready) if one.limit_key == key)

    async def runs(self, state: RunState) -> list[RunView]:
        """Return the newest runs in a state."""
        return await self._store.runs(RunFilter(state=state, limit=LOOKED_AT))

    def size_of(self, key: str) -> int | None:
        """Return the size of a limit, where a task of this process has it."""
        sizes = (one.limit for one in self._tasks.values() if one.limit_key == key and one.limit)
        return next(sizes, None)

    async def _ahead(self, view: RunView) -> tuple[RunView, ...]:
        """Return the ready runs of a run's queue that are claimed before it, the next first."""
        mine = (-view.priority, view.id)
        ready = await self.runs(RunState.READY)
        first = [one for one in ready if one.queue == view.queue and _turn(one) < mine]
        return tuple(sorted(first, key=_turn))


def _turn(one: RunView) -> tuple[int, object]:
    return (-one.priority, one.id)
