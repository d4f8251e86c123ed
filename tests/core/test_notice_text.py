"""What a notice says: complete, bounded, the same every time, and one line per line.

Cases are notices in data; the texts are compared whole where the wording is the promise.
"""

from __future__ import annotations

import shlex
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duly.core.fleet import Incident
from duly.core.hearing import heard_by
from duly.core.notice_text import (
    MOST_SUBJECT,
    acknowledges,
    helps_with,
    paragraphs_of,
    subject_of,
    text_of,
)
from duly.core.notices import (
    MOST_TOLD,
    ChannelPlan,
    Item,
    Notice,
    NoticeKind,
    NotifyPlan,
    Rule,
    Told,
)
from tests.fuzz.hostile import TEXT
from tests.stores.profiles import cases

T0 = datetime(2026, 3, 28, 23, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)


def incident(kind: str = "breaker.open", subject: str = "smtp", **more: object) -> Incident:
    given = {"severity": "critical", "summary": "it is open", "opened_at": T0} | more
    return Incident(kind=kind, subject=subject, **given)  # type: ignore[arg-type]


def notice(*items: Item, kind: NoticeKind = NoticeKind.NEWS, **more: object) -> Notice:
    given = {"channel": "ops", "at": T0 + 2 * HOUR, "zone": "Europe/Amsterdam"} | more
    return Notice(id=UUID(int=7), kind=kind, application="shop", items=items, **given)  # type: ignore[arg-type]


OPEN = Item(Told.OPENED, incident(evidence={"error": "454 not now", "what helps": "wait"}))
STILL = Item(Told.STILL, incident("outbox.stuck", "orders", severity="warning"))
CLOSED = Item(
    Told.CLOSED,
    incident("run.failed", "mail", closed_at=T0 + HOUR, evidence={"closed": "a later run did it"}),
)

SUBJECTS: list[tuple[Notice, str]] = [
    (notice(OPEN), "[shop] critical: breaker.open smtp: it is open"),
    (notice(CLOSED), "[shop] closed: run.failed mail: it is open"),
    (
        notice(STILL, kind=NoticeKind.REMINDER),
        "[shop] still open: outbox.stuck orders: it is open",
    ),
    (notice(OPEN, CLOSED), "[shop] 1 opened, 1 closed, the worst critical"),
    (
        notice(OPEN, counts={Told.OPENED: 10_000, Told.CLOSED: 3}),
        "[shop] 10,000 opened, 3 closed, the worst critical",
    ),
    (
        notice(STILL, OPEN, CLOSED, kind=NoticeKind.DIGEST, late=("mail 3 h",)),
        "[shop] digest: 1 opened, 1 still open, 1 closed, 1 ran late",
    ),
    (notice(kind=NoticeKind.DIGEST), "[shop] digest: nothing"),
    (notice(kind=NoticeKind.TEST), "[shop] test of the channel ops"),
]


@pytest.mark.parametrize(("given", "expected"), SUBJECTS, ids=[one for _, one in SUBJECTS])
def test_the_subject_says_what_it_is_about(given: Notice, expected: str) -> None:
    assert subject_of(given) == expected


def test_a_digest_says_what_opened_what_is_open_for_how_long_what_closed_and_what_was_late() -> (
    None
):
    told = notice(
        CLOSED,
        STILL,
        OPEN,
        kind=NoticeKind.DIGEST,
        since=T0 - 23 * HOUR,
        late=("mail_orders started 20 min late",),
        counts={Told.OPENED: 41},
    )
    assert text_of(told) == (
        "shop: what happened from 2026-03-28 01:30:00 +01:00 until 2026-03-29 03:30:00 +02:00\n"
        "  41 opened, 1 still open, 1 closed, 1 ran late\n"
        "\n"
        "OPENED (critical) breaker.open smtp\n"
        "  it is open\n"
        "  since 2026-03-29 00:30:00 +01:00, that is 2 h\n"
        "  error: 454 not now\n"
        "  what helps: wait\n"
        "  seen it: duly incidents ack breaker.open smtp --note '…'\n"
        "\n"
        "STILL OPEN (warning) outbox.stuck orders\n"
        "  it is open\n"
        "  since 2026-03-29 00:30:00 +01:00, that is 2 h\n"
        "  what helps: duly outbox\n"
        "  seen it: duly incidents ack outbox.stuck orders --note '…'\n"
        "\n"
        "CLOSED (critical) run.failed mail\n"
        "  it is open\n"
        "  since 2026-03-29 00:30:00 +01:00, it lasted 1 h\n"
        "  until 2026-03-29 01:30:00 +01:00\n"
        "  what became of it: a later run did it\n"
        "\n"
        "Ran late\n"
        "  mail_orders started 20 min late\n"
        "\n"
        "Not named here\n"
        "  40 opened: duly incidents --all\n"
        "\n"
        "Notice 00000000-0000-0000-0000-000000000007 to the channel ops. Its number stays the"
        " same should it be sent again.\n"
    )


def test_a_notice_in_a_zone_that_is_gone_is_told_all_the_same() -> None:
    assert "since 2026-03-28 23:30:00 +00:00" in text_of(notice(OPEN, zone="Mars/Olympus"))


HELPS: list[tuple[Incident, str]] = [
    (incident(evidence={"what helps": "duly db accept"}), "duly db accept"),
    (incident(subject="the bank; rm -rf ~"), "duly why 'breaker:the bank; rm -rf ~'"),
    (incident("run.failed", "mail", evidence={"run": "0199"}), "duly why 0199"),
    (incident("expect.start", "x", evidence={"schedule": "a b"}), "duly why 'a b'"),
    (incident("effect.uncertain", "mail send 2026;x"), "duly why mail send '2026;x'"),
    (incident("queue.unserved", "slow"), "duly instances"),
    (incident("channel.down", "ops"), "duly notify test ops"),
    (incident("task.unknown", "mail"), "duly doctor"),
    (incident("something.new", "x"), "duly incidents"),
    (incident("effect.uncertain", "a\nb c"), "duly incidents"),
    (incident("effect.uncertain", "a" * 300), "duly incidents"),
]


@pytest.mark.parametrize(("given", "expected"), HELPS, ids=[one for _, one in HELPS])
def test_what_helps_fits_the_kind_and_is_safe_to_paste(given: Incident, expected: str) -> None:
    assert helps_with(given) == expected


@given(TEXT, TEXT)
@cases(30)
def test_a_command_to_paste_is_words_whatever_a_name_holds(kind: str, subject: str) -> None:
    typed = shlex.split(acknowledges(incident(kind, subject)))
    assert typed in (
        ["duly", "incidents"],
        ["duly", "incidents", "ack", kind, subject, "--note", "…"],
    )


@given(TEXT, TEXT, st.sampled_from(NoticeKind), st.sampled_from(Told))
@cases(30)
def test_every_line_is_one_printable_line_and_the_whole_is_bounded(
    words: str, more: str, kind: NoticeKind, told: Told
) -> None:
    wild = incident(words, more, summary=words, severity=more, evidence={words: more, more: words})
    given = notice(*[Item(told, wild)] * MOST_TOLD, kind=kind, late=(words,) * 50)
    subject, text = subject_of(given), text_of(given)
    assert subject.isprintable() and 0 < len(subject) <= MOST_SUBJECT
    assert all(line.isprintable() for line in text.split("\n"))
    assert len(text) < 60_000
    assert len(text.split("\n")) <= 12 * MOST_TOLD + 40
    assert text == text_of(given) and text.encode()
    assert all(paragraph.head for paragraph in paragraphs_of(given))


# --- who hears ------------------------------------------------------------------------------

PLAN = NotifyPlan(
    channels=tuple(ChannelPlan(name=name) for name in ("ops", "shop", "night")),
    rules=(
        Rule(channels=("night", "ops"), severity="critical"),
        Rule(channels=("shop",), owners=("shop*",), kinds=("run.*", "expect.*")),
        Rule(channels=("shop",), subjects=("orders",)),
    ),
)

HEARD: list[tuple[dict[str, str], tuple[str, ...]]] = [
    ({"kind": "breaker.open", "severity": "critical"}, ("ops", "night")),
    ({"kind": "breaker.open", "severity": "warning"}, ()),
    ({"kind": "run.failed", "severity": "info", "owner": "shop-2"}, ("shop",)),
    ({"kind": "run.failed", "severity": "critical", "owner": "shop"}, ("ops", "shop", "night")),
    ({"kind": "run.failed", "severity": "info", "owner": "Shop"}, ()),
    ({"kind": "outbox.stuck", "severity": "info", "subject": "orders"}, ("shop",)),
    ({"kind": "x", "severity": "of another version"}, ("ops", "night")),
]


@pytest.mark.parametrize(("asked", "expected"), HEARD)
def test_rules_say_who_hears(asked: dict[str, str], expected: tuple[str, ...]) -> None:
    assert heard_by(PLAN, **asked) == expected  # type: ignore[arg-type]


def test_without_rules_every_channel_hears_everything() -> None:
    plan = NotifyPlan(channels=PLAN.channels)
    assert heard_by(plan, kind="x", severity="info") == ("ops", "shop", "night")
