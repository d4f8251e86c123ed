"""What `duly dev` prints: what there is, then a readable line for everything that happens.

A line begins with the local time. Names and errors are shown with their control characters
escaped. Only `duly dev` speaks this way; a worker writes log lines.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import click

from duly import __version__, events
from duly.app import Duly
from duly.cli.display import plain_output
from duly.core.instants import trigger_of
from duly.core.spoken import distance_text, instant_text, last_line, length_text
from duly.core.triggers import upcoming

_SHOWN = 3


def banner(app: Duly, steps: Sequence[str], now: datetime) -> list[str]:
    """Return what is told at the start: store, tasks, schedules with their next occurrences."""
    lines = [f"duly {__version__}: {app.name} on {app.settings.store.parsed.shown}"]
    if steps:
        lines.append(f"store made ready: {', '.join(steps)}")
    lines.append(f"tasks: {', '.join(sorted(app.tasks)) or 'none; declare one with @app.task'}")
    for name, one in sorted(app.definitions.items()):
        trigger = trigger_of(one)
        lines.append(f"schedule {name}: {trigger.describe()}")
        for row in upcoming(trigger, now, _SHOWN):
            flag = f"  [{row.flag}]" if row.flag else ""
            at = instant_text(row.at, app.zones[name])
            lines.append(f"    {at}  {distance_text(row.at, now)}{flag}")
    lines.append("working; Ctrl-C stops\n")
    return lines


class Narrator:
    """Subscribes to an application's events and tells them."""

    def __init__(self, app: Duly, echo: Callable[[str], None] | None = None) -> None:
        self._app = app
        self._echo = echo or click.echo

    def attach(self) -> Callable[[], None]:
        """Begin; returns what ends it."""
        return self._app.bus.subscribe(self.heard, list(_LINES))

    def heard(self, event: events.Event) -> None:
        """Tell one event."""
        now = self._app.clock.now().astimezone()
        text = _LINES[type(event)](event, self._app)
        colour = {events.Level.WARNING: "yellow", events.Level.ERROR: "red"}.get(event.level)
        line = f"{now:%H:%M:%S} {_visible(text)}"
        self._echo(line if colour is None or plain_output() else click.style(line, fg=colour))


def _visible(text: str) -> str:
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in text)


def _fired(event: Any, app: Duly) -> str:
    zone = app.zones.get(event.schedule)
    due = instant_text(event.due, zone) if zone else instant_text(event.due)
    return f"fired     {event.schedule} of {due}"


def _started(event: Any, _: Duly) -> str:
    attempt = f", attempt {event.epoch}" if event.epoch > 1 else ""
    return f"started   {event.task}  {event.run}{attempt}"


def _completed(event: Any, _: Duly) -> str:
    return f"done      {event.task}  {event.run} in {_took(event.took_s)}"


def _retried(event: Any, _: Duly) -> str:
    return (
        f"failed    {event.task}  {event.run} after {_took(event.took_s)}:"
        f" {last_line(event.error)}; again in {_took(event.delay_s)}"
    )


def _failed(event: Any, _: Duly) -> str:
    return (
        f"failed    {event.task}  {event.run} for good after {event.failures} failures:"
        f" {last_line(event.error)}; duly runs show {event.run}"
    )


def _resolved(event: Any, _: Duly) -> str:
    word = "performed" if event.performed else "not performed"
    return f"resolved  {event.effect}: {word}, said {event.by}: {event.reason}"


def _took(seconds: float) -> str:
    return length_text(timedelta(seconds=seconds))


_LINES: dict[type[events.Event], Callable[[Any, Duly], str]] = {
    events.ScheduleFired: _fired,
    events.AttemptStarted: _started,
    events.RunCompleted: _completed,
    events.RunRetried: _retried,
    events.RunFailed: _failed,
    events.AttemptTimedOut: lambda e, _: f"timed out {e.task}  {e.run} after {_took(e.timeout_s)}",
    events.RunCancelled: lambda e, _: f"cancelled {e.task or ''}  {e.run}: {e.reason}",
    events.RunReleased: lambda e, _: f"released  {e.task}  {e.run}: {e.reason}",
    events.RunParked: lambda e, _: f"parked    {e.task or ''}  {e.run}: {e.reason}",
    events.RunWaited: lambda e, _: f"waits     {e.task}  {e.run}: {last_line(e.reason)}",
    events.RunUnparked: lambda e, _: f"unparked  {e.run} by {e.by}",
    events.RunForked: lambda e, _: f"forked    {e.run} from {e.step} as {e.fork} by {e.by}",
    events.RunInterrupted: lambda e, _: f"cut off   {e.run}: {e.reason}",
    events.EffectDoubted: lambda e, _: f"uncertain {e.effect}: {e.reason}; duly why {e.run}",
    events.EffectResolved: _resolved,
    events.EffectContradicted: lambda e, _: f"effect    {e.effect} was performed after all",
    events.EventEmitted: lambda e, _: f"event     {e.happened}" + (f" by {e.by}" if e.by else ""),
    events.RelayAway: lambda e, _: f"topic     {e.topic} waits: {e.reason}",
    events.RelayBack: lambda e, _: f"topic     {e.topic} goes on after {_took(e.away_s)}",
    events.RunTakenOver: lambda e, _: f"taken over {e.run} from boot {e.boot}, now {e.after}",
    events.RunLost: lambda e, _: f"lost      {e.task or ''}  {e.run}: {e.reason}",
    events.ScheduleDeclared: lambda e, _: f"schedule  {e.schedule} is {e.outcome}",
    events.InstanceStarted: lambda e, _: f"instance  {e.instance} works",
    events.InstanceStopping: lambda e, _: f"stopping  {e.held} runs in hand",
    events.InstanceStopped: lambda e, _: "stopped",
    events.StoreAway: lambda e, _: f"store     away: {e.reason}",
    events.StoreBack: lambda e, _: f"store     back after {_took(e.away_s)}",
    events.StoreUntrusted: lambda e, _: f"store     not trusted: {e.reason}; duly db accept",
    events.LoopFailed: lambda e, _: f"loop      {e.loop} failed: {e.error}",
    events.LoopGaveUp: lambda e, _: f"loop      {e.loop} gave up after {e.failures} failures",
    events.IncidentOpened: lambda e, _: f"incident  {e.kind} {e.subject}: {e.summary}",
    events.IncidentClosed: lambda e, _: f"incident  {e.kind} {e.subject} is over",
}
