"""The gate: every check in one run, with a table of verdicts and times at the end.

A step is a target of the Makefile. All steps run even when one fails, so that one run tells
everything; the exit code is 0 only when every step passed. A step whose code is not in the tree
is told as `absent`, never as passed. The gate never installs anything: `make` has built the
environment before it starts.
"""

from __future__ import annotations

import subprocess
import sys
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


STEPS = (
    Step("lint"),
    Step("types"),
    Step("walls"),
    Step("wheel"),
    Step("simulate", arguments=("SEEDS=15",), needs="simulation/__main__.py"),
    Step("bench-quick", needs="bench/__main__.py"),
    # Last, so that the run closes on the test runner's own count.
    Step("tests"),
)


def take(step: Step) -> str:
    """Run one step with its output shown as it comes; return its verdict for the table."""
    if not (ROOT / step.needs).exists():
        return f"absent ({step.needs} is not in the tree)"
    print(f"\n=== {step.target} ===", flush=True)
    began = time.monotonic()
    command = ["make", "--no-print-directory", step.target, *step.arguments]
    code = subprocess.run(command, cwd=ROOT, check=False, stdin=subprocess.DEVNULL).returncode
    word = "passed" if code == 0 else "FAILED"
    return f"{word} in {time.monotonic() - began:.1f} s"


def main() -> int:
    """Take every step, print the table, and return the exit code of the gate."""
    verdicts = {step.target: take(step) for step in STEPS}
    print("\n=== gate ===")
    for target, verdict in verdicts.items():
        print(f"{target:12} {verdict}")
    return int(any(verdict.startswith("FAILED") for verdict in verdicts.values()))


if __name__ == "__main__":
    sys.exit(main())
