"""Verbs on what runs act upon: the ledger of effects, breakers, messages on their way out.

What a person says of an effect or a breaker is kept with who said it and why.
"""

from __future__ import annotations

from duly import events
from duly.client.ground import Ground
from duly.core.breakers import (
    BreakerFilter,
    BreakerLine,
    BreakerRow,
    belongs_to_tenant,
    breaker_of_schedule,
    check_move,
    schedule_of_breaker,
)
from duly.core.effects import (
    Address,
    Effect,
    EffectFilter,
    Line,
    Outcome,
    Posted,
    Resolve,
)
from duly.core.health import breakers_asked
from duly.core.outbox import Outgoing
from duly.core.runs import Answer
from duly.core.states import BreakerVerb
from duly.errors import InvalidValue, Refused, UnknownName, nearest


class TargetVerbs(Ground):
    """The verbs of effects, breakers and the outbox, as a part of `Client`."""

    async def effects(self, where: EffectFilter) -> list[Effect]:
        """Return entries of the ledger, newest first."""
        return await self._store.effects(where)

    async def effect(self, address: Address) -> Effect:
        """Return the entry of an effect; raises `UnknownName` when there is none."""
        row = await self._store.effect(address)
        if row is None:
            near = await self._store.effects(EffectFilter(task=address.task, limit=1000))
            raise UnknownName.of("effect", str(address), [str(one.address) for one in near])
        return row

    async def breakers(self, where: BreakerFilter) -> list[BreakerRow]:
        """Return what is known of targets, by name."""
        return await self._store.breakers(where)

    async def breaker(self, name: str, changes: int = 50) -> tuple[BreakerRow, list[BreakerLine]]:
        """Return what is known of a target, and its latest changes; or raise `UnknownName`.

        One that a schedule or a task is known to ask, and against which nothing is on record, is
        closed, as of now.
        """
        row = await self._store.breaker(name)
        if row is None:
            asked = await self._asked()
            if not await self._of_a_schedule(name) and name not in asked:
                known = await self._store.breakers(BreakerFilter())
                raise UnknownName.of("breaker", name, asked | {one.name for one in known})
            row = BreakerRow(name=name, changed_at=await self._store.clock())
        return row, await self._store.breaker_lines(name, changes)

    async def unasked(self, name: str) -> str:
        """Say that nothing known to this process asks a breaker, and the nearest that is asked.

        Empty where something does. Code elsewhere may ask it all the same.
        """
        asked = await self._asked()
        if name in asked:
            return ""
        return f"no schedule or task that is known here asks it{nearest(name, asked)}"

    async def _asked(self) -> set[str]:
        """Return the breakers that are known to be asked; of a tenant, those of its own."""
        definitions = [one.definition for one in await self._store.schedules()]
        if not self.tenant:
            return breakers_asked(definitions, self._tasks)
        own = {breaker_of_schedule(one.name) for one in definitions}
        found = breakers_asked(definitions, {})
        return {one for one in found if one in own or belongs_to_tenant(one, self.tenant)}

    async def _of_a_schedule(self, name: str) -> bool:
        """Whether it is a schedule's own; raises `UnknownName` where there is no such schedule."""
        schedule = schedule_of_breaker(name)
        if schedule is not None and await self._store.schedule(schedule) is None:
            known = [one.name for one in await self._store.schedules()]
            raise UnknownName.of("schedule", schedule, known)
        return schedule is not None

    async def move_breaker(self, name: str, verb: BreakerVerb, *, by: str, why: str) -> Answer:
        """Force a breaker open or closed, resume it, or let the next call probe.

        Raises `UnknownName` for one of which nothing is known, unless it is forced: code elsewhere
        may ask it. That of a schedule needs the schedule.
        """
        check_move(name, by, why)
        if await self._store.breaker(name) is None:
            await self._of_a_schedule(name)
        answer = await self._store.breaker_move(name, verb, by=by, why=why)
        if answer is Answer.UNKNOWN:
            await self.breaker(name)  # raises, with the nearest one, where nobody asks it
            answer = Answer.ALREADY if verb is BreakerVerb.RESUME else Answer.IMPOSSIBLE
        if answer is Answer.IMPOSSIBLE:
            raise Refused(f"{verb.value} is not possible: the breaker {name} is closed")
        if answer is Answer.DONE:
            self._bus.emit(events.BREAKER_EVENTS[verb](breaker=name, by=by, reason=why))
        return answer

    async def audit(self, address: Address) -> list[Line]:
        """Return what became of an effect beyond its plain performing."""
        return await self._store.audit(address)

    async def resolve(
        self,
        address: Address,
        *,
        performed: bool,
        by: str,
        reason: str,
        accept_double: bool = False,
    ) -> Posted:
        """Say what became of an uncertain effect; who and why are kept.

        *Not performed* is refused until the process that intended it is proven gone, because it
        could still perform it; `accept_double` takes that risk. Raises `Refused` with the reason.
        """
        row = await self.effect(address)
        if not by or not reason:
            raise InvalidValue("expected by and reason to be given: both are kept for ever")
        if not performed and self.gone is not None:
            author = {one.boot: one for one in await self._store.instances()}.get(row.author.boot)
            if author is not None and self.gone(author):
                await self._store.prove(author.boot)
        entry = Resolve(
            address=address,
            performed=performed,
            by=by,
            reason=reason,
            accept_double=accept_double,
        )
        [posted] = await self._store.post([entry])
        if posted.outcome in (Outcome.REFUSED, Outcome.UNKNOWN):
            raise Refused(f"{address}: {posted.why}")
        self._bus.emit(
            events.EffectResolved(effect=str(address), by=by, reason=reason, performed=performed)
        )
        return posted

    async def outbox(self) -> list[Outgoing]:
        """Return how much waits to be relayed, by topic."""
        return await self._store.outbox()
