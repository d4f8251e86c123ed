"""Messages on their way out: kept in the order of their commits, relayed by one boot a topic.

There is one writer, so the numbers of the rows are the order of the commits. Messages are taken
out only by `relayed`: until then they are handed out again and again, under the same ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from duly.core.outbox import Message, Outgoing
from duly.core.runs import Answer
from duly.stores.base import Signal
from duly.stores.sqlite.rows import instant, micros, uuid_of, uuid_or_none
from duly.stores.sqlite.tx import Tx

_MESSAGE = "id, topic, key, body, run, kept_at"

# The relayer itself, or anybody once its lease has ended or its boot is known to have gone.
_RELAY = """insert into duly_relay (topic, boot, until) values (?1, ?2, ?3)
    on conflict (topic) do update set boot = ?2, until = ?3
    where boot = ?2 or until <= ?4 or exists (select 1 from duly_instance i
        where i.boot = duly_relay.boot and i.state not in ('live', 'stopping'))"""


def put_out(tx: Tx, message: Message, at: int) -> None:
    """Keep a message, once per id."""
    kept = tx.do(
        f"insert into duly_outbox ({_MESSAGE}) values (?,?,?,?,?,?) on conflict (id) do nothing",
        message.id.bytes,
        message.topic,
        message.key,
        message.body,
        message.run.bytes if message.run else None,
        at,
    )
    if kept:
        tx.tell(Signal.OUT, message.topic)


def message_rows(tx: Tx, which: str, *values: Any) -> list[Message]:
    """Return the messages that a clause selects, in its order."""
    rows = tx.all(f"select {_MESSAGE} from duly_outbox {which}", *values)
    return [
        Message(
            id=uuid_of(one),
            topic=topic,
            key=key,
            body=body,
            run=uuid_or_none(run),
            kept_at=instant(kept_at),
        )
        for one, topic, key, body, run, kept_at in rows
    ]


def outgoing(
    tx: Tx, boot: UUID, topic: str, *, limit: int, lease: timedelta, now: datetime | None
) -> list[Message] | None:
    """Return the oldest messages to a topic, for its only relayer; see `Store.outgoing`."""
    tx.must_be_trusted()
    at = tx.now(now)
    if not take_lease(tx, topic, boot, at, at + lease):
        return None
    return message_rows(tx, "where topic = ? order by seq limit ?", topic, limit)


def take_lease(tx: Tx, topic: str, boot: UUID, at: datetime, until: datetime) -> bool:
    """Take or prolong the lease of a topic; False when another boot has it."""
    return bool(tx.do(_RELAY, topic, boot.bytes, micros(until), micros(at)))


def relayed(tx: Tx, boot: UUID, topic: str, messages: Sequence[UUID]) -> Answer:
    """Take messages out that were confirmed; see `Store.relayed`."""
    tx.many("delete from duly_outbox where id = ?", [(one.bytes,) for one in messages])
    holder = tx.value("select boot from duly_relay where topic = ?", topic)
    return Answer.DONE if holder == boot.bytes else Answer.STALE


def waiting(tx: Tx) -> list[Outgoing]:
    """Return how much waits, by topic; see `Store.outbox`."""
    rows = tx.all(
        "select topic, count(*), min(kept_at) from duly_outbox group by topic order by topic"
    )
    return [Outgoing(topic, count, instant(oldest)) for topic, count, oldest in rows]
