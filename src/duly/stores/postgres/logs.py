"""What the code of runs logged, one row per attempt, beside its run and gone with it.

Whoever keeps a log holds on to the run's identity meanwhile, so that pruning forgets both or
neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from duly.core.logs import ATTEMPTS_KEPT, AttemptLog, fullest
from duly.stores.postgres.ground import Ground


class LogVerbs(Ground):
    """`log` and `logged`."""

    async def log(self, logs: Sequence[AttemptLog], *, now: datetime | None = None) -> None:
        told = fullest(logs)
        if told:
            columns = zip(*((one.run, one.epoch, one.told, one.lines) for one in told), strict=True)
            await self._fetch(KEEP_LOGS, ATTEMPTS_KEPT, *map(list, columns))

    async def logged(self, run: UUID) -> list[AttemptLog]:
        return [log_of(row) for row in await self._fetch(LOGGED, run)]


def log_of(row: Any) -> AttemptLog:
    """Build the log of an attempt from a row."""
    run, epoch, told, lines = row
    return AttemptLog(run=run, epoch=epoch, told=told, lines=lines)


LOGGED = "select run, epoch, told, lines from duly_log where run = $1 order by epoch"

KEEP_LOGS = """
with d as (
  select * from unnest($2::uuid[], $3::int[], $4::bigint[], $5::bytea[]) d (run, epoch, told, lines)
), known as materialized (
  select r.id from duly_run r where r.id = any($2::uuid[]) order by r.id for key share
), old as (
  delete from duly_log l using d where l.run = d.run and l.epoch <= d.epoch - $1::int
)
insert into duly_log (run, epoch, told, lines)
select d.run, d.epoch, d.told, d.lines from d join known on known.id = d.run
order by d.run, d.epoch
on conflict (run, epoch) do update set told = excluded.told, lines = excluded.lines
  where excluded.told > duly_log.told
"""
