"""How long the search for the next occurrence takes, beside other cron libraries.

Prints the median of many rounds, in microseconds for one occurrence, for `Cron.next_after` and
`previous_at_or_before`, and for cronsim and croniter where they are installed. Each round walks
through consecutive occurrences, as a scheduler does. It asserts nothing: figures depend on the
machine and on what else it does.

    python bench/cron.py
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from importlib import import_module
from importlib.util import find_spec
from statistics import median
from time import perf_counter
from zoneinfo import ZoneInfo

from duly.core.triggers import Cron

ROUNDS, WALK = 41, 100
START = datetime(2026, 3, 20, 12, 30, tzinfo=UTC)
CASES = [
    ("* * * * *", "UTC"),
    ("*/15 * * * *", "Europe/Amsterdam"),
    ("0 1 * * *", "Europe/Amsterdam"),
    ("30 2 * * *", "America/New_York"),
    ("0 9 * * MON-FRI", "Australia/Lord_Howe"),
    ("0 8,20 1,15 * *", "Asia/Tokyo"),
    ("0 9 * * MON#1", "America/New_York"),
    ("0 0 L * *", "Africa/Cairo"),
    ("0 0 1 1 *", "Europe/London"),
    ("0 0 29 2 *", "UTC"),
]
Walk = Callable[[], None]


def forwards(expression: str, tz: str) -> Walk:
    trigger = Cron(expression, tz)

    def walk() -> None:
        at: datetime | None = START
        for _ in range(WALK):
            at = trigger.next_after(at or START)

    return walk


def backwards(expression: str, tz: str) -> Walk:
    trigger, back = Cron(expression, tz), timedelta(seconds=1)

    def walk() -> None:
        at: datetime | None = START
        for _ in range(WALK):
            at = trigger.previous_at_or_before((at or START) - back)

    return walk


def cronsim(expression: str, tz: str) -> Walk:
    kind = import_module("cronsim").CronSim

    def walk() -> None:
        found = kind(expression, START.astimezone(ZoneInfo(tz)))
        for _ in range(WALK):
            next(found)

    return walk


def croniter(expression: str, tz: str) -> Walk:
    kind = import_module("croniter").croniter

    def walk() -> None:
        found = kind(expression, START.astimezone(ZoneInfo(tz)))
        for _ in range(WALK):
            found.get_next(datetime)

    return walk


def cost_us(make: Callable[[str, str], Walk], expression: str, tz: str, rounds: int) -> str:
    """Return the median cost of one occurrence, or why there is none."""
    try:
        walk = make(expression, tz)
        walk()
        costs = []
        for _ in range(rounds):
            began = perf_counter()
            walk()
            costs.append((perf_counter() - began) / WALK * 1e6)
    except (ValueError, StopIteration) as refused:
        return type(refused).__name__
    return f"{median(costs):.2f}"


def main() -> None:
    peers = [(n, m) for n, m in (("cronsim", cronsim), ("croniter", croniter)) if find_spec(n)]
    names = ["next_after", "previous", *(name for name, _ in peers)]
    print(f"{'expression':18} {'zone':22}" + "".join(f"{name:>14}" for name in names))
    for expression, tz in CASES:
        costs = [cost_us(make, expression, tz, ROUNDS) for make in (forwards, backwards)]
        costs += [cost_us(make, expression, tz, 3) for _, make in peers]
        print(f"{expression:18} {tz:22}" + "".join(f"{cost:>14}" for cost in costs))


if __name__ == "__main__":
    main()
