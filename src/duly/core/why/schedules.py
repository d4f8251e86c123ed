"""Why a schedule fires or does not: its state, who decided it, and what became of it lately.

Also its next occurrences, as they would come if nothing changed. What a verdict range or a
backlog says is put into words here, for occurrences too.
"""

from __future__ import annotations

import msgspec

from duly.core.breakers import BreakerRow, schedule_of_breaker
from duly.core.calls import TASK
from duly.core.runs import RunView
from duly.core.schedules import Backlog, ScheduleRow, Source
from duly.core.spoken import distance_text, instant_text, length_text
from duly.core.states import RunState, ScheduleState
from duly.core.timers import call_of
from duly.core.triggers import trigger_from_spec, upcoming
from duly.core.tripping import WAITS
from duly.core.verdicts import UNCOUNTED, VerdictRange
from duly.core.why.breakers import breaker_standing
from duly.core.why.causes import Cause
from duly.core.why.evidence import HASTE, SHOWN, Explanation, Fleet, Standing, explanation
from duly.core.why.standing import carried


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
    breaker: BreakerRow | None = None,
) -> Explanation:
    """Say whether a schedule fires, who decided that, and what became of it lately.

    `ranges` are its newest verdicts, oldest first; `breaker` is the one that its runs ask.
    """
    standing = schedule_standing(row, fleet)
    causes, also, helps = _definition(row)
    seen = []
    if breaker is not None and not breaker.clean:
        told = breaker_standing(breaker, fleet)
        own = schedule_of_breaker(breaker.name) == row.name
        which = "its breaker" if own else f"the breaker {breaker.name}, which its runs ask,"
        causes.append(f"{which} is {told.headline}")
        causes += [f"the last failure: {breaker.error}"] if breaker.error else []
        also.append(told.cause)
        helps += told.helps
        seen.append(f"{WAITS}{breaker.name}")
    causes += [told_range(one, fleet) for one in ranges[-SHOWN:]]
    causes += [told_backlog(one, fleet) for one in backlogs[:SHOWN]]
    also += [Cause.IN_BACKLOG] if backlogs else []
    if last_run is not None:
        causes.append(f"its newest run {last_run.id}: {_last(last_run, fleet)}")
        seen.append(str(last_run.id))
    return explanation(
        f"schedule {row.name}",
        msgspec.structs.replace(standing, helps=[*standing.helps, *helps]),
        story=causes,
        also=also,
        see=seen,
    )


def _definition(row: ScheduleRow) -> tuple[list[str], list[Cause], list[str]]:
    """Say what it is due by, and whose word that is; also the causes, and what helps."""
    causes = [trigger_from_spec(row.definition.trigger).describe()]
    if row.source is not Source.PERSON:
        return causes, [], []
    if row.definition.task == TASK:
        call = call_of(row.definition)
        causes.append("it is a timer: no code declares it, and none takes it away")
        if call is not None:
            causes.append(f"it calls {call.endpoint}")
        return causes, [Cause.MADE_BY_PERSON], []
    by = f" by {row.by}" if row.by and row.state is ScheduleState.ACTIVE else ""
    causes.append(f"its definition is an edit{by}, and holds against code until given back")
    return causes, [Cause.EDITED], [f"duly schedules give-back {row.name}"]


def _last(run: RunView, fleet: Fleet) -> str:
    told = fleet.brief(run) if run.state is RunState.RUNNING else run.state.value
    answer = last_answer(run)
    return told if answer is None else f"{told}; its call: {answer}"


def schedule_standing(row: ScheduleRow, fleet: Fleet) -> Standing:
    """Say whether it fires, and who decided that."""
    at = row.changed_at
    since = "" if at is None else f" since {fleet.at(at)}"
    by = f" by {row.by}" if row.by else ""
    why = f": {row.reason}" if row.reason else ""
    match row.state:
        case ScheduleState.ACTIVE:
            return _active(row, fleet)
        case ScheduleState.PAUSED:
            helps = [f"duly schedules resume {row.name}"]
            return Standing(Cause.PAUSED, f"paused{since}{by}{why}", helps=helps, since=at)
        case ScheduleState.RETIRED:
            helps = [f"duly schedules revive {row.name}"]
            return Standing(Cause.RETIRED, f"retired{since}{by}{why}", helps=helps, since=at)
        case ScheduleState.TRIPPED:
            told = f"tripped{since}{by}{why}: its breaker is open"
            return Standing(Cause.TRIPPED, told, since=at)
        case ScheduleState.DISABLED:
            told = f"disabled{since} by its owner's lifecycle{why}"
            return Standing(Cause.DISABLED, told, since=at)
        case ScheduleState.ORPHANED:
            told = f"orphaned{since}: no live or recent instance declares it"
            helps = ["start a worker whose code declares it: it comes back by itself"]
            return Standing(Cause.ORPHANED, told, helps=helps, since=at)


def _active(row: ScheduleRow, fleet: Fleet) -> Standing:
    if row.next_fire is None:
        told = "active, but nothing is to come: its trigger has no further occurrence"
        return Standing(Cause.OVER, told)
    if row.next_fire <= fleet.now - HASTE:
        helps = fleet.helps() or ["duly doctor"]
        told = f"overdue: should have fired at {fleet.at(row.next_fire)}; {fleet.nobody()}"
        also = (Cause.OVERDUE,)
        return Standing(fleet.absence(), told, helps=helps, also=also, since=row.next_fire)
    told = f"active: fires next at {fleet.at(row.next_fire)}"
    if not fleet.able():
        told, also = f"{told}; but {fleet.nobody()}", (Cause.ACTIVE,)
        return Standing(fleet.absence(), told, helps=fleet.helps(), also=also)
    task = row.definition.task
    if not fleet.live(task):
        told = f"{told}; but no live instance carries the task {task}"
        helps = [f"start a worker with the code of {task}"]
        return Standing(Cause.NO_CODE, told, [carried(fleet)], helps, (Cause.ACTIVE,))
    return Standing(Cause.ACTIVE, told, since=row.changed_at)


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
    done = f", {one.drained} are already" if one.drained else ""
    told = f"occurrences after {after} to {until} wait to be caught up{done}, next at "
    return told + fleet.at(one.next_at)


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
