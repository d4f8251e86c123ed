"""Why an occurrence ran or did not: its verdict, its runs, and what stood in its way.

The verdict on record decides; where there is none, the schedule and the present say whether it
waits, is blocked, is overdue, or never was due.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from duly.core.runs import Origin, RunView
from duly.core.schedules import Backlog, ScheduleRow
from duly.core.spoken import distance_text, instant_text, length_text
from duly.core.states import ScheduleState
from duly.core.triggers import Cron, trigger_from_spec
from duly.core.verdicts import Verdict, VerdictRange
from duly.core.why.causes import Cause
from duly.core.why.evidence import HASTE, SHOWN, Explanation, Fleet, Standing, explanation
from duly.core.why.runs import explain_run
from duly.core.why.schedules import schedule_standing, told_backlog, told_range


class OccurrenceEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """What is on record about one nominal instant of a schedule.

    `is_due` says whether the present definition has an occurrence there, `passed_over` whether
    the clocks passed over the time that was asked for; `runs` are the runs of it, `stand_in` the
    one run of the stretch that it belongs to, `blocker` the run that a verdict names, `backlog`
    the stretch it waits in.
    """

    row: ScheduleRow
    due: datetime
    is_due: bool
    passed_over: bool = False
    range: VerdictRange | None = None
    backlog: Backlog | None = None
    runs: tuple[RunView, ...] = ()
    stand_in: RunView | None = None
    blocker: RunView | None = None


def explain_occurrence(evidence: OccurrenceEvidence, fleet: Fleet) -> Explanation:
    """Say what became of one nominal instant of a schedule, or what will."""
    standing = _occurrence(evidence, fleet)
    story, also, helps = [], [], list(standing.helps)
    turned, turn = _turned(evidence)
    for run in evidence.runs[:SHOWN]:
        told = explain_run(run, fleet)
        story.append(f"run {run.id}: {told.headline}")
        also.append(told.cause)
        helps.append(f"duly why {run.id}")
    row = evidence.row
    return explanation(
        f"{row.name} of {instant_text(evidence.due, fleet.zone)}",
        msgspec.structs.replace(
            standing,
            causes=[*turned, *standing.causes, *story],
            helps=helps,
            also=(*turn, *standing.also, *also),
        ),
        see=(*(str(run.id) for run in evidence.runs[:SHOWN]), row.name),
    )


def _turned(evidence: OccurrenceEvidence) -> tuple[list[str], list[Cause]]:
    """Say what the clocks do at this occurrence, where they turn."""
    trigger = trigger_from_spec(evidence.row.definition.trigger)
    if not evidence.is_due or not isinstance(trigger, Cron):
        return [], []
    flag = trigger.flag(evidence.due)
    if not flag:
        return [], []
    cause = Cause.MOVED_BY_GAP if "gap" in flag else Cause.REPEATED_HOUR
    return [f"the clocks of {trigger.tz} turn there: {flag}"], [cause]


def _occurrence(evidence: OccurrenceEvidence, fleet: Fleet) -> Standing:
    row, due = evidence.row, evidence.due
    if not evidence.is_due and not evidence.runs:
        return _no_occurrence(evidence, fleet)
    if evidence.range is not None:
        return _judged(evidence, evidence.range, fleet)
    if evidence.backlog is not None:
        told = told_backlog(evidence.backlog, fleet)
        headline = f"missed at its time, and waits in the backlog to be caught up: {told}"
        absent, cause = _absent(due, fleet)
        return Standing(Cause.IN_BACKLOG, headline, absent, also=cause)
    if evidence.runs:
        return Standing(Cause.BY_HAND, "run by hand or by a backfill")
    if row.created_at is not None and due <= row.created_at:
        created = fleet.at(row.created_at)
        return Standing(
            Cause.BEFORE_DECLARED,
            f"never due: the schedule was first declared at {created}, after it",
            helps=[f"duly schedules backfill {row.name}"],
        )
    if due <= row.fired_through:
        headline = "no verdict is on record: another definition was in force then"
        return Standing(Cause.OTHER_DEFINITION, headline)
    return _to_come(evidence, fleet)


def _no_occurrence(evidence: OccurrenceEvidence, fleet: Fleet) -> Standing:
    trigger = trigger_from_spec(evidence.row.definition.trigger)
    around = [trigger.previous_at_or_before(evidence.due), trigger.next_after(evidence.due)]
    near = " and ".join(instant_text(one, fleet.zone) for one in around if one is not None)
    causes = [f"its occurrences around it: {near}"] if near else []
    also: tuple[Cause, ...] = ()
    if evidence.range is not None and evidence.range.revision != evidence.row.revision:
        causes.append(f"then revision {evidence.range.revision} held; now {evidence.row.revision}")
        also = (Cause.OTHER_DEFINITION,)
    causes.append(trigger.describe())
    if evidence.passed_over:
        headline = (
            "not an occurrence: the clocks passed over that time, up to"
            f" {instant_text(evidence.due, fleet.zone)}, and nothing is made up for it"
        )
        return Standing(Cause.LOST_IN_GAP, headline, causes, also=also)
    headline = "not an occurrence: the schedule is not due at that instant"
    return Standing(Cause.NOT_AN_OCCURRENCE, headline, causes, also=also)


_MISSED = {
    "catch_up is skip": Cause.MISSED_POLICY,
    "catch_up is latest": Cause.MISSED_FOR_LATEST,
    "older than max_age": Cause.MISSED_TOO_OLD,
    "beyond max_count": Cause.MISSED_TOO_MANY,
}

_BLOCKED = {
    ScheduleState.PAUSED: Cause.BLOCKED_PAUSED,
    ScheduleState.TRIPPED: Cause.BLOCKED_TRIPPED,
    ScheduleState.DISABLED: Cause.BLOCKED_DISABLED,
    ScheduleState.ORPHANED: Cause.BLOCKED_ORPHANED,
    ScheduleState.RETIRED: Cause.BLOCKED_RETIRED,
}


def _judged(evidence: OccurrenceEvidence, found: VerdictRange, fleet: Fleet) -> Standing:
    name = evidence.row.name
    backfill = [f"duly schedules backfill {name}"]
    match found.verdict:
        case Verdict.FIRED:
            return _fired(evidence, found, fleet)
        case Verdict.SKIPPED:
            return _skipped(evidence, found, fleet)
        case Verdict.MISSED:
            absent, nobody = _absent(evidence.due, fleet)
            who = "nobody was there at" if absent else "nobody fired it at"
            headline = f"missed: {who} its time, and {found.reason}"
            return Standing(
                _MISSED.get(found.reason, Cause.MISSED_POLICY),
                headline,
                [*absent, _stretch(found, fleet)],
                [*backfill, "catch_up='all' runs what was missed"],
                nobody,
            )
        case Verdict.BLOCKED:
            headline = f"blocked: {found.reason}, by {found.by}"
            word = found.reason.partition(":")[0]
            blocked = {state.value: cause for state, cause in _BLOCKED.items()}
            cause = blocked.get(word, Cause.BLOCKED)
            return Standing(cause, headline, [_stretch(found, fleet)], backfill, see=(name,))


def _fired(evidence: OccurrenceEvidence, found: VerdictRange, fleet: Fleet) -> Standing:
    """Say that it ran: at its time, late, or with others of a stretch that was missed."""
    why = f": {found.reason}" if found.reason else ""
    first = next((run for run in evidence.runs if run.origin in _CLOCKS), None)
    if evidence.stand_in is not None:
        run = evidence.stand_in
        one = f"the run {run.id} stands for it too, and for all up to" + (
            "" if run.due is None else f" {instant_text(run.due, fleet.zone)}"
        )
        return Standing(Cause.COALESCED, f"fired{why}", [one], see=(str(run.id),))
    pruned = [] if evidence.runs else ["its run ended, and its history was pruned"]
    gone = () if evidence.runs else (Cause.HISTORY_PRUNED,)
    if found.reason:
        return Standing(Cause.CAUGHT_UP, f"fired{why}", pruned, also=gone)
    if first is None or first.origin is not Origin.CATCH_UP:
        return Standing(Cause.FIRED, "fired", pruned, also=gone)
    absent, nobody = _absent(evidence.due, fleet)
    late = length_text(first.enqueued_at - evidence.due)
    at = first.enqueued_at
    return Standing(Cause.FIRED_LATE, f"fired, {late} late", absent, also=nobody, since=at)


_CLOCKS = (Origin.CLOCK, Origin.CATCH_UP)


def _absent(due: datetime, fleet: Fleet) -> tuple[list[str], tuple[Cause, ...]]:
    """Say that nobody was there at an instant, and who came first after it; or nothing."""
    if fleet.there_at(due):
        return [], ()
    told = "no instance that is on record was there at its time"
    later = [(one.started_at, one) for one in fleet.instances if one.started_at is not None]
    first = min((it for it in later if it[0] > due), key=lambda it: it[0], default=None)
    if first is not None:
        told += f"; the first after it was {first[1].name}, from {fleet.at(first[0])}"
    return [told], (Cause.NO_WORKER,)


def _skipped(evidence: OccurrenceEvidence, found: VerdictRange, fleet: Fleet) -> Standing:
    cause = Cause.SKIPPED_QUEUED if "queued" in found.reason else Cause.SKIPPED_RUNNING
    see = () if evidence.blocker is None else (str(evidence.blocker.id),)
    return Standing(cause, f"skipped: {_skip_reason(evidence, found, fleet)}", see=see)


def _stretch(found: VerdictRange, fleet: Fleet) -> str:
    if found.count == 1:
        return "it alone, neither the one before nor the one after"
    return f"one of those that were {told_range(found, fleet)}"


def _skip_reason(evidence: OccurrenceEvidence, found: VerdictRange, fleet: Fleet) -> str:
    blocker, overlap = evidence.blocker, evidence.row.definition.overlap.value
    if blocker is None or blocker.started_at is None:
        return found.reason
    started = instant_text(blocker.started_at, fleet.zone)
    where = f"was still running since {started} on {fleet.who(blocker.boot)}"
    ended = "" if blocker.ended_at is None else f" (it ended at {fleet.at(blocker.ended_at)})"
    return f"run {blocker.id} {where}{ended}, overlap={overlap}"


def _to_come(evidence: OccurrenceEvidence, fleet: Fleet) -> Standing:
    row, due = evidence.row, evidence.due
    if row.state is not ScheduleState.ACTIVE:
        standing = schedule_standing(row, fleet)
        verb = "will be" if due > fleet.now else "is"
        headline = f"{verb} blocked: the schedule is {standing.headline}"
        return msgspec.structs.replace(
            standing, cause=_BLOCKED[row.state], headline=headline, causes=[], also=()
        )
    if due > fleet.now:
        headline = f"not due yet: it comes {distance_text(due, fleet.now)}"
        return Standing(Cause.NOT_YET_DUE, headline)
    fired = row.next_fire is not None and row.next_fire > fleet.now
    if fired or (fleet.trusted and fleet.now - due < HASTE):
        return Standing(Cause.ABOUT_TO_START, "due now: it is about to fire")
    return Standing(
        fleet.absence(),
        f"overdue: {fleet.nobody()}",
        helps=[*fleet.helps(), "duly doctor"],
        also=(Cause.OVERDUE,),
        since=due,
    )
