"""What is let go of breakers: old changes, targets without a word against them, who told long ago;
and of notices: those drawn up long ago.

A bounded number of rows in a turn. A breaker that is open, forced, or counts something, stays.
"""

from __future__ import annotations

from datetime import datetime

from duly.stores.postgres.unit import Unit


async def prune_breakers(unit: Unit, before: datetime, limit: int) -> int:
    """Forget old changes, targets that nothing is known against for long, and who told."""
    tellers = await unit.fetch(OLD_TELLERS, before, limit)
    rows = await unit.fetch(OLD_BREAKERS, before, limit)
    lines = await unit.fetch(OLD_LINES, before, limit)
    return len(tellers) + len(rows) + len(lines)


async def prune_notices(unit: Unit, before: datetime, limit: int) -> int:
    """Forget notices that were drawn up long ago."""
    return len(await unit.fetch(OLD_NOTICES, before, limit))


OLD_NOTICES = """
delete from duly_notice where id = any(array(
  select id from duly_notice where at < $1::timestamptz order by at, id limit $2))
returning 1
"""

OLD_TELLERS = """
delete from duly_breaker_teller where boot = any(array(
  select boot from duly_breaker_teller where at < $1::timestamptz
  order by boot limit $2 for update skip locked))
returning 1
"""

OLD_BREAKERS = """
delete from duly_breaker where name = any(array(
  select name from duly_breaker where quiet and changed_at < $1::timestamptz
  order by name limit $2 for update skip locked))
returning 1
"""

OLD_LINES = """
delete from duly_breaker_line where number = any(array(
  select number from duly_breaker_line where at < $1::timestamptz order by number limit $2))
returning 1
"""
