"""What the code of runs logged, one row per attempt, beside its run and gone with it.

Logs are written by the one writer, as pruning is: so a log of a run that was forgotten is not kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from duly.core.logs import ATTEMPTS_KEPT, AttemptLog
from duly.stores.sqlite.rows import uuid_of
from duly.stores.sqlite.tx import Tx

LOG = "run, epoch, told, lines"

_KEEP = f"""insert into duly_log ({LOG}) select ?1, ?2, ?3, ?4
    where exists (select 1 from duly_run where id = ?1)
    on conflict (run, epoch) do update set told = excluded.told, lines = excluded.lines
    where excluded.told > told"""


def log(tx: Tx, logs: Sequence[AttemptLog]) -> None:
    """Keep what attempts logged; see `Lasting.log`."""
    for one in logs:
        run = one.run.bytes
        tx.do("delete from duly_log where run = ? and epoch <= ?", run, one.epoch - ATTEMPTS_KEPT)
        tx.do(_KEEP, run, one.epoch, one.told, one.lines)


def logged(tx: Tx, run: UUID) -> list[AttemptLog]:
    """Return what is kept of a run's attempts; see `Lasting.logged`."""
    return log_rows(tx, "where run = ? order by epoch", run.bytes)


def log_rows(tx: Tx, which: str, *values: object) -> list[AttemptLog]:
    """Return logs of attempts, all of them without a `which`."""
    rows = tx.all(f"select {LOG} from duly_log {which}", *values)
    return [
        AttemptLog(run=uuid_of(run), epoch=epoch, told=told, lines=lines)
        for run, epoch, told, lines in rows
    ]
