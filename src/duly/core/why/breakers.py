"""Why calls to a target are held back: since when, after how many of what, and when one may try.

Also who decided it where a person did, and the latest changes. A target without a row is one
against which nothing is known.
"""

from __future__ import annotations

from collections.abc import Sequence

from duly.core.breakers import BreakerLine, BreakerRow
from duly.core.faults import FAULTS, Fault
from duly.core.states import BreakerState
from duly.core.tripping import US
from duly.core.why.evidence import SHOWN, Explanation, Fleet
from duly.core.why.remembered import command


def explain_breaker(
    name: str, row: BreakerRow | None, lines: Sequence[BreakerLine], fleet: Fleet
) -> Explanation:
    """Say whether calls pass, since when they do not, and what helps. `lines`: newest first."""
    if row is None:
        return Explanation(
            subject=f"breaker {name}", headline="closed: nothing is known against this target"
        )
    headline, helps = breaker_standing(row, fleet)
    causes = [*_causes(row, fleet), *(told_change(one, fleet) for one in lines[:SHOWN][::-1])]
    return Explanation(
        subject=f"breaker {name}", headline=headline, causes=tuple(causes), helps=tuple(helps)
    )


def breaker_standing(row: BreakerRow, fleet: Fleet) -> tuple[str, list[str]]:
    """Say how a breaker stands in one line, and what helps."""
    since = "" if row.opened_at is None else f" since {fleet.at(row.opened_at)}"
    resume = command("breakers", "resume", row.name, "--why", "WHY")
    if row.forced:
        held = "held open" if row.state is BreakerState.OPEN else "held closed"
        return f"{held} by {row.by}{since}: {row.why}", [resume]
    match row.state:
        case BreakerState.CLOSED:
            return _closed(row), []
        case BreakerState.OPEN:
            probe = "" if row.probe_at is None else f"; next probe at {fleet.at(row.probe_at)}"
            now = command("breakers", "probe", row.name, "--why", "WHY")
            return f"open{since}{_after(row)}{probe}", [now, resume]
        case BreakerState.HALF_OPEN:
            until = "" if row.probe_until is None else f" until {fleet.at(row.probe_until)}"
            way = "the next call probes" if row.probe is None else f"a probe is under way{until}"
            return f"half open{since}{_after(row)}; {way}", [resume]


def _closed(row: BreakerRow) -> str:
    counted = f", with {row.failures} failures counted" if row.failures else ""
    return f"closed: calls pass{counted}"


def _after(row: BreakerRow) -> str:
    if not row.failures:
        return ""
    word = FAULTS[Fault(row.fault)].words if row.fault in FAULTS else "failures"
    return f" after {row.failures} × {word}"


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
