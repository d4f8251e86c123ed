"""Who awaits what, and waking them: whoever waits looks first, whoever makes it true wakes.

Both happen under the one write lock, so that neither can miss the other. A run is woken when
nothing of one of its groups is awaited any more; a woken run keeps to its limit. Nothing here
decides about effects: `core.effects.settled_for` says what need not be waited for.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from uuid import UUID

from duly.core.effects import Address, settled_for
from duly.core.runs import Answer, Ending
from duly.core.states import PLACE, EffectState, Place, RunState, RunVerb
from duly.core.steps import Await, Event, of_event
from duly.stores.sqlite.moves import awaken, find, state_of, wake
from duly.stores.sqlite.rows import instant, micros
from duly.stores.sqlite.tx import Tx


def emit(tx: Tx, event: Event, now: datetime | None) -> Answer:
    """Write down that something happened, and wake who awaits it; see `Store.emit`."""
    at = micros(tx.now(now))
    first = tx.do(
        "insert into duly_event (name, body, by, at) values (?,?,?,?) on conflict do nothing",
        event.name,
        event.body,
        event.by,
        at,
    )
    if not first:
        return Answer.ALREADY
    wake(tx, of_event(event.name), at)
    return Answer.DONE


def happened(tx: Tx, names: Sequence[str]) -> list[Event]:
    """Return those events that have happened; see `Store.happened`."""
    found = []
    for name in names:
        row = tx.one("select body, by, at from duly_event where name = ?", name)
        if row is not None:
            found.append(Event(name=name, body=row[0], by=row[1], at=instant(row[2])))
    return found


def await_all(tx: Tx, ending: Ending, at: int) -> None:
    """Note what a run awaits, or make it ready when that has come about.

    It replaces what the run awaited before, and nothing can be left of that.
    """
    run = ending.run.bytes
    tx.do("delete from duly_await where run = ?", run)
    if not ending.awaits:
        return
    parked = ending.verb is RunVerb.PARK
    left = [one for one in ending.awaits if not _came_about(tx, one.event, parked=parked)]
    if _groups(ending.awaits) - _groups(left):
        awaken(tx, run, at)
        return
    tx.many(
        "insert or ignore into duly_await (event, run, grp) values (?,?,?)",
        [(one.event, run, one.group) for one in left],
    )


def wake_missed(tx: Tx, at: int) -> int:
    """Wake runs whose awaited things came about without anybody noticing."""
    woken = 0
    for (run,) in tx.all("select distinct run from duly_await order by run"):
        spot = find(tx, run)
        parked = spot is not None and spot.state is RunState.PARKED
        mine = tx.all("select event from duly_await where run = ? order by event", run)
        for event in dict.fromkeys(event for (event,) in mine):
            if _came_about(tx, event, parked=parked):
                woken += wake(tx, event, at)
    return woken


def _groups(awaits: Iterable[Await]) -> set[str]:
    return {one.group for one in awaits}


def _came_about(tx: Tx, event: str, *, parked: bool) -> bool:
    kind, _, what = event.partition(":")
    if kind == "run":
        state = state_of(tx, UUID(what).bytes)
        return state is None or PLACE[state] is Place.ENDED
    if kind == "effect":
        address = Address.of(what)
        found = tx.value(
            "select state from duly_effect where task = ? and name = ? and key = ?",
            address.task,
            address.name,
            address.key,
        )
        return settled_for(EffectState(found) if found else None, parked=parked)
    return tx.value("select 1 from duly_event where name = ?", what) is not None
