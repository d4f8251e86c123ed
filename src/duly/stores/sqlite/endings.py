"""How attempts end: each fenced by (run, boot, epoch), a batch in two statements.

Plain endings for good go together; whatever is out of the ordinary (a fence that does not hold,
a limit, a note, a parent, a run that lives on, the same run twice) goes one by one, in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from duly.core.rules import LIVES_ON, heed_cancel, wakes_after_us
from duly.core.runs import Answer, Ending
from duly.core.states import PLACE, RUN_MOVES, Place, RunState, RunVerb, advance
from duly.stores.sqlite.enqueue import CHUNKS, chunked
from duly.stores.sqlite.moves import (
    End,
    Numbers,
    Spot,
    begins_at,
    find,
    free,
    leave_place,
    note_attempt,
    put_ended,
    put_later,
    put_ready,
)
from duly.stores.sqlite.notes import keep_one
from duly.stores.sqlite.rows import marks, micros
from duly.stores.sqlite.tx import Tx
from duly.stores.sqlite.waits import await_all

_FOR_GOOD = {
    verb: state for verb, state in RUN_MOVES[RunState.RUNNING].items()
    if PLACE[state] is Place.ENDED
}  # fmt: skip

# The cross join makes the given rows the outer loop: each is looked up in `held` by its key.
_MOVE = {
    size: f"""insert into duly_ended (id, state, ended_at, epoch, failures, deaths, boot,
        started_at, result, error, reason)
    select h.id, v.column3, ?, h.epoch, h.failures + v.column4, h.deaths, h.boot,
        h.claimed_at, v.column5, v.column6, v.column7
    from (values {marks(size, 7)}) v cross join duly_held h on h.id = v.column1
    where h.epoch = v.column2 and h.boot = ? and h.limit_key is null"""
    for size in CHUNKS
}
_REMOVE = {size: f"delete from duly_held where id in ({marks(size)})" for size in CHUNKS}


def end(tx: Tx, boot: UUID, endings: Sequence[Ending], now: datetime | None) -> list[Answer]:
    """End attempts; see `Store.end`."""
    at = micros(tx.now(now))
    together = [one for one in endings if one.verb in _FOR_GOOD and one.plain]
    if len({one.run for one in endings}) < len(endings) or any(map(_looks_at_others, endings)):
        together = []  # the order decides
    done: set[UUID] = set()
    for chunk in chunked(together):
        done |= _end_together(tx, boot, chunk, at)
    return [Answer.DONE if one.run in done else _end_one(tx, boot, one, at) for one in endings]


def _looks_at_others(ending: Ending) -> bool:
    """Whether what an ending comes to may hang on how other runs of its batch end."""
    return bool(ending.awaits or (ending.note is not None and ending.note.runs))


def _end_together(tx: Tx, boot: UUID, endings: Sequence[Ending], at: int) -> set[UUID]:
    """End runs whose fences hold; return them, or none when any was out of the ordinary."""
    size = len(endings)
    ids: list[bytes] = []
    rows: list[Any] = [at]
    for one in endings:
        run = one.run.bytes
        ids.append(run)
        state = _FOR_GOOD[one.verb].value
        failed = 1 if one.verb is RunVerb.FAIL else 0
        rows += (run, one.epoch, state, failed, one.result, one.error, one.reason)
    rows.append(boot.bytes)
    if tx.do(_MOVE[size], *rows) == size:
        tx.do(_REMOVE[size], *ids)
        return {one.run for one in endings}
    # Some were moved: take those back, and let each be judged by itself.
    tx.do(
        f"delete from duly_ended where id in ({marks(size)})"
        f" and exists (select 1 from duly_held h where h.id = duly_ended.id)",
        *ids,
    )
    return set()


def _end_one(tx: Tx, boot: UUID, ending: Ending, at: int) -> Answer:
    run = ending.run.bytes
    spot = find(tx, run)
    if spot is None or not _fits(spot, boot, ending):
        return Answer.ALREADY if _ended_so(tx, boot, ending) else Answer.STALE
    assert spot.hand is not None, "a fence that fits is of a held run"
    if ending.note is not None:
        keep_one(tx, ending.note, at)
    ending = heed_cancel(ending, spot.hand.cancel)
    state = advance(RUN_MOVES, RunState.RUNNING, ending.verb)
    if PLACE[state] is Place.ENDED:
        how = End(state, ending.result, ending.error, ending.reason)
        put_ended(tx, run, at, spot=spot, end=how, failed=ending.verb is RunVerb.FAIL)
    else:
        _go_on(tx, ending, spot, state=state, at=at)
    return Answer.DONE


def _fits(spot: Spot, boot: UUID, ending: Ending) -> bool:
    return (
        spot.hand is not None
        and spot.hand.boot == boot.bytes
        and spot.numbers.epoch == ending.epoch
    )


def _go_on(tx: Tx, ending: Ending, spot: Spot, *, state: RunState, at: int) -> None:
    """Move a run that lives on behind this attempt."""
    delay_us = wakes_after_us(ending)
    run, before = ending.run.bytes, spot.numbers
    detail = ending.error if ending.verb is RunVerb.RETRY else ending.reason
    note_attempt(tx, run, spot=spot, verb=ending.verb, at=at, detail=detail)
    leave_place(tx, run, spot)
    if ending.verb is RunVerb.RELEASE:
        put_ready(tx, run, begins_at(spot, at), asked=spot.asked, numbers=before)
        return
    numbers = Numbers(
        before.epoch,
        before.failures + (ending.verb is RunVerb.RETRY),
        before.deaths if ending.verb is RunVerb.PARK else 0,
    )
    put_later(
        tx,
        run,
        state,
        asked=spot.asked,
        numbers=numbers,
        wake_at=None if delay_us is None else at + delay_us,
        reason=ending.reason,
    )
    free(tx, run, spot.asked.limit_key, at)
    await_all(tx, ending, at)


def _ended_so(tx: Tx, boot: UUID, ending: Ending) -> bool:
    """Whether this very attempt has ended by this very verb (or as cancelled) before."""
    ended = tx.one(
        "select state from duly_ended where id = ? and boot = ? and epoch = ?",
        ending.run.bytes,
        boot.bytes,
        ending.epoch,
    )
    if ended is not None:
        heeded = ended[0] == RunState.CANCELLED and ending.verb in LIVES_ON
        return heeded or ended[0] == RUN_MOVES[RunState.RUNNING].get(ending.verb)
    past = tx.value(
        "select 1 from duly_attempt where run = ? and epoch = ? and boot = ? and outcome = ?",
        ending.run.bytes,
        ending.epoch,
        boot.bytes,
        ending.verb.value,
    )
    return past is not None
