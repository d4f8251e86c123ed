"""The journal of a measurement: one line per event, in a file that all processes append to.

A line is kind, key, nanoseconds since the epoch, and the name of the process. Kinds: `S` a function
started, `B` an enqueue was called, `C` it was acknowledged. Each line is one write of a few bytes
to a file opened for appending, so lines of several processes never mix.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

PATH = os.environ.get("BENCH_JOURNAL", os.devnull)
WHO = os.environ.get("BENCH_WHO", "-")

_fd = os.open(PATH, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
_tail = f" {WHO}\n"


def mark(kind: str, key: int) -> None:
    """Write one line."""
    os.write(_fd, f"{kind} {key} {time.time_ns()}{_tail}".encode())


def let_go(key: int) -> bool:
    """Whether the function that holds `key` has been told to return."""
    return Path(f"{PATH}.{key}").exists()
