"""What a day is: Amsterdam's, closed at one o'clock and asked for again at two.

The story of `run.py` cannot wait for days, so `STORY_DAY_S` shortens one to a few seconds. That is
all this module is for: without that variable, a day's name is the date and its part is nothing,
and you would write both schedules straight into `orders.py`.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import Any

ZONE = "Europe/Amsterdam"
STORY_DAY_S = int(os.environ.get("STORY_DAY_S", "0"))

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def at_one() -> dict[str, Any]:
    """Return when the day is closed and mailed."""
    if STORY_DAY_S:
        return {"every": f"{STORY_DAY_S}s"}
    return {"cron": "0 1 * * *", "tz": ZONE}


def at_two() -> dict[str, Any]:
    """Return when it is asked for again, just in case."""
    if STORY_DAY_S:
        return {"every": f"{STORY_DAY_S}s", "anchor": _EPOCH + timedelta(seconds=STORY_DAY_S / 2)}
    return {"cron": "0 2 * * *", "tz": ZONE}


def name_of(due: datetime) -> str:
    """Return the name of the day an occurrence belongs to: the date, in the schedule's zone."""
    return f"day-{int(due.timestamp()) // STORY_DAY_S}" if STORY_DAY_S else f"{due:%Y-%m-%d}"


def part_of(due: datetime) -> str | None:
    """Return what tells two days of the story apart within one real day; None in real life."""
    return name_of(due) if STORY_DAY_S else None
