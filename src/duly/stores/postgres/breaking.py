"""Breakers: rows are looked up under locks, the core's book decides, each table is written once.

Theory of operation. An ask is one statement that locks nothing, as long as no probe is due; one
that would become the probe is decided again under the row's lock, so that of many that come at
once one gets the lease. A telling locks its teller's row first, which makes a resend harmless, then
the breakers by name. A breaker without a row cannot be locked: whoever writes its first row wins,
and the others begin again with a fresh look. Runs that wait are touched last (the lock order).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
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
from duly.stores.postgres.ground import Ground
from duly.stores.postgres.housekeeping import CLOSE as CLOSE_INCIDENT
from duly.stores.postgres.housekeeping import OPEN as OPEN_INCIDENT
from duly.stores.postgres.housekeeping import incident_columns
from duly.stores.postgres.unit import BeginAgain, Unit

_decode = msgspec.json.Decoder(BreakerRow).decode
_encode = msgspec.json.Encoder().encode


class BreakerVerbs(Ground):
    """Every verb of `Breaking`."""

    async def breaker_calls(
        self, boot: UUID, asks: Sequence[Ask], *, now: datetime | None = None
    ) -> list[Permit]:
        names = sorted({one.breaker for one in asks})
        seen = await self._fetch(LOOK, names, now)
        if not seen:
            return []
        book = Book(_rows(names, (body for _, body in seen)), seen[0][0])
        permits = book.ask(asks, boot)
        if not book.changed:
            return permits

        async def work(unit: Unit) -> list[Permit]:
            book = await _locked(unit, names)
            permits = book.ask(asks, boot)
            await _write(unit, book)
            return permits

        return await self._transact(work, now)

    async def breaker_tell(
        self, boot: UUID, telling: UUID, reports: Sequence[Report], *, now: datetime | None = None
    ) -> Heard:
        async def work(unit: Unit) -> Heard:
            new = await unit.fetch(TELLER, boot, telling, unit.now)
            book = await _locked(unit, sorted({one.breaker for one in reports}))
            if new:
                book.tell(reports)
                await _write(unit, book)
            return book.heard

        return await self._transact(work, now)

    async def breaker_move(
        self, name: str, verb: BreakerVerb, *, by: str, why: str, now: datetime | None = None
    ) -> Answer:
        async def work(unit: Unit) -> Answer:
            book = await _locked(unit, [name])
            answer = book.move(name, verb, by=by, why=why)
            await _write(unit, book)
            return answer

        return await self._transact(work, now)

    async def breaker(self, name: str) -> BreakerRow | None:
        rows = await self._fetch(ONE, name)
        return _decode(rows[0][0]) if rows else None

    async def breakers(self, where: BreakerFilter) -> list[BreakerRow]:
        found = await self._fetch(SOME, where.broken, where.limit, where.names)
        return [_decode(body) for (body,) in found]

    async def breaker_lines(self, name: str, limit: int = 50) -> list[BreakerLine]:
        return [breaker_line_of(row) for row in await self._fetch(LINES, name, limit)]


def _rows(names: Sequence[str], bodies: Any) -> dict[str, BreakerRow | None]:
    known = [_decode(body) for body in bodies if body is not None]
    return dict.fromkeys(names) | {one.name: one for one in known}


async def _locked(unit: Unit, names: Sequence[str]) -> Book:
    found = await unit.fetch(LOCK, list(names))
    return Book(_rows(names, (body for (body,) in found)), unit.now)


async def _write(unit: Unit, book: Book) -> None:
    """Write what the book holds. Raises `BeginAgain` when a breaker has its first row meanwhile."""
    new, changed = book.new, book.changed
    if new and len(await unit.fetch(INSERT, *_columns(new))) < len(new):
        raise BeginAgain(new[0].name)
    if len(changed) > len(new):
        known = {one.name for one in new}
        await unit.fetch(REPLACE, *_columns([one for one in changed if one.name not in known]))
    if book.lines:
        await unit.fetch(PUT_LINES, *_line_columns(book.lines))
    for name, opened, note in book.incidents:
        if opened is not None:
            await unit.fetch(OPEN_INCIDENT, unit.now, *incident_columns([opened]))
        else:
            await unit.fetch(CLOSE_INCIDENT, unit.now, [OPEN], [name], note)
        unit.tell(Signal.INCIDENT)
    if book.roused and await unit.fetch(ROUSE, unit.now, [WAITS + one for one in book.roused]):
        unit.tell(Signal.DUE)
    for name in book.signals:
        unit.tell(Signal.BREAKER, name)


async def rouse_missed(unit: Unit) -> int:
    """Make those due that wait for a breaker which is closed; return how many."""
    reasons = [row[0] for row in await unit.fetch(MISSED_WAITS, WAITS)]
    roused = await unit.fetch(ROUSE, unit.now, reasons) if reasons else []
    if roused:
        unit.tell(Signal.DUE)
    return len(roused)


def _columns(rows: Sequence[BreakerRow]) -> list[list[Any]]:
    return [
        [one.name for one in rows],
        [one.state.value for one in rows],
        [one.clean and not one.forced for one in rows],
        [one.changed_at for one in rows],
        [_encode(one).decode() for one in rows],
    ]


def _line_columns(lines: Sequence[BreakerLine]) -> list[list[Any]]:
    return [
        [one.breaker for one in lines],
        [one.verb.value for one in lines],
        [one.state.value for one in lines],
        [one.at for one in lines],
        [one.by for one in lines],
        [one.why for one in lines],
    ]


def breaker_line_of(row: Any) -> BreakerLine:
    """Build a change from the columns of `BREAKER_LINE`."""
    name, verb, state, at, by, why = row
    return BreakerLine(
        breaker=name, verb=BreakerVerb(verb), state=BreakerState(state), at=at, by=by, why=why
    )


BREAKER_LINE = "breaker, verb, state, at, by, why"

LOOK = """
select t.now, b.body from (select coalesce($2::timestamptz, clock_timestamp()) as now) t
left join duly_breaker b on b.name = any($1::text[])
"""

LOCK = "select body from duly_breaker where name = any($1::text[]) order by name for update"

TELLER = """
insert into duly_breaker_teller as t (boot, telling, at) values ($1, $2, $3)
on conflict (boot) do update set telling = excluded.telling, at = excluded.at
where t.telling <> excluded.telling returning 1
"""

INSERT = """
insert into duly_breaker (name, state, quiet, changed_at, body)
select * from unnest($1::text[], $2::text[], $3::boolean[], $4::timestamptz[], $5::text[])
on conflict (name) do nothing returning 1
"""

REPLACE = """
update duly_breaker b set state = d.state, quiet = d.quiet, changed_at = d.changed_at, body = d.body
from unnest($1::text[], $2::text[], $3::boolean[], $4::timestamptz[], $5::text[])
  d (name, state, quiet, changed_at, body)
where b.name = d.name
"""

PUT_LINES = f"""
insert into duly_breaker_line ({BREAKER_LINE})
select {BREAKER_LINE} from unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::text[],
  $6::text[]) with ordinality d ({BREAKER_LINE}, n) order by d.n
"""

ROUSE = """
with waiting as (
  select id from duly_later where state = 'waiting' and reason = any($2::text[])
    and wake_at > $1::timestamptz order by id for update
)
update duly_later set wake_at = $1::timestamptz
where id = any(array(select id from waiting)) returning 1
"""

MISSED_WAITS = """
select distinct l.reason from duly_later l
where l.state = 'waiting' and l.reason >= $1 and starts_with(l.reason, $1)
  and not exists (select from duly_breaker b
    where b.name = substr(l.reason, length($1) + 1) and b.state <> 'closed')
order by l.reason
"""

ONE = "select body from duly_breaker where name = $1"

SOME = """
select body from duly_breaker
where (not $1 or state <> 'closed') and ($3::text[] is null or name = any($3))
order by name limit $2
"""

LINES = f"""
select {BREAKER_LINE} from duly_breaker_line where breaker = $1 order by number desc limit $2
"""
