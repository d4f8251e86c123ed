"""Why an incident is open or over: what was noticed, since when, with its evidence.

The evidence is what whoever opened it wrote down; here it is only put into lines, and into things
to ask about next. What it is an incident *of* is a cause of its own, for each of Duly's own kinds;
so is that a person acknowledged it. Kinds that users' own code opens have no cause but that.
"""

from __future__ import annotations

from typing import get_args

from duly.core.expect import Kind
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
    "rows.missing": Cause.ROWS_MISSING,
    "cluster.gone": Cause.CLUSTER_GONE,
    "fleet.gone": Cause.NO_WORKER,
    "channel.down": Cause.CHANNEL_DOWN,
    "outbox.stuck": Cause.OUTBOX_STUCK,
    "effect.contradicted": Cause.EFFECT_CONTRADICTED,
    "run.interrupted": Cause.WORK_INTERRUPTED,
    "host.rhythm": Cause.RHYTHM_AHEAD,
    "loop.failing": Cause.LOOP_FAILING,
    "store.away": Cause.STORE_WAS_AWAY,
    **dict.fromkeys(get_args(Kind), Cause.EXPECTATION_BREACHED),
}

KINDS = frozenset(_KINDS)
"""The kinds of Duly's own incidents; users' code may open others."""

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
    severity = f"severity: {one.severity}" + (f"; owner: {one.owner}" if one.owner else "")
    told = [severity, *_acknowledgement(one, fleet), *told[:_MOST]]
    return explanation(
        f"incident {one.kind} {one.subject}",
        Standing(cause, headline, told, helps, since=since),
        also=_also(one),
        see=_seen(one),
    )


def _acknowledgement(one: Incident, fleet: Fleet) -> list[str]:
    """Say who deals with it, since when, and what they wrote of it."""
    if one.acknowledged_at is None:
        return []
    note = f": {last_line(one.acknowledged_note)}" if one.acknowledged_note else ""
    quiet = "" if one.closed_at is not None else "; nobody is reminded of it any more"
    who = one.acknowledged_by or "somebody"
    return [f"acknowledged by {who} at {fleet.at(one.acknowledged_at)}{note}{quiet}"]


def _also(one: Incident) -> list[Cause]:
    of = [_KINDS[one.kind]] if one.kind in _KINDS else []
    return of if one.acknowledged_at is None else [*of, Cause.ACKNOWLEDGED]


def _seen(one: Incident) -> list[str]:
    seen = [f"{how}{one.evidence[key]}" for key, how in _SEEN.items() if one.evidence.get(key)]
    return [*seen, *one.evidence.get("runs", "").split()[:SHOWN]]
