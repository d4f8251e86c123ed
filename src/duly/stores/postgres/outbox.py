"""The outbox: who relays a topic, which messages are next, what was confirmed.

One boot relays a topic at a time, under a lease that it takes anew with every look. The look
itself is a statement of its own, after the lease was taken: what the one before took out is gone
from it. Messages are numbered as they are written; those of one run leave in that order.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from duly.core.outbox import Message, Outgoing
from duly.core.runs import Answer
from duly.stores.base import DEFAULT_LEASE
from duly.stores.postgres.ground import Ground


class OutboxVerbs(Ground):
    """`outgoing`, `relayed` and `outbox`."""

    async def outgoing(
        self,
        boot: UUID,
        topic: str,
        *,
        limit: int,
        lease: timedelta = DEFAULT_LEASE,
        now: datetime | None = None,
    ) -> list[Message] | None:
        await self._must_be_trusted()
        if not await self._fetch(RELAY, topic, boot, lease, now):
            return None
        return [message_of(row) for row in await self._fetch(NEXT, topic, limit)]

    async def relayed(
        self, boot: UUID, topic: str, messages: Sequence[UUID], *, now: datetime | None = None
    ) -> Answer:
        rows = await self._fetch(CONFIRMED, list(messages), topic)
        return Answer.DONE if rows and rows[0][0] == boot else Answer.STALE

    async def outbox(self) -> list[Outgoing]:
        return [Outgoing(*row) for row in await self._fetch(WAITING)]


def message_of(row: tuple[UUID, str, bytes, str | None, UUID | None, datetime]) -> Message:
    """Build a message from a row of `NEXT`."""
    number, topic, body, key, run, kept_at = row
    return Message(id=number, topic=topic, body=body, key=key, run=run, kept_at=kept_at)


RELAY = """
with t as materialized (select coalesce($4::timestamptz, clock_timestamp()) as now)
insert into duly_relay as r (topic, boot, until)
select $1, $2, t.now + $3::interval from t
on conflict (topic) do update set boot = excluded.boot, until = excluded.until
where r.boot = excluded.boot
  or r.until <= coalesce($4::timestamptz, clock_timestamp())
  or exists (select from duly_instance i
    where i.boot = r.boot and i.state not in ('live', 'stopping'))
returning topic
"""

NEXT = """
select id, topic, body, key, run, kept_at from duly_outbox where topic = $1 order by seq limit $2
"""

CONFIRMED = """
with gone as (delete from duly_outbox where id = any($1::uuid[]))
select boot from duly_relay where topic = $2
"""

WAITING = """
select topic, count(*)::int, min(kept_at) from duly_outbox group by topic order by topic
"""
