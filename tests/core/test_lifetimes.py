"""Lifetimes: what ends regularly is found through noise; what does not is never called regular."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duly.core.lifetimes import (
    LOOKED_AT,
    Collision,
    Life,
    Rhythm,
    Upcoming,
    collisions,
    regular,
    rhythms,
)
from tests.stores.profiles import cases

T0 = datetime(2026, 11, 1, 2, 12, tzinfo=UTC)
HOUR, MIN = timedelta(hours=1), timedelta(minutes=1)
PAUSE = timedelta(seconds=20)


def lived(hours: Sequence[float], *, host: str = "web1", since: datetime = T0) -> list[Life]:
    """Lives of these lengths in hours, one after another; `*` in the host numbers hosts anew."""
    lives = []
    for n, length in enumerate(hours):
        end = since + length * HOUR
        name = host.replace("*", str(n))
        lives.append(Life(name=f"{name}:{n}", host=name, started_at=since, ended_at=end))
        since = end + PAUSE
    return lives


def together(hours: Sequence[float], hosts: int) -> list[Life]:
    """The same lives on several hosts at once, as a deploy makes them."""
    return [life for n in range(hosts) for life in lived(hours, host=f"node{n}")]


REGULAR: list[tuple[str, list[Life], Rhythm | None]] = [
    ("the application pool of the incident", lived([29] * 6), Rhythm(29 * HOUR, 6, "web1")),
    ("three lives are enough", lived([29, 29, 29]), Rhythm(29 * HOUR, 3, "web1")),
    ("two are not", lived([29, 29]), None),
    ("none", [], None),
    ("in any order", lived([29, 29, 29])[::-1], Rhythm(29 * HOUR, 3, "web1")),
    ("some seconds of drain", lived([29.002, 29.01, 28.999]), Rhythm(29.002 * HOUR, 3, "web1")),
    ("within 2 % of the median", lived([28.45, 29, 29.55]), Rhythm(29 * HOUR, 3, "web1")),
    ("beyond 2 % of the median", lived([28.4, 29, 29.6]), None),
    ("two minutes are allowed where 2 % are less", lived([0.47, 0.5, 0.53]),
     Rhythm(0.5 * HOUR, 3, "web1")),
    ("a restart loop is no rhythm", lived([0.15] * 9), None),
    ("deploys cut lives short", lived([29, 7.5, 29, 3, 12, 29, 4]), Rhythm(29 * HOUR, 3, "web1")),
    ("deploys on most days", lived([29, 5, 6, 29, 9, 1, 2, 29, 14, 3, 4, 29, 7]),
     Rhythm(29 * HOUR, 4, "web1")),
    ("regular short lives below a longer one", lived([5, 5, 5, 29]), None),
    ("one outlier where five agree", lived([29, 29, 44, 29, 29, 29]),
     Rhythm(29 * HOUR, 5, "web1")),
    ("one outlier where four agree", lived([29, 29, 44, 29, 29]), None),
    ("two that outlasted it", lived([29, 29, 44, 29, 40, 29, 29, 29]), None),
    ("the setting was changed long ago", lived([29] * 5 + [10] * LOOKED_AT),
     Rhythm(10 * HOUR, LOOKED_AT, "web1")),
    ("the host was mended", lived([29, 29, 29, 400, 700]), None),
    ("random ends", lived([3.1, 17.9, 8.8, 11.4, 6.2, 13.5, 4.9]), None),
    ("containers get new names", lived([24] * 4, host="pod*"), Rhythm(24 * HOUR, 4)),
    ("a deploy ends many of one age", together([17, 23.1, 6], hosts=8), None),
    ("recycled together, three times over", together([29, 29, 29], hosts=2),
     Rhythm(29 * HOUR, 3, "node0")),
]  # fmt: skip


@pytest.mark.parametrize(
    ("lives", "rhythm"), [row[1:] for row in REGULAR], ids=[r[0] for r in REGULAR]
)
def test_only_what_agrees_is_a_rhythm(lives: list[Life], rhythm: Rhythm | None) -> None:
    assert regular(lives) == rhythm


def test_who_still_lives_is_not_measured() -> None:
    alive = Life(name="web1:9", host="web1", started_at=T0 + 90 * HOUR)
    assert regular([*lived([29, 29]), alive]) is None
    assert regular([*lived([29] * 3), alive]) == Rhythm(29 * HOUR, 3, "web1")


def test_each_host_has_its_own_rhythm_and_the_others_share_one() -> None:
    lives = [
        *lived([29] * 4, host="iis"),
        *lived([12] * 3, host="cron"),
        *lived([24] * 5, host="pod*"),
        *lived([3, 9], host="laptop", since=T0 + 500 * HOUR),
    ]
    assert rhythms(lives) == (
        Rhythm(24 * HOUR, 5),
        Rhythm(29 * HOUR, 4, "iis"),
        Rhythm(12 * HOUR, 3, "cron"),
    )


def test_jittered_crashes_are_hardly_ever_called_regular() -> None:
    for name, draw in {
        "exponential": lambda lots: lots.expovariate(1 / 12),
        "jittered by a half": lambda lots: lots.uniform(12, 36),
    }.items():
        called = 0
        for seed in range(400):
            lots = random.Random(seed)
            called += regular(lived([0.2 + draw(lots) for _ in range(12)])) is not None
        assert called <= 400 * 0.06, f"{name}: {called} of 400"


@cases(200)
@given(
    st.floats(1, 200),
    st.lists(st.none() | st.floats(0, 0.9), min_size=3, max_size=LOOKED_AT),
    st.randoms(use_true_random=False),
)
def test_a_rhythm_is_found_whatever_cuts_lives_short(
    hours: float, cuts: list[float | None], lots: random.Random
) -> None:
    lives = lived([hours if cut is None else hours * cut for cut in cuts])
    full = cuts.count(None)
    lots.shuffle(lives)
    found = regular(lives)
    if full >= 3:
        assert found == Rhythm(hours * HOUR, full, "web1")
    elif found is not None:  # cut lives that agree by chance may be one, never a longer one
        assert full == 0
        assert found.length < hours * HOUR


# --- what it meets ------------------------------------------------------------------------

RHYTHM = Rhythm(29 * HOUR, 6, "web1")
BORN = datetime(2026, 11, 22, 1, 12, tzinfo=UTC)  # 02:12 CET; ends on the 23rd at 07:12 CET
END = BORN + 29 * HOUR
ALIVE = Life(name="web1:7", host="web1", started_at=BORN)
PRICES = Upcoming("publish_prices", datetime(2026, 11, 23, 6, tzinfo=UTC), 31 * MIN)
SAID = (
    "this host usually ends after 29 h: at 2026-11-23 07:12 CET, in the middle of "
    "publish_prices due 07:00, which usually takes 31 min"
)


def test_an_end_in_the_middle_of_the_batch_is_foretold() -> None:
    rhythm = regular(lived([29] * 6))
    assert rhythm == RHYTHM
    assert collisions(rhythm, [ALIVE], [PRICES], zone="Europe/Amsterdam") == (
        Collision("web1:7", END, "publish_prices", PRICES.due, SAID),
    )


def due(at: datetime, usual: timedelta = 30 * MIN) -> Upcoming:
    return Upcoming("publish_prices", at, usual)


MEETS = [
    ("due at the end", [ALIVE], [due(END)], 1),
    ("due after it", [ALIVE], [due(END + timedelta(microseconds=1))], 0),
    ("a tenth longer than usual", [ALIVE], [due(END - 33 * MIN)], 1),
    ("over by then", [ALIVE], [due(END - 34 * MIN)], 0),
    ("only the next end", [ALIVE], [due(END + 29 * HOUR)], 0),
    ("two schedules", [ALIVE], [due(END - MIN), due(END - 2 * MIN)], 2),
    ("another host", [Life(name="x", host="web2", started_at=BORN)], [PRICES], 0),
    ("one that ended", [Life(name="x", host="web1", started_at=BORN, ended_at=END)], [PRICES], 0),
    ("one that outlived it", [Life(name="x", host="web1", started_at=T0)], [PRICES], 0),
    ("nobody", [], [PRICES], 0),
]


@pytest.mark.parametrize(
    ("live", "upcoming", "count"), [row[1:] for row in MEETS], ids=[r[0] for r in MEETS]
)
def test_a_collision_is_an_end_within_the_usual_time_and_a_tenth(
    live: list[Life], upcoming: list[Upcoming], count: int
) -> None:
    found = collisions(RHYTHM, live, upcoming)
    assert len(found) == count
    assert [one.expected_end for one in found] == [END] * count


def test_a_rhythm_of_any_host_meets_every_host() -> None:
    live = [
        Life(name="late", host="pod9", started_at=BORN + 10 * MIN),
        Life(name="early", host="pod7", started_at=BORN),
    ]
    found = collisions(Rhythm(29 * HOUR, 6), live, [PRICES])
    assert [one.instance for one in found] == ["early", "late"]
    assert found[0].summary.startswith(
        "a process here usually ends after 29 h: at 2026-11-23 06:12"
    )


SPOKEN = [
    (timedelta(hours=28, minutes=59, seconds=41), "29 h"),
    (timedelta(hours=1, minutes=30), "1 h 30 min"),
    (timedelta(minutes=45), "45 min"),
    (timedelta(days=7), "7 d"),
]


@pytest.mark.parametrize(("length", "text"), SPOKEN)
def test_a_length_is_told_as_who_set_it_would(length: timedelta, text: str) -> None:
    alive = Life(name="x", host="web1", started_at=PRICES.due - length)
    (found,) = collisions(Rhythm(length, 3, "web1"), [alive], [PRICES], zone="America/Sao_Paulo")
    assert f"ends after {text}: at 2026-11-23 03:00 UTC-03, in" in found.summary


def test_a_run_due_the_day_before_is_told_with_its_date() -> None:
    due_late = Upcoming("backup", END - 8 * HOUR, 10 * HOUR)
    (found,) = collisions(RHYTHM, [ALIVE], [due_late])
    assert "in the middle of backup due 2026-11-22 22:12, which usually takes 10 h" in found.summary
