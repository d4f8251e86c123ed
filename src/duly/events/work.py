"""What happens to runs, attempts and schedules.

Names are the verbs of `core/states.py` in the past tense; `RUN_EVENTS` and `SCHEDULE_EVENTS` say
which event tells of which verb, and a test holds them complete. Events that may occur tens of
thousands of times a second are of level debug. None carries arguments or results.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from duly.core.runs import Reuse
from duly.core.schedules import Declared
from duly.core.states import RunState, RunVerb, ScheduleVerb
from duly.events.base import Event, Level, event

# --- runs -----------------------------------------------------------------------------------


@event("run.enqueued", Level.DEBUG)
class RunEnqueued(Event, frozen=True, kw_only=True, gc=False):
    """A run was asked for, and the store acknowledged it."""

    run: UUID
    task: str
    queue: str
    reuse: Reuse = Reuse.NEW


@event("run.promoted", Level.DEBUG)
class RunPromoted(Event, frozen=True, kw_only=True, gc=False):
    """Runs whose time had come became ready; one event for all of one turn."""

    count: int


@event("run.claimed", Level.DEBUG)
class RunClaimed(Event, frozen=True, kw_only=True, gc=False):
    """This instance took a run."""

    run: UUID
    task: str
    queue: str
    epoch: int


@event("attempt.started", Level.DEBUG)
class AttemptStarted(Event, frozen=True, kw_only=True, gc=False):
    """The task's own code began to run."""

    run: UUID
    task: str
    epoch: int
    schedule: str | None = None
    due: datetime | None = None
    late_s: float | None = None


@event("attempt.timed_out", Level.WARNING)
class AttemptTimedOut(Event, frozen=True, kw_only=True, gc=False):
    """An attempt was stopped because it took longer than its task allows."""

    run: UUID
    task: str
    epoch: int
    timeout_s: float


@event("run.completed", Level.DEBUG)
class RunCompleted(Event, frozen=True, kw_only=True, gc=False):
    """A run succeeded, and the store has its result."""

    run: UUID
    task: str
    epoch: int
    took_s: float


@event("run.retried", Level.WARNING)
class RunRetried(Event, frozen=True, kw_only=True, gc=False):
    """An attempt failed, and the run will be tried again."""

    run: UUID
    task: str
    epoch: int
    took_s: float
    failures: int
    delay_s: float
    error: str


@event("run.failed", Level.ERROR)
class RunFailed(Event, frozen=True, kw_only=True, gc=False):
    """A run failed for good."""

    run: UUID
    task: str
    epoch: int
    took_s: float
    failures: int
    error: str


@event("run.released", Level.INFO)
class RunReleased(Event, frozen=True, kw_only=True, gc=False):
    """A run was handed back by its living holder; this costs no retry."""

    run: UUID
    task: str
    epoch: int
    reason: str


@event("run.taken_over", Level.WARNING)
class RunTakenOver(Event, frozen=True, kw_only=True, gc=False):
    """A run was taken from a dead holder; this costs no retry."""

    run: UUID
    boot: UUID
    after: RunState


@event("run.waited", Level.DEBUG)
class RunWaited(Event, frozen=True, kw_only=True, gc=False):
    """A run gave up its slot to wait."""

    run: UUID
    task: str
    epoch: int
    reason: str
    delay_s: float | None = None


@event("run.parked", Level.WARNING)
class RunParked(Event, frozen=True, kw_only=True, gc=False):
    """A run stands until a person or evidence moves it."""

    run: UUID
    reason: str
    task: str | None = None


@event("run.unparked", Level.INFO)
class RunUnparked(Event, frozen=True, kw_only=True, gc=False):
    """A parked run may go on."""

    run: UUID
    by: str


@event("run.cancel_requested", Level.INFO)
class RunCancelRequested(Event, frozen=True, kw_only=True, gc=False):
    """The holder of a run was asked to stop it."""

    run: UUID
    by: str
    reason: str


@event("run.cancelled", Level.INFO)
class RunCancelled(Event, frozen=True, kw_only=True, gc=False):
    """A run ended as cancelled."""

    run: UUID
    reason: str
    task: str | None = None
    by: str | None = None


@event("run.revived", Level.INFO)
class RunRevived(Event, frozen=True, kw_only=True, gc=False):
    """A failed run is run again, with a new retry budget."""

    run: UUID
    by: str


@event("run.skipped", Level.INFO)
class RunSkipped(Event, frozen=True, kw_only=True, gc=False):
    """A run that had not started was dropped by a policy."""

    run: UUID
    reason: str


@event("run.expired", Level.WARNING)
class RunExpired(Event, frozen=True, kw_only=True, gc=False):
    """Runs that had not started by their deadline ended; one event for all of one turn."""

    count: int


@event("run.stale", Level.WARNING)
class RunStale(Event, frozen=True, kw_only=True, gc=False):
    """A write was refused by the fence: the run was no longer in these hands."""

    run: UUID
    epoch: int
    verb: RunVerb
    task: str | None = None


@event("run.lost", Level.WARNING)
class RunLost(Event, frozen=True, kw_only=True, gc=False):
    """A run is no longer in this instance's hands; its attempt here is being stopped."""

    run: UUID
    epoch: int
    reason: str
    task: str | None = None


@event("claim.unanswered", Level.WARNING)
class ClaimUnanswered(Event, frozen=True, kw_only=True, gc=False):
    """The answer to a claim was lost; what it took was released at the next renewal."""

    boot: UUID
    count: int


# --- schedules ------------------------------------------------------------------------------


@event("schedule.fired", Level.INFO)
class ScheduleFired(Event, frozen=True, kw_only=True, gc=False):
    """An occurrence was fired: its run is in the store."""

    schedule: str
    due: datetime
    run: UUID


@event("schedule.declared", Level.INFO)
class ScheduleDeclared(Event, frozen=True, kw_only=True, gc=False):
    """Code declared a schedule at its start; `outcome` says what that came to."""

    schedule: str
    outcome: Declared


class ScheduleMoved(Event, frozen=True, kw_only=True, gc=False):
    """What every event about a moved schedule tells."""

    schedule: str
    by: str
    reason: str = ""


@event("schedule.edited", Level.INFO)
class ScheduleEdited(ScheduleMoved, frozen=True, kw_only=True, gc=False):
    """A person replaced the definition; it wins over code until it is given back."""


@event("schedule.given_back", Level.INFO)
class ScheduleGivenBack(ScheduleMoved, frozen=True, kw_only=True, gc=False):
    """A person's edit ended: the next declaration by code holds again."""


@event("schedule.paused", Level.INFO)
class SchedulePaused(ScheduleMoved, frozen=True, kw_only=True, gc=False):
    """A person stopped it firing for now."""


@event("schedule.resumed", Level.INFO)
class ScheduleResumed(ScheduleMoved, frozen=True, kw_only=True, gc=False):
    """A paused schedule fires again."""


@event("schedule.tripped", Level.WARNING)
class ScheduleTripped(ScheduleMoved, frozen=True, kw_only=True, gc=False):
    """Its breaker opened."""


@event("schedule.reset", Level.INFO)
class ScheduleReset(ScheduleMoved, frozen=True, kw_only=True, gc=False):
    """Its breaker closed, and it fires again."""


@event("schedule.disabled", Level.INFO)
class ScheduleDisabled(ScheduleMoved, frozen=True, kw_only=True, gc=False):
    """Its owner's lifecycle stopped it."""


@event("schedule.enabled", Level.INFO)
class ScheduleEnabled(ScheduleMoved, frozen=True, kw_only=True, gc=False):
    """Its owner's lifecycle lets it fire again."""


@event("schedule.orphaned", Level.WARNING)
class ScheduleOrphaned(ScheduleMoved, frozen=True, kw_only=True, gc=False):
    """No live or recent instance declares it any more: retired by itself."""


@event("schedule.adopted", Level.INFO)
class ScheduleAdopted(ScheduleMoved, frozen=True, kw_only=True, gc=False):
    """An instance declares an orphaned schedule again: revived by itself."""


@event("schedule.retired", Level.INFO)
class ScheduleRetired(ScheduleMoved, frozen=True, kw_only=True, gc=False):
    """A person or an uninstall ended it; it stays so until someone revives it."""


@event("schedule.revived", Level.INFO)
class ScheduleRevived(ScheduleMoved, frozen=True, kw_only=True, gc=False):
    """A retired schedule fires again."""


# --- what the verbs say ---------------------------------------------------------------------

RUN_EVENTS: Mapping[RunVerb, type[Event]] = {
    RunVerb.PROMOTE: RunPromoted,
    RunVerb.CLAIM: RunClaimed,
    RunVerb.COMPLETE: RunCompleted,
    RunVerb.RETRY: RunRetried,
    RunVerb.FAIL: RunFailed,
    RunVerb.RELEASE: RunReleased,
    RunVerb.TAKE_OVER: RunTakenOver,
    RunVerb.WAIT: RunWaited,
    RunVerb.PARK: RunParked,
    RunVerb.UNPARK: RunUnparked,
    RunVerb.CANCEL: RunCancelled,
    RunVerb.REVIVE: RunRevived,
    RunVerb.SKIP: RunSkipped,
    RunVerb.EXPIRE: RunExpired,
}
"""What is told when a run was moved."""

SCHEDULE_EVENTS: Mapping[ScheduleVerb, type[ScheduleMoved]] = {
    ScheduleVerb.PAUSE: SchedulePaused,
    ScheduleVerb.RESUME: ScheduleResumed,
    ScheduleVerb.TRIP: ScheduleTripped,
    ScheduleVerb.RESET: ScheduleReset,
    ScheduleVerb.DISABLE: ScheduleDisabled,
    ScheduleVerb.ENABLE: ScheduleEnabled,
    ScheduleVerb.ORPHAN: ScheduleOrphaned,
    ScheduleVerb.ADOPT: ScheduleAdopted,
    ScheduleVerb.RETIRE: ScheduleRetired,
    ScheduleVerb.REVIVE: ScheduleRevived,
}
"""What is told when a schedule was moved."""
