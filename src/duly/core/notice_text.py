"""What a notice says: its subject, and its text in paragraphs, to be read at three in the morning.

Guarantees: the same notice gives the same text, to the byte, at every try and on every host; each
line is one printable line whatever a stranger put into an incident; the whole is bounded. Times
are told on the clocks of the channel's zone, with their offset. What is not named is counted.

Pure: knows no channel. How a mail, a chat or a request carries the paragraphs is theirs to say,
and so is the escaping that their formats ask for. Commands are quoted for a shell, because they
will be pasted into one.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from datetime import datetime, tzinfo
from typing import NamedTuple

from duly.core.fleet import Incident
from duly.core.notices import SEVERITIES, Item, Notice, NoticeKind, Told
from duly.core.spoken import instant_text, length_text
from duly.core.zones import zone
from duly.errors import UnknownName, one_line

MOST_SUBJECT = 150
"""Characters of a subject line."""

MOST_WORDS, MOST_NAME = 300, 200
"""Characters of a stranger's sentence, and of a name."""

MOST_EVIDENCE, MOST_LATE = 10, 20
"""Lines of evidence for one incident, and of what ran late, that are shown."""

WHAT_HELPS, WHAT_BECAME = "what helps", "closed"
"""Keys of an incident's evidence with a place of their own in the text."""

_ORDER = (Told.OPENED, Told.STILL, Told.CLOSED)
_INDENT = "  "


class Paragraph(NamedTuple):
    """A heading and its lines, all of them printable; there may be no lines."""

    head: str
    lines: tuple[str, ...] = ()


def subject_of(notice: Notice) -> str:
    """Return the subject: one printable line of at most `MOST_SUBJECT` characters."""
    return one_line(f"[{one_line(notice.application, 40)}] {_gist(notice)}", MOST_SUBJECT)


def paragraphs_of(notice: Notice) -> tuple[Paragraph, ...]:
    """Return the text, a paragraph for each incident that is named."""
    info = _zone_of(notice)
    found = [_opening(notice, info)]
    for told in _ORDER:
        found += [_incident(one, notice.at, info) for one in notice.items if one.told is told]
    if notice.late:
        found.append(Paragraph("Ran late", tuple(_few(notice.late, MOST_LATE))))
    if more := _not_named(notice):
        found.append(Paragraph("Not named here", (f"{more}: duly incidents --all",)))
    found.append(_closing(notice))
    return tuple(found)


def text_of(notice: Notice) -> str:
    """Return the whole as plain text; it ends with a line break."""
    parts = []
    for paragraph in paragraphs_of(notice):
        lines = [paragraph.head, *(_INDENT + line for line in paragraph.lines)]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def helps_with(incident: Incident) -> str:
    """Return what a person may type first: what the incident says itself, else what tells more."""
    if said := incident.evidence.get(WHAT_HELPS):
        return one_line(said, MOST_WORDS)
    room, subject = incident.kind.partition(".")[0], incident.subject
    if not _can_be_typed(subject):
        return "duly incidents"
    if room == "effect":
        # The parts of an effect's name are words of their own.
        return "duly why " + " ".join(shlex.quote(word) for word in subject.split(" "))
    if room == "breaker":
        return f"duly why {shlex.quote('breaker:' + subject)}"
    named = incident.evidence.get("run") or incident.evidence.get("schedule") or ""
    if named and _can_be_typed(named):
        return f"duly why {shlex.quote(named)}"
    return _BY_ROOM.get(room, "duly incidents").format(subject=shlex.quote(subject))


_BY_ROOM = {
    "channel": "duly notify test {subject}",
    "host": "duly instances --all",
    "loop": "duly instances --all",
    "outbox": "duly outbox",
    "queue": "duly instances",
    "schedule": "duly doctor",
    "store": "duly doctor",
    "supervisor": "duly instances --all",
    "task": "duly doctor",
}


def acknowledges(incident: Incident) -> str:
    """Return the command by which a person says: I have seen it, remind nobody of it."""
    if not (_can_be_typed(incident.subject) and _can_be_typed(incident.kind)):
        return "duly incidents"
    kind, subject = shlex.quote(incident.kind), shlex.quote(incident.subject)
    return f"duly incidents ack {kind} {subject} --note '…'"


def counts_of(notice: Notice) -> dict[Told, int]:
    """Return how many incidents the notice tells of, by what it says of them."""
    named = {told: sum(one.told is told for one in notice.items) for told in _ORDER}
    return {told: max(notice.counts.get(told, 0), named[told]) for told in _ORDER}


# --- parts ----------------------------------------------------------------------------------


def _gist(notice: Notice) -> str:
    if notice.kind is NoticeKind.TEST:
        return f"test of the channel {one_line(notice.channel, MOST_NAME)}"
    counts = counts_of(notice)
    if notice.kind is NoticeKind.DIGEST:
        late = f", {len(notice.late)} ran late" if notice.late else ""
        return f"digest: {_counted(counts) or 'nothing'}{late}"
    if sum(counts.values()) == 1 and len(notice.items) == 1:
        (only,) = notice.items
        incident = only.incident
        what = incident.severity if only.told is Told.OPENED else only.told.value
        name = f"{one_line(incident.kind, 60)} {one_line(incident.subject, 60)}"
        return f"{one_line(what, 20)}: {name}: {one_line(incident.summary, MOST_SUBJECT)}"
    return f"{_counted(counts)}{_worst(notice)}"


def _worst(notice: Notice) -> str:
    grades = [one.incident.severity for one in notice.items if one.told is not Told.CLOSED]
    known = [grade for grade in SEVERITIES if grade in grades]
    return f", the worst {known[-1]}" if known else ""


def _counted(counts: dict[Told, int]) -> str:
    return ", ".join(f"{counts[told]:,} {told.value}" for told in _ORDER if counts[told])


def _opening(notice: Notice, info: tzinfo) -> Paragraph:
    application = one_line(notice.application, MOST_NAME)
    if notice.kind is NoticeKind.TEST:
        asked = f"A person asked at {instant_text(notice.at, info)} whether this channel works."
        return Paragraph(f"{application}: this is a test", (asked, "It does. Nothing is wrong."))
    heads = {
        NoticeKind.NEWS: f"{application}: {_counted(counts_of(notice)) or 'nothing new'}",
        NoticeKind.REMINDER: f"{application}: {_counted(counts_of(notice))},"
        " and nobody acknowledged it",
    }
    if notice.kind is not NoticeKind.DIGEST:
        return Paragraph(heads[notice.kind], (f"as of {instant_text(notice.at, info)}",))
    span = f"until {instant_text(notice.at, info)}"
    if notice.since is not None:
        span = f"from {instant_text(notice.since, info)} {span}"
    late = f", {len(notice.late)} ran late" if notice.late else ""
    told = _counted(counts_of(notice)) or "nothing"
    return Paragraph(f"{application}: what happened {span}", (f"{told}{late}",))


def _incident(item: Item, at: datetime, info: tzinfo) -> Paragraph:
    one = item.incident
    name = f"{one_line(one.kind, MOST_NAME)} {one_line(one.subject, MOST_NAME)}"
    lines = [one_line(one.summary, MOST_WORDS), *_times(one, at, info)]
    if owner := one_line(one.owner, MOST_NAME):
        lines.append(f"owner: {owner}")
    if one.acknowledged_by:
        lines.append(f"acknowledged by: {one_line(one.acknowledged_by, MOST_NAME)}")
    lines += _evidence(one)
    if item.told is not Told.CLOSED:
        lines += [f"what helps: {helps_with(one)}", f"seen it: {acknowledges(one)}"]
    grade = one_line(one.severity, 20)
    return Paragraph(f"{item.told.value.upper()} ({grade}) {name}", tuple(lines))


def _times(one: Incident, at: datetime, info: tzinfo) -> Iterator[str]:
    if one.opened_at is not None:
        lasted = length_text((one.closed_at or at) - one.opened_at)
        so_far = "it lasted" if one.closed_at is not None else "that is"
        yield f"since {instant_text(one.opened_at, info)}, {so_far} {lasted}"
    if one.closed_at is not None:
        yield f"until {instant_text(one.closed_at, info)}"
    if became := one.evidence.get(WHAT_BECAME):
        yield f"what became of it: {one_line(became, MOST_WORDS)}"


def _evidence(one: Incident) -> list[str]:
    told = [
        f"{one_line(key, 60)}: {one_line(value, MOST_WORDS)}"
        for key, value in one.evidence.items()
        if key not in (WHAT_HELPS, WHAT_BECAME) and value
    ]
    return _few(told, MOST_EVIDENCE)


def _few(lines: Sequence[str], most: int) -> list[str]:
    shown = [one_line(line, MOST_WORDS + 62) for line in lines[:most]]
    left = len(lines) - most
    return shown if left <= 0 else [*shown, f"and {left:,} more"]


def _not_named(notice: Notice) -> str:
    named = {told: sum(one.told is told for one in notice.items) for told in _ORDER}
    return _counted({told: count - named[told] for told, count in counts_of(notice).items()})


def _closing(notice: Notice) -> Paragraph:
    channel = one_line(notice.channel, MOST_NAME)
    return Paragraph(
        f"Notice {notice.id} to the channel {channel}. Its number stays the same should it be"
        " sent again.",
    )


def _can_be_typed(text: str) -> bool:
    """Whether a name comes out of the text as it went in: nothing was cut or made visible."""
    return bool(text) and one_line(text, MOST_NAME) == text


def _zone_of(notice: Notice) -> tzinfo:
    try:
        return zone(notice.zone).info
    except UnknownName:  # a notice is worth more than its clocks
        return zone("UTC").info
