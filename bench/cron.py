"""How long the search for the next occurrence takes, beside other cron libraries.

Prints the median of many rounds, in microseconds for one occurrence, for `Cron.next_after` and
`previous_at_or_before`, and for cronsim and croniter where they are installed. Each round walks
through consecutive occurrences, as a scheduler does. It asserts nothing: figures depend on the
machine and on what else it does. With `--only` it prints one column as JSON, and needs nothing
else to be installed than what is measured.

    python -m bench.cron [--only cronsim]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from importlib import import_module
from importlib.util import find_spec
from statistics import median
from time import perf_counter
from zoneinfo import ZoneInfo

ROUNDS, FEW, WALK = 41, 3, 100
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
    trigger = import_module("duly.core.triggers").Cron(expression, tz)

    def walk() -> None:
        at: datetime | None = START
        for _ in range(WALK):
            at = trigger.next_after(at or START)

    return walk


def backwards(expression: str, tz: str) -> Walk:
    trigger = import_module("duly.core.triggers").Cron(expression, tz)
    back = timedelta(seconds=1)

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


LIBRARIES = {"cronsim": cronsim, "croniter": croniter}
WAYS = {"next_after": forwards, "previous": backwards, **LIBRARIES}


def cost_us(make: Callable[[str, str], Walk], expression: str, tz: str, rounds: int) -> float:
    """Return the median cost of one occurrence; raises what the library refuses a case with."""
    walk = make(expression, tz)
    walk()
    costs = []
    for _ in range(rounds):
        began = perf_counter()
        walk()
        costs.append((perf_counter() - began) / WALK * 1e6)
    return median(costs)


def costs_us(name: str, rounds: int) -> list[float | None]:
    """Return the cost of each case in one way, None where it is refused."""
    costs: list[float | None] = []
    for expression, tz in CASES:
        try:
            costs.append(round(cost_us(WAYS[name], expression, tz, rounds), 2))
        except (ValueError, StopIteration):
            costs.append(None)
    return costs


def main() -> None:
    """Print one column as JSON, or a table of all that is installed."""
    parser = argparse.ArgumentParser(prog="python -m bench.cron")
    parser.add_argument("--only", choices=WAYS)
    asked = parser.parse_args()
    if asked.only:
        print(json.dumps(costs_us(asked.only, FEW if asked.only in LIBRARIES else ROUNDS)))
        return
    names = [name for name in WAYS if name not in LIBRARIES or find_spec(name)]
    columns = [costs_us(name, FEW if name in LIBRARIES else ROUNDS) for name in names]
    print(f"{'expression':18} {'zone':22}" + "".join(f"{name:>14}" for name in names))
    for (expression, tz), costs in zip(CASES, zip(*columns, strict=True), strict=True):
        cells = ("refused" if cost is None else f"{cost:.2f}" for cost in costs)
        print(f"{expression:18} {tz:22}" + "".join(f"{cell:>14}" for cell in cells))


if __name__ == "__main__":
    main()
