"""Why a schedule fires or does not: its state, who decided it, and what became of it lately.

Also its next occurrences, as they would come if nothing changed. What a verdict range or a
backlog says is put into words here, for occurrences too.
"""

from __future__ import annotations

from duly.core.calls import TASK
from duly.core.runs import RunView
from duly.core.schedules import Backlog, ScheduleRow, Source
from duly.core.spoken import distance_text, instant_text, length_text
from duly.core.states import RunState, ScheduleState
from duly.core.triggers import trigger_from_spec, upcoming
from duly.core.verdicts import UNCOUNTED, VerdictRange
from duly.core.why.evidence import HASTE, SHOWN, Explanation, Fleet


def last_answer(run: RunView) -> str | None:
    """Return the last word about a run's call (`answered 404: route not found`), if it made one."""
    return run.progress.note if run.task == TASK and run.progress is not None else None


def explain_schedule(
    row: ScheduleRow,
    fleet: Fleet,
    *,
    ranges: tuple[VerdictRange, ...] = (),
    backlogs: tuple[Backlog, ...] = (),
    last_run: RunView | None = None,
) -> Explanation:
    """Say whether a schedule fires, who decided that, and what became of it lately.

    `ranges` are its newest verdicts, oldest first.
    """
    headline, helps = schedule_standing(row, fleet)
    causes = [trigger_from_spec(row.definition.trigger).describe()]
    if row.source is Source.PERSON and row.definition.task == TASK:
        causes.append("it is a timer: no code declares it, and none takes it away")
    elif row.source is Source.PERSON:
        by = f" by {row.by}" if row.by and row.state is ScheduleState.ACTIVE else ""
        causes.append(f"its definition is an edit{by}, and holds against code until given back")
        helps = [*helps, f"duly schedules give-back {row.name}"]
    causes += [told_range(one, fleet) for one in ranges[-SHOWN:]]
    causes += [told_backlog(one, fleet) for one in backlogs[:SHOWN]]
    if last_run is not None:
        causes.append(f"its newest run {last_run.id}: {_last(last_run, fleet)}")
    return Explanation(
        subject=f"schedule {row.name}",
        headline=headline,
        causes=tuple(causes),
        helps=tuple(helps),
    )


def _last(run: RunView, fleet: Fleet) -> str:
    told = fleet.brief(run) if run.state is RunState.RUNNING else run.state.value
    answer = last_answer(run)
    return told if answer is None else f"{told}; its call: {answer}"


def schedule_standing(row: ScheduleRow, fleet: Fleet) -> tuple[str, list[str]]:
    since = "" if row.changed_at is None else f" since {fleet.at(row.changed_at)}"
    by = f" by {row.by}" if row.by else ""
    why = f": {row.reason}" if row.reason else ""
    match row.state:
        case ScheduleState.ACTIVE:
            return _active(row, fleet)
        case ScheduleState.PAUSED:
            return f"paused{since}{by}{why}", [f"duly schedules resume {row.name}"]
        case ScheduleState.RETIRED:
            return f"retired{since}{by}{why}", [f"duly schedules revive {row.name}"]
        case ScheduleState.TRIPPED:
            return f"tripped{since}{by}{why}: its breaker is open", []
        case ScheduleState.DISABLED:
            return f"disabled{since} by its owner's lifecycle{why}", []
        case ScheduleState.ORPHANED:
            return (
                f"orphaned{since}: no live or recent instance declares it",
                ["start a worker whose code declares it: it comes back by itself"],
            )


def _active(row: ScheduleRow, fleet: Fleet) -> tuple[str, list[str]]:
    if row.next_fire is None:
        return "active, but nothing is to come: its trigger has no further occurrence", []
    if row.next_fire > fleet.now - HASTE:
        helps = [] if fleet.live() else ["start a worker: duly worker"]
        tail = "" if fleet.live() else f"; but {fleet.nobody()}"
        return f"active: fires next at {fleet.at(row.next_fire)}{tail}", helps
    helps = ["duly doctor"] if fleet.live() else ["start a worker: duly worker"]
    return f"overdue: should have fired at {fleet.at(row.next_fire)}; {fleet.nobody()}", helps


def told_range(one: VerdictRange, fleet: Fleet) -> str:
    reason = f": {one.reason}" if one.reason else ""
    by = f" by {one.by}" if one.by not in ("clock", "") else ""
    first = instant_text(one.first, fleet.zone)
    if one.count == 1:
        return f"{one.verdict.value} at {first}{by}{reason}"
    times = "very often" if one.count == UNCOUNTED else f"{one.count} times"
    last = instant_text(one.last, fleet.zone)
    return f"{one.verdict.value} {times} from {first} to {last}{by}{reason}"


def told_backlog(one: Backlog, fleet: Fleet) -> str:
    after, until = instant_text(one.after, fleet.zone), instant_text(one.until, fleet.zone)
    return f"occurrences after {after} to {until} wait to be caught up, next at " + fleet.at(
        one.next_at
    )


def explain_next(row: ScheduleRow, fleet: Fleet, count: int) -> tuple[str, ...]:
    """Return the next `count` occurrences with offsets, transitions flagged, and their fate."""
    after = max(fleet.now, row.fired_through)
    fate = "" if row.state is ScheduleState.ACTIVE else f"  would be blocked: {row.state.value}"
    jitter = row.definition.jitter
    spread = f"  plus up to {length_text(jitter)} of jitter" if jitter else ""
    return tuple(
        f"{instant_text(one.at, fleet.zone)}  {distance_text(one.at, fleet.now)}"
        + (f"  [{one.flag}]" if one.flag else "")
        + spread
        + fate
        for one in upcoming(trigger_from_spec(row.definition.trigger), after, count)
    )
