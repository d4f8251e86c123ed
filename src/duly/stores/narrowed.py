"""A store as one tenant's keys see it: rows of that tenant, and nothing of anybody else's.

Whatever is asked for by name or id is looked at first; what belongs to another is answered as
what is not there, so that no answer tells the two apart. What is written bears the tenant. Only
the verbs of this table can be sent at all: a verb that is added to the protocol is closed here
until somebody says how it is narrowed. Calls of a tenant name no secret, because secrets belong to
whoever runs the house.

It guarantees nothing about speed or shares: tenants use the same queues, limits and instances.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from copy import copy
from datetime import datetime
from functools import partial
from typing import Any, cast
from uuid import UUID

import msgspec

from duly.core.access import scoped
from duly.core.breakers import BreakerFilter, BreakerRow, belongs_to_tenant, schedule_of_breaker
from duly.core.calls import TASK
from duly.core.effects import Address, Effect, EffectFilter, Entry, Posted, Resolve
from duly.core.feed import Look, Point
from duly.core.fleet import Instance
from duly.core.runs import Answer, Enqueued, NewRun, RunFilter, RunView
from duly.core.schedules import Declared, Definition, ScheduleFilter, ScheduleRow
from duly.core.steps import Event, Memory, run_of_approval
from duly.core.timers import call_of, owned_by
from duly.errors import InvalidValue, Refused
from duly.stores.base import EVERY_SCHEDULE, Standing, Store

_OF_RUN: dict[str, Any] = {
    "cancel": Answer.UNKNOWN,
    "unpark": Answer.UNKNOWN,
    "revive": Answer.UNKNOWN,
    "fork": Answer.UNKNOWN,
    "remembered": Memory(),
    "logged": [],
}
_OF_SCHEDULE: dict[str, Any] = {
    "move": Answer.UNKNOWN,
    "give_back": Answer.UNKNOWN,
    "verdicts": [],
    "backlogs": [],
}
_OF_BREAKER: dict[str, Any] = {"breaker_lines": [], "breaker_move": Answer.UNKNOWN}
"""Verbs on one thing, and what they answer when it is not there."""

MOST_BREAKERS = 100_000
"""Breakers that are looked through for those of a tenant."""

_OF_THE_FLEET: dict[str, Any] = {"incidents": [], "queues": {}, "counts": {}, "fronts": []}
"""What an explanation finds of the fleet: nothing, so that it says nothing of it."""

BACKFILLS = "backfill/"
"""How the key of a backfilled run begins: it is that of a schedule, whoever asks for the run."""


def narrowed(store: Store, tenant: str, *, told: bool = False) -> Store:
    """Return a store as a tenant sees it; `told`: as far as an explanation may tell of it.

    An explanation of what waits for a shared breaker may say that this is open and since when,
    not whose call failed.
    """
    assert tenant, "the house sees the store as it is"
    return cast(Store, Narrowed(store, tenant, told=told))


class Narrowed:
    """The verbs that keys of a tenant may send; all others raise `Refused`."""

    def __init__(self, store: Store, tenant: str, *, told: bool = False) -> None:
        self._store, self._tenant, self._told = store, tenant, told

    def __getattr__(self, verb: str) -> Callable[..., Awaitable[Any]]:
        looks: tuple[tuple[dict[str, Any], Any], ...] = (
            (_OF_RUN, self.run),
            (_OF_SCHEDULE, self.schedule),
            (_OF_BREAKER, self._own_breaker),
        )
        for verbs, look in looks:
            if verb in verbs:
                return partial(self._if_own, verb, look, verbs[verb])
        if self._told and verb in _OF_THE_FLEET:
            return partial(_nothing, verb)
        raise Refused(f"{verb} is for the house's own keys, and for no tenant's")

    async def _if_own(
        self, verb: str, look: Callable[[Any], Awaitable[object]], nothing: Any, /,
        thing: Any, *args: Any, **how: Any,
    ) -> Any:  # fmt: skip
        """Send a verb about a thing that is the tenant's, or answer as if it were not there."""
        if not await look(thing):
            return copy(nothing)
        return await getattr(self._store, verb)(thing, *args, **how)

    # --- the fleet ------------------------------------------------------------------------

    async def standing(self) -> Standing:
        """Whether it is trusted; not where it lies and what was found there."""
        return msgspec.structs.replace(await self._store.standing(), why="")

    async def clock(self) -> datetime:
        return await self._store.clock()

    async def instances(self) -> list[Instance]:
        """Who carries which tasks, and is alive; not what it is, and where."""
        return [
            Instance(
                boot=one.boot,
                name=str(one.boot)[-8:],
                host="",
                pid=0,
                pid_space="",
                owner="",
                version="",
                tasks=one.tasks,
                state=one.state,
                started_at=one.started_at,
                seen_at=one.seen_at,
                lease_until=one.lease_until,
            )
            for one in await self._store.instances()
        ]

    async def happened(self, names: Sequence[str]) -> list[Any]:
        return await self._store.happened(names) if self._told else []

    async def feed(self, after: Point | None, **how: Any) -> Look:
        """The ends of the tenant's runs; all else is of the fleet."""
        look = await self._store.feed(after, **how)
        own = tuple(one for one in look.happenings if one.tenant == self._tenant)
        return msgspec.structs.replace(look, happenings=own)

    async def emit(self, event: Event, **how: Any) -> Answer:
        """Decide what a run of the tenant's asked for; events in general are of the whole house."""
        run = run_of_approval(event.name)
        if run is None or await self.run(run) is None:
            raise Refused("emit is for the house's own keys, and for no tenant's")
        return await self._store.emit(event, **how)

    # --- runs -----------------------------------------------------------------------------

    async def run(self, run: UUID) -> RunView | None:
        found = await self._store.run(run)
        return found if found is not None and found.tenant == self._tenant else None

    async def runs(self, where: RunFilter) -> list[RunView]:
        return await self._store.runs(msgspec.structs.replace(where, tenant=self._tenant))

    async def enqueue(self, runs: Sequence[NewRun], **how: Any) -> list[Enqueued]:
        for one in runs:
            if one.task == TASK and one.schedule is None:
                raise Refused("expected a tenant to make its calls by a timer")
            own = (scoped("", self._tenant) or "", BACKFILLS)
            assert one.key is None or one.key.startswith(own), "a key is scoped by now"
        owned = [msgspec.structs.replace(one, tenant=self._tenant) for one in runs]
        return await self._store.enqueue(owned, **how)

    # --- schedules ------------------------------------------------------------------------

    async def schedule(self, name: str) -> ScheduleRow | None:
        found = await self._store.schedule(name)
        return found if found is not None and self._owns(found) else None

    async def schedules(self, where: ScheduleFilter = EVERY_SCHEDULE) -> list[ScheduleRow]:
        return await self._store.schedules(ScheduleFilter(tenant=self._tenant))

    def _owns(self, row: ScheduleRow) -> bool:
        return row.definition.tenant == self._tenant

    async def edit(self, definition: Definition, **how: Any) -> Answer:
        return await self._store.edit(await self._owned(definition), **how)

    async def declare(
        self, boot: UUID, owner: str, definitions: Sequence[Definition], **how: Any
    ) -> list[Declared]:
        owned = [await self._owned(one) for one in definitions]
        return await self._store.declare(boot, owner, owned, **how)

    async def _owned(self, definition: Definition) -> Definition:
        """Return a definition that bears the tenant; names are those of the whole house."""
        row = await self._store.schedule(definition.name)
        if row is not None and not self._owns(row):
            raise Refused(f"the name {definition.name} is taken; choose another")
        if definition.task == TASK:
            call = call_of(definition)
            if call is None or call.secrets:
                raise InvalidValue("expected the call of a tenant to name no secret of the house")
        return owned_by(definition, self._tenant)

    # --- effects and breakers -------------------------------------------------------------

    async def effect(self, address: Address) -> Effect | None:
        found = await self._store.effect(address)
        return found if found is not None and found.tenant == self._tenant else None

    async def effects(self, where: EffectFilter) -> list[Effect]:
        return await self._store.effects(msgspec.structs.replace(where, tenant=self._tenant))

    async def audit(self, address: Address) -> list[Any]:
        return [] if await self.effect(address) is None else await self._store.audit(address)

    async def post(self, entries: Sequence[Entry], **how: Any) -> list[Posted]:
        for one in entries:
            if not isinstance(one, Resolve) or await self.effect(one.address) is None:
                raise Refused("expected a word on an effect of the tenant's own")
        return await self._store.post(entries, **how)

    async def _own_breaker(self, name: str) -> bool:
        if belongs_to_tenant(name, self._tenant):
            return True
        schedule = schedule_of_breaker(name)
        return schedule is not None and await self.schedule(schedule) is not None

    async def breaker(self, name: str) -> BreakerRow | None:
        if await self._own_breaker(name):
            own = await self._store.breaker(name)
            return None if own is None else _unplaced(own)
        if not self._told or schedule_of_breaker(name) is not None:
            return None
        found = await self._store.breaker(name)
        blank = dict.fromkeys(("error", "who", "endpoint", "answer", "ran_by", "by", "why"), "")
        return None if found is None else msgspec.structs.replace(found, **blank)

    async def breakers(self, where: BreakerFilter) -> list[BreakerRow]:
        own = {one.name for one in await self.schedules()}
        rows = await self._store.breakers(msgspec.structs.replace(where, limit=MOST_BREAKERS))
        mine = [
            _unplaced(row)
            for row in rows
            if belongs_to_tenant(row.name, self._tenant) or schedule_of_breaker(row.name) in own
        ]
        return mine[: where.limit]


def _unplaced(row: BreakerRow) -> BreakerRow:
    """Return what a tenant sees of a breaker of its own: not which instance of the house called."""
    return msgspec.structs.replace(row, ran_by="")


async def _nothing(verb: str, /, *_: Any, **__: Any) -> Any:
    return copy(_OF_THE_FLEET[verb])
