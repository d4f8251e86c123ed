"""A queue that nobody serves is found on a busy fleet, and one that is served is never reported."""

from __future__ import annotations

import pytest

from duly import Duly
from duly.core.runs import NewRun
from duly.engine.unserved import UNSERVED
from tests.engine.bench import Bench, in_time, lasts


def busy() -> Duly:
    app = Duly()

    @app.task
    async def work() -> None:
        await lasts(7200)

    return app


@pytest.mark.parametrize(("slots", "elsewhere"), [(1, 300), (1200, 1100)])
def test_one_run_in_a_dead_queue_is_found_beside_any_number_elsewhere(
    slots: int, elsewhere: int
) -> None:
    """It is by nature older than those that are ready, or that run."""

    @in_time
    async def check(bench: Bench) -> None:
        await bench.start(busy(), slots=slots)
        run = await bench.ask("work", queue="mail")
        for _ in range(elsewhere):
            await bench.ask("work")
        await bench.past(600)
        [one] = await bench.client.incidents()
        assert (one.kind, one.subject, one.evidence["run"]) == (UNSERVED, "mail", str(run))
        assert one.summary == "a run waits in the queue mail: no live instance claims from it"

    check()


@in_time
async def test_a_queue_whose_run_is_older_than_a_thousand_others_is_served(bench: Bench) -> None:
    app = busy()
    await bench.start(app, slots=1200)
    await bench.start(app, queues=("mail",), slots=1)
    for _ in range(2):
        await bench.ask("work", queue="mail")
    for _ in range(1100):
        await bench.ask("work")
    await bench.past(600)
    assert await bench.client.incidents(only_open=False) == []


@in_time
async def test_an_idle_fleet_does_not_look_and_a_dead_queue_is_counted_once(bench: Bench) -> None:
    _, store = await bench.start(busy())
    await bench.past(120)
    store.sent.clear()
    await bench.past(1800)
    assert "fronts" not in store.sent
    await store.enqueue([NewRun(id=bench.clock.new_id(), task="work", queue="mail")])
    await bench.past(1800)
    assert store.sent.count("fronts") > 5
    assert (store.sent.count("queues"), store.sent.count("runs")) == (1, 0)
