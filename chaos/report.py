"""What a trial came to: figures by name, those that must have one value, and those that inform.

A report is printed for people and kept as JSON under `chaos/results/`, one file for each trial and
store; `chaos/page.py` makes the page of reliability from them. It never says *passed* of a part
that was left out: what could not be tried stands there with its reason. Figures whose names are in
`COUNTED` are also summed up as what was lost, what was doubled, and what was refused as stale; a
sum for which nothing was looked at is None, and never 0.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

RESULTS = Path(__file__).parent / "results"
Value = bool | int | float | str

COUNTED = {
    "acknowledged and lost": "lost",
    "deliveries that are neither performed nor uncertain": "lost",
    "done, but never performed": "lost",
    "lost": "lost",
    "neighbours that did not succeed": "lost",
    "never performed": "lost",
    "occurrences lost": "lost",
    "performed, and the ledger knows nothing": "lost",
    "rows that were never published": "lost",
    "runs that did not succeed": "lost",
    "succeeded without its work": "lost",
    "attempts begun twice": "doubled",
    "attempts ended twice": "doubled",
    "doubled": "doubled",
    "doubled or invented": "doubled",
    "finished steps done again": "doubled",
    "invented": "doubled",
    "never asked for": "doubled",
    "occurrences doubled or invented": "doubled",
    "performed twice": "doubled",
    "rows published under two ids": "doubled",
    "stale endings the sleepers sent": "stale",
    "stale writes": "stale",
    "stale writes refused": "stale",
}


PACE = "seconds from kill to kill"
"""The figure of a trial whose faults have a pace; the page tells it with the fault."""


class Figure(msgspec.Struct, frozen=True, omit_defaults=True):
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


class Moment(msgspec.Struct, frozen=True):
    """A fault that was done: when, by the clock of the journal, and to which worker, if to one."""

    at_s: float
    worker: str = ""


class Report(msgspec.Struct, kw_only=True):
    """A trial on one store. `recovery_ms` has `p50` and `p99` of what could be measured.

    `times` is the number of faults that was asked for instead of the campaign's own. A trial that
    knows better than the journal how long its faults lasted fills `times_s`; one that kills at
    named points fills `deaths`, by point.
    """

    trial: str
    store: str
    command: str = ""
    date: str = ""
    seconds: float = 0.0
    full: bool = False
    times: int | None = None
    injected: int = 0
    survived: int = 0
    recovery_ms: dict[str, float] = {}
    figures: list[Figure] = []
    deaths: dict[str, int] = {}
    moments: list[Moment] = []
    times_s: list[float] = []
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

    def settle(self, injected: int, survived: int, recovery_s: Sequence[float]) -> None:
        """Say how many faults there were and were lived through, and what recovery took."""
        self.injected, self.survived = injected, survived
        if recovery_s := self.times_s or recovery_s:
            ms = [one * 1000 for one in recovery_s]
            self.recovery_ms = {
                name: round(percentile(ms, share), 1)
                for name, share in (("p50", 0.5), ("p99", 0.99))
            }

    @property
    def lost(self) -> int | None:
        """How many things were lost; None where nothing was looked at."""
        return self._sum("lost")

    @property
    def doubled(self) -> int | None:
        """How many things are there twice, or were never asked for; None as for `lost`."""
        return self._sum("doubled")

    @property
    def stale(self) -> int | None:
        """How many words of dead boots were refused; None as for `lost`."""
        return self._sum("stale")

    def _sum(self, kind: str) -> int | None:
        """Sum up the figures of a kind, whose values are numbers."""
        found = [int(one.value) for one in self.figures if COUNTED.get(one.name) == kind]
        return sum(found) if found else None

    @property
    def _weight(self) -> tuple[bool, bool]:
        """How full a trial it was: the gate's share, a number of its own, the campaign's number."""
        return self.full, self.full and self.times is None

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
        else:
            print(
                f"  faults {self.injected}, survived {self.survived}, lost {counted(self.lost)}, "
                f"doubled {counted(self.doubled)}, stale refused {counted(self.stale)}, "
                f"recovery ms {self.recovery_ms}"
            )
        for one in self.figures:
            aside = f"   EXPECTED {one.wanted}" if one.wrong else ""
            print(f"  {one.name:<52}{one.value!s:>12}{aside}")
        if self.evidence and self.wrong:
            print(self.evidence, file=sys.stderr)
        sys.stdout.flush()

    def keep(self, folder: Path = RESULTS) -> bool:
        """Write it down as JSON, unless a fuller one is there; return whether it was written."""
        folder.mkdir(exist_ok=True)
        path = folder / f"{self.trial}-{self.store}.json"
        if (
            path.exists()
            and self._weight < msgspec.json.decode(path.read_bytes(), type=Report)._weight
        ):
            return False
        kept = msgspec.structs.replace(
            self,
            date=f"{datetime.now(UTC):%Y-%m-%d}",
            evidence=self.evidence if self.wrong else "",
            moments=[],
            times_s=[],
        )
        text = msgspec.json.format(msgspec.json.encode(kept), indent=2)
        path.write_bytes(text + b"\n")
        return True


def counted(number: int | None) -> str:
    """Return a number as people read it, and a dash where nothing was looked at."""
    return "–" if number is None else f"{number:,}"


def percentile(values: list[float], share: float) -> float:
    """Return the value that `share` of the values do not exceed (nearest rank)."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(len(ranked) * share))]
