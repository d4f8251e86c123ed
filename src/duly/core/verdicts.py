"""Verdicts of occurrences, in ranges.

Every occurrence that was due ends with a verdict, kept for ever. A schedule that fires every
second for a year would fill tables with rows that say the same; so neighbours with the same
verdict, reason, person and revision are one range, with a count. Ranges of one schedule never
overlap.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import msgspec

UNCOUNTED = -1


class Verdict(StrEnum):
    """What became of an occurrence."""

    FIRED = "fired"
    SKIPPED = "skipped"  # a policy said so
    MISSED = "missed"  # nobody was there in time, and the policy lets it go
    BLOCKED = "blocked"  # paused, tripped or disabled at its time


class VerdictRange(msgspec.Struct, frozen=True, kw_only=True):
    """`count` occurrences from `first` to `last`, both nominal instants, both included.

    A count of `UNCOUNTED` says that the stretch was too long to count.
    """

    first: datetime
    last: datetime
    count: int
    verdict: Verdict
    reason: str = ""
    by: str = "clock"
    revision: int = 1

    def says_the_same(self, other: VerdictRange) -> bool:
        """Whether the two differ in their instants only."""
        return (self.verdict, self.reason, self.by, self.revision) == (
            other.verdict,
            other.reason,
            other.by,
            other.revision,
        )


def extend(
    open_range: VerdictRange | None, more: VerdictRange
) -> tuple[VerdictRange | None, VerdictRange]:
    """Put `more` behind `open_range`: return the range that closed, if any, and the open one.

    `more` must lie after `open_range`.
    """
    if open_range is None:
        return None, more
    if not open_range.says_the_same(more):
        return open_range, more
    uncounted = UNCOUNTED in (open_range.count, more.count)
    count = UNCOUNTED if uncounted else open_range.count + more.count
    return None, msgspec.structs.replace(open_range, last=more.last, count=count)
