"""Group commit: many callers share a statement, and each is answered for its own run alone.

A writer made for the test says what was written together and holds statements back; the last
tests use a real database.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from duly.core.runs import NewRun
from duly.errors import DulyError, InvalidValue, StoreUnavailable
from duly.stores.postgres.together import LANES, MOST, Together
from tests.stores.postgres.conftest import MakeStores
from tests.stores.world import ident


def run(number: int, task: str = "t") -> NewRun:
    return NewRun(id=ident(number), task=task)


class Writer:
    """Notes what is written together; statements wait until `open` is set."""

    def __init__(self) -> None:
        self.statements: list[list[str]] = []
        self.open = asyncio.Event()
        self.broken: DulyError | None = None

    async def __call__(self, runs: Sequence[NewRun]) -> None:
        self.statements.append([one.task for one in runs])
        await self.open.wait()
        if self.broken is not None:
            raise self.broken
        if any(one.task == "bad" for one in runs):
            raise InvalidValue("a bad task")


async def ended(calls: list[asyncio.Task[None]]) -> list[str]:
    answers = await asyncio.gather(*calls, return_exceptions=True)
    return ["done" if one is None else type(one).__name__ for one in answers]


async def asked(together: Together, runs: Sequence[NewRun]) -> list[asyncio.Task[None]]:
    calls = [asyncio.create_task(together.put(one)) for one in runs]
    await asyncio.sleep(0)
    return calls


async def test_the_first_go_alone_and_what_gathers_goes_together() -> None:
    writer = Writer()
    calls = await asked(Together(writer), [run(n) for n in range(64)])
    assert [len(one) for one in writer.statements] == [1] * LANES
    writer.open.set()
    assert await ended(calls) == ["done"] * 64
    assert [len(one) for one in writer.statements] == [1] * LANES + [64 - LANES]


async def test_a_statement_has_a_bound() -> None:
    writer = Writer()
    calls = await asked(Together(writer), [run(n) for n in range(LANES + MOST + 7)])
    writer.open.set()
    assert await ended(calls) == ["done"] * len(calls)
    assert [len(one) for one in writer.statements] == [1] * LANES + [MOST, 7]


async def test_a_mistake_is_told_to_its_caller_alone() -> None:
    writer = Writer()
    runs = [*(run(n) for n in range(LANES)), run(10), run(11, "bad"), run(12)]
    calls = await asked(Together(writer), runs)
    writer.open.set()
    assert await ended(calls) == ["done"] * LANES + ["done", "InvalidValue", "done"]
    assert writer.statements[LANES:] == [["t", "bad", "t"], ["t"], ["bad"], ["t"]]


async def test_an_unknown_outcome_is_told_to_all_and_nothing_is_sent_twice() -> None:
    writer = Writer()
    writer.broken = StoreUnavailable("the connection was lost")
    calls = await asked(Together(writer), [run(n) for n in range(8)])
    writer.open.set()
    assert await ended(calls) == ["StoreUnavailable"] * 8
    assert sum(map(len, writer.statements)) == 8


async def test_who_gives_up_is_not_written_and_holds_nobody_up() -> None:
    writer = Writer()
    together = Together(writer)
    calls = await asked(together, [run(n, f"t{n}") for n in range(LANES + 3)])
    calls[LANES + 1].cancel()
    calls[0].cancel()
    writer.open.set()
    answers = await ended(calls)
    assert [n for n, one in enumerate(answers) if one == "CancelledError"] == [0, LANES + 1]
    assert all(f"t{LANES + 1}" not in one for one in writer.statements)
    later = await asked(together, [run(99)])
    assert await ended(later) == ["done"]


@pytest.mark.server
@pytest.mark.xdist_group("postgres")
async def test_many_callers_share_commits_and_each_run_is_there_when_its_call_returns(
    make_stores: MakeStores,
) -> None:
    store, other = await make_stores(2)
    sent = store._pool.sent

    async def one(number: int) -> None:
        await store.enqueue([run(number)])
        assert await other.run(ident(number)) is not None

    await asyncio.gather(*(one(number) for number in range(1, 201)))
    assert store._pool.sent - sent < 40
    assert await other.counts() == {"ready": 200}


@pytest.mark.server
@pytest.mark.xdist_group("postgres")
async def test_a_value_that_cannot_be_kept_fails_its_own_call(make_stores: MakeStores) -> None:
    (store,) = await make_stores(1)
    tasks = ["t"] * 20
    tasks[13] = "t\0"
    runs = [run(number, task) for number, task in enumerate(tasks, start=1)]
    answers = await asyncio.gather(*(store.enqueue([one]) for one in runs), return_exceptions=True)
    assert [n for n, one in enumerate(answers) if isinstance(one, InvalidValue)] == [13]
    assert await store.counts() == {"ready": 19}
