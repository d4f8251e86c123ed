"""The trials by name, in the order the campaign takes them, and how one is taken.

Every trial has a place of its own: a fresh file, or a fresh database of the given server.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from chaos.places import Place, place_for
from chaos.report import Report
from chaos.scale import Scale
from chaos.scenarios import (
    clocks,
    effects,
    iteration,
    outage,
    poison,
    quarantine,
    rolling,
    steps,
    storm,
    takeover,
    transaction,
    zombie,
)
from tests.servers import Server

TRIALS: Mapping[str, Callable[[Place, Scale], Awaitable[Report]]] = {
    "storm": storm.try_it,
    "takeover": takeover.try_proven,
    "takeover-apart": takeover.try_apart,
    "outage": outage.try_restarts,
    "absence": outage.try_absence,
    "full-disk": outage.try_full_disk,
    "cut-off": outage.try_cut_off,
    "zombie": zombie.try_it,
    "rolling": rolling.try_restarts,
    "blocked-loop": rolling.try_blocked_loop,
    "poison": poison.try_it,
    "clocks": clocks.try_it,
    "transaction": transaction.try_it,
    "steps": steps.try_it,
    "iteration": iteration.try_it,
    "effects": effects.try_it,
    "quarantine": quarantine.try_it,
}
NAMES = tuple(TRIALS)


async def take(name: str, server: Server | None, scale: Scale) -> Report:
    """Take one trial in a fresh place."""
    async with place_for(server) as place:
        return await TRIALS[name](place, scale)
