"""A sender that is frozen between its intent and its first byte, and a person who wants to help.

Said to be not performed while that process still exists, the word is refused: it could wake up
and send. Once it is proven gone the word counts, and one delivery follows. A sleeper that wakes
by itself finds its deadline over, takes its intent back, and one delivery follows as well.
Two runs with one key make one delivery. A receipt against a person's word is kept, and told.
"""

from __future__ import annotations

import signal
from uuid import UUID

from chaos.durable import Target
from chaos.fleet import Worker
from chaos.places import Place
from chaos.report import Report
from chaos.scale import QUICK, Scale
from chaos.trial import Trial, trial_of
from chaos.waiting import until, until_it
from duly.core.effects import CONTRADICTED, Effect, EffectFilter
from duly.core.runs import RunView
from duly.core.states import ENDS, EffectState
from duly.errors import Refused

INSTANCES = 3
WITHIN_S = 90.0


async def try_it(place: Place, scale: Scale) -> Report:
    """Take each story so many times."""
    report = Report(trial="quarantine", store=place.name)
    async with trial_of(report, place, settings=QUICK) as trial, Target() as target:
        trial.fleet.start(INSTANCES)
        await trial.joined(INSTANCES)
        rounds = scale.count(1, 10)
        refused = accepted = woke = joined = contradicted = 0
        for number in range(rounds):
            said = await _gone_at_last(trial, target, f"gone{number}")
            refused, accepted = refused + said[0], accepted + said[1]
            woke += await _wakes_too_late(trial, target, f"woke{number}")
            joined += await _two_runs(trial, target, f"join{number}")
            contradicted += await _against_a_word(trial, target, f"word{number}")
        report.must_be("'not performed' refused while its sender exists", refused, rounds)
        report.must_be("'not performed' accepted once it is proven gone", accepted, rounds)
        report.must_be("sleepers that took their intent back", woke, rounds)
        report.must_be("two runs of one key that agree on one receipt", joined, rounds)
        report.must_be("receipts against a person's word that were told", contradicted, rounds)
        twice = [k for k, n in target.performed.items() if n > 1 and not k.startswith("word")]
        report.must_be("performed twice", len(twice), 0)
        never = rounds * 4 - len(target.performed)
        report.must_be("never performed", never, 0)
    return report


async def _frozen_sender(
    trial: Trial, target: Target, key: str, *, early: bool = False
) -> tuple[UUID, Worker]:
    """Freeze a worker in the middle of an effect."""
    run = (await trial.ask("slow_delivery", port=target.port, key=key, early=early)).id
    kind = "sent" if early else "intended"
    line = await until(
        lambda: trial.journal.find(kind, run), within_s=WITHIN_S, what="a sender to begin"
    )
    sleeper = trial.fleet.by_name(line.worker)
    while True:
        sleeper.signal(signal.SIGSTOP)
        if await trial.place.is_writable():
            trial.struck(sleeper.name)
            return run, sleeper
        sleeper.signal(signal.SIGCONT)


async def _doubted(trial: Trial, run: UUID) -> Effect:
    async def look() -> Effect | None:
        await trial.store.sweep()
        where = EffectFilter(state=EffectState.UNCERTAIN, run=run)
        found = await trial.store.effects(where)
        return found[0] if found else None

    return await until_it(look, within_s=WITHIN_S, what="the effect to be doubted", every_s=0.1)


async def _ended(trial: Trial, run: UUID) -> RunView:
    async def look() -> RunView | None:
        view = await trial.client.run(run)
        return view if view.state in ENDS else None

    return await until_it(look, within_s=WITHIN_S, what="the run to end")


def _let_go(trial: Trial, key: str) -> None:
    (trial.place.folder / f"go-{key}").touch()


async def _gone_at_last(trial: Trial, target: Target, key: str) -> tuple[bool, bool]:
    run, sleeper = await _frozen_sender(trial, target, key)
    effect = await _doubted(trial, run)
    word = {"performed": False, "by": "a person", "reason": "the target shows nothing"}
    try:
        await trial.client.resolve(effect.address, **word)  # type: ignore[arg-type]
        refused = False
    except Refused:
        refused = True
    trial.fleet.kill(sleeper)
    trial.fleet.start()
    _let_go(trial, key)
    await trial.client.resolve(effect.address, **word)  # type: ignore[arg-type]
    view = await _ended(trial, run)
    return refused, view.state == "succeeded" and target.performed.get(key) == 1


async def _wakes_too_late(trial: Trial, target: Target, key: str) -> bool:
    run, sleeper = await _frozen_sender(trial, target, key)
    await _doubted(trial, run)
    _let_go(trial, key)
    sleeper.signal(signal.SIGCONT)
    view = await _ended(trial, run)
    return view.state == "succeeded" and target.performed.get(key) == 1


async def _two_runs(trial: Trial, target: Target, key: str) -> bool:
    first = (await trial.ask("slow_delivery", port=target.port, key=key, early=False)).id
    await until(
        lambda: trial.journal.find("intended", first), within_s=WITHIN_S, what="the first run"
    )
    second = (await trial.ask("slow_delivery", port=target.port, key=key, early=False)).id
    _let_go(trial, key)
    one, two = await _ended(trial, first), await _ended(trial, second)
    said = sorted([one.result or b"", two.result or b""])
    return said == [b"false", b"true"] and target.performed.get(key) == 1


async def _against_a_word(trial: Trial, target: Target, key: str) -> bool:
    """A person takes the risk of a double; then the first sender wakes up with its receipt."""
    run, sleeper = await _frozen_sender(trial, target, key, early=True)
    effect = await _doubted(trial, run)
    _let_go(trial, key)
    await trial.client.resolve(
        effect.address,
        performed=False,
        by="a person",
        reason="nobody answers the phone",
        accept_double=True,
    )
    await _ended(trial, run)
    sleeper.signal(signal.SIGCONT)

    async def look() -> bool:
        return any(
            one.kind == CONTRADICTED and key in one.subject for one in await trial.store.incidents()
        )

    return await until_it(look, within_s=WITHIN_S, what="the late receipt", every_s=0.1)
