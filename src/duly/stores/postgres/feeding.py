"""The feed: each sort is read along an index, from the point to what is settled.

Theory of operation. A row bears an instant that was read inside its transaction, and is seen when
that commits, which may be later than others with later instants. So a look asks first which of
Duly's transactions are open, in a statement of its own: the oldest one's beginning is the floor.
Whatever is dated before it has ended by then, and is in the snapshot of the statements that follow.
The asking statement's own instant is taken before it looks at the sessions; so one that begins
meanwhile, and is not seen, reads its instants later than that.

Sessions that wait for an advisory lock watch over a neighbour and write nothing. Transactions of
users' own connections ask for work, and end none, so they hold nothing back. The beginnings of
another role's transactions are hidden from one without `pg_read_all_stats`: then everything is told
`PATIENCE` later.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import UUID

from duly.core import feed
from duly.core.feed import AT_ONCE, Happening, Look, Point, Settled, Sort
from duly.core.fleet import Instance, InstanceState
from duly.core.states import RunState
from duly.stores.postgres.breaking import BREAKER_LINE, breaker_line_of
from duly.stores.postgres.ground import Ground
from duly.stores.postgres.housekeeping import INCIDENT, incident_of


class FeedVerbs(Ground):
    """The verb of `Feeding`."""

    async def feed(
        self, after: Point | None, *, limit: int = AT_ONCE, now: datetime | None = None
    ) -> Look:
        at, oldest, blind = (await self._fetch(FLOOR, now))[0]
        upto = feed.settled(at, oldest, blind=blind)
        if after is None:
            return feed.nothing(upto)
        found = []
        for sort, (sql, make) in _SORTS.items():
            rows = await self._fetch(sql, *_range(after, sort, upto), limit + 1)
            found.append([make(row) for row in rows])
        return feed.collected(after, upto, found, limit)


def _range(after: Point, sort: Sort, upto: Settled) -> tuple[Any, ...]:
    number = after.behind(sort)
    behind = number if sort in feed.NUMBERED else UUID(int=max(0, number))
    return after.at, behind, upto.floor


def _ended(row: Any) -> Happening:
    known: dict[str, Any] = dict(row) | {"state": RunState(row["state"])}
    return feed.run_ended(feed.EndedRun(**known))


def _incident(sort: Sort) -> Callable[[Any], Happening]:
    return lambda row: feed.incident_moved(sort, incident_of(row))


def _line(row: Any) -> Happening:
    number, *line = row
    return feed.breaker_moved(number, breaker_line_of(line))


def _instance(row: Any) -> Instance:
    boot, name, owner, version, started_at, left_at, state, reason = row
    return Instance(
        boot=boot, name=name, host="", pid=0, pid_space="", owner=owner, version=version,
        started_at=started_at, left_at=left_at, state=InstanceState(state), reason=reason,
    )  # fmt: skip


# Behind a pooler that names its sessions itself, they are those that are called as this one is.
FLOOR = """
with sessions as materialized (
  select xact_start, state is null and usename <> current_user as hidden from pg_stat_activity
  where datname = current_database() and pid <> pg_backend_pid()
    and application_name = any(array['duly', current_setting('application_name')])
    and wait_event is distinct from 'advisory'
)
select coalesce($1::timestamptz, statement_timestamp()), min(xact_start),
  coalesce(bool_or(hidden), false)
from sessions
"""

# $1 the point's instant, $2 the id behind which rows of that instant lie, $3 up to when, $4 limit.
_RANGE = """{at} >= $1::timestamptz and {at} < $3::timestamptz
  and ({at} > $1::timestamptz or {id} > $2) order by {at}, {id} limit $4"""

ENDED = f"""
select e.id, e.state, r.task, r.tenant, e.epoch, e.failures, e.started_at, e.ended_at, e.error,
  e.reason
from (select * from duly_ended x where {_RANGE.format(at="x.ended_at", id="x.id")}) e
cross join lateral (select task, tenant from duly_run where id = e.id limit 1) r
"""

# An incident was opened no later than it was changed last, which is what the index knows.
OPENED = f"""
select {INCIDENT} from duly_incident i
where coalesce(i.closed_at, i.opened_at) >= $1::timestamptz
  and {_RANGE.format(at="i.opened_at", id="i.id")}
"""

CLOSED = f"""
select {INCIDENT} from duly_incident i
where coalesce(i.closed_at, i.opened_at) >= $1::timestamptz
  and {_RANGE.format(at="i.closed_at", id="i.id")}
"""

ACKNOWLEDGED = f"""
select {INCIDENT} from duly_incident i where {_RANGE.format(at="i.acknowledged_at", id="i.id")}
"""

LINES = f"""
select number, {BREAKER_LINE} from duly_breaker_line l
where {_RANGE.format(at="l.at", id="l.number")}
"""

_INSTANCE = "boot, name, owner, version, started_at, left_at, state, reason"

STARTED = f"""
select {_INSTANCE} from duly_instance i where {_RANGE.format(at="started_at", id="boot")}
"""

LEFT = f"""
select {_INSTANCE} from duly_instance i where {_RANGE.format(at="left_at", id="boot")}
"""

_SORTS: dict[Sort, tuple[str, Callable[[Any], Happening]]] = {
    Sort.STARTED: (STARTED, lambda row: feed.instance_came(_instance(row))),
    Sort.OPENED: (OPENED, _incident(Sort.OPENED)),
    Sort.ACKNOWLEDGED: (ACKNOWLEDGED, _incident(Sort.ACKNOWLEDGED)),
    Sort.CLOSED: (CLOSED, _incident(Sort.CLOSED)),
    Sort.BREAKER: (LINES, _line),
    Sort.ENDED: (ENDED, _ended),
    Sort.LEFT: (LEFT, lambda row: feed.instance_left(_instance(row))),
}
