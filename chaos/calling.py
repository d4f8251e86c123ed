"""Calls of the trials: timers made as a person would make them, and calls of a user's own code.

`Calls` goes to every worker with the spec, and says how it calls. A timer's call tells the target
in its body which run it is; one of the worker's own, behind the same breaker, says a name that is
in the journal. `compare` holds what the target recorded against what the store knows of each
attempt, run by run, and against the journal.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from chaos.callee import Call, Callee
from chaos.journal import Line
from duly import Breaker, BreakerOpen, Duly
from duly.client import Client
from duly.core.faults import Fault, blamed
from duly.core.runs import RunView
from duly.core.states import RunState, RunVerb
from duly.core.timers import read_timer
from duly.core.triggers import Every

BY = "the harness"


class Calls(msgspec.Struct, frozen=True, kw_only=True):
    """How workers make calls. Without a name for the breaker each timer has one of its own."""

    breaker: str = ""
    threshold: int = 5
    pause: str = "30s"
    slowest: str = "1h"
    retries: int = 3
    own_every_s: float | None = None
    own_place: str = ""

    def carry(self, app: Duly, write: Callable[..., None], folder: Path) -> None:
        """Let an application make timers' calls, and its own if it is to have some."""
        breaker = Breaker(
            self.breaker,
            threshold=self.threshold,
            pause=self.pause,
            slowest=self.slowest,
            fixed=True,
        )
        app.carry_calls(breaker=breaker, retries=self.retries, backoff="500ms")
        if self.own_every_s is not None:
            turn = _caller(app, self, write, folder)
            app.supervise(turn, name=CALLER, every=self.own_every_s)


CALLER = "caller"
ALONE = "alone.started"
"""What a process that only calls writes when it has begun."""

CALLING = "calling"
"""The file that is there while workers are to make calls of their own."""

TRIED, PASSED = "tried", "passed"
"""Lines of the journal: a call is wanted; its breaker lets it pass."""


def _caller(
    app: Duly, calls: Calls, write: Callable[..., None], folder: Path
) -> Callable[[], Awaitable[None]]:
    numbers, me = itertools.count(), f"own {os.getpid()}"
    host, _, port = calls.own_place.partition(":")

    async def call() -> None:
        if not (folder / CALLING).exists():
            return
        name = f"{me} {next(numbers)}"
        write(TRIED, detail=name)
        with contextlib.suppress(BreakerOpen, ConnectionError, Broken):
            async with app.breaker(calls.breaker):
                write(PASSED, detail=name)
                await _put(host, int(port), name)

    return call


class Broken(Exception):
    """The target answered that it is broken."""


async def _put(host: str, port: int, name: str) -> None:
    """Call the target as plainly as can be; raises what says that it is broken."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        head = f"PUT /own HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(name)}\r\n\r\n"
        writer.write(f"{head}{name}".encode())
        line = await reader.readline()
    finally:
        writer.close()
    if not line:
        raise ConnectionResetError("it hung up")
    if int(line.split()[1]) >= 500:
        raise blamed(Broken(line.decode()), Fault.SERVER_ERROR)


class Span(msgspec.Struct, frozen=True):
    """When a timer calls: from an instant on, until another, every so often."""

    start: datetime
    end: datetime
    every: timedelta


def calls_settings(callee: Callee) -> dict[str, str]:
    """The settings of workers that may call this server, and nothing else on this machine."""
    return {"calls.allow": callee.place, "calls.plain_http": "true"}


async def set_timer(client: Client, callee: Callee, name: str, span: Span, **fields: Any) -> None:
    """Make a timer that calls the path of its own name; it may be repeated."""
    asked: Mapping[str, Any] = {
        "url": f"http://{callee.place}/{name}",
        "method": "PUT",
        "template": "{run}",
        "every": "1s",
        "catch_up": "all",
        "overlap": "allow",
        **fields,
    }
    timer, faults = read_timer(name, asked)
    assert timer is not None, faults
    trigger = Every(span.every, span.start, span.start, span.end)
    definition = msgspec.structs.replace(timer.definition, trigger=trigger.spec())
    await client.save_timer(definition, by=BY)


class Compared(msgspec.Struct):
    """Calls of the target against attempts of the store, run by run, and own calls by name."""

    attempts: int = 0  # that made their call, by the store
    own: int = 0  # calls of the workers' own that passed, by the journal
    unknown: int = 0  # attempts that were taken over: they may have made their call
    unaccounted: int = 0  # calls at the target that no attempt made, and no worker
    unseen: int = 0  # attempts, and own calls that passed, which the target never saw
    under_two_ids: int = 0  # runs that called under more than one id


def compare(calls: Sequence[Call], runs: Sequence[RunView], lines: Sequence[Line] = ()) -> Compared:
    """Compare every run's calls with its attempts, and own calls with their lines.

    `runs` carry their past attempts.
    """
    passed = [one.detail for one in lines if one.kind == PASSED]
    found = Compared(own=len(passed))
    by_run: dict[str, list[Call]] = {}
    for one in calls:
        by_run.setdefault(one.run, []).append(one)
    for run in runs:
        seen = by_run.pop(str(run.id), [])
        made, unknown = _made(run)
        found.attempts += made
        found.unknown += unknown
        found.unaccounted += max(0, len(seen) - made - unknown)
        found.unseen += max(0, made - len(seen))
        found.under_two_ids += len({one.key for one in seen}) > 1
    for name in passed:
        seen = by_run.pop(name, [])
        found.unseen += not seen
        found.unaccounted += max(0, len(seen) - 1)
    found.unaccounted += sum(map(len, by_run.values()))
    return found


def _made(run: RunView) -> tuple[int, int]:
    """Return how many attempts of a run made their call, and of how many nobody can say.

    An attempt that was held back by a breaker, or released, made none. The last one of a run that
    ended is not among the past ones.
    """
    past = [one.outcome for one in run.attempts]
    last = run.state in (RunState.SUCCEEDED, RunState.FAILED)
    return past.count(RunVerb.RETRY) + last, past.count(RunVerb.TAKE_OVER)
