"""Everything that is kept, in the shape the agreement test compares: the model's own records.

Read in one transaction. The records of the model are filled from rows, and made plain in the
same way, so that two stores agree exactly when their snapshots are equal.
"""

from __future__ import annotations

from typing import Any

import msgspec

from duly.core.states import RunState
from duly.core.steps import Event
from duly.stores.memory.tables import Ended, Held, Identity, Key, Later, Ready
from duly.stores.sqlite.access import change_rows, key_rows
from duly.stores.sqlite.breaking import breaker_rows
from duly.stores.sqlite.breaking import line_rows as breaker_lines
from duly.stores.sqlite.fleet import instance_rows
from duly.stores.sqlite.housekeeping import incident_rows
from duly.stores.sqlite.ledger import effect_rows, line_rows
from duly.stores.sqlite.logs import log_rows
from duly.stores.sqlite.notes import STEP, step_of
from duly.stores.sqlite.outbox import message_rows
from duly.stores.sqlite.rows import instant, instant_or_none, uuid_of, uuid_or_none
from duly.stores.sqlite.telling import telling_rows
from duly.stores.sqlite.timetable import read_backlogs, read_schedules, verdict_rows
from duly.stores.sqlite.tx import Tx
from duly.stores.sqlite.views import IDENTITY, PROGRESS, asked_run, attempt_of, progress_of

_plain = msgspec.to_builtins


def snapshot(tx: Tx) -> dict[str, Any]:
    """Return all rows as plain values; see `Tables.snapshot` of the model."""
    return {
        **_runs(tx),
        **_places(tx),
        **_lasting(tx),
        **_effects(tx),
        **_breakers(tx),
        "schedules": {row.name: _plain(row) for row in read_schedules(tx, "")},
        "backlogs": {f"{b.schedule}@{b.after}": _plain(b) for b in read_backlogs(tx, "")},
        "verdicts": _verdicts(tx),
        "instances": {str(one.boot): _plain(one) for one in instance_rows(tx)},
        "incidents": sorted((_plain(one) for one in incident_rows(tx)), key=repr),
        **telling_rows(tx),
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
        "run": {
            str(uuid_of(row[0])): _plain(Identity(asked_run(row), instant(row[-1])))
            for row in tx.all(f"select {IDENTITY}, enqueued_at from duly_run")
        },
        "attempts": {f"{uuid_of(row[0])}#{row[1]}": _plain(attempt_of(row[1:])) for row in past},
        "keys": {
            f"{task}/{key}": _plain(Key(uuid_of(run), instant(made_at)))
            for task, key, run, made_at in tx.all("select task, key, run, made_at from duly_key")
        },
        "limits": dict(tx.all("select key, max from duly_limit")),
        "slots": slots,
    }


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


def _lasting(tx: Tx) -> dict[str, Any]:
    awaits: dict[str, list[list[str]]] = {}
    for run, event, group in tx.all("select run, event, grp from duly_await order by event, grp"):
        awaits.setdefault(str(uuid_of(run)), []).append([event, group])
    events = tx.all("select name, body, by, at from duly_event")
    relays = tx.all("select topic, boot, until from duly_relay")
    return {
        "steps": {
            f"{uuid_of(row[0])}/{row[1]}": _plain(step_of(row[1:]))
            for row in tx.all(f"select run, {STEP} from duly_step")
        },
        "progress": {
            str(uuid_of(row[0])): _plain(progress_of(row[1:]))
            for row in tx.all(f"select run, {PROGRESS} from duly_progress p")
        },
        "logs": {f"{one.run}#{one.epoch}": _plain(one) for one in log_rows(tx, "")},
        "awaits": awaits,
        "events": {
            name: _plain(Event(name=name, body=body, by=by, at=instant(at)))
            for name, body, by, at in events
        },
        "outbox": [_plain(one) for one in message_rows(tx, "order by seq")],
        "relays": {
            topic: [str(uuid_of(boot)), _plain(instant(until))] for topic, boot, until in relays
        },
    }


def _effects(tx: Tx) -> dict[str, Any]:
    return {
        "effects": {str(one.address): _plain(one) for one in effect_rows(tx, "")},
        "audit": [_plain(one) for one in line_rows(tx, "order by number")],
        "api_keys": {str(one.id): _plain(one) for one in key_rows(tx, "")},
        "changes": {str(one.id): _plain(one) for one in change_rows(tx, "")},
    }


def _breakers(tx: Tx) -> dict[str, Any]:
    tellers = tx.all("select boot, telling, at from duly_breaker_teller")
    return {
        "breakers": {one.name: _plain(one) for one in breaker_rows(tx, "")},
        "breaker_lines": [_plain(one) for one in breaker_lines(tx, "order by number")],
        "breaker_tellers": {
            str(uuid_of(boot)): [str(uuid_of(word)), _plain(instant(at))]
            for boot, word, at in tellers
        },
    }
