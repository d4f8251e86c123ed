"""`python -m chaos.page [--check]`: the page of reliability, made from the results that are kept.

One line for each kind of fault and store, from the JSON files in `chaos/results/`, with the command
that takes it again, and one for each planted bug, from `simulation/results/`; the text around them
is `chaos/page.md`. What could not be tried on a store is listed with its reason. `--check` changes
nothing and fails when the page is not what the results say.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from chaos.campaign import FAULTS, LESSER, NAMES
from chaos.report import PACE, RESULTS, Report, counted
from chaos.scenarios.points import EVERY, SELDOM
from simulation.bugs import Found
from simulation.results import RESULTS as SIMULATED
from simulation.results import Results

LONGEST = 90
"""Characters of a breach that are shown."""

_ID = re.compile(r"UUID\('[0-9a-f-]+'\)|\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")

FRAME = Path(__file__).parent / "page.md"
PAGE = Path(__file__).parent.parent / "docs" / "explanation" / "reliability.md"
STORES = ("sqlite", "postgres")
SHOWN = {"sqlite": "SQLite", "postgres": "PostgreSQL"}
HEAD = (
    "| fault | store | faults | survived | lost | doubled | stale writes refused "
    "| recovery p50 / p99 | broken promises | taken by |\n|---|---|---|---|---|---|---|---|---|---|"
)


def read(folder: Path = RESULTS) -> list[Report]:
    """Return the results that are kept, in the order of the campaign."""
    paths = [folder / f"{trial}-{store}.json" for trial in NAMES for store in STORES]
    return [msgspec.json.decode(p.read_bytes(), type=Report) for p in paths if p.exists()]


def make(results: Sequence[Report], frame: str) -> str:
    """Return the page: the frame with its table, its list of what was left out, and its sums."""
    taken = [one for one in results if not one.skipped]
    left = [one for one in results if one.skipped]
    dates = sorted({one.date for one in taken})
    parts = {
        "{table}": "\n".join([HEAD, *map(_line, taken)]),
        "{points}": "\n".join(_points(one) for one in taken if one.trial.startswith("points")),
        "{skipped}": "\n".join(map(_left_out, left)) or "Nothing.",
        "{campaign}": of_campaign(worlds(CAMPAIGN)),
        "{planted}": "\n".join(_planted(one) for one in worlds(HUNTS).bugs),
        "{faults}": f"{sum(one.injected for one in taken):,}",
        "{lost}": f"{sum(one.lost or 0 for one in taken):,}",
        "{doubled}": f"{sum(one.doubled or 0 for one in taken):,}",
        "{broken}": f"{sum(len(one.wrong) for one in taken):,}",
        "{dates}": " to ".join(dict.fromkeys([dates[0], dates[-1]])) if dates else "no day yet",
    }
    for name, text in parts.items():
        frame = frame.replace(name, text)
    return frame


def _line(one: Report) -> str:
    recovery = " / ".join(_time(one.recovery_ms[name]) for name in sorted(one.recovery_ms))
    cells = (
        fault_of(one),
        SHOWN[one.store],
        counted(one.injected),
        counted(one.survived),
        counted(one.lost),
        counted(one.doubled),
        counted(one.stale),
        recovery,
        "; ".join(one.wrong) or "none",
        f"`{one.command}`",
    )
    return f"| {' | '.join(cells)} |"


def fault_of(one: Report) -> str:
    """Say what was done, as far as it was done: the gate's share is less than the campaign."""
    words = FAULTS[one.trial] if one.full else LESSER.get(one.trial, FAULTS[one.trial])
    pace = next((figure.value for figure in one.figures if figure.name == PACE), None)
    return words if pace is None else f"{words}, one every {pace} s"


LEFT_OUT = "- {fault}, on {store}: {why}."


def _left_out(one: Report) -> str:
    return LEFT_OUT.format(fault=FAULTS[one.trial], store=SHOWN[one.store], why=one.skipped)


POINTS = "- {store}{which}: {points} points were come by, {often}{fewer}{never}"
SEEN, NEVER, OFTEN = "points", "points seen, and never again", "points died at"
FEWER, OR_MORE = f"{OFTEN} fewer than", "times or more"


def _points(one: Report) -> str:
    """Say how many named points there were, how often each was died at, and at which never."""
    told = {figure.name: figure.value for figure in one.figures}
    often = [
        f"{value} died at {name.removeprefix(OFTEN).strip()}"
        for name, value in told.items()
        if name.startswith(OFTEN) and name.endswith(OR_MORE)
    ]
    few = [value for name, value in told.items() if name.startswith(FEWER)]
    return POINTS.format(
        which=", chores, joining and renewing alone" if one.trial == "points-seldom" else "",
        store=SHOWN[one.store],
        points=told.get(SEEN, 0),
        often=", ".join(often),
        fewer=_listed("; fewer times at ", few[0] if few else "none"),
        never=_listed("; never at ", told.get(NEVER, "none")) + ".",
    )


def short_of_deaths(results: Sequence[Report]) -> list[str]:
    """Name the points that were died at too seldom by the trial that answers for their verb."""
    parts = {"points": EVERY, "points-seldom": SELDOM}
    found = []
    for one in results:
        for figure in one.figures if one.trial in parts else ():
            if figure.name.startswith(FEWER) and figure.value != "none":
                points = (name.split()[0] for name in str(figure.value).split(", "))
                few = sorted(parts[one.trial].answers_for(points))
                found += [f"{one.trial} on {one.store}: {name}" for name in few]
    return found


CAMPAIGN, HUNTS = "campaign.json", "hunts.json"
IN_WORLDS = (
    "The campaign that is kept lived through {worlds} worlds at {commit}: {hours:.0f} virtual "
    "hours, {attempts:,} attempts, {faults:,} kills, pauses, restarts, lost and late words; "
    "{broken} promises broken. What must have come about in so many worlds, a takeover by each "
    "proof, a stale write refused, a receipt that came late, each policy of overlap, did: {met} of "
    "{met}."
)
DRAWN = ("kill", "pause", "verb lost", "answer lost", "late verb landed", "store restarted")


def worlds(name: str, folder: Path = SIMULATED) -> Results:
    """Return what simulated worlds came to, from a file that is kept."""
    return msgspec.json.decode((folder / name).read_bytes(), type=Results)


def of_campaign(kept: Results) -> str:
    """Sum a campaign up. Nothing that it must meet is unmet, or it would not have been kept."""
    assert not kept.unmet, "a campaign that is void proves nothing"
    times = {one.what: one.times for one in kept.met}
    demanded = [one for one in kept.met if (one.demanded_from or kept.worlds + 1) <= kept.worlds]
    return IN_WORLDS.format(
        worlds=kept.worlds + len(kept.further),
        commit=kept.commit,
        hours=kept.virtual_hours,
        attempts=kept.attempts,
        faults=sum(times.get(one, 0) for one in DRAWN),
        broken=len(kept.broken),
        met=len(demanded),
    )


def _planted(bug: Found) -> str:
    assert bug.seed is not None, "every bug that is planted is found, or the hunt is void"
    seen = " ".join(_ID.sub("…", bug.breach).split()).replace("|", "/")
    seen = seen if len(seen) <= LONGEST else seen[: LONGEST - 1].rsplit(" ", 1)[0] + " …"
    return f"| {bug.bug} | {bug.seeds} | {seen} |"


def _listed(before: str, names: object) -> str:
    """Return the names of a figure in type of their own; nothing for none."""
    return "" if names == "none" else f"{before}`{str(names).replace(', ', '`, `')}`"


def _time(ms: float) -> str:
    return f"{ms:.0f} ms" if ms < 1000 else f"{ms / 1000:.1f} s"


def main(arguments: Sequence[str]) -> int:
    """Write the page, or with `--check` say whether it is what the results say."""
    text = make(read(), FRAME.read_text("utf-8"))
    if "--check" in arguments:
        fresh = PAGE.exists() and PAGE.read_text("utf-8") == text
        if not fresh:
            print(f"{PAGE.name} is not what the results say; run: python -m chaos.page")
        return int(not fresh)
    PAGE.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
