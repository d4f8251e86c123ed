"""The verbs about runs that are nobody's hot path: due, expired, shelved, cancelled, revived.

Each finds its runs by an index, moves them one by one through `moves`, and holds to the table of
states in the core.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

import msgspec

from duly.core.fleet import PRESENT
from duly.core.rules import MOST_AHEAD
from duly.core.runs import Answer
from duly.core.states import PLACE, RUN_MOVES, Place, RunState, RunVerb, advance
from duly.stores.base import Signal
from duly.stores.sqlite.enqueue import revive_failed
from duly.stores.sqlite.moves import (
    NO_CODE,
    Asked,
    End,
    Numbers,
    admit_waiting,
    find,
    free,
    leave_place,
    put_ended,
    put_later,
    put_ready,
    unshelve,
)
from duly.stores.sqlite.rows import micros
from duly.stores.sqlite.tx import Tx

_DUE = """select l.id, l.state, l.epoch, l.failures, l.deaths,
    l.wake_at, r.task, r.queue, r.priority, r.expires_at, r.limit_key
    from duly_later l cross join duly_run r on r.id = l.id
    where l.wake_at <= ?2 and (l.wake_at <= ?1 or r.limit_key is null)
    order by l.wake_at, l.id limit ?3"""

_OVERDUE = """select id from (
        select id from duly_ready indexed by duly_ready_expires where expires_at <= ?1 and epoch = 0
        union all
        select id from duly_later indexed by duly_later_expires
        where expires_at <= ?1 and epoch = 0 and state <> 'parked'
    ) order by id limit ?2"""


def promote(tx: Tx, limit: int, ahead: timedelta, now: datetime | None) -> int:
    """Make due runs ready; see `Store.promote`."""
    now = tx.now(now)
    at = micros(now)
    due = tx.all(_DUE, at, micros(now + min(ahead, MOST_AHEAD)), limit)
    for run, state, epoch, failures, deaths, wake_at, *asked in due:
        advance(RUN_MOVES, RunState(state), RunVerb.PROMOTE)
        tx.do("delete from duly_later where id = ?", run)
        numbers = Numbers(epoch, failures, deaths)
        put_ready(tx, run, max(at, wake_at), asked=Asked(*asked), numbers=numbers)
    waited_for = tx.all(
        "select key from duly_limit l where exists (select 1 from duly_later"
        " where reason = 'limit:' || l.key and state = 'waiting') order by key"
    )
    return len(due) + sum(admit_waiting(tx, key, at) for (key,) in waited_for)


def expire(tx: Tx, limit: int, now: datetime | None) -> int:
    """End runs that never started in time; see `Store.expire`."""
    at = micros(tx.now(now))
    gone = tx.all(_OVERDUE, at, limit)
    for (run,) in gone:
        spot = find(tx, run)
        assert spot is not None, "the row was read in this transaction"
        after = advance(RUN_MOVES, spot.state, RunVerb.EXPIRE)
        put_ended(tx, run, at, spot=spot, end=End(after, reason="not started in time"))
    return len(gone)


def to_shelve(tx: Tx, now: datetime | None) -> bool:
    """Whether `shelve` would move anything; writes nothing."""
    carried = _carried(tx, now)
    waiting = tx.all(
        "select distinct r.task from duly_later l cross join duly_run r on r.id = l.id"
        " where l.reason = ?",
        NO_CODE,
    )
    return any(task in carried for (task,) in waiting) or bool(_unknown(tx, carried))


def shelve(tx: Tx, now: datetime | None) -> dict[str, int]:
    """Move ready runs that nobody can run aside; see `Store.shelve`."""
    at, moved, carried = micros(tx.now(now)), dict[str, int](), _carried(tx, now)
    # An instance that was away too long and returned did not register again: its runs come
    # back here, or they would wait for ever.
    unshelve(tx, carried, at)
    for task, run in _shelved(tx, _unknown(tx, carried)):
        advance(RUN_MOVES, RunState.READY, RunVerb.WAIT)
        spot = find(tx, run)
        assert spot is not None, "the row was read in this transaction"
        leave_place(tx, run, spot)
        put_later(tx, run, RunState.WAITING, asked=spot.asked, numbers=spot.numbers, reason=NO_CODE)
        free(tx, run, spot.asked.limit_key, at)
        moved[task] = moved.get(task, 0) + 1
    return moved


def _carried(tx: Tx, now: datetime | None) -> set[str]:
    """Return the tasks that live and present instances carry."""
    known = tx.all(
        "select tasks from duly_instance where state = 'live' and seen_at > ?",
        micros(tx.now(now) - PRESENT),
    )
    return {task for (tasks,) in known for task in msgspec.json.decode(tasks)}


def _unknown(tx: Tx, carried: set[str]) -> list[str]:
    ready = tx.all("select distinct task from duly_ready")
    return sorted(task for (task,) in ready if task not in carried)


def _shelved(tx: Tx, tasks: list[str]) -> list[tuple[str, bytes]]:
    rows = [
        (run, task)
        for task in tasks
        for (run,) in tx.all("select id from duly_ready where task = ?", task)
    ]
    return [(task, run) for run, task in sorted(rows)]


def cancel(tx: Tx, run: bytes, why: str, at: int) -> Answer:
    """Cancel a run, or ask its holder; see `Store.cancel`."""
    spot = find(tx, run)
    if spot is None:
        return Answer.UNKNOWN
    if spot.state is RunState.CANCELLED:
        return Answer.ALREADY
    if spot.hand is not None:
        if spot.hand.cancel is not None:
            return Answer.ALREADY
        tx.do("update duly_held set cancel = ? where id = ?", why, run)
        tx.tell(Signal.CANCEL, str(UUID(bytes=run)))
        return Answer.REQUESTED
    if spot.place is Place.ENDED:
        return Answer.IMPOSSIBLE
    after = advance(RUN_MOVES, spot.state, RunVerb.CANCEL)
    put_ended(tx, run, at, spot=spot, end=End(after, reason=why))
    return Answer.DONE


def unpark(tx: Tx, run: UUID, now: datetime | None) -> Answer:
    """Let a parked run go on; see `Store.unpark`."""
    spot = find(tx, run.bytes)
    if spot is None:
        return Answer.UNKNOWN
    if spot.state is not RunState.PARKED:
        return Answer.IMPOSSIBLE if PLACE[spot.state] is Place.ENDED else Answer.ALREADY
    advance(RUN_MOVES, spot.state, RunVerb.UNPARK)
    leave_place(tx, run.bytes, spot)
    numbers = Numbers(spot.numbers.epoch, spot.numbers.failures, 0)
    put_ready(tx, run.bytes, micros(tx.now(now)), asked=spot.asked, numbers=numbers)
    return Answer.DONE


def revive(tx: Tx, run: UUID, now: datetime | None) -> Answer:
    """Run a failed run again; see `Store.revive`."""
    spot = find(tx, run.bytes)
    if spot is None:
        return Answer.UNKNOWN
    if spot.state is not RunState.FAILED:
        return Answer.IMPOSSIBLE if spot.place is Place.ENDED else Answer.ALREADY
    revive_failed(tx, run.bytes, micros(tx.now(now)))
    return Answer.DONE
