"""What a campaign came to: printed as tables for people, and kept as JSON for the documentation.

Files are written to `simulation/results/`, one for each call; they are figures of one machine and
one state of the code. What broke is there with its seed, which lives through it again.
"""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from simulation.bugs import Found
from simulation.campaign import MUST_MEET, Outcome, unmet

RESULTS = Path(__file__).parent / "results"


class Met(msgspec.Struct, frozen=True):
    """How often something came about, in how many worlds, and from which size it must."""

    what: str
    times: int
    worlds: int
    demanded_from: int | None = None


class Broken(msgspec.Struct, frozen=True):
    """A world that broke a promise."""

    seed: int
    fingerprint: str
    breaches: tuple[str, ...]


class Results(msgspec.Struct, frozen=True, kw_only=True):
    """A campaign on the product as it is, and the hunts for planted bugs.

    `further` are the seeds of worlds lived through beyond `worlds`; sums are over all of them.
    """

    commit: str
    first: int
    worlds: int
    further: tuple[int, ...] = ()
    virtual_hours: float
    attempts: int
    callbacks: int
    took_s: float
    met: tuple[Met, ...]
    unmet: tuple[str, ...]
    broken: tuple[Broken, ...]
    bugs: tuple[Found, ...] = ()

    @property
    def wrong(self) -> bool:
        """Whether a promise broke, the campaign is void, or a planted bug was not found."""
        return bool(self.unmet or self.broken or any(one.seed is None for one in self.bugs))

    def show(self) -> None:
        """Print it."""
        if self.met:
            print(f"{'what must be met':36}{'times':>8}{'worlds':>8}{'demanded':>10}")
        for one in self.met:
            demanded = "" if one.demanded_from is None else f"from {one.demanded_from}"
            print(f"{one.what:36}{one.times:8}{one.worlds:8}{demanded:>10}")
        if self.bugs:
            print(f"{'planted bug':36}{'worlds':16}found by")
        for bug in self.bugs:
            _show(bug)
        behind = f" and the further {', '.join(map(str, self.further))}" if self.further else ""
        print(
            f"{self.worlds} worlds from seed {self.first}{behind}, at {self.commit}:"
            f" {self.virtual_hours:.1f} virtual hours, {self.attempts} attempts,"
            f" {self.callbacks} callbacks, in {self.took_s:.0f} s"
        )
        for what in self.unmet:
            print(f"VOID: never met: {what}")
        for world in self.broken:
            print(f"BROKEN: python -m simulation --seed {world.seed}   {world.breaches[0]}")

    def keep(self, name: str = "") -> Path:
        """Write it down as JSON, under this name or one by the time, and return where."""
        RESULTS.mkdir(exist_ok=True)
        by_time = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{self.first}-{self.worlds}.json"
        path = RESULTS / (name or by_time)
        path.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n")
        return path


def _show(bug: Found) -> None:
    if bug.seed is None:
        print(f"{bug.bug:36}{bug.seeds:<16}NOT FOUND")
        return
    worlds = f"known seed {bug.seed}" if bug.known else str(bug.seeds)
    print(f"{bug.bug:36}{worlds:16}{bug.breach}"[:150])
    print(f"    {bug.replay}")


def commit() -> str:
    """Return the state of the code that this is: its commit, and whether it was changed since."""
    command = ("git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*")
    try:
        told = subprocess.run(command, cwd=RESULTS.parent, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return told.stdout.decode().strip()


def summed(
    outcomes: Sequence[Outcome],
    bugs: Sequence[Found],
    *,
    first: int,
    took_s: float,
    further: Sequence[Outcome] = (),
) -> Results:
    """Add up what worlds came to, and the further ones in which something was looked for."""
    demanded, all_of_them = unmet(outcomes, further), (*outcomes, *further)
    times: Counter[str] = Counter()
    worlds: Counter[str] = Counter()
    for one in all_of_them:
        times.update(one.sometimes)
        worlds.update(one.sometimes.keys())
    names = sorted({*times, *MUST_MEET}) if outcomes else []
    return Results(
        first=first,
        commit=commit(),
        worlds=len(outcomes),
        further=tuple(one.seed for one in further),
        virtual_hours=sum(one.virtual_s for one in all_of_them) / 3600,
        attempts=sum(one.attempts for one in all_of_them),
        callbacks=sum(one.steps for one in all_of_them),
        took_s=took_s,
        met=tuple(Met(one, times[one], worlds[one], MUST_MEET.get(one)) for one in names),
        unmet=tuple(demanded),
        broken=tuple(
            Broken(one.seed, one.fingerprint, one.breaches) for one in all_of_them if one.breaches
        ),
        bugs=tuple(bugs),
    )
