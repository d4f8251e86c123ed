"""What runs remember: steps, progress, and the forks that go on from them.

A note is written in the transaction of its caller, whole or not at all; `keep` holds it to its
fence, an ending to its own. Steps are replaced by their name within the run.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from duly.core.runs import Answer, Origin
from duly.core.states import PLACE, Place, RunState
from duly.core.steps import FORKED, Memory, Note, Step, StepKind, fork_point, forked_from
from duly.stores.sqlite.enqueue import CHUNKS, chunked, enqueue, insert
from duly.stores.sqlite.moves import state_of
from duly.stores.sqlite.outbox import put_out
from duly.stores.sqlite.rows import instant, marks, micros
from duly.stores.sqlite.runs import cancel
from duly.stores.sqlite.tx import Row, Tx
from duly.stores.sqlite.views import IDENTITY, PROGRESS, asked_run, progress_of

STEP = "name, number, kind, value, turn, at"

_DEATHS = "select deaths from duly_held where id = ? and boot = ? and epoch = ?"
_STEPS = {
    size: "insert into duly_step (run, name, number, kind, value, turn, at) values "
    + marks(size, 7)
    + " on conflict (run, name) do update set number = excluded.number, kind = excluded.kind,"
    " value = excluded.value, turn = excluded.turn, at = excluded.at"
    " where excluded.turn >= duly_step.turn"
    for size in CHUNKS
}
_PROGRESS = """insert or replace into duly_progress (run, done, total, note, published, effects, at)
    values (?,?,?,?,?,?,?)"""

_StepOf = tuple[bytes, Step]


def keep(tx: Tx, boot: UUID, notes: Sequence[Note], now: datetime | None) -> list[Answer]:
    """Keep notes whose fences hold; see `Store.keep`."""
    at, answers, steps = micros(tx.now(now)), list[Answer](), list[_StepOf]()
    for one in notes:
        run = one.run.bytes
        deaths = tx.value(_DEATHS, run, boot.bytes, one.epoch)
        answers.append(Answer.STALE if deaths is None else Answer.DONE)
        if deaths is None:
            continue
        if deaths:
            tx.do("update duly_held set deaths = 0 where id = ?", run)
        steps += [(run, step) for step in one.steps]
        _keep_rest(tx, one, at)
    put_steps(tx, steps, at)  # of the same step, the last one stays
    return answers


def keep_one(tx: Tx, note: Note, at: int) -> None:
    """Keep a note whose fence holds."""
    put_steps(tx, [(note.run.bytes, step) for step in note.steps], at)
    _keep_rest(tx, note, at)


def _keep_rest(tx: Tx, note: Note, at: int) -> None:
    """Write messages, children and progress."""
    for message in note.messages:
        put_out(tx, message, at)
    if note.runs:
        enqueue(tx, note.runs, instant(at))
    if note.progress is not None:
        one = note.progress
        values = (one.done, one.total, one.note, one.published, one.effects)
        tx.do(_PROGRESS, note.run.bytes, *values, at)


def put_steps(tx: Tx, steps: Sequence[_StepOf], at: int) -> None:
    """Write steps of runs, in the place of those of the same name."""
    for chunk in chunked(steps):
        values: list[object] = []
        for run, one in chunk:
            values += (run, one.name, one.number, one.kind.value, one.value, one.turn, at)
        tx.do(_STEPS[len(chunk)], *values)


def step_of(row: Row) -> Step:
    """Build a step from the columns of `STEP`."""
    name, number, kind, value, turn, at = row
    return Step(
        name=name, number=number, kind=StepKind(kind), value=value, turn=turn, at=instant(at)
    )


def remembered(tx: Tx, run: UUID) -> Memory:
    """Return what is kept of a run; see `Store.remembered`."""
    steps = tx.all(f"select {STEP} from duly_step where run = ? order by number, name", run.bytes)
    progress = tx.one(f"select {PROGRESS} from duly_progress p where p.run = ?", run.bytes)
    return Memory(tuple(map(step_of, steps)), progress_of(progress) if progress else None)


def fork(tx: Tx, run: UUID, *, at: str, new: UUID, by: str, now: datetime | None) -> Answer:
    """Let a run go on as another, from one of its steps; see `Store.fork`."""
    if tx.value("select 1 from duly_run where id = ?", new.bytes):
        return Answer.ALREADY
    state, moment = state_of(tx, run.bytes), tx.now(now)
    if state is None:
        return Answer.UNKNOWN
    kept = fork_point(remembered(tx, run).steps, at)
    if state is RunState.RUNNING:
        return Answer.IMPOSSIBLE
    if PLACE[state] is not Place.ENDED:
        cancel(tx, run.bytes, f"{by}: forked as {new}", micros(moment))
    row = tx.one(f"select {IDENTITY} from duly_run where id = ?", run.bytes)
    assert row is not None, "a run that is somewhere has an identity"
    if all(one.name != FORKED for one in kept):
        kept += (forked_from(run),)
    put_steps(tx, [(new.bytes, step) for step in kept], micros(moment))
    asked = msgspec.structs.replace(
        asked_run(row),
        id=new,
        origin=Origin.FORK,
        key=None,
        run_at=None,
        expires_at=None,
        asked_by=by,
    )
    insert(tx, asked, moment)
    return Answer.DONE
