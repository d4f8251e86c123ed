"""Rows of schedules, backlogs and verdicts, read and written whole.

Scalars that statements look for are columns; definitions and growing ranges are JSON text. A
definition is decoded once per text, because firing reads the same ones again and again.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from functools import lru_cache
from typing import Any

import msgspec

from duly.core.schedules import Backlog, Definition, ScheduleRow, Source
from duly.core.states import ScheduleState
from duly.core.verdicts import Verdict, VerdictRange
from duly.stores.sqlite.rows import (
    instant,
    instant_or_none,
    json_or_none,
    json_text,
    micros,
    micros_or_none,
)
from duly.stores.sqlite.tx import Row, Tx

_SCHEDULE = """name, owner, definition, digest, revision, source, state, fired_through,
    next_fire, last_run, open_range, reason, by, created_at, changed_at"""
_BACKLOG = """b.schedule, b.revision, b.definition, b.after, b.until, b.next_at,
    b.window_from, b.drained, b.open_range"""
_VERDICT = "first, last, count, verdict, reason, by, revision"

_range = msgspec.json.Decoder(VerdictRange)
_definition_decoder = msgspec.json.Decoder(Definition)


@lru_cache(maxsize=4096)
def _definition(text: str) -> Definition:
    return _definition_decoder.decode(text)


# --- schedules ----------------------------------------------------------------------------


def get(tx: Tx, name: str) -> ScheduleRow | None:
    """Return one schedule."""
    rows = read_schedules(tx, "where name = ?", name)
    return rows[0] if rows else None


def read_schedules(tx: Tx, which: str, *values: Any) -> list[ScheduleRow]:
    """Return the schedules that a clause selects, in its order."""
    rows = tx.all(f"select {_SCHEDULE} from duly_schedule {which}", *values)
    return [_schedule(row) for row in rows]


def of_tenant(tx: Tx, tenant: str | None) -> list[ScheduleRow]:
    """Return schedules by name: of a tenant, or all; see `Store.schedules`."""
    whose = "coalesce(definition ->> 'tenant', '')"
    return read_schedules(tx, f"where ?1 is null or {whose} = ?1 order by name", tenant)


def put(tx: Tx, row: ScheduleRow) -> None:
    """Write a schedule as it stands now."""
    tx.do(
        f"insert or replace into duly_schedule ({_SCHEDULE})"
        " values (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
        row.name,
        row.owner,
        json_text(row.definition),
        row.digest,
        row.revision,
        row.source.value,
        row.state.value,
        micros(row.fired_through),
        micros_or_none(row.next_fire),
        row.last_run,
        json_or_none(row.open_range),
        row.reason,
        row.by,
        micros_or_none(row.created_at),
        micros_or_none(row.changed_at),
    )


def _schedule(row: Row) -> ScheduleRow:
    return ScheduleRow(
        name=row[0],
        owner=row[1],
        definition=_definition(row[2]),
        digest=row[3],
        revision=row[4],
        source=Source(row[5]),
        state=ScheduleState(row[6]),
        fired_through=instant(row[7]),
        next_fire=instant_or_none(row[8]),
        last_run=row[9],
        open_range=_range_or_none(row[10]),
        reason=row[11],
        by=row[12],
        created_at=instant_or_none(row[13]),
        changed_at=instant_or_none(row[14]),
    )


def _range_or_none(text: str | None) -> VerdictRange | None:
    return None if text is None else _range.decode(text)


# --- backlogs -----------------------------------------------------------------------------


def read_backlogs(tx: Tx, which: str, *values: Any) -> list[Backlog]:
    """Return the backlogs (`b`) that a clause selects, in its order."""
    rows = tx.all(f"select {_BACKLOG} from duly_backlog b {which}", *values)
    return [_backlog(row) for row in rows]


def put_backlog(tx: Tx, one: Backlog) -> None:
    """Write a backlog as it stands now."""
    tx.do(
        "insert or replace into duly_backlog (schedule, revision, definition, after, until,"
        " next_at, window_from, drained, open_range) values (?,?,?,?,?,?,?,?,?)",
        one.schedule,
        one.revision,
        json_text(one.definition),
        micros(one.after),
        micros(one.until),
        micros(one.next_at),
        micros_or_none(one.window_from),
        one.drained,
        json_or_none(one.open_range),
    )


def delete_backlog(tx: Tx, one: Backlog) -> None:
    """Remove a backlog."""
    tx.do(
        "delete from duly_backlog where schedule = ? and after = ?",
        one.schedule,
        micros(one.after),
    )


def _backlog(row: Row) -> Backlog:
    return Backlog(
        schedule=row[0],
        revision=row[1],
        definition=_definition(row[2]),
        after=instant(row[3]),
        until=instant(row[4]),
        next_at=instant(row[5]),
        window_from=instant_or_none(row[6]),
        drained=row[7],
        open_range=_range_or_none(row[8]),
    )


# --- verdicts -----------------------------------------------------------------------------


def add_verdicts(tx: Tx, name: str, ranges: Iterable[VerdictRange]) -> None:
    """Keep ranges that stopped growing."""
    for one in ranges:
        tx.do(
            f"insert into duly_verdict (schedule, {_VERDICT}) values (?,?,?,?,?,?,?,?)",
            name,
            micros(one.first),
            micros(one.last),
            one.count,
            one.verdict.value,
            one.reason,
            one.by,
            one.revision,
        )


def verdicts(
    tx: Tx, name: str, after: datetime | None, until: datetime | None
) -> list[VerdictRange]:
    """Return ranges that touch [after, until]; see `Store.verdicts`."""
    rows = tx.all(
        f"select {_VERDICT} from duly_verdict where schedule = ?1"
        " and (?2 is null or last >= ?2) and (?3 is null or first <= ?3) order by first, number",
        name,
        micros_or_none(after),
        micros_or_none(until),
    )
    found = [verdict_of(row) for row in rows]
    row = get(tx, name)
    growing = [] if row is None else [row.open_range]
    growing += [
        one.open_range for one in read_backlogs(tx, "where schedule = ? order by after", name)
    ]
    found += [
        one
        for one in growing
        if one is not None
        and (after is None or one.last >= after)
        and (until is None or one.first <= until)
    ]
    return sorted(found, key=lambda one: one.first)


def verdict_rows(tx: Tx) -> list[tuple[str, VerdictRange]]:
    """Return every kept range with its schedule, oldest first."""
    rows = tx.all(f"select schedule, {_VERDICT} from duly_verdict order by first, number")
    return [(row[0], verdict_of(row[1:])) for row in rows]


def verdict_of(row: Row) -> VerdictRange:
    """Build a range from the columns of `_VERDICT`."""
    first, last, count, verdict, reason, by, revision = row
    return VerdictRange(
        first=instant(first),
        last=instant(last),
        count=count,
        verdict=Verdict(verdict),
        reason=reason,
        by=by,
        revision=revision,
    )
