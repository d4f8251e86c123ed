"""Lines of the audit: a change is noted before it is tried, and settled behind it.

Who changes something for a person (the API, the command line) does it inside `noted`. Without the
note nothing is tried. When the settling fails, or the process dies, the line stays without an
outcome: it is not known, and not guessed; the change itself never fails for it.

Below it is how each kind of thing is told in a line: small, without secrets, as JSON can hold it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

import msgspec

from duly.client.timers import Applied, Saved, TimerVerbs
from duly.core.access import ApiKey, Change, kept
from duly.core.breakers import BreakerRow
from duly.core.effects import Effect
from duly.core.fleet import Incident
from duly.core.runs import Answer, RunView
from duly.core.schedules import Definition, ScheduleRow
from duly.core.spoken import last_line
from duly.core.timers import call_of
from duly.errors import DulyError, EnvironmentFailure, one_line


class Auditing(Protocol):
    """What is asked of a store; see `duly.stores.access`."""

    async def note_change(self, change: Change) -> Answer: ...
    async def settle_change(self, change: UUID, *, outcome: str, after: str | None) -> Answer: ...


@dataclass
class Entry:
    """What is said of a change once it was done."""

    outcome: str = "done"
    after: object = None


@asynccontextmanager
async def noted(
    books: Auditing, line: Change, *, refusals: tuple[type[Exception], ...] = (DulyError,)
) -> AsyncIterator[Entry]:
    """Note a change, let it be tried, and settle what came of it.

    One of `refusals` is settled as refused, and raised; a store that went away settles nothing.
    """
    await books.note_change(line)
    entry = Entry()
    try:
        yield entry
    except EnvironmentFailure:
        raise
    except refusals as error:
        refused = Entry(f"refused: {last_line(str(error))}")
        await _settle(books, line, refused)
        raise
    await _settle(books, line, entry)


async def _settle(books: Auditing, line: Change, entry: Entry) -> None:
    after = None if entry.after is None else text_of(entry.after)
    try:
        await books.settle_change(line.id, outcome=entry.outcome, after=after)
    except EnvironmentFailure:
        return  # what was done is done; the line says that nobody wrote down what came of it


def text_of(document: object) -> str:
    """Return a document as a line keeps it."""
    return kept(msgspec.json.encode(document, enc_hook=str).decode())


# --- how things are told ------------------------------------------------------------------------


def run_told(view: RunView) -> dict[str, Any]:
    """Tell how a run stands."""
    return {"state": view.state.value, "reason": view.reason}


def schedule_told(row: ScheduleRow) -> dict[str, Any]:
    """Tell how a schedule stands, and whose word that is."""
    return {
        "state": row.state.value,
        "reason": row.reason,
        "by": row.by,
        "source": row.source.value,
        "revision": row.revision,
        "last_run": row.last_run,
    }


def definition_told(definition: Definition) -> dict[str, Any]:
    """Tell a definition whole, with its arguments as they are read."""
    try:
        args = msgspec.json.decode(definition.args)
    except (msgspec.MsgspecError, RecursionError) as error:
        args = one_line(error)
    return {**msgspec.to_builtins(definition), "args": args}


def timer_told(row: ScheduleRow) -> dict[str, Any]:
    """Tell how a timer stands, when it is due and what it calls; secrets are names only."""
    call = call_of(row.definition)
    return {
        "state": row.state.value,
        "trigger": row.definition.trigger,
        "call": None if call is None else msgspec.to_builtins(call),
        "revision": row.revision,
    }


def breaker_told(row: BreakerRow) -> dict[str, Any]:
    """Tell how a breaker stands, and by whose word."""
    return {"state": row.state.value, "forced": row.forced, "by": row.by, "why": row.why}


def effect_told(row: Effect) -> dict[str, Any]:
    """Tell how an effect stands."""
    return {"state": row.state.value, "intent": str(row.intent), "by": row.by, "why": row.why}


def incident_told(one: Incident) -> dict[str, Any]:
    """Tell how an incident stands, and what it is about."""
    return {
        "open": one.closed_at is None,
        "opened_at": one.opened_at,
        "acknowledged_by": one.acknowledged_by,
        "acknowledged_note": one.acknowledged_note,
        "evidence": one.evidence,
    }


def key_told(key: ApiKey) -> dict[str, Any]:
    """Tell what a key opens, and until when; never its hash."""
    return {
        "role": key.role.value,
        "tenant": key.tenant,
        "scopes": key.scopes,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
        "revoked_by": key.revoked_by,
    }


async def timers_told(timers: TimerVerbs, applied: Applied) -> dict[str, Any]:
    """Tell how those timers stand that applying a file changes, or changed."""
    touched = {name for name, one in applied.outcomes.items() if one is not Saved.SAME}
    touched.update(applied.removed)
    rows = await timers.timers() if touched else []
    return {row.name: timer_told(row) for row in rows if row.name in touched}
