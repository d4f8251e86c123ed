"""Expectations: too little, too late, never: told once, and closed when it is as usual again."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from duly import Context, Duly
from duly.core.expect import Expect
from duly.core.fleet import Incident
from tests.engine.bench import Bench, in_time, lasts


def of(bench: Bench, kind: str) -> list[Incident]:
    return [one for one in bench.tables.incidents if one.kind == kind]


def publisher(bench: Bench, **options: Any) -> tuple[Duly, dict[str, Any]]:
    app, how = Duly("memory://"), {"count": 90, "takes": 1.0}

    @app.task(**options)
    async def work(ctx: Context, count: int = 0, takes: float = 0.0) -> None:
        for n in range(count or how["count"]):
            await ctx.publish("rows", n)
        await lasts(takes or how["takes"])

    return app, how


@in_time
async def test_a_third_of_the_usual_output_is_told_at_once_and_closed_by_a_usual_one(
    bench: Bench,
) -> None:
    app, how = publisher(bench, expect=Expect(usual=0.5))
    await bench.start(app)
    for _ in range(3):
        await bench.ended(await bench.ask("work"))
    await bench.past(60)
    assert of(bench, "expect.output") == []
    how["count"] = 30
    run = await bench.ask("work")
    await bench.ended(run)
    await bench.until(lambda: bool(of(bench, "expect.output")), within_s=1)
    [incident] = of(bench, "expect.output")
    assert incident.severity == "critical"
    assert "published 30: a third of the usual 90" in incident.summary
    assert (incident.evidence["run"], incident.evidence["task"]) == (str(run), "work")
    await bench.past(120)
    assert of(bench, "expect.output") == [incident], "told once, and open"
    how["count"] = 90
    after = await bench.ask("work")
    await bench.ended(after)
    await bench.past(1)
    [over] = of(bench, "expect.output")
    assert over.closed_at is not None
    assert over.evidence["closed"] == f"the run {after} was as expected"
    await bench.past(200)
    assert len(of(bench, "expect.output")) == 1, "what was told is not told again"


@in_time
async def test_a_poor_run_that_ends_behind_a_newer_one_is_seen_too(bench: Bench) -> None:
    app, _ = publisher(bench, expect=Expect(at_least=50))
    await bench.start(app)
    await bench.ended(await bench.ask("work"))
    await bench.past(60)
    poor = await bench.ask("work", args=b'{"count":5,"takes":9}')
    await bench.past(1)
    await bench.ask("work", args=b'{"count":90,"takes":3}')
    await bench.ended(poor)
    await bench.past(60)
    assert [one.evidence["run"] for one in of(bench, "expect.output")] == [str(poor)]


@in_time
async def test_a_run_that_starts_late_is_told_while_it_still_waits(bench: Bench) -> None:
    app, _ = publisher(bench, expect=Expect(start_within="5m"))
    await bench.start(app, slots=1)
    first = await bench.ask("work", args=b'{"takes":1000}')
    await bench.until(lambda: first in bench.tables.held)
    late = await bench.ask("work")
    await bench.past(290)
    assert of(bench, "expect.start") == []
    await bench.past(60)
    [incident] = of(bench, "expect.start")
    assert "not started" in incident.summary
    assert "it waits for a worker" in incident.summary
    assert incident.evidence["run"] == str(late)


@in_time
async def test_an_occurrence_that_nobody_fired_is_told_and_closed_when_all_is_well(
    bench: Bench,
) -> None:
    app, how = publisher(bench, every="1h", expect=Expect(start_within="5m"))
    how["takes"] = 60.0
    engine, _ = await bench.start(app)
    fired = engine.firing.turn

    async def nobody() -> None:
        await bench.past(1)

    engine.firing.turn = nobody  # type: ignore[method-assign]
    await bench.past(3600 + 290)
    assert of(bench, "expect.start") == []
    await bench.past(60)
    [incident] = of(bench, "expect.start")
    assert "no run was made for it" in incident.summary
    assert incident.subject == "work due 2026-03-01T01:00:00Z"
    engine.firing.turn = fired  # type: ignore[method-assign]
    await bench.past(2 * 3600)
    [over] = of(bench, "expect.start")
    assert over.closed_at is not None, "one case has one name, before and after its run is there"


FINISH = {"by a length": "30m", "by the clock": "01:30"}


@pytest.mark.parametrize("case", FINISH)
def test_what_is_not_finished_in_time_is_told_with_how_far_it_is(case: str) -> None:
    @in_time
    async def check(bench: Bench) -> None:
        app = Duly("memory://")

        @app.task(every="1h", expect=Expect(finish_by=FINISH[case]))
        async def work(ctx: Context) -> None:
            for n in range(100):
                ctx.progress(n, 100)
                await lasts(30)

        await bench.start(app)
        await bench.past(3600 + 1780)
        assert of(bench, "expect.finish") == []
        await bench.past(60)
        [incident] = of(bench, "expect.finish")
        assert "not finished by 01:30 UTC; " in incident.summary
        assert " % done (" in incident.summary

    check()
    assert case


@in_time
async def test_a_run_that_takes_far_longer_than_usual_is_told_while_it_runs(bench: Bench) -> None:
    app, how = publisher(bench, expect=Expect(usual_duration=3))
    how["takes"] = 60.0
    await bench.start(app)
    for _ in range(3):
        await bench.ended(await bench.ask("work"))
    how["takes"] = 4000.0
    run = await bench.ask("work")
    await bench.past(170)
    assert of(bench, "expect.duration") == []
    await bench.past(60)
    [incident] = of(bench, "expect.duration")
    assert "so far" in incident.summary
    assert incident.evidence["run"] == str(run)
    assert await bench.state(run) == "running"


@in_time
async def test_two_instances_tell_it_once_and_one_that_was_not_there_tells_it_too(
    bench: Bench,
) -> None:
    app, how = publisher(bench, expect=Expect(start_within="5m"))
    how["takes"] = 3000.0
    for _ in range(3):
        await bench.start(app, slots=1)
    for _ in range(3):
        await bench.ask("work")
    await bench.past(5)
    await bench.ask("work")
    await bench.past(400)
    assert len(of(bench, "expect.start")) == 1
    bench.assert_sound()


@in_time
async def test_a_look_that_the_store_did_not_answer_is_taken_again(bench: Bench) -> None:
    app, _ = publisher(bench, expect=Expect(at_least=100))
    _, store = await bench.start(app)
    run = await bench.ask("work")
    await bench.until(lambda: run in bench.tables.held)
    store.before["runs"] = 2
    await bench.ended(run)
    await bench.past(5)
    assert len(of(bench, "expect.output")) == 1


@in_time
async def test_where_nothing_is_expected_nothing_is_asked(bench: Bench) -> None:
    app, _ = publisher(bench)
    _, store = await bench.start(app)
    await bench.ended(await bench.ask("work"))
    store.sent.clear()
    await bench.past(timedelta(minutes=10).total_seconds())
    assert store.sent.count("runs") <= 1, "the caretaker's look, after something was ready"
    assert await bench.client.incidents() == []


@in_time
async def test_however_many_runs_end_looking_costs_little(bench: Bench) -> None:
    app = Duly("memory://")

    @app.task(expect=Expect(at_least=1))
    async def busy(ctx: Context) -> None:
        ctx.progress(done=1)

    _, store = await bench.start(app)
    for _ in range(200):
        await bench.ask("busy")
        await bench.past(0.1)
    assert store.sent.count("runs") <= 2 * 12  # two reads a look, one look in two seconds


@in_time
async def test_where_only_output_is_expected_an_idle_fleet_hardly_looks(bench: Bench) -> None:
    app = Duly("memory://")

    @app.task(expect=Expect(at_least=1))
    async def seldom(ctx: Context) -> None: ...

    _, store = await bench.start(app)
    await bench.past(60 * 60)
    assert store.sent.count("runs") <= 2 * 8
