"""What must hold when a world has come to rest: the promises, checked on the tables.

Everything expected is computed anew here from the definitions and the history of the tables,
never by the code that wrote them, triggers apart: those have an oracle of their own.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING
from uuid import UUID

import msgspec

from duly.core.rules import DEATHS_TO_PARK
from duly.core.states import RunState, RunVerb
from simulation.judge import alive, short

if TYPE_CHECKING:
    from simulation.world import World


def final_breaches(world: World) -> list[str]:
    """Return what is wrong with a world that should be at rest."""
    return [
        *_at_rest(world),
        *_acknowledged(world),
        *_truthful(world),
        *world.timetable.final(),
        *world.ledger.final(),
        *world.remembering.final(),
        *world.paged.final(),
    ]


def _at_rest(world: World) -> list[str]:
    """Every run ended; one that is parked earned it (P7)."""
    found = []
    tables = world.tables
    for run in sorted(tables.run):
        state = tables.state_of(run)
        if state is RunState.PARKED:
            real = _real_deaths(world, run)
            world.met("poison at rest")
            if real < DEATHS_TO_PARK:
                found.append(f"P7: {short(run)} is parked as poison after {real} real deaths")
        elif alive(state) and _waits_for_poison(world, run):
            world.met("waits for poison")
        elif alive(state):
            row = tables.later.get(run) or tables.held.get(run) or tables.ready.get(run)
            found.append(f"P7: {short(run)} never ended: {state} {row}")
        elif state is None:
            found.append(f"P8: {short(run)} has an identity and is nowhere")
    here = {one.name for one in world.living}
    for run, past in sorted(tables.attempts.items()):
        for one in past:
            if one.outcome is RunVerb.TAKE_OVER and world.judge.boots.get(one.boot) in here:
                found.append(f"deaths: {short(run)} counts one of {short(one.boot)}, which lives")
    places = (tables.later, tables.ready, tables.held, tables.ended)
    where = Counter(run for place in places for run in place)
    found += [f"one place: {short(run)} is in {n}" for run, n in where.items() if n > 1]
    return found


def _waits_for_poison(world: World, run: UUID) -> bool:
    """Whether a run waits for a child that is parked as poison: that is a person's to decide."""
    tables = world.tables
    waited = [one.event.removeprefix("run:") for one in tables.awaits.get(run, ())]
    parked = {str(one) for one, row in tables.later.items() if row.state is RunState.PARKED}
    return any(one in parked for one in waited)


def _real_deaths(world: World, run: UUID) -> int:
    """Count takeovers from processes that are no more: whoever returned takes its death back."""
    here = {one.name for one in world.living}
    return sum(
        one.outcome is RunVerb.TAKE_OVER and world.judge.boots.get(one.boot) not in here
        for one in world.tables.attempts.get(run, ())
    )


def _acknowledged(world: World) -> list[str]:
    """What was acknowledged is there (P8)."""
    lost = sorted(world.judge.acknowledged - world.tables.run.keys())
    return [f"P8: {short(run)} was acknowledged and is unknown" for run in lost]


def _truthful(world: World) -> list[str]:
    """A run that succeeded was worked through by the very attempt that says so."""
    found = []
    for run, row in sorted(world.tables.ended.items()):
        if row.state is not RunState.SUCCEEDED:
            continue
        said = msgspec.json.decode(row.result or b"{}").get("epoch")
        if said != row.epoch or (run, row.epoch) not in world.judge.worked:
            found.append(f"P6: {short(run)}#{row.epoch} succeeded with the result of {said}")
    return found
