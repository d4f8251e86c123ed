"""Claims and burials: a claim is answered or asked again, and who was buried begins anew.

Each test is one engine (or two) on the model store, in virtual time, with the one loss or death
that its name tells of.
"""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from duly import Duly, events
from duly.core.fleet import Proof, Renewal
from duly.core.runs import SUSPECT_QUEUE
from duly.engine.attempts import UNTRUSTED
from tests.engine.bench import Bench, in_time, lasts


def make_app(seconds: float = 0.0) -> Duly:
    app = Duly()

    @app.task
    async def work() -> int:
        await lasts(seconds)
        return 1

    return app


# --- claims -------------------------------------------------------------------------------


@in_time
async def test_an_unanswered_claim_is_sent_again_with_its_id(bench: Bench) -> None:
    _, store = await bench.start(make_app())
    store.after["claim"] = 3
    run = await bench.ask("work")
    await bench.until(lambda: run in bench.tables.ended)
    [(_, times)] = Counter(store.claims).most_common(1)
    assert times == 4
    assert (await bench.view(run)).epoch == 1
    bench.assert_sound()


@in_time
async def test_an_unanswered_claim_of_a_suspect_is_sent_again_and_not_in_a_hurry(
    bench: Bench,
) -> None:
    engine, store = await bench.start(make_app())
    run = await bench.ask("work", queue=SUSPECT_QUEUE)
    store.after["claim"] = 2
    engine.almanac.look.set()
    await bench.until(lambda: run in bench.tables.ended, within_s=60)
    assert store.sent.count("claim") < 20
    assert engine.claiming.open
    bench.assert_sound()


@in_time
async def test_a_suspect_runs_alone_however_long_it_takes(bench: Bench) -> None:
    engine, _ = await bench.start(make_app(200.0))
    suspect = await bench.ask("work", queue=SUSPECT_QUEUE)
    await bench.until(lambda: suspect in bench.tables.held, within_s=60)
    other = await bench.ask("work")
    await bench.past(150)
    assert await bench.state(other) == "ready"
    await bench.until(lambda: other in bench.tables.ended, within_s=500)
    assert engine.hands.busy is False
    bench.assert_sound()


@in_time
async def test_a_suspect_finds_empty_hands_where_nobody_is_ever_idle(bench: Bench) -> None:
    engine, _ = await bench.start(make_app(20.0), slots=2)
    work = asyncio.create_task(never_idle(bench))
    suspect = await bench.ask("work", queue=SUSPECT_QUEUE)
    await bench.until(lambda: suspect in bench.tables.held, within_s=150)
    assert len(engine.hands) == 1
    await bench.until(lambda: suspect in bench.tables.ended, within_s=60)
    ended = len(bench.tables.ended)
    await bench.until(lambda: len(bench.tables.ended) > ended, within_s=60)
    work.cancel()
    bench.assert_sound()


@in_time
async def test_a_suspect_does_not_stop_those_whose_work_lasts_long(bench: Bench) -> None:
    engine, _ = await bench.start(make_app(1000.0), slots=3)
    await bench.ask("work")
    await bench.until(lambda: len(engine.hands) == 1)
    suspect = await bench.ask("work", queue=SUSPECT_QUEUE)
    await bench.past(70)
    late = await bench.ask("work")
    await bench.until(lambda: late in bench.tables.held, within_s=60)
    assert await bench.state(suspect) == "ready"


async def never_idle(bench: Bench) -> None:
    """Ask for work that lasts 20 s, every 10 s."""
    while True:
        await bench.ask("work")
        await lasts(10)


@in_time
async def test_a_claim_whose_answer_came_too_late_is_handed_back(bench: Bench) -> None:
    app = make_app()
    engine, _ = await bench.start(app)
    late = [False]
    engine.attempts.trusted = lambda: late.pop() if late else engine.lease.trusted
    run = await bench.ask("work")
    await bench.until(lambda: bool(bench.told(events.RunReleased)))
    assert bench.told(events.RunReleased)[0].reason == UNTRUSTED
    await bench.until(lambda: run in bench.tables.ended)
    assert [one.epoch for one in bench.told(events.AttemptStarted)] == [2]
    assert await bench.state(run) == "succeeded"


@in_time
async def test_a_claim_that_lands_after_its_instance_gave_up_is_found(bench: Bench) -> None:
    engine, store = await bench.start(make_app())
    store.before["claim"] = 1
    run = await bench.ask("work")
    await bench.until(lambda: run in bench.tables.ended)
    stray = await bench.ask("work", queue="elsewhere")
    late = bench.clock.new_id()
    await bench.client.claim(engine.boot, late, queues=("elsewhere",), tasks=("work",), limit=1)
    assert await bench.state(stray) == "running"
    await bench.past(6)
    assert await bench.state(stray) == "ready"
    assert len(bench.told(events.ClaimUnanswered)) == 1


@in_time
async def test_slots_bound_what_runs_at_once(bench: Bench) -> None:
    running, most = [], []
    app = Duly()

    @app.task
    async def work() -> None:
        running.append(1)
        most.append(len(running))
        await lasts(1)
        running.pop()

    await bench.start(app, slots=3)
    runs = [await bench.ask("work") for _ in range(10)]
    await bench.until(lambda: all(run in bench.tables.ended for run in runs))
    assert max(most) == 3


# --- burial -------------------------------------------------------------------------------


@in_time
async def test_a_buried_boot_is_reborn_and_its_work_ends_unwritten(bench: Bench) -> None:
    seen: list[str] = []
    app = Duly()

    @app.task
    async def work() -> None:
        try:
            await lasts(20)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise
        seen.append("done")

    engine, _ = await bench.start(app)
    run, before = await bench.ask("work"), engine.boot
    await bench.until(lambda: run in bench.tables.held)
    await bench.client.take_over(before, Proof.PROCESS)
    await bench.until(lambda: run in bench.tables.ended)
    assert engine.boot != before
    assert seen == ["cancelled", "done"]
    view = await bench.view(run)
    assert (view.epoch, view.deaths, view.boot) == (2, 0, engine.boot)
    assert bench.told(events.InstanceReturned)[0].boot == before
    bench.assert_sound()


@in_time
async def test_a_burial_while_the_store_is_away_ends_well(bench: Bench) -> None:
    engine, store = await bench.start(make_app(30))
    run, before = await bench.ask("work"), engine.boot
    await bench.until(lambda: run in bench.tables.held)
    await bench.client.take_over(before, Proof.PROCESS)
    await bench.until(lambda: engine.boot != before)
    store.away = True
    await bench.past(400)
    store.away = False
    store.after["come_back"] = 2
    await bench.until(lambda: run in bench.tables.ended, within_s=200)
    assert (await bench.view(run)).deaths == 0
    assert not engine.supervisor.gave_up.is_set()
    bench.assert_sound()


@in_time
async def test_news_of_a_buried_boot_does_not_bury_the_next(bench: Bench) -> None:
    engine, _ = await bench.start(make_app())
    before = engine.boot
    await bench.client.take_over(before, Proof.PROCESS)
    engine.looking.dead.set()
    await bench.until(lambda: bool(bench.told(events.InstanceReturned)))
    after = engine.boot
    engine._renewed(before, Renewal(alive=False), {})
    await bench.past(30)
    assert engine.boot == after != before


@in_time
async def test_an_outage_of_all_does_not_end_an_instance_that_lapsed_itself(bench: Bench) -> None:
    first, store = await bench.start(make_app(120), slots=1)
    second, other = await bench.start(make_app(120), slots=1)
    runs = [await bench.ask("work") for _ in range(2)]
    await bench.until(lambda: all(run in bench.tables.held for run in runs))
    for keeper in bench.keepers:
        keeper.stopped = True  # neither renews: both leases end
    await bench.until(lambda: "lapsed" in store.sent + other.sent)
    for keeper, engine in zip(bench.keepers, bench.engines, strict=True):
        keeper.stopped = False
        keeper.start(engine.lease.beat, 5.0)
    await bench.until(lambda: all(run in bench.tables.ended for run in runs), within_s=900)
    assert not first.supervisor.gave_up.is_set()
    assert not second.supervisor.gave_up.is_set()
    bench.assert_sound()


@pytest.mark.parametrize("verb", ["register", "declare", "beat", "instances", "incidents"])
@pytest.mark.parametrize("where", ["before", "after"])
def test_an_instance_starts_whatever_is_lost_on_the_way(verb: str, where: str) -> None:
    @in_time
    async def start(bench: Bench) -> None:
        app = make_app()
        app.schedule("often", app.task(name="other")(lambda: None), every="1m")
        engine, store = bench.make(app)
        getattr(store, where)[verb] = 2
        await engine.start()
        run = await bench.ask("work")
        await bench.until(lambda: run in bench.tables.ended)
        assert sum(one.state.value == "live" for one in bench.tables.instances.values()) == 1
        bench.assert_sound()

    start()
    assert start.__name__ == "start"
