"""The table of causes: every one of them is brought about for real, and asked about.

Rows are in the modules beside this one, by what is asked about; here they are put together, and
carried out. `tools/gen_why.py` makes the page of causes from the same rows.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from duly.core.why import Explanation
from duly.testing.clock import VirtualClock
from tests.why.of_fleet import fleet
from tests.why.of_incidents import incidents
from tests.why.of_runs import runs
from tests.why.of_schedules import schedules
from tests.why.of_targets import targets
from tests.why.of_waits import waits
from tests.why.scene import Asked, Row, Scene

CHAPTERS = {
    "Runs: not begun, and under way": runs.rows,
    "Runs: waiting, parked, ended": waits.rows,
    "Schedules and occurrences": schedules.rows,
    "Effects, breakers and timers": targets.rows,
    "Incidents": incidents.rows,
    "Instances, queues, limits and keys": fleet.rows,
}
ROWS: list[Row] = [row for rows in CHAPTERS.values() for row in rows]


@asynccontextmanager
async def scene(store: Any, clock: VirtualClock) -> AsyncIterator[Scene]:
    """An open store with a world around it; whatever a row began is ended."""
    async with AsyncExitStack() as stack:
        yield Scene(store, clock, stack)


async def carry_out(row: Row, store: Any, clock: VirtualClock) -> tuple[Asked, Explanation]:
    """Bring a cause about, and ask."""
    async with scene(store, clock) as one:
        asked = await row.case(one)
        return asked, await one.explain(asked.thing)
