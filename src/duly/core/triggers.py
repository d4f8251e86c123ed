"""When a schedule is due: `Cron`, `Every`, `Once`, and the questions asked of all three.

A trigger is a frozen value that maps instants to occurrences. The set is closed: `Trigger` is
the union of the three, `trigger_from_spec(trigger.spec()) == trigger` for each, and the spec is
canonical, so that two declarations are the same when their specs are.

Instants come in as aware datetimes (any offset) and go out in UTC. Occurrences lie in
`start <= occurrence < end` where those are given. Equal input gives equal output, for ever and
on every machine with the same zone data: nothing here reads a clock, or depends on what was
asked before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, TypeAlias

from duly.core.cron import Fold, Gap, Search, Seconds, parse, search_for
from duly.core.durations import LONGEST, format_duration, parse_duration
from duly.core.zones import EPOCH, Zone, zone
from duly.errors import InvalidValue, UnknownName, brief

_SHORTEST = timedelta(milliseconds=1)
_MOST = 100_000
_LONGEST_INSTANT = 40


@dataclass(frozen=True, slots=True)
class Cron:
    """Due whenever the clocks of a zone match a cron text.

    `seconds` says where a sixth field stands, None that there is none. `gap` and `fold` say
    what happens where the clocks turn; the policy is told in `duly.core.cron.turns`. Raises
    `InvalidValue` or `UnknownName` when it is made; a `Cron` that exists can be due.
    """

    expression: str
    tz: str = "UTC"
    seconds: Seconds | None = None
    gap: Gap = "after"
    fold: Fold = "first"
    start: datetime | None = None
    end: datetime | None = None
    _search: Search = field(init=False, repr=False, compare=False)
    _zone: Zone = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        read = parse(self.expression, seconds=self.seconds)
        if self.gap not in ("after", "skip"):
            raise InvalidValue.expected("gap", '"after" or "skip"', self.gap)
        if self.fold not in ("first", "second", "both"):
            raise InvalidValue.expected("fold", '"first", "second" or "both"', self.fold)
        _set(self, "expression", read.text)
        _set(self, "_zone", zone(self.tz))
        _set(self, "_search", search_for(read, self._zone, self.gap, self.fold))
        _bound(self, self.start, self.end)

    def __reduce__(self) -> tuple[Callable[[Mapping[str, object]], Trigger], tuple[object]]:
        return trigger_from_spec, (self.spec(),)

    def next_after(self, instant: datetime) -> datetime | None:
        """Return the first occurrence after the instant, in UTC; None when there is none."""
        at = _seconds(instant)
        if self.start is not None and instant < self.start:
            at = _second_before(self.start)
        found = self._search.after(at)
        if found is None:
            return None
        occurrence = EPOCH + timedelta(0, found)
        return None if self.end is not None and occurrence >= self.end else occurrence

    def previous_at_or_before(self, instant: datetime) -> datetime | None:
        """Return the last occurrence up to and including the instant; None without one."""
        at = _seconds(instant)
        if self.end is not None and instant >= self.end:
            at = _second_before(self.end)
        found = self._search.at_or_before(at)
        if found is None:
            return None
        occurrence = EPOCH + timedelta(0, found)
        return None if self.start is not None and occurrence < self.start else occurrence

    def smallest_gap(self) -> timedelta:
        """Return the shortest time between two occurrences, turns of the clocks counted in."""
        return timedelta(seconds=self._search.smallest_gap())

    def spec(self) -> dict[str, object]:
        """Return the canonical JSON-able form."""
        return {
            "kind": "cron",
            "expression": self.expression,
            "tz": self.tz,
            "seconds": self.seconds,
            "gap": self.gap,
            "fold": self.fold,
            "start": _text(self.start),
            "end": _text(self.end),
        }

    def describe(self) -> str:
        """Return one line for people: the text, the zone, and what happens at turns."""
        if self.tz == "UTC":
            turns = ""
        elif self._search.expression.wildcard_hours:
            turns = "; by elapsed time where the clocks change"
        else:
            gap = "at the first instant after" if self.gap == "after" else "skipped"
            turns = f"; in a gap {gap}, in a repeated hour {_FOLDS[self.fold]}"
        return f"cron {self.expression!r} in {self.tz}{turns}{_bounds_text(self.start, self.end)}"

    def flag(self, occurrence: datetime) -> str:
        """Return what is special about an occurrence where the clocks turn, or nothing."""
        at = _seconds(occurrence)
        if self._search.moved(at):
            return "in a gap: moved to first instant after"
        return ("", "repeated hour: first", "repeated hour: second")[self._zone.repeated(at)]

    def local(self, occurrence: datetime) -> datetime:
        """Return the occurrence on the clocks of the zone."""
        return self._zone.local(occurrence)


@dataclass(frozen=True, slots=True)
class Every:
    """Due at `anchor` and every `interval` of elapsed time before and after it.

    Clocks that turn do not matter. The interval lies between 1 ms and a hundred years.
    """

    interval: timedelta
    anchor: datetime = EPOCH
    start: datetime | None = None
    end: datetime | None = None

    def __post_init__(self) -> None:
        _check_interval(self.interval)
        _set(self, "anchor", _aware(self.anchor, "anchor"))
        _bound(self, self.start, self.end)

    def next_after(self, instant: datetime) -> datetime | None:
        """Return the first occurrence after the instant, in UTC; None when there is none."""
        at = _aware(instant, "instant")
        if self.start is not None and at < self.start:
            return self._at(self._count_from(self.start))
        return self._at((at - self.anchor) // self.interval + 1)

    def previous_at_or_before(self, instant: datetime) -> datetime | None:
        """Return the last occurrence up to and including the instant; None without one."""
        at = _aware(instant, "instant")
        if self.end is not None and at >= self.end:
            return self._at(self._count_from(self.end) - 1)
        return self._at((at - self.anchor) // self.interval)

    def smallest_gap(self) -> timedelta:
        """Return the interval."""
        return self.interval

    def spec(self) -> dict[str, object]:
        """Return the canonical JSON-able form."""
        return {
            "kind": "every",
            "interval": format_duration(self.interval),
            "anchor": _text(self.anchor),
            "start": _text(self.start),
            "end": _text(self.end),
        }

    def describe(self) -> str:
        """Return one line for people."""
        return f"every {format_duration(self.interval)}{_bounds_text(self.start, self.end)}"

    def _count_from(self, instant: datetime) -> int:
        """Return the number of the first occurrence at or after an instant; the anchor is 0."""
        return -((self.anchor - instant) // self.interval)

    def _at(self, count: int) -> datetime | None:
        try:
            occurrence = self.anchor + count * self.interval
        except OverflowError:
            return None
        if self.start is not None and occurrence < self.start:
            return None
        return None if self.end is not None and occurrence >= self.end else occurrence


@dataclass(frozen=True, slots=True)
class Once:
    """Due one time, at `at`."""

    at: datetime

    def __post_init__(self) -> None:
        _set(self, "at", _aware(self.at, "at"))

    def next_after(self, instant: datetime) -> datetime | None:
        """Return `at` while the instant lies before it, then None."""
        return self.at if _aware(instant, "instant") < self.at else None

    def previous_at_or_before(self, instant: datetime) -> datetime | None:
        """Return `at` from then on; None before."""
        return self.at if _aware(instant, "instant") >= self.at else None

    def smallest_gap(self) -> timedelta:
        """Return the longest `timedelta`: no second occurrence ever comes."""
        return timedelta.max

    def spec(self) -> dict[str, object]:
        """Return the canonical JSON-able form."""
        return {"kind": "once", "at": _text(self.at)}

    def describe(self) -> str:
        """Return one line for people."""
        return f"once at {_text(self.at)}"


Trigger: TypeAlias = Cron | Every | Once


class Upcoming(NamedTuple):
    """One row of a preview: the instant in UTC, the local text with its offset, and a flag
    that is empty unless the clocks turn there."""

    at: datetime
    local: str
    flag: str


def upcoming(trigger: Trigger, after: datetime, count: int) -> list[Upcoming]:
    """Return the next `count` occurrences after an instant, fewer when there are no more."""
    rows = []
    for at in _walk(trigger, after, count):
        if isinstance(trigger, Cron):
            rows.append(Upcoming(at, _local_text(trigger.local(at)), trigger.flag(at)))
        else:
            rows.append(Upcoming(at, _local_text(at), ""))
    return rows


def occurrences_between(
    trigger: Trigger, after: datetime, until: datetime, *, limit: int
) -> list[datetime]:
    """Return the occurrences in (after, until], oldest first, `limit` of them at most."""
    last = _aware(until, "until")
    found = []
    for at in _walk(trigger, after, limit):
        if at > last:
            break
        found.append(at)
    return found


def previous_at_or_before(trigger: Trigger, instant: datetime) -> datetime | None:
    """Return the last occurrence up to and including the instant; None without one."""
    return trigger.previous_at_or_before(instant)


def trigger_from_spec(spec: Mapping[str, object]) -> Trigger:
    """Build the trigger of a spec. Keys with a default may be left out.

    Raises `InvalidValue` for a value that cannot be, `UnknownName` for a key or kind that
    does not exist.
    """
    if not isinstance(spec, Mapping):
        raise InvalidValue.expected("trigger", "an object with a kind", spec)
    kind = spec.get("kind")
    if not isinstance(kind, str) or kind not in _KEYS:
        raise UnknownName.of("kind of trigger", _named(kind), _KEYS)
    for key in spec:
        if key not in _KEYS[kind]:
            raise UnknownName.of(f"key of a {kind} trigger", _named(key), _KEYS[kind])
    for key in _NEEDED[kind]:
        if key not in spec:
            raise InvalidValue.expected(f"{kind} trigger", f"given with {key!r}", dict(spec))
    # The constructors check every value they are given, whatever its type.
    return _KINDS[kind](**{key: _read(key, spec[key]) for key in spec if key != "kind"})


_FOLDS = {"first": "once, the first", "second": "once, the second", "both": "both times"}
_KEYS = {
    "cron": ("kind", "expression", "tz", "seconds", "gap", "fold", "start", "end"),
    "every": ("kind", "interval", "anchor", "start", "end"),
    "once": ("kind", "at"),
}
_NEEDED = {"cron": ("expression",), "every": ("interval",), "once": ("at",)}


def _named(given: object) -> str:
    return given[:32] if isinstance(given, str) else brief(given, 32)


def _read(key: str, value: object) -> object:
    reader = _READERS.get(key)
    return value if reader is None else reader(key, value)


def _read_instant(key: str, value: object) -> datetime | None:
    if value is None and key != "at" and key != "anchor":
        return None
    if isinstance(value, str) and len(value) <= _LONGEST_INSTANT:
        with suppress(ValueError):
            value = datetime.fromisoformat(value)
    if not isinstance(value, datetime):
        raise InvalidValue.expected(key, "an instant such as 2026-03-29T01:00:00Z", value)
    return _aware(value, key)


def _read_interval(key: str, value: object) -> timedelta:
    if not isinstance(value, str | int | float | timedelta):
        raise InvalidValue.expected(key, 'a duration such as "5m"', value)
    return parse_duration(value, what=key)


_READERS: dict[str, Callable[[str, object], object]] = {
    "start": _read_instant,
    "end": _read_instant,
    "anchor": _read_instant,
    "at": _read_instant,
    "interval": _read_interval,
}
_KINDS: dict[str, Callable[..., Trigger]] = {"cron": Cron, "every": Every, "once": Once}


def _walk(trigger: Trigger, after: datetime, count: int) -> Iterator[datetime]:
    if not 0 <= count <= _MOST:
        raise InvalidValue.expected("number of occurrences", f"0-{_MOST}", count)
    at: datetime | None = after
    for _ in range(count):
        assert at is not None, "the walk ends at the last occurrence"
        at = trigger.next_after(at)
        if at is None:
            return
        yield at


def _set(trigger: object, name: str, value: object) -> None:
    object.__setattr__(trigger, name, value)


def _bound(trigger: Cron | Every, start: datetime | None, end: datetime | None) -> None:
    if start is not None:
        _set(trigger, "start", start := _aware(start, "start"))
    if end is not None:
        _set(trigger, "end", end := _aware(end, "end"))
    if start is not None and end is not None and start >= end:
        raise InvalidValue.expected("end", f"later than start ({_text(start)})", _text(end))


def _check_interval(interval: object) -> None:
    if not isinstance(interval, timedelta) or not _SHORTEST <= interval <= LONGEST:
        raise InvalidValue.expected("interval", "between 1ms and a hundred years", interval)


def _aware(instant: object, what: str) -> datetime:
    """Return the instant in UTC. Raises `InvalidValue` when it has no offset."""
    if type(instant) is datetime and instant.tzinfo is UTC:
        return instant
    if not isinstance(instant, datetime) or instant.utcoffset() is None:
        raise InvalidValue.expected(what, "an aware datetime", instant)
    try:
        return instant.astimezone(UTC)
    except OverflowError:
        raise InvalidValue.expected(what, "within the years 1 to 9999 of UTC", instant) from None


def _seconds(instant: datetime) -> int:
    """Return whole seconds since 1970, rounded down."""
    try:
        since = instant - EPOCH
    except TypeError:
        raise InvalidValue.expected("instant", "an aware datetime", instant) from None
    return since.days * 86_400 + since.seconds


def _second_before(instant: datetime) -> int:
    """Return the last whole second that lies before an instant."""
    at = _seconds(instant)
    return at if instant.microsecond else at - 1


def _text(instant: datetime | None) -> str | None:
    if instant is None:
        return None
    return instant.isoformat().removesuffix("+00:00") + "Z"


def _local_text(local: datetime) -> str:
    return local.isoformat(sep=" ")


def _bounds_text(start: datetime | None, end: datetime | None) -> str:
    since = "" if start is None else f"; from {_text(start)}"
    return since if end is None else f"{since}; until {_text(end)}"
