"""Forgetting processes that are long dead, as the product does with its history.

A trial that ends thousands of processes within minutes keeps the history of all its runs, because
it judges them; with it the product would keep the row of every process, and each of the living
reads them all whenever somebody comes or goes. What is removed here is what the product's own
pruning removes of them, sooner: instances that are dead or gone, hold nothing, and were not seen
for a while. Nothing of a run is touched.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import apsw
import asyncpg

from chaos.places import Place

WAIT_MS = 5000
ENDED = """state in ('dead', 'gone') and seen_at < {before}
    and not exists (select 1 from duly_held h where h.boot = {instance}.boot)"""


async def forget_the_dead(place: Place, older: timedelta) -> int:
    """Remove instances that ended, and were not seen for so long; return how many."""
    if place.server is None:
        before = datetime.now(UTC) - older
        return await asyncio.to_thread(_in_file, place.file, int(before.timestamp() * 1_000_000))
    return await _on_server(place.url, older)


def _in_file(path: Path, before: int) -> int:
    conn = apsw.Connection(str(path))
    conn.set_busy_timeout(WAIT_MS)
    chosen = ENDED.format(before="?", instance="duly_instance")
    try:
        with conn:
            boots = list(conn.execute(f"select boot from duly_instance where {chosen}", (before,)))
            conn.executemany("delete from duly_carries where boot = ?", boots)
            conn.executemany("delete from duly_instance where boot = ?", boots)
    except apsw.BusyError:
        return 0  # the next time will do
    finally:
        conn.close()
    return len(boots)


async def _on_server(url: str, older: timedelta) -> int:
    chosen = ENDED.format(before="clock_timestamp() - $1::interval", instance="i")
    conn = await asyncpg.connect(url)
    try:
        rows = await conn.fetch(
            f"""with old as (
                select boot from duly_instance i where {chosen} for update skip locked
            ), carries as (
                delete from duly_carries c using old where c.boot = old.boot
            ), presence as (
                delete from duly_presence p using old where p.boot = old.boot
            ) delete from duly_instance i using old where i.boot = old.boot returning 1""",
            older,
        )
    finally:
        await conn.close()
    return len(rows)
