"""Whatever stands still says why: each cause is brought about, and must be the one that is named.

The first cause and all further ones are compared by their identifiers, so that a row fails when
another cause is named; the words, the evidence and the things to see must be in the answer. All
rows run on a real SQLite file; `tests/stores/test_why.py` has some of them on every store.
"""

from __future__ import annotations

import asyncio
import importlib.util
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from duly import Duly
from duly.core.why import Cause, Explanation
from duly.errors import InvalidValue, UnknownName
from duly.stores.memory import MemoryStore
from duly.stores.sqlite import SqliteStore
from tests.stores.world import minutely
from tests.why.causes import ROWS, carry_out, scene
from tests.why.of_targets import fail
from tests.why.scene import Asked, Row, Scene, check, make_clock

TOOL = Path(__file__).parents[2] / "tools" / "gen_why.py"


def _tool() -> Any:
    spec = importlib.util.spec_from_file_location("gen_why", TOOL)
    assert spec is not None and spec.loader is not None, "the tool is there"
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


gen_why = _tool()

UNREACHED = {
    Cause.SKIPPED: "a state that no verb of a store leads to",
    Cause.BLOCKED: "a verdict's reason that only another version writes",
}
"""Causes that cannot be brought about here, and why."""


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with its schema, to be copied: making one costs more than most rows."""
    path = tmp_path_factory.mktemp("why") / "empty.db"

    async def make() -> None:
        store = SqliteStore(path)
        await store.migrate()
        await store.close()

    asyncio.run(make())
    return path


@pytest.fixture
async def stage(empty: Path, tmp_path: Path) -> AsyncIterator[Scene]:
    """A scene on a SQLite file of its own, whose clock is the test's."""
    path, clock = tmp_path / "duly.db", make_clock()
    shutil.copy(empty, path)
    store = SqliteStore(path, clock=clock.now)
    await store.open()
    try:
        async with scene(store, clock) as one:
            yield one
    finally:
        await store.close()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
async def test_every_cause_is_named_with_its_evidence(row: Row, stage: Scene) -> None:
    asked = await row.case(stage)
    answer = await stage.explain(asked.thing)
    check(row, asked, answer)
    for thing in answer.see:
        assert (await stage.explain(thing)).headline, "what is to be seen can be asked about"


def test_the_table_reaches_every_cause_and_names_none_twice() -> None:
    reached = {cause for row in ROWS for cause in (row.cause, *row.also)}
    assert set(Cause) - reached == set(UNREACHED)
    assert len({row.cause for row in ROWS}) >= 45
    assert len({row.name for row in ROWS}) == len(ROWS)
    assert all(row.comes_about.endswith(".") for row in ROWS)


@pytest.fixture(scope="module")
def answers() -> list[tuple[Row, Asked, Explanation]]:
    """Every row carried out on the model store."""

    async def all_of_them() -> list[tuple[Row, Asked, Explanation]]:
        found = []
        for row in ROWS:
            clock = make_clock()
            found.append((row, *await carry_out(row, MemoryStore(clock.now), clock)))
        return found

    return asyncio.run(all_of_them())


def test_no_row_is_content_with_the_answer_to_another(
    answers: list[tuple[Row, Asked, Explanation]],
) -> None:
    content = []
    for row, asked, _ in answers:
        for other, _, answer in answers:
            if row is not other:
                with suppress(AssertionError):
                    check(row, asked, answer)
                    content.append((row.name, other.name))
    assert content == []


def test_the_page_of_causes_is_what_duly_says(
    answers: list[tuple[Row, Asked, Explanation]],
) -> None:
    page = gen_why.page([(row, answer) for row, _, answer in answers])
    stale = "docs/explanation/why.md is stale; run python tools/gen_why.py"
    assert gen_why.PAGE.read_text("utf-8") == page, stale


# --- what is not there --------------------------------------------------------------------------

UNKNOWN: list[tuple[str, type[Exception], str]] = [
    ("sched", UnknownName, "no schedule is called 'sched'"),
    ("s2@2026-01-05T00:01", UnknownName, "did you mean 's'"),
    ("01234567-89ab-7cde-8f01-23456789abcd", UnknownName, "it may have been pruned"),
    ("instance:host:2", UnknownName, "did you mean 'host:1'"),
    ("incident:breaker.open bnak", UnknownName, "did you mean 'breaker.open bank'"),
    ("queue:mals", UnknownName, "did you mean 'mails'"),
    ("timer:puls", UnknownName, "no timer is called 'puls'"),
    ("key:order-7", InvalidValue, "its task, a space and the key"),
]


@pytest.mark.parametrize(("thing", "kind", "words"), UNKNOWN)
async def test_what_is_not_there_is_answered_with_the_nearest_name(
    stage: Scene, thing: str, kind: type[Exception], words: str
) -> None:
    await stage.carry(minutely())
    await stage.enqueue(queue="mails")
    await fail(stage)
    with pytest.raises(kind, match=re.escape(words)):
        await stage.explain(thing)


async def test_an_application_asks_in_python(stage: Scene) -> None:
    app = Duly("memory://")
    await stage.hand(app)
    run = await stage.enqueue()
    answer = await app.why(str(run))
    assert (answer.cause, answer.subject) == (Cause.NO_CODE, f"run {run} of t")


async def test_a_schedule_comes_before_the_kind_that_its_name_begins_with(stage: Scene) -> None:
    await stage.carry(minutely("queue:night"))
    assert (await stage.explain("queue:night")).subject == "schedule queue:night"
    told = await stage.explain("queue:night@2026-01-05T00:05")
    assert told.subject == "queue:night of 2026-01-05 00:05:00 +00:00"
    assert (await stage.explain("queue:default")).cause is Cause.QUEUE_EMPTY
