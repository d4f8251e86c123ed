"""The gate: every check in one run, with a table of verdicts and times at the end.

A step is a target of the Makefile. Quick checks come first; then the tests run, which wait for
processes, servers and leases a good part of their time, and the other long steps go beside them,
one after the other, their output shown when each has ended. All steps run even when one fails, so
that one run tells everything; the exit code is 0 only when every step passed. A step whose code is
not in the tree is told as `absent`, never as passed. The gate never installs anything: `make` has
built the environment before it starts.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Step:
    """One target of the Makefile, its arguments, and the path without which it is absent."""

    target: str
    arguments: tuple[str, ...] = ()
    needs: str = "Makefile"


FIRST = (Step("lint"), Step("walls"))

BESIDE = (
    Step("types"),
    Step("wheel"),
    Step("simulate", arguments=("SEEDS=10",), needs="simulation/__main__.py"),
    Step("bench-quick", needs="bench/__main__.py"),
)

TESTS = Step("tests")


def take(step: Step, *, shown: bool = True) -> str:
    """Run one step and return its verdict for the table; its output is shown now, or at its end."""
    if not (ROOT / step.needs).exists():
        return f"absent ({step.needs} is not in the tree)"
    if shown:
        print(f"\n=== {step.target} ===", flush=True)
    began = time.monotonic()
    command = ["make", "--no-print-directory", step.target, *step.arguments]
    kept = None if shown else subprocess.PIPE
    done = subprocess.run(
        command,
        cwd=ROOT,
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=kept,
        stderr=None if shown else subprocess.STDOUT,
        text=True,
    )
    if not shown:
        print(f"\n=== {step.target} ===\n{done.stdout}", flush=True)
    word = "passed" if done.returncode == 0 else "FAILED"
    return f"{word} in {time.monotonic() - began:.1f} s"


def main() -> int:
    """Take every step, print the table, and return the exit code of the gate."""
    verdicts = {step.target: take(step) for step in FIRST}

    def go_beside() -> None:
        for step in BESIDE:
            verdicts[step.target] = take(step, shown=False)

    beside = threading.Thread(target=go_beside, name="beside the tests")
    beside.start()
    tests = take(TESTS)
    beside.join()
    verdicts[TESTS.target] = tests
    print("\n=== gate ===")
    for target, verdict in verdicts.items():
        print(f"{target:12} {verdict}")
    return int(any(verdict.startswith("FAILED") for verdict in verdicts.values()))


if __name__ == "__main__":
    sys.exit(main())
