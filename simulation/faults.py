"""What may go wrong in one world, drawn from its seed.

Not every world has every fault: a random choice of them finds more than all at once, because a
fault can hide the trouble another one makes. Beside rates that hold everywhere there are *sites*,
the edges of each transaction: a site is awake in some worlds only, and strikes often there. So
one world may lose every third answer to `post`, and the next be killed behind every tenth `keep`.
"""

from __future__ import annotations

import random

import msgspec

AWAKE = 0.2
"""In how many worlds a site is awake, where its kind of fault is drawn at all."""

OFTEN: dict[str, float] = {
    "lost before": 0.15,
    "lost after": 0.2,
    "late": 0.2,
    "kill": 0.03,
    "pause": 0.03,
}
"""Kinds of faults at sites, and how often the most active site strikes."""


class Faults(msgspec.Struct, kw_only=True):
    """The rates of faults; `calm` sets them all to nothing. Per verb, unless they say otherwise."""

    lost_before: float = 0.0  # the verb never reached the store
    lost_after: float = 0.0  # it was done, and the answer was lost
    late: float = 0.0  # the caller gave up, and the store did it afterwards
    late_renewal: float = 0.0  # as `late`; not drawn: the protocol of renewals does not bear it
    late_note: float = 0.0  # as `late`, of `keep`; drawn apart
    slow: float = 0.0  # it takes seconds
    hint_lost: float = 0.0
    kill_every_s: float = 0.0  # 0: never
    pause_every_s: float = 0.0
    stop_every_s: float = 0.0
    away_every_s: float = 0.0
    restart_every_s: float = 0.0  # the store restarts: all connections break, all locks fall
    session_every_s: float = 0.0  # both sessions of one living boot break
    people_every_s: float = 0.0  # somebody edits, pauses, retires or revives a schedule
    rash_every_s: float = 0.0  # somebody takes the risk of a double at once; drawn apart
    careless: float = 0.0  # of people's words: they take the risk of a double
    fails: float = 0.0  # of attempts
    cancels: float = 0.0  # of what clients ask for
    refused: float = 0.0  # of effects: the callee says that it did not
    request_lost: float = 0.0  # of effects: it did not, and cannot say so
    answer_lost: float = 0.0  # of effects: it did, and its answer is lost
    answer_slow: float = 0.0  # of effects: it did, and says so up to a minute later
    stalled: float = 0.0  # of senders: they take longer than their deadline
    broker_away: float = 0.0  # of batches of the relay
    confirm_lost: float = 0.0  # of batches: taken in part or whole, and not confirmed

    @classmethod
    def of(cls, seed: int) -> Faults:
        """Return the faults of a world.

        What is drawn apart is not drawn from the others' chance: without it a world is as it was
        before there was such a fault.
        """
        faults, apart = cls.drawn(random.Random(f"faults {seed}")), apart_of(seed)
        if apart.late_notes:
            faults.late_note = 0.1 + 0.2 * apart.chance.random()
        if apart.rash:
            faults.rash_every_s = 0.5 + 2 * apart.chance.random()
        return faults

    @classmethod
    def drawn(cls, rng: random.Random) -> Faults:
        """Draw which faults there are, and how thick."""

        def maybe(rate: float, share: float = 0.5) -> float:
            return rate * (0.3 + 0.7 * rng.random()) if rng.random() < share else 0.0

        return cls(
            lost_before=maybe(0.03),
            lost_after=maybe(0.03),
            late=maybe(0.03),
            slow=maybe(0.02, 0.3),
            hint_lost=maybe(0.5),
            kill_every_s=maybe(70),
            pause_every_s=maybe(70),
            stop_every_s=maybe(90, 0.4),
            away_every_s=maybe(120, 0.4),
            restart_every_s=maybe(90, 0.3),
            session_every_s=maybe(60, 0.3),
            people_every_s=maybe(25),
            careless=maybe(0.4, 0.3),
            fails=maybe(0.3, 0.6),
            cancels=maybe(0.2),
            refused=maybe(0.3),
            request_lost=maybe(0.15, 0.4),
            answer_lost=maybe(0.15, 0.4),
            answer_slow=maybe(0.3, 0.4),
            stalled=maybe(0.15, 0.4),
            broker_away=maybe(0.3, 0.4),
            confirm_lost=maybe(0.4, 0.4),
        )

    def calm(self) -> None:
        """End all faults."""
        for name in self.__struct_fields__:
            setattr(self, name, 0.0)

    def shown(self) -> str:
        """Name the faults there are, with their rates."""
        rates = {name: getattr(self, name) for name in self.__struct_fields__}
        return " ".join(f"{name}={rate:.3g}" for name, rate in rates.items() if rate) or "none"


class Apart(msgspec.Struct, frozen=True):
    """What only some worlds have, and a chance of its own for what follows from it."""

    shop: bool
    late_notes: bool
    rash: bool
    chance: random.Random


def apart_of(seed: int) -> Apart:
    """Draw what a world has beside the others.

    The word in the seed is one under which the worlds of `bugs.STARTS` have none of it, and so
    still show the bugs that they are known for.
    """
    chance = random.Random(f"apart 818947 {seed}")
    shop, late_notes, rash = (chance.random() < share for share in (0.25, 0.15, 0.15))
    return Apart(shop, late_notes, rash, chance)


class Sites:
    """Where faults strike. `strikes` is asked at each edge; it draws where a site is awake."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._chance = random.Random(f"sites {seed}")
        drawn = random.Random(f"kinds {seed}")
        self._kinds = {kind for kind in sorted(OFTEN) if drawn.random() < 0.5}
        self._rates: dict[tuple[str, str], float] = {}

    def strikes(self, kind: str, site: str) -> bool:
        """Whether a fault of this kind strikes here and now."""
        if kind not in self._kinds:
            return False
        rate = self._rates.get((kind, site))
        if rate is None:
            rate = self._rates[kind, site] = self._drawn(kind, site)
        return rate > 0 and self._chance.random() < rate

    def _drawn(self, kind: str, site: str) -> float:
        chance = random.Random(f"{self._seed} {kind} {site}")
        return OFTEN[kind] * (0.2 + 0.8 * chance.random()) if chance.random() < AWAKE else 0.0

    def calm(self) -> None:
        """Let every site sleep."""
        self._kinds.clear()
