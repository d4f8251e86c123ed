"""Hosts that recycle themselves: how long a process is left alive, and what that will cut in two.

Some hosts end their processes after a fixed time, be they busy or not: an application pool every
29 hours, a container platform once a day. Nobody notices until the end falls into a long run.
`rhythms` finds such a length in the lives of one owner's instances; `collisions` says which
schedules it will meet.

A rhythm is the longest life there is: deploys and crashes cut lives short and are no argument
against it, lives that outlast it are. It takes three lives of one length; random ends hardly ever
have it, and what was seen less often is not guessed. Lives that began and ended together, as at
a deploy, are one. Nothing here reads a clock; whether an end was polite plays no part in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from functools import partial
from itertools import takewhile
from math import comb

import msgspec

from duly.core.spoken import length_text
from duly.core.zones import zone as zone_called

LOOKED_AT = 20
"""How many lives are looked at, the newest."""

_SHORTEST = timedelta(minutes=10)
_TOGETHER = timedelta(minutes=2)
_LEAST_TOLERANCE = timedelta(minutes=2)
_TOLERANCE = 0.02
_ENOUGH = 3
# One life that outlasted the others is a clock that stood still, or a setting tried out; but
# against three that agree by chance it is the better witness.
_ENOUGH_AGAINST_ONE = 5
# Among twenty random ends three of one length are no rarity; real rhythms keep to the minute.
_LUCK = 0.02
_MARGIN = 1.1


class Life(msgspec.Struct, frozen=True, kw_only=True):
    """The life of one process: `name` is its instance's. `ended_at` None means that it lives."""

    name: str
    host: str
    started_at: datetime
    ended_at: datetime | None = None
    politely: bool = False  # it was asked to stop, and said goodbye


class Rhythm(msgspec.Struct, frozen=True):
    """After `length` a process is ended; `seen` lives agree. `host` None means on any host."""

    length: timedelta
    seen: int
    host: str | None = None


class Upcoming(msgspec.Struct, frozen=True):
    """An occurrence to come, and how long its run usually takes."""

    schedule: str
    due: datetime
    usual: timedelta


class Collision(msgspec.Struct, frozen=True):
    """An instance that is likely to end while a run that is due may still work in it."""

    instance: str
    expected_end: datetime
    schedule: str
    due: datetime
    summary: str


def rhythms(lives: Sequence[Life]) -> tuple[Rhythm, ...]:
    """Return the rhythm of each host that has one, and one of all other hosts together.

    `lives` are those of one owner, in any order; who still lives is left out. The last rhythm,
    of host None, is for fleets whose hosts get new names, such as containers. What most lives
    agree on comes first.
    """
    ended = [one for one in lives if one.ended_at is not None]
    hosts = sorted({one.host for one in ended})
    found = [
        Rhythm(length, seen, host)
        for host in hosts
        for length, seen in _agreed([one for one in ended if one.host == host])
    ]
    settled = {one.host for one in found}
    if len(hosts) - len(settled) > 1:
        rest = [one for one in ended if one.host not in settled]
        found += [Rhythm(length, seen) for length, seen in _agreed(rest)]
    return tuple(sorted(found, key=lambda one: -one.seen))


def regular(lives: Sequence[Life]) -> Rhythm | None:
    """Return the rhythm that most of these lives agree on, or None when there is none.

    A rhythm rests on three lives at least, longer than ten minutes, whose lengths lie within 2 %
    (or two minutes) of their median, and closer than random ends would by chance where there were
    many. No life was longer; one is forgiven where five agree.
    """
    found = rhythms(lives)
    return found[0] if found else None


def collisions(
    rhythm: Rhythm, live: Sequence[Life], upcoming: Sequence[Upcoming], *, zone: str = "UTC"
) -> tuple[Collision, ...]:
    """Return what the next ends by this rhythm fall into, soonest first.

    An end collides from the instant a run is due until a tenth more than its usual time has
    passed. Only the next end of each life is looked at, for what comes after it depends on it.
    The summary tells times on the clocks of `zone`.
    """
    found = [
        Collision(one.name, end, due.schedule, due.due, _summary(rhythm, end, due, zone))
        for one in live
        if one.ended_at is None and rhythm.host in (None, one.host)
        for end in (one.started_at + rhythm.length,)
        for due in upcoming
        if due.due <= end <= due.due + due.usual * _MARGIN
    ]
    return tuple(sorted(found, key=lambda one: (one.expected_end, one.due, one.instance)))


def _agreed(lives: Sequence[Life]) -> Iterator[tuple[timedelta, int]]:
    """Yield the length and the number of the longest lives that agree, or nothing."""
    newest = _apart(lives)[-LOOKED_AT:]
    ordered = sorted(length for length in map(_length, newest) if length > _SHORTEST)
    for longer in (0, 1):
        same = _longest_alike(ordered[: len(ordered) - longer])
        needed = _ENOUGH_AGAINST_ONE if longer else _ENOUGH
        if len(same) >= needed and _chance(same, len(ordered)) < _LUCK:
            yield same[len(same) // 2], len(same)
            return


def _apart(lives: Sequence[Life]) -> list[Life]:
    """Order lives by their end; leave out all but one of those that began and ended together."""
    kept: list[Life] = []
    for life in sorted(lives, key=lambda one: (_end(one), one.started_at)):
        near = takewhile(partial(_ends_near, life), reversed(kept))
        if all(abs(life.started_at - one.started_at) > _TOGETHER for one in near):
            kept.append(life)
    return kept


def _ends_near(life: Life, earlier: Life) -> bool:
    return _end(life) - _end(earlier) <= _TOGETHER


def _longest_alike(ordered: Sequence[timedelta]) -> Sequence[timedelta]:
    """Return as many as can be of the longest that lie around their median."""
    for low in range(len(ordered)):
        part = ordered[low:]
        middle = part[len(part) // 2]
        allowed = max(middle * _TOLERANCE, _LEAST_TOLERANCE)
        if middle - part[0] <= allowed and part[-1] - middle <= allowed:
            return part
    return ()


def _chance(same: Sequence[timedelta], of: int) -> float:
    """Return how likely the longest of so many lives lie this close, if ends come at random.

    Lengths drawn evenly between nothing and the longest are taken for random ends.
    """
    spread = (same[-1] - same[0]) / same[-1]
    return comb(of - 1, len(same) - 1) * spread ** (len(same) - 1)


def _length(life: Life) -> timedelta:
    return _end(life) - life.started_at


def _end(life: Life) -> datetime:
    assert life.ended_at is not None, "only lives that ended are measured"
    return life.ended_at


def _summary(rhythm: Rhythm, end: datetime, due: Upcoming, zone: str) -> str:
    at, local = zone_called(zone).local(end), zone_called(zone).local(due.due)
    whose = "a process here" if rhythm.host is None else "this host"
    shown = f"{local:%H:%M}" if local.date() == at.date() else f"{local:%Y-%m-%d %H:%M}"
    name = at.tzname() or ""
    name = f"UTC{name}" if name[:1] in ("+", "-") else name
    return (
        f"{whose} usually ends after {_hours(rhythm.length)}: at {at:%Y-%m-%d %H:%M} {name}, "
        f"in the middle of {due.schedule} due {shown}, which usually takes "
        f"{length_text(due.usual)}"
    )


def _hours(length: timedelta) -> str:
    """Say a length as those who set it do, to the minute: `29 h`, and days only from three on."""
    minutes = round(length / timedelta(minutes=1))
    if minutes >= 3 * 1_440:
        return length_text(timedelta(minutes=minutes))
    parts = [f"{minutes // 60} h" if minutes >= 60 else "", f"{minutes % 60} min"]
    return " ".join(part for part in parts if part and part != "0 min") or "0 min"
