"""What a trial came to: figures by name, those that must have one value, and those that inform.

A report is printed for people and kept as JSON under `chaos/results/`. It never says *passed* of
a part that was left out: what could not be tried stands there with its reason.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

import msgspec

RESULTS = Path(__file__).parent / "results"
Value = int | float | str


class Figure(msgspec.Struct, frozen=True):
    """A figure. `wanted` None: it informs; `at_most`: the bound is not the only good value."""

    name: str
    value: Value
    wanted: Value | None = None
    at_most: bool = False

    @property
    def wrong(self) -> bool:
        """Whether it breaks a promise."""
        if self.wanted is None:
            return False
        if self.at_most:
            return self.value > self.wanted  # type: ignore[operator]
        return self.value != self.wanted


class Report(msgspec.Struct, kw_only=True):
    """A trial on one store."""

    trial: str
    store: str
    figures: list[Figure] = []
    skipped: str = ""
    evidence: str = ""

    def note(self, name: str, value: Value) -> None:
        """Add a figure that informs."""
        self.figures.append(Figure(name, value))

    def must_be(self, name: str, value: Value, wanted: Value) -> None:
        """Add a figure that has one good value."""
        self.figures.append(Figure(name, value, wanted))

    def at_most(self, name: str, value: Value, bound: Value) -> None:
        """Add a figure that has a bound."""
        self.figures.append(Figure(name, value, bound, at_most=True))

    @property
    def wrong(self) -> list[str]:
        """The figures that break a promise, in words."""
        return [
            f"{one.name}: expected {'at most ' if one.at_most else ''}{one.wanted}, got {one.value}"
            for one in self.figures
            if one.wrong
        ]

    def show(self) -> None:
        """Print it."""
        print(f"\n{self.trial} on {self.store}")
        if self.skipped:
            print(f"  skipped: {self.skipped}")
        for one in self.figures:
            aside = f"   EXPECTED {one.wanted}" if one.wrong else ""
            print(f"  {one.name:<52}{one.value!s:>12}{aside}")
        if self.evidence and self.wrong:
            print(self.evidence, file=sys.stderr)
        sys.stdout.flush()

    def keep(self) -> None:
        """Write it down as JSON."""
        RESULTS.mkdir(exist_ok=True)
        at = datetime.now(UTC)
        path = RESULTS / f"{at:%Y%m%dT%H%M%S}-{self.trial}-{self.store}.json"
        path.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=2))


def percentile(values: list[float], share: float) -> float:
    """Return the value that `share` of the values do not exceed (nearest rank)."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(len(ranked) * share))]
