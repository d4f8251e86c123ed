"""What lasts, on one file: the step from the first schema, a restore, and what plans are taken."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from duly.core.effects import Address, Author, EffectFilter, Intend
from duly.core.runs import Answer
from duly.core.states import EffectState
from duly.core.steps import Note, Step
from duly.stores.sqlite import SqliteStore, schema
from duly.stores.sqlite.tx import Tx
from tests.stores.sqlite.places import T0, ident, instance, new, opened

BOOT, RUN = ident(1), ident(7)
PAID = Address("t", "pay", "k")


REGISTERED_BY_THE_FIRST_SCHEMA = """
insert into duly_instance (boot, name, host, pid, pid_space, owner, version, tasks, state,
  started_at, seen_at) values (?, 'h:1', 'h', 1, '', 'o', '1', '["t"]', 'live', 0, 0)
"""


async def _holding(store: SqliteStore, *, first: bool = False) -> None:
    if first:
        await store._write(lambda tx: tx.do(REGISTERED_BY_THE_FIRST_SCHEMA, BOOT.bytes))
    else:
        await store.register(instance(BOOT), {})
    await store.enqueue([new(7)])
    claimed = await store.claim(BOOT, ident(2), queues=["default"], tasks=["t"], limit=1)
    assert [one.id for one in claimed.runs] == [RUN]


def _intent() -> Intend:
    second = timedelta(seconds=1)
    return Intend(
        address=PAID, author=Author(RUN, BOOT, 1), intent=ident(9), deadline=second, keep=second
    )


async def test_a_file_of_the_first_schema_is_brought_forward_with_its_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    every = schema.steps()
    with monkeypatch.context() as old:
        old.setattr(schema, "steps", lambda: every[:1])
        async with opened(tmp_path / "x.db") as store:
            assert (await store.open()).schema == 1
            await _holding(store, first=True)
    store = SqliteStore(tmp_path / "x.db", clock=lambda: T0)
    assert await store.migrate() == tuple(name for _, name, _ in every[1:])
    assert (await store.open()).schema == every[-1][0]
    note = Note(run=RUN, epoch=1, steps=(Step(name="a", number=0),))
    assert await store.keep(BOOT, [note]) == [Answer.DONE]
    assert [one.name for one in (await store.remembered(RUN)).steps] == ["a"]
    await store.close()


async def test_code_of_the_first_schema_goes_on_beside_the_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    every = schema.steps()
    async with opened(tmp_path / "x.db"):
        monkeypatch.setattr(schema, "steps", lambda: every[:1])
        async with opened(tmp_path / "x.db") as old:
            assert (await old.open()).schema == every[-1][0]


async def test_what_was_on_its_way_when_a_store_was_restored_is_in_doubt(tmp_path: Path) -> None:
    async with opened(tmp_path / "x.db") as store:
        await _holding(store)
        await store.post([_intent()])
        await store._write(
            lambda tx: tx.do("insert into duly_meta (name, value) values ('untrusted', 'so')")
        )
        assert (await store.effects(EffectFilter()))[0].state is EffectState.INTENDED
        for _ in range(2):
            assert (await store.accept("ann", "the disk broke")).trusted
            [row] = await store.effects(EffectFilter())
            assert row.state is EffectState.UNCERTAIN
            assert "restored" in row.why
        [line] = await store.audit(PAID)
        [incident] = await store.incidents()
        assert (line.intent, incident.subject) == (ident(9), str(PAID))


PLANS = [
    (
        "select run, grp from duly_await where event = ? order by run",
        "SEARCH duly_await USING PRIMARY KEY",
    ),
    ("select grp from duly_await where run = ?", "duly_await_run"),
    (
        "select * from duly_effect where state = 'intended' and deadline <= ?"
        " order by deadline, intent limit 9",
        "duly_effect_deadline",
    ),
    ("select * from duly_outbox where topic = ? order by seq limit 9", "duly_outbox_topic"),
    ("select * from duly_step where run = ? order by number, name", "PRIMARY KEY"),
    (
        "select * from duly_effect order by intended_at desc, intent desc limit 9",
        "duly_effect_newest",
    ),
]


@pytest.mark.parametrize(("statement", "through"), PLANS)
async def test_what_is_looked_for_often_is_found_through_its_index(
    tmp_path: Path, statement: str, through: str
) -> None:
    def plan(tx: Tx) -> list[str]:
        values = [b""] * statement.count("?")
        return [row[3] for row in tx.all(f"explain query plan {statement}", *values)]

    async with opened(tmp_path / "x.db") as store:
        steps = await store._read(plan)
    assert any(through in step for step in steps), steps
    assert not any(step.startswith("SCAN") and "USING" not in step for step in steps), steps
