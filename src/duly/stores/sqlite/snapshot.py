"""Everything that is kept, in the shape the agreement test compares: the model's own records.

Read in one transaction. The records of the model are filled from rows, and made plain in the
same way, so that two stores agree exactly when their snapshots are equal.
"""

from __future__ import annotations

from typing import Any

import msgspec

from duly.core.runs import NewRun, Origin
from duly.core.states import RunState
from duly.stores.memory.tables import Ended, Held, Identity, Key, Later, Ready
from duly.stores.sqlite.fleet import instance_rows
from duly.stores.sqlite.housekeeping import incident_rows
from duly.stores.sqlite.rows import instant, instant_or_none, uuid_of, uuid_or_none
from duly.stores.sqlite.timetable import read_backlogs, read_schedules, verdict_rows
from duly.stores.sqlite.tx import Tx
from duly.stores.sqlite.views import attempt_of

_plain = msgspec.to_builtins


def snapshot(tx: Tx) -> dict[str, Any]:
    """Return all rows as plain values; see `Tables.snapshot` of the model."""
    return {
        **_runs(tx),
        **_places(tx),
        "schedules": {row.name: _plain(row) for row in read_schedules(tx, "")},
        "backlogs": {f"{b.schedule}@{b.after}": _plain(b) for b in read_backlogs(tx, "")},
        "verdicts": _verdicts(tx),
        "instances": {str(one.boot): _plain(one) for one in instance_rows(tx)},
        "incidents": sorted((_plain(one) for one in incident_rows(tx)), key=repr),
        "generation": tx.value("select value from duly_meta where name = 'generation'"),
    }


def _runs(tx: Tx) -> dict[str, Any]:
    slots: dict[str, list[str]] = {}
    for key, run in tx.all("select limit_key, run from duly_slot order by limit_key, run"):
        slots.setdefault(key, []).append(str(uuid_of(run)))
    past = tx.all(
        "select run, epoch, boot, started_at, ended_at, outcome, detail from duly_attempt"
    )
    return {
        "run": {str(uuid_of(row[0])): _plain(_identity(row)) for row in tx.all(_IDENTITIES)},
        "attempts": {f"{uuid_of(row[0])}#{row[1]}": _plain(attempt_of(row[1:])) for row in past},
        "keys": {
            f"{task}/{key}": _plain(Key(uuid_of(run), instant(made_at)))
            for task, key, run, made_at in tx.all("select task, key, run, made_at from duly_key")
        },
        "limits": dict(tx.all("select key, max from duly_limit")),
        "slots": slots,
    }


_IDENTITIES = """select id, task, args, queue, priority, origin, key, run_at, expires_at,
    limit_key, max, schedule, due, window_start, parent, asked_by, enqueued_at from duly_run"""


def _identity(row: tuple[Any, ...]) -> Identity:
    asked = NewRun(
        id=uuid_of(row[0]),
        task=row[1],
        args=row[2],
        queue=row[3],
        priority=row[4],
        origin=Origin(row[5]),
        key=row[6],
        run_at=instant_or_none(row[7]),
        expires_at=instant_or_none(row[8]),
        limit_key=row[9],
        limit=row[10] or 0,
        schedule=row[11],
        due=instant_or_none(row[12]),
        window_start=instant_or_none(row[13]),
        parent=uuid_or_none(row[14]),
        asked_by=row[15],
    )
    return Identity(asked, instant(row[16]))


def _places(tx: Tx) -> dict[str, Any]:
    later = tx.all("select id, state, wake_at, reason, epoch, failures, deaths from duly_later")
    ready = tx.all("select id, queue, ready_at, epoch, failures, deaths from duly_ready")
    held = tx.all(
        "select id, boot, claim, epoch, claimed_at, failures, deaths, cancel from duly_held"
    )
    ended = tx.all(
        "select id, state, ended_at, epoch, failures, deaths, boot, started_at, result, error,"
        " reason from duly_ended"
    )
    return {
        "later": {
            str(uuid_of(i)): _plain(Later(RunState(state), instant_or_none(wake_at), *rest))
            for i, state, wake_at, *rest in later
        },
        "ready": {
            str(uuid_of(i)): _plain(Ready(queue, instant(ready_at), *rest))
            for i, queue, ready_at, *rest in ready
        },
        "held": {
            str(uuid_of(i)): _plain(
                Held(uuid_of(boot), uuid_of(claim), epoch, instant(claimed_at), *rest)
            )
            for i, boot, claim, epoch, claimed_at, *rest in held
        },
        "ended": {str(uuid_of(row[0])): _plain(_ended(row)) for row in ended},
    }


def _ended(row: tuple[Any, ...]) -> Ended:
    _, state, ended_at, epoch, failures, deaths, boot, started_at, *rest = row
    return Ended(
        RunState(state),
        instant(ended_at),
        epoch,
        failures,
        deaths,
        uuid_or_none(boot),
        instant_or_none(started_at),
        *rest,
    )


def _verdicts(tx: Tx) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for name, one in verdict_rows(tx):
        shown.setdefault(name, []).append(_plain(one))
    return shown
