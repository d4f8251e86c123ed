"""Schedules and runs as rows: from the table to the core's records and back.

Hot fields are columns; a definition and an open range are JSON text. A definition never changes
under its digest, so a decoded one is kept and used again. Nothing here waits or decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec

from duly.core.runs import NewRun, Origin
from duly.core.schedules import Backlog, Definition, ScheduleRow, Source
from duly.core.states import ScheduleState
from duly.core.verdicts import Verdict, VerdictRange

KEPT_DEFINITIONS = 20_000

_encode = msgspec.json.Encoder().encode
_decode_definition = msgspec.json.Decoder(Definition).decode
_decode_range = msgspec.json.Decoder(VerdictRange).decode

_definitions: dict[tuple[str, str], Definition] = {}


def definition_of(text: str, key: tuple[str, str] | None = None) -> Definition:
    """Decode a definition; `key` is (name, digest) where it is known."""
    if key is None:
        return _decode_definition(text)
    known = _definitions.get(key)
    if known is None:
        if len(_definitions) >= KEPT_DEFINITIONS:
            _definitions.clear()
        known = _definitions[key] = _decode_definition(text)
    return known


def text_of(struct: msgspec.Struct | None) -> str | None:
    """Encode a struct as JSON text; None stays None."""
    return None if struct is None else _encode(struct).decode()


SCHEDULE = """
name, owner, definition, digest, revision, source, state, fired_through, next_fire, last_run,
open_range, reason, by, created_at, changed_at
"""

BACKLOG = "schedule, after, until, revision, definition, next_at, window_from, drained, open_range"

VERDICT = "schedule, first, last, count, verdict, reason, by, revision"


def new_run_of(row: Any) -> NewRun:
    """Build what was asked for from all columns of a run's identity."""
    same = {name: row[name] for name in NewRun.__struct_fields__ if name not in ("origin", "limit")}
    return NewRun(origin=Origin(row["origin"]), limit=row["max_running"], **same)


def schedule_of(row: Any) -> ScheduleRow:
    """Build a schedule from the columns of `SCHEDULE`."""
    (name, owner, definition, digest, revision, source, state, fired_through, next_fire, last_run,
     open_range, reason, by, created_at, changed_at) = row  # fmt: skip
    return ScheduleRow(
        name=name,
        owner=owner,
        definition=definition_of(definition, (name, digest)),
        digest=digest,
        revision=revision,
        source=Source(source),
        state=ScheduleState(state),
        fired_through=fired_through,
        next_fire=next_fire,
        last_run=None if last_run is None else str(last_run),
        open_range=None if open_range is None else _decode_range(open_range),
        reason=reason,
        by=by,
        created_at=created_at,
        changed_at=changed_at,
    )


def schedule_columns(rows: Sequence[ScheduleRow]) -> list[list[Any]]:
    """One array per column of `SCHEDULE`."""
    return [
        [one.name for one in rows],
        [one.owner for one in rows],
        [text_of(one.definition) for one in rows],
        [one.digest for one in rows],
        [one.revision for one in rows],
        [one.source for one in rows],
        [one.state for one in rows],
        *mark_columns(rows),
        [one.reason for one in rows],
        [one.by for one in rows],
        [one.created_at for one in rows],
        [one.changed_at for one in rows],
    ]


def mark_columns(rows: Sequence[ScheduleRow]) -> list[list[Any]]:
    """One array for each column that firing moves."""
    return [
        [one.fired_through for one in rows],
        [one.next_fire for one in rows],
        [None if one.last_run is None else UUID(one.last_run) for one in rows],
        [text_of(one.open_range) for one in rows],
    ]


def backlog_of(row: Any) -> Backlog:
    """Build a backlog from the columns of `BACKLOG`."""
    (schedule, after, until, revision, definition, next_at, window_from, drained,
     open_range) = row  # fmt: skip
    return Backlog(
        schedule=schedule,
        revision=revision,
        definition=definition_of(definition),
        after=after,
        until=until,
        next_at=next_at,
        window_from=window_from,
        drained=drained,
        open_range=None if open_range is None else _decode_range(open_range),
    )


def backlog_columns(rows: Sequence[Backlog]) -> list[list[Any]]:
    """One array per column of `BACKLOG`."""
    return [
        [one.schedule for one in rows],
        [one.after for one in rows],
        [one.until for one in rows],
        [one.revision for one in rows],
        [text_of(one.definition) for one in rows],
        [one.next_at for one in rows],
        [one.window_from for one in rows],
        [one.drained for one in rows],
        [text_of(one.open_range) for one in rows],
    ]


def verdict_of(row: Any) -> VerdictRange:
    """Build a range from the columns of `VERDICT`."""
    _, first, last, count, verdict, reason, by, revision = row
    return VerdictRange(
        first=first,
        last=last,
        count=count,
        verdict=Verdict(verdict),
        reason=reason,
        by=by,
        revision=revision,
    )


def verdict_columns(rows: Sequence[tuple[str, VerdictRange]]) -> list[list[Any]]:
    """One array per column of `VERDICT`, from (schedule, range) pairs."""
    return [
        [name for name, _ in rows],
        [one.first for _, one in rows],
        [one.last for _, one in rows],
        [one.count for _, one in rows],
        [one.verdict for _, one in rows],
        [one.reason for _, one in rows],
        [one.by for _, one in rows],
        [one.revision for _, one in rows],
    ]
