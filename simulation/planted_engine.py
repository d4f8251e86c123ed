"""Bugs to plant in the engine, the relay, the senders, and what stands around them.

Each replaces one method for as long as it is planted. As in `planted_runs`, they are mistakes that
have been made in such systems before.
"""

from __future__ import annotations

import bisect
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from duly.core import firing
from duly.core.firing import LastRun
from duly.core.schedules import Overlap, ScheduleRow
from duly.core.steps import StepKind
from duly.core.verdicts import Verdict
from duly.engine.attempts import Attempts
from duly.engine.caretaking import Looking
from duly.engine.durable.calling import call
from duly.engine.durable.children import Children
from duly.engine.durable.journal import Journal
from duly.engine.durable.performing import (
    Effect,
    Performance,
    Performing,
    Receipt,
    _receipt,
    arguments,
)
from duly.engine.durable.waiting import Wait
from duly.engine.hands import Hands
from duly.engine.lease import Lease
from duly.engine.settling import Settling
from duly.engine.watching import Reaping
from duly.errors import StoreUnavailable
from duly.outbound.base import DestinationUnavailable
from duly.outbound.relay import BATCH, LEASE, Relay
from simulation.outside import Table
from simulation.ports import SimKeeper
from simulation.presence import SimPresence

LAG_S = 0.01
"""How far behind the clock a reader by timestamps stays, to be on the safe side."""


async def _forgetful_turn(self: Settling) -> None:
    """Endings whose answer was lost are not sent again, and their runs are let go."""
    if not self._batch:
        self._fill()
    batch, self._batch = self._batch, []
    if not batch or self.boot is None:
        return
    try:
        answers = await self._store.end(self.boot, [ending for _, ending in batch])
    except StoreUnavailable:
        return
    self._hands.drop(holding for holding, _ in batch)
    self._settled(batch, answers)


async def _hear_only(self: Looking) -> None:
    """Nobody looks by himself: what no hint told of is not seen."""
    await self._almanac.look.wait()


async def _reap_none(self: Reaping) -> None:
    """Nobody takes over from those whose lease has ended."""
    self._almanac.expiry.set_at(None)


# --- effects and what else outlasts an attempt ------------------------------------------------

_really_try = Performing._try


async def _send_first(self: Performing, asked: Performance) -> Receipt | Wait | None:
    """The effect is performed, and then entered."""
    if await self._known(asked.address) is not None:
        return await _really_try(self, asked)
    clock = self._services.clock
    until = clock.monotonic() + asked.deadline.total_seconds()
    effect = Effect(clock.new_id(), asked.address, until, clock, self._usable)
    args, named = arguments(asked.fn, asked.args, effect)
    value = await call(asked.fn, *args, **named)
    await self._intend(effect.id, asked)
    await self._confirm(effect, _receipt(value), asked.keep)
    return Receipt(effect.id, value, True)


async def _unknown_is_failure(self: Performing, effect: Effect, why: str) -> None:
    """What nobody knows is held not to have happened."""
    await self._withdraw(effect.address, effect.id, why)


async def _recall_nothing(self: Journal) -> None:
    """A later attempt does not read what the earlier ones left."""
    if self._steps is None:
        self._steps = {}


async def _start_apart(self: Children, name: str, made: Any) -> list[UUID]:
    """Children are started first, and remembered in another transaction."""
    step = await self._journal.recall(name)
    if step is not None:
        return msgspec.json.decode(step.value, type=list[UUID])
    runs = made()
    with self._waits.working():
        await self._services.asked(lambda: self._services.store.enqueue(runs))
        kept = self._journal.step(name, StepKind.CHILD, [one.id for one in runs])
        await self._journal.keep([kept])
    return [one.id for one in runs]


async def _take_out_first(self: Relay) -> None:
    """Messages are taken out of the outbox, and then handed on."""
    self._some.clear()
    boot = self._boot()
    batch = await self._store.outgoing(boot, self._topic, limit=BATCH, lease=LEASE)
    if batch:
        await self._store.relayed(boot, self._topic, [one.id for one in batch])
        try:
            await self._destination.send(batch)
        except DestinationUnavailable:
            return


async def _mark_by_time(self: Table) -> int:
    """A reader goes by the instant in each row, up to a moment ago, whatever is still open."""
    return bisect.bisect_left(self.begun, self._world.loop.time() - LAG_S) + 1


_really_judge = firing._judge


def _overlap_as(policy: Overlap, taken_for: Overlap) -> Any:
    """Return a judge of occurrences that takes one policy for another."""

    def judge(row: ScheduleRow, due: datetime, last: LastRun, now: datetime) -> tuple[Verdict, str]:
        what = row.definition
        if what.overlap is policy:
            what = msgspec.structs.replace(what, overlap=taken_for)
        return _really_judge(msgspec.structs.replace(row, definition=what), due, last, now)

    return judge


async def _mark_by_number(self: Table) -> int:
    """A reader goes as far as the highest number that is there, whatever is still open."""
    return max(self.committed, default=0) + 1


def _look_at_no_run(
    row: ScheduleRow, due: datetime, last: LastRun, now: datetime
) -> tuple[Verdict, str]:
    """Nobody looks whether the run before is still alive."""
    return _really_judge(row, due, LastRun.NONE, now)


Patch = tuple[Any, str, Any]

PATCHES: dict[str, tuple[Patch, ...]] = {
    "endings are not resent": ((Settling, "turn", _forgetful_turn),),
    "nobody reaps": ((Reaping, "turn", _reap_none),),
    "no poll under the hints": ((Looking, "ready", _hear_only),),
    "begun ahead of its time": ((Attempts, "start", Attempts._start),),
    "no renewals": ((SimKeeper, "_once", lambda self: self._again()),),
    "lease trusted for ever": ((Lease, "trusted", property(lambda self: True)),),
    "no gate at renewals": ((Hands, "_announced", lambda self, c: not self._pending.add(c)),),
    "intent after sending": ((Performing, "_try", _send_first),),
    "unknown taken for failure": ((Performing, "_doubt", _unknown_is_failure),),
    "no last look before sending": ((Effect, "last_call", lambda self: None),),
    "nothing is recalled": ((Journal, "load", _recall_nothing),),
    "children apart from their step": ((Children, "_started", _start_apart),),
    "relay deletes before confirm": ((Relay, "turn", _take_out_first),),
    "overlap skip is ignored": ((firing, "_judge", _overlap_as(Overlap.SKIP, Overlap.ALLOW)),),
    "overlap queue_one queues all": (
        (firing, "_judge", _overlap_as(Overlap.QUEUE_ONE, Overlap.QUEUE_ALL)),
    ),
    "overlap queue_all skips": ((firing, "_judge", _overlap_as(Overlap.QUEUE_ALL, Overlap.SKIP)),),
    "overlap allow skips": ((firing, "_judge", _overlap_as(Overlap.ALLOW, Overlap.SKIP)),),
    "overlap is not looked at": ((firing, "_judge", _look_at_no_run),),
    "cursor by timestamp": ((Table, "mark", _mark_by_time),),
    "cursor by number": ((Table, "mark", _mark_by_number),),
    "deaths read off a restart": ((SimPresence, "heeds_restarts", False),),
}
"""Name of each, and what it replaces."""
