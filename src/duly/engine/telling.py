"""What the engine says of its work, as events.

One place turns holdings, endings and answers into events, so that the loops stay about their
protocols. Events that nobody wants are never built.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from uuid import UUID

from duly import events
from duly.core.clock import Clock
from duly.core.fleet import Proof, Renewal, TakenOver
from duly.core.runs import Answer, Ending
from duly.core.states import RunState, RunVerb
from duly.engine.hands import Holding
from duly.events import Bus
from duly.stores.base import Fired

_log = logging.getLogger("duly.engine")


class Telling:
    """Emits the engine's events; also hears how the supervised loops fare."""

    def __init__(self, bus: Bus, clock: Clock) -> None:
        self._bus, self._clock = bus, clock
        self._away_since: float | None = None
        self._started: dict[UUID, float] = {}
        self.came_back: Callable[[float], None] = lambda away_s: None

    # --- runs -----------------------------------------------------------------------------

    def claimed(self, holdings: Sequence[Holding]) -> None:
        """Runs came into the hands."""
        if not self._bus.wants(events.RunClaimed):
            return
        for one in (holding.claimed for holding in holdings):
            self._bus.emit(
                events.RunClaimed(run=one.id, task=one.task, queue=one.queue, epoch=one.epoch)
            )

    def started(self, holding: Holding) -> None:
        """User code begins."""
        one = holding.claimed
        if self._timed:
            self._started[one.id] = self._clock.monotonic()
        if self._bus.wants(events.AttemptStarted):
            late = None if one.due is None else (self._clock.now() - one.due).total_seconds()
            self._bus.emit(
                events.AttemptStarted(
                    run=one.id,
                    task=one.task,
                    epoch=one.epoch,
                    schedule=one.schedule,
                    due=one.due,
                    late_s=late,
                )
            )

    @property
    def _timed(self) -> bool:
        return self._bus.wants(events.RunCompleted) or self._bus.wants(events.RunFailed)

    def settled(self, holding: Holding, ending: Ending, answer: Answer) -> None:
        """The store answered an ending."""
        one = holding.claimed
        since = self._started.pop(one.id, None) if self._started else None
        if answer is Answer.STALE:
            self._bus.emit(
                events.RunStale(run=one.id, epoch=one.epoch, verb=ending.verb, task=one.task)
            )
            return
        if self._bus.wants(events.RUN_EVENTS[ending.verb]):
            took = 0.0 if since is None else self._clock.monotonic() - since
            self._bus.emit(_ending_event(holding, ending, took))

    def lost(self, holding: Holding, why: str) -> None:
        """A run was taken out of the hands."""
        one = holding.claimed
        self._started.pop(one.id, None)
        self._bus.emit(events.RunLost(run=one.id, epoch=one.epoch, reason=why, task=one.task))

    def renewed(self, boot: UUID, renewal: Renewal) -> None:
        """A renewal was answered."""
        if renewal.released:
            self._bus.emit(events.ClaimUnanswered(boot=boot, count=renewal.released))

    def taken_over(self, taken: TakenOver, proof: Proof) -> None:
        """This instance declared another dead."""
        if not taken.buried:
            return
        self._bus.emit(events.InstanceDeclaredDead(boot=taken.boot, proof=proof, taken=taken.taken))
        ends = (
            (RunState.READY, taken.ready),
            (RunState.PARKED, taken.parked),
            (RunState.CANCELLED, taken.cancelled),
        )
        for after, runs in ends:
            for run in runs:
                self._bus.emit(events.RunTakenOver(run=run, boot=taken.boot, after=after))

    def fired(self, fired: Fired) -> None:
        """Schedules fired."""
        if fired.fired and self._bus.wants(events.ScheduleFired):
            for schedule, due, run in fired.fired:
                self._bus.emit(events.ScheduleFired(schedule=schedule, due=due, run=run))

    # --- loops ----------------------------------------------------------------------------

    def failed(self, loop: str, error: BaseException, in_a_row: int) -> None:
        """A turn of a loop failed by our own fault."""
        _log.error("loop %s failed (%d in a row)", loop, in_a_row, exc_info=error)
        text = f"{type(error).__name__}: {error}"
        self._bus.emit(events.LoopFailed(loop=loop, failures=in_a_row, error=text))

    def away(self, loop: str, error: BaseException) -> None:
        """The store did not answer a loop."""
        if self._away_since is None:
            self._away_since = self._clock.monotonic()
            self._bus.emit(events.StoreAway(reason=str(error)))

    def back(self, loop: str) -> None:
        """A loop that had no store has one again."""
        if self._away_since is not None:
            away = self._clock.monotonic() - self._away_since
            self._away_since = None
            self._bus.emit(events.StoreBack(away_s=away))
            self.came_back(away)

    def missed(self, loop: str, deadline_s: float, stack: str) -> None:
        """A turn of a loop takes longer than it may."""
        _log.error(
            "loop %s shows no sign of life for %g s; it stands at\n%s", loop, deadline_s, stack
        )
        self._bus.emit(events.LoopMissedDeadline(loop=loop, deadline_s=deadline_s))

    def lingered(self, loop: str, stack: str) -> None:
        """A loop did not end at a stop."""
        _log.error("loop %s did not end when it was stopped; it stands at\n%s", loop, stack)
        self._bus.emit(events.LoopLingered(loop=loop))

    def gave_up(self, loop: str, failures: int) -> None:
        """A loop failed too often in a row."""
        self._bus.emit(events.LoopGaveUp(loop=loop, failures=failures))

    def emit(self, event: events.Event) -> None:
        """Emit any other event."""
        self._bus.emit(event)


def _ending_event(holding: Holding, ending: Ending, took: float) -> events.Event:
    one, why = holding.claimed, ending.reason or ""
    if ending.verb is RunVerb.COMPLETE:
        return events.RunCompleted(run=one.id, task=one.task, epoch=one.epoch, took_s=took)
    if ending.verb is RunVerb.RETRY:
        return events.RunRetried(
            run=one.id,
            task=one.task,
            epoch=one.epoch,
            took_s=took,
            failures=one.failures + 1,
            delay_s=(ending.delay_us or 0) / 1e6,
            error=ending.error or "",
        )
    if ending.verb is RunVerb.FAIL:
        return events.RunFailed(
            run=one.id,
            task=one.task,
            epoch=one.epoch,
            took_s=took,
            failures=one.failures + 1,
            error=ending.error or "",
        )
    if ending.verb is RunVerb.CANCEL:
        return events.RunCancelled(run=one.id, reason=why, task=one.task)
    if ending.verb is RunVerb.RELEASE:
        return events.RunReleased(run=one.id, task=one.task, epoch=one.epoch, reason=why)
    if ending.verb is RunVerb.PARK:
        return events.RunParked(run=one.id, reason=why, task=one.task)
    return events.RunWaited(run=one.id, task=one.task, epoch=one.epoch, reason=why)
