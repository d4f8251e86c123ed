"""Check the protocol models with spin and compare every answer with the expected one.

The questions are in `table.py`. A search that ran out of depth, memory or time is `incomplete`
and counts as neither answer. Run `python -m models [--quick | --full]`: it prints a line per
case and then the table of the mutants, and exits 0 when every answer is as expected, 1 when one
differs, 3 when spin or gcc is missing. It never installs anything and writes only into a
temporary directory.
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
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from models.mutants import told
from models.table import Answer, Case, table

HERE = Path(__file__).resolve().parent
PARALLEL = 2
MEMORY_MB = 6_000
QUICK_LIMIT_S = 60
FULL_LIMIT_S = 900
DEPTH = 100_000


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
    outcomes = []
    with ThreadPoolExecutor(PARALLEL) as pool:
        for outcome in pool.map(lambda case: check(case, limit_s=limit), cases):
            print(_line(outcome), flush=True)
            outcomes.append(outcome)
    print("\nMutants: the protocol with one rule left out", *told(outcomes), sep="\n")
    wrong = sum(not one.as_expected for one in outcomes)
    print(f"\n{len(cases)} cases, {wrong} not as expected")
    return 1 if wrong else 0
