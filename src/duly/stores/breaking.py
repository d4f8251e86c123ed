"""The part of the store's protocol about breakers: the fleet's shared state of its targets.

What `base.py` says of all verbs holds here too: one transaction each, sending twice equals sending
once, decisions by the core (`core.tripping`). A breaker without a row is closed, and nothing is
counted against it. Whoever calls keeps a copy of what was answered, so that a call that passes
costs no statement; a hint (`Signal.BREAKER`, with the name) says when the copy is out of date.

The waiting of runs: a run that waits for a breaker has the reason `breaker:<name>`. When that
breaker closes, or may be probed ahead of its time, such runs are due at once, in the same commit;
`sweep` is the net under one that began to wait a moment too late.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

from duly.core.breakers import Ask, BreakerFilter, BreakerLine, BreakerRow, Heard, Permit, Report
from duly.core.runs import Answer
from duly.core.states import BreakerVerb


class Breaking(Protocol):
    """What a store knows of targets."""

    async def breaker_calls(
        self, boot: UUID, asks: Sequence[Ask], *, now: datetime | None = None
    ) -> list[Permit]:
        """Say for each ask whether its call may pass; one at a time becomes the probe.

        Nothing is written, and nothing locked, unless a probe is due. The same ask again, while
        its probe's deadline lasts: the same answer.
        """
        ...

    async def breaker_tell(
        self, boot: UUID, telling: UUID, reports: Sequence[Report], *, now: datetime | None = None
    ) -> Heard:
        """Count what came of calls, in their order. An opening opens an incident in that commit.

        A boot has one telling under way at a time. The same `telling` again: the rows as they are,
        with nothing counted and no change named.
        """
        ...

    async def breaker_move(
        self, name: str, verb: BreakerVerb, *, by: str, why: str, now: datetime | None = None
    ) -> Answer:
        """Force a breaker open or closed, resume it, or let the next call probe.

        `already` when it stands so, `unknown` when nothing is known of it (force it, and it is),
        `impossible` for a probe of a closed one. Who and why are kept.
        """
        ...

    async def breaker(self, name: str) -> BreakerRow | None:
        """Return what is known of a target, or None."""
        ...

    async def breakers(self, where: BreakerFilter) -> list[BreakerRow]:
        """Return what is known of targets, by name."""
        ...

    async def breaker_lines(self, name: str, limit: int = 50) -> list[BreakerLine]:
        """Return the latest changes of a breaker, newest first."""
        ...
