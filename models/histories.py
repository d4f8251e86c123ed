"""What a store remembers of a fleet's past, read through the verbs that everybody reads with.

Runs with their attempts, effects with their audit, schedules with their verdicts, instances and
open incidents: taken out of a store after a real campaign, in one shape, for `replaying` to hold
against the tables of the core. Nothing is written, and nothing is read behind the store's back.
A fleet at work moves on between two looks, so a history is taken when it is quiet.
"""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

import msgspec

from duly.core.effects import Address, Effect, EffectFilter, Line
from duly.core.fleet import Incident, Instance
from duly.core.runs import RunFilter, RunView
from duly.core.schedules import Backlog, ScheduleRow
from duly.core.states import ENDS, RunState
from duly.core.verdicts import VerdictRange
from duly.stores.base import Store

PAGE = 1_000
MOST_EFFECTS = 1_000_000
INCIDENTS = 1_000
"""A store shows no more open incidents than this."""


def held_last(run: RunView) -> bool:
    """Whether a run's last attempt is told by the run itself: it is held, or ended in a hand."""
    return run.state is RunState.RUNNING or (run.state in ENDS and run.boot is not None)


def boots_of(run: RunView) -> dict[int, UUID | None]:
    """Return the boot of each attempt of a run by its epoch, the last one included."""
    past: dict[int, UUID | None] = {one.epoch: one.boot for one in run.attempts}
    return {**past, run.epoch: run.boot} if held_last(run) else past


class EffectHistory(msgspec.Struct, frozen=True, kw_only=True):
    """One effect: its row, if it has one, and its audit, oldest first."""

    address: Address
    row: Effect | None
    lines: tuple[Line, ...]


class ScheduleHistory(msgspec.Struct, frozen=True, kw_only=True):
    """One schedule: how it stands, its verdicts in order, and what it still has to catch up."""

    row: ScheduleRow
    verdicts: tuple[VerdictRange, ...]
    backlogs: tuple[Backlog, ...] = ()


class Histories(msgspec.Struct, frozen=True, kw_only=True):
    """All that was read. `runs` are oldest first, each with its past attempts."""

    runs: tuple[RunView, ...] = ()
    effects: tuple[EffectHistory, ...] = ()
    schedules: tuple[ScheduleHistory, ...] = ()
    instances: tuple[Instance, ...] = ()
    incidents: tuple[Incident, ...] = ()


async def record(store: Store, *, addresses: Collection[Address] = ()) -> Histories:
    """Read a store's past.

    Effects without a row any more are read if their `addresses` are given. Raises
    whatever the store's reading verbs raise.
    """
    return Histories(
        runs=await _runs(store),
        effects=await _effects(store, addresses),
        schedules=await _schedules(store),
        instances=tuple(await store.instances()),
        incidents=tuple(await store.incidents()),
    )


async def _runs(store: Store) -> tuple[RunView, ...]:
    """Read every run, and by itself each that has attempts which its own row does not tell of."""
    found: list[RunView] = []
    before: UUID | None = None
    while page := await store.runs(RunFilter(before=before, limit=PAGE)):
        for one in page:
            view = await store.run(one.id) if one.epoch > held_last(one) else one
            found += [] if view is None else [view]
        before = page[-1].id
    return tuple(reversed(found))


async def _effects(store: Store, more: Collection[Address]) -> tuple[EffectHistory, ...]:
    rows = {one.address: one for one in await store.effects(EffectFilter(limit=MOST_EFFECTS))}
    return tuple(
        [
            EffectHistory(
                address=address, row=rows.get(address), lines=tuple(await store.audit(address))
            )
            for address in sorted(rows.keys() | set(more))
        ]
    )


async def _schedules(store: Store) -> tuple[ScheduleHistory, ...]:
    return tuple(
        [
            ScheduleHistory(
                row=row,
                verdicts=tuple(await store.verdicts(row.name)),
                backlogs=tuple(await store.backlogs(row.name)),
            )
            for row in await store.schedules()
        ]
    )
