"""Why calls to a target are held back: since when, after how many of what, and when one may try.

Also who decided it where a person did, and the latest changes. A target without a row is one
against which nothing is known.
"""

from __future__ import annotations

from collections.abc import Sequence

from duly.core.breakers import BreakerLine, BreakerRow, schedule_of_breaker
from duly.core.faults import words_of
from duly.core.runs import RunView
from duly.core.states import BreakerState
from duly.core.tripping import US
from duly.core.why.causes import Cause
from duly.core.why.evidence import (
    SHOWN,
    Explanation,
    Fleet,
    Standing,
    explanation,
    see_instance,
)
from duly.core.why.remembered import command


def explain_breaker(
    name: str,
    row: BreakerRow | None,
    lines: Sequence[BreakerLine],
    fleet: Fleet,
    *,
    waiting: Sequence[RunView] = (),
    near: Sequence[str] = (),
) -> Explanation:
    """Say whether calls pass, since when they do not, and what helps. `lines`: newest first.

    `waiting` are the runs that wait for it, as far as they were looked at; `near` are names like
    this one, for a breaker of which nothing is known.
    """
    subject = f"breaker {name}"
    if row is None:
        causes = [f"on record are: {', '.join(near)}"] if near else []
        told = "closed: nothing is known against this target"
        return explanation(subject, Standing(Cause.BREAKER_UNKNOWN, told, causes))
    story = [*_causes(row, fleet), *(told_change(one, fleet) for one in lines[:SHOWN][::-1])]
    seen = [str(one.id) for one in waiting[:SHOWN]]
    if waiting:
        more = "" if len(waiting) <= SHOWN else f" and {len(waiting) - SHOWN} more"
        story.append(f"waiting for it: {', '.join(seen)}{more}")
    of = schedule_of_breaker(name)
    return explanation(
        subject, breaker_standing(row, fleet), story=story, see=[*([of] if of else []), *seen]
    )


def breaker_standing(row: BreakerRow, fleet: Fleet) -> Standing:
    """Say how a breaker stands in one line, and what helps."""
    since = "" if row.opened_at is None else f" since {fleet.at(row.opened_at)}"
    resume = command("breakers", "resume", row.name, "--why", "WHY")
    if row.forced:
        is_open = row.state is BreakerState.OPEN
        held = "held open" if is_open else "held closed"
        cause = Cause.BREAKER_HELD_OPEN if is_open else Cause.BREAKER_HELD_CLOSED
        told = f"{held} by {row.by}{since}: {row.why}"
        return Standing(cause, told, helps=[resume], since=row.opened_at or row.changed_at)
    match row.state:
        case BreakerState.CLOSED:
            cause = Cause.BREAKER_COUNTING if row.failures else Cause.BREAKER_CLOSED
            return Standing(cause, _closed(row), since=row.closed_at)
        case BreakerState.OPEN:
            due = row.probe_at is not None and row.probe_at <= fleet.now
            told = f"open{since}{_after(row)}{_probe(row, fleet)}"
            now = [] if due else [command("breakers", "probe", row.name, "--why", "WHY")]
            return Standing(Cause.BREAKER_OPEN, told, helps=[*now, resume], since=row.opened_at)
        case BreakerState.HALF_OPEN:
            until = "" if row.probe_until is None else f" until {fleet.at(row.probe_until)}"
            probed = row.probe is not None
            way = f"a probe is under way{until}" if probed else "the next call probes"
            cause = Cause.BREAKER_PROBED if probed else Cause.BREAKER_PROBE_DUE
            told = f"half open{since}{_after(row)}; {way}"
            see = (see_instance(row.probe_boot),) if row.probe_boot and probed else ()
            return Standing(cause, told, helps=[resume], see=see, since=row.opened_at)


def _closed(row: BreakerRow) -> str:
    many = "failure" if row.failures == 1 else "failures"
    counted = f", with {row.failures} {many} counted" if row.failures else ""
    return f"closed: calls pass{counted}"


def _probe(row: BreakerRow, fleet: Fleet) -> str:
    if row.probe_at is None:
        return ""
    if row.probe_at <= fleet.now:
        return "; its pause is over: the next call probes"
    return f"; next probe at {fleet.at(row.probe_at)}"


def _after(row: BreakerRow) -> str:
    if not row.failures:
        return ""
    word = words_of(row.fault, "failures")
    answer = f" {row.answer}" if row.answer else ""
    last = f", last{answer} from {row.endpoint}" if row.endpoint else ""
    return f" after {row.failures} × {word}{last}"


def _causes(row: BreakerRow, fleet: Fleet) -> list[str]:
    told = []
    if row.failed_at is not None:
        who = f" of {row.who}" if row.who else ""
        told.append(
            f"the last failure{who}, at {fleet.at(row.failed_at)}: {row.error or row.fault}"
        )
    if row.probes:
        told.append(f"{row.probes} probes since it opened did not succeed")
    return told


def told_change(line: BreakerLine, fleet: Fleet) -> str:
    """Return a change in a line: when, what, by whom, why."""
    by = "" if line.by == US else f" by {line.by}"
    why = f": {line.why}" if line.why else ""
    return f"{fleet.at(line.at)} {line.verb.value}{by}{why}"
