"""What a channel is told, and when: planned from facts alone."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duly.core.fleet import Incident
from duly.core.notices import (
    CHANNEL_DOWN,
    MOST_TOLD,
    ChannelPlan,
    Notice,
    NoticeKind,
    NotifyPlan,
    Rule,
    Told,
)
from duly.core.telling import (
    ChannelState,
    News,
    Outlook,
    Overdue,
    Pending,
    Summed,
    Untold,
)
from duly.core.telling_plan import Drawing, heard_on, plan_next, retry_after, shortly
from tests.stores.profiles import cases

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
ID = UUID(int=7)
NEWS, REMINDER, DIGEST = NoticeKind.NEWS, NoticeKind.REMINDER, NoticeKind.DIGEST
SOME, AGAIN = Untold(3, 1), Untold(3, 0)
NOTICE = Notice(id=ID, kind=NEWS, channel="mail", at=NOW, zone="UTC", application="app")

QUIET: dict[str, Any] = {"quiet_from": time(11), "quiet_until": time(13)}
DIGESTED: dict[str, Any] = {"digest_at": time(8)}

DUE = [
    # case, untold, state, agreed, more of the outlook, what is due, when to look again
    ("nothing", Untold(), {}, {}, {}, None, None),
    ("first news", SOME, {}, {}, {}, NEWS, None),
    ("gathering", SOME, {"news_at": NOW - 20 * MINUTE / 60}, {}, {}, None, 40),
    ("gathered", SOME, {"news_at": NOW - MINUTE}, {}, {}, NEWS, None),
    ("no gathering", SOME, {"news_at": NOW}, {"gather": timedelta(0)}, {}, NEWS, None),
    ("again, by its gap", AGAIN, {"news_at": NOW - MINUTE, "gap": HOUR}, {}, {}, None, 59 * 60),
    ("fresh among it", SOME, {"news_at": NOW - MINUTE, "gap": HOUR}, {}, {}, NEWS, None),
    ("quiet", SOME, {}, QUIET, {}, None, 3600),
    ("critical in quiet", Untold(3, 1, 1, 1), {}, QUIET, {}, NEWS, None),
    ("a reminder", Untold(), {}, {}, {"remind_at": NOW}, REMINDER, None),
    ("a reminder ahead", Untold(), {}, {}, {"remind_at": NOW + HOUR}, None, 3600),
    ("a reminder in quiet", Untold(), {}, QUIET, {"remind_at": NOW}, None, 3600),
    ("a critical one in quiet", Untold(), {}, QUIET, {"remind_critical_at": NOW}, REMINDER, None),
    ("a digest", Untold(), {}, DIGESTED, {}, DIGEST, None),
    ("news before a digest", SOME, {"news_at": NOW}, DIGESTED, {}, NEWS, None),
    ("a digest that was told", Untold(), {"digested_at": NOW}, DIGESTED, {}, None, 20 * 3600),
    ("a digest in quiet", Untold(), {}, DIGESTED | QUIET, {}, None, 3600),
    (
        "one of the same day at another hour",
        Untold(),
        {"digested_at": NOW - 8 * HOUR, "digested_on": NOW.date()},
        DIGESTED, {}, None, 20 * 3600,
    ),
    (
        "what was begun",
        Untold(), {"news_at": NOW}, {}, {"pending": Pending(NOTICE, False)}, NEWS, None,
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("untold", "state", "agreed", "more", "what", "next_s"),
    [one[1:] for one in DUE],
    ids=[one[0] for one in DUE],
)
def test_what_is_due(
    untold: Untold,
    state: dict[str, Any],
    agreed: dict[str, Any],
    more: dict[str, Any],
    what: NoticeKind | None,
    next_s: float | None,
) -> None:
    known = ChannelState(**({"since": NOW - 2 * DAY} | state))
    out = Outlook(now=NOW, state=known, untold=untold, **more)
    due = plan_next(out, ChannelPlan(name="mail", **agreed))
    ahead = None if due.next_at is None else (due.next_at - NOW).total_seconds()
    assert (due.what, ahead) == (what, next_s)


HEARD = [
    (Rule(channels=("mail",)), {}, True),
    (Rule(channels=("chat",)), {}, False),
    (Rule(channels=("mail",), kinds=("breaker.*", "run.*")), {}, True),
    (Rule(channels=("mail",), kinds=("breaker.*",)), {}, False),
    (Rule(channels=("mail",), severity="critical"), {}, False),
    (Rule(channels=("mail",), severity="critical"), {"severity": "critical"}, True),
    (Rule(channels=("mail",), owners=("shop",)), {"owner": "shop"}, True),
    (Rule(channels=("mail",), owners=("shop",)), {}, False),
    (Rule(channels=("mail",), subjects=("nightly*",)), {"subject": "nightly-2"}, True),
    (None, {}, True),
    (None, {"kind": CHANNEL_DOWN, "subject": "mail"}, False),
    (None, {"kind": CHANNEL_DOWN, "subject": "chat"}, True),
]


@pytest.mark.parametrize(("rule", "about", "heard"), HEARD)
def test_rules_say_who_hears(rule: Rule | None, about: dict[str, Any], heard: bool) -> None:
    plan = NotifyPlan(rules=(rule,) if rule else ())
    assert heard_on(plan, "mail", incident(1, **({"kind": "run.failed"} | about))) is heard


def incident(number: int, **how: Any) -> Incident:
    given = {"kind": "x", "subject": f"s{number}", "severity": "warning", "summary": "so"}
    return Incident(**(given | {"id": number, "opened_at": NOW} | how))


def drawing(state: ChannelState | None = None, **agreed: Any) -> Drawing:
    out = Outlook(now=NOW, state=state or ChannelState(since=NOW - DAY))
    plan = ChannelPlan(name="mail", **agreed)
    return Drawing(NotifyPlan(), plan, out, new_id=ID, application="app")


drawn_news = st.lists(
    st.builds(
        News,
        st.builds(
            incident,
            st.integers(1, 10_000),
            severity=st.sampled_from(["info", "warning", "critical", "strange"]),
            closed_at=st.sampled_from([None, NOW]),
            opened_at=st.sampled_from([NOW, NOW - 2 * DAY]),
        ),
        st.booleans(),
        st.booleans(),
    ),
    max_size=60,
)


@cases(150)
@given(news=drawn_news, cut=st.integers(0, 60))
def test_a_notice_counts_all_and_names_the_worst_however_it_was_paged(
    news: list[News], cut: int
) -> None:
    one = drawing()
    first = one.news(news[:cut], critical=False, last=False)
    last = one.news(news[cut:], critical=False, last=True)
    marks = [*first.marks, *last.marks]
    assert [mark.incident for mark in marks] == [each.incident.id for each in news]
    assert all(mark.closed == bool(n.incident.closed_at) for mark, n in zip(marks, news))  # noqa: B905
    if not news:
        assert last.notice is None
        return
    notice = last.notice
    assert notice is not None
    assert notice.id == ID
    assert sum(notice.counts.values()) == len(news)
    assert len(notice.items) == min(MOST_TOLD, len(news))
    named = {id(item.incident) for item in notice.items}
    worst = max((n.incident.severity == "strange" for n in news), default=False)
    assert not worst or notice.items[0].incident.severity == "strange"
    assert len(named) <= len(notice.items)
    assert msgspec.json.decode(msgspec.json.encode(notice), type=Notice) == notice


def test_the_gap_grows_with_what_only_happens_again_and_fresh_news_resets_it() -> None:
    state, gaps = ChannelState(since=NOW - DAY), []
    for fresh in (False,) * 7 + (True, False):
        one = drawing(state)
        state = one.news([News(incident(1), False, fresh)], critical=False, last=True).state
        gaps.append(state.gap)
    minutes = [None if gap is None else gap / MINUTE for gap in gaps]
    assert minutes == [2, 4, 8, 16, 32, 60, 60, None, 2]


def test_reminders_grow_to_the_last_gap_and_end_where_none_are_agreed() -> None:
    gaps = (HOUR, DAY)
    marks = []
    for reminded in range(3):
        drawn = drawing(remind=gaps).reminder([Overdue(incident(1), reminded)], last=True)
        marks += drawn.marks
        assert drawn.notice is not None
        assert drawn.notice.counts == {Told.STILL: 1}
    assert [(one.reminded, one.remind_at) for one in marks] == [
        (1, NOW + DAY), (2, NOW + DAY), (3, NOW + DAY),
    ]  # fmt: skip
    ended = drawing(remind=()).reminder([Overdue(incident(1), 4)], last=True)
    assert ended.notice is None
    assert [one.remind_at for one in ended.marks] == [None]


def test_a_digest_that_tells_nothing_is_not_sent_and_counts_as_told() -> None:
    nothing = Summed({Told.OPENED: 0, Told.CLOSED: 0, Told.STILL: 0})
    drawn = drawing(digest_at=time(8)).digest(nothing)
    assert drawn.notice is None
    assert (drawn.state.digested_at, drawn.state.digested_on) == (NOW, NOW.date())


def test_what_is_told_shortly_before_its_time_does_not_come_again_at_once() -> None:
    agreed = ChannelPlan(name="mail", remind=(timedelta(seconds=10),))
    assert shortly(agreed) == timedelta(seconds=5)
    assert shortly(ChannelPlan(name="mail")) == MINUTE


@pytest.mark.parametrize("permanent", [True, False])
def test_pauses_grow_with_chance_up_to_a_bound(permanent: bool) -> None:
    pauses = [retry_after(n, 0.5, permanent=permanent) for n in range(1, 40)]
    assert pauses == sorted(pauses)
    assert pauses[0] == timedelta(seconds=1.5)
    assert pauses[-1] == (15 if permanent else 5) * MINUTE * 0.75
    assert retry_after(3, 0.0, permanent=permanent) < retry_after(3, 0.9, permanent=permanent)
