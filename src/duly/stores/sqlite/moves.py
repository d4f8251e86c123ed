"""The places of a run, and the moves between them that several verbs share.

A run's identity is in `duly_run` for ever (until pruned); its moving part is in exactly one of
`duly_ready`, `duly_held`, `duly_later`, `duly_ended`. A limited run is in `ready` or `held` only
while it owns a slot of its limit, so that claiming never looks at limits. Every function here is
one step inside a transaction of somebody else.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from uuid import UUID

import msgspec

from duly.core.rules import after_death, not_before
from duly.core.runs import SUSPECT_QUEUE
from duly.core.states import RUN_MOVES, Place, RunState, RunVerb, advance
from duly.core.steps import WAKEABLE, of_run
from duly.stores.base import Signal
from duly.stores.sqlite.rows import instant, marks, micros
from duly.stores.sqlite.tx import Tx

NO_CODE = "no_code"
POISON = "poison"


class Asked(msgspec.Struct, frozen=True, gc=False):
    """The part of an identity that moves need."""

    task: str
    queue: str
    priority: int
    expires_at: int | None
    limit_key: str | None
    parent: bytes | None = None


class Numbers(msgspec.Struct, gc=False):
    """The three counts of a run: they fence, spend the retry budget, and count deaths."""

    epoch: int = 0
    failures: int = 0
    deaths: int = 0


class Hand(msgspec.Struct, frozen=True, gc=False):
    """Who holds a run, since when, and whether its cancelling was requested."""

    boot: bytes
    claim: bytes
    claimed_at: int
    cancel: str | None


class Spot(msgspec.Struct, frozen=True, gc=False):
    """Where a run stands. `queue` is of ready rows, `hand` of held, `reason` of later ones."""

    place: Place
    state: RunState
    asked: Asked
    numbers: Numbers
    queue: str = ""
    hand: Hand | None = None
    reason: str | None = None


_ASKED = """select task, queue, priority, expires_at, limit_key, parent from duly_run
    where id = ?"""
_HELD = """select epoch, failures, deaths, boot, claim, claimed_at, cancel
    from duly_held where id = ?"""
_LATER = "select epoch, failures, deaths, state, reason from duly_later where id = ?"
_ENDED = "select epoch, failures, deaths, state from duly_ended where id = ?"
_READY = """select epoch, failures, deaths, queue from duly_ready
    where queue in (?, ?) and priority = ? and id = ?"""


def asked_of(tx: Tx, run: bytes) -> Asked | None:
    """Return what moves need of a run's identity, or None if it is unknown."""
    row = tx.one(_ASKED, run)
    return None if row is None else Asked(*row)


def find(tx: Tx, run: bytes) -> Spot | None:
    """Return where a run stands, or None if it is unknown."""
    asked = asked_of(tx, run)
    if asked is None:
        return None
    if row := tx.one(_HELD, run):
        return Spot(Place.HELD, RunState.RUNNING, asked, Numbers(*row[:3]), hand=Hand(*row[3:]))
    if row := tx.one(_LATER, run):
        return Spot(Place.LATER, RunState(row[3]), asked, Numbers(*row[:3]), reason=row[4])
    if row := tx.one(_READY, asked.queue, SUSPECT_QUEUE, asked.priority, run):
        return Spot(Place.READY, RunState.READY, asked, Numbers(*row[:3]), queue=row[3])
    row = tx.one(_ENDED, run)
    assert row is not None, "a run with an identity is somewhere"
    return Spot(Place.ENDED, RunState(row[3]), asked, Numbers(*row[:3]))


def state_of(tx: Tx, run: bytes) -> RunState | None:
    """Return the state of a run, or None if it is unknown."""
    spot = find(tx, run)
    return None if spot is None else spot.state


def leave_place(tx: Tx, run: bytes, spot: Spot) -> None:
    """Take a run's moving part out of its place; the caller puts it into another."""
    if spot.place is Place.READY:
        tx.do(
            "delete from duly_ready where queue = ? and priority = ? and id = ?",
            spot.queue,
            spot.asked.priority,
            run,
        )
    else:
        tx.do(f"delete from duly_{spot.place.value} where id = ?", run)


# --- into a place -------------------------------------------------------------------------


def put_ready(tx: Tx, run: bytes, at: int, *, asked: Asked, numbers: Numbers) -> None:
    """Make a run claimable if its limit admits it; else it waits for the limit."""
    if asked.limit_key is not None and not _admit(tx, run, asked.limit_key):
        put_later(
            tx, run, RunState.WAITING, asked=asked, numbers=numbers,
            reason=f"limit:{asked.limit_key}",
        )  # fmt: skip
        return
    # A suspect stays one behind every detour: shelved, or unparked when a boot came back.
    alone = after_death(numbers.deaths).alone
    tx.do(
        "insert into duly_ready (queue, priority, id, task, epoch, failures, deaths, ready_at,"
        " expires_at, limit_key) values (?,?,?,?,?,?,?,?,?,?)",
        SUSPECT_QUEUE if alone else asked.queue,
        asked.priority,
        run,
        asked.task,
        numbers.epoch,
        numbers.failures,
        numbers.deaths,
        at,
        asked.expires_at,
        asked.limit_key,
    )
    tx.tell(Signal.READY)


def put_later(
    tx: Tx,
    run: bytes,
    state: RunState,
    *,
    asked: Asked,
    numbers: Numbers,
    wake_at: int | None = None,
    reason: str | None = None,
) -> None:
    """Put a live run aside: until `wake_at`, or until something happens."""
    tx.do(
        "insert into duly_later (id, state, wake_at, reason, epoch, failures, deaths, priority,"
        " expires_at) values (?,?,?,?,?,?,?,?,?)",
        run,
        state.value,
        wake_at,
        reason,
        numbers.epoch,
        numbers.failures,
        numbers.deaths,
        asked.priority,
        asked.expires_at,
    )
    if wake_at is not None:
        tx.tell(Signal.DUE, instant(wake_at).isoformat())


class End(msgspec.Struct, frozen=True, gc=False):
    """How a run ended, apart from its numbers and its holder."""

    state: RunState
    result: bytes | None = None
    error: str | None = None
    reason: str | None = None


def put_ended(tx: Tx, run: bytes, at: int, *, spot: Spot, end: End, failed: bool = False) -> None:
    """Move a run to its end, free its slot, and wake who awaits the end of a child."""
    leave_place(tx, run, spot)
    hand, numbers = spot.hand, spot.numbers
    tx.do(
        "insert into duly_ended (id, state, ended_at, epoch, failures, deaths, boot, started_at,"
        " result, error, reason) values (?,?,?,?,?,?,?,?,?,?,?)",
        run,
        end.state.value,
        at,
        numbers.epoch,
        numbers.failures + failed,
        numbers.deaths,
        hand.boot if hand else None,
        hand.claimed_at if hand else None,
        end.result,
        end.error,
        end.reason,
    )
    free(tx, run, spot.asked.limit_key, at)
    if spot.asked.parent is not None:
        wake(tx, of_run(UUID(bytes=run)), at)


def note_attempt(
    tx: Tx, run: bytes, *, spot: Spot, verb: RunVerb, at: int, detail: str | None
) -> None:
    """Keep an attempt that was not the run's last."""
    assert spot.hand is not None, "only a held run has an attempt to note"
    tx.do(
        "insert or replace into duly_attempt (run, epoch, boot, started_at, ended_at, outcome,"
        " detail) values (?,?,?,?,?,?,?)",
        run,
        spot.numbers.epoch,
        spot.hand.boot,
        spot.hand.claimed_at,
        at,
        verb.value,
        detail,
    )


# --- limits -------------------------------------------------------------------------------


def free(tx: Tx, run: bytes, limit_key: str | None, at: int) -> None:
    """Give a run's slot back, and admit the next that waits for it."""
    if limit_key is not None:
        tx.do("delete from duly_slot where limit_key = ? and run = ?", limit_key, run)
        admit_waiting(tx, limit_key, at)


def admit_waiting(tx: Tx, key: str, at: int) -> int:
    """Admit runs that wait for a limit while it has room: by priority, then by id."""
    room = tx.value(
        "select l.max - (select count(*) from duly_slot s where s.limit_key = l.key)"
        " from duly_limit l where l.key = ?",
        key,
    )
    if room is None or room <= 0:
        return 0
    waiting = tx.all(
        "select id, epoch, failures, deaths from duly_later"
        " where reason = ? and state = 'waiting' order by priority desc, id limit ?",
        f"limit:{key}",
        room,
    )
    for run, *numbers in waiting:
        advance(RUN_MOVES, RunState.WAITING, RunVerb.PROMOTE)
        asked = asked_of(tx, run)
        assert asked is not None, "a waiting run has an identity"
        tx.do("delete from duly_later where id = ?", run)
        put_ready(tx, run, at, asked=asked, numbers=Numbers(*numbers))
    return len(waiting)


def _admit(tx: Tx, run: bytes, key: str) -> bool:
    """Whether a run owns a slot of its limit, by now at the latest."""
    taken = tx.do(
        "insert into duly_slot (limit_key, run) select ?1, ?2"
        " where not exists (select 1 from duly_slot where limit_key = ?1 and run = ?2)"
        " and (select count(*) from duly_slot where limit_key = ?1)"
        " < (select max from duly_limit where key = ?1)",
        key,
        run,
    )
    if taken:
        return True
    owned = tx.value("select 1 from duly_slot where limit_key = ? and run = ?", key, run)
    return owned is not None


# --- what is awaited ----------------------------------------------------------------------


def wake(tx: Tx, event: str, at: int) -> int:
    """Let those runs go on that awaited this, and nothing else of its group."""
    met: dict[bytes, set[str]] = {}
    for run, group in tx.all("select run, grp from duly_await where event = ? order by run", event):
        met.setdefault(run, set()).add(group)
    if met:
        tx.do("delete from duly_await where event = ?", event)
    woken = 0
    for run, groups in met.items():
        rest = {group for (group,) in tx.all("select grp from duly_await where run = ?", run)}
        if groups - rest:
            woken += awaken(tx, run, at)
    return woken


def awaken(tx: Tx, run: bytes, at: int) -> int:
    """Make a run ready that waits, or is parked for what will come about."""
    tx.do("delete from duly_await where run = ?", run)
    spot = find(tx, run)
    if spot is None or not _wakeable(spot):
        return 0
    verb = RunVerb.UNPARK if spot.state is RunState.PARKED else RunVerb.PROMOTE
    advance(RUN_MOVES, spot.state, verb)
    leave_place(tx, run, spot)
    put_ready(tx, run, at, asked=spot.asked, numbers=spot.numbers)
    return 1


def _wakeable(spot: Spot) -> bool:
    return spot.state is RunState.WAITING or (
        spot.state is RunState.PARKED and spot.reason in WAKEABLE
    )


# --- from the hands -----------------------------------------------------------------------


def held_by(tx: Tx, boot: UUID) -> list[bytes]:
    """Return what a boot holds, in order of id."""
    rows = tx.all("select id from duly_held where boot = ? order by id", boot.bytes)
    return [run for (run,) in rows]


def held_spot(tx: Tx, run: bytes) -> Spot:
    """Return where a run stands of which it is known that it is held."""
    spot = find(tx, run)
    assert spot is not None and spot.hand is not None, "the row was read in this transaction"
    return spot


def begins_at(spot: Spot, at: int) -> int:
    """Return when a run that leaves its holder's hands at `at` may begin again."""
    assert spot.hand is not None, "a held run is in a hand"
    return micros(not_before(instant(spot.hand.claimed_at), instant(at)))


def hand_back(tx: Tx, run: bytes, at: int, why: str) -> None:
    """Release a held run; one whose cancelling was requested ends as cancelled."""
    spot = held_spot(tx, run)
    assert spot.hand is not None, "a held run is in a hand"
    if spot.hand.cancel is not None:
        state = advance(RUN_MOVES, RunState.RUNNING, RunVerb.CANCEL)
        put_ended(tx, run, at, spot=spot, end=End(state, reason=spot.hand.cancel))
        return
    advance(RUN_MOVES, RunState.RUNNING, RunVerb.RELEASE)
    note_attempt(tx, run, spot=spot, verb=RunVerb.RELEASE, at=at, detail=why)
    leave_place(tx, run, spot)
    put_ready(tx, run, begins_at(spot, at), asked=spot.asked, numbers=spot.numbers)


def unshelve(tx: Tx, tasks: Collection[str], at: int) -> None:
    """Make the runs ready that waited for code of these tasks, by id."""
    rows = tx.all(
        """select l.id, r.task, l.state, l.epoch, l.failures, l.deaths
        from duly_later l cross join duly_run r on r.id = l.id
        where l.reason = ? order by l.id""",
        NO_CODE,
    )
    for run, task, state, *numbers in rows:
        if task in tasks:
            advance(RUN_MOVES, RunState(state), RunVerb.PROMOTE)
            asked = asked_of(tx, run)
            assert asked is not None, "a run that waits has an identity"
            tx.do("delete from duly_later where id = ?", run)
            put_ready(tx, run, at, asked=asked, numbers=Numbers(*numbers))


def in_list(values: Sequence[object]) -> str:
    """Return `(?,…)` for an `in` with so many values; empty lists match nothing."""
    return f"({marks(len(values))})"
