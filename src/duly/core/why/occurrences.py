"""Why an occurrence ran or did not: its verdict, its runs, and what stood in its way.

The verdict on record decides; where there is none, the schedule and the present say whether it
waits, is blocked, is overdue, or never was due.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from duly.core.runs import RunView
from duly.core.schedules import Backlog, ScheduleRow
from duly.core.spoken import distance_text, instant_text
from duly.core.states import ScheduleState
from duly.core.triggers import trigger_from_spec
from duly.core.verdicts import Verdict, VerdictRange
from duly.core.why.evidence import HASTE, SHOWN, Explanation, Fleet
from duly.core.why.runs import explain_run
from duly.core.why.schedules import schedule_standing, told_backlog, told_range

_Standing = tuple[str, list[str], list[str]]


class OccurrenceEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """What is on record about one nominal instant of a schedule.

    `is_due` says whether the present definition has an occurrence there; `runs` are the runs of
    it, `blocker` the run that a verdict names, `backlog` the stretch it waits in.
    """

    row: ScheduleRow
    due: datetime
    is_due: bool
    range: VerdictRange | None = None
    backlog: Backlog | None = None
    runs: tuple[RunView, ...] = ()
    blocker: RunView | None = None


def explain_occurrence(evidence: OccurrenceEvidence, fleet: Fleet) -> Explanation:
    """Say what became of one nominal instant of a schedule, or what will."""
    headline, causes, helps = _occurrence(evidence, fleet)
    for run in evidence.runs[:SHOWN]:
        told = explain_run(run, fleet)
        causes.append(f"run {run.id}: {told.headline}")
        helps = [*helps, f"duly why {run.id}"]
    row = evidence.row
    return Explanation(
        subject=f"{row.name} of {instant_text(evidence.due, fleet.zone)}",
        headline=headline,
        causes=tuple(causes),
        helps=tuple(helps),
    )


def _occurrence(evidence: OccurrenceEvidence, fleet: Fleet) -> _Standing:
    row, due = evidence.row, evidence.due
    if not evidence.is_due and not evidence.runs:
        return _no_occurrence(evidence, fleet)
    if evidence.range is not None:
        return _judged(evidence, evidence.range, fleet)
    if evidence.backlog is not None:
        told = told_backlog(evidence.backlog, fleet)
        return f"missed at its time, and waits in the backlog to be caught up: {told}", [], []
    if evidence.runs:
        return "run by hand or by a backfill", [], []
    if row.created_at is not None and due <= row.created_at:
        created = fleet.at(row.created_at)
        return (
            f"never due: the schedule was first declared at {created}, after it",
            [],
            [f"duly schedules backfill {row.name}"],
        )
    if due <= row.fired_through:
        return "no verdict is on record: another definition was in force then", [], []
    return _to_come(evidence, fleet)


def _no_occurrence(evidence: OccurrenceEvidence, fleet: Fleet) -> _Standing:
    trigger = trigger_from_spec(evidence.row.definition.trigger)
    around = [trigger.previous_at_or_before(evidence.due), trigger.next_after(evidence.due)]
    near = " and ".join(instant_text(one, fleet.zone) for one in around if one is not None)
    causes = [f"its occurrences around it: {near}"] if near else []
    if evidence.range is not None and evidence.range.revision != evidence.row.revision:
        causes.append(f"then revision {evidence.range.revision} held; now {evidence.row.revision}")
    headline = "not an occurrence: the schedule is not due at that instant"
    return headline, [*causes, trigger.describe()], []


def _judged(evidence: OccurrenceEvidence, found: VerdictRange, fleet: Fleet) -> _Standing:
    name = evidence.row.name
    match found.verdict:
        case Verdict.FIRED:
            pruned = [] if evidence.runs else ["its run ended, and its history was pruned"]
            return f"fired{': ' + found.reason if found.reason else ''}", pruned, []
        case Verdict.SKIPPED:
            return f"skipped: {_skip_reason(evidence, found, fleet)}", [], []
        case Verdict.MISSED:
            headline = f"missed: nobody was there at its time, and {found.reason}"
            helps = [f"duly schedules backfill {name}", "catch_up='all' runs what was missed"]
            return headline, [_stretch(found, fleet)], helps
        case Verdict.BLOCKED:
            headline = f"blocked: {found.reason}, by {found.by}"
            return headline, [_stretch(found, fleet)], [f"duly schedules backfill {name}"]


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


def _to_come(evidence: OccurrenceEvidence, fleet: Fleet) -> _Standing:
    row, due = evidence.row, evidence.due
    if row.state is not ScheduleState.ACTIVE:
        standing, helps = schedule_standing(row, fleet)
        verb = "will be" if due > fleet.now else "is"
        return f"{verb} blocked: the schedule is {standing}", [], helps
    if due > fleet.now:
        return f"not due yet: it comes {distance_text(due, fleet.now)}", [], []
    if fleet.now - due < HASTE or (row.next_fire is not None and row.next_fire > fleet.now):
        return "due now: it is about to fire", [], []
    return f"overdue: {fleet.nobody()}", [], ["start a worker: duly worker", "duly doctor"]
