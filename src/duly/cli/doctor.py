"""`duly doctor`: is everything as it should be? One line per check, and what helps.

Exit code 0 when nothing is wrong, 1 when something is; a warning alone is 0. Only looks. Later
checks are left out when the store cannot be reached.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import click
import msgspec

from duly.app import Duly
from duly.cli.display import say, show_json
from duly.cli.faults import FAILED, fault_of
from duly.cli.session import app_options, asynchronous, find_app, opened, output_option
from duly.config import StoreKind
from duly.core.durations import format_duration
from duly.core.fleet import PRESENT, Incident, Instance, InstanceState
from duly.core.runs import RunFilter
from duly.core.spoken import distance_text, length_text
from duly.core.states import RunState
from duly.core.why import HASTE
from duly.stores.base import Standing

CLOCK_WARNING = timedelta(seconds=5)
DISK_LEAST = 256 * 1024 * 1024


class Finding(msgspec.Struct, frozen=True):
    """One check: `level` is ok, warn or bad; `helps` is empty when nothing needs help."""

    level: str
    check: str
    told: str
    helps: str = ""


@click.command()
@app_options
@output_option
@asynchronous
async def doctor(app_spec: str | None, store: str | None, output: str) -> int:
    """Check the store, the fleet and the schedules; exit 1 when something is wrong."""
    app = find_app(app_spec, store)
    found = [one async for one in _examine(app)]
    if output == "json":
        show_json([msgspec.to_builtins(one) for one in found])
    else:
        for one in found:
            say(f"{one.level:4}  {one.check}: {one.told}")
            if one.helps:
                say(f"      what helps: {one.helps}")
    return FAILED if any(one.level == "bad" for one in found) else 0


async def _examine(app: Duly) -> AsyncIterator[Finding]:
    yield _lease(app)
    shown = app.settings.store.parsed.shown
    try:
        async with opened(app) as standing:
            yield Finding("ok", "store", f"{shown} answers")
            for one in await _open_checks(app, standing):
                yield one
    except Exception as error:
        fault = fault_of(error)
        yield Finding("bad", "store", fault.sentence, "duly config show --origin; duly db migrate")


async def _open_checks(app: Duly, standing: Standing) -> list[Finding]:
    found = [_standing(standing), await _clocks(app)]
    live = await _live(app)
    found.append(_fleet(live))
    found += await _incidents(app)
    found += await _overdue(app)
    found += await _unknown_tasks(app, live)
    if app.settings.store.parsed.kind is StoreKind.SQLITE:
        found.append(_disk(Path(app.settings.store.parsed.path or "")))
    return found


def _lease(app: Duly) -> Finding:
    engine = app.settings.engine
    told = (
        f"lease {format_duration(engine.lease)}, renewal {format_duration(engine.renewal)},"
        f" margin {format_duration(engine.margin)}"
    )
    if engine.lease < timedelta(seconds=5):
        return Finding("warn", "lease", told, "a pause of a process is soon taken for its death")
    return Finding("ok", "lease", told)


def _standing(standing: Standing) -> Finding:
    told = f"schema {standing.schema}, generation {standing.generation}"
    if standing.trusted:
        return Finding("ok", "schema", told)
    return Finding("bad", "schema", f"not trusted: {standing.why}", "duly db accept --reason …")


async def _clocks(app: Duly) -> Finding:
    before = app.clock.now()
    theirs = await app.store.clock()
    after = app.clock.now()
    middle = before + (after - before) / 2
    apart = theirs - middle
    told = f"this host and the store are {length_text(apart)} apart"
    if abs(apart) > CLOCK_WARNING:
        return Finding("warn", "clock", told, "run a time service; decisions use the store's clock")
    return Finding("ok", "clock", told)


async def _live(app: Duly) -> list[Instance]:
    now = await app.store.clock()
    return [
        one
        for one in await app.client.instances()
        if one.state is InstanceState.LIVE and one.seen_at and one.seen_at > now - PRESENT
    ]


def _fleet(live: list[Instance]) -> Finding:
    if not live:
        return Finding("bad", "instances", "no live worker: nothing fires and nothing runs",
                       "duly worker")  # fmt: skip
    held = sum(one.held for one in live)
    return Finding("ok", "instances", f"{len(live)} live, holding {held} runs")


async def _incidents(app: Duly) -> list[Finding]:
    found = await app.client.incidents()
    if not found:
        return [Finding("ok", "incidents", "none are open")]
    return [
        Finding(
            "bad" if one.severity == "critical" else "warn",
            "incident",
            f"{one.kind} {one.subject}: {one.summary}",
            _helps(one),
        )
        for one in found[:10]
    ]


def _helps(one: Incident) -> str:
    """Return what helps with an incident: what it says itself, or who can tell more."""
    if one.kind.startswith("effect."):
        return f"duly why {one.subject}"
    run = one.evidence.get("run")
    return one.evidence.get("what helps") or (f"duly why {run}" if run else "duly incidents")


async def _overdue(app: Duly) -> list[Finding]:
    now = await app.store.clock()
    late = [
        one
        for one in await app.client.schedules()
        if one.next_fire is not None and one.next_fire < now - HASTE
    ]
    if not late:
        return [Finding("ok", "schedules", "none is overdue")]
    return [
        Finding(
            "bad",
            "schedule",
            f"{one.name} should have fired {distance_text(one.next_fire, now)}",
            f"duly why {one.name}",
        )
        for one in late[:10]
        if one.next_fire is not None
    ]


async def _unknown_tasks(app: Duly, live: list[Instance]) -> list[Finding]:
    """Find tasks that work waits for, or schedules name, and that no live instance carries."""
    carried = {task for one in live for task in one.tasks}
    asked: dict[str, int] = {}
    for state in (RunState.WAITING, RunState.READY):
        for run in await app.client.runs(RunFilter(state=state, limit=1000)):
            asked[run.task] = asked.get(run.task, 0) + 1
    for row in await app.client.schedules():
        if row.next_fire is not None:
            asked.setdefault(row.definition.task, 0)
    unknown = {task: count for task, count in asked.items() if task not in carried}
    if not live or not unknown:
        return [Finding("ok", "tasks", "every one asked for is carried")] if live else []
    return [
        Finding("bad", "task", f"no live instance carries {task}; {count} runs wait for it",
                f"start a worker with the code of {task}")
        for task, count in sorted(unknown.items())
    ]  # fmt: skip


def _disk(path: Path) -> Finding:
    free = shutil.disk_usage(path.absolute().parent).free
    told: Any = f"{free / 1024**3:.1f} GiB free for {path}"
    if not os.access(path, os.W_OK):
        return Finding("bad", "disk", f"{path} cannot be written", f"chmod u+w {path}")
    if free < DISK_LEAST:
        return Finding("bad", "disk", told, "free some space: a full disk stops all work")
    return Finding("ok", "disk", told)
