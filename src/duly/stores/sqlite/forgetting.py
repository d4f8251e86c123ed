"""What is let go of breakers: old changes, targets without a word against them, who told long ago;
and of incidents: what closed long ago, with what was told of it, and old notices.

A bounded number of rows in a turn. A breaker that is open, forced, or counts something, stays.
"""

from __future__ import annotations

from duly.stores.sqlite.tx import Tx


def prune_breakers(tx: Tx, before: int, limit: int) -> int:
    """Forget old changes, targets that nothing is known against for long, and who told."""
    lines = tx.do(
        "delete from duly_breaker_line where number in (select number from duly_breaker_line"
        " where at < ? order by number limit ?)",
        before,
        limit,
    )
    rows = tx.do(
        "delete from duly_breaker where name in (select name from duly_breaker"
        " where quiet and changed_at < ? order by name limit ?)",
        before,
        limit,
    )
    tellers = tx.do(
        "delete from duly_breaker_teller where boot in (select boot from duly_breaker_teller"
        " where at < ? order by boot limit ?)",
        before,
        limit,
    )
    return lines + rows + tellers


def prune_incidents(tx: Tx, before: int, limit: int) -> int:
    """Forget incidents that closed long ago, with what was told of them."""
    old = tx.all(
        "select number from duly_incident where closed_at < ? order by number limit ?",
        before,
        limit,
    )
    for table, column in (("duly_told", "incident"), ("duly_incident", "number")):
        tx.many(f"delete from {table} where {column} = ?", old)
    return len(old)


def prune_notices(tx: Tx, before: int, limit: int) -> int:
    """Forget notices that were drawn up long ago."""
    return tx.do(
        "delete from duly_notice where id in"
        " (select id from duly_notice where at < ? order by at, id limit ?)",
        before,
        limit,
    )
