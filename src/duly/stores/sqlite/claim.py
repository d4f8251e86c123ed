"""Claiming: ready rows move into a boot's hands, a batch in three statements.

The boot's own row is renewed first, in the same transaction; a boot that was declared dead gets
nothing. The order is priority, then id, over all the queues asked for. A claim that is sent
again returns what it took and still holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from uuid import UUID

from duly.core.fleet import Claim
from duly.core.rules import MOST_AHEAD, not_before
from duly.core.runs import Claimed, Origin
from duly.core.states import RUN_MOVES, RunState, RunVerb, advance
from duly.stores.sqlite.rows import instant, instant_or_none, marks, micros, uuid_of, uuid_or_none
from duly.stores.sqlite.tx import Row, Tx

RENEW = """update duly_instance set seen_at = ?, lease_until = ?
    where boot = ? and state in ('live', 'stopping')"""

# Rows are taken out by their whole primary key, as the claim just copied it: no other plan fits.
_REMOVE = """delete from duly_ready where (queue, priority, id) in (
    select queue, priority, id from duly_held where boot = ? and claim = ?)"""

_CLAIMED = """select h.id, h.epoch, r.task, r.args, r.queue, h.failures, h.deaths, r.limit_key,
    r.schedule, r.due, r.window_start, r.origin, r.enqueued_at, r.parent, h.claimed_at
    from duly_held h cross join duly_run r on r.id = h.id
    where h.boot = ? and h.claim = ? order by h.priority desc, h.id"""

_MOST_AHEAD = MOST_AHEAD // timedelta(microseconds=1)

_ORIGINS = {origin.value: origin for origin in Origin}


@lru_cache(maxsize=64)
def _take(queues: int, tasks: int) -> str:
    """The statement that copies the best ready rows of so many queues into `duly_held`."""
    one = f"""select * from (
        select id, epoch, failures, deaths, queue, priority, limit_key, ready_at from duly_ready
        where queue = ? and task in ({marks(tasks)})
        and (epoch > 0 or expires_at is null or expires_at > ?)
        order by priority desc, id limit ?)"""
    every = " union all ".join([one] * queues)
    return f"""insert into duly_held (id, boot, claim, epoch, claimed_at, failures, deaths,
        queue, priority, limit_key)
        select id, ?1, ?2, epoch + 1, case when ready_at between ?3 + 1 and ?3 + {_MOST_AHEAD}
            then ready_at else ?3 end, failures, deaths, queue, priority, limit_key
        from ({every}) order by priority desc, id limit ?"""


def claim(
    tx: Tx,
    boot: UUID,
    claim_id: UUID,
    *,
    queues: Sequence[str],
    tasks: Sequence[str],
    limit: int,
    lease: timedelta,
    now: datetime | None,
) -> Claim:
    """Take up to `limit` ready runs; see `Store.claim`."""
    tx.must_be_trusted()
    at = tx.now(now)
    if not tx.do(RENEW, micros(at), micros(at + lease), boot.bytes):
        return Claim(alive=False)
    mine = (boot.bytes, claim_id.bytes)
    again = tx.value("select 1 from duly_held where boot = ? and claim = ?", *mine)
    if again is None and not _hold(tx, mine, set(queues), set(tasks), limit=limit, at=micros(at)):
        return Claim(alive=True)
    rows = tx.all(_CLAIMED, *mine)
    return Claim(alive=True, runs=tuple(_claimed(row, at) for row in rows))


def _hold(
    tx: Tx, mine: tuple[bytes, bytes], queues: set[str], tasks: set[str], *, limit: int, at: int
) -> int:
    """Move ready rows into a boot's hands; return how many."""
    if not queues or not tasks or limit <= 0:
        return 0
    advance(RUN_MOVES, RunState.READY, RunVerb.CLAIM)
    values: list[object] = [*mine, at]
    names = sorted(tasks)
    for queue in sorted(queues):
        values += (queue, *names, at, limit)
    taken = tx.do(_take(len(queues), len(tasks)), *values, limit)
    if taken:
        tx.do(_REMOVE, *mine)
    return taken


def _claimed(row: Row, now: datetime) -> Claimed:
    run, epoch, task, args, queue, failures, deaths, limit_key = row[:8]
    schedule, due, window_start, origin, enqueued_at, parent, claimed_at = row[8:]
    return Claimed(
        uuid_of(run),
        epoch,
        task,
        args,
        queue,
        failures,
        deaths,
        limit_key,
        schedule,
        instant_or_none(due),
        instant_or_none(window_start),
        _ORIGINS[origin],
        instant(enqueued_at),
        uuid_or_none(parent),
        (not_before(instant(claimed_at), now) - now).total_seconds(),
    )
