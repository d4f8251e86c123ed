"""Timers whose targets changed, beside one that is well, one of our own making, one held open.

What answers 405 or 422 all at once wants another request than the timer makes: its breaker trips at
the third failure, and the target is left alone until a person says that it is mended. A call that
could never be made, for a secret that is not there, is our own bug, and trips nothing. A breaker
that a person forces open lets nothing through until a person lets it. Others go on meanwhile.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from chaos.callee import Call, Callee
from chaos.calling import Calls, Span, calls_settings, compare, set_timer
from chaos.places import Place
from chaos.report import Report
from chaos.scale import Scale
from chaos.trial import Trial, trial_of
from chaos.waiting import pause, until_it
from duly.core.breakers import OPEN, BreakerRow, breaker_of_schedule
from duly.core.faults import Fault
from duly.core.runs import RunView
from duly.core.states import BreakerState, BreakerVerb, RunState
from duly.core.verdicts import Verdict
from duly.engine.breaking import FRESH_S

THRESHOLD = 3
CHANGED = {"moved": 405, "stricter": 422}
WELL, OURS, HELD = "well", "ours", "held"
NAMES = (*CHANGED, WELL, OURS, HELD)
EVERY = timedelta(milliseconds=500)
CALLS = Calls(threshold=THRESHOLD, pause="10m", retries=3)
CHANGE = Fault.CONTRACT_CHANGED.value
AHEAD_S = 1.0
KNOWN = timedelta(seconds=FRESH_S)
"""After so long every process knows that a breaker opened, also where a hint was late."""


async def try_it(place: Place, scale: Scale) -> Report:
    """Let timers meet what changed, mend it, and compare by keys."""
    report = Report(trial="contract", store=place.name)
    async with (
        Callee(lambda path, _: CHANGED.get(path.strip("/"), 200)) as callee,
        trial_of(report, place, settings=calls_settings(callee), calls=CALLS) as trial,
    ):
        processes = scale.pick(3, 8)
        trial.fleet.start(processes)
        await trial.joined(processes)
        await _live(trial, callee, lasting_s=scale.pick(5, 60))
    return report


async def _live(trial: Trial, callee: Callee, *, lasting_s: float) -> None:
    start = datetime.now(UTC) + timedelta(seconds=AHEAD_S * len(NAMES))
    span = Span(start, start + timedelta(seconds=lasting_s), EVERY)
    for name in NAMES:
        more = {"headers": {"X-Token": "secret:NOBODY_HAS_IT"}} if name == OURS else {}
        await set_timer(trial.client, callee, name, span, **more)
    held = breaker_of_schedule(HELD)  # there with its timer, and held before that is due
    await _move(trial, held, BreakerVerb.FORCE_OPEN, "they are moving house")
    for name in CHANGED:
        trial.struck()
        await _opened(trial, name)
    await pause(max(lasting_s / 4, (span.end - datetime.now(UTC)).total_seconds() - lasting_s / 4))
    while_open = {name: callee.to(f"/{name}") for name in NAMES}
    rows = {name: await trial.store.breaker(breaker_of_schedule(name)) for name in NAMES}
    callee.answers = lambda path, before: 200
    for name in (*CHANGED, HELD):
        await _move(trial, breaker_of_schedule(name), BreakerVerb.RESUME, "they are done")
    await pause(lasting_s / 4)
    await trial.quiet(within_s=120)
    _judge_open(trial.report, while_open, rows)
    await _judge(trial, callee, span)


async def _move(trial: Trial, name: str, verb: BreakerVerb, why: str) -> None:
    await trial.client.move_breaker(name, verb, by="ann", why=why)


async def _opened(trial: Trial, name: str) -> None:
    """Wait until its breaker has tripped."""

    async def look() -> bool:
        row = await trial.store.breaker(breaker_of_schedule(name))
        return row is not None and row.state is BreakerState.OPEN

    await until_it(look, within_s=60, what=f"the breaker of {name} to trip", every_s=0.1)


def _judge_open(
    report: Report,
    while_open: dict[str, list[Call]],
    rows: dict[str, BreakerRow | None],
) -> None:
    """What changed was left alone once it had tripped, and what was held not called at all."""
    for name, status in CHANGED.items():
        calls, row = while_open[name], rows[name]
        opened = row is not None and row.state is BreakerState.OPEN
        report.must_be(f"{status} trips", opened, True)
        report.must_be(f"what {status} is told as", "" if row is None else row.fault, CHANGE)
        report.note(f"calls to what answers {status}", len(calls))
        since = None if row is None else row.opened_at
        late = [one for one in calls if since is None or one.at > since + KNOWN]
        report.must_be(f"calls when everybody knew of {status}", len(late), 0)
    ours = rows[OURS]
    report.must_be("our own bug is counted", ours is not None and not ours.clean, False)
    report.must_be("calls through a breaker held open", len(while_open[HELD]), 0)
    report.must_be("calls with a secret that is not there", len(while_open[OURS]), 0)
    report.note("calls to what is well", len(while_open[WELL]))


async def _judge(trial: Trial, callee: Callee, span: Span) -> None:
    report = trial.report
    runs = [await trial.client.run(one.id) for one in await trial.every_run()]
    seen = await trial.judge_occurrences(span.end, runs)
    ours = [one for one in runs if one.schedule == OURS]
    called = compare(callee.calls, [one for one in runs if one.schedule != OURS])
    resumed = {name: len(callee.to(f"/{name}")) for name in (*CHANGED, HELD)}
    blocked = sum([await _blocked(trial, name) for name in (*CHANGED, HELD)])
    told = [one for one in await trial.store.incidents(only_open=False) if one.kind == OPEN]
    subjects = {breaker_of_schedule(name) for name in (*CHANGED, HELD)}
    report.note("occurrences due / fired", f"{seen.due}/{seen.fired}")
    report.note("occurrences blocked by a breaker", blocked)
    report.must_be("occurrences lost", seen.lost, 0)
    report.must_be("occurrences doubled or invented", seen.doubled + seen.invented, 0)
    report.must_be("calls that no attempt made", called.unaccounted, 0)
    report.must_be("attempts whose call never came", called.unseen, 0)
    report.must_be("of our own bug, runs that failed", _failed(ours), len(ours))
    well = [one for one in runs if one.schedule == WELL]
    report.must_be("of what is well, runs that failed", _failed(well), 0)
    wrong = sum(count <= THRESHOLD * (name in CHANGED) for name, count in resumed.items())
    report.must_be("targets not called again when they were mended", wrong, 0)
    report.must_be("breakers with an incident", {one.subject for one in told} == subjects, True)
    report.must_be("incidents of breakers", len(told), len(subjects))
    report.must_be("incidents still open", sum(one.closed_at is None for one in told), 0)
    report.must_be("loops that failed", trial.journal.count()["loop.failed"], 0)
    await trial.end_well()


async def _blocked(trial: Trial, name: str) -> int:
    ranges = await trial.store.verdicts(name)
    return sum(one.count for one in ranges if one.verdict is Verdict.BLOCKED)


def _failed(runs: list[RunView]) -> int:
    return sum(one.state is RunState.FAILED for one in runs)
