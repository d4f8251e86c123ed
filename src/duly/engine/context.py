"""What a running task is told, and what it may ask: the `Context`.

A context belongs to one attempt. Its facts never change while the attempt runs. It may be used
from the task's coroutine or its thread; `check` is how a thread learns that it should stop.
"""

from __future__ import annotations

from datetime import datetime, tzinfo
from typing import Any, NamedTuple
from uuid import UUID

from duly.core.runs import Origin
from duly.engine.hands import Holding
from duly.errors import WorkCancelled


class Window(NamedTuple):
    """The stretch a run answers for: `start` is included, `end` is not. Both in the zone.

    Consecutive windows of a schedule neither overlap nor leave a gap, whatever was edited.
    """

    start: datetime
    end: datetime

    def __contains__(self, instant: object) -> bool:
        return isinstance(instant, datetime) and self.start <= instant < self.end


class Context:
    """One attempt, as its task sees it."""

    __slots__ = ("_holding", "_zone", "resources")

    def __init__(self, holding: Holding, zone: tzinfo, resources: Any = None) -> None:
        self._holding, self._zone = holding, zone
        self.resources = resources  # what the worker's lifespan yielded

    def __repr__(self) -> str:
        return f"<Context {self.task} run={self.run_id} attempt={self.attempt}>"

    @property
    def run_id(self) -> UUID:
        """The run's id: the same for every attempt, for ever."""
        return self._holding.claimed.id

    @property
    def attempt(self) -> int:
        """Which attempt this is, from 1; it also fences this attempt's writes."""
        return self._holding.claimed.epoch

    @property
    def failures(self) -> int:
        """How many attempts of this run failed before."""
        return self._holding.claimed.failures

    @property
    def task(self) -> str:
        """The task's name."""
        return self._holding.claimed.task

    @property
    def origin(self) -> Origin:
        """Who asked for the run: the clock, a person, a backfill, a call."""
        return self._holding.claimed.origin

    @property
    def schedule(self) -> str | None:
        """The schedule's name; None for a run that belongs to no schedule."""
        return self._holding.claimed.schedule

    @property
    def due(self) -> datetime | None:
        """The occurrence this run is for, in the schedule's zone; not when it really started."""
        due = self._holding.claimed.due
        return None if due is None else due.astimezone(self._zone)

    @property
    def window(self) -> Window | None:
        """From the previous occurrence to this one; None when there is no previous one."""
        claimed = self._holding.claimed
        if claimed.due is None or claimed.window_start is None:
            return None
        return Window(
            claimed.window_start.astimezone(self._zone), claimed.due.astimezone(self._zone)
        )

    @property
    def stopping(self) -> str | None:
        """Why this work should stop, or None; a long loop in a thread may look at it."""
        return self._holding.cancel

    def check(self) -> None:
        """Raise `WorkCancelled` if this work should stop; for threads, which nothing interrupts."""
        if self._holding.cancel is not None:
            raise WorkCancelled(self._holding.cancel)
