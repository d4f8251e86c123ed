"""Planting bugs, and hunting them: a simulator that does not find these would find no real ones.

A bug is planted in a store of the simulator, or in place of a method of the engine, for as long as
it is hunted; the product has no switch for any of them. `hunt` lives through worlds, one seed after
the other, until a promise breaks. A bug that no world finds fails the hunt.
"""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Callable, Iterator
from unittest import mock

import msgspec

from duly.stores.memory import MemoryStore
from simulation import planted_engine, planted_lasting, planted_runs
from simulation.campaign import Outcome, live

STORES: dict[str, type[MemoryStore]] = planted_runs.STORES | planted_lasting.STORES
PATCHES = planted_engine.PATCHES
NAMES = (*STORES, *PATCHES)

UNSEEN = ("no boot in the fence",)
"""No mistake while no epoch is given out twice: (run, epoch) then names one claim, and its boot.

Epochs repeat after a failover to a store that has forgotten some, and no world has such a failover;
hunted by name it shows that nothing else depends on the boot.
"""

HUNTED = tuple(name for name in NAMES if name not in UNSEEN)
"""The ones that must be found."""

WITHIN = 25
"""In how many seeds each must be found."""

STARTS: dict[str, int] = {
    "breakers trip in silence": 6,
    "children apart from their step": 7,
    "clearing without a fence": 82,
    "deaths read off a restart": 9,
    "intent without a fence": 11,
    "lease trusted for ever": 28,
    "no gate at renewals": 10,
    "no poll under the hints": 12,
    "notices without marks": 15,
    "notification without outbox": 48,
    "two probes": 6,
    "unknown taken for failure": 11,
}
"""From which seed on a bug is looked for that shows itself seldom; from the first otherwise.

They are where long hunts from the first seed came to an end, so that every change can afford to
hunt for all. What such hunts take is in `results/hunts.json`, made anew by `--all-bugs --bugs-from
1 --within 150 --into hunts.json`.
"""


class Found(msgspec.Struct, frozen=True):
    """What a hunt came to: after how many seeds, at which one, and the promise that broke.

    `known` is whether the hunt began at a seed of `STARTS`: then the number of seeds says nothing
    of how hard the bug is to find.
    """

    bug: str
    seeds: int
    seed: int | None = None
    breach: str = ""
    known: bool = False

    @property
    def replay(self) -> str:
        """The command that lives through the world again that found it."""
        return f"python -m simulation --seed {self.seed} --bug {shlex.quote(self.bug)}"


@contextlib.contextmanager
def planted(name: str) -> Iterator[Callable[..., MemoryStore]]:
    """Plant a bug; yields how stores are made meanwhile."""
    kind = STORES.get(name, MemoryStore)
    with contextlib.ExitStack() as stack:
        for target, attribute, wrong in PATCHES.get(name, ()):
            stack.enter_context(mock.patch.object(target, attribute, wrong))
        yield lambda clock, tables: kind(clock, tables=tables)


def hunt(name: str, most: int, *, first: int | None = None) -> Found:
    """Live through worlds until one breaks a promise, `most` of them; each ends there."""
    known = first is None and name in STARTS
    first = STARTS.get(name, 1) if first is None else first
    for seed in range(first, first + most):
        outcome = live_with(name, seed)
        if outcome.breaches:
            return Found(name, seed - first + 1, seed, outcome.breaches[0], known)
    return Found(name, most, known=known)


def live_with(name: str, seed: int) -> Outcome:
    """Live through one world with a bug in it, up to its first breach."""
    with planted(name) as make_store:
        return live(seed, make_store=make_store, hasty=True)
