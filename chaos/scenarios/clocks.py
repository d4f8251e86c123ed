"""Wall clocks that disagree, and clocks that are set while everything runs.

Due-ness is the store's to say (P13). The clock of one of three instances goes 30 s ahead and
behind, an hour ahead, two hours behind: nothing fires early, nobody is declared dead for it. Then
the store's own clock is set so, under work: what it skips is caught up with, what it repeats does
not fire again (P1, P2). On SQLite the store's clock is that of the host, and of all processes.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from chaos.declared import Every
from chaos.faking import MISSING, FakeClock
from chaos.places import Place
from chaos.report import Report
from chaos.scale import QUICK, Scale
from chaos.scenarios.outage import judge, load
from chaos.trial import Trial, trial_of
from chaos.waiting import pause, until_it

HOUR_S = 3600
STEPS_S = (30, -30, HOUR_S, -2 * HOUR_S)


async def try_it(place: Place, scale: Scale) -> Report:
    """Set the clock of one of three instances, again and again; look when each occurrence fired."""
    report = Report(trial="clocks", store=place.name)
    clock = FakeClock(place.folder / "clock")
    if place.server is None:
        report.skipped = "processes that share a SQLite file share the clock of their host"
    elif clock.library is None:
        report.skipped = MISSING
    if report.skipped:
        return report
    rounds, stay_s = scale.count(1, 5), scale.pick(3, 10)
    end = datetime.now(UTC) + timedelta(seconds=6 + rounds * len(STEPS_S) * stay_s)
    made = tuple(Every(name=f"s{n:02}", every_s=1 + n % 3, end=end) for n in range(20))
    async with trial_of(report, place, schedules=made) as trial:
        trial.fleet.start(1, env=clock.env)
        trial.fleet.start(2)
        await trial.joined(3)
        for step_s in STEPS_S * rounds:
            clock.off_by(step_s)
            trial.struck()
            await pause(stay_s)
        await trial.quiet()
        runs = await trial.every_run()
        seen = await trial.judge_occurrences(end, runs)
        told = trial.judge_attempts(runs)
        early = sum(one.due is not None and one.enqueued_at < one.due for one in runs)
        by_wrong = sum(one.kind == "end" and one.worker == "w1" for one in trial.journal.lines)
        kinds = trial.journal.count()
        report.note("occurrences due / fired", f"{seen.due}/{seen.fired}")
        report.note("runs done by the instance whose clock is wrong", by_wrong)
        report.must_be("fired early", early, 0)
        report.must_be("lost", seen.lost, 0)
        report.must_be("doubled or invented", seen.doubled + seen.invented, 0)
        report.must_be("runs that did not succeed", told.unended, 0)
        report.must_be("boots declared dead", kinds["instance.declared_dead"], 0)
        report.must_be("loops that failed", kinds["loop.failed"], 0)
    return report


async def try_steps(place: Place, scale: Scale) -> Report:
    """Set the store's own clock, under work and with a kill after each step."""
    report = Report(trial="clock-steps", store=place.name)
    clock = FakeClock(place.folder / "clock")
    if clock.library is None:
        report.skipped = MISSING
        return report
    await _serve_by(place, clock)
    rounds, stay_s = scale.count(1, 3), scale.pick(5, 15)
    end = datetime.now(UTC) + timedelta(hours=3)
    made = tuple(Every(name=f"s{n:02}", every_s=60 + 60 * (n % 5), end=end) for n in range(12))
    try:
        async with trial_of(report, place, settings=QUICK, schedules=made) as trial:
            mine = None if place.server is not None else clock.env
            trial.fleet.start(3, env=mine)
            await trial.joined(3)
            stop = asyncio.Event()
            asking = asyncio.ensure_future(load(trial, stop))
            for step_s in STEPS_S * rounds:
                clock.off_by(step_s)
                trial.struck()
                await pause(stay_s)
                trial.fleet.kill(trial.fleet.living[0])
                trial.fleet.start(1, env=mine)
            stop.set()
            asked, acknowledged = await asking
            clock.off_by(3 * HOUR_S + 120)
            await trial.quiet(within_s=240)
            await judge(trial, end, asked=asked, acknowledged=acknowledged, most_incidents=None)
    finally:
        await _serve_by(place, None)
    return report


async def try_absence(place: Place, scale: Scale) -> Report:
    """Nobody is there for eight hours; each policy of catching up has its say afterwards."""
    report = Report(trial="eight-hours", store=place.name)
    clock = FakeClock(place.folder / "clock")
    if clock.library is None:
        report.skipped = MISSING
        return report
    await _serve_by(place, clock)
    now = datetime.now(UTC)
    end = now + timedelta(hours=9)
    made = tuple(
        Every(name=f"{policy}{n:02}", every_s=600, end=end, catch_up=policy)
        for policy in ("all", "latest", "skip")
        for n in range(scale.pick(2, 50))
    )
    # Half way between two occurrences of ten minutes, eight hours on.
    away_s = 8 * HOUR_S + 300 - int(now.timestamp()) % 600
    try:
        async with trial_of(report, place, settings=QUICK, schedules=made) as trial:
            mine = None if place.server is not None else clock.env
            trial.fleet.start(3, env=mine)
            await trial.joined(3)
            await trial.fleet.stop()
            gone = datetime.now(UTC)
            clock.off_by(away_s)
            back = datetime.now(UTC) + timedelta(seconds=away_s)
            await pause(1.5)  # until every process has looked at the file again
            trial.struck()
            trial.fleet.start(3, env=mine)
            await trial.joined(6)
            await _caught_up(trial)
            await _judge_policies(trial, gone, back)
            clock.off_by(9 * HOUR_S + 120)
            await trial.quiet(within_s=240)
            runs = await trial.every_run()
            seen = await trial.judge_occurrences(end, runs)
            report.note("occurrences due / fired", f"{seen.due}/{seen.fired}")
            report.must_be("occurrences lost", seen.lost, 0)
            report.must_be("occurrences doubled or invented", seen.doubled + seen.invented, 0)
            report.must_be("runs that did not succeed", trial.judge_attempts(runs).unended, 0)
            report.must_be("loops that failed", trial.journal.count()["loop.failed"], 0)
    finally:
        await _serve_by(place, None)
    return report


async def _caught_up(trial: Trial) -> None:
    """Wait until no schedule is behind the store's clock, and nothing is under way."""

    async def look() -> bool:
        rows = await trial.store.schedules()
        left = [one for row in rows for one in await trial.store.backlogs(row.name)]
        counts = await trial.store.counts()
        busy = counts.get("ready", 0) + counts.get("running", 0)
        return not left and not busy and sum(counts.values()) > 0

    await until_it(look, within_s=120, what="the schedules to catch up", every_s=0.3)


async def _judge_policies(trial: Trial, gone: datetime, back: datetime) -> None:
    """Of what was due meanwhile: all fired, the latest only, or none."""
    dues = int(back.timestamp()) // 600 - int(gone.timestamp()) // 600
    wanted = {"all": dues, "latest": 1, "skip": 0}
    count = dict.fromkeys(wanted, 0)
    wrong = dict.fromkeys(wanted, 0)
    newest = 0
    for row in await trial.store.schedules():
        policy = row.name[:-2]
        runs = await trial.every_run(row.name)
        missed = [one.due for one in runs if one.due is not None and gone < one.due <= back]
        count[policy] += len(missed)
        wrong[policy] += abs(len(set(missed)) - wanted[policy])
        if policy == "latest":
            newest += missed != [] and back - max(missed) < timedelta(seconds=600)
    report = trial.report
    report.note("occurrences due meanwhile, of each schedule", dues)
    for policy, runs_of_it in count.items():
        report.note(f"catch_up={policy}: caught up, all schedules", runs_of_it)
        report.must_be(f"catch_up={policy}: schedules that did otherwise", wrong[policy], 0)
    report.must_be(
        "catch_up=latest: it was the latest",
        newest,
        sum(row.name.startswith("latest") for row in await trial.store.schedules()),
    )


async def _serve_by(place: Place, clock: FakeClock | None) -> None:
    """Start the server of a place again with this clock, or with the true one."""
    server = place.server
    if server is None:
        return
    await asyncio.to_thread(server.halt, "fast")
    if clock is None:
        await asyncio.to_thread(server.start)
        return
    place.folder.chmod(0o755)  # the server reads the clock's file as a user of its own
    with clock.around():
        await asyncio.to_thread(server.start)
