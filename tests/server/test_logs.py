"""The log subscriber: levels, bounds with their summaries, and setting a process up."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from duly.config import LogSettings
from duly.events import EVENTS, Bus, Level, RunPromoted, StoreAway, StoreBack
from duly.server.logs import Logs, tell_on

AWAY = StoreAway(reason="refused")
BACK = StoreBack(away_s=1.0)


class Clock:
    """Seconds that only a test turns."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Kept(logging.Handler):
    """Keeps messages."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


class Rig:
    """A bus with logs that tell three lines a second, on a clock and a logger of its own."""

    def __init__(self, level: Level = Level.INFO) -> None:
        self.bus, self.clock, self.kept = Bus(), Clock(), Kept()
        logger = logging.Logger("apart", logging.DEBUG)
        logger.addHandler(self.kept)
        self.logs = Logs(monotonic=self.clock, level=level, lines_per_s=3, logger=logger)
        self.logs.attach(self.bus)

    def told_after(self, *, away: int = 0, back: int = 0) -> list[str]:
        """Emit, and return what was written since."""
        before = len(self.kept.lines)
        for event, count in ((AWAY, away), (BACK, back)):
            for _ in range(count):
                self.bus.emit(event)
        return self.kept.lines[before:]


@pytest.fixture
def rig() -> Rig:
    return Rig()


@pytest.mark.parametrize("level", Level)
def test_only_kinds_of_at_least_the_level_are_subscribed_to(level: Level) -> None:
    bus = Bus()
    Logs(monotonic=Clock(), level=level).attach(bus)
    wanted = {kind for kind in EVENTS.values() if bus.wants(kind)}
    assert wanted == {kind for kind in EVENTS.values() if kind.level >= level}
    assert wanted


def test_what_happens_very_often_costs_nothing_by_default() -> None:
    bus = Bus()
    Logs(monotonic=Clock()).attach(bus)
    often = ("run.enqueued", "run.claimed", "attempt.started", "run.completed")
    assert [name for name in often if bus.wants(EVENTS[name])] == []


def test_no_more_than_the_bound_is_told_in_a_window(rig: Rig) -> None:
    assert rig.told_after(away=10) == ["store.away"] * 3


def test_each_kind_has_its_own_share(rig: Rig) -> None:
    assert rig.told_after(away=10, back=1) == ["store.away"] * 3 + ["store.back"]


def test_what_was_suppressed_is_summed_up_in_the_next_window(rig: Rig) -> None:
    rig.told_after(away=10)
    rig.clock.now += 1.0
    assert rig.told_after(back=1) == ["log.suppressed: 7 more of store.away", "store.back"]
    rig.clock.now += 1.0
    assert rig.told_after(away=4) == ["store.away"] * 3


def test_flush_sums_up_at_once_and_only_once(rig: Rig) -> None:
    told = rig.told_after(away=5)
    for _ in range(2):
        rig.logs.flush()
    assert rig.kept.lines[len(told) :] == ["log.suppressed: 2 more of store.away"]


def test_every_event_is_told_or_counted(rig: Rig) -> None:
    for step in range(200):
        rig.bus.emit(AWAY)
        rig.clock.now += 0.013 * (step % 17)
    rig.logs.flush()
    lines = rig.kept.lines
    sums = [int(line.split()[1]) for line in lines if line.startswith("log.suppressed")]
    assert sums and lines.count("store.away") + sum(sums) == 200


# --- a process of our own ---------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    yield root
    root.setLevel(level)
    root.handlers[:] = handlers


SHAPES = [
    ("auto", io.StringIO, True),
    ("auto", Terminal, False),
    ("json", Terminal, True),
    ("text", io.StringIO, False),
]


@pytest.mark.parametrize(("shape", "stream", "is_json"), SHAPES)
def test_the_shape_fits_the_stream(
    shape: str, stream: type[io.StringIO], is_json: bool, root: logging.Logger
) -> None:
    out = stream()
    tell_on(out, LogSettings(format=shape), context={"instance": "a:1"})
    logging.getLogger("duly").warning("store.away", extra={"event": AWAY})
    line = out.getvalue()
    assert line.count("\n") == 1
    assert line.startswith("{") is is_json
    if is_json:
        assert json.loads(line)["instance"] == "a:1"


def test_setting_up_twice_tells_once_and_leaves_others_alone(root: logging.Logger) -> None:
    others = list(root.handlers)
    first, second = io.StringIO(), io.StringIO()
    tell_on(first, LogSettings())
    tell_on(second, LogSettings(level="error"))
    logging.getLogger("duly").error("x")
    logging.getLogger("duly").warning("y")
    assert (first.getvalue(), second.getvalue().count("\n")) == ("", 1)
    assert [one for one in others if one not in root.handlers] == []


def test_a_kind_of_debug_reaches_the_log_when_asked_for() -> None:
    rig = Rig(Level.DEBUG)
    rig.bus.emit(RunPromoted(count=3))
    assert rig.kept.lines == ["run.promoted"]
