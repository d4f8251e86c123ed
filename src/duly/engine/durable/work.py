"""The durable work of one attempt, put together: journal, waits, effects, children.

Made when a task first asks for something that outlasts its attempt; a task that never does pays
nothing. Steps are flat: inside a step nothing else that is remembered may be begun, because
a step is done again as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import msgspec

from duly.core.rules import check_payload
from duly.core.runs import Ending
from duly.core.states import RunVerb
from duly.core.steps import APPROVAL, Await, Event, StepKind, approval, check_name, of_event
from duly.engine.breaking import Passage
from duly.engine.durable.calling import call, decoded, encoded, reread, returns
from duly.engine.durable.children import Children
from duly.engine.durable.iterating import Each, Source
from duly.engine.durable.journal import Journal, Scope, must_be_flat, scoped
from duly.engine.durable.performing import Performance, Performing, Receipt
from duly.engine.durable.services import Services
from duly.engine.durable.waiting import Wait, Waits
from duly.engine.hands import Holding
from duly.errors import InvalidValue, Refused

CHANGED = "code changed"
"""How the reason of a run begins that is parked because its steps do not fit its code."""


class Approval(msgspec.Struct, frozen=True):
    """What a person decided."""

    approved: bool
    by: str
    reason: str = ""


class Awaited(msgspec.Struct):
    """What the step of an awaited event keeps."""

    happened: bool
    body: Any = None


class Work:
    """What one attempt does that outlasts it."""

    def __init__(self, holding: Holding, services: Services) -> None:
        self.services, self._holding = services, holding
        self.journal = Journal(holding, services)
        self.waits = Waits(holding, services, self.journal)
        self._performing = Performing(holding, services, self.journal, self.waits)
        self.children = Children(services, self.journal, self.waits)

    # --- steps ------------------------------------------------------------------------------

    async def step(self, name: str, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Return what a step returned before, or do it now and remember it."""
        with self.journal.naming("a step", name):
            known, answer = await self.recall_step(name, fn)
            if known:
                return answer
            with self.waits.working(), scoped(Scope("a step")) as scope:
                result = await call(fn, *args, **kwargs)
                return await self.keep_step(name, fn, result, scope)

    async def recall_step(self, name: str, fn: Callable[..., Any]) -> tuple[bool, Any]:
        """Return whether a step was done before, and what it returned then."""
        known = await self.journal.recall(name)
        if known is None:
            return False, None
        if known.kind is not StepKind.RESULT:
            raise Refused(f"{name!r} is the name of a {known.kind}; give the step its own")
        return True, await self._fitting(name, known.value, returns(fn))

    async def keep_step(self, name: str, fn: Callable[..., Any], result: Any, scope: Scope) -> Any:
        """Remember what a step returned, and let go what it published; return what is read back."""
        what = f"the result of step {name!r}"
        data = check_payload(what, encoded(what, result))
        answer = reread(result, data, returns(fn))
        step = self.journal.step(name, StepKind.RESULT, msgspec.Raw(data))
        await self.journal.keep([step], scope.messages)
        return answer

    async def _fitting(self, name: str, value: bytes, hint: Any) -> Any:
        """Return a remembered result; where it no longer fits, the run is parked."""
        try:
            return decoded(value, hint)
        except InvalidValue as error:
            await self.waits.wait(Wait(reason=f"{CHANGED}: step {name!r}: {error}", park=True))

    def each(self, name: str, source: Source[Any]) -> Each[Any]:
        """Iterate, confirming in chunks."""
        check_name("an iteration", name)
        must_be_flat("an iteration", name)
        return Each(name, source, journal=self.journal, services=self.services)

    # --- waiting ------------------------------------------------------------------------------

    async def sleep(self, name: str, duration: timedelta) -> None:
        """Wait until so long after this sleep was first begun, without a slot."""
        with self.journal.naming("a sleep", name):
            with self.waits.working():  # if it is over, what comes after it is to go on
                rest = await self.waits.rest(name, duration)
            if rest > timedelta(0):
                await self.waits.wait(Wait(reason=f"sleep:{name}", rest=rest, timer=name))

    async def wait_for(self, event: str, timeout: timedelta | None) -> Any:
        """Return what an event brought, waiting for it without a slot."""
        check_name("an event", event)
        must_be_flat("a wait", event)
        name = f"event {event}"
        known = await self.journal.recall(name)
        if known is None:
            known = await self._looked(name, event, timeout)
        awaited = msgspec.json.decode(known.value, type=Awaited)
        if not awaited.happened:
            raise TimeoutError(f"{event} did not happen within {timeout}")
        return awaited.body

    async def _looked(self, name: str, event: str, timeout: timedelta | None) -> Any:
        """Look whether an event happened, or its time is over; wait otherwise."""
        with self.waits.working():
            found = await self._happened(event)
            rest = None if timeout is None else await self.waits.rest(f"until {event}", timeout)
            if found:
                awaited = Awaited(True, msgspec.Raw(found[0].body))
            elif rest == timedelta(0):
                awaited = Awaited(False)
            else:
                awaited = None
            if awaited is not None:
                step = self.journal.step(name, StepKind.EVENT, awaited)
                await self.journal.keep([step])
                return step
        awaits = (Await(of_event(event), event),)
        timer = None if timeout is None else f"until {event}"
        wait = Wait(reason=of_event(event), awaits=awaits, rest=rest, timer=timer)
        await self.waits.wait(wait)

    async def _happened(self, event: str) -> Sequence[Event]:
        return await self.services.asked(lambda: self.services.store.happened([event]))

    async def approve(self, name: str) -> Approval:
        """Return what a person decided; until then the run is parked."""
        check_name("an approval", name)
        must_be_flat("an approval", name)
        known = await self.journal.recall(name)
        if known is None:
            event = approval(self.journal.run, name)
            found = await self._happened(event)
            if not found:
                awaits = (Await(of_event(event), name),)
                await self.waits.wait(Wait(reason=APPROVAL, awaits=awaits, park=True))
            known = self.journal.step(name, StepKind.EVENT, msgspec.Raw(found[0].body))
            await self.journal.keep([known])
        return msgspec.json.decode(known.value, type=Approval)

    # --- what it calls ------------------------------------------------------------------------

    def passes(self, passage: Passage | None) -> None:
        """Say by which passage this attempt calls: of it, its breaker hears how the attempt ends.

        None: the attempt may end without a word about the target, because the call goes on.
        """
        self._holding.passage = passage

    # --- effects ------------------------------------------------------------------------------

    async def perform(self, asked: Performance) -> Receipt:
        """Perform an effect, once."""
        must_be_flat("an effect", str(asked.address))
        return await self._performing.perform(asked)

    # --- the end ------------------------------------------------------------------------------

    async def seal(self, ending: Ending) -> Ending:
        """Add to an ending what is kept with it, once nothing else is on its way."""
        await self.journal.quiet()
        suspended = bool(self.waits.suspended) and ending.verb in _SUSPENDABLE
        if suspended:
            ending = self.waits.ending(ending)
        timers = self.waits.timers() if suspended else []
        note = self.journal.last_note(ending.verb, timers)
        return ending if note is None else msgspec.structs.replace(ending, note=note)


_SUSPENDABLE = frozenset({RunVerb.RELEASE})
"""A suspended attempt is cancelled from within; whatever else it ends by goes first."""
