"""How large a trial is: the share that the gate can afford, or the full campaign."""

from __future__ import annotations

import msgspec


class Scale(msgspec.Struct, frozen=True):
    """`full` is the campaign; `minutes` is how long its storm blows.

    `times` is another number of faults than the campaign's own, for the trials that count them.
    """

    full: bool = False
    minutes: float = 10.0
    times: int | None = None

    def pick(self, gate: int, full: int) -> int:
        """Return the number that fits this scale."""
        return full if self.full else gate

    def count(self, gate: int, full: int) -> int:
        """Return how many faults there are to be: the number that was asked for, if one was."""
        return self.times if self.times is not None else self.pick(gate, full)


GATE = Scale()

QUICK = {
    "engine.lease": "2s",
    "engine.renewal": "400ms",
    "engine.margin": "400ms",
    "engine.presence": "1s",
}
"""Settings under which a lease ends within a test, and is seen to end."""
