"""How the target of a schedule stands: what the breaker before its calls knows, in a few words.

Whether a target is broken is the breaker's to decide (`core.tripping`); this only reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from duly.core.breakers import Breaker, BreakerRow, breaker_for, breaker_of_schedule
from duly.core.calls import breaker_of
from duly.core.faults import words_of
from duly.core.schedules import Definition
from duly.core.states import BreakerState
from duly.core.tasks import Task
from duly.core.timers import call_of


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """How a schedule's target stands.

    `failure_count` are the failures in a row that count now, or those that opened the breaker;
    `fault` is the class of the last error (`route not found`); `failing_since` is when the breaker
    opened, and `next_probe_at` when it lets a call try again. The last failure stays told when the
    target is well again.
    """

    breaker: str
    state: BreakerState = BreakerState.CLOSED
    failure_count: int = 0
    last_failed_at: datetime | None = None
    last_error: str = ""
    fault: str = ""
    failing_since: datetime | None = None
    next_probe_at: datetime | None = None


def breaker_before(definition: Definition, task: Task | None) -> str | None:
    """Return the name of the breaker that the runs of a schedule ask, or None where they ask none.

    A timer says itself what it shares. Of other tasks the declaration says so; where this process
    does not know it (`task` is None), the breaker is named that a task has by default.
    """
    call = call_of(definition)
    if call is not None:
        return breaker_of(call, Breaker(name=breaker_of_schedule(definition.name))).name
    if task is None:
        return _named(Breaker(), definition, {})
    if task.breaker is None:
        return None
    try:
        return _named(task.breaker, definition, task.decode(definition.args))
    except Exception:  # a choice by users' code, or arguments that fit no more: its runs say so
        return None


def breakers_asked(definitions: Iterable[Definition], tasks: Mapping[str, Task]) -> set[str]:
    """Return the breakers that runs of these schedules and tasks ask, as far as that is known.

    Which one a task asks that chooses by its arguments is not known before it is run.
    """
    found = {breaker_before(one, tasks.get(one.task)) for one in definitions}
    for name, task in tasks.items():
        if task.breaker is not None and task.breaker.of is None:
            declared = breaker_for(task.breaker, name, None, {})
            found.add(None if declared is None else declared.name)
    return {one for one in found if one is not None}


def _named(declared: Breaker, definition: Definition, arguments: Mapping[str, Any]) -> str | None:
    found = breaker_for(declared, definition.task, definition.name, arguments)
    return None if found is None else found.name


def health_of(name: str, row: BreakerRow | None) -> Health:
    """Say how a target stands of which a breaker knows `row`; None: nothing is known against it."""
    if row is None:
        return Health(breaker=name)
    return Health(
        breaker=name,
        state=row.state,
        failure_count=row.failures,
        last_failed_at=row.failed_at,
        last_error=row.error,
        fault=words_of(row.fault),
        failing_since=row.opened_at,
        next_probe_at=row.probe_at,
    )
