"""What every store must tell alike, so that the same causes are found on each of them.

Those rows of the table of causes whose evidence is read in most ways: holders of a limit, who goes
first, a takeover, a verdict with its blocker, a doubt with its audit, an incident.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

import pytest

from tests.why.causes import ROWS
from tests.why.scene import Row, Scene, check, make_clock

NAMES = (
    "others_go_first a_limit_is_full taken_over_after_its_lease skipped_by_overlap it_fired_late"
    " one_run_stood_for_many a_run_parked_in_doubt it_opened_by_itself an_incident_of_an_effect"
    " a_queue_that_moves a_key_whose_run_is_done"
).split()
SOME = [row for row in ROWS if row.name in NAMES]


@pytest.mark.parametrize("row", SOME, ids=lambda row: row.name)
async def test_a_cause_is_the_same_on_every_store(row: Row, store: Any) -> None:
    assert len(SOME) == len(NAMES)
    async with AsyncExitStack() as stack:
        clock = make_clock()
        scene = Scene(store, clock, stack)

        async def now() -> Any:
            return clock.now()

        store.clock = now  # every verb of these rows is given the time; so is the question
        asked = await row.case(scene)
        check(row, asked, await scene.explain(asked.thing))
