"""Explaining what runs share, and the fleet: breakers, instances, incidents, queues, limits, keys.

Each is named with its kind before it, as `queue:mails`; a breaker or an instance may also be named
alone where no schedule is called so. Only reads, and a bounded number of them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from difflib import get_close_matches

import msgspec

from duly.app.around import LOOKED_AT, Around
from duly.core import why
from duly.core.breakers import BreakerFilter
from duly.core.fleet import Instance
from duly.core.runs import RunFilter, RunView
from duly.core.states import RunState
from duly.core.tripping import WAITS
from duly.core.why import INCIDENT, KEY, LIMIT, QUEUE, Explanation
from duly.errors import InvalidValue, UnknownName
from duly.stores.base import Store

INSTANCE = "instance:"
NEAR = 5
UNSERVED = "queue.unserved"
LEAST_PREFIX = 8


class Sharing:
    """Answers why of everything that is no run, schedule, occurrence or effect."""

    def __init__(self, store: Store, around: Around) -> None:
        self._store, self._around = store, around
        self._kinds: Mapping[str, Callable[[str], Awaitable[Explanation]]] = {
            WAITS: self.breaker,
            INSTANCE: self.instance,
            INCIDENT: self.incident,
            QUEUE: self.queue,
            LIMIT: self.limit,
            KEY: self.key,
        }

    async def named(self, thing: str) -> Explanation | None:
        """Explain a thing that has its kind before it; None for any other."""
        for kind, explain in self._kinds.items():
            if thing.startswith(kind):
                return await explain(thing.removeprefix(kind))
        return None

    async def found(self, thing: str) -> Explanation | None:
        """Explain a breaker or an instance that is called so; None when there is none."""
        if await self._store.breaker(thing) is not None:
            return await self.breaker(thing)
        one = _instance(await self._store.instances(), thing)
        return None if one is None else await self._of_instance(one)

    async def breaker(self, name: str) -> Explanation:
        """Explain a breaker; one of which nothing is known is closed."""
        row, lines = await self._store.breaker(name), await self._store.breaker_lines(name)
        near: list[str] = []
        if row is None:
            known = [one.name for one in await self._store.breakers(BreakerFilter())]
            near = get_close_matches(name, known, n=NEAR)
        waiting = [
            one
            for one in (await self._around.runs(RunState.WAITING) if row else ())
            if one.reason == f"{WAITS}{name}"
        ]
        fleet = await self._around.fleet()
        return why.explain_breaker(name, row, lines, fleet, waiting=waiting, near=near)

    # --- the fleet ------------------------------------------------------------------------

    async def instance(self, thing: str) -> Explanation:
        """Explain an instance, named by its boot, the beginning of it, or its name."""
        known = await self._store.instances()
        one = _instance(known, thing)
        if one is None:
            raise UnknownName.of("instance", thing, [it.name for it in known])
        return await self._of_instance(one)

    async def _of_instance(self, one: Instance) -> Explanation:
        running = await self._around.runs(RunState.RUNNING) if one.held else ()
        about = {str(one.boot), one.name}
        incidents = [
            it
            for it in await self._store.incidents(only_open=False)
            if about & {it.evidence.get("boot"), it.evidence.get("instance")}
        ]
        holds = [run for run in running if run.boot == one.boot]
        fleet = await self._around.fleet()
        return why.explain_instance(one, fleet, holds=holds, incidents=incidents)

    async def incident(self, thing: str) -> Explanation:
        """Explain the newest incident of `KIND SUBJECT`, open or over."""
        known = await self._store.incidents(only_open=False)
        mine = [one for one in known if f"{one.kind} {one.subject}" == thing]
        if not mine:
            names = [f"{one.kind} {one.subject}" for one in known]
            raise UnknownName.of("incident", thing, names)
        newest = next((one for one in mine if one.closed_at is None), mine[0])
        return why.explain_incident(newest, await self._around.fleet())

    # --- queues, limits, keys -------------------------------------------------------------

    async def queue(self, name: str) -> Explanation:
        """Explain a queue; raise `UnknownName` where live runs have others, and none has this."""
        counts = await self._store.queues()
        known = await self._store.incidents()
        unserved = [one for one in known if (one.kind, one.subject) == (UNSERVED, name)]
        if name not in counts and name != "default" and counts:
            raise UnknownName.of("queue with a live run", name, counts)
        ready = [one for one in await self._around.runs(RunState.READY) if one.queue == name]
        oldest = min(ready, key=lambda one: one.id, default=None)
        return why.explain_queue(
            name,
            counts.get(name, {}),
            await self._around.fleet(),
            oldest=None if oldest is None else await self._store.run(oldest.id),
            unserved=unserved[0] if unserved else None,
        )

    async def limit(self, key: str) -> Explanation:
        """Explain a limit: who holds it, who waits for it."""
        waiting = await self._around.runs(RunState.WAITING)
        fleet = msgspec.structs.replace(
            await self._around.fleet(),
            holders=await self._around.holders(key),
            limit=self._around.size_of(key),
        )
        return why.explain_limit(
            key, fleet, [one for one in waiting if one.reason == f"{LIMIT}{key}"]
        )

    async def key(self, thing: str) -> Explanation:
        """Explain the key of `TASK KEY`: of its runs that are looked at, the one it stands for."""
        task, _, key = thing.partition(" ")
        if not key:
            raise InvalidValue.expected("a key", "its task, a space and the key", thing)
        where = RunFilter(task=task, limit=LOOKED_AT)
        mine = [one for one in await self._store.runs(where) if one.key == key]
        return why.explain_key(task, key, _standing(mine), await self._around.fleet())


def _standing(mine: list[RunView]) -> RunView | None:
    """Return the run that stands for a key: one that did no work gives it up to a later one."""
    lost = (RunState.CANCELLED, RunState.SKIPPED, RunState.EXPIRED)
    return next((one for one in mine if one.state not in lost), mine[0] if mine else None)


def _instance(known: list[Instance], thing: str) -> Instance | None:
    digits = thing.strip().lower().replace("-", "")
    named = [one for one in known if one.name == thing]
    if not named and len(digits) >= LEAST_PREFIX:
        named = [one for one in known if one.boot.hex.startswith(digits)]
    if len(named) > 1 and len({one.boot for one in named}) > 1 and thing != named[0].name:
        shown = ", ".join(str(one.boot) for one in named[:NEAR])
        raise InvalidValue(f"several boots begin with {thing!r}: {shown}; give more characters")
    return named[0] if named else None  # of one name the newest boot
