"""Telling people: what a channel has no mark for it was not told; notices are kept, then sent.

Channels and notices are kept whole as JSON, beside the few columns that are looked for. What was
not told is found among the incidents that changed since the channel was told all there was.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from duly.core.fleet import Incident
from duly.core.notices import MOST_TOLD, Notice, Told
from duly.core.runs import Answer
from duly.core.telling import (
    DAY,
    LATE_KINDS,
    ChannelStanding,
    ChannelState,
    Drawn,
    Mark,
    News,
    Outlook,
    Overdue,
    Pending,
    Summed,
    Untold,
    digest_items,
    judged,
    lease_of,
)
from duly.stores.sqlite.housekeeping import INCIDENT, incident_of
from duly.stores.sqlite.outbox import take_lease
from duly.stores.sqlite.rows import (
    instant_or_none,
    json_text,
    micros,
    micros_or_none,
    uuid_of,
)
from duly.stores.sqlite.tx import Row, Tx
from duly.stores.telling import MOST_READ

_state = msgspec.json.Decoder(ChannelState).decode
_notice = msgspec.json.Decoder(Notice).decode
_DAY = DAY // timedelta(microseconds=1)

# ?1 channel, ?2 since, ?3 from when on changes may be untold, ?4 only critical ones, ?5 limit.
# What is open at the first look is news, however old.
_CHANGED = """coalesce(i.closed_at, i.opened_at) >= ?3 {or_open}
    and (case when t.incident is null then i.closed_at is null or i.opened_at >= ?2
        else i.closed_at is not null and not t.closed end)
    and (i.severity = 'critical' or not ?4)"""
_UNTOLD = f"""select {INCIDENT}, t.incident is not null, not exists (
        select 1 from duly_incident e where e.kind = i.kind and e.subject = i.subject
        and e.number < i.number and e.opened_at > i.opened_at - {_DAY})
    from duly_incident i left join duly_told t on t.incident = i.number and t.channel = ?1
    where {{which}} order by i.severity <> 'critical', i.number limit ?5"""
_LATER = _UNTOLD.format(which=_CHANGED.format(or_open=""))
_FIRST = _UNTOLD.format(which="(" + _CHANGED.format(or_open="or i.closed_at is null)"))

_MARK = "incident, channel, heard, closed, remind_at, reminded"
_REMIND = """from duly_told t join duly_incident i on i.number = t.incident
    where t.channel = ? and t.remind_at is not null and i.closed_at is null
    and i.acknowledged_at is null"""
_HEARD = (
    "from duly_told t join duly_incident i on i.number = t.incident where t.channel = ? and heard"
)


def acknowledge(
    tx: Tx, kind: str, subject: str, *, by: str, note: str, now: datetime | None
) -> Answer:
    """Write down who deals with an incident; see `Telling.acknowledge`."""
    row = tx.one(
        "select number, acknowledged_at from duly_incident"
        " where kind = ? and subject = ? and closed_at is null",
        kind,
        subject,
    )
    if row is None:
        return Answer.UNKNOWN
    if row[1] is not None:
        return Answer.ALREADY
    tx.do(
        "update duly_incident set acknowledged_at = ?, acknowledged_by = ?, acknowledged_note = ?"
        " where number = ?",
        micros(tx.now(now)),
        by,
        note,
        row[0],
    )
    return Answer.DONE


def outlook(
    tx: Tx, boot: UUID, channel: str, *, lease: timedelta, limit: int, now: datetime | None
) -> Outlook | None:
    """Take the lease and look around; see `Telling.outlook`."""
    tx.must_be_trusted()
    at = tx.now(now)
    if not take_lease(tx, lease_of(channel), boot, at, at + lease):
        return None
    if _of(tx, channel) is None:
        _put(tx, channel, ChannelState(since=at))
    state = _of(tx, channel)
    assert state is not None, "it was just written"
    soonest = tx.one(
        "select min(t.remind_at), min(case when i.severity = 'critical' then t.remind_at end) "
        + _REMIND,
        channel,
    )
    assert soonest is not None, "a row of minima is always there"
    return Outlook(
        now=at,
        state=state,
        pending=_pending(tx, channel),
        untold=_counted(untold(tx, channel, critical=False, limit=limit)),
        remind_at=instant_or_none(soonest[0]),
        remind_critical_at=instant_or_none(soonest[1]),
    )


def _of(tx: Tx, channel: str) -> ChannelState | None:
    body = tx.value("select body from duly_channel where name = ?", channel)
    return None if body is None else _state(body)


def _put(tx: Tx, channel: str, state: ChannelState) -> None:
    tx.do(
        "insert or replace into duly_channel (name, body) values (?,?)", channel, json_text(state)
    )


def _pending(tx: Tx, channel: str) -> Pending | None:
    row = tx.one(
        "select body, sealed from duly_notice where channel = ? and sent_at is null"
        " order by at, id limit 1",
        channel,
    )
    return None if row is None else Pending(_notice(row[0]), bool(row[1]))


def _counted(found: list[News]) -> Untold:
    critical = [one for one in found if one.incident.severity == "critical"]
    return Untold(
        len(found),
        sum(one.fresh for one in found),
        len(critical),
        sum(one.fresh for one in critical),
    )


def untold(tx: Tx, channel: str, *, critical: bool, limit: int) -> list[News]:
    """Return what a channel was not told; see `Telling.untold`."""
    state = _of(tx, channel)
    if state is None:
        return []
    looked = state.looked_from
    rows = tx.all(
        _FIRST if looked is None else _LATER,
        channel,
        micros(state.since),
        micros(looked or state.since),
        critical,
        limit,
    )
    return [News(incident_of(row[:-2]), bool(row[-2]), bool(row[-1])) for row in rows]


def overdue(tx: Tx, channel: str, until: datetime, *, critical: bool, limit: int) -> list[Overdue]:
    """Return what a channel is to be reminded of; see `Telling.overdue`."""
    rows = tx.all(
        f"select {INCIDENT}, t.reminded {_REMIND} and t.remind_at <= ?"
        " and (i.severity = 'critical' or not ?) order by i.number limit ?",
        channel,
        micros(until),
        critical,
        limit,
    )
    return [Overdue(incident_of(row[:-1]), row[-1]) for row in rows]


def summed(tx: Tx, channel: str, since: datetime, until: datetime) -> Summed:
    """Return what a digest tells; see `Telling.summed`."""
    within = (micros(since), micros(until))
    opened = "i.opened_at >= ? and i.opened_at < ?"
    closed = "i.closed_at >= ? and i.closed_at < ?"
    counts = tx.one(
        "select count(*) filter (where i.closed_at is null and i.opened_at >= ?),"
        f" count(*) filter (where {closed}),"
        f" count(*) filter (where i.closed_at is null and i.opened_at < ?) {_HEARD}",
        within[0],
        *within,
        within[0],
        channel,
    )
    assert counts is not None, "a row of counts is always there"
    named = _incidents(
        tx,
        f"{_HEARD} and (i.closed_at is null or {closed}) order by i.closed_at is not null,"
        " case i.severity when 'info' then 3 when 'warning' then 2 when 'critical' then 1"
        f" else 0 end, i.number limit {MOST_TOLD}",
        channel,
        *within,
    )
    kinds = ",".join("?" * len(LATE_KINDS))
    late = _incidents(
        tx,
        f"{_HEARD} and {opened} and i.kind in ({kinds}) order by i.number limit {MOST_TOLD}",
        channel,
        *within,
        *LATE_KINDS,
    )
    told = (Told.OPENED, Told.CLOSED, Told.STILL)
    return Summed(dict(zip(told, counts, strict=True)), digest_items(named, since), tuple(late))


def _incidents(tx: Tx, which: str, *values: object) -> list[Incident]:
    return [incident_of(row) for row in tx.all(f"select {INCIDENT} {which}", *values)]


def draw_up(tx: Tx, boot: UUID, drawn: Drawn, now: datetime | None) -> Answer:
    """Write state, marks and notice; see `Telling.draw_up`."""
    held = tx.value(
        "select 1 from duly_relay where topic = ? and boot = ? and until > ?",
        lease_of(drawn.channel),
        boot.bytes,
        micros(tx.now(now)),
    )
    if held is None:
        return Answer.STALE
    kept = drawn.notice is not None and bool(
        tx.value("select 1 from duly_notice where id = ?", drawn.notice.id.bytes)
    )
    answer = judged(_of(tx, drawn.channel), drawn, kept=kept)
    if answer is not None:
        return answer
    _put(tx, drawn.channel, drawn.state)
    tx.many(
        f"insert or replace into duly_told ({_MARK})"
        " select number, ?2, ?3, ?4, ?5, ?6 from duly_incident where number = ?1",
        [_mark_row(drawn.channel, one) for one in drawn.marks],
    )
    if drawn.notice is not None:
        one = drawn.notice
        tx.do(
            "insert into duly_notice (id, channel, at, sealed, body) values (?,?,?,?,?)"
            " on conflict (id) do update set sealed = excluded.sealed, body = excluded.body"
            " where not sealed",
            one.id.bytes,
            one.channel,
            micros(one.at),
            drawn.sealed,
            json_text(one),
        )
    return Answer.DONE


def _mark_row(channel: str, one: Mark) -> Row:
    remind_at = micros_or_none(one.remind_at)
    return (one.incident, channel, one.heard, one.closed, remind_at, one.reminded)


def arrived(tx: Tx, notice: UUID, now: datetime | None) -> Answer:
    """Note that a notice arrived; see `Telling.arrived`."""
    row = tx.one("select sent_at from duly_notice where id = ?", notice.bytes)
    if row is None:
        return Answer.UNKNOWN
    if row[0] is not None:
        return Answer.ALREADY
    at = micros(tx.now(now))
    tx.do("update duly_notice set sent_at = ? where id = ?", at, notice.bytes)
    return Answer.DONE


def channels(tx: Tx) -> list[ChannelStanding]:
    """Return how every channel stands; see `Telling.channels`."""
    rows = tx.all(
        "select name, body, (select count(*) from duly_notice n where n.channel = c.name"
        " and n.sent_at is null) from duly_channel c order by name"
    )
    return [
        ChannelStanding(
            name=name,
            failing_since=state.failing_since,
            why=state.why,
            waiting=waiting,
            untold=len(untold(tx, name, critical=False, limit=MOST_READ)),
        )
        for name, body, waiting in rows
        for state in [_state(body)]
    ]


def telling_rows(tx: Tx) -> dict[str, Any]:
    """Return channels, marks and notices in the shape the agreement test compares."""
    plain = msgspec.to_builtins
    marks = tx.all(f"select {_MARK} from duly_told")
    notices = tx.all("select id, body, sealed, sent_at from duly_notice")
    return {
        "channels": {
            name: plain(_state(body))
            for name, body in tx.all("select name, body from duly_channel")
        },
        "told": {f"{row[0]}@{row[1]}": plain(_mark_of(row)) for row in marks},
        "notices": {
            str(uuid_of(number)): {
                "notice": plain(_notice(body)),
                "sealed": bool(sealed),
                "sent_at": plain(instant_or_none(sent_at)),
            }
            for number, body, sealed, sent_at in notices
        },
    }


def _mark_of(row: Row) -> Mark:
    incident, _, heard, closed, remind_at, reminded = row
    return Mark(
        incident=incident,
        heard=bool(heard),
        closed=bool(closed),
        remind_at=instant_or_none(remind_at),
        reminded=reminded,
    )
