"""A user's transaction that stays open: it holds the row of one key, and stops nobody else.

Runs are asked for with the user's own connection, which does not commit. Meanwhile others ask,
with other keys and with none, and are acknowledged and run. Then it commits: its run exists, and
whoever asked for the same key has joined it.
"""

from __future__ import annotations

import asyncio

import asyncpg

from chaos.places import Place
from chaos.report import Report
from chaos.scale import Scale
from chaos.trial import Trial, trial_of
from chaos.waiting import until
from duly.app import DeclaredTask
from duly.core.runs import Reuse
from duly.errors import StoreUnavailable


async def try_it(place: Place, scale: Scale) -> Report:
    """Hold a key's row in an open transaction while others ask."""
    report = Report(trial="transaction", store=place.name)
    if place.server is None:
        report.skipped = "SQLite has one writer: an open transaction of a user stops all writing"
        return report
    async with trial_of(report, place) as trial:
        trial.fleet.start(2)
        await trial.joined(2)
        conn = await asyncpg.connect(place.url)
        try:
            await _hold(trial, conn, scale.pick(200, 5000))
        finally:
            await conn.close()
        await trial.quiet()
        told = trial.judge_attempts(await trial.every_run())
        report.must_be("runs that did not succeed", told.unended, 0)
        report.must_be("attempts begun twice", told.started_twice, 0)
        report.must_be("succeeded without its work", told.unworked, 0)
        report.must_be("loops that failed", trial.journal.count()["loop.failed"], 0)
    return report


async def _hold(trial: Trial, conn: asyncpg.Connection, count: int) -> None:
    report = trial.report
    work = DeclaredTask(trial.app, trial.app.tasks["work"])
    held = conn.transaction()
    await held.start()
    mine = await work.options(key="held").enqueue(conn=conn)
    same = asyncio.ensure_future(work.options(key="held").enqueue())
    others = [
        asyncio.ensure_future((work.options(key=f"other {n}") if n % 2 else work).enqueue())
        for n in range(count)
    ]
    trial.struck()
    told, waiting = await asyncio.wait(others, timeout=60)
    report.must_be("acknowledged while the transaction is open", len(told), count)
    ended = len(told) and await until(
        lambda: trial.journal.count()["end"] >= len(told), within_s=60, what="their work"
    )
    report.must_be("and run", bool(ended), True)
    report.note("asked for the same key: answered meanwhile", str(same.done()))
    await held.commit()
    try:
        joined = await same
    except StoreUnavailable:  # it waited for the row longer than a statement may: it asks again
        report.note("asked for the same key: refused after the lock's bound", "yes")
        joined = await work.options(key="held").enqueue()
    report.note("asked for the same key: came to", joined.reuse.value)
    report.must_be("and is the same run", joined.id == mine.id, True)
    report.must_be("and none of its own", joined.reuse is Reuse.NEW, False)
    await asyncio.gather(*waiting, return_exceptions=True)
