"""What the system tells of processes: their children, processor time and memory.

Read from /proc, of a process and everything below it: a product whose worker is several processes
is measured whole. Where there is no /proc, figures are nought, and no line fails for that.
"""

from __future__ import annotations

import os
from pathlib import Path


def family(root: int) -> list[int]:
    """Return a process and all its living descendants."""
    found, left = [], [root]
    while left:
        pid = left.pop()
        found.append(pid)
        for thread in Path(f"/proc/{pid}/task").glob("*/children"):
            try:
                left.extend(map(int, thread.read_text("ascii").split()))
            except OSError:  # it ended meanwhile
                continue
    return found


def cpu_s(root: int) -> float:
    """Processor time of a process and its descendants, the dead that were waited for included."""
    ticks = 0
    for pid in family(root):
        try:
            fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
        except OSError:
            continue
        ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def memory_mb(root: int) -> tuple[float, float]:
    """Resident and proportional memory in MB, of a process and its descendants."""
    rss = pss = 0
    for pid in family(root):
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text("ascii")
        except OSError:
            continue
        found = dict(line.split()[:2] for line in text.splitlines()[1:] if ":" in line)
        rss, pss = rss + int(found["Rss:"]), pss + int(found["Pss:"])
    return rss / 1024, pss / 1024
