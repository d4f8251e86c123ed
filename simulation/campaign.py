"""Campaigns: many worlds, one seed each, and what they came to.

A campaign is void unless everything in `MUST_MEET` was met at least once: a simulator that never
reaches a takeover says nothing about takeovers. The same seed gives the same history, whose
fingerprint is printed with it.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Iterable

import msgspec

from simulation.loop import Spinning, Stuck
from simulation.scenario import Fleet
from simulation.verdict import final_breaches
from simulation.world import MakeStore, World, model

MUST_MEET = (
    "takeover",
    "stale write refused",
    "claim answered again",
    "stray released",
    "deaths taken back",
    "caught up",
    "overlap skipped",
    "store away",
    "ending resent",
    "late verb landed",
    "hint lost",
    "limit waited for",
    "instance buried alive",
    "graceful stop",
    "kill",
    "pause",
    "cancelling asked for",
)


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What one world came to."""

    seed: int
    breaches: tuple[str, ...]
    sometimes: Counter[str]
    fingerprint: str
    steps: int
    virtual_s: float
    attempts: int
    history: tuple[str, ...] = ()


def live(seed: int, *, make_store: MakeStore = model) -> Outcome:
    """Live through one world."""
    world = World(seed, make_store=make_store)
    loop, fleet = world.loop, Fleet(world)
    try:
        try:
            loop.run_until_complete(loop.spawn(loop.world, fleet.live()))
        except (Spinning, Stuck) as error:
            world.judge.breach(f"P7: {error}")
        breaches = [*world.judge.breaches, *final_breaches(world)]
        breaches += [str(one.get("exception") or one["message"]) for one in loop.troubles]
        history = tuple(world.history)
        return Outcome(
            seed=seed,
            breaches=tuple(breaches),
            sometimes=Counter(world.sometimes),
            fingerprint=hashlib.sha256("\n".join(history).encode()).hexdigest()[:16],
            steps=loop.steps,
            virtual_s=loop.time(),
            attempts=world.judge.attempts,
            history=history,
        )
    finally:
        world.close()
        asyncio.set_event_loop(None)


def unmet(outcomes: Iterable[Outcome]) -> list[str]:
    """Return what a campaign should have met, and never did."""
    met: Counter[str] = Counter()
    for one in outcomes:
        met.update(one.sometimes)
    return [what for what in MUST_MEET if not met[what]]
