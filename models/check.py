"""Check the protocol models with spin and compare every answer with the expected one.

Each case is one (model, flags, property) with the answer it must give: `holds` for a promise,
`refuted` for a mutant, a known limit, or a witness that something interesting is reachable.
A search that ran out of depth, memory or time is `incomplete` and never counts as either.
Run `python models/check.py [--quick | --full]`; it exits 0 when every answer is as expected,
1 when one differs, 3 when spin or gcc is missing. It never installs anything and writes only
into a temporary directory.
"""

from __future__ import annotations

import argparse
import atexit
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

HERE = Path(__file__).resolve().parent
PARALLEL = 2
MEMORY_MB = 6_000
QUICK_LIMIT_S = 60
FULL_LIMIT_S = 900
DEPTH = 100_000

Answer = Literal["holds", "refuted", "incomplete"]


@dataclass(frozen=True)
class Case:
    """One question to a model, the answer it must give, and why it is asked."""

    model: str
    prop: str
    expected: Answer
    flags: str = ""
    quick: bool = True

    @property
    def name(self) -> str:
        return "-".join([self.model, self.prop, *self.flags.split()])

    @property
    def liveness(self) -> bool:
        return self.prop in {"terminates", "recovers", "every_verdict", "woken"}


@dataclass(frozen=True)
class Outcome:
    """What the search said: the answer, states stored, seconds of search, spin's own words."""

    case: Case
    answer: Answer
    states: int
    seconds: float
    words: str

    @property
    def as_expected(self) -> bool:
        return self.answer == self.case.expected


def table() -> Iterator[Case]:
    """Yield every case, those of the gate first within each model."""
    yield from _ledger()
    yield from _takeover()
    yield from _firing()
    yield from _waking()


def _ledger() -> Iterator[Case]:
    small = "RESENDS=0 DELAYS=0"
    tiny = f"{small} REFUSALS=0"
    promises = ("at_most_once", "done_is_true", "uncertain_alert", "fenced", "one_receipt")
    for prop in (*promises, "undisputed"):
        yield Case("ledger", prop, "holds", small)
        yield Case("ledger", prop, "holds", quick=False)
    yield Case("ledger", "at_most_once", "holds", "REFUSALS=0 DELAYS=0")
    yield Case("ledger", "at_most_once", "holds", f"GAP {small}")
    yield Case("ledger", "terminates", "holds", tiny)
    yield Case("ledger", "terminates", "holds", "RESENDS=0", quick=False)
    for flags in ("ZOMBIES=2", "CRASHES=2", "BY_DEADLINE DELAYS=2 RESENDS=0"):
        yield Case("ledger", "at_most_once", "holds", flags, quick=False)
    for mutant in ("NO_LEDGER", "INTENT_AFTER", "RESEND_ON_INTENT", "UNKNOWN_IS_FAILURE"):
        yield Case("ledger", "at_most_once", "refuted", f"M_{mutant} RUNS=1")
    for mutant in ("UNFENCED_WITHDRAW", "NO_WAIT", "EPOCH_ONLY"):
        yield Case("ledger", "at_most_once", "refuted", f"M_{mutant}")
    yield Case("ledger", "at_most_once", "refuted", f"M_NO_QUARANTINE {tiny}")
    yield Case("ledger", "fenced", "refuted", f"M_UNFENCED_COMPLETION {tiny}")
    yield Case("ledger", "uncertain_alert", "refuted", "M_SILENT")
    yield Case("ledger", "at_most_once", "refuted", "BY_DEADLINE DELAYS=2 M_NO_LAST_CALL")
    yield Case("ledger", "at_most_once", "refuted", "BY_DEADLINE DELAYS=2 GAP")
    yield Case("ledger", "done_is_true", "refuted", "M_PERSON_ERRS")
    yield Case("ledger", "terminates", "refuted", "M_NO_WAKE")
    for witness in ("never_both_done", "never_resolved", "never_waited", "never_late"):
        yield Case("ledger", witness, "refuted", f"WITNESS {tiny}")


def _takeover() -> Iterator[Case]:
    calm = "RESTARTS=0 BREAKS=0 AGEINGS=1 BOOTS=4"
    for prop in ("fenced", "dead_stay_dead"):
        yield Case("takeover", prop, "holds", calm)
    yield Case("takeover", "not_stolen", "holds", "CUTS=1 CRASHES=0 BREAKS=0 AGEINGS=0 BOOTS=4")
    yield Case("takeover", "spared", "holds", "CUTS=1 RESTARTS=0 AGEINGS=0 BOOTS=4")
    yield Case("takeover", "proof_is_true", "holds", "CUTS=0 AGEINGS=0 BREAKS=0 BOOTS=4")
    yield Case("takeover", "recovers", "holds", "CUTS=0 RESTARTS=0 BREAKS=0 AGEINGS=1")
    for prop in ("fenced", "dead_stay_dead", "not_stolen", "proof_is_true"):
        yield Case("takeover", prop, "holds", "CUTS=1 AGEINGS=1", quick=False)
    yield Case("takeover", "fenced", "holds", "FAILOVERS=1 RESTARTS=0 CUTS=0", quick=False)
    yield Case("takeover", "recovers", "holds", "RESTARTS=0 BREAKS=0", quick=False)
    for prop, flags in (
        ("not_stolen", "M_STEAL_AFTER_RESTART CUTS=1 CRASHES=0 AGEINGS=0 BREAKS=0"),
        ("spared", "M_ONE_LOST CUTS=1 RESTARTS=0"),
        ("dead_stay_dead", "M_DEAD_MAY_CLAIM RESTARTS=0 BREAKS=0 CUTS=0"),
        ("recovers", "M_DEAD_MAY_CLAIM RESTARTS=0 BREAKS=0 CUTS=0"),
        ("fenced", "M_NO_BOOT_IN_FENCE FAILOVERS=1 RESTARTS=0"),
        ("fenced", f"M_UNFENCED_COMPLETION {calm}"),
        ("proof_is_true", f"M_PROOF_ELSEWHERE {calm}"),
        ("never_early", calm),
        ("never_done_late", calm),
    ):
        yield Case("takeover", prop, "refuted", flags)


def _firing() -> Iterator[Case]:
    promises = ("at_most_once", "right_revision", "paused_is_still", "every_verdict")
    for prop in promises:
        yield Case("firing", prop, "holds")
        yield Case("firing", prop, "holds", "INSTANCES=3 CRASHES=2", quick=False)
    yield Case("firing", "at_most_once", "holds", "M_NO_UNIQUE_KEY")
    yield Case("firing", "at_most_once", "holds", "M_UNLOCKED_MARK TICKS=2 CRASHES=0")
    for prop, flags in (
        ("at_most_once", "M_NO_UNIQUE_KEY M_UNLOCKED_MARK"),
        ("every_verdict", "M_ADVANCE_APART"),
        ("right_revision", "M_EDIT_WITHOUT_SETTLING"),
        ("paused_is_still", "M_LOCK_FREE_PAUSE"),
        ("never_drained", ""),
        ("never_held", ""),
    ):
        yield Case("firing", prop, "refuted", flags)


def _waking() -> Iterator[Case]:
    yield Case("waking", "woken", "holds")
    yield Case("waking", "woken", "holds", "WITHOUT_SWEEP")
    yield Case("waking", "woken", "holds", "M_NO_COMMON_LOCK")
    yield Case("waking", "limit_holds", "holds", "M_NO_COMMON_LOCK")
    yield Case("waking", "limit_holds", "holds")
    yield Case("waking", "woken", "refuted", "M_NO_COMMON_LOCK WITHOUT_SWEEP")
    yield Case("waking", "never_slept", "refuted")


def missing() -> str | None:
    """Say which tool is not installed and how to get it; None when nothing is missing."""
    for tool in ("spin", "gcc"):
        if shutil.which(tool) is None:
            return f"{tool} is not installed: apt-get install {tool} (tools/need_spin.sh tries it)"
    return None


def check(case: Case, *, limit_s: float = QUICK_LIMIT_S) -> Outcome:
    """Search the model for a violation of the case's property.

    At most `limit_s` seconds and MEMORY_MB of memory are used. Raises RuntimeError when spin or
    gcc cannot translate the model, which is a mistake in the model or the table.
    """
    pan = _built(case.model, case.flags, liveness=case.liveness, fast=not case.quick)
    command = [str(pan), "-N", case.prop, f"-m{DEPTH}", *(["-a", "-f"] if case.liveness else [])]
    with tempfile.TemporaryDirectory(prefix="duly-model-") as room:
        started = time.monotonic()
        try:
            done = subprocess.run(
                command, cwd=room, capture_output=True, text=True, timeout=limit_s
            )
        except subprocess.TimeoutExpired:
            return Outcome(case, "incomplete", 0, limit_s, f"no answer within {limit_s} s")
        return _read(case, done.stdout + done.stderr, time.monotonic() - started)


@cache
def _built(model: str, flags: str, *, liveness: bool, fast: bool) -> Path:
    """Build the searcher once for all properties of a model with the same flags."""
    room = Path(tempfile.mkdtemp(prefix="duly-model-"))
    atexit.register(shutil.rmtree, room, ignore_errors=True)
    _must(["spin", "-a", *(f"-D{f}" for f in flags.split()), str(HERE / f"{model}.pml")], room)
    # A small search ends within moments, so its compiler need not think long.
    speed = "-O2" if fast else "-O0"
    kind = ["-DNFAIR=3"] if liveness else ["-DSAFETY", "-DNOFAIR"]
    _must(["gcc", speed, "-w", f"-DMEMLIM={MEMORY_MB}", *kind, "-o", "pan", "pan.c"], room)
    return room / "pan"


def _must(command: list[str], room: Path) -> None:
    done = subprocess.run(command, cwd=room, capture_output=True, text=True, timeout=120)
    if done.returncode != 0 or "Error:" in done.stdout + done.stderr:
        raise RuntimeError(f"{' '.join(command)}: {done.stdout}{done.stderr}")


def _read(case: Case, words: str, seconds: float) -> Outcome:
    errors = re.search(r"errors: (\d+)", words)
    states = re.search(r"(\d+(?:\.\d+e\+\d+)?) states, stored", words)
    cut_short = re.search(r"too small|out of memory|memory limit|aborted|not completed", words)
    answer: Answer = "incomplete"
    if errors is not None and int(errors[1]) > 0:
        answer = "refuted"
    elif errors is not None and cut_short is None:
        answer = "holds"
    return Outcome(case, answer, int(float(states[1])) if states else 0, seconds, words)


def _line(outcome: Outcome) -> str:
    mark = " " if outcome.as_expected else "!"
    case = outcome.case
    return (
        f"{mark} {case.model:<9} {case.prop:<16} {outcome.answer:<10} "
        f"{outcome.states:>11,} {outcome.seconds:>7.1f} s  {case.flags}"
    )


def main(arguments: list[str] | None = None) -> int:
    """Run the chosen table, print a line per case, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--quick", action="store_true", help="the gate's share (the default)")
    choice.add_argument("--full", action="store_true", help="every case, larger budgets included")
    parser.add_argument("--only", default="", metavar="MODEL", help="cases of one model")
    asked = parser.parse_args(arguments)
    if (reason := missing()) is not None:
        print(reason, file=sys.stderr)
        return 3
    cases = [c for c in table() if (asked.full or c.quick) and asked.only in ("", c.model)]
    limit = FULL_LIMIT_S if asked.full else QUICK_LIMIT_S
    wrong = 0
    with ThreadPoolExecutor(PARALLEL) as pool:
        for outcome in pool.map(lambda case: check(case, limit_s=limit), cases):
            print(_line(outcome), flush=True)
            wrong += not outcome.as_expected
    print(f"{len(cases)} cases, {wrong} not as expected")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
