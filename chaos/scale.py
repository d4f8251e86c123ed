"""How large a trial is: the share that the gate can afford, or the full campaign."""

from __future__ import annotations

import msgspec


class Scale(msgspec.Struct, frozen=True):
    """`full` is the campaign; `minutes` is how long its storm blows."""

    full: bool = False
    minutes: float = 10.0

    def pick(self, gate: int, full: int) -> int:
        """Return the number that fits this scale."""
        return full if self.full else gate


GATE = Scale()

QUICK = {
    "engine.lease": "2s",
    "engine.renewal": "400ms",
    "engine.margin": "400ms",
    "engine.presence": "1s",
}
"""Settings under which a lease ends within a test, and is seen to end."""
