"""What people change by commands stands in the same audit as what they change by the API."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from duly.app import Duly
from duly.core.access import ChangeFilter
from duly.core.fleet import Incident
from duly.core.runs import NewRun
from duly.core.states import RunVerb
from duly.core.steps import approval, of_event
from duly.stores.base import Store
from tests.cli.prepared import Prepared
from tests.cli.test_durable import RUN, WORDS, end, held, keep, prepare_doubt, step

SHOP = 'from duly import Duly\napp = Duly(name="shop")\n@app.task\nasync def t() -> None: ...\n'
BEAT = 'owner = "shop"\n[timers.beat]\nevery = "1h"\nurl = "https://example.com/"\n'
PULSE = ("pulse", "--every", "1h", "--url", "https://example.com/")
SPAN = ("--from", "2026-03-01T00:00+00:00", "--to", "2026-03-01T02:00+00:00")


async def failed(store: Store, app: Duly) -> None:
    run = await held(store, app)
    await keep(store, run, step("export", 1))
    await end(store, run, RunVerb.FAIL, error="E")


async def asks(store: Store, app: Duly) -> None:
    run = await held(store, app)
    await end(store, run, RunVerb.PARK, of_event(approval(RUN, "go")), reason="approval")


async def waits(store: Store, app: Duly) -> None:
    await store.enqueue([NewRun(id=RUN, task="add", args=b'{"a":1}')])


async def goes_wrong(store: Store, app: Duly) -> None:
    one = Incident(kind="x.y", subject="one", severity="warning", summary="so")
    await store.open_incident(one)


# What is prepared, what is typed, and of the line: action, subject, whether something was before.
CASES: list[tuple[Any, tuple[str, ...], str, str, bool]] = [
    (waits, ("runs", "cancel", str(RUN)), "runs.cancel", str(RUN), True),
    (failed, ("runs", "retry", str(RUN)), "runs.retry", str(RUN), True),
    (failed, ("runs", "fork", str(RUN), "--from", "export"), "runs.fork", str(RUN), True),
    (asks, ("runs", "approve", str(RUN), "go"), "runs.approve", str(RUN), True),
    (None, ("schedules", "pause", "hourly"), "schedules.pause", "hourly", True),
    (None, ("schedules", "retire", "hourly"), "schedules.retire", "hourly", True),
    (None, ("schedules", "trigger", "hourly"), "schedules.trigger", "hourly", True),
    (None, ("schedules", "backfill", "hourly", *SPAN), "schedules.backfill", "hourly", True),
    (None, ("schedules", "edit", "hourly", "--every", "2h"), "schedules.edit", "hourly", True),
    (None, ("schedules", "give-back", "hourly"), "schedules.give-back", "hourly", True),
    ("doubt", ("effects", "resolve", *WORDS, "--performed"), "effects.resolve", "add mail", True),
    (None, ("breakers", "open", "bank"), "breakers.force_open", "bank", False),
    (goes_wrong, ("incidents", "ack", "x.y", "one"), "incidents.acknowledge", "x.y one", True),
    (goes_wrong, ("incidents", "close", "x.y", "one"), "incidents.close", "x.y one", True),
    (None, ("timers", "add", *PULSE), "timers.save", "pulse", False),
    ("pulse", ("timers", "remove", "pulse"), "timers.remove", "pulse", True),
    (None, ("timers", "apply", "timers.toml"), "timers.apply", "shop", False),
    (None, ("keys", "create", "ci", "--role", "viewer"), "keys.make", "ci (", False),
    ("key", ("keys", "revoke", "ci"), "keys.revoke", "ci (", True),
    (None, ("run", "t", "-A", "shop.py"), "tasks.run", "t", False),
    (None, ("events", "emit", "paid"), "events.emit", "paid", False),
    (None, ("db", "accept"), "db.accept", "store", True),
]
SAYS = {"breakers": "--why", "incidents": "--note"}
"""How these commands call the reason."""


@pytest.mark.parametrize(
    ("before", "words", "action", "subject", "known"), CASES, ids=[one[2] for one in CASES]
)
def test_a_command_leaves_its_line(
    store: Prepared, before: Any, words: tuple[str, ...], action: str, subject: str, known: bool
) -> None:
    Path("shop.py").write_text(SHOP)
    Path("timers.toml").write_text(BEAT)
    prepare(store, before)
    typed = store.result(*words, SAYS.get(words[0], "--reason"), "they rang")
    assert typed.exception is None, typed.exception
    [line, *_] = store.at(lambda to, _: to.changes(ChangeFilter(limit=1)))
    assert (line.action, line.why, line.key) == (action, "they rang", None)
    assert line.subject.startswith(subject) and "@" in line.by
    assert line.outcome and line.after not in (None, "null") and line.settled_at
    assert (line.before not in ("null", "{}")) is known


def prepare(store: Prepared, before: Any) -> None:
    """Bring about what is changed then."""
    if before == "doubt":
        return prepare_doubt(store)
    if before == "pulse":
        store.out("timers", "add", *PULSE)
    elif before == "key":
        store.out("keys", "create", "ci", "--role", "viewer")
    elif before is not None:
        store.register("add")
        store.at(before)
    return None


def test_what_is_refused_says_so_in_its_line(store: Prepared) -> None:
    assert store.result("runs", "retry", str(RUN)).exception is not None
    assert store.at(lambda to, _: to.changes(ChangeFilter())) == [], "nothing was there to change"
    store.out("schedules", "retire", "hourly", "--reason", "so")
    assert store.result("schedules", "pause", "hourly").exception is not None
    [line, _] = store.at(lambda to, _: to.changes(ChangeFilter()))
    assert line.action == "schedules.pause" and line.outcome.startswith("refused: ")
