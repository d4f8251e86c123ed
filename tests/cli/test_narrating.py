"""Every event that `duly dev` tells has a line that reads well and obeys no terminal."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from duly import events
from duly.app import Duly
from duly.cli.narrating import Narrator

RUN = UUID("01a20378-6e93-76ad-ba08-33e79eef7a73")
DUE = datetime(2026, 3, 1, tzinfo=UTC)
ATTEMPT: dict[str, Any] = {"run": RUN, "task": "add", "epoch": 1}
RETRIED = events.RunRetried(
    **ATTEMPT, took_s=0.5, failures=1, delay_s=3, error="Traceback\nKeyError: 'x'"
)

LINES = [
    (events.ScheduleFired(schedule="s", due=DUE, run=RUN), "fired     s of 2026-03-01 00:00:00"),
    (events.AttemptStarted(**ATTEMPT), f"started   add  {RUN}"),
    (events.AttemptStarted(**ATTEMPT | {"epoch": 3}), f"{RUN}, attempt 3"),
    (events.RunCompleted(**ATTEMPT, took_s=1.25), f"done      add  {RUN} in 1.2 s"),
    (RETRIED, "after 500 ms: KeyError: 'x'; again in 3 s"),
    (events.RunWaited(**ATTEMPT, reason="sleep:nap"), f"waits     add  {RUN}: sleep:nap"),
    (events.RunUnparked(run=RUN, by="anna"), "unparked"),
    (events.RunForked(run=RUN, fork=RUN, step="export", by="anna"), "from export as"),
    (events.RunInterrupted(run=RUN, boot=RUN, reason="process gone"), ": process gone"),
    (
        events.EffectDoubted(effect="add mail d", intent=RUN, run=RUN, reason="reset"),
        f"uncertain add mail d: reset; duly why {RUN}",
    ),
    (
        events.EffectResolved(effect="add mail d", by="anna", reason="asked", performed=False),
        "not performed, said anna: asked",
    ),
    (events.EffectContradicted(effect="add mail d", intent=RUN, run=RUN), "performed after all"),
    (events.EventEmitted(happened="paid", by="anna"), "event     paid by anna"),
    (events.RelayAway(topic="m", reason="refused"), "m waits: refused"),
    (events.RelayBack(topic="m", away_s=2), "goes on after 2 s"),
    (events.StoreAway(reason="gone \x1b[31m"), "store     away: gone \\x1b[31m"),
    (events.LoopGaveUp(loop="firing", failures=5), "firing gave up after 5 failures"),
    (events.IncidentClosed(kind="task.unknown", subject="x"), "task.unknown x is over"),
]


@pytest.mark.parametrize(("event", "words"), LINES)
def test_an_event_becomes_one_readable_line(
    event: events.Event, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    app, told = Duly(), list[str]()
    end = Narrator(app, told.append).attach()
    app.bus.emit(event)
    end()
    assert app.bus.failures == 0
    [line] = told
    assert words in line and line.isprintable()


def test_nothing_is_told_of_what_is_not_in_the_table() -> None:
    app, told = Duly(), list[str]()
    Narrator(app, told.append).attach()
    app.bus.emit(events.RunEnqueued(run=RUN, task="add", queue="default"))
    assert told == []
