"""Why an incident is open or over: what was noticed, since when, with its evidence.

The evidence is what whoever opened it wrote down; here it is only put into lines, and into things
to ask about next. What it is an incident *of* is a cause of its own, for the kinds that have one.
"""

from __future__ import annotations

from duly.core.fleet import Incident
from duly.core.spoken import last_line
from duly.core.tripping import WAITS
from duly.core.why.causes import Cause
from duly.core.why.evidence import SHOWN, Explanation, Fleet, Standing, explanation

INCIDENT = "incident:"
"""How an incident is asked about; its kind and its subject follow, parted by a space."""

_HELPS, _CLOSED = "what helps", "closed"
_MOST = 20
"""Lines of evidence that are told."""

_KINDS = {
    "run.failed": Cause.FAILED,
    "run.poison": Cause.PARKED_POISON,
    "run.changed": Cause.PARKED_CODE_CHANGED,
    "run.approval": Cause.PARKED_APPROVAL,
    "effect.uncertain": Cause.EFFECT_UNCERTAIN,
    "breaker.open": Cause.BREAKER_OPEN,
    "queue.unserved": Cause.QUEUE_UNSERVED,
    "task.unknown": Cause.NO_CODE,
    "schedule.late": Cause.OVERDUE,
    "store.untrusted": Cause.STORE_UNTRUSTED,
    "supervisor.tripped": Cause.SUPERVISOR_TRIPPED,
}

_SEEN = {"run": "", "effect": "", "schedule": "", "breaker": WAITS, "queue": "queue:",
         "boot": "instance:"}  # fmt: skip
"""Keys of evidence that name things, and how those are asked about."""


def see_incident(one: Incident) -> str:
    """Return how an incident is asked about."""
    return f"{INCIDENT}{one.kind} {one.subject}"


def explain_incident(one: Incident, fleet: Fleet) -> Explanation:
    """Say whether it is over, what it is about, and what helps."""
    helps = [one.evidence[_HELPS]] if one.evidence.get(_HELPS) else []
    told = [
        f"{key}: {last_line(value)}"
        for key, value in sorted(one.evidence.items())
        if value and key not in (_HELPS, _CLOSED)
    ]
    opened = "" if one.opened_at is None else f" since {fleet.at(one.opened_at)}"
    cause, headline, since = Cause.INCIDENT_OPEN, f"open{opened}: {one.summary}", one.opened_at
    if one.closed_at is not None:
        note = one.evidence.get(_CLOSED)
        why = f": {last_line(note)}" if note else ""
        cause, since = Cause.INCIDENT_CLOSED, one.closed_at
        headline = f"over since {fleet.at(one.closed_at)}{why}"
        told.insert(0, f"it was open{opened}: {one.summary}")
        helps = []
    of = _KINDS.get(one.kind)
    return explanation(
        f"incident {one.kind} {one.subject}",
        Standing(cause, headline, [f"severity: {one.severity}", *told[:_MOST]], helps, since=since),
        also=() if of is None else (of,),
        see=_seen(one),
    )


def _seen(one: Incident) -> list[str]:
    seen = [f"{how}{one.evidence[key]}" for key, how in _SEEN.items() if one.evidence.get(key)]
    return [*seen, *one.evidence.get("runs", "").split()[:SHOWN]]
