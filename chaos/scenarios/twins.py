"""Two processes that cannot be told apart: a worker whose memory was copied, and one host name.

A virtual machine that is cloned while it runs goes on twice with one boot id. Here two processes
are started with one, which is the nearest thing. On PostgreSQL both work; neither knows of the
other, each gives back what the other holds as if its own claim's answer had been lost: work is
begun again more often than it need be, but nothing is lost, and each run ends once, by the fence.
On SQLite the boot's file lock keeps the second one out.
Instances of one host name and one process id (two containers) are different boots and share
nothing.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from chaos.declared import Every
from chaos.fleet import can_be_apart
from chaos.places import Place
from chaos.report import Report
from chaos.scale import QUICK, Scale
from chaos.scenarios.outage import MOST_INCIDENTS, judge, load
from chaos.trial import trial_of
from chaos.waiting import pause
from duly.core.ids import uuid7

INSTANCES = 3


async def try_clone(place: Place, scale: Scale) -> Report:
    """Start two workers with one boot id beside an honest one, some rounds."""
    report = Report(trial="clone", store=place.name)
    rounds = scale.count(1, 20)
    end = datetime.now(UTC) + timedelta(seconds=10 + rounds * 6)
    made = tuple(Every(name=f"s{n:02}", every_s=1 + n % 5, end=end) for n in range(10))
    async with trial_of(report, place, settings=QUICK, schedules=made) as trial:
        trial.fleet.start(1)
        await trial.joined(1)
        stop = asyncio.Event()
        asking = asyncio.ensure_future(load(trial, stop, long_of=4))
        joined, codes = 0, list[int]()
        for number in range(rounds):
            same = {"CHAOS_BOOT": str(uuid7(int(end.timestamp() * 1000) + number, number))}
            twins = trial.fleet.start(2, env=same)
            trial.struck()
            before = trial.journal.count()["instance.started"]
            await trial.joined(before + 1)
            await pause(scale.pick(8, 5))
            await trial.all_joined()
            joined += trial.journal.count()["instance.started"] - before
            codes += await trial.fleet.stop(*twins)
        stop.set()
        asked, acknowledged = await asking
        await trial.quiet(within_s=240)
        report.note("twins started / joined", f"{2 * rounds}/{joined}")
        report.must_be("twins that ended badly", sum(code != 0 for code in codes), 0)
        await judge(trial, end, asked=asked, acknowledged=acknowledged, most_incidents=None)
    return report


async def try_namesakes(place: Place, scale: Scale) -> Report:
    """Kill one after another of a fleet in which all are process 1 of one host name."""
    report = Report(trial="namesakes", store=place.name)
    if not await can_be_apart():
        report.skipped = "PID namespaces cannot be made here (unshare --pid --fork)"
        return report
    rounds = scale.count(2, 30)
    end = datetime.now(UTC) + timedelta(seconds=10 + rounds * 3)
    made = tuple(Every(name=f"s{n:02}", every_s=1 + n % 5, end=end) for n in range(10))
    async with trial_of(report, place, schedules=made) as trial:
        trial.fleet.start(INSTANCES, apart=True)
        await trial.joined(INSTANCES)
        stop = asyncio.Event()
        asking = asyncio.ensure_future(load(trial, stop, long_of=4))
        for _ in range(rounds):
            await pause(2)
            trial.fleet.kill(trial.fleet.living[0])
            trial.fleet.start(apart=True)
            await trial.all_joined()
        stop.set()
        asked, acknowledged = await asking
        await trial.quiet(within_s=240)
        set_aside = await trial.let_poison_go()
        await trial.quiet(within_s=240)
        report.note("set aside as poison, and let go on by a person", set_aside)
        names = {one.name for one in await trial.store.instances()}
        report.must_be("different names among the instances", len(names), 1)
        came_back = trial.journal.count()["instance.returned"]
        report.must_be("living boots taken for dead", came_back, 0)
        await judge(
            trial,
            end,
            asked=asked,
            acknowledged=acknowledged,
            most_incidents=MOST_INCIDENTS + rounds + set_aside,  # one for each that was struck
        )
    return report
