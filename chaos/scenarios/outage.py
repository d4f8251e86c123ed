"""A store that goes away and comes back, under load: restarts, absences, a full disk, cut lines.

Nobody exits, nothing that was acknowledged is lost, no run is begun again unless its former
attempt was released or taken over, and no storm of incidents follows (P7, P8, P15). Runs are
asked for all the while, each sent again with the same id until it is acknowledged.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg

from chaos.checks import judge_flow
from chaos.declared import Every
from chaos.journal import now_s
from chaos.places import Disk, Place, server_on, small_disk
from chaos.report import Moment, Report
from chaos.scale import Scale
from chaos.trial import Trial, trial_of
from chaos.waiting import pause, until
from duly.core.states import RunVerb
from tests.servers import Server, StopMode

INSTANCES = 3
MOST_INCIDENTS = 3
"""In all; where the store is away for long again and again, twice each time."""
BETWEEN_S = 1.5
AGAIN = (RunVerb.TAKE_OVER, RunVerb.RELEASE, RunVerb.RETRY, RunVerb.PARK)
Fault = Callable[[], AbstractAsyncContextManager[None]]


async def try_restarts(place: Place, scale: Scale) -> Report:
    """Restart PostgreSQL, at once and in order; on SQLite a foreign writer holds the lock."""
    report = Report(trial="outage", store=place.name)
    if place.server is None:
        faults: list[Fault] = [place.locked] * scale.count(1, 3)
        return await _try(place, report, faults=faults, lasting_s=6)
    immediate, fast = halted(place, "immediate"), halted(place, "fast")
    faults = [immediate] * scale.count(1, 50) + [fast] * scale.count(1, 5)
    return await _try(place, report, faults=faults, lasting_s=0)


async def try_absence(place: Place, scale: Scale) -> Report:
    """The store is away for a while; in the campaign for four times the lease."""
    report = Report(trial="absence", store=place.name)
    fault = place.locked if place.server is None else halted(place, "immediate")
    return await _try(place, report, faults=[fault], lasting_s=scale.pick(8, 60))


async def try_full_disk(place: Place, scale: Scale) -> Report:
    """The disk of the store fills up to the last byte, and is given room again later."""
    report = Report(trial="full-disk", store=place.name)
    on_sqlite = place.server is None
    async with small_disk(place.folder / "disk", mebibytes=24 if on_sqlite else 160) as disk:
        if disk is None:
            report.skipped = "this process may not mount a small file system"
            return report
        server: Server | None = None
        if on_sqlite:
            place.url = f"sqlite:///{disk.folder}/duly.db"
        else:
            server = await asyncio.to_thread(server_on, disk)
            place = Place(server, place.folder)
        try:
            faults = [_full(disk, server, report)] * scale.count(1, 5)
            return await _try(place, report, faults=faults, lasting_s=scale.pick(6, 30))
        finally:
            if server is not None:
                await asyncio.to_thread(server.stop)


def _full(disk: Disk, server: Server | None, report: Report) -> Fault:
    @asynccontextmanager
    async def full() -> AsyncIterator[None]:
        report.must_be("the disk was full", await asyncio.to_thread(disk.fill), True)
        try:
            yield
        finally:
            await disk.grow()
            if server is not None and not await _lives(server):
                report.note("a server that had ended for want of room was started", "yes")
                await asyncio.to_thread(server.start)

    return full


async def _lives(server: Server) -> bool:
    try:
        conn = await asyncpg.connect(server.url, timeout=5)
    except (OSError, TimeoutError, asyncpg.PostgresError):
        return False
    await conn.close()
    return True


async def try_cut_off(place: Place, scale: Scale) -> Report:
    """Every connection of every instance is cut at once; the server goes on."""
    report = Report(trial="cut-off", store=place.name)
    if place.server is None:
        report.skipped = "a SQLite file has no connections that could be cut"
        return report

    @asynccontextmanager
    async def cut() -> AsyncIterator[None]:
        conn = await asyncpg.connect(place.url)
        try:
            await conn.execute(CUT)
        finally:
            await conn.close()
        yield

    faults: list[Fault] = [cut] * scale.count(2, 30)
    await _try(place, report, faults=faults, lasting_s=1)
    return report


CUT = """
select pg_terminate_backend(pid) from pg_stat_activity
where datname = current_database() and pid <> pg_backend_pid()
"""


async def try_terminations(place: Place, scale: Scale) -> Report:
    """Five connections a second are ended by the server, whichever comes up."""
    report = Report(trial="terminations", store=place.name)
    if place.server is None:
        report.skipped = "a SQLite file has no connections that could be ended"
        return report
    lasting_s = scale.minutes * 60 if scale.full else 8.0

    @asynccontextmanager
    async def ending() -> AsyncIterator[None]:
        task = asyncio.ensure_future(_terminate(place.url, report))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    return await _try(place, report, faults=[ending], lasting_s=lasting_s)


async def _terminate(url: str, report: Report) -> None:
    conn = await asyncpg.connect(url)
    try:
        while True:
            await pause(EVERY_S)
            if await conn.fetchval(CUT_ONE):
                report.moments.append(Moment(now_s()))
    finally:
        await conn.close()


EVERY_S = 0.2
CUT_ONE = """
select pg_terminate_backend(pid) from (
  select pid from pg_stat_activity
  where datname = current_database() and pid <> pg_backend_pid() and application_name = 'duly'
  order by random() limit 1) chosen
"""


def halted(place: Place, mode: StopMode) -> Fault:
    """The server of a place is stopped meanwhile, in a given manner, and started again."""
    server = place.server
    assert server is not None, "asked for PostgreSQL only"

    @asynccontextmanager
    async def stopped() -> AsyncIterator[None]:
        await asyncio.to_thread(server.halt, mode)
        try:
            yield
        finally:
            await asyncio.to_thread(server.start)

    return stopped


async def _try(place: Place, report: Report, *, faults: list[Fault], lasting_s: float) -> Report:
    end = datetime.now(UTC) + timedelta(seconds=5 + len(faults) * (lasting_s + 4))
    made = tuple(Every(name=f"s{n:02}", every_s=1 + n % 5, end=end) for n in range(10))
    async with trial_of(report, place, schedules=made) as trial:
        workers = trial.fleet.start(INSTANCES)
        await trial.joined(INSTANCES)
        stop = asyncio.Event()
        asking = asyncio.ensure_future(load(trial, stop))
        try:
            await _strike(trial, faults, lasting_s)
        finally:
            stop.set()
            asked, acknowledged = await asking
        report.must_be("workers that ended meanwhile", sum(not one.living for one in workers), 0)
        await trial.quiet(within_s=180)
        most = max(MOST_INCIDENTS, 2 * len(faults)) if lasting_s else MOST_INCIDENTS
        await judge(trial, end, asked=asked, acknowledged=acknowledged, most_incidents=most)
    return report


async def _strike(trial: Trial, faults: list[Fault], lasting_s: float) -> None:
    for fault in faults:
        before = trial.journal.count()["end"]
        await until(
            lambda before=before: trial.journal.count()["end"] >= before + 5,  # type: ignore[misc]
            within_s=60,
            what="work to go on",
        )
        await pause(BETWEEN_S)
        async with fault():
            await pause(lasting_s)
        trial.struck()
    await pause(BETWEEN_S)


async def load(
    trial: Trial, stop: asyncio.Event, *, every_s: float = 0.05, long_of: int = 20, ms: int = 20
) -> tuple[set[UUID], set[UUID]]:
    """Ask for runs until told to stop; return their ids. One of `long_of` takes three seconds."""
    asked: set[UUID] = set()
    acknowledged: set[UUID] = set()
    number = 0
    while not stop.is_set():
        number += 1
        takes = 3000 if number % long_of == 0 else ms
        run = trial.new_run("work", key=f"load {number}" if number % 2 else None, ms=takes)
        asked.add(run.id)
        acknowledged.add((await trial.ask_until_told(run)).id)
        await pause(every_s)
    return asked, acknowledged


async def judge(
    trial: Trial,
    end: datetime,
    *,
    asked: set[UUID],
    acknowledged: set[UUID],
    most_incidents: int | None = MOST_INCIDENTS,
) -> None:
    """Compare by key what was asked for and what was due with what came of it."""
    report = trial.report
    runs = await trial.every_run()
    seen = await trial.judge_occurrences(end, runs)
    told = trial.judge_attempts(runs)
    there = {one.id for one in runs if one.schedule is None}
    flow = judge_flow(asked, acknowledged, there)
    again = [await trial.client.run(one.id) for one in runs if one.epoch > 1]
    unruly = [
        one
        for one in again
        if len(one.attempts) != one.epoch - 1 or any(a.outcome not in AGAIN for a in one.attempts)
    ]
    kinds = trial.journal.count()
    incidents = await trial.store.incidents(only_open=False)
    report.note("runs acknowledged", flow.acknowledged)
    report.must_be("acknowledged and lost", flow.lost, 0)
    report.must_be("never asked for", flow.invented, 0)
    report.note("occurrences due / fired", f"{seen.due}/{seen.fired}")
    report.must_be("occurrences lost", seen.lost, 0)
    report.must_be("occurrences doubled or invented", seen.doubled + seen.invented, 0)
    report.must_be("runs that did not succeed", told.unended, 0)
    report.must_be("attempts begun twice", told.started_twice, 0)
    report.must_be("succeeded without its work", told.unworked, 0)
    report.note("runs attempted again", len(again))
    report.must_be("begun again without release or takeover", len(unruly), 0)
    report.note("boots declared dead", kinds["instance.declared_dead"])
    report.note("stale writes refused", kinds["run.stale"])
    report.note("instances that saw the store away", kinds["store.away"])
    if most_incidents is not None:
        report.at_most("incidents", len(incidents), most_incidents)
    report.must_be("loops that failed", kinds["loop.failed"], 0)
    await trial.end_well()
