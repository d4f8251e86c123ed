"""Effects against a target that loses answers, in a fleet that is killed and frozen meanwhile.

The target counts what really happened. No key is ever performed twice; what is uncertain is
exactly what nobody could know: answers that the target lost, and senders that died, or slept
through their lease, before they had one. Nothing is lost in silence.
"""

from __future__ import annotations

import asyncio
import random
import signal

from chaos.durable import Target
from chaos.places import Place
from chaos.report import Report
from chaos.scale import QUICK, Scale
from chaos.trial import Trial, trial_of
from chaos.waiting import pause, until_it
from duly.core.effects import Effect, EffectFilter
from duly.core.runs import NewRun
from duly.core.states import EffectState, RunState

INSTANCES = 3
LOST_OF_100 = 10
BATCH = 1000
FROZEN_S = 3.0


async def try_it(place: Place, scale: Scale) -> Report:
    """Ask for many deliveries, and disturb the fleet until all are settled."""
    report = Report(trial="effects", store=place.name)
    faults = scale.count(2, 40)
    count = scale.pick(1_000, 2_500 * faults)
    losing = Target(loses=lambda what: int(what) % 100 < LOST_OF_100)
    async with trial_of(report, place, settings=QUICK) as trial, losing as target:
        trial.fleet.start(INSTANCES)
        await trial.joined(INSTANCES)
        disturbing = asyncio.ensure_future(_disturb(trial, faults))
        await _ask(trial, target.port, count)
        frozen = await disturbing
        await _settled(trial)
        await _judge(report, trial, target, count)
        report.note("kill -9", trial.fleet.killed)
        report.note("frozen for longer than the lease", frozen)
    return report


async def _ask(trial: Trial, port: int, count: int) -> None:
    for start in range(0, count, BATCH):
        numbers = range(start, min(count, start + BATCH))
        runs: list[NewRun] = [
            trial.new_run("deliver", port=port, number=number) for number in numbers
        ]
        await trial.client.enqueue(runs)


async def _disturb(trial: Trial, times: int) -> int:
    """Kill and freeze workers in turn; return how many were frozen."""
    chance, frozen = random.Random(7), 0
    for number in range(times):
        await pause(chance.uniform(0.2, 0.8))
        victim = chance.choice(trial.fleet.living)
        if number % 3 == 2:
            frozen += await _freeze(trial, victim.name)
            continue
        trial.fleet.kill(victim)
        trial.fleet.start()
    return frozen


async def _freeze(trial: Trial, name: str) -> int:
    """Stop a worker for longer than its lease; not one that holds the whole file's write lock."""
    victim = trial.fleet.by_name(name)
    victim.signal(signal.SIGSTOP)
    held = await trial.place.is_writable()
    if held:
        trial.struck(name)
        await pause(FROZEN_S)
    victim.signal(signal.SIGCONT)
    return int(held)


async def _settled(trial: Trial) -> None:
    """Wait until nothing is intended any more, and every run has ended or is parked."""

    async def look() -> bool:
        await trial.store.sweep()
        counts = await trial.store.counts()
        live = sum(n for state, n in counts.items() if RunState(state) in _LIVE)
        intended = await trial.store.effects(EffectFilter(state=EffectState.INTENDED, limit=1))
        return live == 0 and not intended

    await until_it(look, within_s=600, what="every delivery to be settled", every_s=0.5)


_LIVE = (
    RunState.SCHEDULED, RunState.READY, RunState.RUNNING, RunState.RETRYING, RunState.WAITING,
)  # fmt: skip


async def _judge(report: Report, trial: Trial, target: Target, count: int) -> None:
    rows = await trial.store.effects(EffectFilter(limit=10 * count))
    by_number = {one.address.key.rpartition(" ")[2]: one for one in rows}
    done = {number for number, one in by_number.items() if one.state is EffectState.DONE}
    doubted = {number: one for number, one in by_number.items() if number not in done}
    twice = sum(n > 1 for n in target.performed.values())
    dead = {one.boot for one in await trial.store.instances() if one.state == "dead"}
    report.note("deliveries asked for", count)
    report.note("answers lost by the target", len(target.lost))
    report.must_be("performed twice", twice, 0)
    report.must_be("done, but never performed", len(done - set(target.performed)), 0)
    silent = set(target.performed) - set(by_number)
    report.must_be("performed, and the ledger knows nothing", len(silent), 0)
    report.must_be("lost answers that are not uncertain", len(target.lost - set(doubted)), 0)
    unknown = {number for number in doubted if number not in target.lost}
    guessed = [n for n in unknown if not _sender_died(doubted[n], dead)]
    report.must_be("uncertain without a reason", len(guessed), 0)
    report.note("uncertain: answer lost", len(target.lost))
    report.note("uncertain: sender died or slept", len(unknown))
    counts = await trial.store.counts()
    report.must_be("runs parked", counts.get("parked", 0), len(doubted))
    report.must_be("runs that succeeded", counts.get("succeeded", 0), count - len(doubted))
    told = [one for one in await trial.store.incidents() if one.kind == "effect.uncertain"]
    await trial.judge_moves()
    report.must_be("incidents (1,000 are shown)", len(told) >= min(900, len(doubted)), True)


def _sender_died(effect: Effect, dead: set[object]) -> bool:
    return effect.author.boot in dead
