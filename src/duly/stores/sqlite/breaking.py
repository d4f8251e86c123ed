"""Breakers: rows are looked up under the write lock, the core's book decides, all is one commit.

A row is kept whole as JSON, beside the few columns that are looked for. An ask that changes
nothing is answered from a read alone (`asked` says so), and takes no write lock.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from duly.core.breaker_book import Book
from duly.core.breakers import (
    OPEN,
    Ask,
    BreakerFilter,
    BreakerLine,
    BreakerRow,
    Heard,
    Permit,
    Report,
)
from duly.core.runs import Answer
from duly.core.states import BreakerState, BreakerVerb
from duly.core.tripping import WAITS
from duly.stores.base import Signal
from duly.stores.sqlite.housekeeping import close_incident, open_incident
from duly.stores.sqlite.rows import instant, json_text, micros
from duly.stores.sqlite.tx import Tx

_LINE = "breaker, verb, state, at, by, why"
_decode = msgspec.json.Decoder(BreakerRow).decode


def asked(tx: Tx, boot: UUID, asks: Sequence[Ask], now: datetime | None) -> list[Permit] | None:
    """Answer asks from what is there, or None when that would change something."""
    book = _book(tx, [one.breaker for one in asks], tx.now(now))
    permits = book.ask(asks, boot)
    return None if book.changed else permits


def calls(tx: Tx, boot: UUID, asks: Sequence[Ask], now: datetime | None) -> list[Permit]:
    """Answer asks, one of which may become a probe; see `Breaking.breaker_calls`."""
    at = tx.now(now)
    book = _book(tx, [one.breaker for one in asks], at)
    permits = book.ask(asks, boot)
    _write(tx, book, at)
    return permits


def tell(
    tx: Tx, boot: UUID, telling: UUID, reports: Sequence[Report], now: datetime | None
) -> Heard:
    """Count reports; see `Breaking.breaker_tell`."""
    at = tx.now(now)
    new = tx.do(
        "insert into duly_breaker_teller (boot, telling, at) values (?,?,?) on conflict (boot)"
        " do update set telling = excluded.telling, at = excluded.at"
        " where telling <> excluded.telling",
        boot.bytes,
        telling.bytes,
        micros(at),
    )
    book = _book(tx, [one.breaker for one in reports], at)
    if new:
        book.tell(reports)
        _write(tx, book, at)
    return book.heard


def move(
    tx: Tx, name: str, verb: BreakerVerb, *, by: str, why: str, now: datetime | None
) -> Answer:
    """Do what a person says; see `Breaking.breaker_move`."""
    at = tx.now(now)
    book = _book(tx, [name], at)
    answer = book.move(name, verb, by=by, why=why)
    _write(tx, book, at)
    return answer


def _book(tx: Tx, names: Sequence[str], now: datetime) -> Book:
    return Book({name: breaker(tx, name) for name in names}, now)


def _write(tx: Tx, book: Book, now: datetime) -> None:
    for row in book.changed:
        tx.do(
            "insert or replace into duly_breaker (name, state, quiet, changed_at, body)"
            " values (?,?,?,?,?)",
            row.name,
            row.state.value,
            row.clean and not row.forced,
            micros(row.changed_at),
            json_text(row),
        )
    tx.many(
        f"insert into duly_breaker_line ({_LINE}) values (?,?,?,?,?,?)",
        [(o.breaker, o.verb.value, o.state.value, micros(o.at), o.by, o.why) for o in book.lines],
    )
    for name, opened, note in book.incidents:
        if opened is not None:
            open_incident(tx, opened, now)
        else:
            close_incident(tx, OPEN, name, note, now=now)
    if sum(_rouse(tx, WAITS + name, micros(now)) for name in book.roused):
        tx.tell(Signal.DUE)
    for name in book.signals:
        tx.tell(Signal.BREAKER, name)


def _rouse(tx: Tx, reason: str, at: int) -> int:
    """Make those due that wait for a breaker."""
    return tx.do(
        "update duly_later set wake_at = ?1 where state = 'waiting' and reason = ?2"
        " and wake_at > ?1",
        at,
        reason,
    )


def rouse_missed(tx: Tx, at: int) -> int:
    """Make those due that wait for a breaker which is closed; return how many."""
    roused = tx.do(
        "update duly_later set wake_at = ?1 where state = 'waiting' and wake_at > ?1"
        " and reason >= ?2 and reason < ?3 and not exists (select 1 from duly_breaker b"
        " where b.name = substr(duly_later.reason, ?4) and b.state <> 'closed')",
        at,
        WAITS,
        WAITS[:-1] + ";",  # the character after the colon
        len(WAITS) + 1,
    )
    if roused:
        tx.tell(Signal.DUE)
    return roused


# --- looking ------------------------------------------------------------------------------------


def breaker(tx: Tx, name: str) -> BreakerRow | None:
    """Return what is known of a target; see `Breaking.breaker`."""
    body = tx.value("select body from duly_breaker where name = ?", name)
    return None if body is None else _decode(body)


def breakers(tx: Tx, where: BreakerFilter) -> list[BreakerRow]:
    """Return what is known of targets; see `Breaking.breakers`."""
    which, values = [], list[object]()
    if where.broken:
        which.append(f"state <> '{BreakerState.CLOSED.value}'")
    if where.names is not None:
        which.append("name in (select value from json_each(?))")
        values.append(msgspec.json.encode(where.names).decode())
    chosen = f"where {' and '.join(which)}" if which else ""
    return breaker_rows(tx, f"{chosen} order by name limit ?", *values, where.limit)


def lines(tx: Tx, name: str, limit: int) -> list[BreakerLine]:
    """Return the latest changes; see `Breaking.breaker_lines`."""
    return line_rows(tx, "where breaker = ? order by number desc limit ?", name, limit)


def breaker_rows(tx: Tx, which: str, *values: object) -> list[BreakerRow]:
    """Return the breakers that a clause selects, in its order."""
    return [_decode(body) for (body,) in tx.all(f"select body from duly_breaker {which}", *values)]


def line_rows(tx: Tx, which: str, *values: object) -> list[BreakerLine]:
    """Return the changes that a clause selects, in its order."""
    return [
        BreakerLine(
            breaker=name,
            verb=BreakerVerb(verb),
            state=BreakerState(state),
            at=instant(at),
            by=by,
            why=why,
        )
        for name, verb, state, at, by, why in tx.all(
            f"select {_LINE} from duly_breaker_line {which}", *values
        )
    ]
