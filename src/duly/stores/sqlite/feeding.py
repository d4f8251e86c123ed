"""The feed: each sort is read along an index, from the point to what is settled.

There is one writer, which takes its instants behind the lock: so a look that holds the lock for a
moment knows that whatever is written later is dated later. It writes nothing, and costs no flush.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

from duly.core import feed
from duly.core.breakers import BreakerLine
from duly.core.feed import Happening, Look, Point, Settled, Sort
from duly.core.fleet import Instance, InstanceState
from duly.core.states import BreakerState, BreakerVerb, RunState
from duly.stores.sqlite.housekeeping import INCIDENT, incident_of
from duly.stores.sqlite.rows import instant, instant_or_none, micros, uuid_of
from duly.stores.sqlite.tx import Row, Tx

# ?1 the point's instant, ?2 the id behind which rows of that instant lie, ?3 up to when, ?4 limit.
_RANGE = "{at} >= ?1 and {at} < ?3 and ({at} > ?1 or {id} > ?2) order by {at}, {id} limit ?4"

_ENDED = f"""select e.id, e.state, r.task, r.tenant, e.epoch, e.failures, e.started_at, e.ended_at,
        e.error, e.reason
    from (select * from duly_ended x where x.state = '{{state}}'
        and {_RANGE.format(at="x.ended_at", id="x.id")}) e
    cross join duly_run r on r.id = e.id"""
_LINES = f"""select number, breaker, verb, state, at, by, why from duly_breaker_line
    where {_RANGE.format(at="at", id="number")}"""
# An incident was opened no later than it was changed last, which is what the index knows.
_OPENED = f"""select {INCIDENT} from duly_incident i where coalesce(i.closed_at, i.opened_at) >= ?1
    and {_RANGE.format(at="i.opened_at", id="i.number")}"""
_CLOSED = f"""select {INCIDENT} from duly_incident i where coalesce(i.closed_at, i.opened_at) >= ?1
    and {_RANGE.format(at="i.closed_at", id="i.number")}"""
_ACKNOWLEDGED = f"""select {INCIDENT} from duly_incident i
    where {_RANGE.format(at="i.acknowledged_at", id="i.number")}"""
_INSTANCE = "select boot, name, owner, version, started_at, left_at, state, reason"
_STARTED = f"""{_INSTANCE} from duly_instance
    where {_RANGE.format(at="started_at", id="boot")}"""
_LEFT = f"""{_INSTANCE} from duly_instance
    where {_RANGE.format(at="left_at", id="boot")}"""


def read(tx: Tx, after: Point, upto: Settled, limit: int) -> Look:
    """Return what happened behind a point; see `Feeding.feed`."""

    def rows(sql: str, sort: Sort) -> list[Row]:
        number = after.behind(sort)
        behind: Any = number
        if sort not in feed.NUMBERED:
            behind = b"" if number < 0 else UUID(int=number).bytes
        return tx.all(sql, micros(after.at), behind, micros(upto.floor), limit + 1)

    found = [
        [make(row) for row in rows(_ENDED.format(state=state.value), Sort.ENDED)]
        for state, make in ((state, _ended) for state in feed.ENDED_AS)
    ]
    found += [[make(row) for row in rows(sql, sort)] for sort, (sql, make) in _SORTS.items()]
    return feed.collected(after, upto, found, limit)


def _ended(row: Row) -> Happening:
    run, state, task, tenant, epoch, failures, started_at, ended_at, error, reason = row
    return feed.run_ended(
        feed.EndedRun(
            id=uuid_of(run),
            state=RunState(state),
            task=task,
            tenant=tenant,
            epoch=epoch,
            failures=failures,
            started_at=instant_or_none(started_at),
            ended_at=instant(ended_at),
            error=error,
            reason=reason,
        )
    )


def _line(row: Row) -> Happening:
    number, breaker, verb, state, at, by, why = row
    line = BreakerLine(
        breaker=breaker, verb=BreakerVerb(verb), state=BreakerState(state), at=instant(at),
        by=by, why=why,
    )  # fmt: skip
    return feed.breaker_moved(number, line)


def _incident(sort: Sort) -> Callable[[Row], Happening]:
    return lambda row: feed.incident_moved(sort, incident_of(row))


def _instance(row: Row) -> Instance:
    boot, name, owner, version, started_at, left_at, state, reason = row
    return Instance(
        boot=uuid_of(boot), name=name, host="", pid=0, pid_space="", owner=owner, version=version,
        started_at=instant(started_at), left_at=instant_or_none(left_at),
        state=InstanceState(state), reason=reason,
    )  # fmt: skip


_SORTS: dict[Sort, tuple[str, Callable[[Row], Happening]]] = {
    Sort.STARTED: (_STARTED, lambda row: feed.instance_came(_instance(row))),
    Sort.OPENED: (_OPENED, _incident(Sort.OPENED)),
    Sort.ACKNOWLEDGED: (_ACKNOWLEDGED, _incident(Sort.ACKNOWLEDGED)),
    Sort.CLOSED: (_CLOSED, _incident(Sort.CLOSED)),
    Sort.BREAKER: (_LINES, _line),
    Sort.LEFT: (_LEFT, lambda row: feed.instance_left(_instance(row))),
}
