"""Planning what a channel is told, and when: pure, so that it can be asked about any instant.

First news goes out at once; what follows within the channel's `gather` goes together. What only
happened again (the same kind and subject within a day) goes by a gap of its own, which doubles up
to an hour with every notice that held nothing else, and begins anew with fresh news. In quiet hours
only what is critical goes out. A digest goes out once for each of its days, late ones included;
news goes before it, so that a digest never tells of what was not told. Reminders come by growing
gaps, until the incident closes or somebody acknowledges it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from uuid import UUID

import msgspec

from duly.core.fleet import Incident
from duly.core.hearing import hears
from duly.core.notices import (
    MOST_TOLD,
    ChannelPlan,
    Item,
    Notice,
    NoticeKind,
    NotifyPlan,
    Told,
    rank,
)
from duly.core.quiet import digest_due, next_digest, quiet_until
from duly.core.telling import (
    SLACK,
    ChannelState,
    Drawn,
    Mark,
    News,
    Outlook,
    Overdue,
    Summed,
)

FIRST_GAP, LONGEST_GAP = timedelta(minutes=1), timedelta(hours=1)
FIRST_PAUSE = timedelta(seconds=2)
SLOWEST = timedelta(minutes=5)
SLOWEST_REFUSED = timedelta(minutes=15)

replace = msgspec.structs.replace


class Due(msgspec.Struct, frozen=True):
    """What is due now (`what` is None: nothing), and when to look again unless a hint comes."""

    what: NoticeKind | None
    critical: bool = False  # whether only what is critical may be told
    next_at: datetime | None = None


def heard_on(plan: NotifyPlan, channel: str, incident: Incident) -> bool:
    """Whether a channel is told of an incident."""
    return hears(
        plan,
        channel,
        kind=incident.kind,
        severity=incident.severity,
        subject=incident.subject,
        owner=incident.owner,
    )


# --- when ---------------------------------------------------------------------------------------


def plan_next(out: Outlook, agreed: ChannelPlan) -> Due:
    """Say what a channel is to be told now, and when to look again."""
    quiet = quiet_until(agreed, out.now)
    critical = quiet is not None
    if out.pending is not None and not out.pending.sealed:  # begun, and not finished
        return Due(out.pending.notice.kind, critical)
    if not critical and _digest_is_due(out, agreed):
        return Due(NoticeKind.NEWS if out.untold.count else NoticeKind.DIGEST)
    news = _news_at(out, agreed, critical=critical)
    remind = out.remind_critical_at if critical else out.remind_at
    if news is not None and news <= out.now:
        return Due(NoticeKind.NEWS, critical)
    if remind is not None and remind <= out.now:
        return Due(NoticeKind.REMINDER, critical)
    digest = next_digest(agreed, out.now)
    ahead = (one for one in (news, remind, digest, quiet) if one is not None)
    return Due(None, critical, min(ahead, default=None))


def _digest_is_due(out: Outlook, agreed: ChannelPlan) -> bool:
    last = digest_due(agreed, out.now)
    if last is None:
        return False
    at, day = last
    told, on = out.state.digested_at or out.state.since, out.state.digested_on
    return at > told and (on is None or day > on)


def _news_at(out: Outlook, agreed: ChannelPlan, *, critical: bool) -> datetime | None:
    untold, state = out.untold, out.state
    count, fresh = untold.count, untold.fresh
    if critical:
        count, fresh = untold.critical, untold.critical_fresh
    if not count:
        return None
    if state.news_at is None:
        return out.now
    return state.news_at + (agreed.gather if fresh else _gap(state, agreed))


def _gap(state: ChannelState, agreed: ChannelPlan) -> timedelta:
    return max(agreed.gather, state.gap or agreed.gather)


def shortly(agreed: ChannelPlan) -> timedelta:
    """Return how far ahead of its time a reminder goes along with others; never to come again."""
    return min((agreed.gather, *(gap / 2 for gap in agreed.remind)))


def retry_after(failures: int, draw: float, *, permanent: bool) -> timedelta:
    """Return the pause after a channel failed `failures` times in a row; `draw` is in [0, 1)."""
    longest = SLOWEST_REFUSED if permanent else SLOWEST
    grown = min(longest, FIRST_PAUSE * (1 << min(failures - 1, 20)))
    return grown * (0.5 + draw / 2)


# --- what ---------------------------------------------------------------------------------------


class Drawing:
    """Draws up one notice to one channel, from as many pages as it takes.

    `notice` is what was drawn up before, when somebody died over it. Nothing is kept here that the
    answers of `news`, `reminder` and `digest` do not hold.
    """

    def __init__(
        self, plan: NotifyPlan, agreed: ChannelPlan, out: Outlook, *, new_id: UUID, application: str
    ) -> None:
        self._plan, self._agreed, self._now = plan, agreed, out.now
        self.state = out.state
        self.notice = out.pending.notice if out.pending is not None else None
        self.channel = agreed.name
        self._new_id, self._application = new_id, application

    def news(self, page: Sequence[News], *, critical: bool, last: bool) -> Drawn:
        """Take in a page of what was not told; with the last one the notice is sealed.

        What opened and closed before it was told is told once, as closed, with both instants.
        """
        heard = [one for one in page if heard_on(self._plan, self._agreed.name, one.incident)]
        items = [self._item(one) for one in heard]
        if heard:
            self._gather(heard, begins=self.notice is None)
            self._add(NoticeKind.NEWS, items)
        if last and not critical:
            self.state = replace(self.state, looked_from=self._now - SLACK)
        known = {one.incident.id for one in heard}
        return self._drawn([self._mark(one, one.incident.id in known) for one in page], last)

    def reminder(self, page: Sequence[Overdue], *, last: bool) -> Drawn:
        """Take in a page of what is still open and acknowledged by nobody."""
        gaps = self._agreed.remind
        if gaps and page:
            self._add(NoticeKind.REMINDER, [Item(Told.STILL, one.incident) for one in page])
        marks = [
            self._remind(one.incident, reminded=one.reminded + 1 if gaps else one.reminded)
            for one in page
        ]
        return self._drawn(marks, last)

    def digest(self, summed: Summed) -> Drawn:
        """Take in what a digest tells; one that tells nothing is not sent, and counts as told."""
        due = digest_due(self._agreed, self._now)
        since = self.state.digested_at or self.state.since
        self.state = replace(
            self.state, digested_at=self._now, digested_on=due[1] if due is not None else None
        )
        counts = {told: count for told, count in summed.counts.items() if count}
        if counts:
            late = tuple(f"{one.subject}: {one.summary}" for one in summed.late)
            self.notice = replace(
                self._empty(NoticeKind.DIGEST),
                items=summed.items,
                counts=counts,
                late=late,
                since=since,
            )
        return self._drawn([], last=True)

    def _item(self, one: News) -> Item:
        if one.incident.closed_at is not None:
            return Item(Told.CLOSED, one.incident)
        opened = one.incident.opened_at
        before = opened is not None and opened < self.state.since
        return Item(Told.STILL if before else Told.OPENED, one.incident)

    def _mark(self, one: News, heard: bool) -> Mark:
        if heard and one.incident.closed_at is None:
            return self._remind(one.incident, reminded=0)
        return Mark(incident=_id(one.incident), heard=heard, closed=True)

    def _remind(self, incident: Incident, *, reminded: int) -> Mark:
        gaps = self._agreed.remind
        gap = gaps[min(reminded, len(gaps) - 1)] if gaps else None
        return Mark(
            incident=_id(incident),
            heard=True,
            closed=False,
            remind_at=None if gap is None else self._now + gap,
            reminded=reminded,
        )

    def _gather(self, heard: Sequence[News], *, begins: bool) -> None:
        """Decide how long the next news that only happened again have to wait."""
        gap = self.state.gap
        if all(one.fresh for one in heard):
            gap = None
        elif begins and not any(one.fresh for one in heard):
            grown = max(2 * _gap(self.state, self._agreed), FIRST_GAP)
            gap = min(grown, max(LONGEST_GAP, self._agreed.gather))
        self.state = replace(self.state, news_at=self._now, gap=gap)

    def _add(self, kind: NoticeKind, items: Sequence[Item]) -> None:
        notice = self.notice or self._empty(kind)
        counts = Counter(notice.counts)
        counts.update(one.told for one in items)
        self.notice = replace(
            notice,
            items=worst([*notice.items, *items]),
            counts={told: counts[told] for told in Told if counts[told]},
        )

    def _empty(self, kind: NoticeKind) -> Notice:
        return Notice(
            id=self._new_id,
            kind=kind,
            channel=self._agreed.name,
            at=self._now,
            zone=self._agreed.zone,
            application=self._application,
        )

    def _drawn(self, marks: Sequence[Mark], last: bool) -> Drawn:
        self.state = self.state.next()
        return Drawn(
            channel=self._agreed.name,
            state=self.state,
            marks=tuple(marks),
            notice=self.notice,
            sealed=last,
        )


def worst(items: Iterable[Item]) -> tuple[Item, ...]:
    """Return the items that a notice names: the worst first, open before over, then by age."""
    return tuple(sorted(items, key=_order)[:MOST_TOLD])


def _order(one: Item) -> tuple[int, bool, int]:
    return (-rank(one.incident.severity), one.told is Told.CLOSED, one.incident.id or 0)


def _id(incident: Incident) -> int:
    assert incident.id is not None, "what a store answers has a number"
    return incident.id
