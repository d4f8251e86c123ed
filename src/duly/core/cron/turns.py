"""What a schedule does where the clocks of its zone turn: the policy, made into tables.

Clocks jump over a stretch of local time (a *gap*) or repeat one (a *fold*). Three answers:

- **Fixed hours** (`30 2 * * *`): every local time is due once. One that lies in a gap is due at
  the first instant after it (`gap="after"`), merged with whatever else is due then, or not at
  all (`gap="skip"`). One that is shown twice is due in the first pass (`fold="first"`), the
  second, or both.
- **Wildcard hours** (the hour field starts with `*`: `*/15 * * * *`, `0 * * * *`, `0 */2 * * *`)
  go by elapsed time: due whenever the clocks show a match, so in both passes of a fold, and
  not at all for what a gap left out. `gap` and `fold` have no say. `0 */2 * * *` is therefore
  due at 00:00 and 04:00 around a gap at 02:00, three hours apart, and twice at 02:00 where that
  hour is repeated; it never runs early and never twice at one instant. Who wants "twice a
  day, whatever the clocks do" writes the hours out: `0 0,12 * * *`.
- Intervals do not look at clocks at all, see `duly.core.triggers.Every`.

**How.** A span is a stretch of instants with one offset, and the local times it *owns*. A time
`w` owned by a span is due at `max(start, w - offset)`: at the reading, or at the start of the span
when the clocks had jumped over it. Under `first` a span owns what is later than anything that
was shown before; under `second` what is earlier than anything shown after. Both share out all of
local time without overlap, so that "exactly once" needs no further case, whatever the zone
does: half-hour summer time, a skipped date, two turns in one week.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from typing import Literal, NamedTuple

from duly.core.zones import ERA, FIRST, LAST, Segment, Zone

Gap = Literal["after", "skip"]
Fold = Literal["first", "second", "both"]


class Turns(NamedTuple):
    """The policy of one schedule."""

    gap: Gap
    fold: Fold
    wildcard: bool


class Span(NamedTuple):
    """Instants start <= i < end with one offset, owning local times low <= w < high."""

    start: int
    end: int
    offset: int
    low: int
    high: int


class Spans(NamedTuple):
    """The spans of one era, in order and without a hole; `starts` is for bisection."""

    starts: tuple[int, ...]
    rows: tuple[Span, ...]


@lru_cache(maxsize=2048)
def spans(zone: Zone, era: int, turns: Turns) -> Spans:
    """Return the spans of an era of a zone under a policy."""
    start, end = max(FIRST, era * ERA), min(LAST, (era + 1) * ERA)
    owned = _own(zone.era(era), turns)
    rows = tuple(_cut(span, start, end) for span in owned if span.start < end and start < span.end)
    return Spans(tuple(row.start for row in rows), rows)


def _own(segments: tuple[Segment, ...], turns: Turns) -> list[Span]:
    if turns.wildcard:
        bounds = [(_low(s), _high(s)) for s in segments]
    elif turns.fold == "first":
        bounds = _first_pass(segments)
    elif turns.fold == "second":
        bounds = _second_pass(segments)
    else:
        bounds = _both_passes(segments)
    owned = []
    for segment, (low, high) in zip(segments, bounds, strict=True):
        if turns.gap == "skip":
            low = max(low, _low(segment))
        owned.append(Span(*segment, low, high))
    return owned


def _first_pass(segments: tuple[Segment, ...]) -> list[tuple[int, int]]:
    """A span owns what lies above the high-water mark of all earlier readings."""
    bounds, mark = [], _low(segments[0])
    for segment in segments:
        higher = max(mark, _high(segment))
        bounds.append((mark, higher))
        mark = higher
    return bounds


def _second_pass(segments: tuple[Segment, ...]) -> list[tuple[int, int]]:
    """A span owns what lies below the low-water mark of all later readings."""
    edges, mark = [_high(segments[-1])], _low(segments[-1])
    for before, after in reversed(list(pairwise(segments))):
        mark = min(mark, _low(after))
        # In a gap the mark is the end of the earlier reading: the gap goes to the later span.
        edges.append(min(mark, _high(before)))
    edges.append(_low(segments[0]))
    return list(pairwise(reversed(edges)))


def _both_passes(segments: tuple[Segment, ...]) -> list[tuple[int, int]]:
    """A span owns all it shows, and the gap before it."""
    bounds = [(_low(segments[0]), _high(segments[0]))]
    for before, after in pairwise(segments):
        bounds.append((min(_high(before), _low(after)), _high(after)))
    return bounds


def _cut(span: Span, start: int, end: int) -> Span:
    """Keep of a span what is due from `start` until before `end`."""
    low, high = span.low, span.high
    if span.start < start:
        low = max(low, start + span.offset)
    if span.end > end:
        high = min(high, end + span.offset)
    return Span(max(span.start, start), min(span.end, end), span.offset, low, high)


def _low(segment: Segment) -> int:
    return segment.start + segment.offset


def _high(segment: Segment) -> int:
    return segment.end + segment.offset
