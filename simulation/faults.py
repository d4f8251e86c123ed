"""What may go wrong in one world, drawn from its seed.

Not every world has every fault: a random choice of them finds more than all at once, because a
fault can hide the trouble another one makes. Rates are per verb unless they say otherwise.
"""

from __future__ import annotations

import random

import msgspec


class Faults(msgspec.Struct, kw_only=True):
    """The rates of faults; `calm` sets them all to nothing."""

    lost_before: float = 0.0  # the verb never reached the store
    lost_after: float = 0.0  # it was done, and the answer was lost
    late: float = 0.0  # the caller gave up, and the store did it afterwards
    late_renewal: float = 0.0  # as `late`; not drawn: the protocol of renewals does not bear it
    slow: float = 0.0  # it takes seconds
    kill_at_edge: float = 0.0  # the process dies between the commit and the answer
    pause_at_edge: float = 0.0  # it stands still there, often longer than its lease
    hint_lost: float = 0.0
    kill_every_s: float = 0.0  # 0: never
    pause_every_s: float = 0.0
    stop_every_s: float = 0.0
    away_every_s: float = 0.0
    fails: float = 0.0  # of attempts
    cancels: float = 0.0  # of what clients ask for

    @classmethod
    def drawn(cls, rng: random.Random) -> Faults:
        """Draw which faults there are, and how thick."""

        def maybe(rate: float, share: float = 0.6) -> float:
            return rate * (0.3 + 0.7 * rng.random()) if rng.random() < share else 0.0

        return cls(
            lost_before=maybe(0.06),
            lost_after=maybe(0.06),
            late=maybe(0.04),
            slow=maybe(0.02, 0.3),
            kill_at_edge=maybe(0.004),
            pause_at_edge=maybe(0.004),
            hint_lost=maybe(0.5),
            kill_every_s=maybe(60, 0.6),
            pause_every_s=maybe(60, 0.5),
            stop_every_s=maybe(80, 0.4),
            away_every_s=maybe(120, 0.5),
            fails=maybe(0.3),
            cancels=maybe(0.2, 0.5),
        )

    def calm(self) -> None:
        """End all faults."""
        for name in self.__struct_fields__:
            setattr(self, name, 0.0)

    def shown(self) -> str:
        """Name the faults there are, with their rates."""
        rates = {name: getattr(self, name) for name in self.__struct_fields__}
        return " ".join(f"{name}={rate:.3g}" for name, rate in rates.items() if rate) or "none"
