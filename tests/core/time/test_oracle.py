"""Cron against the oracle, around the turns of every zone.

In the gate each zone gives one turn, and an odd one (a shift that is not one hour) where it has
any; each turn is held against a few texts, most of them drawn for it and aimed at its hours.
With DULY_TEST_SLOW=1 every turn of every zone from 2000 to 2040 is held against more texts; that
takes about twenty minutes.
"""

from __future__ import annotations

import os
import random
from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

import pytest

from duly.core.triggers import Cron
from tests.core.time.oracle import PACE, Stretch, Text, turn_before, turns

SLOW = os.environ.get("DULY_TEST_SLOW") == "1"
TURNS_OF_A_ZONE, TEXTS_OF_A_TURN, DRAWN_TEXTS = (1_000, 12, 400) if SLOW else (1, 5, 300)
HALF, HALF_OF_A_DAY_LOST = timedelta(hours=13), timedelta(hours=27)
SHARDS = 16
SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)

FIXED_TEXTS = [
    "* * * * *",
    "*/15 * * * *",
    "0 * * * *",
    "0 */2 * * *",
    "59 */3 * * *",
    "0 0 * * *",
    "30 0 * * *",
    "30 2 * * *",
    "30 1,2,3 * * *",
    "*/10 2 * * *",
    "0-59/7 0-4 * * *",
    "0,30 0-23 * * *",
    "0 0,12 * * *",
    "5 0 * * SUN",
    "5 0 * * SUN#2",
    "15 1 L * *",
    "15 2 * * SUNL",
    "0 3 15W * *",
    "0 0 LW * FRI",
    "45 23 * * SAT-SUN",
    "0 12 30 12 *",
    "0 1 1-7 * SUN",
    "20 */6 */2 * *",
]
POLICIES = [(gap, fold) for gap in ("after", "skip") for fold in ("first", "second", "both")]


@cache
def drawn_texts() -> list[str]:
    draw = random.Random(20260329)
    return [drawn_text(draw, list(range(24))) for _ in range(DRAWN_TEXTS)]


def drawn_text(draw: random.Random, hours: list[int]) -> str:
    """A text that is due on most days, at hours out of a few."""
    low, high = sorted(draw.sample(range(60), 2))
    some = ",".join(str(h) for h in sorted(draw.sample(hours, min(len(hours), 3))))
    minute = draw.choice(
        ["0", "*", "59", f"{low}", f"{low},{high}", f"{low}-{high}/3", f"*/{low + 1}", f"{low}/9"]
    )
    hour = draw.choice([some, some, str(draw.choice(hours)), f"{min(hours)}-{max(hours)}", "*"])
    hour = draw.choice([hour, hour, hour, f"*/{draw.randint(2, 12)}"])
    days = draw.choice(["* * *", "* * *", "* * SUN", "*/2 * *", "1-28 * SAT,SUN,FRI", "? * 4-7"])
    return f"{minute} {hour} {days}"


def around(zone: str, turn: datetime) -> Stretch:
    half = HALF if abs(shift(zone, turn - SECOND, turn)) < 12 * HOUR else HALF_OF_A_DAY_LOST
    return Stretch(zone, turn - half, turn + half)


def check_turn(zone: str, turn: datetime, draw: random.Random, count: int) -> None:
    stretch = around(zone, turn)
    near = {(turn + n * HOUR).astimezone(ZoneInfo(zone)).hour for n in (-12, -2, -1, 0, 1, 2)}
    near |= {wall.hour for wall in stretch.left_out}
    texts = [drawn_text(draw, sorted(near)) for _ in range(count)]
    for text in [*texts, draw.choice(FIXED_TEXTS), draw.choice(drawn_texts())]:
        gap, fold = draw.choice(POLICIES)
        check(stretch, turn, text, gap=gap, fold=fold)


def check(stretch: Stretch, turn: datetime, text: str, *, gap: str, fold: str) -> None:
    """Forwards, backwards and from odd instants, the product gives the oracle's list."""
    # The ends of the stretch do not know what is shown just outside.
    low, high = stretch.start + 2 * SECOND, stretch.end - 2 * SECOND
    expected = [at for at in stretch.due(Text(text), gap, fold) if low < at <= high]
    seconds = "first" if len(text.split()) == 6 else None
    trigger = Cron(text, stretch.zone, seconds=seconds, gap=gap, fold=fold)  # type: ignore[arg-type]
    where = f"{text!r} in {stretch.zone} at {turn}, gap={gap}, fold={fold}"
    assert forwards(trigger, low, high) == expected, where
    assert backwards(trigger, low, high) == expected, where
    for probe in (turn - SECOND, turn, turn + SECOND, turn + HOUR / 2, turn - HOUR / 2):
        later = next((at for at in expected if at > probe), None)
        earlier = next((at for at in reversed(expected) if at <= probe), None)
        assert later is None or trigger.next_after(probe) == later, where
        assert earlier is None or trigger.previous_at_or_before(probe) == earlier, where


def forwards(trigger: Cron, low: datetime, high: datetime) -> list[datetime]:
    found: list[datetime] = []
    at = trigger.next_after(low)
    while at is not None and at <= high:
        assert not found or at > found[-1], "occurrences rise, and none comes twice"
        found.append(at)
        at = trigger.next_after(at)
    return found


def backwards(trigger: Cron, low: datetime, high: datetime) -> list[datetime]:
    found: list[datetime] = []
    at = trigger.previous_at_or_before(high)
    while at is not None and at > low:
        found.append(at)
        at = trigger.previous_at_or_before(at - SECOND)
    return found[::-1]


def shift(zone: str, early: datetime, late: datetime) -> timedelta:
    before, after = (at.astimezone(ZoneInfo(zone)).utcoffset() for at in (early, late))
    assert before is not None and after is not None
    return after - before


def odd(zone: str, late: datetime) -> bool:
    return abs(shift(zone, late - PACE, late)) != HOUR


@pytest.mark.parametrize("shard", range(SHARDS))
def test_every_zone_agrees_with_the_oracle_around_its_turns(shard: int) -> None:
    checked = 0
    for zone in sorted(available_timezones())[shard::SHARDS]:
        draw = random.Random(f"{zone} 2026")
        lates = turns(zone, 2000, 2040)
        odds = [late for late in lates if odd(zone, late)]
        chosen = set(draw.sample(lates, min(len(lates), TURNS_OF_A_ZONE)))
        chosen |= set(draw.sample(odds, min(len(odds), TURNS_OF_A_ZONE)))
        for late in sorted(chosen):
            check_turn(zone, turn_before(zone, late), draw, TEXTS_OF_A_TURN)
            checked += 1
    assert checked > 10


NOTABLE = [
    ("Australia/Lord_Howe", datetime(2026, 4, 4, 15, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2026, 10, 3, 15, 30, tzinfo=UTC)),
    ("Pacific/Apia", datetime(2011, 12, 30, 10, tzinfo=UTC)),
    ("Africa/Cairo", datetime(2026, 4, 23, 22, tzinfo=UTC)),
    ("Africa/Cairo", datetime(2026, 10, 29, 21, tzinfo=UTC)),
    ("America/New_York", datetime(2026, 3, 8, 7, tzinfo=UTC)),
    ("America/New_York", datetime(2026, 11, 1, 6, tzinfo=UTC)),
    ("Europe/Amsterdam", datetime(2026, 10, 25, 1, tzinfo=UTC)),
    ("America/Caracas", datetime(2007, 12, 9, 7, tzinfo=UTC)),
    ("Asia/Pyongyang", datetime(2018, 5, 4, 15, tzinfo=UTC)),
    ("Pacific/Kwajalein", datetime(1993, 8, 21, 12, tzinfo=UTC)),
    ("Antarctica/Troll", datetime(2026, 3, 29, 1, tzinfo=UTC)),
]


@pytest.mark.parametrize(("zone", "turn"), NOTABLE)
def test_every_fixed_text_agrees_at_notable_turns(zone: str, turn: datetime) -> None:
    stretch = around(zone, turn)
    for text in FIXED_TEXTS:
        for gap, fold in POLICIES:
            check(stretch, turn, text, gap=gap, fold=fold)


# Offsets with seconds, which the oracle follows second by second.
HISTORIC = [
    ("Africa/Monrovia", datetime(1972, 1, 7, 0, 44, 30, tzinfo=UTC)),
    ("Europe/Amsterdam", datetime(1937, 6, 30, 23, 40, 28, tzinfo=UTC)),
    ("America/New_York", datetime(1883, 11, 18, 17, tzinfo=UTC)),
    ("Europe/Paris", datetime(1911, 3, 10, 23, 50, 39, tzinfo=UTC)),
]
SECOND_TEXTS = [
    "0 * * * * *",
    "*/7 */5 * * * *",
    "30 15 0 * * *",
    "10,50 */9 0-23 * * *",
    "59 59 23 * * *",
    "15 30 0,12,17,18,22 * * *",
]


@pytest.mark.parametrize(("zone", "turn"), HISTORIC)
def test_offsets_with_seconds_agree_second_by_second(zone: str, turn: datetime) -> None:
    half = timedelta(hours=1, minutes=30)
    stretch = Stretch(zone, turn - half, turn + half, SECOND)
    for text in SECOND_TEXTS:
        for gap, fold in POLICIES:
            check(stretch, turn, text, gap=gap, fold=fold)
