"""Processes that are stopped at random for one to three leases, under work, and woken again.

Others take over what they held; when they wake, nothing they still say counts, and they join anew
(P6, P7). On SQLite one that sleeps inside a write holds everybody up, and is woken at once.
"""

from __future__ import annotations

import asyncio
import random
import signal
from datetime import UTC, datetime, timedelta

from chaos.declared import Every
from chaos.places import Place
from chaos.report import Report
from chaos.scale import QUICK, Scale
from chaos.scenarios.outage import judge, load
from chaos.trial import Trial, trial_of
from chaos.waiting import pause

INSTANCES = 4
LEASE_S = 2.0


async def try_it(place: Place, scale: Scale) -> Report:
    """Stop one after the other, so many times."""
    report = Report(trial="frozen", store=place.name)
    times = scale.count(3, 100)
    end = datetime.now(UTC) + timedelta(seconds=5 + times * 2.5 * LEASE_S)
    made = tuple(Every(name=f"s{n:02}", every_s=1 + n % 5, end=end) for n in range(10))
    async with trial_of(report, place, settings=QUICK, schedules=made) as trial:
        workers = trial.fleet.start(INSTANCES)
        await trial.joined(INSTANCES)
        stop = asyncio.Event()
        asking = asyncio.ensure_future(load(trial, stop, long_of=4))
        chance, slept = random.Random(9), 0
        while slept < times:
            slept += await _freeze(trial, chance)
        stop.set()
        asked, acknowledged = await asking
        report.note("stopped inside a write of the shared file", trial.woken_at_once)
        report.must_be("workers that ended meanwhile", sum(not one.living for one in workers), 0)
        await trial.quiet(within_s=240)
        await judge(trial, end, asked=asked, acknowledged=acknowledged, most_incidents=None)
    return report


async def _freeze(trial: Trial, chance: random.Random) -> bool:
    """Stop one for one to three leases; False if it had to be woken at once."""
    await pause(chance.uniform(0.1, 0.6))
    busy = trial.journal.at_work()
    living = trial.fleet.living
    victim = chance.choice([one for one in living if one.name in busy] or living)
    victim.signal(signal.SIGSTOP)
    trial.struck(victim.name)
    try:
        if not await trial.place.is_writable():
            trial.report.moments.pop()
            trial.woken_at_once += 1
            return False
        await pause(chance.uniform(LEASE_S, 3 * LEASE_S))
        return True
    finally:
        victim.signal(signal.SIGCONT)
