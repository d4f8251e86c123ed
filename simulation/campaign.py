"""Campaigns: many worlds, one seed each, and what they came to.

A campaign is void unless everything in `MUST_MEET` was met at least once: a simulator that never
reaches a takeover says nothing about takeovers. What is rare is demanded of larger campaigns only,
but for what the promises speak of by name, which is demanded of every one. What is still missing
is looked for in some further worlds. The same seed gives the same history, whose fingerprint is
printed with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import msgspec

from simulation.loop import Spinning, Stuck
from simulation.scenario import Fleet
from simulation.threads import simulated
from simulation.verdict import final_breaches
from simulation.world import MakeStore, World, model

ALWAYS, COMMON, UNCOMMON, RARE, RAREST = 1, 10, 60, 200, 800
"""From how many worlds on a campaign is void that never met something as frequent as that."""

PINNED = (14, 30)
"""Worlds known to meet what is demanded always and comes about seldom; the first to be asked."""

FURTHER = 40
"""In how many further worlds at most a campaign looks for what it has not met."""

MUST_MEET: dict[str, int] = {
    "another's intent waited for": COMMON,
    "answer lost": COMMON,
    "approved": COMMON,
    "breaker closed by its probe": COMMON,
    "breaker refused a call": COMMON,
    "cancelling asked for": COMMON,
    "caught up": ALWAYS,
    "children gathered": COMMON,
    "claim answered again": COMMON,
    "confirmation lost": COMMON,
    "effect delivered": COMMON,
    "effect done before": COMMON,
    "ending resent": COMMON,
    "event awaited": COMMON,
    "half-open breaker": ALWAYS,
    "hint lost": COMMON,
    "kill": COMMON,
    "late verb landed": COMMON,
    "limit waited for": COMMON,
    "message became a run": COMMON,
    "message relayed again": COMMON,
    "overlap allow": ALWAYS,
    "overlap cancel_running": ALWAYS,
    "overlap queue_all": ALWAYS,
    "overlap queue_one": ALWAYS,
    "overlap skip": ALWAYS,
    "overlapping run cancelled": COMMON,
    "pause": COMMON,
    "probe that failed": COMMON,
    "refused in quarantine": ALWAYS,
    "relay taken over": COMMON,
    "resolved by a person": COMMON,
    "resumed step": COMMON,
    "risk of a double accepted": COMMON,
    "row committed late": COMMON,
    "schedule: done": COMMON,
    "step done again": COMMON,
    "store away": COMMON,
    "table read to its end": COMMON,
    "takeover": ALWAYS,
    "takeover: lease expired": COMMON,
    "takeover: process gone": COMMON,
    "thread at its end": COMMON,
    "uncertain": ALWAYS,
    "verb lost": COMMON,
    "verdict missed": COMMON,
    "verdict skipped": COMMON,
    "deaths taken back": UNCOMMON,
    "graceful stop": UNCOMMON,
    "instance buried alive": UNCOMMON,
    "intent with a stale fence refused": UNCOMMON,
    "key returned": UNCOMMON,
    "late note landed": UNCOMMON,
    "notice told": UNCOMMON,
    "notice told again": UNCOMMON,
    "pager's answer lost": UNCOMMON,
    "late note refused": UNCOMMON,
    "probe that was never answered": UNCOMMON,
    "receipt resent": UNCOMMON,
    "resolved by verify": UNCOMMON,
    "retried by hand: parked": UNCOMMON,
    "stale note refused": UNCOMMON,
    "stale write refused": ALWAYS,
    "store restarted": UNCOMMON,
    "suspect claimed": UNCOMMON,
    "sweep found something": UNCOMMON,
    "takeover: session lost": UNCOMMON,
    "verdict blocked": UNCOMMON,
    "event that came too late": RARE,
    "hours gone": RARE,
    "key joined": RARE,
    "locks taken again": RARE,
    "restart heeded": RARE,
    "stray released": RARE,
    "child that failed": RAREST,
    "double that was accepted": RAREST,
    "key refused": RAREST,
    "late receipt": ALWAYS,
    "poison parked": RAREST,
    "receipt against a word": RAREST,
    "retried by hand: failed": RAREST,
}
"""What must have come about, and from how many worlds on."""


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


def live(seed: int, *, make_store: MakeStore = model, hasty: bool = False) -> Outcome:
    """Live through one world; a hasty one ends at its first breach."""
    world = World(seed, make_store=make_store)
    world.hasty = hasty
    loop, fleet = world.loop, Fleet(world)
    machine = contextlib.ExitStack()
    machine.enter_context(simulated())
    machine.enter_context(uncollected())
    try:
        try:
            life = world.watched("the world", fleet.live())
            loop.run_until_complete(loop.spawn(loop.world, life))
        except (Spinning, Stuck) as error:
            world.judge.breach(f"P7: {error}")
        except RuntimeError:
            if not world.judge.breaches:
                raise  # the loop was stopped by nobody here
        breaches = list(world.judge.breaches)
        if not (hasty and breaches):
            breaches += [*final_breaches(world), *loop.unheard()]
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
        machine.close()
        asyncio.set_event_loop(None)


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Keep the collector of garbage away: it closes generators, by callbacks, when it likes."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
        gc.collect()


def further(outcomes: Sequence[Outcome], lived: Callable[[int], Outcome]) -> list[Outcome]:
    """Live through further worlds until all was met that a campaign should have met.

    A change of the product gives every seed another history; it should not make a campaign void
    that has only to look a little longer.
    """
    found: list[Outcome] = []
    known = {one.seed for one in outcomes}
    last = max(known, default=0)
    for seed in (*PINNED, *range(last + 1, last + 1 + FURTHER)):
        if not unmet(outcomes, found):
            break
        if seed not in known:
            known.add(seed)
            found.append(lived(seed))
    return found


def unmet(outcomes: Sequence[Outcome], more: Sequence[Outcome] = ()) -> list[str]:
    """Return what a campaign of this size should have met, and never did, in `more` neither."""
    met: Counter[str] = Counter()
    for one in (*outcomes, *more):
        met.update(one.sometimes)
    size = len(outcomes)
    return [what for what, since in MUST_MEET.items() if size >= since and not met[what]]
