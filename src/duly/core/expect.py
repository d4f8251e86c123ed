"""What a task is expected to bring: enough output, started and finished in time.

A run that succeeds can still be wrong: it published a third of what it usually does, or came an
hour late, and nobody was told. `Expect` says what is normal; `judge` compares it with the facts
of one run, or of an occurrence that never got one, and returns what was not kept, in words for
people; `next_look` says when time alone may change the verdict.

All instants of the facts, and `now`, are the store's clock: two machines are never compared.
What is *usual* is the median of the last 20 succeeded runs, and of three at least: with fewer
there is no verdict from it, neither good nor bad. What a person cancelled or a policy skipped is
not judged. Nothing here reads a clock, and equal facts give equal words.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, time, timedelta
from typing import Literal, NamedTuple, TypeAlias, get_args
from uuid import UUID

import msgspec

from duly.core.durations import format_duration, parse_duration
from duly.core.spoken import length_text, rfc3339
from duly.core.states import RunState
from duly.core.zones import Zone
from duly.core.zones import zone as zone_called
from duly.errors import InvalidValue, UnknownName

Measure: TypeAlias = Literal["published", "progress", "effects"]
Kind: TypeAlias = Literal["expect.output", "expect.start", "expect.finish", "expect.duration"]

HISTORY = 20
"""How many earlier succeeded runs are looked at."""

ENOUGH = 3
"""With fewer earlier runs nothing is called usual."""

_MEASURES: tuple[Measure, ...] = get_args(Measure)
_OF = ("auto", *_MEASURES)
_SPOKEN: Mapping[Measure, tuple[str, str]] = {
    "published": ("published", ""),
    "progress": ("got through", ""),
    "effects": ("performed", " effects"),
}
_FRACTIONS = (
    (3 / 4, "three quarters"), (2 / 3, "two thirds"), (1 / 2, "half"), (1 / 3, "a third"),
    (1 / 4, "a quarter"), (1 / 5, "a fifth"), (1 / 10, "a tenth"),
)  # fmt: skip
_CLOCK = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9])?")
_MOST = 1_000_000_000_000
# Below this, "three times the usual" says more about the machine than about the run.
_LEAST_EXCESS = timedelta(seconds=1)
_DAY = timedelta(days=1)
_EXCUSED = (RunState.CANCELLED, RunState.SKIPPED)
_OVER = (RunState.SUCCEEDED, RunState.FAILED, RunState.EXPIRED, *_EXCUSED)


class Expect(msgspec.Struct, frozen=True, kw_only=True):
    """What is expected of each run. Raises `InvalidValue` when it is made; says one thing at least.

    `at_least` is an amount of output, `usual` the share (0 to 1) of the usual amount that there
    must be. `of` says what is counted: messages published, progress reported, effects performed;
    "auto" is the first of these three that the run has, or that most of its predecessors had.
    `start_within` is the longest time from when the run was due (or ready, if it never was due)
    to its start. `finish_by` is such a time to its success, or a time of day: "07:45" is the
    first 07:45 of the schedule's zone at or after it was due. `usual_duration` is the longest it
    may take, as a multiple (1 or more) of the usual; an excess below a second is forgiven.

    Lengths and times are kept as canonical texts, so that equal expectations are equal.
    """

    at_least: int | None = None
    usual: float | None = None
    of: Literal["auto", "published", "progress", "effects"] = "auto"
    start_within: timedelta | float | str | None = None
    finish_by: timedelta | float | str | None = None
    usual_duration: float | None = None

    def __post_init__(self) -> None:
        if self.of not in _OF:
            raise UnknownName.of("measure", str(self.of)[:40], _OF)
        if self.at_least is not None:
            _check_number("at_least", self.at_least, int, 1, _MOST)
        if self.usual is not None:
            _check_number("usual", self.usual, float, 0.001, 1)
        if self.usual_duration is not None:
            _check_number("usual_duration", self.usual_duration, float, 1, 1_000)
        for name in ("start_within", "finish_by"):
            given = getattr(self, name)
            if given is not None:
                msgspec.structs.force_setattr(self, name, _canonical(name, given))
        if set(self.spec()) <= {"of"}:
            raise InvalidValue("expected Expect to expect something, got nothing")

    def spec(self) -> dict[str, object]:
        """Return what was said, as plain data: `expect_from_spec` makes an equal one of it."""
        said = msgspec.structs.asdict(self)
        return {name: said[name] for name in said if said[name] not in (None, "auto")}


def expect_from_spec(spec: Mapping[str, object]) -> Expect:
    """Make an `Expect` of plain data. Raises `UnknownName` for a key there is not."""
    for name in spec:
        if name not in Expect.__struct_fields__:
            raise UnknownName.of("expectation", str(name)[:40], Expect.__struct_fields__)
    return Expect(**spec)  # type: ignore[arg-type]  # each is checked by `__post_init__`


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """One run, or an occurrence that is due and has none: then `run` and `state` are None.

    `started_at` is the start of the first attempt, `ended_at` the end of the last one. A run that
    fills in for a day long past is judged by the clock of that day unless its `due` is left out.
    """

    task: str
    run: UUID | None = None
    schedule: str | None = None
    state: RunState | None = None
    due: datetime | None = None
    ready_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    published: int = 0
    effects: int = 0
    done: int | None = None
    total: int | None = None


class Breach(msgspec.Struct, frozen=True):
    """An expectation that was not kept. `subject` stays the same while the case goes on."""

    kind: Kind
    subject: str
    summary: str
    evidence: dict[str, str]


class _Case(NamedTuple):
    expect: Expect
    facts: Facts
    history: tuple[Facts, ...]
    now: datetime
    zone: Zone

    def breach(self, kind: Kind, summary: str, **evidence: str) -> Breach:
        facts = self.facts
        subject = f"run {facts.run} of {facts.task}" if facts.run else facts.task
        if facts.due is not None:
            # The run may not exist yet; the case must have one name before and after.
            subject = f"{facts.schedule or facts.task} due {rfc3339(facts.due)}"
        return Breach(kind, subject, summary, evidence)

    def clock(self, at: datetime) -> str:
        """Tell a time of day as the zone's clocks do, and the date where it is not today's."""
        local = self.zone.local(at)
        name = local.tzname() or ""
        text = f"{local:%H:%M:%S}" if local.second else f"{local:%H:%M}"
        if local.date() != self.zone.local(self.now).date():
            text = f"{local.date().isoformat()} {text}"
        return f"{text} UTC{name}" if name[:1] in ("+", "-") else f"{text} {name}"

    def minute(self, at: datetime) -> str:
        """Tell a time of day to the minute, in the zone that was named before."""
        return self.clock(at.replace(second=0, microsecond=0)).rpartition(" ")[0]


def judge(
    expect: Expect, facts: Facts, *, history: Sequence[Facts] = (), now: datetime, zone: str
) -> tuple[Breach, ...]:
    """Return what was not kept: of start, finish, output, duration, in this order, one each.

    `history` are earlier runs of the same task, newest first; those that did not succeed are left
    out. `zone` is the schedule's. Start and finish are judged as soon as they are late, and stay
    so; output once the run has succeeded; the duration from when it is exceeded.
    """
    case = _case(expect, facts, history, now, zone)
    if facts.state in _EXCUSED:
        return ()
    found = (_start(case), _finish(case), _output(case), _duration(case))
    return tuple(breach for breach in found if breach is not None)


def next_look(
    expect: Expect, facts: Facts, *, history: Sequence[Facts] = (), now: datetime, zone: str
) -> datetime | None:
    """Return the first instant after `now` at which `judge` may find more by time alone.

    None when it cannot: everything has happened, or is late already.
    """
    case = _case(expect, facts, history, now, zone)
    looks: list[datetime | None] = []
    if facts.state not in (*_EXCUSED, RunState.SUCCEEDED):
        looks.append(_finish_limit(case))
        if facts.started_at is None:
            looks.append(_start_limit(case))
        elif facts.state not in _OVER and (limit := _duration_limit(case)) is not None:
            looks.append(facts.started_at + limit)
    return min((at for at in looks if at is not None and at > now), default=None)


def _case(
    expect: Expect, facts: Facts, history: Sequence[Facts], now: datetime, zone: str
) -> _Case:
    earlier = [one for one in history if one.state is RunState.SUCCEEDED and one.run != facts.run]
    return _Case(expect, facts, tuple(earlier[:HISTORY]), now, zone_called(zone))


# --- in time ------------------------------------------------------------------------------


def _start_limit(case: _Case) -> datetime | None:
    since = case.facts.due or case.facts.ready_at
    if case.expect.start_within is None or since is None:
        return None
    return since + parse_duration(case.expect.start_within, what="start_within")


def _start(case: _Case) -> Breach | None:
    facts, limit = case.facts, _start_limit(case)
    since = facts.due or facts.ready_at
    if limit is None or since is None:
        return None
    begun = facts.started_at
    if begun <= limit if begun is not None else case.now < limit:
        return None
    late, what = length_text((begun or case.now) - since), "due" if facts.due else "ready"
    within = length_text(limit - since)
    summary = (
        f"{'not ' if begun is None else ''}started {late} after it was {what} at "
        f"{case.clock(since)}; within {within} was expected"
    )
    if begun is None:
        summary += f"; {_standing(case)}"
    began = {} if begun is None else {"started_at": rfc3339(begun)}
    return case.breach(
        "expect.start", summary, since=rfc3339(since), expected_by=rfc3339(limit), **began
    )


def _finish_limit(case: _Case) -> datetime | None:
    since, by = case.facts.due or case.facts.ready_at, case.expect.finish_by
    if by is None or since is None:
        return None
    if isinstance(by, str) and ":" in by:
        return _first_reading(case.zone, time.fromisoformat(by), since)
    return since + parse_duration(by, what="finish_by")


def _first_reading(zone: Zone, clock: time, since: datetime) -> datetime | None:
    """Return the first instant at or after `since` that reads `clock`, or ends the gap it is in."""
    # Yesterday's readings come again where the clocks go back over midnight.
    today = zone.local(since).date()
    for days in (-1, 0, 1):
        wall = datetime.combine(today + days * _DAY, clock)
        for at in zone.instants(wall) or (zone.gap_end(wall),):
            if at is not None and at >= since:
                return at
    return None


def _finish(case: _Case) -> Breach | None:
    facts, limit = case.facts, _finish_limit(case)
    if limit is None:
        return None
    ended = facts.ended_at if facts.state is RunState.SUCCEEDED else None
    if facts.state is RunState.SUCCEEDED:
        if ended is None or ended <= limit:
            return None
        summary = (
            f"finished at {case.clock(ended)}, {length_text(ended - limit)} late; "
            f"by {case.clock(limit)} was expected"
        )
    elif case.now < limit:
        return None
    else:
        summary = f"not finished by {case.clock(limit)}; {_so_far(case)}"
    finished = {} if ended is None else {"ended_at": rfc3339(ended)}
    counted = {} if facts.done is None else {"done": str(facts.done)}
    return case.breach("expect.finish", summary, expected_by=rfc3339(limit), **finished, **counted)


def _so_far(case: _Case) -> str:
    """Say how far a run came that is not finished, and how it stands."""
    facts = case.facts
    if facts.started_at is None:
        return f"not started: {_standing(case)}"
    since = case.minute(facts.started_at)
    running = "" if facts.state is RunState.RUNNING else f"; {_standing(case)}"
    if facts.done is not None and facts.total:
        share = facts.done * 100 // facts.total
        return f"{share} % done ({facts.done:,} of {facts.total:,}), since {since}{running}"
    amount = {"done": facts.done or 0, "published": facts.published, "performed": facts.effects}
    for word, count in amount.items():
        if count:
            return f"{count:,} {word}, since {since}{running}"
    return f"started at {since}{running}"


def _standing(case: _Case) -> str:
    state, ended = case.facts.state, case.facts.ended_at
    if state is None:
        return "no run was made for it"
    if state in _OVER:
        return f"it {state.value}" + ("" if ended is None else f" at {case.minute(ended)}")
    return "it waits for a worker" if state is RunState.READY else f"it is {state.value}"


# --- enough -------------------------------------------------------------------------------


def _output(case: _Case) -> Breach | None:
    expect, facts = case.expect, case.facts
    if facts.state is not RunState.SUCCEEDED:
        return None
    measure = _measure(case)
    got, (verb, noun) = _amount(facts, measure), _SPOKEN[measure]
    least, share = expect.at_least or 0, expect.usual or 0
    usual = _median([_amount(one, measure) for one in case.history])
    short = got < least
    unusual = len(case.history) >= ENOUGH and got < usual * share
    summary, evidence = "", {"measure": measure, "got": str(got)}
    if short:
        evidence["at_least"] = str(least)
        summary = f"{verb} {got:,} of at least {least:,}{noun}"
    elif not unusual:
        return None
    if unusual:
        runs = len(case.history)
        evidence |= {"median": f"{usual:.15g}", "runs": str(runs), "usual": f"{share:g}"}
        summary = (
            f"{verb} {got:,}{noun}: {_share(got / usual, share)} of the usual {round(usual):,} "
            f"(median of the last {runs} runs)"
        ) + (f"; at least {least:,} was expected" if short else "")
    return case.breach("expect.output", summary, **evidence)


def _measure(case: _Case) -> Measure:
    """Return what is counted: a run of nothing is told by what its predecessors had."""
    if case.expect.of != "auto":
        return case.expect.of
    for measure in _MEASURES:
        had = _median([_amount(one, measure) for one in case.history])
        if _amount(case.facts, measure) > 0 or had > 0:
            return measure
    return "published"


def _amount(facts: Facts, measure: Measure) -> int:
    if measure == "progress":
        return facts.done or 0
    return facts.published if measure == "published" else facts.effects


def _share(share: float, wanted: float) -> str:
    """Say a share plainly; one that would sound like what was wanted is just under it."""
    words = _fraction(share)
    return f"just under {words}" if words == _fraction(wanted) else words


def _fraction(share: float) -> str:
    if share == 0:
        return "none"
    for value, words in _FRACTIONS:
        if abs(share - value) <= value / 20:
            return words
    # Cut, not rounded: what falls short of all must not sound like all.
    return f"{int(share * 100 + 1e-9)} %" if share >= 0.01 else "less than 1 %"


# --- as long as usual ---------------------------------------------------------------------


def _usual_length(case: _Case) -> timedelta | None:
    known = [
        (one.ended_at - one.started_at).total_seconds()
        for one in case.history
        if one.started_at is not None and one.ended_at is not None
    ]
    return timedelta(seconds=_median(known)) if len(known) >= ENOUGH else None


def _duration_limit(case: _Case) -> timedelta | None:
    usual, factor = _usual_length(case), case.expect.usual_duration
    if usual is None or factor is None:
        return None
    return max(usual * factor, usual + _LEAST_EXCESS)


def _duration(case: _Case) -> Breach | None:
    facts, limit, usual = case.facts, _duration_limit(case), _usual_length(case)
    over = facts.state in _OVER
    if limit is None or usual is None or facts.started_at is None or facts.state is None:
        return None
    if over and (facts.state is not RunState.SUCCEEDED or facts.ended_at is None):
        return None
    took = ((facts.ended_at if over else None) or case.now) - facts.started_at
    # What has ended at the limit kept it; what has not ended at the limit cannot.
    if took < limit or (over and took == limit):
        return None
    summary = (
        f"{'took' if over else 'has taken'} {length_text(took)}{'' if over else ' so far'}: "
        f"{_times(took, usual)} the usual {length_text(usual)} "
        f"(median of the last {len(case.history)} runs)"
    )
    return case.breach(
        "expect.duration",
        summary,
        took=format_duration(took),
        usual=format_duration(usual),
        limit=format_duration(limit),
        runs=str(len(case.history)),
    )


def _times(took: timedelta, usual: timedelta) -> str:
    if usual < timedelta(milliseconds=1):
        return "far more than"
    ratio = took / usual
    return "twice" if 1.95 <= ratio < 2.05 else f"{ratio:.1f} times".replace(".0 ", " ")


def _median(amounts: Sequence[float]) -> float:
    if not amounts:
        return 0
    ordered, middle = sorted(amounts), len(amounts) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


# --- what users write ---------------------------------------------------------------------


def _check_number(name: str, given: object, kind: type, low: float, high: float) -> None:
    allowed = (int,) if kind is int else (int, float)
    fits = isinstance(given, allowed) and not isinstance(given, bool) and low <= given <= high
    if not fits:
        what = "a whole number" if kind is int else "a number"
        raise InvalidValue.expected(name, f"{what} from {low:,} to {high:,}", given)


def _canonical(name: str, given: timedelta | float | str) -> str:
    if name == "finish_by" and isinstance(given, str) and ":" in given:
        if not _CLOCK.fullmatch(given):
            raise InvalidValue.expected(name, 'a time of day such as "07:45"', given)
        return given.removesuffix(":00") if len(given) == 8 else given
    length = parse_duration(given, what=name)
    if not length:
        raise InvalidValue.expected(name, "longer than 0s", given)
    return format_duration(length)
