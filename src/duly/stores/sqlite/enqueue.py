"""Writing runs: identity first, and the moving part only if that insert happened.

Plain runs (no key, no limit, not delayed) go in batches of one statement per table; the rest one
by one. Answers come in the order given, and a known id gets the same answer again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any

from duly.core.rules import reuse_of
from duly.core.runs import Enqueued, NewRun, Reuse
from duly.core.states import RUN_MOVES, RunState, RunVerb, advance
from duly.stores.base import Signal
from duly.stores.sqlite.moves import Asked, Numbers, find, put_later, put_ready
from duly.stores.sqlite.rows import marks, micros, micros_or_none, uuid_of
from duly.stores.sqlite.tx import Tx

CHUNKS = (64, 16, 4, 1)
"""Rows per statement: few sizes, so that every statement is prepared once."""

_LEAN = "insert into duly_run (id, task, args, queue, priority, origin, enqueued_at) values "
_FULL = """insert into duly_run (id, task, args, queue, priority, origin, enqueued_at, key, run_at,
    expires_at, limit_key, max, schedule, due, window_start, parent, asked_by, tenant) values """
_READY = """insert into duly_ready (queue, priority, id, task, epoch, failures, deaths, ready_at,
    expires_at) values """
_ONCE = " on conflict (id) do nothing"

INSERT_LEAN = {size: _LEAN + marks(size, 7) + _ONCE for size in CHUNKS}
INSERT_FULL = {size: _FULL + marks(size, 18) + _ONCE for size in CHUNKS}
INSERT_READY = {
    size: _READY + ",".join(["(?,?,?,?,0,0,0,?,?)"] * size) for size in CHUNKS
}  # of runs that were never claimed and have no limit


def enqueue(tx: Tx, runs: Sequence[NewRun], now: datetime | None) -> list[Enqueued]:
    """Write runs; see `Store.enqueue`."""
    at = tx.now(now)
    answers: list[Enqueued] = []
    for plain, some in groupby(runs, key=lambda run: _is_plain(run, at)):
        batch = list(some)
        if plain:
            _insert_plain(tx, batch, micros(at))
            answers += [Enqueued(run.id, Reuse.NEW) for run in batch]
        else:
            answers += [enqueue_one(tx, run, at) for run in batch]
    return answers


def _is_plain(run: NewRun, now: datetime) -> bool:
    return run.key is None and run.limit_key is None and (run.run_at is None or run.run_at <= now)


def _is_lean(run: NewRun) -> bool:
    return (
        run.schedule is None
        and run.due is None
        and run.expires_at is None
        and run.parent is None
        and run.asked_by is None
        and run.run_at is None
        and run.window_start is None
        and run.limit == 0
        and not run.tenant
    )


def chunked(rows: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """Cut rows into pieces of the sizes in `CHUNKS`, largest first."""
    start = 0
    for size in CHUNKS:
        while len(rows) - start >= size:
            yield rows[start : start + size]
            start += size


def _insert_plain(tx: Tx, runs: Sequence[NewRun], at: int) -> None:
    for chunk in chunked(runs):
        if _insert_identities(tx, chunk, at) != len(chunk):
            chunk = _homeless(tx, chunk)
        for fresh in chunked(chunk):
            values: list[Any] = []
            for run in fresh:
                expires = run.expires_at and micros(run.expires_at)
                values += (run.queue, run.priority, run.id.bytes, run.task, at, expires)
            tx.conn.execute(INSERT_READY[len(fresh)], values)
    tx.tell(Signal.READY)


def _insert_identities(tx: Tx, runs: Sequence[NewRun], at: int) -> int:
    values: list[Any] = []
    if all(map(_is_lean, runs)):
        for run in runs:
            values += (
                run.id.bytes, run.task, run.args, run.queue, run.priority, run.origin.value, at,
            )  # fmt: skip
        tx.conn.execute(INSERT_LEAN[len(runs)], values)
    else:
        for run in runs:
            values += _identity(tx, run, at)
        tx.conn.execute(INSERT_FULL[len(runs)], values)
    return tx.conn.changes()


def tenant_of(tx: Tx, run: bytes) -> str | None:
    """Return whose a run is; None when it is not known."""
    found: str | None = tx.value("select tenant from duly_run where id = ?", run)
    return found


def _identity(tx: Tx, run: NewRun, at: int) -> tuple[Any, ...]:
    inherited = None if run.parent is None else tenant_of(tx, run.parent.bytes)
    return (
        run.id.bytes,
        run.task,
        run.args,
        run.queue,
        run.priority,
        run.origin.value,
        at,
        run.key,
        micros_or_none(run.run_at),
        micros_or_none(run.expires_at),
        run.limit_key,
        run.limit or None,
        run.schedule,
        micros_or_none(run.due),
        micros_or_none(run.window_start),
        run.parent.bytes if run.parent else None,
        run.asked_by,
        run.tenant if inherited is None else inherited,
    )


def _homeless(tx: Tx, runs: Sequence[NewRun]) -> list[NewRun]:
    """Return those whose identity was written just now: they are in no place yet."""
    place = (
        "select exists (select 1 from duly_held where id = ?1)"
        " or exists (select 1 from duly_later where id = ?1)"
        " or exists (select 1 from duly_ended where id = ?1)"
        " or exists (select 1 from duly_ready y join duly_run r on r.id = ?1"
        " where y.queue in (r.queue, '~suspect') and y.priority = r.priority and y.id = ?1)"
    )
    once = {run.id: run for run in reversed(runs)}
    return [run for run in once.values() if not tx.value(place, run.id.bytes)]


# --- one by one ---------------------------------------------------------------------------


def enqueue_one(tx: Tx, new: NewRun, now: datetime) -> Enqueued:
    """Write one run of any kind."""
    run = new.id.bytes
    if tx.value("select 1 from duly_run where id = ?", run):
        return Enqueued(new.id, Reuse.NEW)
    if new.key is not None:
        reused = _reuse(tx, new.task, new.key, micros(now))
        if reused is not None:
            return reused
        tx.do(
            "insert or replace into duly_key (task, key, run, made_at) values (?,?,?,?)",
            new.task,
            new.key,
            run,
            micros(now),
        )
    insert(tx, new, now)
    return Enqueued(new.id, Reuse.NEW)


def insert(tx: Tx, new: NewRun, now: datetime) -> None:
    """Write the identity and the moving part of a run that is not known."""
    run, at = new.id.bytes, micros(now)
    tx.conn.execute(INSERT_FULL[1], _identity(tx, new, at))
    if new.limit_key is not None:
        tx.do(
            "insert into duly_limit (key, max) values (?, ?)"
            " on conflict (key) do update set max = excluded.max where max <> excluded.max",
            new.limit_key,
            new.limit,
        )
    parent = new.parent.bytes if new.parent else None
    expires_at = micros_or_none(new.expires_at)
    asked = Asked(new.task, new.queue, new.priority, expires_at, new.limit_key, parent)
    if new.run_at is not None and new.run_at > now:
        put_later(
            tx, run, RunState.SCHEDULED, asked=asked, numbers=Numbers(),
            wake_at=micros(new.run_at),
        )  # fmt: skip
    else:
        put_ready(tx, run, at, asked=asked, numbers=Numbers())


def _reuse(tx: Tx, task: str, key: str, at: int) -> Enqueued | None:
    """Answer from the run that stands for a key, or None when a new one may take it."""
    known = tx.value("select run from duly_key where task = ? and key = ?", task, key)
    if known is None:
        return None
    spot = find(tx, known)
    reuse = reuse_of(RunState.SUCCEEDED if spot is None else spot.state)  # pruned: it succeeded
    if reuse is Reuse.NEW:
        return None
    if reuse is Reuse.REVIVED:
        revive_failed(tx, known, at)
    why = spot.reason if spot is not None and reuse is Reuse.REFUSED else None
    return Enqueued(uuid_of(known), reuse, why or "")


def revive_failed(tx: Tx, run: bytes, at: int) -> None:
    """Run a failed run again, with a new budget; its last attempt joins the past ones."""
    advance(RUN_MOVES, RunState.FAILED, RunVerb.REVIVE)
    spot = find(tx, run)
    assert spot is not None, "the caller found it"
    tx.do(
        "insert or replace into duly_attempt (run, epoch, boot, started_at, ended_at, outcome,"
        " detail) select id, epoch, boot, started_at, ended_at, ?, error from duly_ended"
        " where id = ? and boot is not null and started_at is not null",
        RunVerb.FAIL.value,
        run,
    )
    tx.do("delete from duly_ended where id = ?", run)
    put_ready(tx, run, at, asked=spot.asked, numbers=Numbers(epoch=spot.numbers.epoch))
