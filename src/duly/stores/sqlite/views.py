"""Runs as people see them: one statement, one snapshot, over all the places of a run.

Nothing here writes. Lists walk ids from the newest; a state that few runs have is listed from
its own small table or index instead.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from duly.core.runs import Attempt, Front, NewRun, Origin, RunFilter, RunView
from duly.core.states import PLACE, Place, RunState, RunVerb
from duly.core.steps import Progress
from duly.stores.sqlite.rows import instant, instant_or_none, uuid_of, uuid_or_none
from duly.stores.sqlite.tx import Row, Tx

IDENTITY = """id, task, args, queue, priority, origin, key, run_at, expires_at, limit_key, max,
    schedule, due, window_start, parent, asked_by, tenant"""
PROGRESS = "p.done, p.total, p.note, p.published, p.effects, p.at"

_COLUMNS = f"""r.id, r.task, r.queue, r.priority, r.args, r.origin, r.key, r.schedule, r.due,
    r.window_start, r.enqueued_at, r.limit_key,
    case when h.id is not null then 'running' when e.id is not null then e.state
         when l.id is not null then l.state else 'ready' end,
    coalesce(e.epoch, h.epoch, l.epoch, y.epoch),
    coalesce(e.failures, h.failures, l.failures, y.failures),
    coalesce(e.deaths, h.deaths, l.deaths, y.deaths),
    coalesce(e.reason, l.reason), l.wake_at, coalesce(e.boot, h.boot),
    coalesce(e.started_at, h.claimed_at), e.ended_at, e.result, e.error, h.cancel,
    r.asked_by, r.parent, r.tenant, {PROGRESS}"""
_JOINS = """duly_run r
    left join duly_ended e on e.id = r.id
    left join duly_held h on h.id = r.id
    left join duly_later l on l.id = r.id
    left join duly_ready y on y.queue in (r.queue, '~suspect') and y.priority = r.priority
        and y.id = r.id
    left join duly_progress p on p.run = r.id"""

# Where the ids of a state are found without walking over runs in other states.
_RARE = {
    Place.READY: "r.id in (select id from duly_ready)",
    Place.HELD: "r.id in (select id from duly_held)",
    Place.LATER: "r.id in (select id from duly_later where state = ?)",
    Place.ENDED: "r.id in (select id from duly_ended where state = ?)",
}


def run_view(tx: Tx, run: UUID) -> RunView | None:
    """Return a run with its past attempts; see `Store.run`."""
    row = tx.one(f"select {_COLUMNS} from {_JOINS} where r.id = ?", run.bytes)
    if row is None:
        return None
    past = tx.all(
        "select epoch, boot, started_at, ended_at, outcome, detail from duly_attempt"
        " where run = ? order by epoch",
        run.bytes,
    )
    return _view(row, tuple(map(attempt_of, past)))


def run_views(tx: Tx, where: RunFilter) -> list[RunView]:
    """Return runs, newest first; see `Store.runs`."""
    tests, values = ["true"], list[Any]()
    if where.state is not None:
        place = PLACE[where.state]
        if where.state is RunState.SUCCEEDED:  # most runs: walk them from the newest
            tests.append("exists (select 1 from duly_ended x where x.id = r.id and x.state = ?)")
        else:
            tests.append(_RARE[place])
        if place in (Place.LATER, Place.ENDED):
            values.append(where.state.value)
    for column in ("task", "schedule", "queue", "tenant"):
        wanted = getattr(where, column)
        if wanted is not None:
            tests.append(f"r.{column} = ?")
            values.append(wanted)
    if where.tenant:  # so that the index of those runs that have one can serve
        tests.append("r.tenant <> ''")
    if where.before is not None:
        tests.append("r.id < ?")
        values.append(where.before.bytes)
    rows = tx.all(
        f"select {_COLUMNS} from {_JOINS} where {' and '.join(tests)} order by r.id desc limit ?",
        *values,
        where.limit,
    )
    return [_view(row, ()) for row in rows]


def counts(tx: Tx) -> dict[str, int]:
    """Return how many runs stand in each state; see `Store.counts`."""
    rows = tx.all(
        """select 'ready', count(*) from duly_ready having count(*) > 0
        union all select 'running', count(*) from duly_held having count(*) > 0
        union all select state, count(*) from duly_later group by state
        union all select state, count(*) from duly_ended group by state"""
    )
    return dict(rows)


def queues(tx: Tx) -> dict[str, dict[str, int]]:
    """Return the live runs of each queue by place; see `Store.queues`."""
    rows = tx.all(
        """select queue, 'ready', count(*) from duly_ready group by queue
        union all select r.queue, 'running', count(*) from duly_held h
            join duly_run r on r.id = h.id group by r.queue
        union all select r.queue, 'later', count(*) from duly_later l
            join duly_run r on r.id = l.id group by r.queue"""
    )
    counted: dict[str, dict[str, int]] = {}
    for queue, place, count in rows:
        counted.setdefault(queue, {"ready": 0, "running": 0, "later": 0})[place] = count
    return counted


def fronts(tx: Tx) -> list[Front]:
    """Return the oldest ready run of each queue; see `Store.fronts`.

    From one priority of a queue to the next below it, else to the next queue: each step is one
    descent of the table's own order, however much waits.
    """
    oldest: dict[str, bytes] = {}
    queue, priority = "", 0
    while found := tx.one(_BELOW, queue, priority) or tx.one(_BEHIND, queue):
        queue, priority, run = found
        oldest[queue] = min(oldest.get(queue, run), run)
    held = {row[0] for row in tx.all(_HELD_QUEUES)} if oldest else set()
    return [
        Front(queue, uuid_of(run), task, schedule, queue in held)
        for queue, run in oldest.items()
        for task, schedule in tx.all("select task, schedule from duly_run where id = ?", run)
    ]


_BELOW = """select queue, priority, id from duly_ready
where queue = ?1 and priority < ?2 order by priority desc, id limit 1"""
_BEHIND = """select queue, priority, id from duly_ready
where queue > ?1 order by queue, priority desc, id limit 1"""
_HELD_QUEUES = "select distinct r.queue from duly_held h join duly_run r on r.id = h.id"


def attempt_of(row: Row) -> Attempt:
    """Build a past attempt from (epoch, boot, started_at, ended_at, outcome, detail)."""
    epoch, boot, started_at, ended_at, outcome, detail = row
    return Attempt(
        epoch, uuid_of(boot), instant(started_at), instant(ended_at), RunVerb(outcome), detail
    )


def asked_run(row: Row) -> NewRun:
    """Build what was asked for from the columns of `IDENTITY`."""
    return NewRun(
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
        tenant=row[16],
    )


def progress_of(row: Row) -> Progress | None:
    """Build progress from the columns of `PROGRESS`; None when there is none."""
    done, total, note, published, effects, at = row
    if at is None:
        return None
    return Progress(
        done=done, total=total, note=note, published=published, effects=effects, at=instant(at)
    )


def _view(row: Row, attempts: tuple[Attempt, ...]) -> RunView:
    return RunView(
        id=uuid_of(row[0]),
        task=row[1],
        queue=row[2],
        priority=row[3],
        args=row[4],
        origin=Origin(row[5]),
        key=row[6],
        schedule=row[7],
        due=instant_or_none(row[8]),
        window_start=instant_or_none(row[9]),
        enqueued_at=instant(row[10]),
        limit_key=row[11],
        state=RunState(row[12]),
        epoch=row[13],
        failures=row[14],
        deaths=row[15],
        reason=row[16],
        wake_at=instant_or_none(row[17]),
        boot=uuid_or_none(row[18]),
        started_at=instant_or_none(row[19]),
        ended_at=instant_or_none(row[20]),
        result=row[21],
        error=row[22],
        cancel_requested=row[23],
        asked_by=row[24],
        parent=uuid_or_none(row[25]),
        tenant=row[26],
        progress=progress_of(row[27:]),
        attempts=attempts,
    )
