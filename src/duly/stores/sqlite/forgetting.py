"""What is let go of breakers: old changes, targets without a word against them, who told long ago.

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
