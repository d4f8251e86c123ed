"""Enrolling a table of an SQLite file: a log beside it, and triggers that keep the log.

All of it is one write transaction: a call that died left nothing. Rows that are not in the log
are entered in order of their key, which is every row the first time, and later those that were
written while a migration had dropped the triggers. Never changes the table itself.
"""

from __future__ import annotations

from duly.pipeline.base import ERA, Enrolment, quoted
from duly.pipeline.sqlite.link import Statements
from duly.pipeline.sqlite.shape import KEY, SEQ, Shape, read_shape


def enrol_table(
    do: Statements, table: str, *, pk: str | None, updates: bool, restored: bool
) -> Enrolment:
    """Enrol one table; see `duly.pipeline.enrol`."""
    shape = read_shape(do, table)
    updates = updates or shape.guarded(shape.key(pk), updates=True)
    done: list[str] = []
    if restored or not shape.guarded(shape.key(pk), updates=updates):
        with do.writing():
            shape = read_shape(do, table)
            key = shape.key(pk)
            if not shape.guarded(key, updates=updates):
                done += _guard(do, shape, key=key, updates=updates)
            if restored:
                done.append(_begin_era(do, shape))
    return Enrolment(table=table, done=tuple(done))


def _guard(do: Statements, shape: Shape, *, key: str, updates: bool) -> list[str]:
    log, table, column = quoted(shape.log), quoted(shape.name), quoted(key)
    done = [] if shape.logged else [f"made the log {shape.log}"]
    do.rows(
        f"create table if not exists {log}"
        f"({SEQ} integer primary key autoincrement, {KEY} not null unique)"
    )
    for name, text in shape.guards(key, updates=updates).items():
        do.rows(f"drop trigger if exists {quoted(name)}")
        do.rows(text)
    do.rows(
        f"insert into {log}({KEY}) select {column} from {table} as t"
        f" where not exists (select 1 from {log} where {KEY} = +t.{column}) order by {column}"
    )
    entered = do.value("select changes()")
    return [*done, f"put its triggers in place; entered {entered} rows that were there"]


def _begin_era(do: Statements, shape: Shape) -> str:
    """Draw the next number from a range that no cursor can have come to."""
    highest = highest_number(do, shape)
    era = highest // ERA + 1
    do.rows("delete from sqlite_sequence where name = ?", [shape.log])
    do.rows("insert into sqlite_sequence(name, seq) values (?, ?)", [shape.log, era * ERA])
    return (
        f"began era {era}: new rows come after all that this table ever had; rows written between"
        " a restore and this call may have been passed over, so reconcile them"
    )


def highest_number(do: Statements, shape: Shape) -> int:
    """Return the highest number that the log ever drew and committed; 0 before the first."""
    found = do.value("select seq from sqlite_sequence where name = ?", [shape.log])
    return int(found or 0)
