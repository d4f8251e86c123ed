"""Many processes before one target: half of its calls fail, it is dead for an hour, and is back.

An hour of a minute in 1.2 seconds: every pause of the breaker is a fiftieth of what it would be
(36 s at first, 10 minutes at most), and so is the time that the target is dead, while calls come as
often as they do. So as many probes fall due as in an hour. The deadline of a probe stays whole.

Timers call it, run by a few instances, and every process from code of its own, behind one breaker.
The target is a real HTTP server, which counts. While it is dead it answers 500, or hangs up. By its
own record against the history of the breaker: one call in each window of a probe, and none in
between but in the seconds behind its opening, for which a process believes its copy where a hint
comes late; and every call is that of an attempt the store knows, or in its process's journal.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import msgspec

from chaos.callee import HANG_UP, Call, Callee
from chaos.calling import (
    ALONE,
    CALLING,
    PASSED,
    TRIED,
    Calls,
    Span,
    calls_settings,
    compare,
    set_timer,
)
from chaos.fleet import Fleet
from chaos.journal import now_s
from chaos.places import Place
from chaos.report import Report
from chaos.scale import Scale
from chaos.trial import Trial, trial_of
from chaos.waiting import pause, until, until_it
from duly.core.breakers import OPEN, BreakerLine
from duly.core.runs import RunView
from duly.core.states import BreakerState, BreakerVerb
from duly.engine.breaking import FRESH_S
from tests.servers import start_postgres

NAME = "bank"
SLOW_S = 0.05
AHEAD_S = 1.0
"""Time that is enough to make one timer, on a busy machine."""

ABREAST = 8
"""How many processes start at once: a start is heavy, and two cores have much else to do."""

LOOKS = 8
"""How many runs are read at once."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How many processes, how many timers, how often these call, and how long each time lasts."""

    instances: int
    alone: int  # processes beside them that only call from code of their own
    timers: int
    per_second: int  # calls of timers; each process calls `calls.own_every_s` apart besides
    half_s: float
    dead_s: float
    back_s: float
    calls: Calls
    most_percent: float | None = None  # None: so short a time has few calls, and as many probes


PACE = Calls(breaker=NAME, threshold=15, pause="720ms", slowest="12s", retries=20)
GATE = Plan(
    instances=2,
    alone=2,
    timers=2,
    per_second=4,
    half_s=2.0,
    dead_s=5.0,
    back_s=1.0,
    calls=msgspec.structs.replace(PACE, threshold=8, slowest="1.5s", own_every_s=0.25),
)
FULL = Plan(
    instances=4,
    alone=46,
    timers=4,
    per_second=2,
    half_s=20.0,
    dead_s=72.0,
    back_s=20.0,
    calls=msgspec.structs.replace(PACE, own_every_s=2.0),
    most_percent=1.0,
)


async def try_it(place: Place, scale: Scale) -> Report:
    """Let the fleet call, let its target die and come back, and compare by keys."""
    report = Report(trial="target", store=place.name)
    plan = FULL if scale.full else GATE
    async with AsyncExitStack() as stack:
        if scale.full and place.server is not None:
            # Fifty processes want more connections than the server of the campaign lets in.
            server = await asyncio.to_thread(start_postgres, {"max_connections": "600"})
            stack.push_async_callback(asyncio.to_thread, server.stop)
            place = Place(server, place.folder)
        callee = await stack.enter_async_context(Callee(_half_well, slow_s=SLOW_S))
        calls = msgspec.structs.replace(plan.calls, own_place=callee.place)
        trial = await stack.enter_async_context(
            trial_of(report, place, settings=calls_settings(callee), calls=calls)
        )
        trial.fleet.start(plan.instances)
        await trial.joined(plan.instances)
        for begun in range(0, plan.alone, ABREAST):
            await _start_alone(trial, min(ABREAST, plan.alone - begun))
        await _live(trial, callee, plan)
    return report


async def _start_alone(trial: Trial, count: int) -> None:
    """Start processes that only call, and wait until they have begun."""
    before = trial.journal.count()[ALONE]
    trial.fleet.start(count, env={"CHAOS_ALONE": "1"})
    await until(
        lambda: trial.journal.count()[ALONE] >= before + count,
        within_s=120,
        what="processes to begin",
    )


async def _live(trial: Trial, callee: Callee, plan: Plan) -> None:
    """Half well, dead, well again; then everything comes to its end, and is compared."""
    end = await _set_timers(trial, callee, plan)
    calling = trial.place.folder / CALLING
    calling.touch()
    await pause(plan.half_s)
    trial.struck()
    callee.answers = _dead
    died = datetime.now(UTC)
    await _stands(trial, BreakerState.OPEN)
    await pause(plan.dead_s)
    back = datetime.now(UTC)
    callee.answers = _well
    await _stands(trial, BreakerState.CLOSED)
    await pause((end - datetime.now(UTC)).total_seconds())
    calling.unlink()
    await trial.quiet(within_s=300)
    good = next(one.at for one in callee.calls if one.at > back)
    trial.report.times_s.append((good - back).total_seconds())
    trial.report.note("processes", len(trial.fleet.living))
    trial.report.note("largest process, MiB", _largest(trial.fleet))
    await _judge(trial, callee, plan, died=died, end=end)


async def _stands(trial: Trial, state: BreakerState) -> None:
    async def look() -> bool:
        row = await trial.store.breaker(NAME)
        return row is not None and row.state is state

    await until_it(look, within_s=120, what=f"the breaker to be {state}", every_s=0.2)


def _half_well(path: str, before: int) -> int:
    return 200 if before % 2 else 503


def _dead(path: str, before: int) -> int:
    return 500 if before % 2 else HANG_UP


def _well(path: str, before: int) -> int:
    return 200


async def _set_timers(trial: Trial, callee: Callee, plan: Plan) -> datetime:
    """Set timers whose occurrences lie evenly apart; return when the last of them ends."""
    apart = timedelta(seconds=1) / plan.per_second
    start = datetime.now(UTC) + timedelta(seconds=plan.timers * AHEAD_S)
    lasting = timedelta(seconds=plan.half_s + plan.dead_s + plan.back_s)
    for number in range(plan.timers):
        begin = start + number * apart
        span = Span(begin, begin + lasting, plan.timers * apart)
        await set_timer(trial.client, callee, f"t{number:02}", span)
    left_s = (start - datetime.now(UTC)).total_seconds()
    trial.report.must_be("timers made in time", left_s > 0, True)
    await pause(left_s)
    return start + lasting + plan.timers * apart


def _largest(fleet: Fleet) -> int:
    """Return how much memory the largest worker has in use, in MiB."""
    sizes = [0]
    for one in fleet.living:
        with open(f"/proc/{one.pid}/status", encoding="utf-8") as file:
            sizes += [int(line.split()[1]) // 1024 for line in file if line.startswith("VmRSS")]
    return max(sizes)


# --- what came of it ----------------------------------------------------------------------------


async def _judge(
    trial: Trial, callee: Callee, plan: Plan, *, died: datetime, end: datetime
) -> None:
    report = trial.report
    trial.journal.read()
    lines = (await trial.store.breaker_lines(NAME, 1000))[::-1]
    runs = await _with_attempts(trial, await trial.every_run())
    _judge_breaker(report, lines)
    if (
        not lines
        or lines[0].verb is not BreakerVerb.TRIP
        or lines[-1].verb is not BreakerVerb.CLOSE
    ):
        return  # what comes next is told of one opening and one closing
    failed = [one for one in callee.calls if died < one.at < lines[0].at]
    report.note("calls until it opened", len(failed))
    report.note("seconds until it opened", round((lines[0].at - died).total_seconds(), 2))
    wanted = [one.due for one in runs if one.due is not None] + [at for _, at in _own(trial, TRIED)]
    opened = lines[0].at
    early = {name for name, at in _own(trial, PASSED) if at < opened}
    sent = [one for one in callee.calls if one.at > opened and one.run in early]
    _judge_calls(report, lines, callee.calls, plan, wanted=wanted, on_their_way=len(sent))
    found = compare(callee.calls, runs, trial.journal.lines)
    report.note("calls at the target", len(callee.calls))
    report.note("attempts that called", found.attempts)
    report.note("own calls that passed", found.own)
    report.note("attempts taken over", found.unknown)
    report.must_be("calls that nobody made", found.unaccounted, 0)
    report.must_be("calls that never came", found.unseen, 0)
    report.must_be("runs that called under two ids", found.under_two_ids, 0)
    seen = await trial.judge_occurrences(end, runs)
    report.note("occurrences due / fired", f"{seen.due}/{seen.fired}")
    report.must_be("occurrences lost", seen.lost, 0)
    report.must_be("occurrences doubled or invented", seen.doubled + seen.invented, 0)
    report.must_be("runs that did not succeed", sum(one.state != "succeeded" for one in runs), 0)
    told = [one for one in await trial.store.incidents(only_open=False) if one.kind == OPEN]
    report.must_be("incidents of the breaker", len(told), 1)
    moments = [(one.opened_at, one.closed_at) for one in told]
    report.must_be("opened and closed with it", moments == [(lines[0].at, lines[-1].at)], True)
    report.must_be("loops that failed", trial.journal.count()["loop.failed"], 0)
    await trial.end_well()


def _judge_breaker(report: Report, lines: Sequence[BreakerLine]) -> None:
    """It opened once and closed once, and each probe was answered before the next was lent."""
    verbs = [one.verb for one in lines]
    probes = verbs.count(BreakerVerb.PROBE)
    expected = [BreakerVerb.TRIP]
    expected += [BreakerVerb.PROBE, BreakerVerb.REOPEN] * (probes - 1)
    expected += [BreakerVerb.PROBE, BreakerVerb.CLOSE]
    report.must_be("openings", verbs.count(BreakerVerb.TRIP), 1)
    report.must_be("closings", verbs.count(BreakerVerb.CLOSE), 1)
    report.note("probes", probes)
    report.must_be("each probe answered before the next", verbs == expected, True)


def _judge_calls(
    report: Report,
    lines: Sequence[BreakerLine],
    calls: Sequence[Call],
    plan: Plan,
    *,
    wanted: Sequence[datetime],
    on_their_way: int,
) -> None:
    """Hold the target's own record against the windows that the store remembers."""
    opened, closed = lines[0].at, lines[-1].at
    windows = [(a.at, b.at) for a, b in pairwise(lines) if a.verb is BreakerVerb.PROBE]
    calls_at = [one.at for one in calls]
    while_open = [at for at in calls_at if opened < at <= closed]
    known = opened + timedelta(seconds=FRESH_S)
    late = [at for at in while_open if at > known]
    probes = {at for at in while_open for low, high in windows if low <= at <= high}
    counts = [(low, sum(low <= at <= high for at in calls_at)) for low, high in windows]
    wrong = sum(n < 1 or (n > 1 and low > known) for low, n in counts)
    due = sum(opened < at < closed for at in wanted)
    report.must_be("probes that never came, or came twice", wrong, 0)
    report.note("seconds it was open", round((closed - opened).total_seconds(), 1))
    report.note("calls wanted while it was open", due)
    report.note("calls while open that were no probe", len(while_open) - len(probes))
    report.must_be("no probe, when every copy was fresh", sum(at not in probes for at in late), 0)
    let_through = len(while_open) - on_their_way
    report.note("of these, let through before it opened", on_their_way)
    share = round(100 * let_through / max(1, due), 2)
    name = "calls let through while open, in percent of those wanted"
    if plan.most_percent is None:
        report.note(name, share)
    else:
        report.at_most(name, share, plan.most_percent)


def _own(trial: Trial, kind: str) -> list[tuple[str, datetime]]:
    """Return the names of calls of the processes' own, and when: their clock is this machine's."""
    since = datetime.now(UTC) - timedelta(seconds=now_s())
    lines = [one for one in trial.journal.lines if one.kind == kind]
    return [(one.detail, since + timedelta(seconds=one.at_s)) for one in lines]


async def _with_attempts(trial: Trial, runs: Sequence[RunView]) -> list[RunView]:
    """Return the same runs with their past attempts."""
    gate = asyncio.Semaphore(LOOKS)

    async def look(run: RunView) -> RunView:
        async with gate:
            return await trial.client.run(run.id)

    return await asyncio.gather(*map(look, runs))
