"""Telling people, in the model: marks, channels and notices are plain rows, looked at one by one.

What a channel was not told is found by looking at every incident. Nothing here decides what is due.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta
from uuid import UUID

import msgspec

from duly.core.fleet import Incident
from duly.core.notices import MOST_TOLD, Told
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
    told_in,
)
from duly.stores.memory.tables import NoticeRow, Tables
from duly.stores.telling import MOST_READ, TELLING_LEASE


class TellingVerbs:
    """What `Store` says of telling people, on `Tables`."""

    t: Tables

    def _now(self, now: datetime | None) -> datetime:
        raise NotImplementedError

    def _may_relay(self, boot: UUID, topic: str, now: datetime) -> bool:
        raise NotImplementedError

    async def acknowledge(
        self, kind: str, subject: str, *, by: str, note: str = "", now: datetime | None = None
    ) -> Answer:
        index = self.t.open_index(kind, subject)
        if index is None:
            return Answer.UNKNOWN
        one = self.t.incidents[index]
        if one.acknowledged_at is not None:
            return Answer.ALREADY
        self.t.incidents[index] = msgspec.structs.replace(
            one, acknowledged_at=self._now(now), acknowledged_by=by, acknowledged_note=note
        )
        return Answer.DONE

    async def outlook(
        self,
        boot: UUID,
        channel: str,
        *,
        lease: timedelta = TELLING_LEASE,
        limit: int = MOST_READ,
        now: datetime | None = None,
    ) -> Outlook | None:
        at = self._now(now)
        if not self._may_relay(boot, lease_of(channel), at):
            return None
        self.t.relays[lease_of(channel)] = (boot, at + lease)
        state = self.t.channels.setdefault(channel, ChannelState(since=at))
        reminders = [(m.remind_at, one) for m, one in self._reminders(channel) if m.remind_at]
        critical = (when for when, one in reminders if one.severity == "critical")
        return Outlook(
            now=at,
            state=state,
            pending=self._pending(channel),
            untold=_counted(self._untold(channel)[:limit]),
            remind_at=min((when for when, _ in reminders), default=None),
            remind_critical_at=min(critical, default=None),
        )

    def _pending(self, channel: str) -> Pending | None:
        unsent = [
            row
            for row in self.t.notices.values()
            if row.notice.channel == channel and row.sent_at is None
        ]
        first = min(unsent, key=lambda row: (row.notice.at, row.notice.id), default=None)
        return None if first is None else Pending(first.notice, first.sealed)

    async def untold(
        self, channel: str, *, critical: bool = False, limit: int = MOST_READ
    ) -> list[News]:
        found = self._untold(channel)
        return [one for one in found if not critical or _critical(one.incident)][:limit]

    def _untold(self, channel: str) -> list[News]:
        state = self.t.channels.get(channel)
        if state is None:
            return []
        found = [one for one in self.t.incidents if self._is_untold(one, channel, state)]
        found.sort(key=lambda one: (not _critical(one), one.id or 0))
        fresh = self._fresh()
        return [News(one, (channel, one.id or 0) in self.t.marks, one.id in fresh) for one in found]

    def _is_untold(self, one: Incident, channel: str, state: ChannelState) -> bool:
        assert one.opened_at is not None and one.id is not None, "it is kept"
        changed = one.closed_at or one.opened_at
        looked = state.looked_from
        if changed < (looked or state.since) and (looked is not None or one.closed_at is not None):
            return False
        mark = self.t.marks.get((channel, one.id))
        if mark is None:
            return one.closed_at is None or one.opened_at >= state.since
        return one.closed_at is not None and not mark.closed

    def _fresh(self) -> set[int | None]:
        """The incidents before which none of the same kind and subject opened within a day."""
        last: dict[tuple[str, str], datetime] = {}
        fresh: set[int | None] = set()
        for one in self.t.incidents:
            assert one.opened_at is not None, "it is kept"
            name = one.kind, one.subject
            if name not in last or last[name] <= one.opened_at - DAY:
                fresh.add(one.id)
            last[name] = max(one.opened_at, last.get(name, one.opened_at))
        return fresh

    async def overdue(
        self, channel: str, until: datetime, *, critical: bool = False, limit: int = MOST_READ
    ) -> list[Overdue]:
        found = [
            (mark, one)
            for mark, one in self._reminders(channel)
            if mark.remind_at and mark.remind_at <= until and (not critical or _critical(one))
        ]
        found.sort(key=lambda pair: pair[1].id or 0)
        return [Overdue(one, mark.reminded) for mark, one in found[:limit]]

    def _reminders(self, channel: str) -> Iterable[tuple[Mark, Incident]]:
        for one in self.t.incidents:
            mark = self.t.marks.get((channel, one.id or 0))
            silent = one.closed_at is not None or one.acknowledged_at is not None
            if mark is not None and mark.remind_at is not None and not silent:
                yield mark, one

    async def summed(self, channel: str, since: datetime, until: datetime) -> Summed:
        heard = [
            one
            for one in self.t.incidents
            if (mark := self.t.marks.get((channel, one.id or 0))) is not None and mark.heard
        ]
        told = [one for one in heard if one.closed_at is None or since <= one.closed_at < until]
        counts = Counter(told_in(one, since) for one in told)
        late = [
            one
            for one in heard
            if one.kind in LATE_KINDS and one.opened_at and since <= one.opened_at < until
        ]
        return Summed(
            {each: counts[each] for each in (Told.OPENED, Told.CLOSED, Told.STILL)},
            digest_items(told, since),
            tuple(sorted(late, key=lambda one: one.id or 0)[:MOST_TOLD]),
        )

    async def draw_up(self, boot: UUID, drawn: Drawn, *, now: datetime | None = None) -> Answer:
        at = self._now(now)
        holder = self.t.relays.get(lease_of(drawn.channel))
        if holder is None or holder[0] != boot or holder[1] <= at:
            return Answer.STALE
        kept = drawn.notice is not None and drawn.notice.id in self.t.notices
        answer = judged(self.t.channels.get(drawn.channel), drawn, kept=kept)
        if answer is not None:
            return answer
        self.t.channels[drawn.channel] = drawn.state
        known = {one.id for one in self.t.incidents}
        for mark in drawn.marks:
            if mark.incident in known:
                self.t.marks[drawn.channel, mark.incident] = mark
        notice = drawn.notice
        if notice is not None:
            before = self.t.notices.get(notice.id)
            if before is None or not before.sealed:
                self.t.notices[notice.id] = NoticeRow(notice, drawn.sealed)
        return Answer.DONE

    async def arrived(self, notice: UUID, *, now: datetime | None = None) -> Answer:
        row = self.t.notices.get(notice)
        if row is None:
            return Answer.UNKNOWN
        if row.sent_at is not None:
            return Answer.ALREADY
        self.t.notices[notice] = msgspec.structs.replace(row, sent_at=self._now(now))
        return Answer.DONE

    async def channels(self) -> list[ChannelStanding]:
        return [
            ChannelStanding(
                name=name,
                failing_since=state.failing_since,
                why=state.why,
                waiting=sum(
                    row.notice.channel == name and row.sent_at is None
                    for row in self.t.notices.values()
                ),
                untold=len(self._untold(name)[:MOST_READ]),
            )
            for name, state in sorted(self.t.channels.items())
        ]

    def _prune_notices(self, before: datetime, limit: int) -> int:
        """Forget notices that were drawn up long ago."""
        old = sorted((row.notice.at, i) for i, row in self.t.notices.items())
        gone = [i for at, i in old if at < before][:limit]
        for one in gone:
            del self.t.notices[one]
        return len(gone)


def _critical(one: Incident) -> bool:
    return one.severity == "critical"


def _counted(found: list[News]) -> Untold:
    critical = [one for one in found if _critical(one.incident)]
    return Untold(
        len(found),
        sum(one.fresh for one in found),
        len(critical),
        sum(one.fresh for one in critical),
    )
