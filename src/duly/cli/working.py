"""`duly worker`, `duly serve`, `duly dev`: this process becomes an instance of the fleet.

A signal stops it gracefully (`stop_grace`), a second one ends it now, after handing back what it
holds if the store answers at once. Handlers are plain ones: they also run while a coroutine
blocks the event loop. The process ends by `os._exit`, because a task's thread that hangs must
not keep it; and a watchdog ends it when even the stop hangs. Exit codes: 0 after a graceful
stop, 130 or 143 after a second signal, 70 when the engine gave up.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from types import FrameType
from typing import Any
from uuid import UUID

import click

from duly import events
from duly.app import Duly
from duly.cli.faults import UNREACHABLE, USAGE, Fault, tell
from duly.cli.heralding import announced
from duly.cli.loading import in_their_frames
from duly.cli.narrating import Narrator, banner
from duly.cli.session import APP_ENV, app_options, find_app, store_option
from duly.errors import EnvironmentFailure
from duly.server.logs import LEVELS, Logs, tell_on

HAND_BACK_S = 2.0
ONE_SIGNAL_S = 0.5
"""Signals this close together are one: some senders reach both a process and its group."""
PATIENCE_S = 10.0


@click.command()
@click.argument("file", required=False)
@app_options
@click.option("--queues", metavar="A,B", help="Queues to claim from; default: engine.queues.")
def worker(file: str | None, app_spec: str | None, store: str | None, queues: str | None) -> None:
    """Work: claim runs and do them, until a signal.

    FILE may be given in place of --app.
    """
    _work(find_app(one_of(file, app_spec), store, needed_for="duly worker"), queues)


@click.command()
@store_option
@click.option("--queues", metavar="A,B", help="Queues to claim from; default: engine.queues.")
def serve(store: str | None, queues: str | None) -> None:
    """Work without any code of your own: fire schedules, and make the calls of HTTP timers."""
    importlib.import_module("duly.outbound.http")  # says at once which package is missing
    app = Duly(name="duly")
    app.carry_calls()
    app.configure(store=store)
    _work(app, queues)


def _work(app: Duly, queues: str | None) -> None:
    """Be an instance of an application, telling on standard error what happens."""
    app.configure(queues=queues)
    settings = app.settings
    tell_on(sys.stderr, settings.log)
    logs = Logs(monotonic=app.clock.monotonic, level=LEVELS[settings.log.level])
    logs.attach(app.bus)
    _live(app, announced(app.work(), lambda: app.health(), app.clock), logs.flush)


@click.command()
@click.argument("file", required=False)
@app_options
def dev(file: str | None, app_spec: str | None, store: str | None) -> None:
    """Run FILE with everything in one process, on SQLite, and say what happens."""
    app = find_app(one_of(file, app_spec), store, needed_for="duly dev")
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(message)s"
    )
    logging.getLogger("duly.engine").setLevel(logging.CRITICAL)  # the narrator tells it
    _live(app, _develop(app), lambda: None)


def one_of(file: str | None, app_spec: str | None) -> str | None:
    """Return what names the application: the argument beats the variable, not the flag."""
    if file is None:
        return app_spec
    if app_spec is not None and app_spec != os.environ.get(APP_ENV) and app_spec != file:
        raise Fault(f"expected FILE or --app, got both: {file} and {app_spec}", USAGE)
    return file


async def _develop(app: Duly) -> int:
    try:
        steps = await app.store.migrate()
    except EnvironmentFailure as error:
        # A person waits at the terminal: they are told at once, where a worker would wait.
        raise error if error.permanent else Fault(str(error), UNREACHABLE) from error
    for line in banner(app, steps, app.clock.now()):
        click.echo(line)
    Narrator(app).attach()
    return await app.work()


# --- living and ending ----------------------------------------------------------------------


def _live(app: Duly, work: Coroutine[Any, Any, int], before_exit: Callable[[], None]) -> None:
    """Run `work` until it ends or is stopped, then end the process for certain."""
    grace_s = app.settings.engine.stop_grace.total_seconds()
    try:
        code = asyncio.run(_Life(app, grace_s).live(work))
    except Exception as error:
        code = tell(in_their_frames(f"working for {app.name}", error))
    except BaseException as error:
        code = tell(error)
    before_exit()
    end_process(code)


def end_process(code: int) -> None:
    """End the process at once: streams are flushed, threads are not waited for."""
    with suppress(Exception):
        logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    os._exit(code)


class _Life:
    """One working process between its first moment and its signals."""

    def __init__(self, app: Duly, grace_s: float) -> None:
        self._app, self._grace_s = app, grace_s
        self._boots: set[UUID] = set()
        self._first: float | None = None  # when the first signal came
        self._ending_now = False
        self._task: asyncio.Task[int] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._leaving: asyncio.Task[None] | None = None

    async def live(self, work: Coroutine[Any, Any, int]) -> int:
        """Do the work; the answer ends the process from here, whatever threads still run."""
        self._loop = asyncio.get_running_loop()
        self._app.bus.subscribe(self._joined, [events.InstanceStarted])
        self._task = self._loop.create_task(work)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._heard)
        try:
            code = await self._task
        except asyncio.CancelledError:
            code = 0
        # asyncio.run would wait for threads of its own pool, in which a user's call may hang.
        end_process(code)
        return code

    def _joined(self, event: events.Event) -> None:
        if isinstance(event, events.InstanceStarted):
            if not self._boots:
                _spare_the_collector()
            self._boots.add(event.boot)

    def _heard(self, number: int, _frame: FrameType | None) -> None:
        """Stop gracefully at the first signal, now at the second."""
        assert self._loop is not None, "handlers are set inside the loop"
        code, now = 128 + number, self._app.clock.monotonic()
        if self._first is None:
            self._first = now
            self._loop.call_soon_threadsafe(self._stop)
            _exit_after(self._grace_s + PATIENCE_S, code)
        elif now - self._first > ONE_SIGNAL_S and not self._ending_now:
            self._ending_now = True  # once: a flood of signals must not starve the handing back
            self._loop.call_soon_threadsafe(self._stop_now, code)
            _exit_after(HAND_BACK_S, code)

    def _stop(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _stop_now(self, code: int) -> None:
        if self._leaving is None:
            assert self._loop is not None, "it is called by the loop"
            self._leaving = self._loop.create_task(self._hand_back(code))

    async def _hand_back(self, code: int) -> None:
        """Give back what is held, so that nobody has to notice a death first."""
        for boot in self._boots:
            with suppress(Exception):
                await self._app.store.leave(boot)
        end_process(code)


def _spare_the_collector() -> None:
    """What was imported and declared lives as long as the process: do not look at it again.

    What runs leave behind dies by its reference count; looking for cycles in it every 700 objects
    cost a tenth of a busy worker's time, and stood in the way of a short run now and then.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)


def _exit_after(seconds: float, code: int) -> None:
    def end() -> None:
        threading.Event().wait(seconds)
        os._exit(code)

    threading.Thread(target=end, name="duly-watchdog", daemon=True).start()
