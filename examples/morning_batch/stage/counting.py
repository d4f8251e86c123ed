"""Counting what the next service wrote down: different rows, ids, copies, and their order."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path
from typing import NamedTuple


class Received(NamedTuple):
    """What the next service got of one day."""

    rows: int  # different rows
    ids: int  # different message ids
    copies: int  # deliveries beyond the first of their id
    doubled: int  # rows that came under two ids: published twice
    disorder: int  # first copies that came after a later row of their product


def received(journal: Path, day: str) -> Received:
    """Count what the journal of a consumer holds of a day; its last line may be half written."""
    seen: set[str] = set()
    per_row: Counter[int] = Counter()
    latest: defaultdict[str, int] = defaultdict(lambda: -1)
    copies = disorder = 0
    for message, row, product in lines(journal, day):
        if message in seen:
            copies += 1
            continue
        seen.add(message)
        if not per_row[row]:
            disorder += row < latest[product]
            latest[product] = max(latest[product], row)
        per_row[row] += 1
    doubled = sum(count > 1 for count in per_row.values())
    return Received(len(per_row), len(seen), copies, doubled, disorder)


def lines(journal: Path, day: str) -> list[tuple[str, int, str]]:
    """Return (message id, row, product) of a day, in the order in which they came."""
    found: list[tuple[str, int, str]] = []
    for line in journal.read_text("utf-8").splitlines(keepends=True):
        fields = line.strip().split(",")
        if line.endswith("\n") and fields[1] == day:
            found.append((fields[0], int(fields[2]), fields[3]))
    return found
