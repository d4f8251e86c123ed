"""`duly events list` shows what happened in the fleet, a line each, and helps who asks for else."""

from __future__ import annotations

import json

import pytest

from duly.app import Duly
from duly.core.fleet import Incident
from duly.core.runs import Ending, NewRun
from duly.core.states import RunVerb
from duly.stores.base import Store
from tests.cli.prepared import BOOT, Prepared

TROUBLE = Incident(kind="stock.empty", subject="nuts", severity="info", summary="none\nare left")


async def _fails(store: Store, app: Duly) -> None:
    """A run fails for good, and an incident opens."""
    run = app.clock.new_id()
    await store.enqueue([NewRun(id=run, task="add")])
    await store.claim(BOOT, app.clock.new_id(), queues=["default"], tasks=["add"], limit=1)
    error = "Traceback\nValueError: no \x1b[1msuch luck"
    await store.end(BOOT, [Ending(run=run, epoch=1, verb=RunVerb.FAIL, error=error)])
    await store.open_incident(TROUBLE)


@pytest.fixture
def lively(store: Prepared) -> Prepared:
    store.register("add")
    store.at(_fails)
    return store


@pytest.mark.parametrize(
    ("words", "kinds"),
    [
        ((), ["instance.started", "run.failed", "incident.opened"]),
        (("--kinds", "run.failed,run.completed", "--since", "50m"), ["run.failed"]),
        (("--kinds", "breaker.tripped"), []),
    ],
)
def test_what_happened_is_listed_a_line_each(
    lively: Prepared, words: tuple[str, ...], kinds: list[str]
) -> None:
    shown = lively.out("events", "list", *words).splitlines()
    assert [line.split()[1] for line in shown] == kinds
    told = [
        json.loads(line) for line in lively.out("events", "list", *words, "-o", "json").splitlines()
    ]
    assert [one["event"] for one in told] == kinds
    for one, line in zip(told, shown, strict=True):
        assert one["id"] and one["at"].endswith("Z")
        if one["event"] == "run.failed":
            assert one["run"] in line and r"ValueError: no \x1b[1msuch luck" in line
        if one["event"] == "incident.opened":
            assert line.endswith("stock.empty  nuts: none are left")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--kinds", "run.fails"), "did you mean 'run.failed'"),
        (("--since", "51m"), "--since"),
        (("--since", "soon"), "soon"),
    ],
)
def test_a_mistake_is_answered_with_what_was_expected(
    store: Prepared, words: tuple[str, ...], said: str
) -> None:
    done = store.result("events", "list", *words)
    assert done.exception is not None and said in str(done.exception)
