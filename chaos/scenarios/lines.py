"""Bad lines to PostgreSQL: commits that are cut, sockets that fall silent, answers that are late.

Workers, and the program that asks for runs, reach the server through proxies. A commit whose
request was cut did not happen, one whose answer was cut did; nobody can tell which, and what is
sent again must come to the same, also when what was asked for has been begun or has ended since:
the program that asks has a line of its own, cut so often that this happens. SQLite has no line,
and says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from chaos.declared import Every
from chaos.journal import now_s
from chaos.places import Place
from chaos.proxy import Cut, Proxy, now_and_then
from chaos.report import Report
from chaos.scale import QUICK, Scale
from chaos.scenarios.outage import judge, load
from chaos.trial import Trial, trial_of
from chaos.waiting import pause, until

INSTANCES = 3
SHARE = 0.04
SHARE_OF_ASKING = 0.3
LATE_S = 2.0
SILENT_S = 5.0
FEW_SLOTS, BUSY_MS, LONG_OF = 2, 150, 40
"""So few, and runs that last so long, that two workers are full: else one of them, which claims
again while it holds something, may leave nothing to a worker that is well."""

NO_LINE = "a SQLite file has no line that could be bad"


def _schedules(last_s: float) -> tuple[datetime, tuple[Every, ...]]:
    end = datetime.now(UTC) + timedelta(seconds=last_s)
    return end, tuple(Every(name=f"s{n:02}", every_s=1 + n % 5, end=end) for n in range(10))


def _way(place: Place, name: str) -> Proxy:
    assert place.server is not None, "asked for PostgreSQL only"
    return Proxy(Path(place.folder) / name, place.server.folder)


async def try_commits(place: Place, scale: Scale) -> Report:
    """Cut so many commits, half of them before and half of them after they happened.

    As many again are those of the program that asks.
    """
    report = Report(trial="cut-commits", store=place.name)
    if place.server is None:
        report.skipped = NO_LINE
        return report
    most = scale.count(30, 500)
    end, made = _schedules(scale.pick(12, 150))
    direct = place.url
    async with _way(place, "way") as way, _way(place, "asking") as mine:
        place.url = mine.url(direct)
        async with trial_of(report, place, settings=QUICK, schedules=made) as trial:
            workers = trial.fleet.start(INSTANCES, env={"CHAOS_STORE": way.url(direct)})
            await trial.joined(INSTANCES)
            way.cut_next = _struck(trial, now_and_then(SHARE, most, way.done))
            mine.cut_next = _struck(trial, now_and_then(SHARE_OF_ASKING, most, mine.done))
            stop = asyncio.Event()
            asking = asyncio.ensure_future(load(trial, stop))

            def over() -> bool:  # early, if somebody has ended: then that is what must be told
                enough = min(way.done.total(), mine.done.total()) >= most
                return enough or asking.done() or not all(one.living for one in workers)

            await until(over, within_s=1200, what="commits to be cut")
            stop.set()
            asked, acknowledged = await asking
            done = way.done + mine.done
            report.note("commits cut before they happened", done["request"])
            report.note("commits cut after they happened", done["answer"])
            late = trial.resent_late()
            report.note("asked for again when already begun", late)
            report.must_be("asked for again when already begun, ever", late > 0, True)
            report.must_be(
                "workers that ended meanwhile", sum(not one.living for one in workers), 0
            )
            await trial.quiet(within_s=240)
            await judge(trial, end, asked=asked, acknowledged=acknowledged)
    return report


def _struck(trial: Trial, choose: Callable[[], Cut | None]) -> Callable[[], Cut | None]:
    """The same choice, each cut of which is told to the trial."""

    def chosen() -> Cut | None:
        cut = choose()
        if cut is not None:
            trial.struck()
        return cut

    return chosen


async def try_silence(place: Place, scale: Scale) -> Report:
    """All sockets of one worker fall silent and stay open; new ones work."""
    report = Report(trial="half-open", store=place.name)
    if place.server is None:
        report.skipped = NO_LINE
        return report
    rounds = scale.count(1, 10)
    end, made = _schedules(10 + rounds * 8)
    settings = QUICK | {"engine.slots": str(FEW_SLOTS)}
    async with (
        _way(place, "way") as way,
        trial_of(report, place, settings=settings, schedules=made) as trial,
    ):
        through = {"CHAOS_STORE": way.url(place.url)}
        trial.fleet.start(1, env=through)
        trial.fleet.start(INSTANCES - 1)
        await trial.joined(INSTANCES)
        stop = asyncio.Event()
        asking = asyncio.ensure_future(load(trial, stop, ms=BUSY_MS, long_of=LONG_OF))
        silenced = 0
        for _ in range(rounds):
            await _worked(trial, "w1")
            trial.struck()
            moment_s = now_s()
            silenced += way.silence()
            await pause(SILENT_S)
            await _worked(trial, "w1")
            report.times_s.append(now_s() - moment_s)
        stop.set()
        asked, acknowledged = await asking
        report.note("sockets that fell silent", silenced)
        await trial.quiet(within_s=240)
        await judge(trial, end, asked=asked, acknowledged=acknowledged, most_incidents=None)
    return report


async def _worked(trial: Trial, name: str) -> None:
    """Wait until a worker has ended something from now on."""
    trial.journal.read()
    place = len(trial.journal.lines)

    def look() -> bool:
        trial.journal.read()
        return any(one.kind == "end" and one.worker == name for one in trial.journal.lines[place:])

    await until(look, within_s=120, what=f"{name} to work again")


async def try_late_answers(place: Place, scale: Scale) -> Report:
    """Every answer of the server comes two seconds late: nobody is declared dead for it."""
    report = Report(trial="late-answers", store=place.name)
    if place.server is None:
        report.skipped = NO_LINE
        return report
    last_s = scale.pick(6, 300)
    end, made = _schedules(last_s)
    async with (
        _way(place, "way") as way,
        trial_of(report, place, schedules=made) as trial,
    ):
        trial.fleet.start(INSTANCES, env={"CHAOS_STORE": way.url(place.url)})
        await trial.joined(INSTANCES)
        stop = asyncio.Event()
        asking = asyncio.ensure_future(load(trial, stop, every_s=0.5))
        await pause(2)
        way.delay_s = LATE_S
        trial.struck()
        await pause(last_s)
        stop.set()
        asked, acknowledged = await asking
        await trial.quiet(within_s=300)
        way.delay_s = 0.0
        dead = trial.journal.count()["instance.declared_dead"]
        report.must_be("boots declared dead", dead, 0)
        await judge(trial, end, asked=asked, acknowledged=acknowledged)
    return report
