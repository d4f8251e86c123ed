"""Two processes that cannot be told apart: a worker whose memory was copied, and one host name.

A virtual machine that is cloned while it runs goes on twice with one boot id. Here two processes
are started with one, which is the nearest thing. On PostgreSQL both work; neither knows of the
other, each gives back what the other holds as if its own claim's answer had been lost: work is
begun again more often than it need be, but nothing is lost, and each run ends once, by the fence.
On SQLite the boot's file lock keeps the second one out. In each round it is looked whether the two
really had one boot, and whether the lock really kept one out.
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
from chaos.trial import Trial, trial_of
from chaos.waiting import pause, until

INSTANCES = 3
TWINS = 2


async def try_clone(place: Place, scale: Scale) -> Report:
    """Start two workers with one boot id beside an honest one, some rounds."""
    report = Report(trial="clone", store=place.name)
    rounds, stay_s = scale.count(1, 20), scale.pick(4, 8)
    end = datetime.now(UTC) + timedelta(seconds=5 + rounds * (stay_s + 2))
    made = tuple(Every(name=f"s{n:02}", every_s=1 + n % 5, end=end) for n in range(10))
    async with trial_of(report, place, settings=QUICK, schedules=made) as trial:
        trial.fleet.start(1)
        await trial.joined(1)
        stop = asyncio.Event()
        asking = asyncio.ensure_future(load(trial, stop, long_of=4))
        as_one, alone, codes = 0, 0, list[int]()
        for _ in range(rounds):
            twins = Twins(trial)
            await twins.live(stay_s)
            as_one += len(twins.same) == TWINS
            alone += len(twins.same) == 1 and len(twins.kept_out) == 1
            codes += await twins.stop()
        stop.set()
        asked, acknowledged = await asking
        await trial.quiet(within_s=240)
        if place.server is not None:
            report.must_be("rounds in which both worked under one boot", as_one, rounds)
        else:
            report.must_be("rounds in which the second was kept out", alone, rounds)
        returned = trial.journal.count()["instance.returned"]
        report.note("joined anew under a boot of its own", returned)
        report.must_be("twins that ended badly", sum(code != 0 for code in codes), 0)
        await judge(trial, end, asked=asked, acknowledged=acknowledged, most_incidents=None)
    return report


class Twins:
    """Two workers of one boot id, and what the journal says of them."""

    def __init__(self, trial: Trial) -> None:
        self._trial, self.boot = trial, trial.app.clock.new_id()
        trial.struck()
        self._workers = trial.fleet.start(TWINS, env={"CHAOS_BOOT": str(self.boot)})

    async def live(self, seconds: float) -> None:
        """Let them live for so long after each has joined, or was kept out."""
        names = {one.name for one in self._workers}
        await until(
            lambda: names <= self._joined | self.kept_out,
            within_s=60,
            what="each of the twins to join or to be kept out",
        )
        await pause(seconds)

    async def stop(self) -> list[int]:
        """Ask them to stop, who was kept out first; return their exit codes."""
        out = self.kept_out
        codes = []
        for one in sorted(self._workers, key=lambda one: one.name not in out):
            codes += await self._trial.fleet.stop(one)
        return codes

    @property
    def same(self) -> set[str]:
        """Who joined under the boot they share."""
        return self._who("instance.started", str(self.boot))

    @property
    def kept_out(self) -> set[str]:
        """Who was refused the lock of that boot, and has not joined since."""
        return self._who("store.away", f"{self.boot}.lock") - self._joined

    @property
    def _joined(self) -> set[str]:
        return self._who("instance.started", "")

    def _who(self, kind: str, word: str) -> set[str]:
        self._trial.journal.read()
        mine = {one.name for one in self._workers}
        return {
            one.worker
            for one in self._trial.journal.lines
            if one.kind == kind and one.worker in mine and word in one.detail
        }


async def try_namesakes(place: Place, scale: Scale) -> Report:
    """Kill one after another of a fleet in which all are process 1 of one host name."""
    report = Report(trial="namesakes", store=place.name)
    if not await can_be_apart():
        report.skipped = "PID namespaces cannot be made here (unshare --pid --fork)"
        return report
    rounds = scale.count(2, 30)
    end = datetime.now(UTC) + timedelta(seconds=6 + rounds * 3)
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
